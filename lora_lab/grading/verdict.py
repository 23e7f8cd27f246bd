"""What the grader says about one task of one submission."""

from dataclasses import dataclass
from typing import Literal, get_args

Status = Literal["right", "wrong", "not yet", "missing", "failed", "refused"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Verdict:
    """One task's mark and its reason.

    Attributes:
        task: its name.
        status: "right"; "wrong", with a diagnosis; "not yet", an untouched stub; "missing", no cell gives an answer;
            "failed", the student's code stopped, or did not end, before there was an answer; "refused", what came
            cannot be graded (a damaged notebook, an answer that breaks the rules of the pipe).
        points: what it earns; 0 unless right.
        why: a sentence for the student; "" if right. Never holds an expected value. It may quote the student's
            own text: escape it where it is shown.
        score: what a puzzle's answer used, the lower the better; None for other tasks and wrong answers.
    """

    task: str
    status: Status
    points: float = 0.0
    why: str = ""
    score: float | None = None
