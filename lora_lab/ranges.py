"""Values that must lie in a range, or be one of a few: refused in one sentence that names value, rule and way out.

At the end stands what such sentences are made of.
"""

import difflib
import math
from collections.abc import Collection, Iterable, Sequence
from numbers import Integral, Real
from typing import Any


def whole(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """`value` as an int; an integer of NumPy is one too.

    Raises:
        TypeError: for anything but an integer; True and 2.0 are none.
        ValueError: outside `least` … `most`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}={brief(value)} must be an integer")
    number = int(value)
    if number < least or (most is not None and number > most):
        rule = f"at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}={brief(number)}: choose {rule}")
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
        raise TypeError(f"{name}={brief(value)} must be a number")
    try:
        number = float(value)
    except OverflowError:  # an int past the largest float
        number = math.inf
    if not (math.isfinite(number) and above < number < below and least <= number <= most):
        bounds = {"at least": least, "above": above, "at most": most, "below": below}
        rule = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if math.isfinite(bound))
        raise ValueError(f"{name}={brief(value)}: choose a finite number {rule}".rstrip())
    return number


def seed(value: object) -> int:
    """A seed for `random.Random`, to which −1 and 1 are the same, and for `torch.manual_seed`, which takes 64 bits.

    Raises:
        TypeError, ValueError: as `whole`.
    """
    return whole("seed", value, 0, 2**63 - 1)


def switch(name: str, value: object) -> None:
    """Raises TypeError for what is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={brief(value)} must be True or False")


def choice(name: str, value: object, known: Collection[Any]) -> None:
    """Raises ValueError for a value that is none of `known`, with the nearest one, and lists them."""
    if not any(value is one or (type(value) is type(one) and value == one) for one in known):
        hint, them = suggestion(value, known), ", ".join(map(str, known))
        raise ValueError(f"unknown {name} {brief(value)}: {hint}choose one of {them}")


def brief(value: object) -> str:
    """As Python writes it, on one line that is no longer than a sentence bears."""
    huge = isinstance(value, int) and abs(value) > 10**40  # Python refuses to write those of over 4,300 digits
    text = "a number of over 40 digits" if huge else " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def first(names: Sequence[str], n: int = 3) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:n]) + (f" and {len(names) - n} more" if len(names) > n else "")


def near(word: object, known: Iterable[object], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Those of the known words that are spelled most like this one; none for what is no word."""
    words = [each for each in known if isinstance(each, str)]
    return difflib.get_close_matches(word, words, most, cutoff) if isinstance(word, str) else []


def suggestion(word: object, known: Iterable[object]) -> str:
    """The start of a way out, "did you mean 'lora'? Or ", if one of the known words is a slip of the hand away.

    Nothing for "fp16" where "bf16" is known, or for "dora" where "lora" is: those are other words.
    """
    return "".join(f"did you mean {each!r}? Or " for each in near(word, known, cutoff=0.8))
