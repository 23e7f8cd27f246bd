"""How learning rates change over a run: functions of the steps done, all steps, and the peak of a group of weights."""

import math
from collections.abc import Callable

from lora_lab import ranges

Schedule = Callable[[int, int, float], float]
"""(steps done, all steps, a group's peak rate) -> the rate of the next step."""


def cosine(warmup: int = 10) -> Schedule:
    """Linear warm-up over `warmup` steps, at least 0, then half a cosine down to zero; see `learning_rate`.

    Raises:
        TypeError: for anything but a whole number.
        ValueError: for one below 0.
    """
    ranges.whole("warmup", warmup, 0)
    return lambda step, steps, peak: learning_rate(step, steps, peak, warmup)


def constant(step: int, steps: int, peak: float) -> float:
    """The peak rate in every step."""
    return peak


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then half a cosine down to zero after the last step.

    With more warm-up than steps the peak is not reached.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
