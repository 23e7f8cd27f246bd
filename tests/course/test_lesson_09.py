"""What stands in lesson 09's cells computes what the library computes, bit for bit."""

from functools import partial

import pytest
import torch

from lora_lab import quant
from tests.helpers import lessons
from tests.helpers.data import normal

function = partial(lessons.function, "09_build_nf4")


def bits(levels: torch.Tensor) -> list[int]:
    return levels.view(torch.int32).tolist()


def test_the_lessons_table_is_the_librarys_in_every_bit():
    assert bits(function("normal_float4")()) == bits(quant.NF4.values)


@pytest.mark.parametrize(
    "order",
    [
        {"p_max": 929 / 960},
        {"probability": torch.float64},
        {"quantile": torch.float32},
        {"result": torch.float64},
        {"p_max": 929 / 960, "probability": torch.float64, "quantile": torch.float64, "result": torch.float64},
    ],
)
def test_every_other_order_of_roundings_misses_it_by_a_few_last_bits(order):
    table = function("normal_float4")(**order)
    assert bits(table) != bits(quant.NF4.values)
    torch.testing.assert_close(table, quant.NF4.values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("book", list(quant.CODEBOOKS.values()), ids=lambda book: book.name)
@pytest.mark.parametrize("rows, size", [(1, 16), (37, 64), (3, 4096)])
def test_the_lessons_rounding_gives_the_librarys_codes_and_values(book, rows, size):
    blocks = normal(rows, size)
    codes, values = function("nearest")(blocks, book.values)
    theirs = quant.quantize(blocks, book, size)
    assert torch.equal(codes.flatten(), quant.unpack(theirs.packed, blocks.numel()).long())
    assert torch.equal(values, theirs.dequantize())


def test_a_tie_takes_the_lower_level():
    blocks = torch.cat([torch.ones(1), quant.NF4.midpoints])[None]
    codes, _ = function("nearest")(blocks, quant.NF4.values)
    assert codes[0].tolist() == [15, *range(15)]


def squared_error(blocks: torch.Tensor, levels: torch.Tensor) -> float:
    scaled = blocks / blocks.abs().amax(dim=1, keepdim=True)
    restored = levels[(scaled[..., None] - levels).abs().argmin(dim=-1)] * blocks.abs().amax(dim=1, keepdim=True)
    return float((restored - blocks).double().square().sum())


@pytest.mark.parametrize("fixed", [(), (7,), (0, 7, 15)])
def test_lloyd_max_cannot_be_improved_by_moving_a_level_that_is_free(fixed):
    blocks = normal(301, 64, seed=1)
    levels = function("lloyd_max")(blocks, quant.NF4.values, fixed)
    least = squared_error(blocks, levels)
    assert least < squared_error(blocks, quant.NF4.values)
    assert all(levels[k] == quant.NF4.values[k] for k in fixed)
    for k in set(range(16)) - set(fixed):
        for step in (-0.01, 0.01):
            moved = levels.clone()
            moved[k] += step
            assert squared_error(blocks, moved) > least


@pytest.mark.parametrize("fixed, keep", [((), ()), ((0, 7, 15), (-1, 0, 1))])
def test_the_lessons_fit_to_samples_approaches_the_librarys_to_the_density(fixed, keep):
    fitted = function("lloyd_max")(normal(2**14, 64), quant.NF4.values, fixed=fixed, steps=1000)
    torch.testing.assert_close(fitted, quant.lloyd(keep=keep).values, rtol=0, atol=5e-3)
