"""Fill a model from a checkpoint with one tensor in flight, so that it may be larger than memory in 16 bits.

The model was built without weights: its parameters are on the `meta` device, which knows shapes and holds nothing. What
the checkpoint lacks, has too much or has in another shape is found in the headers, before any weight is read. Then each
tensor is read, put into its final form and dropped before the next one is read, and only when all of them are there
does the model get them.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from lora_lab.disk.shards import Checkpoint
from lora_lab.quant.linear4bit import Linear4bit
from lora_lab.quant.ties import tied_groups
from lora_lab.ranges import first
from lora_lab.wrappers import named_modules, named_tensors, put_all

_BY_CONFIG = "build the model from the config.json beside it"


_Model = TypeVar("_Model", bound=nn.Module)


@dataclass(frozen=True)
class Source:
    """Where a 4-bit layer comes from.

    Attributes:
        names: the stored tensors that it is made of.
        build: reads them and returns the layer, without its bias.
    """

    names: tuple[str, ...]
    build: Callable[[], Linear4bit]


def fill(
    model: _Model,
    checkpoint: Checkpoint,
    layers: Mapping[str, Source],
    cast: Callable[[Tensor], Tensor],
) -> _Model:
    """Give `model` the weights of `checkpoint`, in place.

    Args:
        model: built without weights, ties included (see `ties.tie`); weights that it has are replaced.
        checkpoint: must hold every parameter and persistent buffer of `model`, and nothing else.
        layers: the names of the linear layers to be replaced by a `Linear4bit`, and where each comes from.
        cast: applied to every other tensor as it is read.

    Raises:
        ValueError: if model and checkpoint do not fit, a buffer that no checkpoint holds was built without values, or
            a tensor is not finite once it is cast. The model is then unchanged.
    """
    groups = tied_groups(model)
    _refuse_misfits(model, checkpoint, layers, groups)
    built: dict[str, Linear4bit] = {}
    dense: dict[str, nn.Parameter | Tensor] = {}
    for names, target in groups:  # in the model's order
        layer = names[0].removesuffix(".weight")
        if names[0].endswith(".weight") and layer in layers:
            built[layer] = layers[layer].build()
        else:
            dense |= dict.fromkeys(names, _read_tied(checkpoint, names, target, cast))
    replaced = dict(named_modules(model))
    for name, module in built.items():
        module.train(replaced[name].training)
    with put_all(model, built):
        owners = dict(named_modules(model))
        for name, value in dense.items():
            owner, _, leaf = name.rpartition(".")
            setattr(owners[owner], leaf, value)
    return model


def refuse_shape(model: nn.Module, checkpoint: Checkpoint, name: str, shape: torch.Size) -> None:
    """What is stored under `name` must have this shape."""
    stored = checkpoint.headers[name].shape
    if stored != tuple(shape):
        raise misfit(model, checkpoint, f"{name} is stored with shape {stored}, where {tuple(shape)} is needed")


def misfit(model: nn.Module, checkpoint: Checkpoint, reason: str, way_out: str = _BY_CONFIG) -> ValueError:
    """The error for a checkpoint of another model."""
    return ValueError(
        f"the checkpoint in {checkpoint.folder} does not fit this {type(model).__name__}: {reason}; {way_out}"
    )


def advice(lacking: list[str], surplus: list[str]) -> str:
    """The way out; a base model's checkpoint in a model with a head, or the reverse, is the likeliest mistake."""
    for stored in surplus if lacking else []:
        if lacking[0].endswith(f".{stored}"):
            prefix = lacking[0].removesuffix(f".{stored}")
            return f"its names lack the prefix '{prefix}.', so fill model.{prefix} with it, or find the whole model's"
        if stored.endswith(f".{lacking[0]}"):
            prefix = stored.removesuffix(lacking[0])
            return f"its names begin with {prefix!r}, so build the whole model that it was saved from"
    return _BY_CONFIG


def _refuse_misfits(
    model: nn.Module,
    checkpoint: Checkpoint,
    layers: Mapping[str, Source],
    groups: list[tuple[list[str], Tensor]],
) -> None:
    """All that can be told from the headers."""
    quantized = {f"{name}.weight" for name in layers}
    dense = [(names, target) for names, target in groups if names[0] not in quantized]
    taken = [name for source in layers.values() for name in source.names]
    lacking = [name for name in taken if name not in checkpoint.headers]
    lacking += [names[0] for names, _ in dense if not any(name in checkpoint.headers for name in names)]
    places = {*taken, *(name for names, _ in dense for name in names)}
    surplus = _not_made_by(model, [name for name in checkpoint.headers if name not in places])
    if lacking or surplus:
        what = [f"it lacks {first(lacking)}"] if lacking else []
        what += [f"the model has no place for {first(surplus)}"] if surplus else []
        raise misfit(model, checkpoint, ", and ".join(what), advice(lacking, surplus))
    for names, target in dense:
        for name in names:
            if name in checkpoint.headers:
                refuse_shape(model, checkpoint, name, target.shape)
    empty = [name for name, buffer in _buffers(model) if buffer.is_meta and name not in places]
    if empty:
        raise ValueError(
            f"the buffers {first(empty)} were built without values, and no checkpoint holds them: build the model "
            "under accelerate.init_empty_weights(), which leaves buffers real, instead of torch.device('meta')"
        )


def _not_made_by(model: nn.Module, names: list[str]) -> list[str]:
    """Without the tensors that the model makes itself, such as the inv_freq of every layer in old checkpoints."""
    persistent = dict(named_tensors(model))
    made = {name.rpartition(".")[2] for name, _ in _buffers(model) if name not in persistent}
    ignored = getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()  # a transformers model's own patterns
    return [
        name
        for name in names
        if name.rpartition(".")[2] not in made and not any(re.search(pattern, name) for pattern in ignored)
    ]


def _buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """All of them, also those that do not belong to the state."""
    for prefix, module in named_modules(model):
        for name, buffer in module._buffers.items():
            if buffer is not None:
                yield f"{prefix}.{name}" if prefix else name, buffer


def _read_tied(
    checkpoint: Checkpoint, names: list[str], target: Tensor, cast: Callable[[Tensor], Tensor]
) -> nn.Parameter | Tensor:
    """The dense tensor that has these names. A checkpoint may hold it under one or, needlessly, under several."""
    stored, *others = [name for name in names if name in checkpoint.headers]
    tensor = checkpoint.read(stored)
    for other in others:
        if not torch.equal(checkpoint.read(other), tensor):
            raise ValueError(
                f"{stored} and {other} are one tensor in the model but differ in {checkpoint.folder}: build the model "
                "untied (transformers: tie_word_embeddings=False)"
            )
    value, trained = cast(tensor), isinstance(target, nn.Parameter)
    if not is_finite(value) and (trained or is_finite(tensor)):  # a buffer may hold infinity, as masks do
        if is_finite(tensor):
            reason = f"has values beyond the range of {value.dtype}: choose a dtype that holds them"
        else:
            reason = "holds NaN or infinity: repair the checkpoint"
        raise ValueError(f"{stored} in {checkpoint.folder} {reason}")
    return nn.Parameter(value, requires_grad=target.requires_grad) if trained else value


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite; without the temporaries of `torch.isfinite`, which would be a peak."""
    if tensor.numel() == 0 or not tensor.is_floating_point():
        return True
    low, high = (tensor if tensor.itemsize > 1 else tensor.float()).aminmax()
    return math.isfinite(low) and math.isfinite(high)
