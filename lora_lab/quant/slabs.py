"""A 4-bit weight restored a slab at a time, so that the dense values stay in a CPU's cache until they are used.

A slab holds whole rows or whole columns, so each sum in a product has all its terms, as with the whole weight.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lora_lab.quant import eager, kernels
from lora_lab.quant.double import plain
from lora_lab.quant.kernels import Part
from lora_lab.quant.lookup import restore_rows
from lora_lab.quant.stored import Stored

SIZE = 2**20
"""Values of a large weight that exist in dense form at a time, at most."""


def fit(x: Tensor, rows: int, columns: int, block_size: int) -> bool:
    """Whether slabs help and fit: a large weight on a CPU, each of its rows a whole number of blocks.

    A GPU is fed best by one large product, and what looks on, such as a compiler, by the plain formula. Tensors without
    values, with which `lora_lab.memory.simulate` counts, stand for those on a GPU; those of other classes have the same
    product by the whole weight.
    """
    return x.device.type == "cpu" and rows * columns > SIZE and columns % block_size == 0 and eager.runs_on(x)


def cut(weight: Stored, shape: tuple[int, int], dtype: torch.dtype, dim: int) -> Iterator[tuple[slice, Tensor]]:
    """The weight in slabs of some rows (dim 0) or columns (dim 1), one after the other in the same memory.

    Args:
        weight: what is stored of it.
        shape: rows and columns; a row is a whole number of blocks.
        dtype: to restore it in.
        dim: that is cut.
    """
    rows, columns = shape
    block, across = weight.block_size, columns // weight.block_size
    size, other = (rows, columns) if dim == 0 else (columns, rows)
    unit = 1 if dim == 0 else block  # a row is a whole number of blocks, so rows can be cut anywhere
    step = max(1, SIZE // (other * unit)) * unit
    memory = torch.empty(step * other, dtype=dtype, device=weight.packed.device)
    absmax: Tensor | None = None
    for start in range(0, size, step):
        part = slice(start, min(start + step, size))
        slab = memory[: (part.stop - start) * other].view((-1, other) if dim == 0 else (other, -1))
        where = Part(start * across, 1, 0) if dim == 0 else Part(start // block, rows, across)
        if not kernels.restore_part(weight, slab, where):
            absmax = plain(weight.constants).view(rows, across) if absmax is None else absmax
            _restore(weight, absmax, part, dim, slab)
        yield part, slab


def _restore(weight: Stored, absmax: Tensor, part: slice, dim: int, slab: Tensor) -> None:
    codes = weight.packed.view(len(absmax), absmax.shape[1] * weight.block_size // 2)
    if dim == 0:
        codes, absmax = codes[part], absmax[part]
    else:
        codes = codes[:, part.start // 2 : part.stop // 2]
        absmax = absmax[:, part.start // weight.block_size : part.stop // weight.block_size]
    restore_rows(codes, absmax, weight.codebook, slab)
