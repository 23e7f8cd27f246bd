"""`lora-lab grade`: a class's notebooks in, marks and feedback out."""

import os
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from tqdm import tqdm

from lora_lab.grading import exercise, marks, summary
from lora_lab.grading import roster as rosters
from lora_lab.grading.cache import Cache
from lora_lab.grading.engine import Grade, Graded, grade_all
from lora_lab.grading.exercise import Exercise, Sources
from lora_lab.grading.reports import Places, write
from lora_lab.grading.submissions import HandedIn, Submission, collect

_LOUD = (
    "WARNING: --trusted: no sandbox. What students wrote runs as you, on this machine: it can read and delete your "
    "files, use your network, and give itself full marks. Use it for notebooks that you trust only."
)


def run(
    submissions: Path,
    *,
    out: Path = Path("grades.csv"),
    checks: Path | None = None,
    roster: Path | None = None,
    deadline: datetime | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    trusted: bool = False,
    grade: Grade | None = None,
) -> int:
    """Grade what was handed in, and write the reports.

    Args:
        submissions: a folder or a zip of notebooks, or one.
        out: the table of marks; the other results lie beside it.
        checks: an instructor's own; by default the course's exercises.
        roster: a table of who is in the class.
        deadline: what was changed after it is late.
        jobs: how many at once; by default as many as there are cores.
        scheduler: the address of a Dask scheduler.
        trusted: without a sandbox.
        grade: what grades one submission, by default in a sandbox.

    Returns:
        0, or 1 if the grader itself failed at a submission.

    Raises:
        OSError: if something cannot be read or written, there is no sandbox, or the cluster cannot be reached.
        ValueError: for bad input, or if there is nothing to grade.
    """
    if not hasattr(os, "fork"):  # Windows
        raise OSError("grading needs a system that forks processes: grade on Linux, on Windows within WSL")
    start = time.perf_counter()
    places = Places(out)
    _require_room(places)
    _refuse_overwriting(places, [each for each in (submissions, checks, roster) if each is not None])
    exercises, sources = exercise.course() if checks is None else exercise.private(checks)
    people = None if roster is None else rosters.read(roster)
    handed_in = collect(submissions, exercises, roster=people, deadline=deadline, leave=places.all())
    if not handed_in.submissions:
        raise ValueError(_nothing(submissions, handed_in, exercises))
    if trusted:
        print(f"lora-lab: {_LOUD}", file=sys.stderr)
    graded = _graded(handed_in.submissions, exercises, sources, places, jobs, scheduler, trusted, grade)
    rows = marks.marks(graded, exercises, people.students if people else ())
    write(places, rows, graded, handed_in.left)
    seconds = time.perf_counter() - start
    print("\n".join(summary.lines(graded, rows, handed_in.left, seconds, str(places.files))))
    print(f"written: {places.out}, {places.files}, {places.feedback}{os.sep}, {places.gradescope}{os.sep}")
    return 1 if summary.failed(graded) else 0


def _graded(
    submissions: Sequence[Submission],
    exercises: Sequence[Exercise],
    sources: Sources,
    places: Places,
    jobs: int | None,
    scheduler: str | None,
    trusted: bool,
    grade: Grade | None,
) -> list[Graded]:
    """What came of each submission, in their order, with a bar on stderr."""
    found: dict[int, Graded] = {}
    results = grade_all(
        submissions,
        exercises,
        sources,
        Cache(places.cache),
        jobs=jobs,
        scheduler=scheduler,
        trusted=trusted,
        grade=grade,
    )
    try:
        with tqdm(total=len(submissions), desc="grading", unit="file", file=sys.stderr, disable=None) as bar:
            for number, result in results:
                found[number] = result
                bar.update()
    except KeyboardInterrupt as stop:
        results.close()
        done = f"{len(found)} of {len(submissions)} submissions are graded and kept in {places.cache}"
        stop.args = (f"interrupted: {done}; the same command goes on from there",)
        raise
    return [found[number] for number in range(len(submissions))]


def _nothing(submissions: Path, handed_in: HandedIn, exercises: Sequence[Exercise]) -> str:
    """Why there is nothing to grade."""
    lost = [each for each in handed_in.left if each.kind == "not graded"]
    if not lost:
        other = [each for each in handed_in.left if each.why.startswith("is an archive")]
        if other:
            return f"'{submissions}' holds no notebook (.ipynb); {other[0].path} {other[0].why}, or give it itself"
        return f"'{submissions}' holds no notebook (.ipynb): give the folder or the zip of what was handed in"
    names = ", ".join(each.name for each in exercises[:5]) + (" and others" if len(exercises) > 5 else "")
    more = f", and {len(lost) - 1} more files are not graded either" if len(lost) > 1 else ""
    return f"'{submissions}' holds nothing to grade as {names}: {lost[0].path} {lost[0].why}{more}"


def _require_room(places: Places) -> None:
    """What would keep the results from being written, before anything is graded."""
    if len(set(places.all())) < len(places.all()):
        raise ValueError(f"'{places.out}' is the name of what lies beside the table: end it in .csv")
    if places.out.is_dir():
        raise IsADirectoryError(f"'{places.out}' is a folder, where the table of marks is to be: give a name in it")
    for folder in (places.feedback, places.gradescope):
        if folder.exists() and not folder.is_dir():
            raise FileExistsError(f"'{folder}' is a file, where a folder is to be: move it, or choose another --out")


def _refuse_overwriting(places: Places, inputs: Sequence[Path]) -> None:
    for path in places.all():
        for given in inputs:
            if os.path.realpath(path) == os.path.realpath(given):
                raise ValueError(f"'{given}' would be overwritten by the results ({path}): choose another --out")
