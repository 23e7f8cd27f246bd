"""What a linear layer is, whichever way round it keeps its weight.

    nn.Linear                   weight [d_out, d_in]      y = x · Wᵀ + b
    transformers' Conv1D        weight [d_in, d_out]      y = x · W + b, in GPT-2 and its kin

Both compute the same function, so that what holds for one holds for the other once the weight is turned round.
Subclasses are not trusted to compute it: `nn.MultiheadAttention` reads the weight of its `out_proj` itself.

A `Conv1D` is known by its module's and its own name: importing this does not import transformers, making one does.
"""

from typing import TYPE_CHECKING, TypeGuard, Union

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers.pytorch_utils import Conv1D

Linear = Union[nn.Linear, "Conv1D"]


def is_conv1d(module: object) -> "TypeGuard[Conv1D]":
    """Whether a module is transformers' `Conv1D` itself, and of no subclass."""
    return _names_conv1d(type(module))


def is_linear(module: object) -> TypeGuard[Linear]:
    """Whether a module is an `nn.Linear` or a `Conv1D` itself, and of no subclass."""
    return type(module) is nn.Linear or is_conv1d(module)


def derives_from_linear(module: object) -> TypeGuard[Linear]:
    """Whether a module is an `nn.Linear`, a `Conv1D`, or of a subclass of either."""
    return isinstance(module, nn.Linear) or any(map(_names_conv1d, type(module).__mro__))


def oriented(module: Linear, weight: Tensor) -> Tensor:
    """A weight that is laid out like the module's, as a view [d_out, d_in]; from there the same way back."""
    return weight if isinstance(module, nn.Linear) else weight.T


def dense_weight(module: Linear) -> Tensor:
    """W [d_out, d_in]: the parameter itself, or of a `Conv1D` a view of it."""
    return oriented(module, module.weight)


def dense_shape(module: Linear) -> torch.Size:
    """(d_out, d_in)."""
    return dense_weight(module).shape


def frozen_linear(weight: Tensor, bias: nn.Parameter | None = None, conv1d: bool = False) -> nn.Module:
    """An `nn.Linear` or a `Conv1D` around a weight [d_out, d_in], which is frozen, and a bias, which is shared."""
    d_out, d_in = weight.shape
    linear = _conv1d(d_out, d_in) if conv1d else nn.Linear(d_in, d_out, bias=False, device="meta")
    linear.weight = nn.Parameter(weight.T.contiguous() if conv1d else weight, requires_grad=False)
    linear.register_parameter("bias", bias)
    return linear


def _conv1d(d_out: int, d_in: int) -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    with torch.device("meta"):
        return Conv1D(d_out, d_in)


def _names_conv1d(kind: type) -> bool:
    return kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"
