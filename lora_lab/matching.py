"""Which names a choice of targets means: names alone, so that a model is not needed to ask.

"q_proj"                the last part of a name, exactly (never a substring)
"self_attn.q_proj"      the last parts of a name
r".*\\.[01]\\..*proj"   a regular expression for the whole name
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from lora_lab import ranges
from lora_lab.patterns import matches

ALL_LINEAR = "all-linear"


def target_names(value: Any) -> tuple[str, ...]:
    """`names` of target_modules; ValueError if there are none."""
    if isinstance(value, str) and not value or not (targets := names("target_modules", value)):
        raise ValueError(f"target_modules={value!r} names nothing: give layer names or 'all-linear'")
    return targets


def names(what: str, value: Any) -> tuple[str, ...]:
    """One name or several, as a tuple; TypeError for what is neither, ValueError for an empty name."""
    if not isinstance(value, Iterable):
        raise TypeError(f"{what} must be a name or a sequence of names, got {ranges.brief(value)}")
    several = (value,) if isinstance(value, str) else tuple(value)
    if wrong := [name for name in several if not isinstance(name, str)]:
        raise TypeError(f"{what} holds {ranges.brief(wrong[0])}: give names as strings")
    if not all(several):
        raise ValueError(f"{what}={ranges.brief(value)} holds an empty name, which names nothing: leave it out")
    return several


def meanings(wanted: Iterable[str], names: Sequence[str]) -> dict[str, set[str]]:
    """For each entry the names that it means: as their last part or parts, or as a regular expression for them.

    Raises:
        ValueError: for an entry that is neither, or takes too long.
    """
    wanted = dict.fromkeys(wanted)
    plain = [each for each in wanted if re.fullmatch(r"[\w.]+", each)]
    by_end = by_last_parts(names)
    return {each: by_end.get(each, set()) for each in plain} | matches(wanted.keys() - set(plain), names)


def by_last_parts(names: Iterable[str]) -> dict[str, set[str]]:
    """Names by each of their ends: "a.b.c" by "a.b.c", "b.c" and "c"."""
    ends = defaultdict(set)
    for name in names:
        end = name
        while end:
            ends[end].add(name)
            end = end.partition(".")[2]
    return dict(ends)
