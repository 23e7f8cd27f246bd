"""Words of the command line as values: what is none is refused in one sentence."""

import argparse
import math
import re
from pathlib import Path

SEEDS = range(2**63)


def word(text: str) -> str:
    """Not empty, and not only blanks."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: give a value, or leave the option out")
    return text


def folder(text: str) -> Path:
    """A path; an empty one would be the current folder."""
    return Path(word(text))


def whole(text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number of at most 18 digits")
    return int(text)


def number(text: str) -> float:
    """A number, such as 2e-4."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number: write it as 0.0002 or 2e-4")
    return value


def seed(text: str) -> int:
    """A whole number that a generator takes."""
    if re.fullmatch(r"[0-9]{1,19}", text) and int(text) in SEEDS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text[:40]!r} is no seed: give a whole number from 0 to {SEEDS[-1]}")


def names(text: str, such: str = "all-linear, or names such as q_proj,v_proj") -> str | tuple[str, ...]:
    """One name or pattern as it is, several as a tuple.

    Args:
        text: as typed.
        such: what could be given.
    """
    found = tuple(name.strip() for name in text.split(","))
    if not any(found):
        raise argparse.ArgumentTypeError(f"{text!r} names nothing: give {such}")
    if not all(found):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} holds an empty name: take out the comma too many")
    return found if len(found) > 1 else found[0]
