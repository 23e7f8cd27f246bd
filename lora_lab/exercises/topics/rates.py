"""Lesson 04: three rules for the scale, what alpha is to the rate of B, and a rate chosen without peeking."""

import copy
import math
from typing import Any, cast

import torch
from torch import Tensor

from lora_lab.exercises.tasks import Wrong, task


def _scaling(rule: str, r: int, alpha: float) -> float:
    if rule == "α/r":
        return alpha / r
    if rule == "α/√r":
        return alpha / math.sqrt(r)
    return alpha


def _rate_of_B(optimizer: str, factor: float) -> float:
    return factor if optimizer == "Adam" else factor**2


def _chosen_rate(rows: list[dict[str, float | None]]) -> float:
    finished = [row for row in rows if row["validation"] is not None]
    best = min(finished, key=lambda row: cast(float, row["validation"]))
    return cast(float, best["lr"])


@task(reference=lambda: _scaling)
def scaling(scaling: Any) -> None:
    """The scale s of s · B A by one of three rules: "α/r", "α/√r", "constant" (which is α itself)."""
    for r, alpha in ((1, 32.0), (16, 32.0), (64, 8.0), (9, 6.0)):
        for rule, wanted in (("α/r", alpha / r), ("α/√r", alpha / r**0.5), ("constant", alpha)):
            found = scaling(rule, r, alpha)
            if isinstance(found, bool) or not isinstance(found, (int, float)):
                raise Wrong(f"yours gives {found!r} for {rule!r}, wanted a number: does every rule reach a return?")
            if not math.isclose(found, wanted, rel_tol=1e-6):
                said = f"for {rule!r}, r = {r} and α = {alpha:g} yours gives {found:g}, wanted {wanted:g}"
                raise Wrong(said + _scale_why(rule, r, alpha, found))


def _scale_why(rule: str, r: int, alpha: float, found: float) -> str:
    if rule == "constant" and math.isclose(found, alpha * r):
        return ": here `alpha` is s itself; do not multiply by r"
    if rule == "constant" and found in (alpha / r, alpha / math.sqrt(r)):
        return ": here `alpha` is s itself; do not divide by anything"
    if rule == "constant":
        return ": here `alpha` is s itself"
    if math.isclose(found, alpha):
        return ": divide by r for α/r, by its root for α/√r"
    if rule == "α/√r" and math.isclose(found, math.sqrt(alpha / r)):
        return ": the root is of r alone"
    return ""


@task(reference=lambda: _rate_of_B)
def rate_of_B(rate_of_B: Any) -> None:
    """By what to multiply the rate of B so that it does what multiplying α by `factor` does, under SGD or Adam."""
    for optimizer in ("Adam", "SGD"):
        for factor in (2.0, 3.0, 0.5):
            found = rate_of_B(optimizer, factor)
            if isinstance(found, bool) or not isinstance(found, (int, float)):
                raise Wrong(f"yours gives {found!r} for {optimizer}, wanted a number: does every case reach a return?")
            if not found > 0:
                raise Wrong(f"yours gives {found:g} for {optimizer}, and a rate is above 0")
            by_alpha, by_rate = _trained(optimizer, factor, 1.0), _trained(optimizer, 1.0, float(found))
            if not torch.allclose(by_alpha, by_rate, rtol=1e-6, atol=0):
                raise Wrong(
                    f"under {optimizer}, five steps with α times {factor:g} give ‖ΔW‖ = {float(by_alpha.norm()):.4g}; "
                    f"with the rate of B times {found:g}, as you say, {float(by_rate.norm()):.4g}. α counts in B's "
                    "gradient too: which optimizer sees that?"
                )


def _trained(optimizer: str, alpha: float, rate: float) -> Tensor:
    """ΔW [3, 4] after five steps towards a target, written out by hand: Adam without its ε, or SGD."""
    dice = torch.Generator().manual_seed(0)
    target = torch.randn(3, 4, generator=dice, dtype=torch.float64)
    A, B = torch.randn(2, 4, generator=dice, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.float64)
    means, squares = [torch.zeros_like(A), torch.zeros_like(B)], [torch.zeros_like(A), torch.zeros_like(B)]
    for step in range(1, 6):
        error = alpha * B @ A - target
        gradients = [alpha * B.T @ error, alpha * error @ A.T]
        moves = gradients
        if optimizer == "Adam":
            means = [0.9 * m + 0.1 * g for m, g in zip(means, gradients)]
            squares = [0.999 * v + 0.001 * g**2 for v, g in zip(squares, gradients)]
            corrected = zip(means, squares)
            moves = [m / (1 - 0.9**step) / (v / (1 - 0.999**step)).sqrt().clamp_min(1e-300) for m, v in corrected]
        A, B = A - 1e-3 * moves[0], B - 1e-3 * rate * moves[1]
    return alpha * B @ A


@task(reference=lambda: _chosen_rate)
def chosen_rate(chosen_rate: Any) -> None:
    """The rate of the row with the least loss on validation; a row whose training failed has None there."""
    rows: list[dict[str, float | None]] = [
        {"lr": 0.001, "validation": 1.20, "exact": 0.10},
        {"lr": 0.002, "validation": 0.80, "exact": 0.42},
        {"lr": 0.004, "validation": 0.70, "exact": 0.40},
        {"lr": 0.008, "validation": 0.90, "exact": 0.47},
        {"lr": 0.016, "validation": None, "exact": 0.0},
    ]
    orders = [rows, rows[::-1], [rows[2], rows[4], rows[0]], [rows[4], rows[1]]]
    for order, wanted in zip(orders, (0.004, 0.004, 0.004, 0.002)):
        given = copy.deepcopy(order)
        try:
            found = chosen_rate(given)
        except TypeError as slip:
            if "NoneType" not in str(slip) or "not supported between" not in str(slip):
                raise
            raise Wrong("one row has validation None, because its run failed: leave such rows out first") from None
        if given != order:
            raise Wrong("your code changed the table that it was given: sort or filter a copy")
        if isinstance(found, dict):
            raise Wrong(f"yours is the whole row {found}, wanted its rate, row['lr']")
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise Wrong(f"yours gives {found!r}, wanted a rate, such as 0.004")
        if found != wanted:
            raise Wrong(f"yours gives {found:g}, wanted {wanted:g}. {_why(found, order)}")


def _why(found: float, rows: list[dict[str, float | None]]) -> str:
    finished = [row for row in rows if row["validation"] is not None]
    if found == max(rows, key=lambda row: cast(float, row["exact"]))["lr"]:
        return "That rate has the best held-out score: choosing by it is peeking, so the score would flatter you"
    if found == max(finished, key=lambda row: cast(float, row["validation"]))["lr"]:
        return "That rate has the largest loss on validation: take the smallest"
    if any(row["lr"] == found and row["validation"] is None for row in rows):
        return "That run failed and has no loss: leave out the rows whose validation is None"
    return "Take the row with the smallest loss on validation, and return its rate"
