"""Exercise 02: a dimension read between two runs."""

import math
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import quantities
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task


def _crossing_dimension(sizes: list[int], scores: list[float], wanted: float) -> float | None:
    if scores[0] >= wanted:
        return sizes[0]
    for k in range(1, len(sizes)):
        if scores[k] >= wanted:
            part = (wanted - scores[k - 1]) / (scores[k] - scores[k - 1])
            return sizes[k - 1] * (sizes[k] / sizes[k - 1]) ** part
    return None


@task(reference=lambda: _crossing_dimension)
def crossing_dimension(crossing_dimension: Any) -> None:
    """Where a line through the runs, over log d, first reaches the wanted score."""
    cases = [([100, 10_000], [0.2, 0.6], 0.4)]
    for _ in range(4):  # rises
        sizes = [100, 1_000, 20_000, 100_000]
        scores = [0.05, 0.3, 0.6, 0.85]
        scores = [score + 0.08 * float(torch.rand(())) for score in scores]
        cases.append((sizes, scores, 0.4 + 0.18 * float(torch.rand(()))))
    cases.append(([10, 100, 1_000, 20_000], [0.1, 0.6, 0.2, 0.8], 0.45 + 0.1 * float(torch.rand(()))))
    reached = [0.3, 0.5, 0.75]
    cases += [([200, 2_000, 40_000], reached, 0.5), ([200, 2_000, 40_000], reached, 0.25)]
    cases += [([200, 2_000, 40_000], reached, 0.8)]
    cases += [
        ([10**k for k in range(1, 9)], [0.05, 0.1, 0.15, 0.2, 0.5, 0.2, 0.3, 0.8], 0.4),
        ([100, 1_000], [0.25, 0.5], 0.5),
    ]
    found = []
    for sizes, scores, wanted in cases:
        given = {"sizes": list(sizes), "scores": list(scores)}
        with untouched(**given):
            answer = crossing_dimension(given["sizes"], given["scores"], wanted)
        said = f"for d = {sizes}, the scores {[round(s, 2) for s in scores]} and {wanted:.3g} wanted"
        right = _between(sizes, scores, wanted)
        if right is not None and answer is None:
            met = (
                "a run with just that score has reached it"
                if wanted == scores[-1]
                else "does every case come to a return?"
            )
            raise Wrong(f"yours gives None {said}, and that score is reached: {met}", wanted=right)  # fmt: skip
        if isinstance(answer, Tensor) and answer.numel() == 1:
            answer = answer.item()
        found.append(None if answer is None else quantities.number(answer, said))
    wants = [_between(*case) for case in cases]
    good = [_near(one, other) for one, other in zip(found, wants)]
    if all(good):
        return
    at = good.index(False)
    sizes, scores, wanted = cases[at]
    said = f"for d = {sizes}, the scores {[round(s, 2) for s in scores]} and {wanted:.3g} wanted"
    raise Wrong(f"{said}: {_why_crossing(found, cases, at)}", yours=found[at], wanted=wants[at])


def _between(sizes: list[int], scores: list[float], wanted: float, scale: Any = math.log) -> float | None:
    """By halving the stretch between two neighbours, again and again."""
    first = next((k for k, score in enumerate(scores) if score >= wanted), None)
    if first is None or first == 0:
        return None if first is None else float(sizes[0])
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if scores[first - 1] + middle * (scores[first] - scores[first - 1]) >= wanted:
            high = middle
        else:
            low = middle
    a, b = scale(sizes[first - 1]), scale(sizes[first])
    return math.exp(a + high * (b - a)) if scale is math.log else a + high * (b - a)


def _near(one: float | None, other: float | None) -> bool:
    return one is other if one is None or other is None else math.isclose(one, other, rel_tol=1e-6)


def _why_crossing(found: list[float | None], cases: list[tuple[list[int], list[float], float]], at: int) -> str:
    sizes, scores, wanted = cases[at]
    yours = found[at]
    first = next((k for k, score in enumerate(scores) if score >= wanted), None)
    if first is None:
        return "no run reaches it, so nobody knows: None"
    if first == 0:
        return "the smallest d tried reaches it already: give that d, and guess nothing below it"
    if yours is None:
        return "that score is reached"
    slips = {
        "you go straight in d: halfway between 100 and 10,000 is 1,000 here, so take logarithms of d": _between(
            sizes, scores, wanted, float
        ),
        "that is the first size tried that reaches it, as in the lesson: here the curve is read between two": float(
            sizes[first]
        ),
        "that is the last size tried that does not reach it": float(sizes[first - 1]),
        "that is the logarithm of d: back, with exp or a power of 10": math.log(_between(sizes, scores, wanted) or 1),
        "that is the logarithm of d: back, with a power of 10": math.log10(_between(sizes, scores, wanted) or 1),
        "the share of the way is counted from the upper end: (wanted − lower score) / (upper − lower)": (
            sizes[first - 1] * sizes[first] / (_between(sizes, scores, wanted) or 1)
        ),
        "you draw one line from the first to the last run: use the two neighbours between which the score is reached":
            sizes[0] * (sizes[-1] / sizes[0]) ** ((wanted - scores[0]) / (scores[-1] - scores[0])),
    }  # fmt: skip
    for words, slip in slips.items():
        if _near(yours, slip):
            return words
    if yours == round(_between(sizes, scores, wanted) or 0):
        return "that is rounded: give every digit"
    last = max(k for k, score in enumerate(scores) if score < wanted)
    if last > first and yours > sizes[last]:
        return "the curve dips: the first time it reaches the score counts"
    return "walk log d as far between the two neighbours as the score has walked between theirs"
