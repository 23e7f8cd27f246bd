"""A result has the type, the shape and the dtype that a check can compare; where it has not, one sentence says so."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises.tasks import Wrong


def tensor(found: object, what: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """A result that must be a tensor of this shape, of finite numbers.

    Args:
        found: what the answer gave.
        what: its name, as the sentence begins: "y", "the gradient of A".
        shape: the wanted one.
        dtype: the wanted one; None: any.

    Raises:
        Wrong: it is nothing, no tensor, of another shape or dtype, or not finite.
    """
    if found is None:
        raise Wrong(f"{what} is None, wanted a tensor: is a return missing?")
    if not isinstance(found, Tensor):
        way_out = ": take the one that is meant, as in x.max(dim=1).values" if isinstance(found, tuple) else ""
        raise Wrong(f"{what} is a {type(found).__name__}, wanted a tensor{way_out}")
    if list(found.shape) != list(shape):
        raise Wrong(f"{what} has the shape {list(found.shape)}, wanted {list(shape)}")
    if dtype is not None and found.dtype != dtype:
        raise Wrong(f"{what} is {word(found.dtype)}, wanted {word(dtype)}")
    if found.is_floating_point() and not bool(found.isfinite().all()):
        raise Wrong(f"{what} holds nan or infinity")
    return found


def several(found: object, number: int, what: str) -> list[Any]:
    """A result that must be a tuple or a list of so many things: `what` says of which, as the sentence ends.

    Raises:
        Wrong: it is nothing, one thing alone, or another number of things.
    """
    if found is None:
        raise Wrong(f"yours gives None, wanted {what}: is a return missing?")
    if not isinstance(found, (tuple, list)):
        raise Wrong(f"yours gives a {type(found).__name__} alone, wanted {what}")
    if len(found) != number:
        raise Wrong(f"yours gives {len(found)} things, wanted {number}: {what}")
    return list(found)


def whole_numbers(found: object, what: str) -> list[int]:
    """A result that must be a flat list of whole numbers; a tensor or a tuple of them will do.

    Raises:
        Wrong: it is anything else.
    """
    listed = found.tolist() if isinstance(found, Tensor) else found
    if found is None:
        raise Wrong(f"{what} is None, wanted a list of whole numbers: is a return missing?")
    if not isinstance(listed, (list, tuple)):
        raise Wrong(f"{what} is a {type(found).__name__}, wanted a list of whole numbers")
    for each in listed:
        if isinstance(each, bool) or not isinstance(each, int):
            raise Wrong(f"{what} holds a {type(each).__name__}, wanted whole numbers alone, in one flat list")
    return list(listed)


def slip(found: Tensor, slips: Mapping[str, Tensor], tolerance: float = 1e-3) -> str | None:
    """The words of the first slip whose result this is; None if it is none of them.

    Args:
        found: a result.
        slips: for each known mistake, in words, what it would have given.
        tolerance: relative to the length of the slip's result.
    """
    found = found.detach().double()
    for words, result in slips.items():
        result = result.detach().double()
        if found.shape == result.shape and float((found - result).norm()) <= tolerance * float(result.norm()) + 1e-12:
            return words
    return None


def word(dtype: torch.dtype) -> str:
    """A dtype's name as one says it: "float32"."""
    return str(dtype).removeprefix("torch.")
