"""A 4-bit weight restored a slab at a time, so that the dense values stay in a CPU's cache until they are used.

A slab holds whole rows or whole columns, so each sum in a product has all its terms, as with the whole weight.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lora_lab.quant.blockwise import QuantizedTensor
from lora_lab.quant.lookup import restore_rows

SIZE = 2**20
"""Values of a large weight that exist in dense form at a time, at most."""


def cut(weight: QuantizedTensor, dtype: torch.dtype, dim: int) -> Iterator[tuple[slice, Tensor]]:
    """The weight in slabs of some rows (dim 0) or columns (dim 1), one after the other in the same memory.

    Args:
        weight: a matrix [rows, columns], each of whose rows is a whole number of blocks.
        dtype: to restore it in.
        dim: that is cut.
    """
    rows, columns = weight.shape
    block = weight.block_size
    packed, absmax = weight.packed.view(rows, -1), weight.absmax.view(rows, -1)
    size, across = (rows, columns) if dim == 0 else (columns, rows)
    unit = 1 if dim == 0 else block  # a row is a whole number of blocks, so rows can be cut anywhere
    step = max(1, SIZE // (across * unit)) * unit
    memory = torch.empty(step * across, dtype=dtype, device=packed.device)
    for start in range(0, size, step):
        part = slice(start, min(start + step, size))
        if dim == 0:
            slab = memory[: (part.stop - start) * across].view(-1, across)
            yield part, restore_rows(packed[part], absmax[part], weight.codebook, slab)
        else:
            slab = memory[: (part.stop - start) * across].view(across, -1)
            codes = packed[:, start // 2 : part.stop // 2]
            constants = absmax[:, start // block : part.stop // block]
            yield part, restore_rows(codes, constants, weight.codebook, slab)
