"""What is graded of what was handed in: of each student and exercise one notebook, the last in time.

Whose a notebook is, its path says, or the roster; which exercise it is, the tasks in it, so that a renamed one is known
all the same. Whatever is not graded is kept with the reason.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from lora_lab import ranges
from lora_lab.grading import claims, folders, notebooks
from lora_lab.grading.claims import Claim, stands_in, words
from lora_lab.grading.exercise import Exercise
from lora_lab.grading.files import File, shown
from lora_lab.grading.roster import Roster, Unmatched


@dataclass(frozen=True)
class Submission:
    """One notebook of one student, to be graded.

    Attributes:
        student: as the roster has the name, else as the path has it.
        exercise: its name.
        path: within what was handed in.
        content: the notebook's bytes.
        modified: when it was last changed; None if that is not known.
        late: after the deadline, or marked so by the platform.
        note: what a person should know of how it came to be this student's, or this one; "" if nothing.
    """

    student: str
    exercise: str
    path: str
    content: bytes = field(repr=False)
    modified: datetime | None = None
    late: bool = False
    note: str = ""

    @property
    def sha256(self) -> str:
        """Of the bytes."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Left:
    """A file that is not graded.

    Attributes:
        path: within what was handed in.
        why: the rest of a sentence about it.
        kind: "not graded", which somebody should look at; "superseded" by the student's own later file; "no notebook".
        student, exercise: as far as they are known.
    """

    path: str
    why: str
    kind: Literal["not graded", "superseded", "no notebook"] = "not graded"
    student: str = ""
    exercise: str = ""


@dataclass(frozen=True)
class HandedIn:
    """All that was handed in: every file is in one of the two lists."""

    submissions: list[Submission]
    left: list[Left]


def collect(
    source: str | Path,
    exercises: Sequence[Exercise],
    *,
    roster: Roster | None = None,
    deadline: datetime | None = None,
    leave: Collection[Path] = (),
) -> HandedIn:
    """Sort what is in a folder or a zip.

    Args:
        source: the folder, the zip, or one notebook.
        exercises: those that are graded.
        roster: who is in the class; without it everybody is who a path names.
        deadline: what was changed after it is late.
        leave: files and folders that are not part of it.

    Raises:
        OSError, ValueError: as `folders.read`.
    """
    every = list(folders.read(source, leave))
    names = [each.name for each in exercises]
    level = claims.level_of([file.path for file in every if file.is_notebook], names)
    left: list[Left] = []
    found: dict[tuple[str, str], list[tuple[Submission, Claim]]] = defaultdict(list)
    for file in every:
        claim = claims.read(file.path, level, names)
        student, note, unmatched = _owner(claim, roster)
        if file.content is None:
            left.append(Left(file.path, file.why, "not graded" if file.is_notebook else "no notebook", student))
            continue
        try:
            exercise, remark = _exercise(file, _tasks(file.content), exercises)
        except Unmatched as why:
            left.append(Left(file.path, str(why), student=student))
            continue
        if unmatched:
            left.append(Left(file.path, unmatched, exercise=exercise))
            continue
        late, said = _lateness(file, claim, deadline)
        notes = "; ".join(filter(None, (note, remark, said)))
        submission = Submission(student, exercise, file.path, file.content, file.modified, late, notes)
        found[_same(student), exercise].append((submission, claim))
    submissions: list[Submission] = []
    for group in found.values():
        kept, others = _last(group)
        submissions += kept
        left += others
    order = {name: at for at, name in enumerate(roster.students)} if roster else {}
    submissions.sort(key=lambda one: (order.get(one.student, 0), words(one.student), names.index(one.exercise)))
    return HandedIn(submissions, sorted(left, key=lambda one: one.path))


def _owner(claim: Claim, roster: Roster | None) -> tuple[str, str, str]:
    """Student, note, and why there is none."""
    if roster is None:
        return shown(claim.name), "", "" if claim.name else "has a path that names nobody: give a roster, or rename it"
    try:
        return *roster.owner(claim), ""
    except Unmatched as why:
        return "", "", str(why)


def _tasks(content: bytes) -> Collection[str] | None:
    """The names of the tasks in a notebook; None if it is none."""
    try:
        return notebooks.read(content).places.keys()
    except notebooks.Malformed:
        return None


def _exercise(file: File, tasks: Collection[str] | None, exercises: Sequence[Exercise]) -> tuple[str, str]:
    """The exercise with most of the tasks that are in a notebook, and a remark on others'.

    Where a notebook has none, or is damaged, its path decides, so that it is refused under the right name.

    Raises:
        Unmatched: if it is none, or could be several.
    """
    shared = {each.name: len(set(tasks or ()) & set(each.tasks)) for each in exercises}
    most = max(shared.values(), default=0)
    best = [name for name, n in shared.items() if n == most]
    if most and len(best) == 1:
        others = [name for name, n in shared.items() if 0 < n < most]
        return best[0], f"it also has tasks of {ranges.first(others)}" if others else ""
    if most:
        raise Unmatched(f"has as many tasks of {' as of '.join(best[:3])}: hand each exercise in as a file of its own")
    part = words(file.path)
    named = [each.name for each in exercises if stands_in(words(each.name), part)]
    if len(named) == 1 or (tasks is None and len(exercises) == 1):
        return (named or [exercises[0].name])[0], ""
    if tasks is None:
        raise Unmatched("is no notebook that can be read, and its name says no exercise")
    raise Unmatched("has none of the tasks that are graded")


def _lateness(file: File, claim: Claim, deadline: datetime | None) -> tuple[bool, str]:
    if deadline is not None and file.modified is None:
        return claim.late, "it says no time, so it is not taken as late" * (not claim.late)
    late = deadline is not None and file.modified is not None and file.modified > deadline
    return late or claim.late, "marked as late by Canvas" * (claim.late and not late)


def _last(group: list[tuple[Submission, Claim]]) -> tuple[list[Submission], list[Left]]:
    """Of one student's files for one exercise the last, and the others with the reason."""
    ids = {claim.id for _, claim in group if claim.platform in ("Moodle", "Canvas")}
    if len(ids) > 1:  # one platform numbers one person once
        why = f"could be of any of {len(ids)} people called {ranges.brief(group[0][0].student)}: rename their files"
        return [], [Left(one.path, why, student=one.student, exercise=one.exercise) for one, _ in group]
    ordered = sorted((one for one, _ in group), key=_in_time)
    *earlier, last = ordered
    left = []
    for one in earlier:
        how = "with the same content" if one.content == last.content else "last in time"
        if one.content != last.content and one.modified == last.modified:
            how = "last by its name, at the same time"
        why = f"is superseded by {last.path}, {how}"
        left.append(Left(one.path, why, "superseded", last.student, last.exercise))
    notes = [last.note] if last.note else []
    if earlier:
        notes.append(f"the last of {len(ordered)} files")
    if last.late and any(not one.late for one in earlier):
        notes.append("an earlier one was in time")
    return [replace(last, student=ordered[0].student, note="; ".join(notes))], left


def _in_time(one: Submission) -> tuple[float, list[tuple[int, int, str]]]:
    """By time, then by name, where 2 comes before 10."""
    numbers = [(1, int(each), "") if each.isdigit() and each.isascii() else (0, 0, each)
               for each in re.split(r"([0-9]{1,18})", one.path)]  # fmt: skip
    return (one.modified.timestamp() if one.modified else 0.0), numbers


def _same(student: str) -> str:
    """Equal for spellings of one name that differ in capitals and signs."""
    return " ".join(words(student)) or student
