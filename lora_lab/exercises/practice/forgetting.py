"""Exercises 12, the third and fourth: what was forgotten, and whether it is more than luck."""

import math
import random
from typing import Any

import torch

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong, task


def _points_lost(before: list[bool], after: list[bool]) -> tuple[float, float]:
    differences = torch.tensor([100.0 * (int(a) - int(b)) for a, b in zip(before, after)], dtype=torch.float64)
    return float(differences.mean()), float(differences.std() / math.sqrt(len(differences)))


def _luck(lost: int, won: int) -> float:
    n = lost + won
    outcomes = sum(math.comb(n, k) for k in range(min(lost, won) + 1))
    return min(1.0, 2 * outcomes / 2**n)


@task(reference=lambda: _points_lost)
def points_lost(points_lost: Any) -> None:
    """Mean and standard error of before − after over the same questions, in points."""
    cases = [([True, True, True, False], [True, False, False, True])]
    for n in (random.randint(20, 30), random.randint(40, 60)):
        before = [True] * (n - 4) + [False] * 4
        after = [False] * random.randint(5, 9) + [True] * (n - 12)
        after += [True] * 2 + [False] * (n - len(after) - 2)
        order = random.sample(range(n), n)
        cases.append(([before[i] for i in order], [after[i] for i in order]))
    for before, after in cases:
        handed = {"before": list(before), "after": list(after)}
        with untouched(**handed):
            found = points_lost(*handed.values())
        mean, error = required.several(found, 2, "the points lost and their standard error")
        mean, error = plain_number(mean, "for the points lost"), plain_number(error, "for the standard error")
        wanted = _points_lost(before, after)
        small = {"yours": [mean, error], "wanted": list(wanted)} if len(before) == 4 else {}
        if not math.isclose(mean, wanted[0], rel_tol=1e-5):
            raise Wrong(
                f"for {len(before)} questions the points lost are off: {_why_points(mean, before, after)}", **small
            )
        if not math.isclose(error, wanted[1], rel_tol=1e-4):
            why = _why_error(error, before, after)
            raise Wrong(f"for {len(before)} questions the standard error is off: {why}", **small)


def _why_points(found: float, before: list[bool], after: list[bool]) -> str:
    n = len(before)
    lost = sum(a and not b for a, b in zip(before, after))
    net = sum(before) - sum(after)
    slips = {
        "a question that was wrong and is right now is a gain, and takes away from the loss": 100 * lost / n,
        "lost is before minus after": -100 * net / n,
        "that is a share: a point is a hundredth": net / n,
        "that is a number of questions: divide by how many there are": net,
        "that is what is left, after training": 100 * sum(after) / n,
        "divide by all questions, not by those that were right before": 100 * net / sum(before),
        "a change in either direction counts as a loss in yours": 100 * sum(a != b for a, b in zip(before, after)) / n,
    }
    return _said(found, slips, "100 times the mean of before − after, question by question")


def _why_error(found: float, before: list[bool], after: list[bool]) -> str:
    n = len(before)
    differences = torch.tensor([int(a) - int(b) for a, b in zip(before, after)], dtype=torch.float64)
    s, p, q = float(differences.std()), sum(before) / n, sum(after) / n
    slips = {
        "that is the standard deviation of one question: the mean of n has it over the root of n": 100 * s,
        "divide by the square root of n, not by n": 100 * s / n,
        "that is a share: a point is a hundredth": s / math.sqrt(n),
        "the standard deviation of a sample divides by n − 1": 100 * s / math.sqrt(n) * math.sqrt((n - 1) / n),
        "that takes the two scores for independent, and they are of the same questions: take differences first": 100
        * math.sqrt(p * (1 - p) / n + q * (1 - q) / n),
        "that is the error of the score after training alone": 100 * math.sqrt(q * (1 - q) / n),
        "that takes the two scores for independent; they are of the same questions: take differences first": 100
        * math.sqrt((p * (1 - p) + q * (1 - q)) / (n - 1)),
        "that is twice the standard error": 200 * s / math.sqrt(n),
        "that is 1.96 standard errors, half an interval": 196 * s / math.sqrt(n),
    }
    return _said(found, slips, "the standard deviation of the differences over the square root of their number")


def _said(found: float, slips: dict[str, float], otherwise: str) -> str:
    for words, value in slips.items():
        if math.isclose(found, value, rel_tol=1e-5, abs_tol=1e-12):
            return words
    return otherwise


@task(reference=lambda: _luck)
def luck(luck: Any) -> None:
    """How probable a split at least as uneven is when either direction is as likely: both tails, exactly."""
    few, many = random.randint(1, 3), random.randint(6, 12)
    for lost, won in ((5, 1), (0, 5), (many, few), (few, many), (4, 4), (0, 0), (620, 560)):
        try:
            found = plain_number(luck(lost, won), f"for {lost} lost and {won} won")
        except Exception as error:
            if "OverflowError" in f"{type(error).__name__} {error}":
                raise Wrong(
                    f"for {lost} lost and {won} won a number becomes too large for a float: whole numbers have "
                    "no end, so divide one by another at the very end"
                ) from None
            if "ZeroDivisionError" in f"{type(error).__name__} {error}":
                raise Wrong(
                    f"for {lost} lost and {won} won your code divides by zero: no change is no evidence"
                ) from None
            raise
        wanted = _both_tails(lost, won)
        if not math.isclose(found, wanted, rel_tol=1e-6):
            raise Wrong(f"for {lost} lost and {won} won {_why_luck(found, lost, won)}", yours=found, wanted=wanted)


def _both_tails(lost: int, won: int) -> float:
    """By adding up every split of n whose difference is no smaller."""
    n = lost + won
    outcomes, each = 0, 1  # each = n over k, from the one before
    for k in range(n + 1):
        if abs(2 * k - n) >= abs(lost - won):
            outcomes += each
        each = each * (n - k) // (k + 1)
    return outcomes / 2**n


def _why_luck(found: float, lost: int, won: int) -> str:
    n, least = lost + won, min(lost, won)
    tail = sum(math.comb(n, k) for k in range(least + 1)) / 2**n
    if not math.isfinite(found):
        return "yours is not finite"
    if n == 0:
        return "nothing has changed, and every split of nothing is as uneven: that is sure"
    if found > 1:
        return "yours is above 1: where the halves are equal the middle is in both tails, so a probability is capped"
    if n > 1000 and found == 0:
        return "0.5 ** n is too small for a float and becomes zero: divide whole numbers, by 2 ** n, at the very end"
    slips = {
        "that is one tail: a split as uneven in the other direction is as surprising": tail,
        "that is the probability of this very split: add those that are more uneven": math.comb(n, least) / 2**n,
        "that is twice the probability of this very split: add those that are more uneven": 2
        * math.comb(n, least)
        / 2**n,
        "only splits that are *more* uneven are in it: this one belongs to them": 2
        * (tail - math.comb(n, least) / 2**n),
        "that is 1 minus it: the probability of a split that is less uneven": 1 - _both_tails(lost, won),
        "that is the normal curve's answer: for few changes count the splits exactly": math.erfc(
            abs(lost - won) / math.sqrt(2 * n)
        ),
        "that is the probability of losing as many or fewer: begin at the smaller of the two, in either direction": sum(
            math.comb(n, k) for k in range(lost + 1)
        )
        / 2**n,
    }
    slips["that adds up from the larger of the two: begin at the smaller"] = min(1.0, 2 * sum(
        math.comb(n, k) for k in range(max(lost, won) + 1)) / 2**n)  # fmt: skip
    return _said(
        found, slips, "yours is off: count the splits of n changes that are as uneven or more, of 2 ** n in all"
    )
