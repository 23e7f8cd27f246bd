"""The two files of an adapter on disk, always those of one save.

    adapter_config.json             how the adapter was made
    adapter_model.safetensors       its tensors

Nothing on disk is executed: only JSON and safetensors are read.
"""

import os
import re
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lora_lab.disk import atomic_folder, leftovers, read_json, read_safetensors, write_json

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
AGAIN = "write the adapter again"
_PICKLE = "adapter_model.bin"
_PAUSES = tuple(0.01 * 2**i for i in range(8))  # seconds between looks at a folder that is being written


def write(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Both files, all in or all out; other files in the folder stay.

    Raises:
        OSError: if the folder cannot be written; files that were there before are then still whole.
    """
    with atomic_folder(folder) as temporary:
        save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
        write_json(temporary / CONFIG, config, indent=2, sort_keys=True, finite=False)


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of one save, though somebody may replace them between the two looks.

    Raises:
        FileNotFoundError: if a file is missing.
        OSError: if a file cannot be read, or is being written all the time.
        ValueError: if a file is damaged.
    """
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
    return {option: _plain_names(value) for option, value in stored.items()}


def _read_weights(path: Path) -> dict[str, Tensor]:
    tensors = {_plain(key): tensor for key, tensor in read_safetensors(path, _way_out(path)).items()}
    for key, tensor in tensors.items():
        if not is_finite(tensor):
            raise ValueError(f"{path} is damaged, {key} holds NaN or infinity: {AGAIN}")
    return tensors


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinity, of any dtype."""
    one_byte = tensor.is_floating_point() and tensor.element_size() == 1  # which isfinite does not know
    return bool(torch.isfinite(tensor.float() if one_byte else tensor).all())


def _way_out(path: Path) -> str:
    if path.exists():
        return AGAIN
    folder = path.parent
    if path.name == WEIGHTS and (folder / _PICKLE).exists():
        return (
            f"there is {_PICKLE}, a pickle, which is not read here, because reading one can run code: load it with "
            f"peft where you trust it, and save it from there with save_pretrained, which writes {WEIGHTS}"
        )
    if left := leftovers(folder):
        return f"a save was interrupted, or is going on; what it is about is in {left[0]}: save the adapter again"
    return "give the folder that save_adapter or PEFT wrote"


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
