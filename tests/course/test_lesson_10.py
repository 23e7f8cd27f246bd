"""Lesson 10: what the learner types is what the library stores, and the records are what the lesson says."""

import importlib.util
import os
import tempfile
from pathlib import Path
from statistics import mean, median
from types import ModuleType
from typing import Any

import pytest
import torch

from lora_lab import quant, records
from tests.helpers import lessons

LESSON = "10_double_quantization"
P_MAX = 0.9677083
DOUBLE = lessons.function(LESSON, "double_quantize")
RESTORE = lessons.function(LESSON, "restore_constants")
BITS = lessons.function(LESSON, "bits_per_parameter")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "course" / "records" / "gpu.py"
    spec = importlib.util.spec_from_file_location("gpu", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def constants(groups: int, seed: int = 0) -> torch.Tensor:
    weight = torch.randn(64 * 256 * groups, generator=torch.Generator().manual_seed(seed))
    return quant.quantize(weight).absmax


@pytest.mark.parametrize("book", [quant.DYNAMIC8, quant.INT8, quant.FP8_E4M3], ids=lambda book: book.name)
@pytest.mark.parametrize("groups", [1, 5])
def test_the_lessons_double_quantization_is_the_librarys_bit_for_bit(book: quant.Codebook, groups: int) -> None:
    absmax = constants(groups)
    codes, scale, mean_of_all = DOUBLE(absmax, book.values)
    stored = quant.quantize_constants(absmax, book)
    assert (
        torch.equal(codes, stored.codes) and torch.equal(scale, stored.scale) and torch.equal(mean_of_all, stored.mean)
    )
    assert torch.equal(RESTORE(codes, scale, mean_of_all, book.values), stored.dequantize())


@pytest.mark.parametrize("block", [16, 64, 4096])
@pytest.mark.parametrize("double", [False, True])
def test_the_lessons_bits_are_those_of_a_stored_tensor_but_for_the_mean(block: int, double: bool) -> None:
    stored = quant.quantize(torch.randn(block * 256 * 2), quant.NF4, block, double)
    less_the_mean = 8 * (stored.nbytes - (4 if double else 0)) / (block * 512)
    assert BITS(block, 256 if double else None) == pytest.approx(less_the_mean, rel=1e-12)


def test_a_window_too_small_by_one_page_fetches_all_of_them_in_every_step() -> None:
    states_of = lessons.definitions(LESSON, ("class PagedStates",))["PagedStates"]
    with tempfile.TemporaryDirectory() as folder:
        states = states_of(os.path.join(folder, "states"), 5, 4, 4)
        for step in range(3):
            states.fetched = 0
            for number in range(5):
                states.page(number).add_(1)
            assert states.fetched == 5 and len(states.here) == 4, step
        for _ in range(4):
            states.evict()
        assert states.file.eq(3).all(), "what was evicted is in the file"


def test_the_paged_step_is_adam() -> None:
    names = lessons.definitions(LESSON, ("class PagedStates", "PAGES, NUMBERS", "def adam_step"))
    names["PAGES"] = 3
    dice = torch.Generator().manual_seed(0)
    weights, theirs = torch.zeros(3, 8), torch.zeros(3, 8, requires_grad=True)
    adam = torch.optim.Adam([theirs], lr=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        states = names["PagedStates"](os.path.join(folder, "states"), 3, 16, 2)
        for step in range(1, 5):
            gradients = torch.randn(3, 8, generator=dice)
            theirs.grad = gradients.clone()
            adam.step()
            names["adam_step"](states, weights, gradients, step)
    torch.testing.assert_close(weights, theirs.detach(), rtol=1e-5, atol=1e-7)


# ── the records ─────────────────────────────────────────────────────────────────────────────────────────────────────


def row(constants: str, block: int = 64, p_max: float = P_MAX) -> dict[str, Any]:
    (found,) = records.tried("constants", constants=constants, block=block, p_max=p_max)
    return found


def test_the_gpus_record_is_what_the_benchmark_says(script: ModuleType) -> None:
    import json

    assert script.derived(json.loads(script.SOURCE.read_text(encoding="utf-8"))) == records.load("gpu")


def test_eight_bits_for_a_constant_cost_a_hundredth_of_what_four_bits_for_a_weight_cost() -> None:
    plain = row("float32")["test divergence"]
    for kind in ("dynamic8", "INT8", "FP8_E4M3"):
        assert abs(mean(row(kind)["test divergence"]) - mean(plain)) < 0.015 * mean(plain)
    assert mean(row("one mean")["test divergence"]) > 15 * mean(plain), "constants do matter"


def test_int8_is_the_most_exact_e4m3_the_least_and_the_dynamic_map_alone_adds_on_every_text() -> None:
    error = {kind: row(kind)["error_of_constants"] ** 0.5 for kind in ("dynamic8", "INT8", "FP8_E4M3")}
    assert error["INT8"] < error["dynamic8"] < error["FP8_E4M3"]
    assert error["FP8_E4M3"] / error["INT8"] == pytest.approx(2.4, abs=0.05)
    added = {kind: [a - b for a, b in zip(row(kind)["test divergence"], row("float32")["test divergence"], strict=True)]
             for kind in error}  # fmt: skip
    assert {kind: sum(each > 0 for each in of) for kind, of in added.items()} == {
        "dynamic8": 8,
        "INT8": 5,
        "FP8_E4M3": 6,
    }
    assert mean(added["dynamic8"]) == pytest.approx(0.020, abs=5e-4)
    assert mean(added["INT8"]) == pytest.approx(0.001, abs=5e-4)
    assert min(added["FP8_E4M3"]) == pytest.approx(-0.06, abs=5e-3)
    assert max(added["FP8_E4M3"]) == pytest.approx(0.08, abs=5e-3)


@pytest.mark.parametrize(("part", "worse"), [("test divergence", 6), ("validation divergence", 3)])
def test_at_four_and_an_eighth_bits_longer_blocks_with_plain_constants_are_worse_on_most_texts(part, worse) -> None:
    ratios = [a / b for a, b in zip(row("float32", 256)[part], row("dynamic8", 64)[part], strict=True)]
    assert sum(each > 1 for each in ratios) == worse
    if part == "test divergence":
        assert median(ratios) == pytest.approx(1.15, abs=0.01)


def test_at_four_and_a_half_bits_smaller_blocks_typically_save_a_third() -> None:
    pairs = zip(row("dynamic8", 16)["test divergence"], row("float32", 64)["test divergence"], strict=True)
    assert median(a / b for a, b in pairs) == pytest.approx(2 / 3, abs=0.02)


def test_at_equal_bits_quantized_constants_are_better_or_equal_in_the_mean() -> None:
    for block in (16, 32, 64, 128, 256, 512, 1024):
        double, plain = row("dynamic8", block), row("float32", 4 * block)
        assert abs(double["bits"] - plain["bits"]) < 0.01
        assert mean(double["test divergence"]) < 1.02 * mean(plain["test divergence"])
        assert double["error"] < plain["error"]


def test_rows_have_every_text_and_the_bits_of_the_formula() -> None:
    record = records.load("constants")
    for each in record["rows"]:
        assert [len(each[part]) for part in record["texts"]] == list(record["texts"].values())
        if each["constants"] in ("float32", "dynamic8"):
            wanted = BITS(each["block"], None if each["constants"] == "float32" else 256)
            assert each["bits"] == pytest.approx(wanted, abs=2e-3)
