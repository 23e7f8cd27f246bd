"""Numbers as a table shows them."""

import math

from lora_lab.exercises.tasks import Score

FACTOR = 3
"""From how many times on a distance is said as a factor too."""


def number(value: float) -> str:
    """Three digits where there are decimals, commas where there are thousands: "0.0123", "40", "131,072"."""
    if not math.isfinite(value):
        return f"{value}"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.2e}"
    return f"{value:.3g}"


def distance(guessed: float, measured: float, question: str) -> str:
    """How far a guess is off, in words.

    Args:
        guessed: the guess.
        measured: the truth; "–" if it is not finite.
        question: what was guessed; it begins with "%" or "points" where a distance is one in points.

    Returns:
        For percentages whole points: "right", "11 points too low". Else a difference, and from three times on a factor:
        "right" (within half a percent), "10 too high", "35 too low, 8 times too small".
    """
    if not math.isfinite(measured):
        return "–"
    off = abs(guessed - measured)
    where = "high" if guessed > measured else "low"
    if question.startswith(("%", "points")):
        points = math.floor(off + 0.5)
        return f"{points} point{'s' * (points != 1)} too {where}" if points else "right"
    if off < 0.005 * abs(measured) or off == 0:
        return "right"
    return f"{number(off)} too {where}{_factor(guessed, measured)}"


def score(reached: Score | None) -> str:
    """What a puzzle's answer uses beside the best known, as the words that follow "right."; nothing for other tasks."""
    if reached is None:
        return ""
    return f" It uses {number(reached.used)} {reached.unit}; the best known answer {number(reached.best)}."


def _factor(guessed: float, measured: float) -> str:
    if min(guessed, measured) <= 0:
        return ""
    times = max(guessed / measured, measured / guessed)
    if round(times, 1) < FACTOR:
        return ""
    several = f"{times:.1f}".removesuffix(".0") if times < 10 else f"{times:,.0f}"
    return f", {several} times too {'large' if guessed > measured else 'small'}"
