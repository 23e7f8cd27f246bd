"""What stands in lesson 09's cells computes what the library computes, bit for bit."""

import importlib.util
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from lora_lab import models, quant, records
from tests.helpers import lessons
from tests.helpers.data import normal

function = partial(lessons.function, "09_build_nf4")
F32, F64 = torch.float32, torch.float64


def bits(levels: torch.Tensor) -> list[int]:
    return levels.view(torch.int32).tolist()


def test_the_lessons_table_is_the_librarys_in_every_bit() -> None:
    assert bits(function("normal_float4")()) == bits(quant.NF4.values)


@pytest.mark.parametrize(
    "order",
    [(929 / 960,), (0.9677083, F64), (0.9677083, F32, F32), (0.9677083, F32, F64, F64), (929 / 960, F64, F64, F64)],
)
def test_every_other_order_of_roundings_misses_it_by_a_few_last_bits(order: tuple) -> None:
    table = function("normal_float4")(*order)
    assert bits(table) != bits(quant.NF4.values)
    torch.testing.assert_close(table, quant.NF4.values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("book", list(quant.CODEBOOKS.values()), ids=lambda book: book.name)
@pytest.mark.parametrize("rows, size", [(1, 16), (37, 64), (3, 4096)])
def test_the_lessons_rounding_gives_the_librarys_codes_and_values(book: quant.Codebook, rows: int, size: int) -> None:
    blocks = normal(rows, size)
    codes, values = function("nearest")(blocks, book.values)
    theirs = quant.quantize(blocks, book, size)
    assert torch.equal(codes.flatten(), quant.unpack(theirs.packed, blocks.numel()).long())
    assert torch.equal(values, theirs.dequantize())


def test_a_tie_takes_the_lower_level() -> None:
    blocks = torch.cat([torch.ones(1), quant.NF4.midpoints])[None]
    codes, _ = function("nearest")(blocks, quant.NF4.values)
    assert codes[0].tolist() == [15, *range(15)]


def test_the_six_weights_by_hand_are_those_of_the_lessons_rounding() -> None:
    absmax, codes, restored = function("six_weights")()
    levels = torch.tensor([-1, -0.6, -0.3, 0, 0.15, 0.35, 0.6, 1])
    theirs, values = function("nearest")(torch.tensor([[0.4, -0.8, 0.09, 0.3, -0.2, 0.02]]), levels)
    assert absmax == 0.8 and codes == theirs[0].tolist()
    torch.testing.assert_close(torch.tensor(restored), values[0])


def squared_error(blocks: torch.Tensor, levels: torch.Tensor) -> float:
    scaled = blocks / blocks.abs().amax(dim=1, keepdim=True)
    restored = levels[(scaled[..., None] - levels).abs().argmin(dim=-1)] * blocks.abs().amax(dim=1, keepdim=True)
    return float((restored - blocks).double().square().sum())


def fitted(blocks: torch.Tensor, steps: int) -> torch.Tensor:
    """As the lesson's cell does it."""
    absmax = blocks.abs().amax(dim=1, keepdim=True)
    values, importance = (blocks / absmax).flatten(), absmax.square().expand_as(blocks).flatten()
    levels, step = quant.NF4.values, function("lloyd_step")
    for _ in range(steps):
        levels = step(values, importance, levels)
    return levels


def test_no_step_towards_lloyds_table_raises_the_error() -> None:
    blocks = normal(301, 64, seed=1)
    errors = [squared_error(blocks, fitted(blocks, steps)) for steps in (0, 1, 2, 10, 40)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.93 * errors[0]


def test_the_lessons_fit_to_samples_is_as_good_as_the_librarys_to_the_density() -> None:
    test = normal(2**10, 64, seed=2)
    assert squared_error(test, fitted(normal(2**10, 64), 80)) < 1.02 * squared_error(test, quant.lloyd().values)


# ── the record ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "course" / "records" / "histogram.py"
    spec = importlib.util.spec_from_file_location("histogram", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_record_counts_every_linear_weight_of_the_real_model_and_names_its_origin() -> None:
    record = records.load("histogram")
    (row,) = record["rows"]
    hidden, kv, inner, blocks = 576, 192, 1536, 30
    assert row["weights"] == sum(row["counts"]) == blocks * (2 * hidden * (hidden + kv) + 3 * hidden * inner)
    assert record["origin"] == "Q4_1" and record["block"] == 64 and len(row["counts"]) == 101


def test_every_weight_falls_into_one_cell_and_absmax_into_the_last(script: ModuleType) -> None:
    counts = script.counts(torch.cat([torch.zeros(63), torch.ones(1)]))
    assert counts[50] == 63 and counts[100] == 1 and int(counts.sum()) == 64
    base, _ = models.load_embedded()
    weight = base.model.layers[0].mlp.up_proj.weight.detach()
    scaled = weight.reshape(-1, 64) / weight.reshape(-1, 64).abs().amax(1, keepdim=True)
    assert script.counts(weight).tolist() == torch.histc(scaled, 101, -1, 1).long().tolist()
