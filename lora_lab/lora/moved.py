"""What was trained or changed beside the adapters, and so would be lost with a folder that holds adapters alone.

When adapters are put in, some values of every other parameter and buffer of the state are noted. Training moves nearly
all values of what it trains, so these few tell, even if it was frozen again since; loading the same weights, merging,
quantizing, moving to another device or to another dtype does not count. What had no name then is new.
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

_ATTRIBUTE = "_when_adapted"  # on the module that `inject` was given; no part of its state


@dataclass(frozen=True)
class Note:
    """A tensor as it was: its shape, its dtype and some of its values."""

    shape: torch.Size
    dtype: torch.dtype
    values: tuple[float, ...]


def note_tensors(model: nn.Module) -> None:
    """Note every tensor outside the adapters, under every name that it has, as it is now."""
    forget_tensors(model)
    _, root = next(named_modules(model))
    factors, notes, names = _factors(root), {}, {}
    for name, tensor in named_tensors(root):
        if id(tensor) not in factors:
            if id(tensor) not in notes:
                notes[id(tensor)] = _note(tensor)
            names[name] = notes[id(tensor)]
    root.__dict__[_ATTRIBUTE] = names


def forget_tensors(model: nn.Module) -> None:
    """Undo `note_tensors`, of the model and of its parts."""
    for _, module in named_modules(model):
        module.__dict__.pop(_ATTRIBUTE, None)


def moved_tensors(model: nn.Module) -> dict[str, str]:
    """The tensors outside the adapters that require a gradient, or are new or not what they were, with the reason.

    Not seen: what was changed before the adapters were put in; what lies outside the part of the model that they were
    put into, or is asked of a part alone, unless it requires a gradient; values between those noted, such as rows of an
    embedding that was frozen again; tensors whose values cannot be read, on the meta device, sparse or of a kind of
    their own; and what a model does to buffers that are no part of its state.
    """
    found = {name: "requires a gradient" for name, tensor in _outside(model) if tensor.requires_grad}
    for prefix, module in named_modules(model):
        notes: dict[str, Note | None] = module.__dict__.get(_ATTRIBUTE, {})
        for name, tensor in _outside(module) if notes else ():
            if reason := _reason(notes, name, tensor):
                found.setdefault(f"{prefix}.{name}" if prefix else name, reason)
    return found


def _outside(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state once, but for those that stand in an adapted layer itself: its factors."""
    seen = _factors(model)
    for name, tensor in named_tensors(model):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def _factors(model: nn.Module) -> set[int]:
    layers = [module for _, module in named_modules(model) if isinstance(module, LoRALinear)]
    return {id(tensor) for layer in layers for tensor in (*layer._parameters.values(), *layer._buffers.values())}


def _reason(notes: dict[str, Note | None], name: str, tensor: Tensor) -> str | None:
    if name in notes:
        note, now = notes[name], _note(tensor)
        return None if note is None or now is None else _difference(note, now)
    return None if _as_weight_or_codes(name) & notes.keys() else "is new since the adapters were put in"


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
    return "has moved since the adapters were put in"


def _cast(values: tuple[float, ...], *dtypes: torch.dtype) -> tuple[float, ...]:
    cast = torch.tensor(values, dtype=torch.float64)
    for dtype in dtypes:
        cast = cast.to(dtype)
    return tuple(cast.tolist())


def _same(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(one, other))
