"""The kernels for a CPU: the loops of `loops`, shared out among threads.

A large tensor is cut into runs of whole blocks, one for each of torch's threads. The threads live as long as the call:
a pool would not survive a fork, and Numba's own may serve one caller only.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import pairwise

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lora_lab.quant.codebooks import EXACTLY, Codebook
from lora_lab.quant.double import QuantizedConstants
from lora_lab.quant.kernels import loops, registers
from lora_lab.quant.kernels.interface import Part
from lora_lab.quant.lookup import byte_table
from lora_lab.quant.stored import Stored

NAME = f"Numba {numba.__version__}"
INTERPRETED = bool(numba.config.DISABLE_JIT)  # NUMBA_DISABLE_JIT=1, as one debugs with

FORMATS = {torch.float32: loops.FLOAT32, torch.bfloat16: loops.BFLOAT16, torch.float16: loops.FLOAT16}

VALUES_A_THREAD = 2**19
"""Values that are worth a thread: to start one and wait for it takes as long as to restore about half of them."""


def restore(stored: Stored, out: Tensor) -> None:
    """Write codebook[code] · absmax to `out`, double quantization included.

    Args:
        stored: of n values, with a codebook of at most 16 levels.
        out: n values, contiguous, any shape; float32, bfloat16 or float16. The last block may be short.
    """
    size = stored.block_size
    flat, whole = out.view(1, -1), out.numel() // size
    if whole:
        restore_part(stored, flat[:, : whole * size], Part(0, 1, 0))
    if rest := out.numel() - whole * size:
        block, missing = out.new_empty(1, size), (whole + 1) * size // 2 - len(stored.packed)
        padded = stored._replace(packed=F.pad(stored.packed, (0, missing)))  # eight bytes are looked up at once
        restore_part(padded, block, Part(whole, 1, 0))
        flat[:, -rest:] = block[:, :rest]


def restore_part(stored: Stored, out: Tensor, part: Part) -> None:
    """The same for a part of a weight, in whole blocks."""
    weight = *_weight(stored), (part.first, part.stride)
    if out.dtype == torch.float32:
        loop = partial(loops.restore, *weight, _array(out.view(part.runs, -1)))
    else:
        loop = partial(loops.restore16, *weight, FORMATS[out.dtype], _bits(out).reshape(part.runs, -1))
    _share(loop, out.numel() // part.runs // stored.block_size, out.numel())


def quantize(values: Tensor, codebook: Codebook, block_size: int) -> tuple[Tensor, Tensor]:
    """The packed codes and absmax of each block.

    Args:
        values: [n], contiguous; float32, bfloat16 or float16.
        codebook: symmetric, of at most 16 levels.

    Returns:
        uint8 [ceil(n / 2)] and float32 [blocks]. Where a block holds NaN or infinity, its absmax is not finite.
    """
    n, blocks = len(values), -(-len(values) // block_size)
    packed, absmax = torch.empty(-(-n // 2), dtype=torch.uint8, device="cpu"), torch.empty(blocks, **EXACTLY)
    arguments = _bits(values), _midpoints(codebook), block_size, FORMATS[values.dtype], _array(packed), _array(absmax)
    _share(partial(loops.quantize, *arguments), blocks, n)
    return packed, absmax


def product(x: Tensor, stored: Stored, shape: tuple[int, int], transposed: bool) -> Tensor:
    """x · Ŵᵀ, or, transposed, x · Ŵ, with Ŵ as `restore` makes it in the dtype of x, but never made.

    Args:
        x: [tokens, d_in], or [tokens, d_out] if transposed; float32, bfloat16 or float16.
        stored: with a codebook of at most 16 levels.
        shape: d_out and d_in, a multiple of the block size.

    Returns:
        float32 [tokens, d_out], or [tokens, d_in] if transposed: the sum, not yet rounded to the dtype of x.
    """
    rows, columns = shape
    loop, parts = (loops.product_transposed, columns // stored.block_size) if transposed else (loops.product, rows)
    y = torch.empty(len(x), columns if transposed else rows, **EXACTLY)
    weight = *_weight(stored), FORMATS[x.dtype]
    _share(partial(loop, *weight, _array(x.float().contiguous()), _array(y)), parts, rows * columns)
    return y


def _share(loop: Callable[[int, int], None], count: int, values: int) -> None:
    """Let `loop` do its `count` parts, in as many threads as torch uses if there is work for them."""
    threads = max(1, min(torch.get_num_threads(), values // VALUES_A_THREAD, count))
    if threads == 1:
        loop(0, count)
        return
    cuts = pairwise(count * k // threads for k in range(threads + 1))
    with ThreadPoolExecutor(threads) as pool:
        try:
            parts = [pool.submit(loop, *cut) for cut in cuts]
        except RuntimeError:  # no thread can be had: the system has a limit, or Python is shutting down
            pool.shutdown(cancel_futures=True)
            loop(0, count)  # all of it: what a thread has done already is done again, to the same numbers
            return
        for part in parts:
            part.result()  # or what it raised, such as that there is no memory


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def _bits(tensor: Tensor) -> np.ndarray:
    """The values of a contiguous tensor as integers of as many bits."""
    return tensor.detach().view(-1).view(torch.int32 if tensor.element_size() == 4 else torch.int16).numpy()


def _weight(stored: Stored) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...], int]:
    """What each loop takes of a weight."""
    return _array(stored.packed), _table(stored.codebook), _constants(stored.constants), stored.block_size


_NONE = np.empty(0, np.float32)


def _constants(constants: Tensor | QuantizedConstants) -> tuple[np.ndarray, ...]:
    """Both kinds of constants in one shape: absmax, then codes, scale, mean and table of double quantization."""
    if not isinstance(constants, QuantizedConstants):
        return _array(constants), np.empty(0, np.uint8), _NONE, _NONE, _NONE
    scale, mean = _array(constants.scale), _array(constants.mean).reshape(1)
    return _NONE, _array(constants.codes), scale, mean, _levels(constants.codebook)


@lru_cache
def _levels(codebook: Codebook) -> np.ndarray:
    """256 levels, so that any code is inside."""
    return _array(F.pad(codebook.values, (0, 256 - len(codebook))))


@lru_cache
def _table(codebook: Codebook) -> np.ndarray:
    """What codes are looked up in: sixteen levels, or the two of each byte."""
    if registers.AVAILABLE:
        return _array(F.pad(codebook.values, (0, 16 - len(codebook))))
    return _array(byte_table(codebook, torch.device("cpu")).view(torch.int64))


@lru_cache
def _midpoints(codebook: Codebook) -> np.ndarray:
    """Fifteen, filled up with one that no value lies above."""
    return _array(F.pad(codebook.midpoints, (0, 16 - len(codebook)), value=torch.inf))
