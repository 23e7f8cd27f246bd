"""Lesson 07: the learner's sums are what autograd and the library count; LoRA needs more for the reason given."""

import warnings

import peft
import pytest
from transformers import AutoModelForCausalLM, LlamaConfig

from lora_lab import memory, records, show
from tests.helpers import lessons

LESSON = "07_where_the_bytes_go"
CELLS = lessons.definitions(
    LESSON, ("def kept(", "def kept_by_a_layer("), LlamaConfig=LlamaConfig, AutoModelForCausalLM=AutoModelForCausalLM
)
kept_by_a_layer = CELLS["kept_by_a_layer"]
kept_per_token = lessons.function(LESSON, "kept_per_token")

# Neither square nor powers of two, with grouped and without grouped queries, and with heads of a width of their own.
SHAPES = [
    {"hidden_size": 96, "intermediate_size": 250, "num_attention_heads": 3, "num_key_value_heads": 1},
    {"hidden_size": 160, "intermediate_size": 333, "num_attention_heads": 5, "num_key_value_heads": 5},
    {"hidden_size": 128, "intermediate_size": 100, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 48},
]
TINY = LlamaConfig(vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
                   num_attention_heads=32, num_key_value_heads=4)  # fmt: skip


def by_hand(shape: dict[str, int]) -> int:
    h, i, heads, key_heads = (shape[name] for name in list(shape)[:4])
    width = shape.get("head_dim", h // heads)
    return kept_per_token(h=h, q=heads * width, kv=key_heads * width, a=heads, i=i)


def config(shape: dict[str, int], layers: int = 3) -> LlamaConfig:
    return LlamaConfig(vocab_size=307, num_hidden_layers=layers, max_position_embeddings=256, **shape)


def with_peft(r: int, fp32: bool, dropout: float = 0.0):
    def prepare(model):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            how = peft.LoraConfig(r=r, target_modules="all-linear", lora_dropout=dropout)
            return peft.get_peft_model(model, how, autocast_adapter_dtype=fp32)

    return prepare


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", [2, 37])
def test_the_sum_of_the_picture_is_what_autograd_keeps(shape, tokens):
    assert kept_by_a_layer(lambda model: model, shape, tokens) == by_hand(shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_sum_of_the_picture_is_what_the_simulated_step_keeps(shape):
    def before_the_loss(layers: int) -> int:
        timeline = memory.simulate(config(shape, layers), "full", precision="bf16", seq_len=40).timeline
        moment = next(moment for moment in timeline if moment.phase == "loss")
        return moment.bytes[memory.COMPONENTS.index("activations")]

    assert (before_the_loss(3) - before_the_loss(2)) / 40 == by_hand(shape)


def test_the_picture_adds_up_to_what_the_learner_types():
    sizes = {"h": 96, "q": 120, "kv": 40, "a": 5, "i": 250}
    assert f"One block keeps {kept_per_token(**sizes):,} bytes" in show.kept_schematic(sizes).alt


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_learners_peak_is_the_librarys(method, checkpointing):
    estimate = memory.estimate("llama-3.2-1b", method, seq_len=512, checkpointing=checkpointing)
    moments = [(moment.phase, dict(zip(memory.COMPONENTS, moment.bytes))) for moment in estimate.timeline]
    assert lessons.function(LESSON, "peak_of")(moments) == (estimate.peak_phase, estimate.peak_bytes)


def test_checkpointing_by_hand_meets_the_closed_form_within_a_percent():
    checkpointed, tokens = lessons.function(LESSON, "checkpointed"), 2048
    c = memory.load_config("llama-3.1-8b")
    first = memory.estimate(c, "qlora", seq_len=tokens)
    less = memory.estimate(c, "qlora", seq_len=tokens, checkpointing=True)
    there = first.peak_bytes - first.components["activations"] - first.components["logits and loss"]
    found = there + checkpointed(32, 2 * 4096 * tokens, 200_840 * tokens, 12 * c.vocab_size * tokens)
    assert found == pytest.approx(less.peak_bytes, rel=0.01)
    assert less.peak_phase == "loss"


@pytest.mark.parametrize("shape", SHAPES)
def test_adapters_in_fp32_or_with_dropout_keep_more_than_full_fine_tuning_and_in_bf16_less(shape):
    full = by_hand(shape)
    assert kept_by_a_layer(with_peft(8, True), shape) > full
    assert kept_by_a_layer(with_peft(8, False), shape) < full
    assert kept_by_a_layer(with_peft(8, False, 0.05), shape) > full


@pytest.mark.parametrize("shape", SHAPES)
def test_autocast_hands_adapters_a_narrow_input_and_dropout_takes_the_gain_back(shape):
    full = kept_by_a_layer(lambda model: model, shape, autocast=True)
    assert full == by_hand(shape)
    cast, plain = (kept_by_a_layer(with_peft(8, True), shape, autocast=on) for on in (True, False))
    assert full < cast < 1.2 * full < plain
    assert kept_by_a_layer(with_peft(8, True, 0.05), shape, autocast=True) > 1.7 * full


def test_under_the_trainer_lora_stays_below_full_fine_tuning_until_dropout_comes():
    def peak(method: str, **options: object) -> int:
        run = {"stack": "peft", "precision": "bf16", "seq_len": 1024, "batch_size": 16}
        return memory.estimate(TINY, method, **run, **options).peak_bytes

    adapters = {"r": 64, "adapter_dtype": "fp32"}
    assert peak("lora", **adapters) < peak("full") < peak("lora", dropout=0.05, **adapters)


def test_few_tokens_favour_lora_and_many_full_fine_tuning_unless_adapters_are_bf16():
    def peak(texts: int, method: str, **options: object) -> int:
        run = {"stack": "peft-loop", "precision": "bf16", "seq_len": 1024, "batch_size": texts}
        return memory.estimate(TINY, method, **run, **options).peak_bytes

    adapters = {"r": 64, "adapter_dtype": "fp32"}
    assert peak(1, "lora", **adapters) < peak(1, "full") and peak(16, "lora", **adapters) > peak(16, "full")
    narrow = adapters | {"adapter_dtype": "bf16"}
    assert peak(16, "lora", **narrow) < peak(16, "full") < peak(16, "lora", dropout=0.05, **narrow)


def test_the_issues_adapters_are_rank_64_on_all_seven_layers_of_tinyllama():
    assert memory.lora_parameters(TINY, 64) == 50_462_720  # as peft's issue 1514 prints


def test_apples_loss_is_12_bytes_a_logit_and_14_with_its_gradient():
    rows = [run for run in records.load("memory_world")["rows"] if run["source"] == "ml-cross-entropy"]
    assert sorted(round(run["measured"] / (256_000 * 8192)) for run in rows) == [12, 14]
    assert sorted(run["measured"] // 2**20 for run in rows) == [24_000, 28_000]
    assert all(run["typed"] == run["measured"] for run in rows)


def test_the_recorded_timelines_keep_every_phases_peak_and_agree_with_the_closed_form():
    for row in records.load("timelines")["rows"]:
        totals = [sum(count) for _, count in row["moments"]]
        phase, _ = row["moments"][totals.index(max(totals))]
        assert (max(totals), phase) == (row["peak_bytes"], row["peak_phase"])
        checkpointing = row["run"] == "with checkpointing"
        closed = memory.estimate("llama-3.1-8b", "qlora", seq_len=2048, checkpointing=checkpointing)
        assert closed.peak_bytes == pytest.approx(row["peak_bytes"], rel=0.01) and closed.peak_phase == phase
