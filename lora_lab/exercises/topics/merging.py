"""Lesson 14: what an adapter's file weighs, the merge that rounds once, and which updates survive a grid."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task


def _adapter_bytes(layers: list[tuple[int, int]], r: int, bytes_per_number: int) -> int:
    return bytes_per_number * sum(r * (d_out + d_in) for d_out, d_in in layers)


def _merged_weight(W: Tensor, A: Tensor, B: Tensor, s: float) -> Tensor:
    return (W.float() + s * (B.float() @ A.float())).to(W.dtype)


def _survives(levels: Tensor, code: Tensor, update: Tensor) -> Tensor:
    moved = levels[code.long()] + update
    return (moved.unsqueeze(-1) - levels).abs().argmin(-1) != code


@task(reference=lambda: _adapter_bytes)
def adapter_bytes(adapter_bytes: Any) -> None:
    """The bytes of A [r, d_in] and B [d_out, r] of every layer."""
    cases = (
        ([(5, 3)], 2, 4, 64),
        ([(4, 4), (6, 4), (1, 9)], 3, 2, 168),
        ([(4096, 4096), (1024, 4096)], 16, 2, 425_984),
        ([(7, 5)] * 3, 1, 4, 144),
    )
    for layers, r, each, wanted in cases:
        with untouched(layers=layers):
            found = adapter_bytes(layers, r, each)
        if found is None:
            raise Wrong("yours gives None, wanted a number of bytes: end with return")
        if isinstance(found, Tensor) and found.numel() == 1:
            raise Wrong("yours is a tensor, wanted a Python number: end with .item(), or add in Python")
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise Wrong(f"yours gives {found!r}, wanted a number of bytes")
        if found != wanted:
            shown = f"{layers[:3]}{'' if len(layers) < 4 else ' …'}, r = {r}, {each} bytes a number"
            raise Wrong(f"for {shown}: yours {found:g}, wanted {wanted}{_bytes_why(layers, r, each, found)}")


def _bytes_why(layers: list[tuple[int, int]], r: int, each: int, found: float) -> str:
    numbers = sum(r * (d_out + d_in) for d_out, d_in in layers)
    slips = {
        "that counts numbers; each takes several bytes": numbers,
        "that is the whole weight, d_out · d_in: A and B are thin": each * sum(o * i for o, i in layers),
        "A and B are two thin matrices: add d_out and d_in": each * r * sum(o * i for o, i in layers),
        "you take the sizes of the first layer for all": each * r * len(layers) * sum(layers[0]),
        "that is always 4 bytes a number, and bytes_per_number says how many": 4 * numbers if each != 4 else math.nan,
        "A has r rows and B r columns: multiply by r": each * numbers / r,
        "A alone is r · d_in; B is r · d_out more": each * r * sum(i for _, i in layers),
        "B alone is r · d_out; A is r · d_in more": each * r * sum(o for o, _ in layers),
        "that is the first layer alone: add them all up": each * r * sum(layers[0]),
        "that is the last layer alone: add them all up": each * r * sum(layers[-1]),
        "A and B are counted twice": 2 * each * numbers,
        "each number takes that many bytes, not bits: do not divide by 8": each * numbers / 8,
    }
    return next((f". {why}" for why, slip in slips.items() if math.isclose(found, slip)), "")


@task(reference=lambda: _merged_weight)
def merged_weight(merged_weight: Any) -> None:
    """W + s·B·A, added in float32 and rounded once, to the dtype of W."""
    dice = torch.Generator().manual_seed(0)
    for d_out, d_in, r, s, dtype in ((6, 6, 2, 2.0, torch.float32), (48, 40, 4, 0.5, torch.bfloat16),
                                     (40, 64, 8, 3.0, torch.bfloat16), (5, 9, 2, 1.5, torch.float32)):  # fmt: skip
        W = torch.randn(d_out, d_in, generator=dice).to(dtype)
        A, B = 0.3 * torch.randn(r, d_in, generator=dice), 0.3 * torch.randn(d_out, r, generator=dice)
        with untouched(W=W, A=A, B=B):
            try:
                found = merged_weight(W, A, B, s)
            except RuntimeError as error:
                if "size" in str(error) or "shape" in str(error):
                    raise Wrong(
                        f"shapes do not fit ({error}): A is [r, d_in] and B [d_out, r], so B @ A has the shape of W"
                    ) from error
                raise
        _require_weight(found, W, A, B, s)


def _require_weight(found: object, W: Tensor, A: Tensor, B: Tensor, s: float) -> None:
    if found is None:
        raise Wrong("yours returns nothing, wanted the merged weight: end with return")
    if not isinstance(found, Tensor):
        raise Wrong(f"yours is a {type(found).__name__}, wanted a tensor, the merged weight")
    if found.shape != W.shape:
        raise Wrong(f"your weight has the shape {list(found.shape)}, wanted {list(W.shape)}, that of W")
    exact = W.double() + s * (B.double() @ A.double())
    near = 2.0**-6 if torch.bfloat16 in (W.dtype, found.dtype) else 1e-5
    if not torch.allclose(found.double(), exact, rtol=near, atol=near):
        raise Wrong(_sum_why(found, W, A, B, s))
    if found.dtype != W.dtype:
        raise Wrong(
            f"your weight is {_word(found.dtype)}, wanted {_word(W.dtype)}, as W: round at the end, by .to(W.dtype)"
        )
    if W.dtype == torch.bfloat16:
        missed = int((found != exact.to(torch.bfloat16)).sum())
        if missed > 0.01 * W.numel():  # float32's own rounding may turn a tie
            raise Wrong(
                f"{missed} of {W.numel()} numbers are not the bfloat16 nearest to W + s·B·A: something was rounded to "
                "bfloat16 before the sum. Make W a float32 first, add, and round once, at the end"
            )


def _sum_why(found: Tensor, W: Tensor, A: Tensor, B: Tensor, s: float) -> str:
    W, A, B, found = W.double(), A.double(), B.double(), found.double()
    slips = {
        "s is missing: the update is s·B·A": W + B @ A,
        "that is the update alone: add W": s * (B @ A),
        "s multiplies W as well: scale the update only": s * (W + B @ A),
        "the update is subtracted: add it": W - s * (B @ A),
        "s comes in twice": W + s * s * (B @ A),
        "that is W alone: add s·B·A": W,
    }
    if W.shape[0] == W.shape[1]:
        slips["the update is transposed: it is B @ A, [d_out, r] times [r, d_in]"] = W + s * (B @ A).T
    for why, slip in slips.items():
        if torch.allclose(found, slip, rtol=2e-2, atol=2e-2):
            return f"yours is not W + s·B·A: {why}"
    at = int((found - W - s * (B @ A)).abs().argmax())
    wanted = (W + s * (B @ A)).flatten()[at]
    return f"yours has {float(found.flatten()[at]):.3f} where {float(wanted):.3f} is wanted: W + s·B·A"


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@task(reference=lambda: _survives)
def survives(survives: Any) -> None:
    """True where a value that stands on a level is rounded to another one after the update."""
    even = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])
    uneven = torch.tensor([-1.0, -0.6, -0.1, 0.1, 0.35, 1.0])
    for levels in (even, uneven):
        for code, update in _cases(levels):
            with untouched(levels=levels, code=code, update=update):
                found = _flags(survives, levels, code, update)
            wanted = [
                _nearest(levels, float(levels[int(c)] + u)) != int(c) for c, u in zip(code.flatten(), update.flatten())
            ]
            _require_flags(found, torch.tensor(wanted).view(code.shape), levels, code, update)


def _flags(survives: Any, levels: Tensor, code: Tensor, update: Tensor) -> Any:
    """The learner's answer; if torch took the codes for a mask, what to do about it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "indexing with dtype torch.uint8")
        try:
            return survives(levels, code, update)
        except IndexError as error:
            if "mask" in str(error):
                said = "torch takes uint8 in brackets for a mask of yes and no: levels[code.long()] picks the levels"
                raise Wrong(said) from error
            raise


def _cases(levels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Every level with updates on both sides of half a step, in both directions; as a row and as a matrix."""
    pairs = []
    for i in range(len(levels)):
        for j in (i - 1, i + 1):
            if 0 <= j < len(levels):
                step = float(levels[j] - levels[i])
                pairs += [(i, 0.3 * step), (i, 0.45 * step), (i, 0.55 * step), (i, 1.2 * step)]
    pairs += [(0, -0.7), (len(levels) - 1, 0.7), (1, 0.0), (2, 1.9)]  # beyond the ends there is no level
    code = torch.tensor([i for i, _ in pairs], dtype=torch.uint8)
    update = torch.tensor([u for _, u in pairs])
    return [(code, update), (code[: len(code) // 2 * 2].view(-1, 2), update[: len(code) // 2 * 2].view(-1, 2))]


def _nearest(levels: Tensor, value: float) -> int:
    distances = [abs(float(level) - value) for level in levels]
    return distances.index(min(distances))


def _require_flags(found: object, wanted: Tensor, levels: Tensor, code: Tensor, update: Tensor) -> None:
    if found is None:
        raise Wrong("yours returns nothing, wanted a tensor of True and False: end with return")
    if not isinstance(found, Tensor):
        raise Wrong(f"yours is a {type(found).__name__}, wanted a tensor of True and False, one for each value")
    if found.shape != wanted.shape:
        raise Wrong(f"your answer has the shape {list(found.shape)}, wanted {list(wanted.shape)}, that of code")
    if found.dtype != torch.bool:
        raise Wrong(f"your answer is {_word(found.dtype)}, wanted bool: True where the nearest level is another one")
    wrong = (found != wanted).flatten()
    if not wrong.any():
        return
    if torch.equal(found, ~wanted):
        raise Wrong("yours is True where the update vanishes: turn it round")
    at = int(wrong.nonzero()[0])
    start, push = float(levels[int(code.flatten()[at])]), float(update.flatten()[at])
    end = float(levels[_nearest(levels, start + push)])
    said = f"levels {_listed(levels)}: {start:g} + {push:.3g} is rounded to {end:g}"
    said += f", and yours says {'moved' if bool(found.flatten()[at]) else 'not moved'}"
    raise Wrong(said + _flags_why(found, levels, code, update))


def _flags_why(found: Tensor, levels: Tensor, code: Tensor, update: Tensor) -> str:
    steps = (levels[1:] - levels[:-1]).double()
    size, below, above = update.abs().double(), code.long() - 1, code.long()
    down, up = steps[below.clamp(min=0)], steps[above.clamp(max=len(steps) - 1)]
    toward = torch.where(update < 0, down, up)
    moved = levels[code.long()] + update
    furthest_below = (moved.unsqueeze(-1) - levels).argmin(-1)
    first_above = torch.searchsorted(levels, moved.contiguous())
    slips = {
        "without .abs() the least difference is the one to the highest level: take distances": furthest_below != code,
        "searchsorted gives the next level above, not the nearest: compare with the midpoints": first_above != code,
        "half a step is enough, not a whole one": size > toward,
        "at either end there is no further level to go to": size > toward / 2,
        "half the *mean* step is not the threshold: steps differ, take the one in the update's direction": size
        > steps.mean() / 2,
        "half the *first* step is not the threshold: steps differ, take the one in the update's direction": size
        > steps[0] / 2,
        "that takes half the step of the other side": size > torch.where(update < 0, up, down) / 2,
        "a negative update moves a value as well": update > toward / 2,
        "any update that is not zero counts in yours: which ones does rounding undo?": size > 0,
    }
    return next((f". {why[0].upper()}{why[1:]}" for why, slip in slips.items() if torch.equal(found, slip)), "")


def _listed(levels: Tensor) -> str:
    return ", ".join(f"{level:g}" for level in levels.double().mul(1e4).round().div(1e4).tolist())
