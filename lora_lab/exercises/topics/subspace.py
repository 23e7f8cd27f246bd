"""Lesson 02: a step inside a random subspace, and the dimension that a table of scores implies."""

import functools
import math
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from lora_lab import units
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task


def _inside(theta_0: Tensor, column: Tensor, sign: Tensor, z: Tensor) -> Tensor:
    return theta_0 + sign * z[column]


def _dimension_for(scores: dict[int, float], full: float, part: float) -> int | None:
    reached = [d for d in scores if scores[d] >= part * full]
    return min(reached, default=None)


@task(reference=lambda: _inside)
def inside(inside: Any) -> None:
    """θ₀ + P z, where weight i listens to z[column[i]] with the sign sign[i]."""
    dice = torch.Generator().manual_seed(0)
    theta_0, z = torch.randn(11, generator=dice), torch.randn(4, generator=dice)
    column = torch.tensor([2, 0, 3, 1, 1, 3, 0, 2, 3, 1, 0])
    sign = torch.tensor([1.0, -1.0, -1.0, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0, 1.0, -1.0])
    P = torch.zeros(11, 4)
    for row in range(11):
        P[row, column[row]] = sign[row]
    wanted = theta_0 + P @ z
    given = theta_0.clone()
    try:
        theta = inside(given, column.clone(), sign.clone(), z.clone())
    except RuntimeError as slip:
        if "must match the size" not in str(slip):
            raise
        raise Wrong(
            "your code joins tensors of different lengths: here are 11 weights and 4 numbers of z; z[column] is as "
            f"long as θ₀, if column is the one that the function is given ({units.first_line(slip)})"
        ) from None
    if theta is None:
        raise Wrong("yours gives None: is a return missing?")
    if not isinstance(theta, Tensor):
        raise Wrong(f"yours is a {type(theta).__name__}, wanted a tensor of the 11 moved weights")
    if theta.shape != wanted.shape:
        raise Wrong(
            f"yours has the shape {list(theta.shape)}, wanted [11], one number per weight: z[column] is so long"
        )
    if not torch.equal(given, theta_0):
        raise Wrong("your code wrote into θ₀ itself, so a second step would start elsewhere: return a new tensor")
    _compare(theta.detach(), wanted, theta_0, P, z, column)
    _trains(inside, theta_0, column, sign, z, P)


def _compare(theta: Tensor, wanted: Tensor, theta_0: Tensor, P: Tensor, z: Tensor, column: Tensor) -> None:
    if torch.allclose(theta, wanted, atol=1e-5):
        return
    if torch.allclose(theta, P @ z, atol=1e-5):
        raise Wrong("yours is P z alone, which starts at zero: add θ₀, or the model is gone before the first step")
    if torch.allclose(theta, theta_0 + z[column], atol=1e-5):
        raise Wrong("the signs are missing: every weight moves up with its number of z; multiply by sign")
    if torch.allclose(theta, theta_0 - P @ z, atol=1e-5):
        raise Wrong("yours is θ₀ − P z, the opposite move: add it")
    if torch.allclose(theta, theta_0, atol=1e-5):
        raise Wrong("yours is θ₀, so z moves nothing: add sign times the numbers of z that the weights listen to")
    if torch.allclose(theta, theta_0 + P.sum(1)[column] * z[column], atol=1e-5):
        raise Wrong("you look the signs up at column: sign has one number per weight, so it is used as it is")
    worst = int((theta - wanted).abs().argmax())
    raise Wrong(
        f"yours is {float(theta[worst]):.3f} at weight {worst}, wanted {float(wanted[worst]):.3f}: weight i moves by "
        "sign[i] times z[column[i]]"
    )


def _trains(inside: Any, theta_0: Tensor, column: Tensor, sign: Tensor, z: Tensor, P: Tensor) -> None:
    z = z.clone().requires_grad_()
    theta = inside(theta_0.clone(), column.clone(), sign.clone(), z)
    pull = torch.arange(1.0, 12.0)
    gradient = torch.autograd.grad(theta @ pull, z, allow_unused=True)[0] if theta.requires_grad else None
    if gradient is None:
        raise Wrong(
            "no gradient reaches z, so nothing would train: compute with z itself, without detach, .data, float() or "
            "torch.tensor()"
        )
    if not torch.allclose(gradient, P.T @ pull, atol=1e-4):
        raise Wrong("the values are right, but the gradient at z is not Pᵀ times the gradient at θ")


@task(reference=lambda: _dimension_for)
def dimension_for(dimension_for: Any) -> None:
    """The smallest d whose score is at least a part of full fine-tuning's, None if there is none."""
    rises = {100: 0.05, 1_000: 0.41, 10_000: 0.74, 100_000: 0.79}
    jumbled = {50_000: 0.62, 500: 0.6, 5_000: 0.61}
    dips = {100: 0.1, 1_000: 0.66, 10_000: 0.6, 100_000: 0.64}
    wants = functools.partial(_wants, dimension_for)
    wants(rises, 0.8, 0.9, 10_000, "90 % of 0.8 is 0.72, and the smallest d with a score of at least that counts")
    wants(rises, 0.8, 0.5, 1_000, "50 % of 0.8 is 0.4")
    wants({100: 0.5, 1_000: 0.75, 10_000: 0.95}, 1.0, 0.75, 1_000, "a score of exactly that part counts")
    wants(jumbled, 0.62, 0.9, 500, "the table need not be sorted")
    wants(dips, 0.7, 0.9, 1_000, "a later dip changes nothing")
    wants({100: 0.31, 1_000: 0.38}, 0.4, 0.9, 1_000, "90 % of 0.4 is 0.36, a part of `full` and not points below it")
    wants({100: 0.1, 1_000: 0.2}, 0.5, 0.9, None, "no score reaches 0.45")


def _wants(
    dimension_for: Any, scores: dict[int, float], full: float, part: float, wanted: int | None, why: str
) -> None:
    given = f"{{{', '.join(f'{d}: {score}' for d, score in scores.items())}}}, full = {full} and part = {part}"
    scores = dict(scores)
    try:
        with untouched(scores=scores):
            found = dimension_for(scores, full, part)
    except ValueError as slip:  # min() of an empty list: does one have to be found, or is it rightly empty?
        if "empty" not in str(slip):
            raise
        way_out = "min(..., default=None) gives None" if wanted is None else "compare each score with part * full"
        raise Wrong(f"yours finds no d at all for {given}, wanted {wanted}: {why}; {way_out}") from None
    if isinstance(found, float) and math.isfinite(found) and found == int(found):
        found = int(found)
    if found is not None and (isinstance(found, bool) or not isinstance(found, Integral)):
        raise Wrong(f"yours gives {found!r} for {given}, wanted {wanted}: a dimension d, or None if none reaches it")
    if found != wanted:
        raise Wrong(f"yours gives {found} for {given}, wanted {wanted}: {why}")
