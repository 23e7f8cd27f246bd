"""Rounding and restoring by table look-up: the numbers of `Codebook.encode` and `.decode`, bit for bit, but faster.

Both work in chunks that stay in a core's cache. How much faster: `benchmarks/README.md`.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional as F

from lora_lab.quant.codebooks import EXACTLY, Codebook

_MAX_CELLS = 2**12


def chunk_size(device: torch.device) -> int:
    """Values to work on at a time: few on a CPU, for its cache; many on a GPU, where each launch costs."""
    return 2**17 if device.type == "cpu" else 2**22


def encode(scaled: Tensor, codebook: Codebook) -> Tensor:
    """`codebook.encode(scaled)`: the index of the nearest level, uint8, same shape.

    Args:
        scaled: float32 in [-1, 1], up to rounding.
    """
    grid = _grid(codebook, scaled.device)
    if grid is None:
        return codebook.encode(scaled)
    cell = _cell(scaled.flatten(), grid.half, grid.alpha)
    codes = torch.index_select(grid.first, 0, cell)
    codes += (scaled.flatten() > torch.index_select(grid.border, 0, cell)).view(torch.uint8)
    return codes.view(scaled.shape)


def divide(blocks: Tensor, absmax: Tensor) -> Tensor:
    """blocks / absmax, by way of the reciprocal where it is finite, which is what bitsandbytes computes.

    The reciprocal of a magnitude below 2^-128 overflows, and that of zero is infinite; there we divide, and zero gives
    zero.
    """
    inverse = 1 / absmax
    if torch.isfinite(inverse).all():
        return blocks * inverse
    divided = blocks / torch.where(absmax > 0, absmax, 1.0)
    return torch.where(torch.isfinite(inverse), blocks * inverse, divided)


def restore(packed: Tensor, absmax: Tensor, codebook: Codebook, block_size: int, out: Tensor) -> Tensor:
    """Write codebook[code] · absmax to `out`, block for block over the flattened tensor.

    Args:
        packed: uint8 [bytes]: two codes a byte, the first in the high nibble; one if the codebook has more than 16.
        absmax: float32 [blocks].
        out: contiguous, any shape and floating dtype. The last block may be short.

    Returns:
        `out`.
    """
    flat, a_block = out.view(-1), block_size // codes_per_byte(codebook)
    whole = len(flat) // block_size
    if whole:
        restore_rows(
            packed[: whole * a_block].view(whole, -1),
            absmax[:whole, None],
            codebook,
            flat[: whole * block_size].view(whole, -1),
        )
    if rest := len(flat) - whole * block_size:
        tail = packed[whole * a_block :]
        block = flat.new_empty(1, block_size)
        restore_rows(F.pad(tail, (0, a_block - len(tail)))[None], absmax[whole:, None], codebook, block)
        flat[-rest:].copy_(block[0, :rest])
    return out


def restore_rows(packed: Tensor, absmax: Tensor, codebook: Codebook, out: Tensor) -> Tensor:
    """The same for rows of whole blocks: of a weight all, or some of its rows, or some of its columns.

    The product is formed in float32 and rounded once to the dtype of `out`.

    Args:
        packed: uint8 [rows, bytes], may be a slice.
        absmax: float32 [rows, blocks], may be a slice.
        out: contiguous [rows, values].
    """
    rows, columns = out.shape
    step = min(rows, max(1, chunk_size(out.device) // columns))
    index = torch.empty(step, packed.shape[1], dtype=torch.int32, device=out.device)
    scratch = None if out.dtype == torch.float32 else torch.empty(step, columns, dtype=torch.float32, device=out.device)
    if out.is_meta or isinstance(out, FakeTensor):
        return out  # it has no values to look up; what the look-up would allocate has been allocated
    table = byte_table(codebook, out.device)
    for start in range(0, rows, step):
        part = out[start : start + step]
        values = part if scratch is None else scratch[: len(part)]
        cells = index[: len(part)].copy_(packed[start : start + step])
        torch.index_select(table, 0, cells.view(-1), out=values.view(-1).view(table.dtype))
        values.view(len(part), absmax.shape[1], -1).mul_(absmax[start : start + step, :, None])
        if scratch is not None:
            part.copy_(values)
    return out


def codes_per_byte(codebook: Codebook) -> int:
    """2 for codes of up to four bits, else 1."""
    return 2 if len(codebook) <= 16 else 1


@dataclass(frozen=True)
class _Grid:
    """[-1, 1] cut into equal cells, so narrow that none holds two midpoints.

    A value's cell leaves two candidates, and one comparison decides:  code = first[cell] + [value > border[cell]].
    This is exact although the cell is computed in float32, because rounding is monotonic: a value in a lower (higher)
    cell than a midpoint is below (above) it.
    """

    half: Tensor  # float32 [], half the number of cells
    alpha: float  # the same
    first: Tensor  # uint8 [cells + 1], the number of midpoints in lower cells
    border: Tensor  # float32 [cells + 1], the midpoint in this one, or infinity


def _cell(scaled: Tensor, half: Tensor, alpha: float) -> Tensor:
    """half + alpha · scaled, where the two are one number, rounded down: int32, same shape."""
    return torch.add(half, scaled, alpha=alpha).int()  # one operation, and vectorised, which `addcmul` is not here


@lru_cache
def _grid(codebook: Codebook, device: torch.device) -> _Grid | None:
    """The coarsest grid for a codebook, or None if its midpoints lie too close for a small one."""
    passed = int((codebook.midpoints < -1).sum())  # by every value: INT4's level -8 is out of reach
    midpoints, alpha = codebook.midpoints[codebook.midpoints.abs() <= 1], 8.0
    while len((cell := _cell(midpoints, torch.tensor(alpha, **EXACTLY), alpha)).unique()) < len(midpoints):
        alpha *= 2
        if 2 * alpha > _MAX_CELLS:
            return None
    cells = torch.arange(2 * int(alpha) + 1, dtype=torch.int32, device="cpu")  # 1 falls into the last
    border = torch.full(cells.shape, torch.inf, **EXACTLY)
    border[cell.long()] = midpoints
    first = (torch.searchsorted(cell, cells) + passed).to(torch.uint8)
    return _Grid(torch.tensor(alpha, **EXACTLY).to(device), alpha, first.to(device), border.to(device))


@lru_cache
def byte_table(codebook: Codebook, device: torch.device) -> Tensor:
    """What each of the 256 bytes stands for: a level, or a pair of them as one float64 of the same bits."""
    if codes_per_byte(codebook) == 1:
        return codebook.values.to(device)
    levels = F.pad(codebook.values, (0, 16 - len(codebook)))
    pairs = torch.stack([levels.repeat_interleave(16), levels.repeat(16)], dim=1)
    return pairs.flatten().view(torch.float64).to(device)
