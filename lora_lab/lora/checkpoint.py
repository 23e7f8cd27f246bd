"""Adapters on disk, in the folder format of Hugging Face PEFT, both ways.

    adapter_config.json             how the adapter was made
    adapter_model.safetensors       base_model.model.<module>.lora_A.weight [r, d_in], ….lora_B.weight [d_out, r]

Nothing on disk is executed: only JSON and safetensors are read.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lora_lab.files import atomic_path, writable_folder
from lora_lab.lora.inject import adapters, inject, remove, require_adapters
from lora_lab.lora.layers import LoRAConfig

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."

# What we read, and what says nothing about the computation. Every other option must be empty: PEFT grows new ones with
# each release, and one that we silently passed over would give a model that computes something else.
_READ = {"r", "lora_alpha", "lora_dropout", "use_rslora", "target_modules"}
_NEUTRAL = {
    "peft_version",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "task_type",
    "inference_mode",
    "megatron_core",
    "qalora_group_size",
}
_ONLY: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "orthogonal"),
}
_EMPTY: tuple[Any, ...] = (None, False, {}, [])


def save_adapter(model: nn.Module, folder: str | Path) -> Path:
    """Write the adapters of `model` so that `peft.PeftModel.from_pretrained` and `load_adapter` can read them.

    Returns:
        The folder.

    Raises:
        ValueError: if the model has no adapters.
        OSError: if the folder cannot be written; files that were there before are then still whole.
    """
    layers = require_adapters(model)
    folder = writable_folder(folder)
    tensors = {}
    for name, layer in layers.items():
        for factor in ("lora_A", "lora_B"):
            tensors[f"{_PREFIX}{name}.{factor}.weight"] = getattr(layer, factor).detach().contiguous().cpu()
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
    with atomic_path(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(_peft_config(model, list(layers)), indent=2, sort_keys=True) + "\n")
    return folder


def load_adapter(model: nn.Module, folder: str | Path) -> nn.Module:
    """Inject the adapters that a folder describes, and load their weights, in place.

    Args:
        model: a model without adapters, the one the adapter was trained on or its like.
        folder: written by `save_adapter` or by PEFT.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, asks for something we do not implement, or does not fit the model. The model
            then has no adapters.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG)
    tensors = _read_weights(folder / WEIGHTS)
    if adapters(model):
        raise ValueError("the model has adapters already: call lora.remove(model) before loading others")
    was_trainable = [parameter.requires_grad for parameter in model.parameters()]
    try:
        inject(model, config)
    except ValueError as error:
        raise ValueError(f"the adapter in {folder} does not fit this model: {error}") from error
    try:
        _load_tensors(model, tensors, folder)
    except ValueError:
        remove(model)
        for parameter, flag in zip(model.parameters(), was_trainable):
            parameter.requires_grad_(flag)
        raise
    return model


def _peft_config(model: nn.Module, names: list[str]) -> dict[str, Any]:
    """The modules are listed by their full names: PEFT matches those exactly, whatever else the model contains."""
    config = next(iter(adapters(model).values())).config
    causal = type(model).__name__.endswith("ForCausalLM")
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if causal else None,
        "r": config.r,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_rslora": config.use_rslora,
        "target_modules": sorted(names),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "base_model_name_or_path": getattr(model, "name_or_path", None) or None,
    }


def _read_config(path: Path) -> LoRAConfig:
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no {path.name} in {path.parent}: give the folder that save_adapter or PEFT wrote"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}): write the adapter again") from error
    if not isinstance(stored, dict) or "peft_type" not in stored:
        raise ValueError(f"{path} is not the configuration of a PEFT adapter: it names no peft_type")
    for option, value in stored.items():
        if option not in _READ | _NEUTRAL and value not in _ONLY.get(option, _EMPTY):
            raise ValueError(
                f"{path} asks for {option}={value!r}, which lora_lab does not implement: load this adapter with peft"
            )
    missing = [key for key in ("r", "lora_alpha", "target_modules") if stored.get(key) is None]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: write the adapter again")
    target_modules = stored["target_modules"]
    return LoRAConfig(
        r=stored["r"],
        alpha=stored["lora_alpha"],
        dropout=stored.get("lora_dropout", 0.0),
        use_rslora=stored.get("use_rslora", False),
        target_modules=target_modules if isinstance(target_modules, str) else tuple(target_modules),
    )


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}: give the folder that save_adapter or PEFT wrote")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): write the adapter again") from error


@torch.no_grad()
def _load_tensors(model: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    wanted = {
        f"{_PREFIX}{name}.{factor}.weight": getattr(layer, factor)
        for name, layer in adapters(model).items()
        for factor in ("lora_A", "lora_B")
    }
    if lacking := wanted.keys() - tensors.keys():
        raise ValueError(f"the adapter in {folder} does not fit this model: it lacks {_first(lacking)}")
    if surplus := tensors.keys() - wanted.keys():
        raise ValueError(f"the adapter in {folder} does not fit this model, which has no place for {_first(surplus)}")
    for key, parameter in wanted.items():
        if tensors[key].shape != parameter.shape:
            raise ValueError(
                f"the adapter in {folder} does not fit this model: {key} has shape "
                f"{tuple(tensors[key].shape)}, where {tuple(parameter.shape)} is needed"
            )
        if not torch.isfinite(tensors[key]).all():
            raise ValueError(f"the adapter in {folder} is damaged: {key} holds NaN or infinity")
    for key, parameter in wanted.items():
        parameter.copy_(tensors[key])


def _first(keys: set[str], n: int = 3) -> str:
    return ", ".join(sorted(keys)[:n]) + (f" and {len(keys) - n} more" if len(keys) > n else "")
