"""A linear layer whose frozen weight is stored in four bits.

    y = x · dequantize(W₄)ᵀ + b,        ∂L/∂x = ∂L/∂y · dequantize(W₄)

The weight itself gets no gradient. It is dequantized anew in every forward and every backward pass, so that
only one dense copy of one layer exists at a time, or, of a large weight on a CPU, one slab: that makes QLoRA fit.
How the product is made: `products`.
The product is rounded once, its bias included, as by `torch.nn.functional.linear`.

Source: Dettmers et al., "QLoRA", arXiv 2305.14314, equation 5, its first term.
"""

import weakref
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from lora_lab.wrappers import named_modules
from lora_lab.quant import products, state
from lora_lab.quant.blockwise import QuantizedTensor, quantize
from lora_lab.quant.codebooks import NF4, Codebook
from lora_lab.quant.double import QuantizedConstants
from lora_lab.quant.linears import Linear, dense_weight, derives_from_linear, frozen_linear
from lora_lab.quant.stored import Stored

COMPUTE_DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


class Linear4bit(state.Formatted):
    """A linear layer with a 4-bit weight; made by `Linear4bit.from_linear`.

    Attributes:
        packed: frozen Parameter, uint8 [ceil(d_out · d_in / 2)].
        absmax, or absmax_codes, absmax_scale and absmax_mean after double quantization: buffers.
        bias: Parameter [d_out] or None.
        in_features, out_features: d_in and d_out.
        codebook, block_size, double_quant: as for `quantize`; constants_codebook is the levels of the constants.
        weight_dtype: of the dense weight, by default; `.to(dtype)` and `.half()` change it, not what is stored.
        compute_dtype: dtype of the product; None takes the input's, or autocast's where that is on.
        conv1d: whether it stands for transformers' `Conv1D`, which it becomes again when it is made dense.

    Raises:
        TypeError: for a weight that is no `QuantizedTensor`, or a compute_dtype that is not one to compute in.
        ValueError: for a weight that is not a matrix, or has an asymmetric codebook or one of more than 16 levels, or a
            bias of another length.
    """

    packed: nn.Parameter
    absmax: Tensor
    absmax_codes: Tensor
    absmax_scale: Tensor
    absmax_mean: Tensor
    bias: nn.Parameter | None

    def __init__(
        self,
        weight: QuantizedTensor,
        bias: nn.Parameter | None = None,
        compute_dtype: torch.dtype | None = None,
        conv1d: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(weight, QuantizedTensor):
            raise TypeError(f"a {type(weight).__name__} is no 4-bit weight: call Linear4bit.from_linear(linear)")
        if len(weight.shape) != 2:
            raise ValueError(f"a linear layer needs a weight [d_out, d_in], got shape {tuple(weight.shape)}")
        if compute_dtype is not None and compute_dtype not in COMPUTE_DTYPES:
            raise TypeError(f"compute_dtype={compute_dtype!r} is no dtype to compute in: give torch.bfloat16, say")
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"a bias of shape {tuple(bias.shape)} does not fit a weight of {tuple(weight.shape)}")
        if len(weight.codebook) > 16 or weight.codebook.asymmetric:
            raise ValueError(
                f"a 4-bit layer cannot hold codebook {weight.codebook.name!r}: choose a symmetric one of at most 16 "
                "levels, such as NF4"
            )
        self.out_features, self.in_features = weight.shape
        self.codebook, self.block_size, self.weight_dtype = weight.codebook, weight.block_size, weight.dtype
        self.compute_dtype, self.conv1d = compute_dtype, conv1d
        self.packed = nn.Parameter(weight.packed, requires_grad=False)
        self.double_quant = isinstance(weight.constants, QuantizedConstants)
        if isinstance(weight.constants, QuantizedConstants):
            self.register_buffer("absmax_codes", weight.constants.codes)
            self.register_buffer("absmax_scale", weight.constants.scale)
            self.register_buffer("absmax_mean", weight.constants.mean)
            self.constants_codebook = weight.constants.codebook
        else:
            self.register_buffer("absmax", weight.constants)
        self.register_parameter("bias", bias)

    @classmethod
    def from_linear(
        cls,
        linear: Linear,
        codebook: Codebook = NF4,
        block_size: int = 64,
        double_quant: bool | Codebook = True,
        compute_dtype: torch.dtype | None = None,
    ) -> "Linear4bit":
        """Quantize the weight of `linear`, an `nn.Linear` or transformers' `Conv1D`; the bias is shared, not copied.

        Blocks run over the weight [d_out, d_in], which a `Conv1D` keeps turned round.

        Args, Raises: as for `quantize`, but double quantization is on by default; TypeError for another layer.
        """
        if not derives_from_linear(linear):
            kind = type(linear).__name__
            raise TypeError(f"an object of type {kind} is no nn.Linear or Conv1D: quant.quantize takes any tensor")
        weight = quantize(dense_weight(linear), codebook, block_size, double_quant)
        return cls(weight, linear.bias, compute_dtype, conv1d=not isinstance(linear, nn.Linear))

    @property
    def stored(self) -> Stored:
        """The weight as it lies in memory, without its shape."""
        return Stored(self.packed, self.constants, self.codebook, self.block_size)

    @property
    def constants(self) -> Tensor | QuantizedConstants:
        """absmax, or what double quantization made of it, over the same storage."""
        if not self.double_quant:
            return self.absmax
        held = cast(dict[str, Tensor], self._buffers)  # as attributes each takes half a microsecond
        return QuantizedConstants(
            held["absmax_codes"], held["absmax_scale"], held["absmax_mean"], self.constants_codebook
        )

    @property
    def weight_quantized(self) -> QuantizedTensor:
        """The weight as a `QuantizedTensor` over the same storage."""
        shape = torch.Size((self.out_features, self.in_features))
        return QuantizedTensor(*self.stored, shape, self.weight_dtype)

    @property
    def weight(self) -> Tensor:
        """The dense weight, made anew each time: for models that look at it, as T5 does for its dtype."""
        return self.dequantize()

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """The dense weight [d_out, d_in], in `dtype` or in the one that was quantized."""
        return self.weight_quantized.dequantize(dtype)

    def rebuilt(self, weight: Tensor, bias: nn.Parameter | None) -> nn.Module:
        """A frozen dense layer of the kind that it was, with a weight [d_out, d_in] and a bias, which is shared."""
        return frozen_linear(weight, bias, self.conv1d)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., d_in] -> y [..., d_out], in the dtype of x; under autocast in autocast's, as `nn.Linear`.

        Raises:
            TypeError: for an input that is not floating.
            ValueError: for an input whose last dimension is not d_in.
        """
        if not x.is_floating_point():
            raise TypeError(f"a linear layer cannot take {x.dtype}: convert the input to a floating dtype")
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"an input of shape {tuple(x.shape)} does not fit: give [..., {self.in_features}]")
        device = x.device.type
        casts = products.autocasts(device) and x.dtype != torch.float64  # which autocast leaves alone
        autocast = torch.get_autocast_dtype(device) if casts else None
        dtype = self.compute_dtype or autocast or x.dtype
        return _product(x.to(dtype), self.bias, self).to(autocast or x.dtype)

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"{self.codebook.name}, block_size={self.block_size}, double_quant={self.double_quant}"
            + (", conv1d=True" if self.conv1d else "")
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Linear4bit":
        """Let `.to(dtype)` and `.half()` move the constants but not round them: they belong to the stored weight."""
        self.weight_dtype = fn(torch.empty(0, dtype=self.weight_dtype, device=self.packed.device)).dtype
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, constant in before.items():
            moved = self._buffers[name]
            if constant is not None and moved is not None and moved.dtype != constant.dtype:
                self._buffers[name] = constant.to(moved.device)
        return self

    def _format(self) -> str:
        constants = self.constants_codebook.label if self.double_quant else "float32"
        shape = f"[{self.out_features}, {self.in_features}]"
        return f"{shape} in {self.codebook.label}, blocks of {self.block_size}, constants in {constants}"

    def _damage(self, state_dict: Mapping[str, Any], prefix: str) -> str | None:
        """Codes of constants that are no level's, which a kernel would take for some number."""
        codes = state_dict.get(f"{prefix}absmax_codes") if self.double_quant else None
        if not isinstance(codes, Tensor) or codes.is_meta or codes.numel() == 0:
            return None
        largest, book = int(codes.max()), self.constants_codebook
        if largest < len(book):
            return None
        damaged = f"{prefix}absmax_codes holds {largest}, and {book.name} has {len(book)} levels"
        return f"{damaged}: the state is damaged, load another"

    def _parts(self) -> dict[str, Tensor]:
        return {"packed": self.packed} | dict(self.named_buffers())


def four_bit_layers(model: nn.Module) -> dict[str, Linear4bit]:
    """The 4-bit layers of a model by every name that they have, without wrappers."""
    return {name: module for name, module in named_modules(model) if isinstance(module, Linear4bit)}


def _product(x: Tensor, bias: Tensor | None, layer: Linear4bit, transposed: bool = False) -> Tensor:
    """x · Wᵀ + b, or, transposed, x · W: x [..., d] in the dtype to compute in."""
    if _transforms():
        return products.plain(x, bias, layer, transposed)
    return _FrozenProduct.apply(x, bias, layer, transposed)


class _FrozenProduct(torch.autograd.Function):
    """The product with W dequantized each time instead of being kept for the backward pass.

    The backward pass is the same product with W transposed, and so on: gradients of gradients are right too.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, layer: Linear4bit, transposed: bool) -> Tensor:
        ctx.layer, ctx.transposed = layer, transposed
        ctx.bias_dtype = None if bias is None else bias.dtype
        if ctx.needs_input_grad[0]:
            ctx.used = _in_use(layer)
        return products.frozen(x, bias, layer, transposed)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        of_x, of_bias, *_ = ctx.needs_input_grad
        if of_x and _in_use(ctx.layer) != ctx.used:
            raise RuntimeError("a 4-bit weight was overwritten between forward and backward: run the forward again")
        grad_x = _product(grad, None, ctx.layer, not ctx.transposed) if of_x else None
        grad_bias = grad.reshape(-1, grad.shape[-1]).sum(dim=0, dtype=ctx.bias_dtype) if of_bias else None
        return grad_x, grad_bias, None, None


def _transforms() -> bool:
    """Whether torch.func or forward-mode AD is at work: they see through plain operations, which keep the dense W."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _in_use(layer: Linear4bit) -> list[tuple[Any, ...]]:
    """The memory of each stored tensor, and how often it has been written to: what autograd asks of what it saves.

    Here nothing is saved, and what the layer lets go of is not kept alive either. Another tensor over the same memory,
    as `.detach()` makes, is as good as the first.
    """
    if torch.compiler.is_compiling():
        return []
    return [
        (weakref.ref(t.untyped_storage()), t.storage_offset(), 0 if t.is_inference() else t._version)
        for t in (layer.packed, *layer._buffers.values())
        if t is not None
    ]
