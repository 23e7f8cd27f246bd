"""A tree of plain values and tensors as two files of one folder, which are read without running code.

state.json             the tree; where a tensor was, its name
state.safetensors      the tensors, by name
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lora_lab.disk import atomic_folder, read_json, read_safetensors, write_json
from lora_lab.ranges import brief

DOCUMENT, TENSORS = "state.json", "state.safetensors"

_NAME = "the tensor"
_CONTIGUOUS = torch.contiguous_format
_PLAIN = (str, bool, int, float, type(None))


def write(folder: str | Path, tree: Mapping[str, Any]) -> None:
    """Both files, all in or all out; other files in the folder stay.

    Args:
        folder: a folder, or a name that is free.
        tree: of dicts by strings, lists, tuples (which come back as lists), strings, numbers, None and tensors.

    Raises:
        TypeError: for anything else in the tree; nothing is written then.
        OSError: if the folder cannot be written; files that were there before are then still whole.
    """
    tensors: dict[str, Tensor] = {}
    document = _taken_apart(tree, "", tensors)
    with atomic_folder(folder) as temporary:
        save_file(tensors, temporary / TENSORS)
        write_json(temporary / DOCUMENT, document, finite=False)


def read_document(folder: str | Path, way_out: str) -> dict[str, Any]:
    """The tree with names in place of tensors, which are not read.

    Raises:
        FileNotFoundError, OSError: if there is no such file, or it cannot be read.
        ValueError: if it is damaged.
    """
    return read_json(Path(folder) / DOCUMENT, way_out, finite=False)


def read(folder: str | Path, way_out: str) -> dict[str, Any]:
    """The tree that was written, with its tensors on the CPU.

    Args:
        folder: where it lies.
        way_out: what to do if a file is missing or damaged; it ends the error's sentence.

    Raises:
        FileNotFoundError, OSError: if a file is missing, or cannot be read.
        ValueError: if a file is damaged, or the two are not of one save.
    """
    document = read_document(folder, way_out)
    tensors = read_safetensors(Path(folder) / TENSORS, way_out)
    try:
        return _put_together(document, tensors)
    except KeyError as error:
        raise ValueError(f"{Path(folder) / TENSORS} is damaged (it has no {error}): {way_out}") from error
    except TypeError as error:
        raise ValueError(f"{Path(folder) / DOCUMENT} is damaged (it is not what was written): {way_out}") from error


def _taken_apart(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = _of_its_own(value.detach().cpu(), tensors)
        return {_NAME: name}
    within = f"{name}." if name else ""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"{name} has keys that are not strings, which cannot be kept in JSON")
        return {key: _taken_apart(each, f"{within}{key}", tensors) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_taken_apart(each, f"{within}{i}", tensors) for i, each in enumerate(value)]
    if not isinstance(value, _PLAIN):
        raise TypeError(f"{name} is {brief(value)}, which is no number, string or tensor and cannot be kept on disk")
    return value


def _put_together(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_NAME}:
            return tensors[value[_NAME]]
        return {key: _put_together(each, tensors) for key, each in value.items()}
    return [_put_together(each, tensors) for each in value] if isinstance(value, list) else value


def _of_its_own(tensor: Tensor, others: Mapping[str, Tensor]) -> Tensor:
    """Contiguous, and not sharing its memory with another, both of which the format refuses; copied only if needed."""
    memory = tensor.untyped_storage().data_ptr()
    shared = any(other.untyped_storage().data_ptr() == memory for other in others.values())
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor if tensor.is_contiguous() and whole and not shared else tensor.clone(memory_format=_CONTIGUOUS)
