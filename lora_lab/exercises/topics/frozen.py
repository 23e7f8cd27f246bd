"""Lesson 11: the product with a weight that is there only as codes, and its backward pass."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from lora_lab import quant
from lora_lab.exercises.tasks import Wrong, task


def _frozen_forward(ctx: Any, x: Tensor, layer: Any) -> Tensor:
    ctx.layer = layer
    return x @ layer.dequantize(x.dtype).T


def _frozen_backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
    return g @ ctx.layer.dequantize(g.dtype), None


class _Layer:
    """Codes of a weight [d_out, d_in]; it counts how often they are restored."""

    def __init__(self, d_out: int, d_in: int, seed: int) -> None:
        dice = torch.Generator().manual_seed(seed)
        self.stored = quant.quantize(torch.randn(d_out, d_in, generator=dice))
        self.restored: list[torch.dtype | None] = []

    @property
    def weight(self) -> Tensor:
        return self.stored.dequantize()

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        self.restored.append(dtype)
        return self.stored.dequantize(dtype)


class _Context(SimpleNamespace):
    """Stands in for autograd's: what is set on it stays, and what is saved in it too."""

    needs_input_grad = (True, False)

    def save_for_backward(self, *tensors: Tensor) -> None:
        self.saved_tensors = tensors

    def set_materialize_grads(self, value: bool) -> None:
        pass

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        pass


_CASES = (  # a square weight in float32 first: a slip gives a wrong result there, and torch's error elsewhere
    ((64, 64), (2, 3, 64), torch.float32),
    ((33, 100), (5, 100), torch.float32),
    ((7, 48), (4, 48), torch.bfloat16),
)


def _tried(call: Callable[[], Any], what: str, dtype: torch.dtype) -> Any:
    """The learner's result; where torch refuses to multiply two dtypes, what to do about it."""
    try:
        return call()
    except RuntimeError as error:
        if "dtype" in str(error):
            raise Wrong(f"{what} is {dtype}, and it met another dtype: restore the weight in {what}.dtype") from error
        raise


@task(reference=lambda: _frozen_forward)
def frozen_forward(frozen_forward: Any) -> None:
    """x Ŵᵀ, keeping the layer and no dense weight."""
    for number, (shape, of_x, dtype) in enumerate(_CASES):
        layer, ctx = _Layer(*shape, number), _Context()
        x = torch.randn(of_x, generator=torch.Generator().manual_seed(9)).to(dtype)
        y = _tried(partial(frozen_forward, ctx, x.clone(), layer), "x", dtype)
        wanted = x @ layer.stored.dequantize(dtype).T
        if not isinstance(y, Tensor):
            raise Wrong(f"yours gives {type(y).__name__}, wanted the tensor y: is a return missing?")
        if y.shape != wanted.shape:
            raise Wrong(f"y has the shape {tuple(y.shape)}, wanted {tuple(wanted.shape)}: x times Ŵ transposed")
        if not torch.allclose(y.float(), wanted.float(), rtol=1e-2, atol=1e-2):
            raise Wrong(_why_forward(y, x, layer))
        if y.dtype != dtype:
            raise Wrong(f"y is {y.dtype} for x in {dtype}: restore the weight in x.dtype")
        _refuse_dense(ctx, layer)
        if not any(value is layer for value in vars(ctx).values()):
            raise Wrong("the backward pass will need the codes, and ctx holds nothing: ctx.layer = layer")
        if getattr(ctx, "layer", None) is not layer:
            raise Wrong("ctx holds the layer by another name, and the backward pass looks for ctx.layer")


def _why_forward(y: Tensor, x: Tensor, layer: _Layer) -> str:
    if y.shape == x.shape and torch.allclose(
        y.float(), (x @ layer.stored.dequantize(x.dtype)).float(), rtol=1e-2, atol=1e-2
    ):
        return "y is x Ŵ, wanted x Ŵᵀ: rows of Ŵ are outputs, so transpose it"
    off = float((y - x @ layer.stored.dequantize(x.dtype).T).norm() / y.norm())
    return f"y is {off:.0%} away from x Ŵᵀ: is it the restored weight, layer.dequantize(x.dtype), and nothing added?"


def _refuse_dense(ctx: _Context, layer: _Layer) -> None:
    for name, value in vars(ctx).items():
        for each in value if isinstance(value, tuple | list) else [value]:
            if isinstance(each, Tensor) and each.is_floating_point() and each.numel() == layer.weight.numel():
                raise Wrong(
                    f"ctx.{name} holds a dense weight until the backward pass, {each.nbytes:,} bytes beside "
                    f"{layer.stored.nbytes:,} stored: keep the layer, and restore there once more"
                )
            if isinstance(each, Tensor):
                raise Wrong(f"ctx.{name} holds a tensor, and nothing but the layer is needed: ctx.layer = layer")


@task(reference=lambda: _frozen_backward)
def frozen_backward(frozen_backward: Any) -> None:
    """∂L/∂x = g Ŵ, with Ŵ restored once more, and None for the layer."""
    for number, (shape, of_x, dtype) in enumerate(_CASES):
        layer = _Layer(*shape, number)
        ctx = _Context(layer=layer)
        g = torch.randn(*of_x[:-1], shape[0], generator=torch.Generator().manual_seed(8)).to(dtype)
        found = _tried(partial(frozen_backward, ctx, g.clone()), "g", dtype)
        if isinstance(found, Tensor):
            raise Wrong("yours gives one tensor, wanted two things, one for each input of forward: of x, and None")
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise Wrong("wanted two things, one for each input of forward: the gradient of x, and None for the layer")
        of_x_found, of_layer = found
        if of_layer is not None:
            raise Wrong("the layer gets a gradient, and its codes are whole numbers from 0 to 15: give None for it")
        if not isinstance(of_x_found, Tensor):
            raise Wrong("the gradient of x is missing: without it nothing reaches the adapters below this layer")
        weight = layer.stored.dequantize(dtype)
        wanted = g @ weight
        if of_x_found.shape != wanted.shape:
            raise Wrong(
                f"∂L/∂x has the shape {tuple(of_x_found.shape)}, wanted that of x, {tuple(wanted.shape)}: g times Ŵ"
            )
        if not torch.allclose(of_x_found.float(), wanted.float(), rtol=1e-2, atol=1e-2):
            turned = shape[0] == shape[1] and torch.allclose(of_x_found, g @ weight.T, rtol=1e-2, atol=1e-2)
            why = "that is g Ŵᵀ: on the way back Ŵ is not transposed" if turned else "it is g Ŵ, and nothing else"
            raise Wrong(
                f"∂L/∂x is {float((of_x_found - wanted).norm() / wanted.norm()):.0%} away from the wanted one: {why}"
            )
        if of_x_found.dtype != dtype:
            raise Wrong(f"∂L/∂x is {of_x_found.dtype} for g in {dtype}: restore the weight in g.dtype")
