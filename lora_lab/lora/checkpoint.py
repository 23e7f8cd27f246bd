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

from lora_lab.files import atomic_folder
from lora_lab.lora.bases import ADAPTABLE
from lora_lab.lora.config import LoRAConfig
from lora_lab.lora.inject import adapt, adapters, require_adapters, require_no_adapters
from lora_lab.lora.peft_format import from_peft, refuse_what_we_lack, to_peft

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def save_adapter(model: nn.Module, folder: str | Path) -> Path:
    """Write the adapters of `model` so that `peft.PeftModel.from_pretrained` and `load_adapter` can read them.

    A PiSSA adapter is written as the plain LoRA of rank 2r that it equals, [B, −B₀] [A; A₀], so that it fits the
    original base everywhere, without an SVD.

    Returns:
        The folder.

    Raises:
        ValueError: if the model has no adapters, or they differ in dropout, use_rslora or init.
        OSError: if the folder cannot be written; files that were there before are then still whole.
    """
    layers = require_adapters(model)
    config = to_peft(model)
    tensors = {}
    for name, layer in layers.items():
        B, A = layer.plain_factors()
        tensors[_key(name, "lora_A")], tensors[_key(name, "lora_B")] = A.contiguous().cpu(), B.contiguous().cpu()
    with atomic_folder(folder) as temporary:
        save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
        (temporary / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
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
        ValueError: if a file is damaged, asks for something we do not implement, or does not fit the model. The model
            then has no adapters.
    """
    folder = Path(folder)
    stored = _read_config(folder / CONFIG)
    tensors = _read_weights(folder / WEIGHTS)
    require_no_adapters(model)
    try:
        configs = from_peft(stored, model)
        _refuse_misfits(model, configs, tensors)
        adapt(model, configs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the adapter in {folder} does not fit this model: {error}") from error
    with torch.no_grad():
        for name, layer in adapters(model).items():
            layer.lora_A.copy_(tensors[_key(name, "lora_A")])
            layer.lora_B.copy_(tensors[_key(name, "lora_B")])
    return model


def _read_config(path: Path) -> dict[str, Any]:
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
    try:
        refuse_what_we_lack(stored)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return stored


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}: give the folder that save_adapter or PEFT wrote")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}): write the adapter again") from error
    for key, tensor in tensors.items():
        if tensor.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"{path} holds {key} in {tensor.dtype}: write the adapter in a dtype such as float32")
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{path} is damaged, {key} holds NaN or infinity: write the adapter again")
    return tensors


def _refuse_misfits(model: nn.Module, configs: dict[str, LoRAConfig], tensors: dict[str, Tensor]) -> None:
    wanted = {}
    for name, config in configs.items():
        base = model.get_submodule(name)
        assert isinstance(base, ADAPTABLE)  # `from_peft` has seen to it
        wanted[_key(name, "lora_A")] = (config.r, base.in_features)
        wanted[_key(name, "lora_B")] = (base.out_features, config.r)
    if lacking := wanted.keys() - tensors.keys():
        raise ValueError(f"it lacks {_first(lacking)}")
    if surplus := tensors.keys() - wanted.keys():
        raise ValueError(f"the model has no place for {_first(surplus)}")
    for key, shape in wanted.items():
        if tensors[key].shape != shape:
            raise ValueError(f"{key} has shape {tuple(tensors[key].shape)}, where {shape} is needed")


def _key(name: str, factor: str) -> str:
    return f"base_model.model.{name}.{factor}.weight"


def _first(keys: set[str], n: int = 3) -> str:
    return ", ".join(sorted(keys)[:n]) + (f" and {len(keys) - n} more" if len(keys) > n else "")
