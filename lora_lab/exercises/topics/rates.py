"""Lesson 04: three rules for the scale, what alpha is to the rate of B, and a rate chosen without peeking."""

import copy
import math
from numbers import Real
from typing import Any, cast

import torch
from torch import Tensor

from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong, task


def _scaling(rule: str, r: int, fixed: float) -> float:
    if rule == "α/r":
        return fixed / r
    if rule == "α/√r":
        return fixed / math.sqrt(r)
    return fixed


def _rate_of_B(optimizer: str, factor: float) -> float:
    return factor if optimizer == "Adam" else factor**2


def _chosen_rate(rows: list[dict[str, float | None]]) -> float:
    finished = [row for row in rows if row["validation"] is not None]
    best = min(finished, key=lambda row: cast(float, row["validation"]))
    return cast(float, best["lr"])


@task(reference=lambda: _scaling)
def scaling(scaling: Any) -> None:
    """The scale s by one of three rules; `fixed` is α in "α/r" and "α/√r", and s itself in "constant"."""
    for r, fixed in ((1, 32.0), (16, 24.0), (64, 8.0), (9, 6.0)):
        for rule, wanted in (("α/r", fixed / r), ("α/√r", fixed / r**0.5), ("constant", fixed)):
            found = plain_number(scaling(rule, r, fixed), f"for {rule!r}")
            if not math.isclose(found, wanted, rel_tol=1e-6):
                said = f"for {rule!r}, r = {r} and fixed = {fixed:g} yours gives {found:g}, wanted {wanted:g}"
                raise Wrong(said + _scale_why(rule, r, fixed, found))


def _scale_why(rule: str, r: int, fixed: float, found: float) -> str:
    if rule == "constant" and math.isclose(found, fixed * r):
        return ": here `fixed` is s itself; do not multiply by r"
    if rule == "constant" and found in (fixed / r, fixed / math.sqrt(r)):
        return ": here `fixed` is s itself; do not divide by anything"
    if rule == "constant":
        return ": here `fixed` is s itself"
    power, other = (0.5, 1.0) if rule == "α/√r" else (1.0, 0.5)
    slips = (
        (r**power / fixed, "that is upside down"),
        (fixed, "that is α undivided; if your code does divide, is the α of the name a Greek one, and is s kept?"),
        (fixed / r**other, "that is the other rule's; does an `if` above catch this name too?"),
        (fixed / r / 2, "r ** 1 / 2 is half of r: write math.sqrt(r), or r ** 0.5"),
        (math.sqrt(fixed / r), "the root is of r alone"),
        (math.sqrt(fixed) / r, "the root is of r alone"),
        (fixed // r**power, "// and int() cut the decimals off: divide with /"),
    )
    return next((f": {why}" for slip, why in slips if math.isclose(found, slip)), "")


@task(reference=lambda: _rate_of_B)
def rate_of_B(rate_of_B: Any) -> None:
    """By what to multiply the rate of B so that it does what multiplying α by `factor` does, under SGD or Adam."""
    for optimizer in ("Adam", "SGD"):
        for factor in (2.0, 3.0, 0.5):
            call = f'rate_of_B("{optimizer}", {factor:g})'
            found = plain_number(rate_of_B(optimizer, factor), f"for {call}")
            if not found > 0:
                raise Wrong(f"yours gives {found:g} for {call}, and a rate is above 0")
            by_alpha, by_rate = _trained(optimizer, factor, 1.0), _trained(optimizer, 1.0, found)
            if not torch.allclose(by_alpha, by_rate, rtol=1e-6, atol=0):
                raise Wrong(
                    f"yours gives {found:g} for {call}. Five steps with α times {factor:g} give ‖ΔW‖ = "
                    f"{float(by_alpha.norm()):.4g}; with the rate of B times {found:g}, {float(by_rate.norm()):.4g}. "
                    "α counts once in the forward pass and once in B's gradient: which of the two does "
                    f"{optimizer} feel?"
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
    columns = (  # each slip leads to another row
        (0.002, 0.90, 0.20),
        (0.032, None, 0.00),
        (0.001, 1.00, 0.25),
        (0.008, 0.70, 0.30),
        (0.016, 0.74, 0.47),
        (0.003, 1.30, 0.22),
        (0.005, 1.10, 0.35),
        (0.004, 0.80, 0.40),
        (0.064, 1.20, 0.10),
    )
    rows: list[dict[str, float | None]] = [{"lr": lr, "validation": v, "exact": e} for lr, v, e in columns]
    high: list[dict[str, float | None]] = [
        {"lr": 0.1, "validation": 12.5, "exact": 0.02},
        {"lr": 0.2, "validation": 11.0, "exact": 0.01},
    ]
    orders = [rows, rows[::-1], [rows[3], rows[1], rows[2]], [rows[1], rows[4]], high]
    for order, wanted in zip(orders, (0.008, 0.008, 0.008, 0.016, 0.2)):
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
        if found is None and order is high:
            raise Wrong("yours gives None for losses of 12.5 and 11, wanted the rate of 11: a loss may be large")
        if isinstance(found, bool) or not isinstance(found, Real):
            raise Wrong(f"yours gives {found!r}, wanted a rate, such as 0.004")
        if found != wanted:
            raise Wrong(f"yours gives {float(found):g}, wanted {wanted:g}. {_why(float(found), order)}")


def _why(found: float, rows: list[dict[str, float | None]]) -> str:
    losses = [row["validation"] for row in rows if row["validation"] is not None]
    of_found = next((row for row in rows if row["lr"] == found), None)
    if found == min(losses):
        return "That is the smallest loss itself: return the rate of its row"
    if of_found is None:
        return "That is none of the rates tried: take the row with the smallest loss on validation, and return its rate"
    if of_found["validation"] is None:
        return "That run failed and has no loss: leave out the rows whose validation is None"
    if of_found["exact"] == max(row["exact"] or 0.0 for row in rows):
        return "That rate has the best held-out score: choosing by it is peeking, so the score would flatter you"
    if of_found["validation"] == max(losses):
        return "That rate has the largest loss on validation: take the smallest"
    return f"Its loss on validation is {of_found['validation']:g}, and the smallest is {min(losses):g}"
