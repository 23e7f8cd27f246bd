"""Lesson 13: what the learner types does what PEFT does, and what the lesson says is in its records."""

import warnings

import pytest

from lora_lab import lora, memory, models, records
from lora_lab.data.batches import encode_example
from tests.helpers import lessons

LESSON = "13_peft_and_bitsandbytes"
peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def embedded():
    return models.load_embedded()


def test_the_labels_are_the_librarys(embedded):
    chat_labels, tokenizer = lessons.function(LESSON, "chat_labels"), embedded[1]
    for prompt, answer in (("Which queue? My parcel never came", "delivery"), ("", "x"), ("two\nlines", '{"a": 1}')):
        assert chat_labels(tokenizer, prompt, answer) == encode_example(tokenizer, prompt, answer)


@pytest.mark.parametrize("targets", ["all-linear", "q_proj", ("q_proj", "down_proj")])
@pytest.mark.parametrize("rslora", [False, True])
def test_both_libraries_adapt_the_same_layers_by_the_same_scale(targets, rslora):
    config = lora.LoRAConfig(r=4, alpha=6, target_modules=targets, use_rslora=rslora)
    as_peft = lessons.function(LESSON, "as_peft", peft=peft)
    ours = lora.adapters(lora.inject(models.load_embedded()[0], config))
    theirs = peft.get_peft_model(models.load_embedded()[0], as_peft(config)).base_model.model
    found = {name: m.scaling["default"] for name, m in theirs.named_modules() if hasattr(m, "lora_A")}
    assert found == pytest.approx({name: layer.scaling for name, layer in ours.items()})


def test_what_is_missed_is_what_peft_gives_no_adapter_and_says_nothing_of(embedded):
    missed = lessons.function(LESSON, "missed_targets")
    for targets in (["q_proj", "out_proj"], ["proj", "k_proj"], ["self_attn.q_proj", "f_attn.q_proj", "o_proj"]):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            config = peft.LoraConfig(target_modules=targets)
            model = peft.get_peft_model(models.load_embedded()[0], config)
        adapted = model.base_model.targeted_module_names
        never = [t for t in targets if not any(name.endswith(f".{t}") for name in adapted)]
        assert missed(embedded[0], targets) == never


def test_the_opening_numbers_are_the_records_and_the_estimate_knows_them():
    rows = [row for row in records.load("real_peft")["gpu"] if row["seq_len"] == 2048]
    assert [(row["cast"], f"{row['peak'] / 1e9:.1f}") for row in rows] == [(True, "13.7"), (False, "10.0")]
    for row in rows:
        options = {"r": 16, "seq_len": 2048, "checkpointing": True, "upcast_frozen": row["cast"]}
        predicted = memory.estimate("llama-3.1-8b", "qlora", **options).peak_bytes
        assert predicted == pytest.approx(row["peak"], rel=0.01)


def test_without_the_line_and_without_checkpointing_the_peak_is_the_largest_of_all():
    peaks = {}
    for name, way in {"line": {"upcast_frozen": True}, "by hand": {}, "nothing": {"checkpointing": False}}.items():
        options = {"r": 16, "seq_len": 2048, "checkpointing": True} | way
        peaks[name] = memory.estimate("llama-3.1-8b", "qlora", **options).peak_bytes
    assert f"{peaks['nothing'] / 1e9:.1f}" == "21.6" and peaks["by hand"] < peaks["line"] < peaks["nothing"]


def test_a_step_of_four_times_the_tokens_takes_the_same_time_so_the_minutes_are_said_for_both():
    rows = [row for row in records.load("real_peft")["gpu"] if not row["cast"]]
    assert [row["seq_len"] for row in rows] == [512, 2048]
    steps = [row["seq_len"] / row["tokens_per_s"] for row in rows]
    assert steps[0] == pytest.approx(steps[1], rel=0.02)
    assert [f"{1.5e6 / row['tokens_per_s'] / 60:.1f}" for row in rows] == ["16.5", "4.2"]


def test_on_a_gpu_two_libraries_lose_the_same_in_fp32_and_some_percent_apart_in_bf16():
    apart = {}
    for row in records.tried("gpu", section="equal"):
        pairs = zip(row["lora_lab"], row["bitsandbytes + PEFT"], strict=True)
        apart[row["dtype"]] = [abs(ours - theirs) / theirs for ours, theirs in pairs]
    assert max(apart["float32"]) == 0 and f"{100 * apart['bfloat16'][39]:.1f}" == "3.5"


def test_the_call_adds_two_bytes_for_each_number_that_is_not_in_four_bits():
    options = {"method": "qlora", "r": 16, "seq_len": 2048, "checkpointing": True}
    bare, cast = (memory.estimate("llama-3.1-8b", upcast_frozen=flag, **options) for flag in (False, True))
    added = cast.phases["at rest"] - bare.phases["at rest"]
    assert added == 2 * (2 * 128_256 * 4096 + (2 * 32 + 1) * 4096)  # embeddings, head, norms
    assert f"{added / 1e9:.1f}" == "2.1"


def test_the_real_model_learns_as_well_by_the_tools_of_the_trade_and_not_from_other_peoples_answers():
    rows = records.load("real_peft")["rows"]
    tuned = {row["seed"]: row for row in rows if row["run"] == "peft"}
    ours = {row["seed"]: row for row in records.tried("real_finetune", run="qlora")}
    assert tuned and all(row["lr"] == ours[seed]["lr"] and row["steps"] == 30 for seed, row in tuned.items())
    assert all(abs(row["exact"] - ours[seed]["exact"]) <= 0.15 for seed, row in tuned.items())
    control = records.tried("real_finetune", run="qlora, answers shuffled")
    assert all(row["exact"] < 0.05 < 0.9 < row["valid"] for row in control)
