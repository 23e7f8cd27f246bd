"""Block-wise quantization on a GPU, in Triton: one program takes some whole blocks, and memory is passed over once.
A program of a product takes slices of a weight's rows and columns.

A tile [ROWS, SIZE] holds ROWS blocks of SIZE values, one block a row, so that each row has its absmax. The two codes of
a byte are neighbours: `tl.join` puts them side by side, and `tl.split` takes them apart.

How fast: `benchmarks/bench_kernels_cuda.py`.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from lora_lab.quant.codebooks import Codebook
from lora_lab.quant.double import BLOCK_SIZE, QuantizedConstants
from lora_lab.quant.stored import Stored

NAME = f"Triton {triton.__version__}"

GROUP: tl.constexpr = tl.constexpr(BLOCK_SIZE)  # constants with one scale

UNFUSED = {"enable_fp_fusion": False}
"""No product is fused with the sum that follows, which would round once less than the readable path does."""

restore_part = None  # slabs are for a CPU's cache: a GPU is fed best by one large product


class Tile(NamedTuple):
    """How the work is cut: the values of one program, and the warps of 32 threads that share them."""

    values: int
    warps: int

    def whole(self, block_size: int) -> tuple[int, int]:
        """Blocks and warps of a program; a block larger than the tile has as many more warps, eight at most."""
        return max(1, self.values // block_size), min(8, self.warps * max(1, block_size // self.values))


RESTORE = Tile(1024, warps=4)
"""Larger tiles are no faster: memory is the limit."""


class Slices(NamedTuple):
    """How a product is cut: the rows and columns of a weight that a program has at a time, the warps that share them.

    Rows and columns are powers of two, so that a slice has whole blocks or lies in one. A sum is cut into so many
    `splits` that all of the GPU has work; they are added up afterwards.
    """

    rows: int
    columns: int
    warps: int
    splits: int


ALONG, ACROSS = Slices(4, 1024, warps=4, splits=1), Slices(32, 64, warps=2, splits=16)
"""For x · Ŵᵀ, whose sums run along the rows of Ŵ, and for x · Ŵ."""

QUANTIZE = {2: Tile(1024, warps=1), 4: Tile(512, warps=1)}
"""By the bytes of a value: 64 bytes a thread, and a block's maximum is found without other warps."""


def restore(stored: Stored, out: Tensor, tile: Tile | None = None) -> None:
    """Write codebook[code] · absmax to `out`, in one launch, double quantization included.

    Args:
        stored: of n values, with a codebook of at most 16 levels.
        out: n values, contiguous, any shape; float32, bfloat16 or float16.
        tile: None takes the one that was measured to be fastest.
    """
    rows, warps = (tile or RESTORE).whole(stored.block_size)
    n, blocks = out.numel(), -(-out.numel() // stored.block_size)
    with torch.cuda.device_of(out):
        _restore[(-(-blocks // rows),)](
            *_weight(stored), out, n, stored.packed.numel(), blocks,
            SIZE=stored.block_size, ROWS=rows, DOUBLE=_is_double(stored), num_warps=warps, **UNFUSED,
        )  # fmt: skip


@triton.jit
def _restore(
    packed, levels, absmax, scale, mean, table, out, n, n_bytes, blocks,
    SIZE: tl.constexpr, ROWS: tl.constexpr, DOUBLE: tl.constexpr,
):  # fmt: skip
    """ŵ = levels[code] · absmax, where absmax is stored or is table[code] · scale + mean."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    block = first + tl.arange(0, ROWS)
    largest = _absmax(block, block < blocks, absmax, scale, mean, table, DOUBLE)

    pair, start = tl.arange(0, ROWS * SIZE // 2), first * (SIZE // 2)
    byte = tl.load(packed + start + pair, pair < n_bytes - start, 0).to(tl.int32)
    code = tl.reshape(tl.join(byte >> 4, byte & 15), (ROWS * SIZE,))
    level = tl.gather(tl.load(levels + tl.arange(0, 16)), code, 0)

    restored = tl.reshape(tl.reshape(level, (ROWS, SIZE)) * largest[:, None], (ROWS * SIZE,))
    at, start = tl.arange(0, ROWS * SIZE), first * SIZE
    tl.store(out + start + at, restored.to(out.dtype.element_ty), at < n - start)


INTERPRETED = not isinstance(_restore, triton.JITFunction)  # TRITON_INTERPRET=1, as one debugs with


@triton.jit
def _absmax(block, inside, absmax, scale, mean, table, DOUBLE: tl.constexpr):
    """absmax, or table[code] · scale + mean, which is stored in groups of 256."""
    stored = tl.load(absmax + block, inside, 0)
    if DOUBLE:
        stored = tl.load(table + stored.to(tl.int32)) * tl.load(scale + block // GROUP, inside, 0) + tl.load(mean)
    return stored


def quantize(values: Tensor, codebook: Codebook, block_size: int, tile: Tile | None = None) -> tuple[Tensor, Tensor]:
    """The packed codes and absmax of each block, in one launch.

    Args:
        values: [n], contiguous; float32, bfloat16 or float16.
        codebook: symmetric, of at most 16 levels.
        tile: None takes the one that was measured to be fastest.

    Returns:
        uint8 [ceil(n / 2)] and float32 [blocks]. Where a block holds NaN or infinity, its absmax is not finite.
    """
    n, blocks = len(values), -(-len(values) // block_size)
    packed = torch.empty(-(-n // 2), dtype=torch.uint8, device=values.device)
    absmax = torch.empty(blocks, dtype=torch.float32, device=values.device)
    rows, warps = (tile or QUANTIZE[values.element_size()]).whole(block_size)
    with torch.cuda.device_of(values):
        _quantize[(-(-blocks // rows),)](
            values, packed, absmax, _midpoints(codebook, values.device), n, len(packed), blocks,
            SIZE=block_size, ROWS=rows, num_warps=warps, **UNFUSED,
        )  # fmt: skip
    return packed, absmax


@triton.jit
def _quantize(
    values, packed, absmax, midpoints, n, n_bytes, blocks,
    SIZE: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """absmax = max |w| of a block, code = the number of midpoints below w / absmax."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    at, start = tl.arange(0, ROWS * SIZE), first * SIZE
    inside = at < n - start
    w = tl.load(values + start + at, inside, 0).to(tl.float32)
    w = tl.reshape(w, (ROWS, SIZE))
    # Without its sign a float is ordered as its bits are, NaN above infinity; a maximum of floats would drop a NaN.
    largest = tl.max(w.to(tl.int32, bitcast=True) & 0x7FFFFFFF, 1).to(tl.float32, bitcast=True)
    block = first + tl.arange(0, ROWS)
    tl.store(absmax + block, largest, block < blocks)

    scaled = tl.reshape(_divide(w, largest), (ROWS * SIZE,))
    code = tl.where(inside, _nearest(scaled, midpoints), 0)
    high, low = tl.split(tl.reshape(code, (ROWS * SIZE // 2, 2)))
    pair, start = tl.arange(0, ROWS * SIZE // 2), first * (SIZE // 2)
    tl.store(packed + start + pair, (high * 16 + low).to(tl.uint8), pair < n_bytes - start)


@triton.jit
def _divide(w, absmax):
    """w · (1 / absmax); where the reciprocal overflows, w / absmax, and 0 for a block of zeros: as `lookup.divide`."""
    inverse = tl.div_rn(1.0, absmax)
    scaled = w * inverse[:, None]
    if tl.max(inverse, 0) == float("inf"):
        divided = tl.div_rn(w, tl.where(absmax > 0, absmax, 1.0)[:, None])
        scaled = tl.where(inverse[:, None] < float("inf"), scaled, divided)
    return scaled


@triton.jit
def _nearest(scaled, midpoints):
    """The number of midpoints below each value, of fifteen in order: one comparison for each bit of the code."""
    middle = tl.load(midpoints + tl.arange(0, 16))
    code = tl.zeros_like(scaled).to(tl.int32)
    for bit in tl.static_range(3, -1, -1):
        code += (scaled > tl.gather(middle, code + ((1 << bit) - 1), 0)).to(tl.int32) << bit
    return code


def product(x: Tensor, stored: Stored, shape: tuple[int, int], transposed: bool, cut: Slices | None = None) -> Tensor:
    """x · Ŵᵀ, or, transposed, x · Ŵ, with Ŵ as `restore` makes it in the dtype of x, but never made.

    Each token reads all of Ŵ's codes.

    Args:
        x: [tokens, d_in], or [tokens, d_out] if transposed; float32, bfloat16 or float16.
        stored: with a codebook of at most 16 levels.
        shape: d_out and d_in, a multiple of the block size.
        cut: None takes the one that was measured to be fastest.

    Returns:
        float32 [tokens, d_out], or [tokens, d_in] if transposed: the sum, not yet rounded to the dtype of x.
    """
    cut = cut or (ACROSS if transposed else ALONG)
    (tokens, _), width, x = x.shape, shape[1 if transposed else 0], x.contiguous()
    programs = -(-width // (cut.columns if transposed else cut.rows))
    y = torch.empty(cut.splits, tokens, width, dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        _product[(programs, cut.splits, tokens)](
            *_weight(stored), x, y, *shape, TRANSPOSED=transposed, SIZE=stored.block_size, ROWS=cut.rows,
            COLUMNS=cut.columns, DOUBLE=_is_double(stored), num_warps=cut.warps, **UNFUSED,
        )  # fmt: skip
    return y[0] if cut.splits == 1 else y.sum(dim=0)


@triton.jit
def _product(
    packed, levels, absmax, scale, mean, table, x, y, d_out, d_in, TRANSPOSED: tl.constexpr,
    SIZE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DOUBLE: tl.constexpr,
):  # fmt: skip
    """y = x · Ŵᵀ for one token and ROWS rows of Ŵ, or, transposed, y = x · Ŵ for COLUMNS columns.

    A slice of Ŵ exists at a time, its even columns apart from its odd ones, as the halves of its bytes are. The slices
    of a sum are dealt out, like cards, to the programs along the second dimension.
    """
    STEP: tl.constexpr = ROWS if TRANSPOSED else COLUMNS
    WIDTH: tl.constexpr = COLUMNS if TRANSPOSED else ROWS
    HALF: tl.constexpr = COLUMNS // 2
    length, width = (d_out, d_in) if TRANSPOSED else (d_in, d_out)
    first, split, token = tl.program_id(0) * WIDTH, tl.program_id(1), tl.program_id(2).to(tl.int64)
    x += token * length
    even, odd = tl.zeros((ROWS, HALF), tl.float32), tl.zeros((ROWS, HALF), tl.float32)
    for start in range(split * STEP, length, tl.num_programs(1) * STEP):
        row, column = (start, first) if TRANSPOSED else (first, start)
        row, pair = row + tl.arange(0, ROWS)[:, None], column // 2 + tl.arange(0, HALF)[None, :]
        high, low = _slice(
            row, pair, column // SIZE, packed, levels, absmax, scale, mean, table, d_out, d_in,
            SIZE, ROWS, HALF, DOUBLE,
        )  # fmt: skip
        high, low = high.to(x.dtype.element_ty).to(tl.float32), low.to(x.dtype.element_ty).to(tl.float32)
        if TRANSPOSED:
            given = tl.load(x + row, row < d_out, 0).to(tl.float32)
            even += high * given
            odd += low * given
        else:
            even += high * tl.load(x + 2 * pair, 2 * pair < d_in, 0).to(tl.float32)
            odd += low * tl.load(x + 2 * pair + 1, 2 * pair < d_in, 0).to(tl.float32)
    y += (split * tl.num_programs(2) + token) * width
    if TRANSPOSED:
        at = first + 2 * tl.arange(0, HALF)
        tl.store(y + at, tl.sum(even, 0), at < d_in)
        tl.store(y + at + 1, tl.sum(odd, 0), at < d_in)
    else:
        at = first + tl.arange(0, ROWS)
        tl.store(y + at, tl.sum(even + odd, 1), at < d_out)


@triton.jit
def _slice(
    row, pair, block, packed, levels, absmax, scale, mean, table, d_out, d_in,
    SIZE: tl.constexpr, ROWS: tl.constexpr, HALF: tl.constexpr, DOUBLE: tl.constexpr,
):  # fmt: skip
    """ŵ = levels[code] · absmax, of the high and of the low halves of bytes; outside of Ŵ zero.

    row: [ROWS, 1]; pair: [1, HALF], which byte of its row, whole blocks or a part of one; block: of the first of them.
    """
    BLOCKS: tl.constexpr = max(1, 2 * HALF // SIZE)
    row = row.to(tl.int64)
    block += tl.arange(0, BLOCKS)[None, :]
    inside = (row < d_out) & (block < d_in // SIZE)
    largest = _absmax(row * (d_in // SIZE) + block, inside, absmax, scale, mean, table, DOUBLE)
    largest = tl.where(inside, largest, 0)[:, :, None]  # and not `mean`, which may be infinite in 16 bits
    largest = tl.reshape(tl.broadcast_to(largest, (ROWS, BLOCKS, HALF // BLOCKS)), (ROWS, HALF))
    byte = tl.load(packed + row * (d_in // 2) + pair, (row < d_out) & (2 * pair < d_in), 0).to(tl.int32)
    code, book = tl.reshape(byte, (ROWS * HALF,)), tl.load(levels + tl.arange(0, 16))
    high, low = tl.gather(book, code >> 4, 0), tl.gather(book, code & 15, 0)
    return tl.reshape(high, (ROWS, HALF)) * largest, tl.reshape(low, (ROWS, HALF)) * largest


def _weight(stored: Stored) -> tuple[Tensor | None, ...]:
    """What each kernel takes of a weight: packed and levels; absmax, or codes, scale, mean and table."""
    packed, constants, codebook, _ = stored
    levels = _levels(codebook, 16, packed.device)
    if not isinstance(constants, QuantizedConstants):
        return packed, levels, constants, None, None, None
    table = _levels(constants.codebook, 256, packed.device)
    return packed, levels, constants.codes, constants.scale, constants.mean, table


def _is_double(stored: Stored) -> bool:
    return isinstance(stored.constants, QuantizedConstants)


@lru_cache
def _levels(codebook: Codebook, count: int, device: torch.device) -> Tensor:
    """The levels on the device, filled up to `count`, so that any code is inside."""
    return F.pad(codebook.values, (0, count - len(codebook))).to(device)


@lru_cache
def _midpoints(codebook: Codebook, device: torch.device) -> Tensor:
    """The midpoints on the device, filled up to sixteen with one that no value lies above."""
    return F.pad(codebook.midpoints, (0, 17 - len(codebook)), value=torch.inf).to(device)
