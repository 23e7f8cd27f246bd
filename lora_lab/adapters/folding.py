"""Fold the updates into the weights: for a while, or for good, in full precision or back into four bits."""

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from lora_lab.adapters.adapter import Adapter
from lora_lab.adapters.register import Register, all_or_nothing, require_adapters
from lora_lab.quant.blockwise import quantize
from lora_lab.quant.linear4bit import Linear4bit
from lora_lab.quant.swap import refuse_unswappable
from lora_lab.wrappers import put_all


M = TypeVar("M", bound=nn.Module)


def merge(model: M) -> M:
    """Let every layer of the adapter in use compute with one dense weight, so that the adapter costs nothing per call.

    For LoRA that is W₀ + ΔW. What the adapter trains in the model's own places, such as a head, costs nothing anyway.

    The original weights stay, so this also costs the memory of a second copy; `merge_and_remove` frees it. Over a
    4-bit base W₀ is the dequantized weight, to which the adapter was trained: the merge loses nothing but the
    rounding of the sum to the dtype of that weight.

    A merged layer does not call its base, so hooks that are put on a base while it is merged wait for `unmerge`.

    Raises:
        RuntimeError: if a layer is merged already, or a sum is not finite.
        ValueError: if there are no adapters, the method cannot be folded, a base has hooks, which would not be called,
            or a weight that is made anew on every call, or the weights are not in memory. After any error or
            interruption no layer is merged that was not before.
    """
    layers = require_adapters(model)
    if any(layer.merged_weight is not None for layer in layers.values()):
        raise RuntimeError("the adapters are merged already, or some of them: call lora.unmerge(model) before merging")
    try:
        for name, layer in layers.items():
            with _named(name):
                layer.merge()
    except BaseException:  # all layers or none, also after Ctrl-C
        for layer in layers.values():
            if layer.merged_weight is not None:
                layer.unmerge()
        raise
    return model


def unmerge(model: M) -> M:
    """Undo `merge`, bit for bit, in every layer that is merged, also of an adapter that is not in use; nothing for a
    method that goes around no layer.

    Raises:
        RuntimeError: if none is.
    """
    register = Register(model)
    register.require_any()
    merged = [layer for _, _, layer in register.layers if layer.merged_weight is not None]
    if register.layers and not merged:
        raise RuntimeError("the adapters are not merged: there is nothing to undo")
    for layer in merged:
        layer.unmerge()
    return model


def merge_and_remove(model: M, requantize: bool = False) -> M:
    """Replace every adapted layer by a plain one with the folded weight, for deployment. There is no way back.

    What the adapter trains in the model's own places stays there, frozen like all else.

    Args:
        model: with adapters, merged or not.
        requantize: False gives dense layers everywhere, over a 4-bit base what was quantized (`nn.Linear` or `Conv1D`),
            with the sum that was trained, rounded to the dtype of the weight. True rounds the sum back to four bits
            where the base was 4-bit, with the same codebook, block size and double quantization. That loses most of a
            small update: each value of W₀ stands exactly on a level, and an update of less than half a step cannot lift
            it to the next. Lesson 14 measures the share that arrives. `requantization_losses` says beforehand what will
            be lost; a warning says it in one figure.

    Raises:
        RuntimeError: if a sum is not finite.
        ValueError: if there are no adapters, an adapted layer or its base has hooks, which would be lost, or the
            weights are not in memory, or the model has other adapters, whose base this one would become; for
            requantize=True where no layer is 4-bit. The model is then unchanged, as after any error.
    """
    register = Register(model)
    layers = register.layers_of(register.require_active())
    if len(there := register.names) > 1:
        raise ValueError(
            f"the model has the adapters {', '.join(there)}: take out all but one by lora.remove(model, name)"
        )
    for name, layer in layers.items():
        refuse_unswappable(name, layer)
        refuse_unswappable(f"{name}.base", layer.core)
    losses = []
    plain: dict[str, nn.Module] = {}
    for name, layer in layers.items():
        with _named(name):
            if requantize and isinstance(layer.core, Linear4bit):
                rounded = _requantized(layer, layer.core)
                losses.append(_loss(layer, rounded))
                plain[name] = rounded.train(layer.training)
            else:
                plain[name] = layer.merged_layer().train(layer.training)
    if requantize and not losses:
        raise ValueError("requantize=True, but no adapter stands on a 4-bit layer: merge without it")
    with all_or_nothing(register), put_all(model, plain):
        register.forget(there, keep=True)
    total = _overall(losses)
    if total.update > 0:
        warnings.warn(
            f"rounding back to four bits kept {total.kept:.0%} of the update and added an error of {total.error:.1f} "
            "times its size: merge_and_remove(model) without requantize keeps it, up to rounding",
            stacklevel=2,
        )
    return model


@dataclass(frozen=True)
class RequantizationLoss:
    """What rounding W₀ + ΔW back to four bits, Q(W₀ + ΔW), does to an update; NaN shares where there is none.

    Attributes:
        update: ‖ΔW‖, Frobenius.
        error: ‖Q(W₀ + ΔW) − (W₀ + ΔW)‖ / ‖ΔW‖.
        kept: ⟨Q(W₀ + ΔW) − W₀, ΔW⟩ / ‖ΔW‖²: 1 if the update arrives, 0 if it vanishes.
    """

    update: float
    error: float
    kept: float


def requantization_losses(model: nn.Module) -> dict[str, RequantizationLoss]:
    """What `merge_and_remove(model, requantize=True)` would lose, by adapted 4-bit layer; the model is not changed.

    Raises:
        RuntimeError: if a sum is not finite.
        ValueError: if no adapter stands on a 4-bit layer, or the weights are not in memory.
    """
    losses = {}
    for name, layer in require_adapters(model).items():
        if isinstance(layer.core, Linear4bit):
            with _named(name):
                losses[name] = _loss(layer, _requantized(layer, layer.core))
    if not losses:
        raise ValueError("no adapter stands on a 4-bit layer, so merging loses nothing: call merge_and_remove(model)")
    return losses


@contextmanager
def _named(name: str) -> Iterator[None]:
    """A layer does not know its own name, which its errors should begin with."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if type(error) not in (RuntimeError, ValueError):
            raise
        raise type(error)(f"{name or 'the layer'}: {error}") from error


def _requantized(layer: Adapter, base: Linear4bit) -> Linear4bit:
    """Q(W₀ + ΔW): the sum is rounded once, to four bits, and not to 16 before that."""
    double_quant = base.constants_codebook if base.double_quant else False
    total, bias = layer.dense_sum()
    weight = quantize(total.float(), base.codebook, base.block_size, double_quant, dtype=base.weight_dtype)
    if bias is not None and bias is not base.bias:
        bias = nn.Parameter(bias.to(base.weight_dtype if base.bias is None else base.bias.dtype), requires_grad=False)
    return Linear4bit(weight, bias, base.compute_dtype, base.conv1d)  # type: ignore[arg-type]  # a parameter by now


@torch.no_grad()
def _loss(layer: Adapter, rounded: Linear4bit) -> RequantizationLoss:
    delta = layer.delta_weight()
    moved = rounded.dequantize(delta.dtype) - layer.kind.weight(layer.core).to(delta.dtype)
    update = float(delta.norm())
    if update == 0:
        return RequantizationLoss(0.0, math.nan, math.nan)
    kept = float((moved * delta).sum()) / update**2
    return RequantizationLoss(update, float((moved - delta).norm()) / update, kept)


def _overall(losses: Iterable[RequantizationLoss]) -> RequantizationLoss:
    """The losses of several layers as if they were one."""
    losses = [loss for loss in losses if loss.update > 0]
    energy = sum(loss.update**2 for loss in losses)
    if energy == 0:
        return RequantizationLoss(0.0, math.nan, math.nan)
    error = math.sqrt(sum((loss.error * loss.update) ** 2 for loss in losses) / energy)
    return RequantizationLoss(math.sqrt(energy), error, sum(loss.kept * loss.update**2 for loss in losses) / energy)
