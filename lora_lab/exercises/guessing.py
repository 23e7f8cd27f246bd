"""A prediction before it is measured, and beside it afterwards."""

from typing import Any

from lora_lab import ranges, show
from lora_lab.exercises import lessons, saved
from lora_lab.exercises.stopping import Stopped
from lora_lab.exercises.wording import distance, number

NEAR = 0.2
"""How far a guess may lie from a typical wrong value, as a share of that value or of what was measured."""


def guesses(**guessed: float | None) -> "Guessed":
    """Take the learner's guesses, before anything is measured.

    Args:
        guessed: a number for each guess, by its name; None goes on without one.

    Raises:
        Stopped: a guess is still `...`, or no number; shown as one sentence, without a traceback.
    """
    for name in guessed:
        lessons.guess(name)
    if open_ := [name for name, value in guessed.items() if value is ...]:
        them = " and ".join(open_)
        raise Stopped(f"First your guess: give {them} a number in the cell above, then run this cell again. "
                      f"{open_[0]} = None goes on without one.")  # fmt: skip
    return Guessed({name: _number(name, value) for name, value in guessed.items()})


class Guessed:
    """The guesses of one cell, waiting for what is measured."""

    def __init__(self, guessed: dict[str, float | None]) -> None:
        self._guessed = guessed

    def against(self, **measured: Any) -> None:
        """Show what was guessed beside what was measured.

        Where a guess lies near a typical wrong value, the table adds that value and what it reveals. Near means closer
        to it than to what was measured; no farther from it than 20 % of the larger of the two; and, unless it is 0,
        less than a factor of two from it.

        Args:
            measured: a number for each guess, by its name.

        Raises:
            Stopped: a name is not among the guesses of this cell.
            TypeError: what was measured is no number.
        """
        rows = []
        for name, value in measured.items():
            if name not in self._guessed:
                raise Stopped(f"{name} is not among the guesses of this cell: {', '.join(self._guessed)}")
            truth = _measured(name, value)
            saved.guess(name, self._guessed[name], truth)
            rows.append(_row(name, self._guessed[name], truth))
        headers = [
            "what was guessed",
            "your guess",
            "measured",
            "your guess is",
            "a typical guess near yours, and what it often means",
        ]
        told = any(row[-1] for row in rows)
        show.table([row if told else row[:-1] for row in rows], headers if told else headers[:-1])


def _row(name: str, guessed: float | None, truth: float) -> list[str]:
    about = lessons.guess(name)
    if guessed is None:
        return [about["question"], "no guess", number(truth), "–", ""]
    off = distance(guessed, truth, about["question"])
    return [about["question"], number(guessed), number(truth), off, revealed(name, guessed, truth)]


def revealed(name: str, guessed: float, truth: float) -> str:
    """The typical wrong value near a guess and what it reveals; nothing if none is near (see `Guessed.against`)."""
    near = [
        (abs(guessed - wrong), f"{number(wrong)}: {words}")
        for wrong, words in lessons.guess(name)["wrong"]
        if _near(guessed, wrong, truth)
    ]
    return min(near)[1] if near else ""


def _near(guessed: float, wrong: float, truth: float) -> bool:
    off = abs(guessed - wrong)
    alike = wrong == 0 or 1 / 2 < guessed / wrong < 2  # to a truth of 600, 10 and 100 are not nearly the same
    return alike and off < abs(guessed - truth) and off <= NEAR * max(abs(wrong), abs(truth))


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        return ranges.real(name, value)
    except (TypeError, ValueError):
        instead = f"{name} = {ranges.brief(value)} is no number: write one such as 40, or None for no guess."
        raise Stopped(instead) from None


def _measured(name: str, value: Any) -> float:
    """What a lesson measured: a number, or an array or a tensor that holds one."""
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}={ranges.brief(value)}: what was measured must be a number") from error
