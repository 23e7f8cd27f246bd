"""Hints, one at a time, and the solution."""

from collections import Counter

from lora_lab.exercises import lessons
from lora_lab.exercises.stopping import say

_shown: Counter[str] = Counter()


def hint(name: str) -> None:
    """Show the next hint for what is to be typed; after the last one, say that there is the solution.

    Args:
        name: as in `check("lora_forward", lora_forward)`.
    """
    found = lessons.turn(name)["hints"]
    number = _shown[name]
    if number < len(found):
        _shown[name] += 1
        say(f"Hint {number + 1} of {len(found)}. {found[number]['label']} {found[number]['text']}")
    if number + 1 >= len(found):
        say(f'That was the last hint: solution("{name}") shows one way to write it.')


def solution(name: str) -> None:
    """Show one way to write what is to be typed. Arguments as for `hint`."""
    say(lessons.turn(name)["solution"])
