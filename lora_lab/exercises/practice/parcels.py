"""The puzzle of exercise 09: pieces that a weight is made of, what they weigh, and the weights to try them on.

A piece is a dictionary of tensors, of one of three kinds, and the pieces add up:

    B [d_out, r], A [r, d_in]                                  B A, added to the whole weight
    columns [k], values [d_out, k]                             added to those columns
    columns [k], codes (bytes), levels [2^b], scale [g, k]     levels[code] · scale, added to those columns;
                                                               d_out / g rows of a column share a scale

Only tensors of these names reach the weight, which is made here: what the learner's code knows besides is of no use.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises.quantities import WHOLE
from lora_lab.exercises.tasks import Wrong

D_OUT, D_IN, RANK = 160, 96, 4
KINDS = ({"B", "A"}, {"columns", "values"}, {"columns", "codes", "levels", "scale"})
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
PIECES = 64  # at most


def problem() -> tuple[Tensor, Callable[[int], Tensor]]:
    """A weight [160, 96] of few directions, noise and three large columns; and what draws n inputs [n, 96]."""
    order = torch.randperm(D_IN)
    size = torch.full((D_IN,), 0.25)
    size[order[:8]], size[order[8:48]] = 4.0, 1.0
    out, into = (
        torch.linalg.qr(each).Q for each in (torch.randn(D_OUT, RANK), torch.randn(D_IN, RANK) * size[:, None])
    )
    weight = 18 * out @ into.T / size  # directions that matter alike to the outputs
    weight += 0.05 * torch.randn(D_OUT, D_IN)
    weight[:, order[8:11]] += 0.6 * torch.randn(D_OUT, 3)
    return weight, lambda n: torch.randn(n, D_IN) * size


def count(pieces: Any) -> int:
    """Bytes of all tensors, after a look at each of them.

    Raises:
        Wrong: they are no list of pieces of the three kinds.
    """
    if not isinstance(pieces, (list, tuple)) or not all(isinstance(piece, dict) for piece in pieces):
        raise Wrong(f"yours gives a {type(pieces).__name__}, and it must be a list of dictionaries of tensors")
    if len(pieces) > PIECES:
        raise Wrong(f"yours gives {len(pieces)} pieces: {PIECES} at most")
    return sum(_weigh(piece, f"piece {number}") for number, piece in enumerate(pieces, start=1))


def _weigh(piece: dict[str, Any], name: str) -> int:
    if set(piece) not in KINDS:
        kinds = " or ".join(", ".join(sorted(kind)) for kind in KINDS)
        raise Wrong(f"{name} has {', '.join(sorted(map(str, piece)))[:80] or 'nothing'}: it must have {kinds}")
    for key, value in piece.items():
        allowed = {"columns": WHOLE, "codes": (torch.uint8,)}.get(key, FLOATS)
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.dtype not in allowed:
            is_it = value.dtype if isinstance(value, Tensor) else type(value).__name__
            wanted = {"columns": "whole numbers, such as uint8", "codes": "bytes, uint8"}.get(
                key, "floats of 8 to 32 bits"
            )
            raise Wrong(f"{key} of {name} is {is_it}: a tensor of {wanted}")
        if key != "codes" and value.is_floating_point() and not value.float().isfinite().all():
            raise Wrong(f"{key} of {name} is not finite everywhere")
    _require_shapes(piece, name)
    return sum(value.numel() * value.element_size() for value in piece.values())


def _require_shapes(piece: dict[str, Tensor], name: str) -> None:
    shapes = {key: list(value.shape) for key, value in piece.items()}
    if "B" in piece:
        r = shapes["A"][0] if shapes["A"] else 0
        _require(shapes, name, B=[D_OUT, r], A=[r, D_IN])
        return
    columns = piece["columns"].long()
    k = columns.numel()
    _require(shapes, name, columns=[k])
    if k and not 0 <= int(columns.min()) <= int(columns.max()) < D_IN:
        raise Wrong(
            f"columns of {name} go from {int(columns.min())} to {int(columns.max())}: there are 0 to {D_IN - 1}"
        )
    if len(columns.unique()) < k:
        raise Wrong(f"columns of {name} name one twice")
    if "values" in piece:
        _require(shapes, name, values=[D_OUT, k])
        return
    bits = _bits(piece["levels"], name)
    groups = shapes["scale"][0] if shapes["scale"] else 0
    _require(shapes, name, scale=[groups, k], codes=[math.ceil(D_OUT * k * bits / 8)])
    if not groups or D_OUT % groups:
        raise Wrong(f"scale of {name} has {groups} rows: {D_OUT} rows of weights must divide evenly among them")


def _require(shapes: dict[str, list[int]], name: str, **wanted: list[int]) -> None:
    for key, shape in wanted.items():
        if shapes[key] != shape:
            raise Wrong(
                f"the tensor {key!r} of {name} has the shape {shapes[key]}, which does not go with the others: {shape} "
                f"would{', since codes are packed' * (key == 'codes')}"
            )


def _bits(levels: Tensor, name: str) -> int:
    bits = max(levels.numel() - 1, 0).bit_length()
    if levels.dim() != 1 or not 1 <= bits <= 8 or levels.numel() != 2**bits:
        raise Wrong(f"levels of {name} have the shape {list(levels.shape)}: 2, 4, 8, … or 256 of them")
    return bits


def restore(pieces: Any, shape: torch.Size) -> Tensor:
    """The weight, float32, of pieces that `count` has looked at."""
    weight = torch.zeros(shape)
    for piece in pieces:
        if "B" in piece:
            weight += piece["B"].float() @ piece["A"].float()
            continue
        columns = piece["columns"].long()
        if "values" in piece:
            weight[:, columns] += piece["values"].float()
            continue
        bits = _bits(piece["levels"], "a piece")
        codes = unpack(piece["codes"], bits, D_OUT * len(columns)).view(D_OUT, -1)
        rows = D_OUT // len(piece["scale"])
        weight[:, columns] += piece["levels"].float()[codes] * piece["scale"].float().repeat_interleave(rows, dim=0)
    return weight


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes of 1 to 8 bits one after the other, row by row, the highest bit first: uint8 [⌈numel · bits / 8⌉]."""
    places = torch.arange(bits - 1, -1, -1)
    stream = ((codes.reshape(-1, 1).long() >> places) & 1).flatten()
    stream = torch.cat([stream, stream.new_zeros(-len(stream) % 8)])
    return (stream.view(-1, 8) << torch.arange(7, -1, -1)).sum(dim=1).to(torch.uint8)


def unpack(packed: Tensor, bits: int, count: int) -> Tensor:
    """The first `count` codes again, int64 [count]."""
    stream = ((packed.long()[:, None] >> torch.arange(7, -1, -1)) & 1).flatten()[: count * bits]
    return (stream.view(-1, bits) << torch.arange(bits - 1, -1, -1)).sum(dim=1)
