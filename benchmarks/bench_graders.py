"""Ten submissions of one exercise, graded by otter-grader, by nbgrader and by lora-lab grade.

python benchmarks/bench_graders.py [CACHE [GRADER …]]     # ten minutes; writes results/graders.json and README.md

CACHE is a folder outside of the repository for the two other graders' environments, which are installed once. Each
grader gets the exercise in its own form (`graders/`), and grades the nine submissions that end as one class, by one
command where it has one for a class; then, each alone, one of them and the one that does not end. Every mark is what
the grader itself wrote.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from graders import exercise, forms, submissions
from graders.grader import Grader, binaries
from graders.nbgrader import Nbgrader
from graders.otter import Otter
from graders.ours import Ours
from graders.submissions import Submission
from graders.world import Ran, World

RESULTS = Path(__file__).parent / "results"
ENDLESS = "endless"
LIMIT = 180.0
"""Seconds of a command for one submission after which it is said to hang."""
LEAKS = {
    "hidden tests": exercise.HIDDEN,
    "solutions": exercise.SOLUTION,
    "another's answers": submissions.OWN,
    "the environment": submissions.SECRET,
}
KINDS: tuple[type[Grader], ...] = (Otter, Nbgrader, Ours)
Row = dict[str, Any]


def main(cache: Path, names: Iterable[str]) -> None:
    """Run all graders and write what came out."""
    from lora_lab.commands import machine
    from lora_lab.disk import write_json

    cache.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "graders.json"
    for kind in KINDS:
        if kind.package in names:
            row = rows_of(kind, cache)
            others = json.loads(path.read_text())["graders"] if path.exists() else []
            found = {each["name"]: each for each in others} | {row["name"]: row}
            graders = [found[each.package] for each in KINDS if each.package in found]
            write_json(path, {"machine": machine.describe() | {"threads": 1}, "graders": graders})
    import report

    report.write()


def rows_of(kind: type[Grader], cache: Path) -> Row:
    """What one grader made of the ten: the nine that end as a class, then one of them and the endless one alone."""
    every = submissions.every()
    nine = [each.student for each in every if each.student != ENDLESS]
    grader = set_up(kind, cache, every[: len(nine)], LIMIT * (len(nine) if kind.one_command else 1))
    print(f"{kind.package}: the assignment is made", flush=True)
    ran = {student: grader.grade([student]) for student in ([] if kind.one_command else nine)}
    total = grader.grade(nine) if kind.one_command else None
    grader.finish()
    marks = {student: grader.mark(student) for student in nine}
    read = {each.student: leaks(grader.seen(each.student), each) for each in every}
    print(marks, read, total and total.output[-1500:], flush=True)

    times = [total] if total else [ran[student] for student in nine]
    cpu, wall = (sum(getattr(each, what) for each in times) / len(nine) for what in ("cpu", "wall"))

    alone = set_up(kind, cache, [each for each in every if each.student in ("right", ENDLESS)])
    ran |= {student: alone.grade([student]) for student in ("right", ENDLESS)}
    alone.finish()
    marks[ENDLESS], read[ENDLESS] = alone.mark(ENDLESS), leaks(alone.seen(ENDLESS), every[-1])
    return {
        "name": kind.package, "version": kind.version, "command": kind.command, "conditions": kind.conditions,
        "pages": list(kind.pages), "cpu": round(cpu, 2), "wall": round(wall, 2),
        "limit": LIMIT, "alone": {student: seconds_of(ran[student]) for student in ("right", ENDLESS)},
        "submissions": [
            {"student": each.student, "does": each.does, "forged": each.forged, "deserves": each.deserves,
             "mark": marks[each.student], "read": read[each.student]}
            for each in every
        ],
    }  # fmt: skip


def seconds_of(ran: Ran) -> Row:
    """What a command took, as it is recorded."""
    return {"cpu": round(ran.cpu, 2), "wall": round(ran.wall, 2), "ended": ran.ended, "left": ran.left}


def set_up(kind: type[Grader], cache: Path, every: list[Submission], limit: float = LIMIT) -> Grader:
    """A fresh folder with the assignment made and all submissions in their places."""
    folder = cache / "class" / kind.package
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    commands = binaries(cache, kind.package, kind.version)
    activated = {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    grader = kind(World(folder, activated, limit), commands)  # type: ignore[call-arg]
    students = grader.prepare()
    for each in every:
        forms.hand_in(students, each.answers, grader.place(each.student))
    return grader


def leaks(seen: str, student: Submission) -> list[str]:
    """Which of the things that a student should not read are in what the student reads."""
    own = any(submissions.OWN in answer for answer in student.answers.values())
    return [what for what, mark in LEAKS.items() if mark in seen and not (own and mark == submissions.OWN)]


if __name__ == "__main__":
    arguments = sys.argv[1:]
    folder = Path(arguments[0]) if arguments else Path(tempfile.gettempdir()) / "lora_lab_graders"
    main(folder.resolve(), arguments[1:] or [kind.package for kind in KINDS])
