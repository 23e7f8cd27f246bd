"""A linear layer whose frozen weight is stored in four bits.

    y = x · dequantize(W₄)ᵀ + b,        ∂L/∂x = ∂L/∂y · dequantize(W₄)

The weight itself gets no gradient. It is dequantized anew in every forward and every backward pass, so that
only one dense copy of one layer exists at a time: that is what makes QLoRA fit.

Source: Dettmers et al., "QLoRA", arXiv 2305.14314, equation 5.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_lab.quant.blockwise import QuantizedTensor, quantize
from lora_lab.quant.codebooks import NF4, Codebook
from lora_lab.quant.double import QuantizedConstants


class Linear4bit(nn.Module):
    """`nn.Linear` with a 4-bit weight; made by `Linear4bit.from_linear`.

    Attributes:
        packed: frozen Parameter, uint8 [ceil(d_out · d_in / 2)].
        absmax, or absmax_codes, absmax_scale and absmax_mean after double quantization: buffers.
        bias: Parameter [d_out] or None.
        compute_dtype: dtype of the product; None takes the input's.
    """

    packed: nn.Parameter
    absmax: Tensor
    absmax_codes: Tensor
    absmax_scale: Tensor
    absmax_mean: Tensor

    def __init__(
        self, weight: QuantizedTensor, bias: nn.Parameter | None = None, compute_dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        if len(weight.shape) != 2:
            raise ValueError(f"a linear layer needs a weight [d_out, d_in], got shape {tuple(weight.shape)}")
        self.out_features, self.in_features = weight.shape
        self.codebook, self.block_size, self.weight_dtype = weight.codebook, weight.block_size, weight.dtype
        self.compute_dtype = compute_dtype
        self.packed = nn.Parameter(weight.packed, requires_grad=False)
        self.double_quant = isinstance(weight.constants, QuantizedConstants)
        if isinstance(weight.constants, QuantizedConstants):
            self.register_buffer("absmax_codes", weight.constants.codes)
            self.register_buffer("absmax_scale", weight.constants.scale)
            self.register_buffer("absmax_mean", weight.constants.mean)
        else:
            self.register_buffer("absmax", weight.constants)
        self.bias = bias

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        codebook: Codebook = NF4,
        block_size: int = 64,
        double_quant: bool = True,
        compute_dtype: torch.dtype | None = None,
    ) -> "Linear4bit":
        """Quantize the weight of `linear`; the bias is shared, not copied. Arguments as for `quantize`."""
        return cls(quantize(linear.weight, codebook, block_size, double_quant), linear.bias, compute_dtype)

    @property
    def weight_quantized(self) -> QuantizedTensor:
        """The weight as a `QuantizedTensor` over the same storage."""
        constants = (
            QuantizedConstants(self.absmax_codes, self.absmax_scale, self.absmax_mean)
            if self.double_quant
            else self.absmax
        )
        shape = torch.Size((self.out_features, self.in_features))
        return QuantizedTensor(self.packed, constants, self.codebook, self.block_size, shape, self.weight_dtype)

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """The dense weight [d_out, d_in], in `dtype` or in the one that was quantized."""
        return self.weight_quantized.dequantize(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., d_in] -> y [..., d_out], in the dtype of x."""
        dtype = self.compute_dtype or x.dtype
        y = _FrozenProduct.apply(x.to(dtype), self)
        if self.bias is not None:
            y = y + self.bias.to(dtype)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"{self.codebook.name}, block_size={self.block_size}, double_quant={self.double_quant}"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Linear4bit":
        """Let `.to(dtype)` and `.half()` move the constants but not round them: they belong to the stored weight."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, constant in before.items():
            moved = self._buffers[name]
            if constant is not None and moved is not None and moved.dtype != constant.dtype:
                self._buffers[name] = constant.to(moved.device)
        return self


class _FrozenProduct(torch.autograd.Function):
    """x · Wᵀ where W is dequantized twice instead of being kept from forward to backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Linear4bit) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.dequantize(x.dtype))

    @staticmethod
    def backward(ctx: Any, grad_y: Tensor) -> tuple[Tensor, None]:
        return grad_y @ ctx.layer.dequantize(grad_y.dtype), None
