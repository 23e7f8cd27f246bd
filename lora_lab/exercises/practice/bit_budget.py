"""Exercises 14, the puzzle: a model that fits a budget, by a format for each layer."""

import math
import random
from typing import Any

import torch

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Score, Wrong, task


def _bits_for(sizes: list[list[int]], errors: list[list[float]], budget: int) -> list[int]:
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}  # bytes used: the least error so far, and its choices
    for of_size, of_error in zip(sizes, errors):
        longer: dict[int, tuple[float, list[int]]] = {}
        for used, (error, choices) in best.items():
            for choice, (size, more) in enumerate(zip(of_size, of_error)):
                total = used + size
                if total <= budget and (total not in longer or error + more < longer[total][0]):
                    longer[total] = error + more, [*choices, choice]
        best = longer
    return min(best.values())[1]


_BITS, _CASES, _LAYERS = (2, 3, 4, 8), 8, 12


@task(reference=lambda: _bits_for)
def bits_for(bits_for: Any) -> Score:
    """A format for each layer, within the budget, of small error; the worst of eight models counts."""
    ours, alike = [], []  # times the least possible error
    for number in range(_CASES):
        sizes, errors, budget = _model()
        handed = {"sizes": [list(each) for each in sizes], "errors": [list(each) for each in errors]}
        with untouched(**handed):
            found = bits_for(*handed.values(), budget)
        said = f"model {number + 1} of {_CASES}"
        choices = required.whole_numbers(found, f"for {said} your answer")
        if len(choices) != _LAYERS:
            raise Wrong(f"for {said} yours has {len(choices)} choices, wanted one for each of {_LAYERS} layers")
        if not all(0 <= each < len(_BITS) for each in choices):
            raise Wrong(f"for {said} a choice is no place in its layer's list: from 0 to {len(_BITS) - 1}")
        used = sum(size[each] for size, each in zip(sizes, choices))
        if used > budget:
            raise Wrong(f"{said} takes {used} KB in yours, and {budget} are allowed")
        error = sum(of[each] for of, each in zip(errors, choices))
        same = min(sum(of[j] for of in errors) for j in range(len(_BITS)) if sum(size[j] for size in sizes) <= budget)
        least = _least_error(sizes, errors, budget)
        ours.append(error / least)
        alike.append(same / least)
    if sum(ours) > 0.99 * sum(alike):
        raise Wrong(
            f"yours fits, and over the {_CASES} models it is no better than the best single format for all layers: "
            "some layers lose more by a bit less than others, and some are cheaper to spare"
        )
    return Score(round(100 * max(ours), 1), "% of the least possible error in the worst of eight models", 100)


def _model() -> tuple[list[list[int]], list[list[float]], int]:
    """Twelve layers of very different sizes, which suffer very differently, and a budget of three to four bits each."""
    sizes, errors = [], []
    for _ in range(_LAYERS):
        n, importance = random.choice((2, 5, 12, 28)), 4 ** random.uniform(-1.5, 1.5)
        sizes.append([n * bits for bits in _BITS])
        errors.append([n * importance * 4.0**-bits * random.uniform(0.75, 1.3) for bits in _BITS])
    everything = sum(each[0] for each in sizes) // _BITS[0]
    return sizes, errors, int(everything * random.uniform(3.1, 4.4))


def _least_error(sizes: list[list[int]], errors: list[list[float]], budget: int) -> float:
    """By the least error within each number of bytes, layer after layer."""
    least = torch.zeros(budget + 1, dtype=torch.float64)
    for size, error in zip(sizes, errors):
        ways = []
        for bytes_, more in zip(size, error):
            shifted = torch.full_like(least, math.inf)
            if bytes_ <= budget:
                shifted[bytes_:] = least[: budget + 1 - bytes_] + more
            ways.append(shifted)
        least = torch.stack(ways).amin(0)
    return float(least[budget])
