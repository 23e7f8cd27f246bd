"""Codebooks, blocks and double quantization, against published tables, brute force and bitsandbytes."""

import math

import bitsandbytes.functional as bnb
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab import quant

ALL = list(quant.CODEBOOKS.values())

# QLoRA, appendix E, as printed there.
PUBLISHED_NF4 = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def brute_force(tensor: torch.Tensor, codebook: quant.Codebook, block_size: int) -> torch.Tensor:
    """Every block on its own, every value against every level, in float64."""
    flat = tensor.flatten().double()
    restored = []
    for start in range(0, len(flat), block_size):
        block = flat[start : start + block_size]
        scale = block.abs().max()
        levels = codebook.values.double() * scale
        restored.append(levels[(block[:, None] - levels).abs().argmin(dim=1)])
    return torch.cat(restored).view(tensor.shape)


def test_nf4_is_the_published_table_bit_for_bit():
    assert quant.NF4.values.tolist() == PUBLISHED_NF4


def test_nf4_and_fp4_and_the_dynamic_map_are_those_of_bitsandbytes():
    assert torch.equal(quant.NF4.values, bnb.get_4bit_type("nf4", device="cpu"))
    assert torch.equal(quant.FP4_BNB.values, bnb.get_4bit_type("fp4", device="cpu").sort().values)
    assert torch.equal(quant.DYNAMIC8.values, bnb.create_dynamic_map(signed=True))


def test_nf4_has_seven_negative_values_a_zero_and_eight_positive_ones():
    signs = quant.NF4.values.sign().tolist()
    assert (signs.count(-1), signs.count(0), signs.count(1)) == (7, 1, 8)


@pytest.mark.parametrize("bits", range(2, 9))
def test_normal_float_has_an_exact_zero_and_reaches_one_on_both_sides(bits):
    book = quant.normal_float(bits)
    assert len(book) == 2**bits and 0.0 in book.values.tolist()
    assert book.values[0] == -1 and book.values[-1] == 1
    assert (book.values.diff() > 0).all()


def test_the_two_tables_called_e2m1_differ_and_are_named():
    ocp = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert quant.FP4_E2M1.values[8:].tolist() == pytest.approx([v / 6 for v in ocp])
    assert quant.FP4_BNB.values[8:].tolist() == pytest.approx([0, 1 / 192, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1])
    assert quant.FP4_E3M0.values[8:].tolist() == [0, *(2.0**-k for k in range(6, -1, -1))]
    assert quant.INT4.values.tolist() == pytest.approx([i / 7 for i in range(-8, 8)])


@pytest.mark.parametrize("book", ALL, ids=lambda book: book.name)
def test_a_value_on_the_midpoint_of_two_levels_takes_the_lower(book):
    midpoints = book.midpoints[book.values.diff() > 0]
    below = book.values[:-1][book.values.diff() > 0]
    assert torch.equal(book.decode(book.encode(midpoints)), below)
    above = torch.nextafter(midpoints, torch.tensor(9.0))
    assert (book.decode(book.encode(above)) > below).all()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ALL),
    st.sampled_from([16, 64, 128]),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(0, 99),
)
def test_restored_values_are_the_nearest_levels(book, block_size, shape, seed):
    tensor = normal(*shape, seed=seed)
    restored = quant.quantize(tensor, book, block_size).dequantize()
    wanted = brute_force(tensor, book, block_size)
    assert restored.shape == tensor.shape
    gap = (restored.double() - tensor.double()).abs() - (wanted - tensor.double()).abs()
    assert gap.max() <= 1e-6  # as near as the nearest, where rounding may choose the other of two equally near levels


@pytest.mark.parametrize("shape", [(4096,), (64, 96), (33, 100, 3), (7,), ()])
@pytest.mark.parametrize("double_quant", [False, True])
def test_any_shape_round_trips_and_counts_its_bytes(shape, double_quant):
    tensor = normal(*shape)
    q = quant.quantize(tensor, double_quant=double_quant)
    n = tensor.numel()
    blocks = math.ceil(n / 64)
    constants = blocks + 4 * math.ceil(blocks / 256) + 4 if double_quant else 4 * blocks
    assert q.packed.dtype == torch.uint8 and q.absmax.dtype == torch.float32 and len(q.absmax) == blocks
    assert q.nbytes == math.ceil(n / 2) + constants
    assert q.bits_per_param == 8 * q.nbytes / n
    assert q.dequantize().shape == tensor.shape and q.dequantize().dtype == tensor.dtype


def test_the_largest_magnitude_of_each_block_is_restored_exactly():
    tensor = normal(1000)
    q = quant.quantize(tensor, quant.INT4, 64)
    for start in range(0, 1000, 64):
        block = tensor[start : start + 64]
        assert q.dequantize()[start : start + 64].abs().max() == block.abs().max()


def test_quantizing_what_was_dequantized_changes_nothing():
    for book in (quant.NF4, quant.FP4_BNB, quant.INT4):
        once = quant.quantize(normal(640), book).dequantize()
        assert torch.equal(quant.quantize(once, book).dequantize(), once)


def test_first_code_sits_in_the_high_nibble():
    packed = quant.quantize(torch.tensor([1.0, -1.0])).packed
    assert packed.tolist() == [0xF0]
    assert quant.unpack(quant.pack(torch.tensor([1, 2, 3], dtype=torch.uint8)), 3).tolist() == [1, 2, 3]


def test_zero_blocks_and_denormals_stay_finite():
    tensor = torch.zeros(128)
    tensor[64:] = 1e-42 * torch.arange(64)
    restored = quant.quantize(tensor).dequantize()
    assert torch.equal(restored[:64], torch.zeros(64))
    assert torch.isfinite(restored).all() and restored.max() == tensor.max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("kind", "book"), [("nf4", quant.NF4), ("fp4", quant.FP4_BNB)])
@pytest.mark.parametrize("block_size", [64, 256])
def test_codes_constants_and_values_equal_bitsandbytes_on_whole_blocks(dtype, kind, book, block_size):
    tensor = normal(96, 512, dtype=dtype)
    theirs, state = bnb.quantize_4bit(tensor, blocksize=block_size, quant_type=kind)
    ours = quant.quantize(tensor, book, block_size)
    assert torch.equal(ours.absmax, state.absmax)
    if kind == "nf4":  # its fp4 codes carry a sign bit, so only the values can be compared
        assert torch.equal(ours.packed, theirs.flatten())
    restored = bnb.dequantize_4bit(theirs, state)
    assert torch.equal(ours.dequantize(), restored)


def test_double_quantization_equals_bitsandbytes_but_for_the_few_codes_it_rounds_away_from_the_nearest():
    tensor = normal(512, 768)
    _, state = bnb.quantize_4bit(tensor, blocksize=64, quant_type="nf4", compress_statistics=True)
    ours = quant.quantize(tensor, double_quant=True).constants
    assert torch.equal(ours.mean, state.offset) and torch.equal(ours.scale, state.state2.absmax)
    theirs = state.absmax.flatten()
    different = ours.codes != theirs
    assert different.float().mean() < 0.005
    exact = (quant.quantize(tensor).absmax - ours.mean) / ours.scale.repeat_interleave(256)[: len(theirs)]

    def distance(codes: torch.Tensor) -> torch.Tensor:
        return (quant.DYNAMIC8.decode(codes) - exact).abs()

    assert (distance(ours.codes) <= distance(theirs) + 1e-7).all()


def test_bits_per_parameter_are_those_of_the_paper():
    tensor = normal(1024, 1024)
    assert quant.quantize(tensor).bits_per_param == 4.5
    theory = 4 + 8 / 64 + 32 / (64 * 256)
    assert quant.quantize(tensor, double_quant=True).bits_per_param == pytest.approx(theory, abs=1e-4)


def test_nf4_beats_int4_and_both_fp4_on_normal_weights():
    tensor = normal(512, 512)

    def error(book: quant.Codebook) -> float:
        return float((quant.quantize(tensor, book).dequantize() - tensor).square().mean())

    assert error(quant.NF4) < error(quant.INT4) < error(quant.FP4_BNB) < error(quant.FP4_E3M0)
    assert error(quant.NF4) == pytest.approx(8.46e-3, rel=0.01)


@pytest.mark.parametrize(
    ("error", "call", "words"),
    [
        (ValueError, lambda: quant.quantize(torch.tensor([1.0, math.inf])), "infinity"),
        (ValueError, lambda: quant.quantize(torch.tensor([1.0, math.nan])), "NaN"),
        (ValueError, lambda: quant.quantize(torch.ones(4), block_size=48), "48"),
        (ValueError, lambda: quant.quantize(torch.ones(4), block_size=8), "8"),
        (ValueError, lambda: quant.quantize(torch.ones(4), quant.DYNAMIC8), "256 levels"),
        (ValueError, lambda: quant.quantize(torch.ones(0)), "nothing to quantize"),
        (TypeError, lambda: quant.quantize(torch.ones(4, dtype=torch.int8)), "int8"),
        (TypeError, lambda: quant.quantize(torch.ones(4, dtype=torch.float64)), "float64"),
        (ValueError, lambda: quant.normal_float(1), "not 1"),
        (ValueError, lambda: quant.get_codebook("nf3"), "NF4"),
        (ValueError, lambda: quant.Codebook("bad", torch.tensor([1.0, 0.0])), "ascending"),
    ],
)
def test_bad_input_is_named(error, call, words):
    with pytest.raises(error, match=words):
        call()
