"""Which layers of a model are quantized, and which weights are passed over."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lora_lab.wrappers import named_modules, named_tensors, unwrap
from lora_lab.quant.heads import output_layers, task_heads
from lora_lab.quant.linear4bit import Linear4bit
from lora_lab.quant.linears import Linear, derives_from_linear, is_linear
from lora_lab.ranges import first
from lora_lab.quant.swap import is_made_anew, refuse_unswappable

HEAD = "lm_head"


@dataclass(frozen=True)
class PassedOver:
    """A weight that stays dense when its model is quantized.

    Attributes:
        name: of the parameter in the model, such as "model.layers.0.mlp.experts.down_proj".
        kind: the type of the module that holds it, such as "MixtralExperts".
        shape: of the parameter.
        nbytes: that it occupies.
    """

    name: str
    kind: str
    shape: torch.Size
    nbytes: int


def passed_over(model: nn.Module, skip: Iterable[str] = (HEAD,)) -> list[PassedOver]:
    """The weights that `quantize_model(model, skip)` leaves dense, or has left: those that are no linear layer's.

    They are embeddings and heads, a mixture's experts (3-D parameters in transformers 5) and its router, convolutions,
    recurrent layers, `nn.Bilinear`, what `nn.MultiheadAttention` holds, and all else that has two dimensions or more:

        for weight in quant.passed_over(model):
            print(weight.name, weight.kind, tuple(weight.shape))

    Args:
        model: before or after it is quantized, also without weights; adapters are put in afterwards.
        skip: as for `quantize_model`.

    Returns:
        One per weight in the model's order, a tied one under the first of its names.

    Raises:
        TypeError, ValueError: for `skip`, as by `quantize_model`.
    """
    inner = unwrap(model)
    modules, chosen = dict(named_modules(inner)), _chosen(inner, skip)
    found: dict[int, PassedOver] = {}
    for name, weight in named_tensors(inner):
        owner = name.rpartition(".")[0]
        if owner in chosen or not isinstance(weight, nn.Parameter) or is_lazy(weight):
            continue
        if weight.is_floating_point() and weight.ndim > 1:
            row = PassedOver(name, type(modules[owner]).__name__, weight.shape, weight.nbytes)
            found.setdefault(id(weight), row)
    return list(found.values())


def layers_to_quantize(model: nn.Module, skip: Iterable[str]) -> dict[str, Linear]:
    """The layers that `quantize_model` replaces by name, in the model's order; it says what is refused."""
    if is_linear(model):
        raise ValueError("a layer cannot be replaced in itself: call Linear4bit.from_linear(linear)")
    skip = _names(skip)
    chosen = _chosen(model, skip)
    for name, module in chosen.items():
        refuse_unswappable(name, module)
    if not chosen:
        others = [f"{weight.name} of {weight.kind}" for weight in passed_over(model, skip)]
        raise ValueError(
            f"{type(model).__name__} has no nn.Linear or Conv1D to quantize outside skip={skip}"
            + (f": it has {first(others)}" if others else "")
        )
    return chosen


def _chosen(model: nn.Module, skip: Iterable[str]) -> dict[str, Linear]:
    """Linear layers that are neither skipped nor a head; also those whose weight is made anew, to be refused."""
    skip = _names(skip)
    modules = dict(named_modules(model))
    linears = {n: m for n, m in modules.items() if n and derives_from_linear(m) and (is_linear(m) or is_made_anew(m))}
    for unknown in skip:
        if unknown != HEAD and not any(_is_called(name, unknown) for name in linears):  # a model may have no head
            raise ValueError(f"skip names {unknown!r}, {_why_unknown(model, modules, linears, unknown)}")
    heads = task_heads(model) if skip else set()
    heads |= output_layers(model) if HEAD in skip else set()
    return {
        name: module
        for name, module in linears.items()
        if module not in heads and not any(_is_called(name, each) for each in skip)
    }


def _names(skip: Iterable[str]) -> tuple[str, ...]:
    if isinstance(skip, str):
        raise ValueError(f"skip={skip!r} is one string: give a sequence of names, ({skip!r},)")
    if not isinstance(skip, Iterable):
        raise TypeError(f"skip={skip!r} is no sequence of names: give ('lm_head',), or () to skip nothing")
    names = tuple(skip)
    if wrong := [each for each in names if not isinstance(each, str) or not each]:
        raise TypeError(f"skip holds {wrong[0]!r}: give names of layers as strings")
    return names


def _why_unknown(model: nn.Module, modules: dict[str, nn.Module], linears: dict[str, Linear], skip: str) -> str:
    """What a name to skip means instead of a linear layer, and what could have been meant."""
    called = next((module for name, module in modules.items() if name and _is_called(name, skip)), None)
    if isinstance(called, Linear4bit):
        return "which is 4-bit already: it can be skipped only before the model is quantized"
    last_parts = dict.fromkeys(name.rpartition(".")[2] for name in linears)
    kind = "" if called is None else f"of type {type(called).__name__}, "
    return (
        f"which is {kind}no nn.Linear or Conv1D of this {type(model).__name__}: "
        f"its linear layers are called {', '.join(last_parts)}"
    )


def _is_called(name: str, skip: str) -> bool:
    """Whether the last part or parts of a name are `skip`; the base of an adapter goes by the adapter's name too."""
    return any(f".{each}".endswith(f".{skip}") for each in (name, name.removesuffix(".base")))
