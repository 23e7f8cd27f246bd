"""One weight as bitsandbytes stores it in 4 bits, both ways.

    <weight>                                uint8 [ceil(n / 2), 1]: the codes, the first in the high nibble
    <weight>.absmax                         float32 [blocks]; after double quantization uint8 [blocks], and then also
    <weight>.nested_absmax                  float32 [ceil(blocks / 256)]: the scales of the constants
    <weight>.nested_quant_map               float32 [256]: the level of each of the constants' codes
    <weight>.quant_map                      float32 [16]: the level of each code
    <weight>.quant_state.bitsandbytes__nf4  uint8: JSON with shape, dtype, block sizes and mean; __fp4 for FP4_BNB

Bytes and constants are taken over as they are, so that the weight is the same bit for bit on both sides. Only fp4's
codes are renumbered: bitsandbytes numbers the levels by their bits, a `Codebook` in ascending order.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lora_lab.quant.blockwise import QuantizedTensor
from lora_lab.quant.codebooks import DYNAMIC8, FP4_BNB, NF4
from lora_lab.quant.double import BLOCK_SIZE as NESTED_BLOCK_SIZE
from lora_lab.quant.double import QuantizedConstants
from lora_lab.disk.shards import Checkpoint, damaged
from lora_lab.units import BLOCK_SIZES

BOOKS = {"nf4": NF4, "fp4": FP4_BNB}
FLOATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FLOAT_NAMES = {dtype: name for name, dtype in FLOATS.items()}
_STATE = ".quant_state.bitsandbytes__"

# What fp4's codes 0 … 7 mean; 8 … 15 mean the same with a minus. Of its two zeros bitsandbytes takes code 0 for what is
# rounded up to zero and code 8 for what is rounded down, so they are the lower and the upper zero of FP4_BNB.
_FP4_MAGNITUDES = (0.0, 1 / 192, 2 / 3, 1.0, 1 / 3, 1 / 2, 1 / 6, 1 / 4)
_FP4_LEVELS = [sign * magnitude for sign in (1, -1) for magnitude in _FP4_MAGNITUDES]
_FP4_THEIRS = sorted(range(16), key=_FP4_LEVELS.__getitem__)  # their code of each of our levels
_FP4_OURS = [_FP4_THEIRS.index(code) for code in range(16)]  # our code of each of theirs


@dataclass(frozen=True)
class StoredWeight:
    """What is known of a stored 4-bit weight before its codes are read.

    Attributes:
        key: name of the weight in the checkpoint.
        kind: "nf4" or "fp4".
        block_size: values per constant.
        shape: of the dense weight.
        dtype: of the dense weight.
        mean: of the constants, if they are double quantized.
    """

    key: str
    kind: str
    block_size: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    mean: float | None

    @property
    def parts(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """All of its tensors: dtype, as safetensors names it, and shape."""
        blocks = math.ceil(math.prod(self.shape) / self.block_size)
        parts: dict[str, tuple[str, tuple[int, ...]]] = {
            self.key: ("U8", (math.ceil(math.prod(self.shape) / 2), 1)),
            f"{self.key}.quant_map": ("F32", (16,)),
            f"{self.key}.absmax": ("F32", (blocks,)),
        }
        if self.mean is not None:
            parts[f"{self.key}.absmax"] = ("U8", (blocks,))
            parts[f"{self.key}.nested_absmax"] = ("F32", (math.ceil(blocks / NESTED_BLOCK_SIZE),))
            parts[f"{self.key}.nested_quant_map"] = ("F32", (len(DYNAMIC8),))
        return parts


def stored_weights(checkpoint: Checkpoint) -> list[StoredWeight]:
    """The 4-bit weights of a checkpoint. Only headers, states and levels are read.

    Raises:
        ValueError: if one is incomplete, or not in a form that we read; it is named.
    """
    return [_stored_weight(checkpoint, key) for key in checkpoint.headers if _STATE in key]


def state_key(weight: StoredWeight) -> str:
    """Where the JSON of a weight is."""
    return f"{weight.key}{_STATE}{weight.kind}"


def read_weight(
    checkpoint: Checkpoint, stored: StoredWeight, device: str | torch.device | None = None
) -> QuantizedTensor:
    """Read one weight.

    Raises:
        ValueError: if its constants are not finite.
    """

    def read(part: str) -> Tensor:
        return checkpoint.read(f"{stored.key}{part}").to(device)

    codes = read("").view(torch.uint8).flatten()
    constants: Tensor | QuantizedConstants = read(".absmax")
    if stored.mean is not None:
        mean = torch.tensor(stored.mean, dtype=torch.float32, device=device)
        constants = QuantizedConstants(read(".absmax"), read(".nested_absmax"), mean)
    weight = QuantizedTensor(
        packed=_renumber(codes, _FP4_OURS) if stored.kind == "fp4" else codes,
        constants=constants,
        codebook=BOOKS[stored.kind],
        block_size=stored.block_size,
        shape=torch.Size(stored.shape),
        dtype=stored.dtype,
    )
    if not torch.isfinite(weight.absmax).all():
        raise damaged(checkpoint.headers[stored.key].file, f"the constants of {stored.key} hold NaN or infinity")
    return weight


def weight_tensors(key: str, weight: QuantizedTensor) -> dict[str, Tensor]:
    """The tensors that bitsandbytes stores of `weight` under the name `key`, on the CPU; none shares memory.

    Raises:
        ValueError: for a codebook, block size or double quantization that it does not have, or constants that are not
            finite.
    """
    _refuse_foreign(key, weight)
    kind = next(kind for kind, book in BOOKS.items() if book == weight.codebook)
    codes = weight.packed.detach()
    tensors = {
        key: (_renumber(codes, _FP4_THEIRS) if kind == "fp4" else codes)[:, None],
        f"{key}.quant_map": _quant_map(kind),
    }
    state: dict[str, Any] = {
        "quant_type": kind,
        "blocksize": weight.block_size,
        "dtype": FLOAT_NAMES[weight.dtype],
        "shape": list(weight.shape),
    }
    if isinstance(weight.constants, QuantizedConstants):
        tensors[f"{key}.absmax"] = weight.constants.codes
        tensors[f"{key}.nested_absmax"] = weight.constants.scale
        tensors[f"{key}.nested_quant_map"] = DYNAMIC8.values.clone()
        state |= {"nested_blocksize": NESTED_BLOCK_SIZE, "nested_dtype": "float32"}
        state["nested_offset"] = float(weight.constants.mean)
    else:
        tensors[f"{key}.absmax"] = weight.constants
    tensors[f"{key}{_STATE}{kind}"] = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    return {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}


def _stored_weight(checkpoint: Checkpoint, key: str) -> StoredWeight:
    weight, _, kind = key.partition(_STATE)
    file = checkpoint.headers[key].file
    try:
        state = json.loads(bytes(checkpoint.read(key).tolist()))
        shape, offset = tuple(map(int, state["shape"])), state.get("nested_offset")
        mean = None if offset is None else float(offset)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(file, f"{key} cannot be read: {error}") from error
    _refuse_options(key, file, kind, state, nested=mean is not None)
    stored = StoredWeight(weight, kind, state["blocksize"], shape, FLOATS[state["dtype"]], mean)
    _refuse_incomplete(checkpoint, stored)
    return stored


def _refuse_options(key: str, file: Path, kind: str, state: dict[str, Any], nested: bool) -> None:
    if kind not in BOOKS:
        raise ValueError(f"{key} in {file} is in {kind}, and only {' and '.join(BOOKS)} are read: use transformers")
    known: dict[str, tuple[Any, ...]] = {"quant_type": (kind,), "dtype": tuple(FLOATS), "blocksize": BLOCK_SIZES}
    if nested:
        known |= {"nested_blocksize": (NESTED_BLOCK_SIZE,), "nested_dtype": ("float32",)}
    for option, choices in known.items():
        if state.get(option) not in choices:
            raise ValueError(
                f"{key} in {file} has {option}={state.get(option)!r}, and only {', '.join(map(str, choices))} can be "
                "read: use transformers"
            )


def _refuse_incomplete(checkpoint: Checkpoint, stored: StoredWeight) -> None:
    """Every part must be there in its size, and the levels must be those that we mean."""
    for key, (dtype, shape) in stored.parts.items():
        header = checkpoint.headers.get(key)
        if header is None:
            raise damaged(checkpoint.headers[state_key(stored)].file, f"{key} is missing")
        fits = (header.dtype, header.shape) == (dtype, shape)
        if key == stored.key:  # the bytes may stand there in any dtype (bnb_4bit_quant_storage)
            fits = header.nbytes == math.prod(shape)
        if not fits:
            raise damaged(header.file, f"{key} is {header.dtype} {header.shape}, where {dtype} {shape} is needed")
    for part, levels in {"quant_map": _quant_map(stored.kind), "nested_quant_map": DYNAMIC8.values}.items():
        key = f"{stored.key}.{part}"
        if key in stored.parts and not torch.equal(checkpoint.read(key), levels):
            raise ValueError(
                f"{key} in {checkpoint.folder} holds other levels than those of {stored.kind} in bitsandbytes: "
                "quantize the original checkpoint again"
            )


def _refuse_foreign(key: str, weight: QuantizedTensor) -> None:
    if weight.codebook not in BOOKS.values():
        raise ValueError(
            f"{key} is in {weight.codebook.name}, which bitsandbytes does not have: quantize with NF4 or FP4_BNB"
        )
    if weight.block_size < 32:
        raise ValueError(f"{key} has blocks of {weight.block_size}: bitsandbytes takes 32 to 4096")
    if isinstance(weight.constants, QuantizedConstants) and weight.constants.codebook != DYNAMIC8:
        raise ValueError(
            f"the constants of {key} are in {weight.constants.codebook.name}, which bitsandbytes does not have: "
            "quantize with double_quant=True or False"
        )
    if not torch.isfinite(weight.absmax).all():
        raise ValueError(f"the constants of {key} hold NaN or infinity: quantize the original weight again")


def _quant_map(kind: str) -> Tensor:
    """The level of each of bitsandbytes' codes, float32 [16]. It has no -0, which adding 0 takes away."""
    return NF4.values.clone() if kind == "nf4" else FP4_BNB.values[_FP4_OURS] + 0.0


def _renumber(packed: Tensor, numbers: list[int]) -> Tensor:
    """Replace code c by numbers[c] in both halves of every byte, by way of a table of the 256 bytes."""
    table = torch.tensor([numbers[byte >> 4] << 4 | numbers[byte & 15] for byte in range(256)], dtype=torch.uint8)
    return table.to(packed.device)[packed.int()]
