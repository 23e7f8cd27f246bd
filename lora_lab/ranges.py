"""Numbers that must lie in a range, refused in one sentence that names the number, the rule and the way out."""

import math
from numbers import Integral, Real


def whole(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """`value` as an int.

    Raises:
        TypeError: for anything but a whole number; True and 2.0 are none.
        ValueError: outside `least` … `most`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={value!r} is not a whole number: choose an int, such as {least}")
    number = int(value)
    if number < least or (most is not None and number > most):
        rule = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}={value}: choose {rule}")
    return number


def real(
    name: str,
    value: object,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    most: float = math.inf,
    below: float = math.inf,
) -> float:
    """`value` as a float; NaN and infinity are in no range.

    Raises:
        TypeError: for anything but a number; True is none.
        ValueError: outside the bounds.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r} is not a number: choose a float")
    try:
        number = float(value)
    except OverflowError:  # an int past the largest float
        number = math.inf
    if not (math.isfinite(number) and above < number < below and least <= number <= most):
        bounds = {"at least": least, "above": above, "at most": most, "below": below}
        rule = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound))
        raise ValueError(f"{name}={value}: choose a finite number {rule}".rstrip())
    return number


def seed(value: object) -> int:
    """A seed for `random.Random`, to which −1 and 1 are the same, and for `torch.manual_seed`, which takes 64 bits.

    Raises:
        TypeError, ValueError: as `whole`.
    """
    return whole("seed", value, 0, 2**63 - 1)
