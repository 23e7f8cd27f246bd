"""The end of a run in a few lines: how much was graded, what came out, and what was not graded and why."""

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from lora_lab import ranges
from lora_lab.grading.engine import Graded
from lora_lab.grading.marks import NOT_GRADED, NOTHING, Mark
from lora_lab.grading.submissions import Left
from lora_lab.grading.verdict import STATUSES

MOST_LINES = 20


def lines(
    graded: Sequence[Graded], rows: Sequence[Mark], left: Sequence[Left], seconds: float, table: str
) -> list[str]:
    """The summary.

    Args:
        graded: what came of each submission.
        rows: the marks.
        left: files that are not graded.
        seconds: that the run took.
        table: where all files are listed.
    """
    return [
        *_counts(graded, rows, seconds),
        *_few("late", [_whose(one) for one in graded if one.submission.late], table),
        *_few("superseded", [f"{one.path} {one.why}" for one in left if one.kind == "superseded"], table),
        *_few("to look at", [f"{_whose(one)}: {note}" for one in graded if (note := _remarkable(one))], table),
        *_few(
            "could not be read", [f"{one.submission.path}: {why}" for one in graded if (why := _refused(one))], table
        ),
        *_few("not graded", [*_failed(graded), *(f"{each.path} {each.why}" for each in _lost(left))], table),
        *_few("nothing handed in", _absent(rows), table),
        *_others(left),
    ]


def failed(graded: Iterable[Graded]) -> bool:
    """Whether something could not be graded for a reason that is the grader's."""
    return any(one.outcome.trouble for one in graded)


def _counts(graded: Sequence[Graded], rows: Sequence[Mark], seconds: float) -> list[str]:
    done = [one for one in graded if not one.outcome.trouble]
    now = [one for one in done if not one.before]
    students = len({one.submission.student for one in graded})
    exercises = len({one.submission.exercise for one in graded})
    kept = len(done) - len(now)
    line = f"{_n(len(done), 'submission')} of {_n(students, 'student')} in {_n(exercises, 'exercise')} graded"
    line += f", {kept} of them before" if kept else ""
    found = Counter(row.status for row in rows)
    tasks = ", ".join(f"{found[status]} {status}" for status in (*STATUSES, NOT_GRADED, NOTHING) if found[status])
    timing = f"{seconds:.1f} s"
    if now:
        timing += f", {statistics.median(one.outcome.cpu for one in now):.2f} s of CPU per submission at the median"
    return [line, f"tasks: {tasks}", timing]


def _failed(graded: Iterable[Graded]) -> list[str]:
    return [f"{one.submission.path}: {one.outcome.trouble}" for one in graded if one.outcome.trouble]


def _lost(left: Iterable[Left]) -> list[Left]:
    return [each for each in left if each.kind == "not graded"]


def _absent(rows: Iterable[Mark]) -> list[str]:
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.status == NOTHING:
            exercises = found.setdefault(row.student, [])
            exercises += [row.exercise] * (row.exercise not in exercises)
    return [f"{student} ({ranges.first(exercises)})" for student, exercises in found.items()]


def _others(left: Iterable[Left]) -> list[str]:
    n = sum(each.kind == "no notebook" for each in left)
    return [f"{_n(n, 'other file')}: no notebooks"] if n else []


def _few(what: str, items: Sequence[str], table: str) -> list[str]:
    """A heading with the number, and the first of them."""
    if not items:
        return []
    more = [f"  and {len(items) - MOST_LINES} more: see {table}"] if len(items) > MOST_LINES else []
    return [f"{what}: {len(items)}", *(f"  {item}" for item in items[:MOST_LINES]), *more]


def _refused(one: Graded) -> str:
    """Why none of its tasks could be graded, through the file's fault; empty if one could."""
    verdicts = one.outcome.verdicts
    return verdicts[0].why if verdicts and all(each.status == "refused" for each in verdicts) else ""


def _remarkable(one: Graded) -> str:
    """A note, unless it says no more than that there are earlier files, which are listed themselves."""
    note = one.submission.note
    return "" if re.fullmatch(r"the last of \d+ files", note) else note


def _whose(one: Graded) -> str:
    return f"{one.submission.student}, {one.submission.exercise}"


def _n(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
