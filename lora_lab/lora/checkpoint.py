"""Adapters on disk, in the folder format of Hugging Face PEFT, both ways.

    adapter_config.json             how the adapter was made
    adapter_model.safetensors       base_model.model.<module>.lora_A.weight [r, d_in], ….lora_B.weight [d_out, r]

Nothing on disk is executed: only JSON and safetensors are read. The two files are always those of one save.
"""

import json
import os
import time
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lora_lab.files import atomic_folder, leftovers, read_json, read_safetensors
from lora_lab.lora.bases import ADAPTABLE
from lora_lab.lora.config import LoRAConfig
from lora_lab.lora.inject import adapt, require_adapters, require_no_adapters
from lora_lab.lora.layers import LoRALinear
from lora_lab.lora.moved import moved_tensors
from lora_lab.naming import named_modules
from lora_lab.lora.peft_format import from_peft, refuse_what_we_lack, to_peft

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PICKLE = "adapter_model.bin"
_AGAIN = "write the adapter again"
_PAUSES = tuple(0.01 * 2**i for i in range(8))  # seconds between looks at a folder that is being written
_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def save_adapter(model: nn.Module, folder: str | Path, *, adapters_only: bool = False) -> Path:
    """Write the adapters of `model` so that `peft.PeftModel.from_pretrained` and `load_adapter` can read them.

    A PiSSA adapter is written as the plain LoRA of rank 2r that it equals, [B, −B₀] [A; A₀], so that it fits the
    original base everywhere, without an SVD. Names are those of the model without `torch.compile` or another wrapper
    around it.

    Args:
        model: with adapters, merged or not.
        folder: a new one, or one whose adapter is replaced as a whole; other files in it stay.
        adapters_only: what else was trained (a head, an embedding) or has moved (BatchNorm's statistics) since the
            adapters were put in is no part of the folder, and without it the adapters compute something else. So
            saving refuses, naming it; True leaves it out.

    Returns:
        The folder.

    Raises:
        ValueError: if the model has no adapters or is one itself, one is not finite, on the meta device or of another
            shape or scaling than its config, they differ in dropout, use_rslora or init, or something would be left
            out unasked.
        OSError: if the folder cannot be written; files that were there before are then still whole.
    """
    layers = require_adapters(model)
    if "" in layers:
        raise ValueError(
            "the model is a LoRALinear itself, and a folder states names of modules within a model: save a model that "
            "holds it, such as torch.nn.ModuleDict({'fc': layer})"
        )
    config = to_peft(model)
    tensors = {}
    for name, layer in layers.items():
        _refuse_misshapen(name, layer)
        B, A = layer.plain_factors()
        for factor, tensor in (("lora_A", A), ("lora_B", B)):
            _refuse_absent(f"{name}.{factor}", tensor)
            _refuse_other_dtypes(f"{name}.{factor}", tensor)
            _refuse_not_finite(f"{name}.{factor}", tensor)
            tensors[_key(name, factor)] = tensor.to("cpu", copy=True).contiguous()  # two layers may share a factor
    if not adapters_only and (moved := moved_tensors(model)):
        described = _first([f"{name} ({reason})" for name, reason in moved.items()])
        raise ValueError(
            f"besides the adapters this model was changed in what their folder does not hold: {described}: save that "
            "too, by torch.save(model.state_dict(), …), and call save_adapter(model, folder, adapters_only=True), "
            "which leaves it out"
        )
    with atomic_folder(folder) as temporary:
        save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
        text = json.dumps(config, indent=2, sort_keys=True) + "\n"
        (temporary / CONFIG).write_text(text, encoding="utf-8", newline="\n")
    return Path(folder)


def load_adapter(model: nn.Module, folder: str | Path) -> nn.Module:
    """Inject the adapters that a folder describes, and load their weights, in place.

    Args:
        model: a model without adapters, the one the adapter was trained on or its like.
        folder: written by `save_adapter` or by PEFT. An adapter that PEFT trained with init_lora_weights="pissa" is
            a difference from the strongest part of W₀, which is computed again; it is unique unless the r-th and the
            next singular value are equal.

    Raises:
        FileNotFoundError: if a file is missing.
        OSError: if a file cannot be read, or is being written all the time.
        ValueError: if a file is damaged, asks for something we do not implement, or does not fit the model, or the
            model's weights are not in memory. The model then has no adapters.
    """
    folder = Path(folder)
    require_no_adapters(model)
    stored, tensors = _read_both(folder)

    def fill(layers: dict[str, LoRALinear]) -> None:
        for name, layer in layers.items():
            for factor in ("lora_A", "lora_B"):
                _fill(f"{name}.{factor}", getattr(layer, factor), tensors[_key(name, factor)])

    try:
        configs = from_peft(stored, model)
        _refuse_misfits(model, configs, tensors)
        return adapt(model, configs, fill)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the adapter in {folder} does not fit this model: {error}") from error


def _read_both(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of one save, though somebody may replace them between the two looks."""
    for pause in _PAUSES:
        before = _identity(folder)
        try:
            stored, tensors = _read_config(folder / CONFIG), _read_weights(folder / WEIGHTS)
        except (OSError, ValueError):
            if pause == _PAUSES[-1] or not (leftovers(folder) or _identity(folder) != before):
                raise
        else:
            if _identity(folder) == before:
                return stored, tensors
        time.sleep(pause)  # a save is going on
    raise OSError(f"the adapter in {folder} is being written again and again: load it when that is done")


def _identity(folder: Path) -> list[tuple[int, ...]]:
    """Says of the two files whether they are still the same ones."""
    found: list[tuple[int, ...]] = []
    for file in (folder / CONFIG, folder / WEIGHTS):
        try:
            state = os.stat(file)
        except OSError:
            found.append(())
        else:
            found.append((state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))
    return found


def _read_config(path: Path) -> dict[str, Any]:
    stored = read_json(path, _way_out(path))
    if "peft_type" not in stored:
        raise ValueError(f"{path} is not the configuration of a PEFT adapter: it names no peft_type")
    try:
        refuse_what_we_lack(stored)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return {option: _plain_names(value) for option, value in stored.items()}


def _read_weights(path: Path) -> dict[str, Tensor]:
    tensors = {_plain(key): tensor for key, tensor in read_safetensors(path, _way_out(path)).items()}
    for key, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise ValueError(f"{path} holds {key} in {tensor.dtype}: write the adapter in a dtype such as float32")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{path} is damaged, {key} holds NaN or infinity: {_AGAIN}")
    return tensors


def _way_out(path: Path) -> str:
    if path.exists():
        return _AGAIN
    folder = path.parent
    if path.name == WEIGHTS and (folder / _PICKLE).exists():
        return (
            f"there is {_PICKLE}, a pickle, which is not read here, because reading one can run code: load it with "
            f"peft where you trust it, and save it from there with save_pretrained, which writes {WEIGHTS}"
        )
    if left := leftovers(folder):
        return f"a save was interrupted, or is going on; what it is about is in {left[0]}: save the adapter again"
    return "give the folder that save_adapter or PEFT wrote"


def _refuse_misfits(model: nn.Module, configs: dict[str, LoRAConfig], tensors: dict[str, Tensor]) -> None:
    modules, wanted = dict(named_modules(model)), {}
    for name, config in configs.items():
        base = modules[name]
        assert isinstance(base, ADAPTABLE)  # `from_peft` has seen to it
        wanted[_key(name, "lora_A")] = (config.r, base.in_features)
        wanted[_key(name, "lora_B")] = (base.out_features, config.r)
    if lacking := wanted.keys() - tensors.keys():
        raise ValueError(f"it lacks {_first(sorted(lacking))}")
    if surplus := tensors.keys() - wanted.keys():
        raise ValueError(f"the model has no place for {_first(sorted(surplus))}")
    for key, shape in wanted.items():
        if tensors[key].shape != shape:
            raise ValueError(f"{key} has shape {tuple(tensors[key].shape)}, where {shape} is needed")


@torch.no_grad()
def _fill(name: str, factor: Tensor, stored: Tensor) -> None:
    _refuse_absent(name, factor)
    factor.copy_(stored)
    if not torch.isfinite(factor).all():  # finite in the file, but in a wider dtype
        largest = stored.abs().max().item()
        raise ValueError(f"{name} reaches {largest:.3g}, which {factor.dtype} cannot hold: {_AGAIN}")


def _refuse_absent(name: str, tensor: Tensor) -> None:
    if tensor.is_meta:
        raise ValueError(
            f"{name} has no values, it is on the meta device, because the model was built without weights or is "
            "offloaded by accelerate: load the model's weights into memory first"
        )


def _refuse_misshapen(name: str, layer: LoRALinear) -> None:
    """The configuration states the rank, and by it a reader judges the factors."""
    r, d_in, d_out = layer.config.r, layer.base.in_features, layer.base.out_features
    for factor, shape in (("lora_A", (r, d_in)), ("lora_B", (d_out, r))):
        if (found := tuple(getattr(layer, factor).shape)) != shape:
            raise ValueError(
                f"{name}.{factor} has shape {found}, where its config with r={r} means {shape}: inject with the other "
                "rank, see LoRAConfig's rank_pattern, and fill the factors then"
            )


def _refuse_other_dtypes(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in _DTYPES:
        raise ValueError(f"{name} is in {tensor.dtype}, which is no dtype of adapters on disk: make it float32")


def _refuse_not_finite(name: str, tensor: Tensor) -> None:
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name} holds NaN or infinity, so the adapter is not saved: train it again, more gently")


def _key(name: str, factor: str) -> str:
    return f"base_model.model.{name}.{factor}.weight"


_COMPILED = re.compile(r"(?<![^.|(^])_orig_mod\\?\.")  # as a whole part of a name, or of an expression for one


def _plain(name: str) -> str:
    """A name as it is without `torch.compile`, whose part older versions, and others, wrote into folders."""
    return _COMPILED.sub("", name)


def _plain_names(value: Any) -> Any:
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, list):
        return [_plain_names(each) for each in value]
    return {_plain(key): each for key, each in value.items()} if isinstance(value, dict) else value


def _first(names: list[str], n: int = 3) -> str:
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")
