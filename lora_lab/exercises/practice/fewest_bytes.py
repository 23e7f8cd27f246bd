"""Exercise 09, its puzzle: the same outputs from the fewest bytes."""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.practice import parcels
from lora_lab.exercises.tasks import Score, Wrong, task

LIMIT, MOST, BEST = 0.12, 10_000, 1753  # relative error of outputs, bytes at most, best known


def _fewest_bytes(weight: Tensor, inputs: Tensor) -> list[dict[str, Tensor]]:
    """Directions that the outputs need, in 8 bits, and codes for the columns that matter: each is fitted to what the
    other leaves, in turns."""
    size = inputs.square().mean(dim=0).sqrt()
    coded: list[dict[str, Tensor]] = []
    for _ in range(6):
        left = weight - parcels.restore(coded, weight.shape)
        U, S, Vh = torch.linalg.svd(left * size, full_matrices=False)
        root = S[:4].sqrt()
        B, A = U[:, :4] * root, root[:, None] * Vh[:4] / size
        directions = {"B": B.to(torch.float8_e4m3fn), "A": A.to(torch.float8_e4m3fn)}
        rest = weight - parcels.restore([directions], weight.shape)
        order = (rest.square().mean(dim=0).sqrt() * size).argsort(descending=True)
        coded = [_coded(rest, order[:3], 4), _coded(rest, order[3:11], 2), _coded(rest, order[11:15], 1)]
    return [directions, *coded]


def _coded(rest: Tensor, columns: Tensor, bits: int) -> dict[str, Tensor]:
    """Some columns by codes, with the scale of least error for each."""
    levels = _levels_of_least_error(bits)
    part = rest[:, columns]
    found = _nearest(part / part.square().mean(dim=0).sqrt(), levels.float())
    hit = levels.float()[found]
    scale = (part * hit).sum(dim=0) / hit.square().sum(dim=0)
    return {
        "columns": columns.byte(),
        "codes": parcels.pack(found, bits),
        "levels": levels,
        "scale": scale[None].half(),
    }


@lru_cache
def _levels_of_least_error(bits: int) -> Tensor:
    """Lloyd's, for a bell of width 1: float16 [2^bits]."""
    bell = torch.special.ndtri((torch.arange(2048) + 0.5) / 2048)
    levels = torch.quantile(bell, (torch.arange(2**bits) + 0.5) / 2**bits)
    for _ in range(60):
        nearest = _nearest(bell, levels)
        levels = torch.bincount(nearest, bell) / torch.bincount(nearest)
    return levels.half()


def _nearest(values: Tensor, levels: Tensor) -> Tensor:
    return torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)


@task(reference=lambda: _fewest_bytes)
def fewest_bytes(fewest_bytes: Any) -> Score:
    """The same outputs from fewer bytes: only the pieces count, and the check itself makes a weight of them."""
    used = 0
    for number in range(3):
        weight, draw = parcels.problem()
        inputs = draw(256)
        with untouched(weight=weight, inputs=inputs):
            pieces = fewest_bytes(weight, inputs)
        size = parcels.count(pieces)
        where = f"weight {number + 1} of 3"
        if size > MOST:
            raise Wrong(f"your pieces of {where} are {size:,} bytes, and {MOST:,} are allowed", size, MOST)
        restored = parcels.restore(pieces, weight.shape)
        x = draw(1500)
        error = float(((restored - weight) @ x.T).norm() / (weight @ x.T).norm())
        if not error <= LIMIT:
            off = f"{error:.1%}" if not error < LIMIT + 0.001 else f"{error:.4%}"  # 12.02% is not "12.0%"
            raise Wrong(
                f"on new inputs the outputs of {where} are off by {off}, and {LIMIT:.0%} is allowed. "
                f"{_error_slip(restored, weight, x)} ({size:,} bytes)", round(error, 4), LIMIT,
            )  # fmt: skip
        used = max(used, size)
    return Score(used, "bytes", BEST)


def _error_slip(restored: Tensor, weight: Tensor, x: Tensor) -> str:
    """Which columns do it."""
    if not restored.any():
        return "No piece adds anything to the weight"
    share = (restored - weight).square().sum(dim=0) * x.square().mean(dim=0)
    worst = share.sort(descending=True)
    few = float(worst.values[:8].sum() / share.sum())
    return f"{few:.0%} of the error comes from eight columns, the worst of them {int(worst.indices[0])}"
