"""Numbers and codes that an answer gave: of the right kind, and whether a usual slip explains them."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lora_lab.exercises import required
from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong

WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
LARGEST = 10**30  # what no count here comes near


def number(found: object, where: str) -> float:
    """What an answer gave, as a finite number, an int where it is whole.

    Args:
        found: the answer's value.
        where: for what it was asked, as the sentence goes on: "for 5 tokens".

    Raises:
        Wrong: it is no number, not finite, or of more than thirty digits.
    """
    if isinstance(found, int) and abs(found) > LARGEST:
        raise Wrong(f"yours gives a number of more than thirty digits {where}")
    value = plain_number(found, where)
    if not math.isfinite(value):
        raise Wrong(f"yours gives {value} {where}: is something divided by zero?")
    return int(value) if value.is_integer() else value


def codes(found: object, what: str, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """Whole numbers in a tensor of this shape, of any such dtype or of the one that is wanted; else `Wrong`."""
    held = required.tensor(found, what, shape)
    if held.dtype not in WHOLE or (dtype is not None and held.dtype != dtype):
        wanted = required.word(dtype) if dtype else "whole numbers"
        way_out = f".to(torch.{wanted})" if dtype else ".long()"
        raise Wrong(f"{what} is {required.word(held.dtype)}, wanted {wanted}: {way_out} makes one of it")
    return held


def slip(found: float, slips: Iterable[tuple[float, str]]) -> str:
    """ ": " and the words of the first slip that gives this number; "" if none does."""
    return next((f": {why}" for value, why in slips if math.isclose(found, value, rel_tol=1e-9, abs_tol=1e-9)), "")


def said(config: object) -> str:
    """What a config holds, in words: "hidden_size 104, head_dim 22"."""
    return ", ".join(f"{name} {value}" for name, value in vars(config).items())
