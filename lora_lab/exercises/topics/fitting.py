"""Lesson 06: what no text changes, the largest value that fits, and the fastest way under a budget."""

import math
from collections.abc import Callable
from typing import Any

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong, task

Way = dict[str, Any]


def _fixed_bytes(frozen: int, bits: float, trained: int) -> float:
    return frozen * bits / 8 + 16 * trained


def _largest_that_fits(fits: Callable[[int], bool], most: int) -> int:
    if not fits(1):
        return 0
    low, high = 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _fastest_that_fits(ways: list[Way], budget_gb: float) -> str | None:
    fitting = [way for way in ways if way["gb"] <= budget_gb]
    return min(fitting, key=lambda way: way["operations"])["name"] if fitting else None


@task(reference=lambda: _fixed_bytes)
def fixed_bytes(fixed_bytes: Any) -> None:
    """Bytes of frozen numbers of so many bits each, and of trained ones in fp32 with gradient and AdamW's states."""
    frozen_only = plain_number(fixed_bytes(1000, 16, 0), "for (1000, 16, 0)")
    if not math.isclose(frozen_only, 2000):
        raise Wrong(
            f"1,000 frozen numbers of 16 bits are 2,000 bytes, yours gives {frozen_only:,g}{_frozen(frozen_only)}"
        )
    odd = plain_number(fixed_bytes(1000, 4.127, 0), "for (1000, 4.127, 0)")
    if not math.isclose(odd, 515.875):
        raise Wrong(f"1,000 frozen numbers of 4.127 bits are 515.875 bytes, yours gives {odd:,g}: keep the fraction")
    trained_only = plain_number(fixed_bytes(0, 16, 1000), "for (0, 16, 1000)")
    if not math.isclose(trained_only, 16_000):
        raise Wrong(
            f"for 1,000 trained numbers yours gives {trained_only:,g} bytes, wanted 16,000{_trained(trained_only)}"
        )
    both = plain_number(fixed_bytes(3000, 4, 70), "for (3000, 4, 70)")
    if not math.isclose(both, 2620):
        raise Wrong(f"for (3000, 4, 70) yours gives {both:,g}, wanted 2,620: the frozen bytes plus the trained ones")


def _frozen(found: float) -> str:
    if math.isclose(found, 16_000):
        return ": those are bits, and a byte has eight"
    return ": bits / 8 bytes each" if found else ": frozen numbers are stored too"


def _trained(found: float) -> str:
    each = found / 1000
    slips = {
        4: "that is the number alone: its gradient and AdamW's two moments are as wide",
        8: "a number, its gradient and AdamW's two moments, all of 4 bytes here; that is 8",
        12: "that is three of four: the number, its gradient, and AdamW has *two* moments",
        2: "trained numbers are fp32 here, whatever `bits` says of the frozen ones",
        18: "that counts a 16-bit copy too, which no optimizer step needs",
    }
    for slip, why in slips.items():
        if math.isclose(each, slip):
            return f": {why}"
    return ": 4 bytes for itself, 4 for its gradient, 4 for each of AdamW's two moments"


@task(reference=lambda: _largest_that_fits)
def largest_that_fits(largest_that_fits: Any) -> None:
    """The largest whole number from 1 to `most` for which fits(n) is true, 0 if there is none, in few questions."""
    for limit, most in (
        (37, 1000),
        (1, 1000),
        (999, 1000),
        (1000, 1000),
        (5000, 1000),
        (0, 1000),
        (1, 1),
        (2, 3),
        (6, 8),
    ):
        asked: list[int] = []

        def fits(n: int, limit: int = limit, most: int = most, asked: list[int] = asked) -> bool:
            if isinstance(n, bool) or not isinstance(n, int):
                raise Wrong(f"yours asks fits({n!r}), wanted a whole number: halve with //")
            if not 1 <= n <= most:
                raise Wrong(f"yours asks fits({n}), and only 1 to {most:,} may be asked")
            asked.append(n)
            if len(asked) > 4 * most + 50:
                raise Wrong(f"yours asks without end, lately fits({n}): does the gap get smaller in every turn?")
            return n <= limit

        wanted = min(limit, most)
        found = plain_number(largest_that_fits(fits, most), f"when up to {limit} fits of {most:,}")
        if found != wanted:
            raise Wrong(_off(found, wanted, limit, most))
        if len(asked) > 2 * math.ceil(math.log2(most + 1)) + 3:
            raise Wrong(
                f"right, but it took {len(asked):,} questions for {most:,} values, and halving takes about "
                f"{math.ceil(math.log2(most + 1))}: ask in the middle, and keep the half that holds the edge"
            )


def _off(found: float, wanted: int, limit: int, most: int) -> str:
    said = f"up to {limit} fits, of 1 to {most:,}: yours gives {found:g}, wanted {wanted}"
    if wanted == 0:
        return f"{said}: if not even 1 fits, say 0"
    if found == wanted + 1:
        return f"{said}. That one no longer fits: return the end that you know to fit"
    if wanted == most:
        return f"{said}. All of them fit: the last one, `most`, counts too"
    if found == wanted - 1:
        return f"{said}. One more fits: stop only when nothing lies between the two ends"
    return f"{said}: `low` must always fit, `high` never; which of the two moves?"


@task(reference=lambda: _fastest_that_fits)
def fastest_that_fits(fastest_that_fits: Any) -> None:
    """The name of the way with the fewest operations among those that fit; None if none does."""
    ways = [
        {"name": "wide", "gb": 50.0, "operations": 3.0},
        {"name": "slow", "gb": 11.0, "operations": 4.5},
        {"name": "fits", "gb": 16.0, "operations": 3.5},
        {"name": "first", "gb": 16.0, "operations": 3.2},
        {"name": "again", "gb": 12.0, "operations": 3.2},
        {"name": "edge", "gb": 24.0, "operations": 3.1},
    ]
    for budget, wanted in ((20.0, "first"), (60.0, "wide"), (11.0, "slow"), (24.0, "edge"), (10.0, None)):
        with untouched(ways=ways):
            try:
                found = fastest_that_fits(ways, budget)
            except (IndexError, ValueError) as slip:
                if wanted is not None or not _of_nothing(slip):
                    raise
                raise Wrong(
                    f"with {budget:g} GB nothing fits, and your code looks for the best of nothing: return None then"
                ) from None
        if isinstance(found, dict):
            raise Wrong("yours is the whole way, wanted its name, way['name']")
        if found != wanted:
            raise Wrong(f"with {budget:g} GB yours gives {found!r}, wanted {wanted!r}. {_why(found, ways, budget)}")


def _of_nothing(slip: Exception) -> bool:
    """Whether an error is that of `min([])`, in the words of old and new Pythons, or of an empty list's first item."""
    return "empty" in str(slip) or "out of range" in str(slip)


def _why(found: object, ways: list[Way], budget: float) -> str:
    way = next((way for way in ways if way["name"] == found), None)
    fitting = [way for way in ways if way["gb"] <= budget]
    if found is None and fitting:
        exactly = all(way["gb"] == budget for way in fitting)
        return "What needs exactly the budget fits" if exactly else "Some of them fit: does every case reach a return?"
    if way is None:
        return "That is no name of a way"
    if not fitting:
        return "None of them fits, and the answer is then None"
    if way["gb"] > budget:
        return f"That needs {way['gb']:g} GB, which does not fit: leave such ways out first"
    if way["operations"] == min(each["operations"] for each in fitting):
        return "Both take as long: the list is in the order of preference, so take the first of equals"
    if way["gb"] == min(each["gb"] for each in fitting):
        return "That needs the least memory, but memory left over buys nothing: take the fewest operations"
    if way["gb"] == max(each["gb"] for each in fitting):
        return "That fills the card best, but a full card is not the aim: take the fewest operations"
    if way["operations"] == max(each["operations"] for each in fitting):
        return "That has the most operations of those that fit: take the fewest"
    return "Among those that fit, another has fewer operations"
