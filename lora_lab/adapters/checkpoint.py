"""Adapters on disk, in the folder format of Hugging Face PEFT, both ways.

<folder>/           the adapter "default", or the only one
<folder>/<name>/    each other one, by its name
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from lora_lab.adapters import folder as files
from lora_lab.adapters import peft_options
from lora_lab.adapters.adapter import DEFAULT, Adapter
from lora_lab.adapters.config import AdapterConfig
from lora_lab.adapters.contents import DTYPES, PREFIX, contents, key_of, refuse_absent
from lora_lab.adapters.copies import refuse_half_of_a_tie, refuse_lost, running_statistics, trained_in_place
from lora_lab.adapters.folder import AGAIN
from lora_lab.adapters.naming import layers_once, plain_tensors
from lora_lab.adapters.placing import place
from lora_lab.adapters.register import Register, from_the_base, require_free
from lora_lab.ranges import first

M = TypeVar("M", bound=nn.Module)


def save_adapter(model: nn.Module, folder: str | Path, name: str | None = None, *, adapters_only: bool = False) -> Path:
    """Write adapters so that `peft.PeftModel.from_pretrained` and `load_adapter` can read them.

    A folder holds all that was learnt: the adapted layers, what the adapter trains in the model's own places, and
    whatever else of the model requires a gradient or has moved since the adapter was put in, such as an embedding that
    was resized. A PiSSA adapter is written as the plain LoRA of rank 2r that it equals, [B, −B₀] [A; A₀], so that it
    fits the original base everywhere, without an SVD. Names are those of the model without wrappers around it.

    Args:
        model: with adapters, merged or not.
        folder: a new one, or one whose adapter is replaced as a whole; other files in it stay. An adapter that is not
            named "default" goes to the subfolder of its name, as in PEFT.
        name: of the adapter; None writes all of them.
        adapters_only: leave out what else has moved, which the adapter was not told to train.

    Returns:
        The folder.

    Raises:
        ValueError: if the model has no adapters or is one itself, or none of that name; if one is not finite, on the
            meta device or of another shape or scaling than its config, or layers differ in what a folder states once;
            if what has moved cannot be part of a folder: the weight below an adapted layer, the codes of a 4-bit one.
        OSError: if the folder cannot be written; files that were there before are then still whole.
    """
    register = Register(model)
    register.require_any()
    chosen = register.names if name is None else [register.require(name)]
    made = {each: contents(register, each, adapters_only) for each in chosen}
    for each, (config, tensors) in made.items():
        files.write(_folder(folder, each), config, tensors)
    return Path(folder)


def load_adapter(model: M, folder: str | Path, name: str = DEFAULT) -> M:
    """Put in the adapter that a folder describes, with its tensors, in place, and use it.

    Args:
        model: the one that the adapter was trained on or its like. It may have adapters of other names.
        folder: written by `save_adapter` or by PEFT. An adapter that PEFT trained with init_lora_weights="pissa" is
            a difference from the strongest part of W₀, which is computed again; it is unique unless the r-th and the
            next singular value are equal.
        name: what to call it. Of a folder that has subfolders with adapters, as several are saved, the one of this name
            is read; of one that has none, the adapter in it, whatever it was called.

    Raises:
        FileNotFoundError: if a file is missing.
        OSError: if a file cannot be read, or is being written all the time.
        ValueError: if a file is damaged, asks for something we do not implement, or does not fit the model, the model
            has an adapter of that name, or its weights are not in memory. The model is then unchanged.
    """
    require_free(model, name)
    path = _read_from(Path(folder), name)
    stored, tensors = files.read(path)
    try:
        method = peft_options.method(stored)
    except ValueError as error:
        raise ValueError(f"{path / files.CONFIG} {error}") from error

    def fill(layers: dict[str, Adapter]) -> None:
        for where, layer in layers.items():
            for key, own in layer.by_key().items():
                _fill(f"{where}.{key.removesuffix('.weight')}", own, tensors[f"{PREFIX}{where}.{key}"])

    try:
        config, configs = peft_options.read(method, stored, model)
        with from_the_base(model):
            rest = _beside_layers(model, configs, tensors)
            return place(model, name, config, configs, _in_place(model, configs, config, rest), fill)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the adapter in {path} does not fit this model: {error}") from error


def _folder(folder: str | Path, name: str) -> Path:
    return Path(folder) if name == DEFAULT else Path(folder) / name


def _read_from(folder: Path, name: str) -> Path:
    """The adapter of this name in the folder, if it holds several."""
    below = sorted(each.parent.name for each in folder.glob(f"*/{files.CONFIG}"))
    below = [each for each in below if not re.fullmatch(r"checkpoint-\d+", each)]  # of a Trainer, on its way
    path = _folder(folder, name) if below or (folder / name).is_dir() else folder
    if below and not (path / files.CONFIG).exists():
        there = ", ".join([DEFAULT] * (folder / files.CONFIG).exists() + below)
        raise FileNotFoundError(f"{folder} holds no adapter named {name!r}: give the name of one, {there}")
    return path


def _beside_layers(
    model: nn.Module, configs: Mapping[str, AdapterConfig], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors that belong to no adapted layer, by their names in the model; those of the layers are checked."""
    modules = layers_once(model)
    wanted: dict[str, tuple[int, ...]] = {}
    for name, config in configs.items():
        wanted |= {f"{PREFIX}{name}.{key}": shape for key, shape in config.shapes(modules[name]).items()}
    if lacking := wanted.keys() - tensors.keys():
        raise ValueError(f"it lacks {first(sorted(lacking))}")
    for key, shape in wanted.items():
        if tensors[key].shape != shape:
            raise ValueError(f"{key} has shape {tuple(tensors[key].shape)}, where {shape} is needed")
        if tensors[key].dtype not in DTYPES:
            raise ValueError(f"{key} is in {tensors[key].dtype}: write the adapter in a dtype such as float32")
    there = {key_of(name, configs): name for name, _ in plain_tensors(model)}  # type: ignore[arg-type]
    there |= {f"{PREFIX}{name}": name for name in there.values()}
    rest = tensors.keys() - wanted.keys()
    if surplus := rest - there.keys():
        raise ValueError(f"the model has no place for {first(sorted(surplus))}")
    beside = {there[key]: tensors[key] for key in tensors if key in rest}
    if len(beside) < len(rest):
        raise ValueError(f"it holds a tensor of the model twice, with and without base_layer in its name: {AGAIN}")
    return beside


def _in_place(
    model: nn.Module, configs: Mapping[str, AdapterConfig], config: AdapterConfig, rest: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Of the tensors beside the layers those that differ from the model's own, or are to be trained.

    PEFT adds the weight of an adapted head to the folder. It says what the adapter was trained on, so it must be ours.
    """
    there = dict(plain_tensors(model))
    statistics = running_statistics(model)
    refuse_lost(model, trained_in_place(model, config, configs) - statistics, rest)
    if torn := statistics - rest.keys() if statistics & rest.keys() else set():
        raise ValueError(f"it has some of BatchNorm's statistics and lacks {min(torn)}: {AGAIN}")
    refuse_half_of_a_tie(model, config.modules_to_save or (), rest)
    found = {}
    for name, tensor in rest.items():
        own = there[name]
        if own.shape != tensor.shape:
            raise ValueError(
                f"{name} has shape {list(own.shape)}, and the folder's {list(tensor.shape)}: resize the model's first, "
                "as by model.resize_token_embeddings"
            )
        refuse_absent(name, own)
        if torch.equal(own.detach().cpu().to(tensor.dtype), tensor):
            continue
        owner, _, part = name.rpartition(".")
        if owner in configs and part == "weight":
            raise ValueError(
                f"the folder's {name}, the weight below the adapter, is not the model's: load the adapter on the base "
                "that it was trained on"
            )
        if own.is_floating_point() != tensor.is_floating_point():
            raise ValueError(f"{name} is in {own.dtype}, and the folder's in {tensor.dtype}: {AGAIN}")
        if not files.is_finite(tensor.to(own.dtype)):
            raise ValueError(f"{name} reaches {tensor.abs().max():.3g}, which {own.dtype} cannot hold: {AGAIN}")
        found[name] = tensor
    return found


@torch.no_grad()
def _fill(name: str, own: Tensor, stored: Tensor) -> None:
    refuse_absent(name, own)
    own.copy_(stored)
    if not torch.isfinite(own).all():  # finite in the file, but in a wider dtype
        largest = stored.abs().max().item()
        raise ValueError(f"{name} reaches {largest:.3g}, which {own.dtype} cannot hold: {AGAIN}")
