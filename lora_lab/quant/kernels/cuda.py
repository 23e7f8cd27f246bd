"""Block-wise quantization on a GPU, in Triton: one program takes some whole blocks, and memory is passed over once.

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
product = None  # training, with its many tokens, has no use for it; writing text would


class Tile(NamedTuple):
    """How the work is cut: the values of one program, and the warps of 32 threads that share them."""

    values: int
    warps: int

    def whole(self, block_size: int) -> tuple[int, int]:
        """Blocks and warps of a program; a block larger than the tile has as many more warps, eight at most."""
        return max(1, self.values // block_size), min(8, self.warps * max(1, block_size // self.values))


RESTORE = Tile(1024, warps=4)
"""Larger tiles are no faster: memory is the limit."""

QUANTIZE = {2: Tile(1024, warps=1), 4: Tile(512, warps=1)}
"""By the bytes of a value: 64 bytes a thread, and a block's maximum is found without other warps."""


def restore(stored: Stored, out: Tensor, tile: Tile | None = None) -> None:
    """Write codebook[code] · absmax to `out`, in one launch, double quantization included.

    Args:
        stored: of n values, with a codebook of at most 16 levels.
        out: n values, contiguous, any shape; float32, bfloat16 or float16.
        tile: None takes the one that was measured to be fastest.
    """
    packed, constants, codebook, block_size = stored
    if isinstance(constants, QuantizedConstants):
        absmax, scale, mean = constants.codes, constants.scale, constants.mean
        table = _levels(constants.codebook, 256, out.device)
    else:
        absmax, scale, mean, table = constants, None, None, None
    rows, warps = (tile or RESTORE).whole(block_size)
    n, blocks = out.numel(), -(-out.numel() // block_size)
    with torch.cuda.device_of(out):
        _restore[(-(-blocks // rows),)](
            packed, absmax, scale, mean, table, _levels(codebook, 16, out.device), out, n, packed.numel(), blocks,
            SIZE=block_size, ROWS=rows, DOUBLE=table is not None, num_warps=warps, **UNFUSED,
        )  # fmt: skip


@triton.jit
def _restore(
    packed, absmax, scale, mean, table, levels, out, n, n_bytes, blocks,
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


@lru_cache
def _levels(codebook: Codebook, count: int, device: torch.device) -> Tensor:
    """The levels on the device, filled up to `count`, so that any code is inside."""
    return F.pad(codebook.values, (0, count - len(codebook))).to(device)


@lru_cache
def _midpoints(codebook: Codebook, device: torch.device) -> Tensor:
    """The midpoints on the device, filled up to sixteen with one that no value lies above."""
    return F.pad(codebook.midpoints, (0, 17 - len(codebook)), value=torch.inf).to(device)
