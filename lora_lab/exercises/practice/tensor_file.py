"""Exercises 14, the second: a safetensors file, read from its bytes."""

import json
import random
import struct
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import required
from lora_lab.exercises.tasks import Wrong, task

_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}


def _tensors_in(blob: bytes) -> dict[str, Tensor]:
    n = int.from_bytes(blob[:8], "little")
    data, tensors = blob[8 + n :], {}
    for name, about in json.loads(blob[8 : 8 + n]).items():
        if name != "__metadata__":
            begin, end = about["data_offsets"]
            flat = torch.frombuffer(bytearray(data[begin:end]), dtype=_DTYPES[about["dtype"]])
            tensors[name] = flat.view(about["shape"])
    return tensors


@task(reference=lambda: _tensors_in)
def tensors_in(tensors_in: Any) -> None:
    """Every tensor of a safetensors file, from its bytes."""
    for number in range(3):
        tensors = {"layers.0.lora_A.weight": torch.randn(2, 3)}
        if number:
            tensors |= {
                "layers.1.lora_B.weight": torch.randn(5, 2).bfloat16(),
                "codes": torch.randint(256, (7, 1)).byte(),
            }
        if number == 2:
            tensors |= {"scale": torch.randn(()), "absmax": torch.randn(4), "b": torch.randn(3).half()}
        blob = _as_file(tensors, metadata=number > 0)
        try:
            found = tensors_in(blob)
        except Exception as error:
            if why := _why_stopped(f"{type(error).__name__} {error}"):
                raise Wrong(why) from None
            raise
        if found is None:
            raise Wrong("yours gives None, wanted a dictionary of tensors: is a return missing?")
        if not callable(getattr(found, "items", None)):
            raise Wrong(f"yours gives a {type(found).__name__}, wanted a dictionary from names to tensors")
        found = dict(found.items())
        if "__metadata__" in found:
            raise Wrong("__metadata__ is among your tensors: it is a note for people, and no tensor")
        if missing := sorted(set(tensors) - set(found)):
            raise Wrong(f"a file with {', '.join(tensors)}: yours lacks {missing[0]}")
        if extra := sorted(set(found) - set(tensors)):
            raise Wrong(f"a file with {', '.join(tensors)}: yours has {str(extra[0])[:40]!r} too")
        for name, wanted in tensors.items():
            _compare_read(found[name], name, wanted, blob)


def _why_stopped(said: str) -> str:
    """What is wrong with an answer that stops with this error; nothing if it is not known."""
    if any(word in said for word in ("JSONDecodeError", "UnicodeDecodeError")):
        return (
            "what yours takes for the header is no JSON: it is the n bytes after the first 8, and of these 8 the "
            "least comes first"
        )
    if "KeyError" in said and any(word in said for word in ("data_offsets", "dtype", "shape")):
        return "your code asks __metadata__ for what only a tensor has: it is a note for people, so pass over it"
    if "is invalid for input of size" in said:
        return (
            "as many numbers as bytes do not fit into the shape: a number of F32 has 4 bytes, one of F16 or BF16 has "
            "2, so read the bytes as numbers of their dtype"
        )
    return ""


def _as_file(tensors: dict[str, Tensor], metadata: bool) -> bytes:
    """By the format's description; names in another order than their data, and the header padded, as both may be."""
    words = {dtype: word for word, dtype in _DTYPES.items()}
    data, about = b"", {}
    for name in sorted(tensors, key=lambda name: -tensors[name].element_size()):
        each = tensors[name].contiguous()
        raw = bytes(each.reshape(-1).view(torch.uint8).tolist())
        about[name] = {
            "dtype": words[each.dtype],
            "shape": list(each.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}} if metadata else {}
    names = random.sample(sorted(about), len(about))
    text = json.dumps(header | {name: about[name] for name in names}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def _compare_read(found: object, name: str, wanted: Tensor, blob: bytes) -> None:
    if isinstance(found, Tensor) and found.dtype != wanted.dtype:
        half = found.dtype == torch.float16 and wanted.dtype == torch.bfloat16
        why = "bfloat16 is the upper half of a float32, and no float16" if half else "keep the file's type"
        raise Wrong(f"{name} is {required.word(found.dtype)} in yours, and {_word_of(wanted.dtype)} in the file: {why}")
    if isinstance(found, Tensor) and found.shape != wanted.shape and found.numel() == wanted.numel():
        raise Wrong(f"{name} has the shape {list(found.shape)} in yours, and {list(wanted.shape)} in the file's header")
    if not isinstance(found, Tensor) or found.shape != wanted.shape:
        required.tensor(found, name, wanted.shape)
    assert isinstance(found, Tensor)
    if torch.equal(found.reshape(-1).view(torch.uint8), wanted.reshape(-1).view(torch.uint8)):
        return
    n = int.from_bytes(blob[:8], "little")
    begin = json.loads(blob[8 : 8 + n])[name]["data_offsets"][0]
    size = wanted.numel() * wanted.element_size()
    ours = bytes(found.contiguous().reshape(-1).view(torch.uint8).tolist())
    starts = {
        "data_offsets count from the end of the header, 8 + n, and yours from the beginning of the file": begin,
        "data_offsets count from the end of the header, 8 + n, and yours from 8": begin + 8,
        "the header begins after 8 bytes, so the data begin at 8 + n, not at n": begin + n,
    }
    for words, start in starts.items():
        if ours == blob[start : start + size]:
            raise Wrong(f"the numbers of {name} are wrong: {words}")
    if ours in blob[8 + n :]:
        raise Wrong(f"the numbers of {name} are another tensor's: its data stand at its own data_offsets")
    turned = required.tensor(found, name, wanted.shape).double()
    if wanted.dim() == 2 and torch.equal(turned, wanted.double().T.reshape(wanted.shape)):
        raise Wrong(f"the numbers of {name} are there column by column: a file has them row by row")
    raise Wrong(f"the numbers of {name} are wrong: is the data that begins at 8 + n cut at data_offsets?",
                yours=found, wanted=wanted)  # fmt: skip


def _word_of(dtype: torch.dtype) -> str:
    return {other: word for word, other in _DTYPES.items()}[dtype]
