"""The layers that an adapter can be put around, and what each of them does with its weight.

    nn.Linear, Linear4bit       y = x Wᵀ + b        W [d_out, d_in]
    transformers' Conv1D        the same, stored transposed; GPT-2's linear layers
    nn.Embedding                y = row x of W      W [number of ids, d]

A weight is always [d_out, d_in] here, or an embedding's, however a layer stores it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_lab.quant.linear4bit import Linear4bit
from lora_lab.quant.linears import dense_weight, frozen_linear, is_conv1d


@dataclass(frozen=True)
class Kind:
    """What an adapter asks of one kind of layer.

    Attributes:
        sizes: (d_in, d_out), or of an embedding (number of ids, d).
        weight: the dense weight in its own dtype; a 4-bit one is dequantized.
        dtype: of that weight, which need not be restored to know it.
        apply: the layer's output for x with another weight and bias.
        rebuilt: a frozen dense layer with another weight and bias: of this kind, or of the one that was quantized.
    """

    sizes: Callable[[Any], tuple[int, int]]
    weight: Callable[[Any], Tensor]
    dtype: Callable[[Any], torch.dtype]
    apply: Callable[[Any, Tensor, Tensor, Tensor | None], Tensor]
    rebuilt: Callable[[Any, Tensor, nn.Parameter | None], nn.Module]


def kind(layer: nn.Module) -> Kind | None:
    """The kind of a layer, or None for one that takes no adapter.

    Subclasses are not trusted to compute what their parents do.
    """
    if type(layer) in (nn.Linear, Linear4bit):
        return _FOUR_BITS if isinstance(layer, Linear4bit) else _LINEAR
    if is_conv1d(layer):
        return _CONV1D
    return _EMBEDDING if type(layer) is nn.Embedding else None


def require_kind(layer: nn.Module) -> Kind:
    """`kind(layer)`.

    Raises:
        TypeError: if there is none.
    """
    if (found := kind(layer)) is None:
        raise TypeError(f"cannot adapt {described(layer)}: only {TAKES} take adapters")
    return found


LINEAR = "torch.nn.Linear, transformers' Conv1D and lora_lab's Linear4bit"
TAKES = "torch.nn.Linear, torch.nn.Embedding, transformers' Conv1D and lora_lab's Linear4bit"


def described(module: nn.Module) -> str:
    """A module's type, as sentences name it."""
    return f"a {type(module).__module__}.{type(module).__name__}"


def is_linear(layer: nn.Module) -> bool:
    """Whether the layer is a matrix product, of a kind that takes adapters: what "all-linear" means."""
    return kind(layer) not in (None, _EMBEDDING)


def _linear(layer: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def _rebuilt_linear(layer: nn.Module, weight: Tensor, bias: nn.Parameter | None) -> nn.Module:
    return frozen_linear(weight, bias, conv1d=is_conv1d(layer))


def _embed(layer: nn.Embedding, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.embedding(x, weight, layer.padding_idx, None, layer.norm_type, layer.scale_grad_by_freq, layer.sparse)


def _rebuilt_embedding(layer: nn.Embedding, weight: Tensor, bias: nn.Parameter | None) -> nn.Module:
    return nn.Embedding(len(weight), weight.shape[1], layer.padding_idx, _weight=weight, _freeze=True)


_LINEAR = Kind(
    sizes=lambda layer: (layer.in_features, layer.out_features),
    weight=dense_weight,
    dtype=lambda layer: layer.weight.dtype,
    apply=_linear,
    rebuilt=_rebuilt_linear,
)
_FOUR_BITS = replace(
    _LINEAR, weight=Linear4bit.dequantize, dtype=lambda layer: layer.weight_dtype, rebuilt=Linear4bit.rebuilt
)
_CONV1D = replace(_LINEAR, sizes=lambda layer: (layer.nx, layer.nf))
_EMBEDDING = Kind(
    sizes=lambda layer: (layer.num_embeddings, layer.embedding_dim),
    weight=lambda layer: layer.weight,
    dtype=lambda layer: layer.weight.dtype,
    apply=_embed,
    rebuilt=_rebuilt_embedding,
)
