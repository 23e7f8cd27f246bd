"""Codebooks, blocks and double quantization, against published tables, brute force and bitsandbytes."""

import copy
import dataclasses
import math
import pickle
import subprocess
import sys
from statistics import NormalDist
from unittest import mock

import bitsandbytes.functional as bnb
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_lab import quant
from lora_lab.quant import blockwise, lookup
from lora_lab.quant.kernels import dispatch
from tests.helpers.data import normal

FOUR_BITS = list(quant.CODEBOOKS.values())
EIGHT_BITS = [quant.INT8, quant.FP8_E4M3, quant.DYNAMIC8, quant.normal_float(8)]
ASYMMETRIC = [quant.INT4_ASYMMETRIC, quant.INT8_ASYMMETRIC]
SYMMETRIC = [*FOUR_BITS, quant.normal_float(3), quant.lloyd(), *EIGHT_BITS]
ALL = [*SYMMETRIC, *ASYMMETRIC]

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


def brute_force(tensor: torch.Tensor, codebook: quant.Codebook, block_size: int) -> torch.Tensor:
    """Every block on its own, every value against every level, in float64."""
    flat = tensor.flatten().double()
    restored = []
    for start in range(0, len(flat), block_size):
        block = flat[start : start + block_size]
        if codebook.asymmetric:
            low, high = block.min(), block.max()
            levels = low + (high - low) * (codebook.values.double() + 1) / 2
        else:
            levels = codebook.values.double() * block.abs().max()
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


def test_fp8_holds_every_finite_e4m3_number_that_torch_knows():
    codes = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    finite = codes[codes.isfinite()].unique()
    assert torch.equal(quant.FP8_E4M3.values, finite / 448)


def test_the_integer_tables_are_evenly_spaced():
    assert quant.INT8.values.tolist() == pytest.approx([i / 127 for i in range(-127, 128)])
    for bits, book in ((4, quant.INT4_ASYMMETRIC), (8, quant.INT8_ASYMMETRIC)):
        assert len(book) == 2**bits and book.values[0] == -1 and book.values[-1] == 1
        assert book.values.diff().max() - book.values.diff().min() < 1e-6


def test_the_lloyd_codebook_beats_nf4_by_a_tenth_on_normal_weights_and_loses_on_heavy_tails():
    normal_weights, tails = normal(2**20), torch.distributions.StudentT(3.0)
    torch.manual_seed(0)
    heavy = tails.sample((2**20,))

    def gain(book: quant.Codebook, x: torch.Tensor) -> float:
        error = {b: (quant.quantize(x, b).dequantize() - x).square().mean() for b in (book, quant.NF4)}
        return float(1 - error[book] / error[quant.NF4])

    assert gain(quant.lloyd(), normal_weights) == pytest.approx(0.097, abs=0.003)
    assert gain(quant.lloyd(keep=(-1, 0, 1)), normal_weights) == pytest.approx(0.053, abs=0.003)
    assert gain(quant.lloyd(), heavy) < 0
    assert {-1.0, 0.0, 1.0} <= set(quant.lloyd(keep=(-1, 0, 1)).values.tolist())


@pytest.mark.parametrize(("bits", "block_size"), [(2, 16), (3, 32), (4, 64), (4, 256)])
def test_every_lloyd_level_is_the_weighted_mean_of_the_values_that_choose_it(bits, block_size):
    book = quant.lloyd(bits, block_size)
    blocks = normal(2**21).view(-1, block_size)
    absmax = blocks.abs().amax(dim=1, keepdim=True)
    scaled, weight = (blocks / absmax).flatten(), absmax.square().expand_as(blocks).flatten().double()
    codes = book.encode(scaled).long()
    mass = torch.bincount(codes, weight, minlength=len(book))
    means = torch.bincount(codes, weight * scaled, minlength=len(book)) / mass
    torch.testing.assert_close(means.float(), book.values, rtol=0, atol=2e-3)
    assert torch.allclose(book.values, -book.values.flip(0), atol=1e-5)  # symmetric, as the normal curve


@pytest.mark.parametrize("book", ALL, ids=lambda book: book.name)
def test_rounding_by_look_up_is_rounding_by_bisection_bit_for_bit(book):
    m, up, down = book.midpoints, torch.tensor(2.0), torch.tensor(-2.0)
    edges = torch.cat([m, m.nextafter(up), m.nextafter(down), book.values, torch.tensor([1.0, -1.0]).nextafter(up)])
    scaled = torch.cat([edges[edges >= -1], torch.tensor([-1.0]).nextafter(down), torch.empty(10**5).uniform_(-1, 1)])
    assert torch.equal(lookup.encode(scaled, book), book.encode(scaled))
    assert lookup.encode(scaled[:6].view(2, 3), book).shape == (2, 3)


@pytest.mark.parametrize("bits", range(2, 9))
def test_normal_float_is_made_of_quantiles_by_the_formula_of_the_paper(bits):
    half, inverse = 2 ** (bits - 1), NormalDist().inv_cdf
    p_max = ((1 - 1 / (2 * (2 * half - 1))) + (1 - 1 / (2 * 2 * half))) / 2
    above = [inverse(0.5 + (p_max - 0.5) * i / half) / inverse(p_max) for i in range(half + 1)]
    below = [-inverse(0.5 + (p_max - 0.5) * i / (half - 1)) / inverse(p_max) for i in range(1, half)]
    assert quant.normal_float(bits).values.tolist() == pytest.approx([*reversed(below), *above], abs=1e-5)


SETTINGS = """
import torch
{setting}
from lora_lab import quant
torch.set_default_device("cpu")
weight = torch.arange(640, dtype=torch.float32).sin()
parts = []
for book in (quant.NF4, quant.INT8, quant.DYNAMIC8, quant.FP8_E4M3, quant.lloyd(), quant.normal_float(3)):
    q = quant.quantize(weight, book, double_quant=True)
    parts += [book.values, q.packed.float(), q.dequantize(torch.float32), q.constants.codes.float()]
print(torch.cat([part.double() for part in parts]).tolist())
"""


def test_torchs_default_dtype_and_device_change_nothing():
    """In processes of their own, because tables are made once."""
    said = {
        setting: subprocess.run(
            [sys.executable, "-c", SETTINGS.format(setting=setting)], capture_output=True, text=True, check=True
        ).stdout
        for setting in ("", "torch.set_default_dtype(torch.bfloat16); torch.set_default_device('meta')")
    }
    assert len(set(said.values())) == 1 and len(next(iter(said.values()))) > 1000


def test_tables_survive_pickling_and_copying():
    for book in ALL:
        assert pickle.loads(pickle.dumps(book)) == book and copy.deepcopy(book) is book


def test_levels_that_no_value_can_reach_do_no_harm():
    book = quant.Codebook("wide", torch.tensor([-2.0, 0.0, 2.0, 3.0]))
    scaled = torch.tensor([-1.0, 0.3, 1.0])
    assert torch.equal(lookup.encode(scaled, book), book.encode(scaled))


@settings(max_examples=60)
@given(
    st.sampled_from(ALL),
    st.sampled_from([16, 64]),
    st.lists(st.integers(1, 13), min_size=1, max_size=3),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    st.sampled_from([False, True, quant.FP8_E4M3, quant.INT8]),
)
def test_restoring_by_look_up_is_the_formula_bit_for_bit(book, block_size, shape, dtype, double_quant):
    q = quant.quantize(normal(*shape, dtype=dtype), book, block_size, double_quant)
    assert torch.equal(q.dequantize(), q._by_formula().to(dtype))
    assert torch.equal(q.dequantize(torch.float64), q._by_formula().double())


@pytest.mark.parametrize("n", [2**17 - 1, 2**17 + 64, 2**18 + 1])
def test_chunks_leave_no_seams(n):
    tensor = normal(n)
    q = quant.quantize(tensor)
    whole = tensor.split(64)
    absmax = torch.stack([block.abs().max() for block in whole[-5:]])
    assert torch.equal(q.absmax[-5:], absmax)
    assert torch.equal(q.dequantize(), q._by_formula())
    assert (q.dequantize() - tensor).abs().max() <= q.absmax.max() * quant.NF4.values.diff().max() / 2 * 1.001


@pytest.mark.parametrize("book", ALL, ids=lambda book: book.name)
def test_a_value_on_the_midpoint_of_two_levels_takes_the_lower(book):
    midpoints = book.midpoints[book.values.diff() > 0]
    below = book.values[:-1][book.values.diff() > 0]
    assert torch.equal(book.decode(book.encode(midpoints)), below)
    above = torch.nextafter(midpoints, torch.tensor(9.0))
    assert (book.decode(book.encode(above)) > below).all()


@settings(max_examples=40)
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


@pytest.mark.parametrize("book", [*EIGHT_BITS, *ASYMMETRIC], ids=lambda book: book.name)
@pytest.mark.parametrize("double_quant", [False, True, quant.INT8, quant.FP8_E4M3])
def test_eight_bits_and_second_constants_are_counted(book, double_quant):
    n = 1000
    q = quant.quantize(normal(n), book, 64, double_quant)
    blocks, per_block = 16, 2 if book.asymmetric else 1
    constants = blocks + 4 + 4 if double_quant else 4 * blocks
    assert q.nbytes == (n if len(book) > 16 else n // 2) + per_block * constants
    stored = [q.packed, *vars(q.constants).values()] if double_quant else [q.packed, q.constants]
    assert q.nbytes >= sum(t.nbytes for t in stored if isinstance(t, torch.Tensor))


def test_an_asymmetric_table_restores_both_ends_and_a_constant_block():
    tensor = torch.cat([3 + normal(64).abs(), torch.full((64,), 7.25), -normal(64).abs()])
    restored = quant.quantize(tensor, quant.INT4_ASYMMETRIC).dequantize()
    for start in (0, 64, 128):
        block, back = tensor[start : start + 64], restored[start : start + 64]
        torch.testing.assert_close(back.aminmax(), block.aminmax())
    lopsided = quant.quantize(tensor[:64], quant.INT4).dequantize()
    assert (restored[:64] - tensor[:64]).norm() < 0.5 * (lopsided - tensor[:64]).norm()


def test_the_range_of_huge_values_does_not_overflow():
    for tensor in (torch.tensor([3e38, -3e38, 1e38, 0.0]), torch.tensor([3e38, 2.5e38]), torch.full((256,), 3e38)):
        for book in ALL:
            for double_quant in (False, True):
                restored = quant.quantize(tensor, book, 64, double_quant).dequantize()
                assert torch.isfinite(restored).all()
                assert (restored.double() - tensor.double()).abs().max() < 0.2 * tensor.double().abs().max()


@pytest.mark.parametrize("book", [quant.DYNAMIC8, quant.INT8, quant.FP8_E4M3], ids=lambda book: book.name)
@pytest.mark.parametrize("absmax", [[1e-33, 1.0000002e-33], [1e-39, 3e-39, 2e-39]])
def test_constants_of_the_smallest_size_are_restored(book, absmax):
    absmax = torch.tensor(absmax)
    restored = quant.quantize_constants(absmax, book).dequantize()
    assert (restored.double() - absmax.double()).abs().max() <= 0.05 * absmax.double().max()


def test_a_short_block_is_measured_by_its_own_values():
    tensor = torch.cat([normal(64), 5 + normal(7).abs()])  # zeros would widen the last block's range
    for book in (quant.INT4_ASYMMETRIC, quant.INT8_ASYMMETRIC):
        q = quant.quantize(tensor, book)
        torch.testing.assert_close(q.dequantize()[64:].aminmax(), tensor[64:].aminmax())


def test_a_large_tensor_is_restored_in_chunks(monkeypatch):
    monkeypatch.setattr(dispatch, "_on", False)  # on the readable path
    q = quant.quantize(normal(2**20))
    seen = []
    select = torch.index_select
    with mock.patch("torch.index_select", lambda *args, **kw: seen.append(args[2].numel()) or select(*args, **kw)):
        q.dequantize()
    assert len(seen) == 8 and set(seen) == {2**16}  # bytes


def test_linear_int8_and_fp8_serve_for_constants_too_and_int8_is_nearer_than_the_dynamic_map():
    absmax = quant.quantize(normal(2**20)).absmax

    def error(book: quant.Codebook) -> float:
        return float((quant.quantize_constants(absmax, book).dequantize() - absmax).square().mean())

    assert error(quant.INT8) < error(quant.DYNAMIC8) < error(quant.FP8_E4M3)


def test_constants_take_the_nearest_level():
    absmax = quant.quantize(normal(2**15)).absmax
    for book in (quant.DYNAMIC8, quant.FP8_E4M3, quant.INT8):
        stored = quant.quantize_constants(absmax, book)
        for start in range(0, len(absmax), 256):
            levels = book.values.double() * stored.scale[start // 256] + stored.mean
            nearest = (absmax[start : start + 256, None] - levels).abs().amin(dim=1)
            ours = (stored.dequantize()[start : start + 256] - absmax[start : start + 256]).abs()
            assert (ours <= nearest + 1e-6).all()


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


@pytest.fixture(params=[True, False], ids=["kernels", "readable"])
def with_and_without_kernels(request, monkeypatch):
    """Kernels for any size where Numba is installed, and none."""
    monkeypatch.setattr(dispatch, "_on", request.param)
    monkeypatch.setattr(dispatch, "_LEAST", {})


@pytest.mark.usefixtures("with_and_without_kernels")
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


@pytest.mark.usefixtures("with_and_without_kernels")
@pytest.mark.parametrize("shape", [(8, 96), (8, 80), (3, 112), (5, 33)])
def test_where_rows_are_no_whole_blocks_ours_is_right_and_bitsandbytes_on_avx512_is_not(shape):
    tensor = normal(*shape)
    ours = quant.quantize(tensor)
    assert torch.allclose(ours.dequantize().double(), brute_force(tensor, quant.NF4, 64), atol=1e-6)
    packed, state = bnb.quantize_4bit(tensor, blocksize=64, quant_type="nf4")
    assert torch.equal(ours.absmax, state.absmax)  # it stores the right thing
    theirs = bnb.dequantize_4bit(packed, state)
    if torch.backends.cpu.get_cpu_capability() == "AVX512" and shape[1] % 16 == 0:
        assert (theirs - tensor).norm() > 1.5 * (ours.dequantize() - tensor).norm()  # and reads it wrongly
    else:
        assert torch.equal(theirs, ours.dequantize())


@pytest.mark.usefixtures("with_and_without_kernels")
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
        (ValueError, lambda: quant.quantize(torch.ones(4), block_size=8192), "8192"),
        (TypeError, lambda: quant.quantize(torch.ones(4), block_size=64.0), "64.0"),
        (ValueError, lambda: quant.quantize(torch.ones(4, device="meta")), "meta"),
        (ValueError, lambda: quant.asymmetric_integers(0), "bits=0"),
        (TypeError, lambda: quant.quantize([1.0, 2.0]), "list"),
        (TypeError, lambda: quant.quantize(torch.ones(4), "NF4"), "'NF4'"),
        (TypeError, lambda: quant.quantize(torch.ones(4), double_quant=1), "double_quant=1"),
        (TypeError, lambda: quant.quantize(torch.ones(4), double_quant="nf4"), "'nf4'"),
        (TypeError, lambda: quant.quantize(torch.ones(4)).dequantize(torch.int8), "int8"),
        (ValueError, lambda: quant.quantize(torch.ones(4), block_size=8), "8"),
        (ValueError, lambda: quant.quantize(torch.tensor([1.0, math.nan]), quant.INT4_ASYMMETRIC), "NaN"),
        (ValueError, lambda: quant.quantize(torch.ones(4), double_quant=quant.NF4), "'NF4' does not serve"),
        (ValueError, lambda: quant.quantize_constants(torch.ones(4), quant.INT8_ASYMMETRIC), "INT8_ASYMMETRIC"),
        (ValueError, lambda: quant.lloyd(9), "bits=9"),
        (ValueError, lambda: quant.lloyd(block_size=1), "blocks of 1"),
        (ValueError, lambda: quant.lloyd(keep=(0.5,)), "0.5"),
        (ValueError, lambda: quant.quantize(torch.ones(0)), "nothing to quantize"),
        (TypeError, lambda: quant.quantize(torch.ones(4, dtype=torch.int8)), "int8"),
        (TypeError, lambda: quant.quantize(torch.ones(4, dtype=torch.float64)), "float64"),
        (ValueError, lambda: quant.normal_float(1), "bits=1"),
        (ValueError, lambda: quant.get_codebook("nf3"), "NF4"),
        (ValueError, lambda: quant.get_codebook("int8_asymetric"), "INT8_ASYMMETRIC"),
        (TypeError, lambda: quant.get_codebook(None), "None"),
        (TypeError, lambda: quant.quantize(torch.ones(4), block_size=True), "block_size=True"),
        (TypeError, lambda: quant.quantize(torch.ones(4), "NF4"), "get_codebook"),
        (TypeError, lambda: quant.quantize([1.0]), "list"),
        (TypeError, lambda: quant.quantize(torch.eye(4).to_sparse()), "sparse.*to_dense"),
        (TypeError, lambda: quant.quantize(torch.ones(4), dtype=torch.int8), "int8"),
        (TypeError, lambda: quant.quantize(torch.ones(4)).dequantize("bfloat16"), "'bfloat16'"),
        (TypeError, lambda: quant.quantize(torch.ones(4)).dequantize(torch.float8_e8m0fnu), "e8m0"),
        (ValueError, lambda: quant.quantize(torch.full((4,), 999.0)).dequantize(torch.float8_e4m3fn), "999.*448"),
        (TypeError, lambda: quant.normal_float(4.0), "4.0"),
        (TypeError, lambda: quant.asymmetric_integers("4"), "'4'"),
        (TypeError, lambda: quant.lloyd(4, 64.0), "64.0"),
        (TypeError, lambda: quant.lloyd(keep=0), "keep=0"),
        (TypeError, lambda: quant.Codebook("bad", [0.0, 1.0]), "list"),
        (TypeError, lambda: quant.Codebook("bad", torch.tensor([0.0, 1.0]), "yes"), "'yes'"),
        (TypeError, lambda: quant.quantize_constants(torch.ones(3).half()), "float16"),
        (TypeError, lambda: quant.quantize_constants(torch.ones(3), "INT8"), "'INT8'"),
        (ValueError, lambda: quant.quantize_constants(torch.tensor([math.nan])), "finite"),
        (ValueError, lambda: quant.pack(torch.tensor([17, 1], dtype=torch.uint8)), "0 to 15"),
        (ValueError, lambda: quant.unpack(torch.ones(2, dtype=torch.uint8), 5), "5 codes"),
        (TypeError, lambda: quant.snr_db(torch.ones(2), [1.0, 1.0]), "list"),
        (ValueError, lambda: quant.Codebook("bad", torch.tensor([1.0, 0.0])), "ascending"),
    ],
)
def test_bad_input_is_named(error, call, words):
    with pytest.raises(error, match=words):
        call()


def test_every_codebook_that_is_exported_is_found_by_its_name_in_any_case():
    books = {name: book for name, book in vars(quant).items() if isinstance(book, quant.Codebook)}
    assert len(books) == 10
    for name, book in books.items():
        assert quant.get_codebook(name) is quant.get_codebook(name.lower()) is quant.get_codebook(book.name) is book


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("book", [quant.NF4, *ASYMMETRIC], ids=lambda book: book.name)
@pytest.mark.parametrize("second", [quant.DYNAMIC8, quant.INT8, quant.FP8_E4M3], ids=lambda book: book.name)
@pytest.mark.parametrize(("sign", "power"), [(1, 8), (-1, 50)])
def test_what_reaches_the_end_of_a_dtype_is_restored_finite_after_double_quantization(dtype, book, second, sign, power):
    end = torch.finfo(dtype).max
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randn(300, 64, generator=generator).double()
    reach = 1 - 0.9 * torch.rand(300, generator=generator) ** power  # most blocks end near the end, few do not
    blocks *= reach[:, None] * end / blocks.abs().amax(dim=1, keepdim=True)
    spread = blocks.flatten().to(dtype)
    flat = spread.clone()
    flat[700:764], flat[640:700] = sign * end, sign * 0.98 * end
    for weight in (spread, flat):
        q, plain = quant.quantize(weight, book, 64, second), quant.quantize(weight, book)
        restored = q.dequantize()
        assert torch.isfinite(restored).all() and torch.isfinite(q._by_formula().to(dtype)).all()
        assert (restored.double() - weight.double()).abs().max() < 0.2 * end
        changed = q.constants.codes != quant.quantize_constants(plain.absmax, second).codes
        assert not changed[plain._reach().double() < 0.9 * end].any()  # the nearest code, as in bitsandbytes


def test_constants_and_offsets_that_reach_beyond_together_take_as_many_steps_as_they_need():
    end = torch.finfo(torch.float32).max
    weight = torch.full((4, 16), end)
    weight[0, 1::2], weight[1:, 1::2] = 0.99 * end, -0.9 * end  # a block that is nearly all offset beside others
    assert torch.isfinite(quant.quantize(weight, quant.INT4_ASYMMETRIC, 16, quant.DYNAMIC8).dequantize()).all()


def test_offsets_that_lie_further_apart_than_float32_reaches_are_refused():
    end = torch.finfo(torch.float32).max
    weight = torch.cat([torch.full((16,), end), torch.full((48,), -end)])  # offsets end, -end, -end, -end; mean -end/2
    assert torch.isfinite(quant.quantize(weight, quant.INT4_ASYMMETRIC, 16).dequantize()).all()
    for second in (quant.DYNAMIC8, quant.INT8, quant.FP8_E4M3):
        with pytest.raises(ValueError, match="further apart than float32 reaches: quantize without double_quant"):
            quant.quantize(weight, quant.INT4_ASYMMETRIC, 16, second)


def test_parts_that_do_not_belong_together_are_refused():
    q = quant.quantize(normal(256), double_quant=True)
    plain = quant.quantize(normal(256))
    for changes, words in [
        ({"packed": q.packed[:3]}, "128 bytes"),
        ({"packed": q.packed.view(torch.int8)}, "int8"),
        ({"constants": plain.constants[:1]}, "4 constants"),
        ({"constants": plain.constants.half()}, "float16"),
        ({"codebook": quant.INT4_ASYMMETRIC}, "offsets"),
        ({"offsets": plain.constants}, "no offsets"),
        ({"block_size": 32}, "8 constants"),
        ({"shape": torch.Size([255, 2])}, "510 values"),
    ]:
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(q, **changes)
    for changes in ({"codes": q.constants.codes.int()}, {"scale": q.constants.scale[:0]}, {"mean": torch.ones(2)}):
        with pytest.raises(ValueError, match="constants"):
            dataclasses.replace(q.constants, **changes)


def test_levels_do_not_change_under_their_midpoints():
    levels = torch.tensor([0.0, 0.5, 1.0])
    book = quant.Codebook("mine", levels)
    levels[1] = 0.9
    assert book.values.tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_can_be_restored_in_eight_bits_rounded_once(dtype):
    q = quant.quantize(normal(100, 3), double_quant=True)
    assert torch.equal(q.dequantize(dtype).float(), q._by_formula().to(dtype).float())


@pytest.mark.parametrize("dtype", blockwise._EIGHT_BITS, ids=str)
def test_eight_bits_to_restore_go_with_double_quantization(dtype):
    weight, end = normal(100, 64), torch.finfo(dtype).max
    q = quant.quantize(weight, double_quant=True, dtype=dtype)
    assert q.dequantize().dtype == dtype
    assert torch.equal(q.dequantize(torch.float32), quant.quantize(weight, double_quant=True).dequantize())
    at_the_end = quant.quantize(weight / weight.abs().amax(1, keepdim=True) * end, double_quant=True, dtype=dtype)
    assert torch.isfinite(at_the_end.dequantize().float()).all()
    beyond = quant.quantize(weight * end, double_quant=True, dtype=dtype)
    with pytest.raises(ValueError, match="the weights reach .*: scale them"):
        beyond.dequantize()
    assert torch.equal(beyond.absmax, quant.quantize(weight * end, double_quant=True).absmax)


def test_a_block_size_of_numpy_is_stored_as_a_plain_integer():
    q = quant.quantize(normal(100), quant.NF4, np.int64(32))
    layer = quant.Linear4bit.from_linear(torch.nn.Linear(64, 48), block_size=np.int32(32))
    assert type(q.block_size) is type(layer.block_size) is type(layer.weight_quantized.block_size) is int
    assert type(dataclasses.replace(q, block_size=np.int64(32)).block_size) is int
    assert quant.lloyd(np.int64(3), np.int64(32)) == quant.lloyd(3, 32)
    assert (
        quant.normal_float(np.int8(4)) == quant.NF4 and quant.asymmetric_integers(np.int8(8)) == quant.INT8_ASYMMETRIC
    )
    for wrong in (0, 48, True):
        with pytest.raises((TypeError, ValueError), match="block_size"):
            dataclasses.replace(q, block_size=wrong)


def test_copies_keep_levels_of_the_user_s_own():
    book = quant.Codebook("mine", torch.linspace(-1, 1, 16).pow(3))
    q = quant.quantize(normal(100, 3), book, double_quant=quant.Codebook("too", torch.linspace(-1, 1, 99)))
    for other in (copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
        assert torch.equal(other.dequantize(), q.dequantize()) and other.codebook.label == book.label
