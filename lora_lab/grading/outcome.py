"""What came of grading one submission, and the same as plain JSON."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from lora_lab.grading.verdict import STATUSES, Verdict


@dataclass(frozen=True)
class Outcome:
    """One submission's marks.

    Attributes:
        verdicts: one for each task, in the exercise's order; none if it could not be graded.
        seconds: that it took.
        cpu: seconds of CPU time, of the judge and of what it judged.
        trouble: why it could not be graded, through no fault of the student's; "" if it was.
    """

    verdicts: tuple[Verdict, ...] = ()
    seconds: float = 0.0
    cpu: float = 0.0
    trouble: str = ""


def as_json(outcome: Outcome) -> dict[str, Any]:
    """What `from_json` reads."""
    return asdict(outcome)


def from_json(said: dict[str, Any], tasks: tuple[str, ...]) -> Outcome:
    """The outcome of an exercise with these tasks.

    Raises:
        ValueError, TypeError, KeyError: if it is none.
    """
    verdicts = tuple(Verdict(**each) for each in said["verdicts"])
    if tuple(each.task for each in verdicts) != tasks or not all(map(_fits, verdicts)):
        raise ValueError("the tasks are others, or a verdict is none")
    return Outcome(verdicts, float(said["seconds"]), float(said["cpu"]))


def _fits(verdict: Verdict) -> bool:
    """Whether its parts are of their kinds: a file may have been edited by hand."""
    points = [verdict.points, *([] if verdict.score is None else [verdict.score])]
    numbers = all(
        isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each) for each in points
    )
    earned = verdict.points >= 0 if numbers and verdict.status == "right" else verdict.points == 0
    return numbers and earned and verdict.status in STATUSES and isinstance(verdict.why, str)
