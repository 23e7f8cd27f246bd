"""What was trained or changed beside an adapter's own tensors, and is a part of what was learnt.

When adapters are put in, some values of every other parameter and buffer of the state are noted. Training moves nearly
all values of what it trains, so these few tell, even if it was frozen again since; loading the same weights, merging,
quantizing, moving to another device or to another dtype does not count. What had no name then is new.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lora_lab.adapters.naming import plain_tensors

SAMPLES = 64
"""Values of a tensor that are noted, evenly spread: a few milliseconds for a whole model."""


@dataclass(frozen=True)
class Note:
    """A tensor as it was: its shape, its dtype and some of its values."""

    shape: torch.Size
    dtype: torch.dtype
    values: tuple[float, ...]


Notes = dict[str, Note | None]


def note_tensors(model: nn.Module) -> Notes:
    """Every tensor outside the adapters, under every name that it has, as it is now."""
    notes: dict[int, Note | None] = {}
    names = {}
    for name, tensor in plain_tensors(model):
        if id(tensor) not in notes:
            notes[id(tensor)] = _note(tensor)
        names[name] = notes[id(tensor)]
    return names


def moved_tensors(model: nn.Module, notes: Notes) -> dict[str, str]:
    """The tensors outside the adapters that require a gradient, or are new or not what was noted, with the reason.

    Not seen: what was changed before the adapter was put in; values between those noted, such as rows of an embedding
    that was frozen again; tensors whose values cannot be read, on the meta device, sparse or of a kind of their own;
    and what a model does to buffers that are no part of its state.
    """
    found, seen = {}, set()
    for name, tensor in plain_tensors(model):
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if tensor.requires_grad:
            found[name] = "requires a gradient"
        elif notes and (reason := _reason(notes, name, tensor)):
            found[name] = reason
    return found


def _reason(notes: Notes, name: str, tensor: Tensor) -> str | None:
    if name in notes:
        note, now = notes[name], _note(tensor)
        return None if note is None or now is None else _difference(note, now)
    return None if _as_weight_or_codes(name) & notes.keys() else "is new since the adapter was put in"


def _as_weight_or_codes(name: str) -> set[str]:
    """A linear layer that is quantized, or restored, has its weight under other names."""
    layer, _, part = name.rpartition(".")
    return {f"{layer}.weight", f"{layer}.packed"} if part.startswith(("weight", "packed", "absmax")) else set()


@torch.no_grad()
def _note(tensor: Tensor) -> Note | None:
    """None for a tensor whose values cannot be read: sparse, without data yet, or of a class that allows no looking."""
    if tensor.is_meta or hasattr(tensor, "fake_mode"):
        return None
    try:
        flat = tensor.detach().reshape(-1) if tensor.is_contiguous() else tensor.detach().flatten()
        places = torch.linspace(0, max(0, len(flat) - 1), min(SAMPLES, len(flat)), dtype=torch.float64, device="cpu")
        if tensor.is_complex():
            picked = torch.view_as_real(flat[places.long().to(flat.device)]).flatten()
        else:  # as bytes, because most of torch cannot index a float8
            width = flat.element_size()
            rows = flat.view(torch.uint8).view(-1, width)[places.long().to(flat.device)]
            picked = rows.flatten().view(flat.dtype)
        values = picked.cpu().tolist() if picked.element_size() > 1 else picked.float().tolist()
        return Note(tensor.shape, picked.dtype, tuple(values))
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        return None


def _difference(note: Note, now: Note) -> str | None:
    if now.shape != note.shape:
        return f"was resized from {list(note.shape)} to {list(now.shape)}"
    if note.dtype == now.dtype and _same(note.values, now.values):
        return None
    through = {note.dtype, now.dtype}
    if note.dtype.is_floating_point:  # .bfloat16() and .float() again is rounding, not training
        through |= {torch.bfloat16, torch.float16}
    if any(_same(_cast(note.values, dtype, now.dtype), now.values) for dtype in through):
        return None
    return "has moved since the adapter was put in"


def _cast(values: tuple[float, ...], *dtypes: torch.dtype) -> tuple[float, ...]:
    cast = torch.tensor(values, dtype=torch.float64)
    for dtype in dtypes:
        cast = cast.to(dtype)
    return tuple(cast.tolist())


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(one, other))
