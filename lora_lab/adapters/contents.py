"""What a folder holds of an adapter: its layers' tensors, and what it learnt in the model's own places.

base_model.model.<layer>.<key>                      a layer's own tensors, such as lora_A.weight [r, d_in]
base_model.model.<tensor's name>                    what the adapter trained in the model's own places
base_model.model.<layer>.base_layer.<part>          the same, of a layer that is adapted
"""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.adapters import folder as files
from lora_lab.adapters import peft_options
from lora_lab.adapters.adapter import Adapter
from lora_lab.adapters.copies import within
from lora_lab.adapters.moved import Notes, moved_tensors
from lora_lab.adapters.naming import layers_once, plain_tensors
from lora_lab.adapters.register import Register
from lora_lab.quant.linear4bit import Linear4bit

PREFIX = "base_model.model."
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Of the layers' own tensors."""


def contents(register: Register, name: str, adapters_only: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors, on the CPU, of the adapter of this name.

    Raises:
        ValueError: as `save_adapter`.
    """
    layers = register.layers_of(name)
    if "" in layers:
        raise ValueError(
            f"the model is a {type(layers['']).__name__} itself, and a folder states names of modules within a model: "
            "save a model that holds it, such as torch.nn.ModuleDict({'fc': layer})"
        )
    tensors = {}
    for where, layer in layers.items():
        _refuse_misshapen(where, layer)
        for key, tensor in layer.stored().items():
            _refuse_unwritable(full := f"{where}.{key.removesuffix('.weight')}", tensor)
            if tensor.dtype not in DTYPES:
                raise ValueError(f"{full} is in {tensor.dtype}, which is no dtype of adapters on disk: make it float32")
            tensors[f"{PREFIX}{where}.{key}"] = tensor
    configs = [placed.config for each, _, placed in register.placed if each == name]
    config = peft_options.describe(register.model, layers, configs)
    learnt = _trained_in_place(register, name, adapters_only)
    for where, tensor in _without_repetitions(learnt, config["modules_to_save"] or ()).items():
        _refuse_unwritable(where, tensor)
        tensors[key_of(where, layers)] = tensor.detach()
    return config, {key: tensor.to("cpu", copy=True).contiguous() for key, tensor in tensors.items()}  # may be shared


def _trained_in_place(register: Register, name: str, adapters_only: bool) -> dict[str, Tensor]:
    """What the adapter learnt outside its layers."""
    found: dict[str, Tensor] = {}
    copied: set[str] = set()
    notes: Notes = {}
    for prefix, root, named in register.roots:
        dotted = f"{prefix}." if prefix else ""
        for each, placed in named.items():
            own = {dotted + tensor: value for tensor, value in placed.copies.own(root).items()}
            copied |= own.keys()
            if each == name:
                found |= own
                notes |= {dotted + tensor: note for tensor, note in placed.notes.items()}
    if not adapters_only:
        there = dict(plain_tensors(register.model))
        moved = {tensor: why for tensor, why in moved_tensors(register.model, notes).items() if tensor not in copied}
        _refuse_what_adapters_stand_on(layers_once(register.model), register.layers_of(name), moved)
        found |= {tensor: there[tensor] for tensor in moved}
    return found


def _refuse_what_adapters_stand_on(
    modules: Mapping[str, nn.Module], layers: Mapping[str, Adapter], moved: Mapping[str, str]
) -> None:
    """An adapter over another weight is another adapter, and a reader's base is the one that it was made for."""
    for name, why in moved.items():
        owner, _, part = name.rpartition(".")
        if part != "bias" and (owner in layers or isinstance(modules.get(owner), Linear4bit)):
            raise ValueError(
                f"{name} ({why}) is below an adapter or in four bits, and a folder of adapters cannot hold it: save "
                "the model's state too, by torch.save(model.state_dict(), …), and leave it out by adapters_only=True"
            )


def _without_repetitions(tensors: Mapping[str, Tensor], saved: Collection[str]) -> dict[str, Tensor]:
    """A tied tensor under the first of its names, and in each of the modules_to_save, of which PEFT makes copies."""
    names: dict[int, str] = {}
    for name, tensor in tensors.items():
        names.setdefault(id(tensor), name)
    in_saved = {name for name in tensors if any(within(name, module) for module in saved)}
    return {name: tensor for name, tensor in tensors.items() if name in in_saved or names[id(tensor)] == name}


def key_of(tensor: str, layers: Collection[str]) -> str:
    """The key of one of the model's own tensors; PEFT keeps those of an adapted layer below `base_layer`."""
    owner, _, part = tensor.rpartition(".")
    return f"{PREFIX}{owner}.base_layer.{part}" if owner in layers else f"{PREFIX}{tensor}"


def _refuse_misshapen(name: str, layer: Adapter) -> None:
    """The configuration states the rank, and by it a reader judges the tensors."""
    shapes = layer.config.shapes(layer.core)
    for key, own in layer.by_key().items():
        if (found := tuple(own.shape)) != shapes[key]:
            part = f"{name}.{key.removesuffix('.weight')}"
            raise ValueError(
                f"{part} has shape {found}, where its config means {shapes[key]}: inject with settings that mean this "
                "shape, by patterns over names, and fill it then"
            )


def _refuse_unwritable(name: str, tensor: Tensor) -> None:
    refuse_absent(name, tensor)
    if tensor.layout != torch.strided or tensor.is_complex():
        raise ValueError(
            f"{name} is {tensor.layout} of {tensor.dtype}, which a folder of adapters does not hold: save the model's "
            "state too, by torch.save(model.state_dict(), …), and leave it out by adapters_only=True"
        )
    if not files.is_finite(tensor):
        raise ValueError(f"{name} holds NaN or infinity, so the adapter is not saved: train it again, more gently")


def refuse_absent(name: str, tensor: Tensor) -> None:
    """ValueError for a tensor without values."""
    if tensor.is_meta:
        raise ValueError(
            f"{name} has no values, it is on the meta device, because the model was built without weights or is "
            "offloaded by accelerate: load the model's weights into memory first"
        )
