"""Products with a 4-bit weight: by a kernel that never makes the weight, by slabs of it, or by the whole.

y = x · Ŵᵀ + b, or, transposed, y = x · Ŵ,        Ŵ restored in the dtype of x, y rounded to it once
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_lab.quant import eager, kernels, slabs
from lora_lab.quant.restoring import restore_weight
from lora_lab.quant.stored import Stored

FEW_TOKENS = {"cpu": 16, "cuda": 1}
"""Tokens up to which a kernel, where one serves, multiplies without making W; for more it pays to make it.

What watches operators, such as a counter of operations, does not see such a product; without kernels it does.
"""


class Layer(Protocol):
    """What a product needs of a `Linear4bit`."""

    in_features: int
    out_features: int
    block_size: int

    @property
    def stored(self) -> Stored:
        """The weight as it lies in memory."""

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """The dense weight [d_out, d_in]."""


_Product = Callable[[Tensor, Tensor | None, Layer, bool, torch.dtype], Tensor]


def frozen(x: Tensor, bias: Tensor | None, layer: Layer, transposed: bool) -> Tensor:
    """x [..., d] times the weight, in the quickest way; autograd sees none of it."""
    return _rounded_once(x, bias, layer, transposed, _quickest)


def plain(x: Tensor, bias: Tensor | None, layer: Layer, transposed: bool) -> Tensor:
    """The same in operations that torch.func and forward-mode AD see through, which keep the dense weight."""
    return _rounded_once(x, bias, layer, transposed, _dense_product)


def autocasts(device: str) -> bool:
    """Whether autocast is on; a device such as meta has none, and asking it would be an error."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _rounded_once(x: Tensor, bias: Tensor | None, layer: Layer, transposed: bool, product: _Product) -> Tensor:
    """The product of x as a matrix [tokens, d], for which torch adds a bias before it rounds; of others perhaps after.

    Autocast is off meanwhile: the dtype has been chosen.
    """
    rows = x.reshape(-1, x.shape[-1])
    b = None if bias is None else bias.to(x.dtype)
    if autocasts(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            y = product(rows, b, layer, transposed, x.dtype)
    else:
        y = product(rows, b, layer, transposed, x.dtype)
    return y.view(*x.shape[:-1], y.shape[-1])


def _quickest(x: Tensor, bias: Tensor | None, layer: Layer, transposed: bool, dtype: torch.dtype) -> Tensor:
    """By a kernel that makes no W, by slabs of it, or by the whole; x comes in `dtype`."""
    shape = layer.out_features, layer.in_features
    few = len(x) <= FEW_TOKENS.get(x.device.type, 0)
    if few and (y := kernels.product(x, layer.stored, shape, transposed)) is not None:
        return (y if bias is None else y + bias).to(dtype)
    product = _slab_product if slabs.fit(x, *shape, layer.block_size) else _dense_product
    if not _emulated(x):
        return product(x, bias, layer, transposed, dtype)
    wide = None if bias is None else bias.float()
    return product(x.float(), wide, layer, transposed, dtype).to(dtype)


def _dense_product(x: Tensor, bias: Tensor | None, layer: Layer, transposed: bool, dtype: torch.dtype) -> Tensor:
    """With the weight restored in `dtype`, and then widened to that of x where this is wider."""
    if torch.compiler.is_compiling():
        weight = layer.dequantize(dtype)
    else:  # the same without a look at the parts, which costs as much as restoring a small weight
        stored = layer.stored
        shape = layer.out_features, layer.in_features
        weight = restore_weight(stored, torch.empty(shape, dtype=dtype, device=stored.packed.device))
    weight = weight.to(x.dtype)
    return x @ weight if transposed else F.linear(x, weight, bias)


def _slab_product(x: Tensor, bias: Tensor | None, layer: Layer, transposed: bool, dtype: torch.dtype) -> Tensor:
    """The same, a slab of the weight at a time."""
    shape = layer.out_features, layer.in_features
    y = x.new_empty(len(x), shape[int(transposed)])
    for part, slab in slabs.cut(layer.stored, shape, dtype, dim=int(transposed)):
        weight = slab.to(x.dtype)
        y[:, part] = x @ weight if transposed else F.linear(x, weight, None if bias is None else bias[part])
    return y


def _emulated(x: Tensor) -> bool:
    """Whether torch may have no quick products in the dtype of x on this CPU.

    They can then take a hundred times as long as those in float32, which gives the same sums, to be rounded once.
    """
    if x.device.type != "cpu" or not eager.runs_on(x):
        return False
    if x.dtype == torch.bfloat16:
        return not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return x.dtype == torch.float16 and not torch.cpu._is_amx_fp16_supported()
