"""Lesson 09: six weights by hand, NF4's table in every bit, and one step towards the levels of least error."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from lora_lab import quant
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task

SIX = (0.4, -0.8, 0.09, 0.3, -0.2, 0.02)
EIGHT = (-1.0, -0.6, -0.3, 0.0, 0.15, 0.35, 0.6, 1.0)
_P_MAX = 0.9677083


def _six_weights() -> tuple[float, list[int], list[float]]:
    absmax = max(abs(w) for w in SIX)
    codes = [min(range(len(EIGHT)), key=lambda k: abs(w / absmax - EIGHT[k])) for w in SIX]
    return absmax, codes, [EIGHT[code] * absmax for code in codes]


def _normal_float4(
    p_max: float = _P_MAX,
    probability: torch.dtype = torch.float32,
    quantile: torch.dtype = torch.float64,
    result: torch.dtype = torch.float32,
) -> Tensor:
    """NF4's levels, float32 [16], ascending; the defaults give the published table."""

    def half(n: int) -> Tensor:
        p = torch.linspace(p_max, 0.5, n + 1, dtype=probability)[:-1]
        return torch.special.ndtri(p.to(quantile)).to(result)

    levels = torch.cat([-half(7), torch.zeros(1, dtype=result), half(8)]).sort().values
    return (levels / levels.max()).float()


def _lloyd_step(values: Tensor, importance: Tensor, levels: Tensor) -> Tensor:
    """Each level at the weighted mean of the values that are nearest to it."""
    codes = torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)
    total = torch.bincount(codes, importance, minlength=len(levels))
    moment = torch.bincount(codes, importance * values, minlength=len(levels))
    return (moment / total).to(levels.dtype)


@task(reference=lambda: _six_weights)
def six_weights(six_weights: Any) -> None:
    """absmax, codes and restored values of six weights on eight levels."""
    found = six_weights()
    if not isinstance(found, (tuple, list)) or len(found) != 3:
        raise Wrong("yours does not return three things: return absmax, codes, restored")
    absmax, given, restored = found
    if not isinstance(absmax, Real) and not (isinstance(absmax, Tensor) and absmax.numel() == 1):
        raise Wrong(f"your absmax is {absmax!r}, wanted one number")
    largest, wanted_codes, wanted = _six_weights()
    if not abs(float(absmax) - largest) <= 1e-6:  # also what is no number
        why = ": the largest magnitude counts, with its sign taken off"
        raise Wrong(
            f"your absmax is {float(absmax):g}, wanted {largest:g}{why if float(absmax) in (0.4, -0.8) else ''}"
        )
    codes, restored = _six("codes", given), _six("restored", restored)
    for k, (yours, right) in enumerate(zip(codes, wanted_codes)):
        if yours != right:
            raise Wrong(f"your code of {SIX[k]:g} is {yours:g}, wanted {right}{_code_slip(yours, k, largest)}")
    for k, (weight, value) in enumerate(zip(restored, wanted)):
        if not abs(weight - value) <= 0.0051:
            level = EIGHT[wanted_codes[k]]
            why = ": that is the level itself; multiply it by absmax" if abs(weight - level) < 1e-6 else ""
            raise Wrong(f"you restore {SIX[k]:g} as {weight:g}, wanted {level:g} · {largest:g} = {value:g}{why}")


def _six(name: str, values: Any) -> list[float]:
    if isinstance(values, Tensor):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != len(SIX):
        raise Wrong(f"your {name} are {values!r}, wanted a list of six numbers")
    if not all(isinstance(value, Real) for value in values):
        raise Wrong(f"your {name} are {list(values)}, wanted six plain numbers")
    return [float(value) for value in values]


def _code_slip(yours: float, k: int, absmax: float) -> str:
    scaled = SIX[k] / absmax
    undivided = min(range(len(EIGHT)), key=lambda i: abs(SIX[k] - EIGHT[i]))
    nearest = min(range(len(EIGHT)), key=lambda i: abs(scaled - EIGHT[i]))
    if yours == nearest + 1:
        return ": codes count from 0"
    if yours in EIGHT and yours == EIGHT[nearest]:
        return ": that is the level; its code is its place in the table"
    if yours == undivided:
        return f": that is the code of {SIX[k]:g} undivided; divide by absmax first: {scaled:g}"
    return f": {SIX[k]:g} divided by {absmax:g} is {scaled:g}, and the nearest level {EIGHT[nearest]:g}"


@task(reference=lambda: _normal_float4)
def normal_float4(normal_float4: Any) -> None:
    """The sixteen levels, equal to the published table in every bit; the roundings stand where the arguments say."""
    table = _levels(normal_float4())
    published = quant.NF4.values
    gap = float((table.double() - published.double()).abs().max())
    if gap > 1e-4:
        raise Wrong(_table_slip(table))
    same = int((table.view(torch.int32) == published.view(torch.int32)).sum())
    if same < 16:
        raise Wrong(
            f"close, {same} of 16 levels equal in every bit: the roundings stand elsewhere. p in `probability`, the "
            "quantile of p.to(quantile), back to `result`, and only then the division by the largest level"
        )
    f64 = torch.float64
    for arguments in ((0.95,), (929 / 960, f64, f64, f64), (_P_MAX, torch.float32, f64, f64)):
        found, wanted = _levels(normal_float4(*arguments)), _normal_float4(*arguments)
        if not torch.allclose(found, wanted, atol=1e-4):
            raise Wrong(f"with p_max = {arguments[0]:g} yours is the same table: use the argument, not the number")
        if not torch.equal(found, wanted):
            raise Wrong(
                "yours ignores one of the dtypes: p is made in `probability`, Φ⁻¹ taken in `quantile`, then `result`"
            )


def _levels(table: Any) -> Tensor:
    if table is None:
        raise Wrong("yours returns nothing: end it with return")
    if not isinstance(table, Tensor):
        raise Wrong(f"yours is a {type(table).__name__}, wanted a tensor of sixteen levels")
    if table.shape != (16,):
        if table.numel() == 17:
            raise Wrong("yours has 17 levels: 8 above zero, zero once, and 7 below")
        raise Wrong(f"yours has the shape {list(table.shape)}, wanted [16]: 7 below zero, zero, 8 above")
    if table.dtype != torch.float32:
        raise Wrong(f"yours is {table.dtype}, wanted torch.float32: the last step is .float()")
    if not torch.isfinite(table).all():
        raise Wrong("yours has an infinite level: p_max stays below 1, and the last probability, ½, is left out")
    return table


def _table_slip(table: Tensor) -> str:
    if (table.diff() < 0).any():
        return "your levels are not ascending: sort them"
    if (table == 0).sum() == 0:
        return "yours has no zero: the two halves leave out p = ½, and one zero is put between them"
    if (table == 0).sum() > 1:
        return "yours has zero more than once: leave p = ½ out of both halves, and add one zero"
    if (table > 0).sum() != 8:
        return f"yours has {int((table > 0).sum())} levels above zero, wanted 8, and 7 below"
    if abs(float(table.max()) - 1) > 1e-6:
        return f"your largest level is {float(table.max()):.4g}, wanted 1: divide by the largest"
    worst = int((table - quant.NF4.values).abs().argmax())
    return (
        f"your level {worst} is {float(table[worst]):.4f}, wanted {float(quant.NF4.values[worst]):.4f}: each half "
        "has n probabilities, evenly spaced from p_max down to ½, without the ½: linspace of n + 1, the last cut off"
    )


@task(reference=lambda: _lloyd_step)
def lloyd_step(lloyd_step: Any) -> None:
    """Every level moves to the mean of the values nearest to it, each counted by its importance."""
    dice = torch.Generator().manual_seed(5)
    many, few = torch.rand(400, generator=dice) * 2 - 1, torch.tensor([-1.0, 0.0, 1.0])
    cases = (
        (torch.tensor([-0.9, -0.5, 0.1, 0.2, 0.9]), torch.ones(5), few),
        (torch.tensor([-0.9, -0.6, 0.1, 0.3, 0.9]), torch.tensor([1.0, 3.0, 1.0, 9.0, 1.0]), few),
        (many, torch.rand(400, generator=dice) + 0.1, torch.tensor([-0.8, -0.3, 0.0, 0.1, 0.7])),
    )  # fmt: skip
    for values, importance, levels in cases:
        with untouched(values=values, importance=importance, levels=levels):
            moved = lloyd_step(values, importance, levels)
        if isinstance(moved, (list, tuple)) and all(isinstance(each, (Real, Tensor)) for each in moved):
            moved = torch.tensor([float(each) for each in moved])
        if not isinstance(moved, Tensor) or moved.shape != levels.shape:
            raise Wrong(
                f"yours gives {'nothing' if moved is None else type(moved).__name__}, wanted {len(levels)} new levels"
            )
        wanted = torch.tensor(_means(values, importance, levels), dtype=torch.float64)
        if torch.allclose(moved.double(), wanted, atol=1e-5):
            continue
        if torch.equal(moved.double(), levels.double()):
            raise Wrong("your levels have not moved: write into a copy of them, and return that")
        if torch.allclose(moved.double(), torch.tensor(_means(values, importance * 0 + 1, levels)).double(), atol=1e-5):
            raise Wrong("yours is the plain mean: multiply each value by its importance, and divide by their sum")
        nearest = (values[:, None].double() - levels.double()).abs().argmin(dim=1)
        sums, counts = (_sums(nearest, each, levels) for each in (importance, torch.ones_like(values)))
        if any(torch.allclose(moved.double(), wanted * sums / by, atol=1e-4) for by in (counts, 1)):
            raise Wrong("your sum is not divided by the sum of the importance: that is what makes it a weighted mean")
        cut = torch.bucketize(values, levels)
        cut = _sums(cut, importance * values, levels) / _sums(cut, importance, levels)
        if torch.allclose(moved.double(), cut, atol=1e-4, equal_nan=True):
            raise Wrong("you cut at the levels: for the nearest one, bucketize wants the midpoints between them")
        twice = torch.tensor(_means(values, importance * importance, levels), dtype=torch.float64)
        if torch.allclose(moved.double(), twice, atol=1e-5):
            raise Wrong("your importance is squared: it is absmax² already")
        k = int((moved.double() - wanted).abs().nan_to_num(9.0).argmax())
        own = [float(value) for value in values if int((levels - value).abs().argmin()) == k]
        said = f" Nearest to it are {', '.join(f'{value:g}' for value in own)}." if len(own) < 6 else ""
        raise Wrong(
            f"your level {k}, {float(levels[k]):g}, moves to {float(moved[k]):.4g}, wanted {float(wanted[k]):.4g}."
            + said
        )


def _sums(codes: Tensor, each: Tensor, levels: Tensor) -> Tensor:
    """The sum over the values of each level."""
    return torch.stack([each.double()[codes == k].sum() for k in range(len(levels))])


def _means(values: Tensor, importance: Tensor, levels: Tensor) -> list[float]:
    """By brute force, one level after the other."""
    nearest = (values[:, None].double() - levels.double()).abs().argmin(dim=1)
    means = []
    for k in range(len(levels)):
        weight = importance.double()[nearest == k]
        means.append(float((values.double()[nearest == k] * weight).sum() / weight.sum()))
    return means
