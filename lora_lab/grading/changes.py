"""Arguments of the judge's that a student's code has changed: here as well, and back again afterwards."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lora_lab.grading.frames import Refused


def undo(target: Any) -> Callable[[], None]:
    """What makes an argument again what it is now; it keeps the argument, so that its identity stays its own."""
    if isinstance(target, Tensor):
        now, leaf = target.detach().clone(), target.is_leaf
        wanted, grad = target.requires_grad, target.grad if leaf else None

        def back() -> None:
            target.data = now
            if leaf:
                target.requires_grad_(wanted).grad = grad

        return back
    if not isinstance(target, (list, dict)):
        return lambda: None
    was = copy.copy(target)
    return lambda: make(target, was)


def make(target: Any, value: Any) -> None:
    """Make an argument what the student's code made of it."""
    if isinstance(target, Tensor) and isinstance(value, Tensor):
        with torch.no_grad():
            if target.shape == value.shape and target.dtype == value.dtype:
                target.copy_(value)
            else:
                target.data = value.data
        if target.is_leaf:
            target.requires_grad_(value.requires_grad)
            target.grad = value.grad
    elif isinstance(target, list) and type(value) is list:
        target[:] = value
    elif isinstance(target, dict) and type(value) is dict:
        target.clear()
        target.update(value)
    else:
        raise Refused("an argument that has become another kind of thing")
