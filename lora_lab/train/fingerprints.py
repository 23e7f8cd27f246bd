"""Short names for much: two things with one fingerprint are, as far as it looks, the same."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_SAMPLE = 256  # values of each weight that are looked at

Hash = Any  # hashlib names no type


def of_values(*values: Any) -> str:
    """Of batches, datasets and whatever else is made of mappings, lists, strings, numbers and tensors.

    Of other objects only the type counts.
    """
    digest = hashlib.sha256()
    for value in values:
        add(digest, value)
    return digest.hexdigest()


def of_weights(named: Iterable[tuple[str, Tensor]]) -> str:
    """Of names, dtypes, shapes, and a sample of the values of each weight: all of a large model would take minutes."""
    digest = hashlib.sha256()
    for name, weight in named:
        add(digest, name)
        if isinstance(weight, nn.Parameter):
            weight = weight.data
        if not weight.is_meta:
            flat = weight.reshape(-1)
            step = max(1, flat.numel() // _SAMPLE)
            add(digest, flat[::step])
        add(digest, list(weight.shape))
    return digest.hexdigest()


def add(digest: Hash, value: Any) -> None:
    """Put a value into a hash, so that [1, 2] and [12], or "1" and 1, are not one."""
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        digest.update(f"tensor {plain.dtype} {list(plain.shape)} ".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)} ".encode())
        for key, each in value.items():
            add(digest, key)
            add(digest, each)
    elif isinstance(value, (list, tuple)):
        digest.update(f"list {len(value)} ".encode())
        if all(type(each) is int for each in value):  # token ids: one text is a hundred times faster
            digest.update(repr(value).encode())
        else:
            for each in value:
                add(digest, each)
    elif isinstance(value, (str, bool, int, float, bytes, type(None))):
        digest.update(f"{type(value).__name__} {len(repr(value))} {value!r} ".encode())
    else:
        digest.update(f"object {type(value).__qualname__} ".encode())
