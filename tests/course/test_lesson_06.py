"""Lesson 06: what the learner types is the library's, and what the lesson says is the record's."""

import re

import pytest

from lora_lab import memory, records
from lora_lab.memory.gpus import process_bytes
from tests.helpers import lessons

LESSON = "06_will_it_fit"
MODEL = "llama-3.1-8b"


def peak(method: str, **options: object) -> int:
    return memory.estimate(MODEL, method, stack="peft", seq_len=2048, **options).peak_bytes


@pytest.mark.parametrize("name", ["smollm2-135m", "llama-3.1-8b"])
def test_what_no_text_changes_is_what_the_library_holds_before_the_step(name):
    fixed_bytes = lessons.function(LESSON, "fixed_bytes")
    config = memory.load_config(name)
    every = memory.parameters(config).total
    held = {"frozen weights", "trainable weights", "optimizer states", "gradients"}
    for method, frozen, trained in (("full", 0, every), ("lora", every, memory.lora_parameters(config, 16))):
        last = memory.estimate(config, method, seq_len=64).timeline[-1]
        parts = dict(zip(memory.COMPONENTS, last.bytes))
        found = sum(count for part, count in parts.items() if part in held)
        assert fixed_bytes(frozen, 16, trained) == pytest.approx(found, rel=1e-4)  # but for buffers


@pytest.mark.parametrize("budget", [10, 14, 25.2, 80])
def test_the_learners_halving_finds_what_memory_fit_finds(budget):
    largest = lessons.function(LESSON, "largest_that_fits")
    options = {"stack": "peft", "seq_len": 512}

    def fits(batch: int) -> bool:
        return memory.estimate(MODEL, "qlora", batch_size=batch, **options).peak_bytes <= budget * 1e9

    found = largest(fits, 4096)
    if found:
        assert found == memory.fit(budget, "batch_size", MODEL, "qlora", **options)
    else:
        with pytest.raises(ValueError, match="too little"):
            memory.fit(budget, "batch_size", MODEL, "qlora", **options)


def test_four_bits_alone_save_a_twentieth_under_peft_and_checkpointing_more_than_half():
    without = peak("qlora", checkpointing=False)
    assert 0.93 < without / peak("lora") < 0.96
    assert peak("qlora") < 0.45 * without


def test_the_rule_of_thumb_is_the_published_tables():
    rule = lessons.function(LESSON, "rule_of_thumb", re=re)
    assert rule("llama-3.1-8b qlora checkpointed 1x2048") == 4_000_000_000
    assert rule("llama-3.2-1b full bf16 1x2048") == 8_000_000_000
    assert rule("llama-3.2-1b full mixed 1x2048") == 18_000_000_000
    assert rule("smollm2-135m lora sdpa r32 1x4096") == 270_000_000
    assert rule("qwen2.5-1.5b-instruct lora eager r32 2x1024") == 3_000_000_000
    assert rule("small full mixed 2x1024") is None


def test_the_estimate_is_within_a_tenth_of_every_run_on_a_t4_and_an_h100_and_the_rule_is_not():
    rule = lessons.function(LESSON, "rule_of_thumb", re=re)
    runs = [run for run in records.load("memory_world")["rows"] if run["measured"] and run["gpu"] in ("T4", "H100")]
    assert (sum(run["gpu"] == "T4" for run in runs), len(runs)) == (39, 89)
    assert all(abs(run["typed"] / run["measured"] - 1) < 0.1 for run in runs)
    named = [(rule(run["id"].lower()), run["measured"]) for run in runs if rule(run["id"].lower())]
    assert sum(predicted < 0.9 * measured for predicted, measured in named) > 0.9 * len(named)


def test_the_fastest_way_on_each_card_is_one_that_surely_fits():
    fastest = lessons.function(LESSON, "fastest_that_fits")
    for gpu, wanted in (("a100-80gb", "LoRA"), ("rtx-4090", "QLoRA"), ("rtx-3070", None)):
        card, ways = memory.get_gpu(gpu), []
        for name, method, operations in (("LoRA", "lora", 2), ("QLoRA", "qlora", 3)):
            ways.append({"name": name, "gb": process_bytes(peak(method), card)[1] / 1e9, "operations": operations})
        assert fastest(ways, card.usable_bytes / 1e9) == wanted


def test_checkpointing_costs_lora_half_as_much_again_and_full_fine_tuning_a_third():
    times = {}
    for method in ("lora", "full"):
        plain, again = (memory.flops_per_token(MODEL, method, 2048, checkpointing=on) for on in (False, True))
        times[method] = again / plain
    assert times["lora"] == pytest.approx(3 / 2, abs=0.01) and times["full"] == pytest.approx(4 / 3, abs=0.01)
