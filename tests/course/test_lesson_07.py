"""The formulas in lesson 07's cells are the library's, autograd's and PEFT's, to the byte."""

import warnings

import peft
import pytest
from transformers import AutoModelForCausalLM, LlamaConfig

from lora_lab import lora, memory
from tests.helpers import lessons

NAMES = ("parameters", "adapter_parameters", "kept", "kept_by_a_layer", "full_per_token", "peft_per_token", "crossing")
BEGINNINGS = tuple(f"def {name}(" for name in NAMES)
LESSON = lessons.definitions(
    "07_where_the_bytes_go", BEGINNINGS, LlamaConfig=LlamaConfig, AutoModelForCausalLM=AutoModelForCausalLM
)

# Neither square nor powers of two, with grouped and without grouped queries.
SHAPES = [
    {"hidden_size": 96, "intermediate_size": 250, "num_attention_heads": 3, "num_key_value_heads": 1},
    {"hidden_size": 160, "intermediate_size": 333, "num_attention_heads": 5, "num_key_value_heads": 5},
    {"hidden_size": 128, "intermediate_size": 100, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 48},
]


def config(shape: dict[str, int], layers: int = 3, tied: bool = False) -> LlamaConfig:
    return LlamaConfig(vocab_size=307, num_hidden_layers=layers, max_position_embeddings=256,
                       tie_word_embeddings=tied, **shape)  # fmt: skip


def with_peft(r: int, fp32: bool):
    def prepare(model):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return peft.get_peft_model(
                model, peft.LoraConfig(r=r, target_modules="all-linear"), autocast_adapter_dtype=fp32
            )

    return prepare


def test_every_function_is_still_in_the_lesson():
    assert set(NAMES) <= set(LESSON)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_counted_as_the_class_and_the_library_count_them(shape, tied):
    c = config(shape, tied=tied)
    groups, library = LESSON["parameters"](c), memory.parameters(c)
    assert sum(groups.values()) == library.total == AutoModelForCausalLM.from_config(c).num_parameters()
    assert {name.lower(): count for name, count in groups.items()} == {
        name.lower(): getattr(library, name.lower()) for name in groups
    }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("r", [1, 5])
def test_adapters_are_counted_as_inject_makes_them(shape, r):
    model = AutoModelForCausalLM.from_config(config(shape))
    lora.inject(model, lora.LoRAConfig(r=r, target_modules="all-linear"))
    assert LESSON["adapter_parameters"](config(shape), r) == lora.count_parameters(model).trainable


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", [1, 37])
def test_the_formula_of_a_layer_is_what_autograd_keeps(shape, tokens):
    if tokens == 1:  # attention to one token is its value: another kernel may serve
        tokens = 2
    assert LESSON["kept_by_a_layer"](lambda model: model, shape, tokens) == LESSON["full_per_token"](config(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_formula_of_a_layer_is_what_the_simulated_step_keeps(shape):
    def before_the_loss(layers: int) -> int:
        timeline = memory.simulate(config(shape, layers), "full", precision="bf16", seq_len=40).timeline
        moment = next(moment for moment in timeline if moment.phase == "loss")
        return moment.bytes[memory.COMPONENTS.index("activations")]

    assert (before_the_loss(3) - before_the_loss(2)) / 40 == LESSON["full_per_token"](config(shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("r", [2, 16])
def test_the_formula_of_pefts_default_is_what_autograd_keeps(shape, r):
    assert LESSON["kept_by_a_layer"](with_peft(r, True), shape) == LESSON["peft_per_token"](config(shape), r)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_control_keeps_less_than_full_fine_tuning_and_pefts_default_more(shape):
    full = LESSON["full_per_token"](config(shape))
    assert LESSON["kept_by_a_layer"](with_peft(8, False), shape) < full
    assert LESSON["kept_by_a_layer"](with_peft(8, True), shape) > full


@pytest.mark.parametrize("shape", SHAPES)
def test_both_methods_hold_the_same_bytes_at_the_crossing(shape):
    c, r = config(shape), 4
    n, trained = LESSON["crossing"](c, r), LESSON["adapter_parameters"](c, r)
    every = sum(LESSON["parameters"](c).values())
    full = 6 * every + n * c.num_hidden_layers * LESSON["full_per_token"](c)
    adapters = 2 * every + 12 * trained + n * c.num_hidden_layers * LESSON["peft_per_token"](c, r)
    assert full == pytest.approx(adapters)


def test_the_issues_adapters_are_rank_64_on_all_seven_layers_of_tinyllama():
    tiny = LlamaConfig(vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22,
                       num_attention_heads=32, num_key_value_heads=4)  # fmt: skip
    assert LESSON["adapter_parameters"](tiny, 64) == 50_462_720  # as peft's issue 1514 prints
