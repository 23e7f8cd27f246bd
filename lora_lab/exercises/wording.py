"""Numbers as a table shows them."""

import math


def number(value: float) -> str:
    """Three digits where there are decimals, commas where there are thousands: "0.0123", "40", "131,072"."""
    if not math.isfinite(value):
        return f"{value}"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.2e}"
    return f"{value:.3g}"


def distance(guessed: float, measured: float) -> str:
    """How far a guess is off: "right", "12 % too low", "3.1 times too high"; a difference if a ratio says nothing."""
    if not math.isfinite(measured):
        return "–"
    if number(guessed) == number(measured):
        return "right"
    if min(guessed, measured) <= 0:
        return f"{number(abs(guessed - measured))} too {'high' if guessed > measured else 'low'}"
    ratio = guessed / measured
    where = "high" if guessed > measured else "low"
    times = max(ratio, 1 / ratio)
    if times >= 2:
        several = f"{times:.1f}".removesuffix(".0") if times < 10 else f"{times:,.0f}"
        return f"{several} times too {where}"
    return f"{abs(ratio - 1):.0%} too {where}".replace("%", " %") if abs(ratio - 1) >= 0.005 else "right"
