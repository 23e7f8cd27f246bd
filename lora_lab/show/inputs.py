"""Whether there is something to draw; a figure that leaves out a row in silence is worse than none."""

import math
from collections.abc import Mapping
from typing import Any


def filled(what: str, values: Any, most: int | None = None) -> None:
    """Raises TypeError for no collection, ValueError for one that is empty or holds more than can be told apart."""
    if not hasattr(values, "__len__") or isinstance(values, str):  # an iterator would be used up by looking
        raise TypeError(f"{what} must be a collection, such as a list, got {values!r}")
    count = len(values)
    if not count:
        raise ValueError(f"{what} is empty: give at least one to draw")
    if most is not None and count > most:
        raise ValueError(f"{what} holds {count}, of which a reader can tell {most} apart: draw fewer")


def numbers(what: str, values: Any, count: int | None = None) -> None:
    """Raises TypeError for what is no number, ValueError for another count of them or one that is not finite."""
    filled(what, values)
    found = values.tolist() if hasattr(values, "tolist") else list(values)
    for value in found:
        value = value.item() if hasattr(value, "item") else value  # of NumPy or torch
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{what} holds {value!r}, which is no number")
        if not math.isfinite(value):
            raise ValueError(f"{what} holds {value}, which has no place on an axis")
    if count is not None and len(found) != count:
        raise ValueError(f"{what} has {len(found)} values where there are {count} places: give one for each")


def named(what: str, name: Any, known: Mapping[Any, Any]) -> None:
    """Raises ValueError for a name that is none of those that are drawn."""
    if name not in list(known):
        raise ValueError(f"{what}={name!r} is none of {', '.join(map(str, known))}")
