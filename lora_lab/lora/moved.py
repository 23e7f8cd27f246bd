"""What was trained or changed beside the adapters, and so would be lost with a folder that holds adapters alone.

When adapters are put in, some values of every other parameter and buffer of the state are noted. Training moves nearly
all values of what it trains, so these few tell, even if it was frozen again since; loading the same weights, merging,
moving to another device or to another dtype does not count.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lora_lab.lora.layers import LoRALinear
from lora_lab.naming import named_modules, named_tensors

SAMPLES = 64
"""Values of a tensor that are noted, evenly spread: a few milliseconds for a whole model."""
_DTYPES = {torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8}

_ATTRIBUTE = "_when_adapted"  # on the module that `inject` was given; no part of its state


@dataclass(frozen=True)
class Note:
    """A tensor as it was: its shape, its dtype and some of its values."""

    shape: torch.Size
    dtype: torch.dtype
    values: tuple[float, ...]


def note_tensors(model: nn.Module) -> None:
    """Note every tensor outside the adapters, as it is now."""
    _, root = next(named_modules(model))
    root.__dict__[_ATTRIBUTE] = {name: _note(tensor) for name, tensor in _outside(root) if _is_readable(tensor)}


def forget_tensors(model: nn.Module) -> None:
    """Undo `note_tensors`."""
    _, root = next(named_modules(model))
    root.__dict__.pop(_ATTRIBUTE, None)


def moved_tensors(model: nn.Module) -> dict[str, str]:
    """The tensors outside the adapters that require a gradient, or are not what they were, each with the reason.

    Not seen: what was changed before the adapters were put in; rows of an embedding between those noted, unless the
    embedding still requires a gradient; and what a model does to buffers that are no part of its state.
    """
    found = {name: "requires a gradient" for name, tensor in _outside(model) if tensor.requires_grad}
    for prefix, module in named_modules(model):
        notes: dict[str, Note] = module.__dict__.get(_ATTRIBUTE, {})
        now = dict(_outside(module)) if notes else {}
        for name, note in notes.items():
            tensor = now.get(name)
            if tensor is not None and _is_readable(tensor) and (reason := _difference(note, tensor)):
                found.setdefault(f"{prefix}.{name}" if prefix else name, reason)
    return found


def _outside(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state once, but for those that stand in an adapted layer itself: its factors."""
    seen: set[int] = set()
    for _, module in named_modules(model):
        if isinstance(module, LoRALinear):
            seen |= {id(tensor) for tensor in (*module._parameters.values(), *module._buffers.values())}
    for name, tensor in named_tensors(model):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def _is_readable(tensor: Tensor) -> bool:
    return tensor.dtype in _DTYPES and not tensor.is_meta and not hasattr(tensor, "fake_mode")


@torch.no_grad()
def _note(tensor: Tensor) -> Note:
    flat = tensor.detach().reshape(-1) if tensor.is_contiguous() else tensor.detach().flatten()
    places = torch.linspace(0, max(0, len(flat) - 1), min(SAMPLES, len(flat)), dtype=torch.float64).long()
    return Note(tensor.shape, tensor.dtype, tuple(flat[places.to(flat.device)].tolist()))


def _difference(note: Note, tensor: Tensor) -> str | None:
    if tensor.shape != note.shape:
        return f"was resized from {list(note.shape)} to {list(tensor.shape)}"
    now = _note(tensor)
    through = {note.dtype, tensor.dtype}
    if note.dtype.is_floating_point:  # .bfloat16() and .float() again is rounding, not training
        through |= {torch.bfloat16, torch.float16}
    if any(_same(_cast(note.values, dtype, now.dtype), now.values) for dtype in through):
        return None
    return "has moved since the adapters were put in"


def _cast(values: tuple[float, ...], *dtypes: torch.dtype) -> tuple[float, ...]:
    cast = torch.tensor(values, dtype=torch.float64)
    for dtype in dtypes:
        cast = cast.to(dtype)
    return tuple(cast.tolist())


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(one, other))
