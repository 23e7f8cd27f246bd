"""The options of `lora-lab grade`; what runs it is imported when it runs."""

import argparse
from datetime import datetime, time
from pathlib import Path
from typing import Any

from lora_lab.commands.arguments import folder, whole, word

_MOST_JOBS = 1024


def add(commands: Any) -> None:
    """Add the command to the parser's commands."""
    parser = commands.add_parser(
        "grade",
        help="grade a class: a folder or a zip of exercise notebooks",
        description="Grade exercise notebooks as students handed them in: a folder or a zip, as Moodle, Canvas or "
        "Gradescope give it. Their code runs in a sandbox without network, files or answers (bubblewrap, on Linux). "
        "Beside the table of marks, GRADES.csv, come GRADES.files.csv (each file and what was made of it), "
        "GRADES.feedback/ (a page for each student), GRADES.gradescope/ (each student's results.json) and "
        "GRADES.cache/, by which a rerun grades only what changed and an interrupted run goes on. Exit status 1 if the "
        "grader itself failed at a submission.",
    )
    parser.add_argument("submissions", type=folder, help="a folder or a zip of notebooks, or one notebook")
    parser.add_argument(
        "--out", type=folder, default=Path("grades.csv"), metavar="GRADES.csv", help="default: %(default)s"
    )
    parser.add_argument(
        "--checks",
        type=folder,
        metavar="PATH",
        help="your own: a Python file with checks, or a folder that was built; default: the course's exercises, whose "
        "solutions are public",
    )
    parser.add_argument(
        "--roster",
        type=folder,
        metavar="FILE.csv",
        help="who is in the class: a column 'student', and any others by which a file may be theirs (name, email, id)",
    )
    parser.add_argument(
        "--deadline",
        type=when,
        metavar="WHEN",
        help="later files are marked as late, nothing else: 2026-11-26, its end, or 2026-11-26T18:00, in this "
        "machine's zone unless one stands there, as in 2026-11-26T18:00+01:00",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=jobs, metavar="N", help="how many at once; default: as many as there are cores")
    where.add_argument(
        "--scheduler",
        type=word,
        metavar="ADDRESS",
        help="a Dask scheduler whose workers grade, as tcp://10.0.0.5:8786; needs lora_lab[cluster]",
    )
    parser.add_argument(
        "--trusted",
        action="store_true",
        help="without a sandbox: what students wrote can do all that you can do on this machine",
    )
    parser.set_defaults(command=_run)


def jobs(text: str) -> int:
    """How many at once."""
    number = whole(text)
    if not 1 <= number <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{number} is not from 1 to {_MOST_JOBS}")
    return number


def when(text: str) -> datetime:
    """A time with its zone; a day means its end."""
    try:
        found = datetime.fromisoformat(text.strip())
        if len(text.strip()) <= len("2026-11-26"):
            found = datetime.combine(found, time(23, 59, 59, 999999))
        return found if found.tzinfo else found.astimezone()
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is no time: write it as 2026-11-26 or 2026-11-26T18:00"
        ) from None


def _run(options: argparse.Namespace) -> int:
    from lora_lab.commands.grade import run

    return run(
        options.submissions,
        out=options.out,
        checks=options.checks,
        roster=options.roster,
        deadline=options.deadline,
        jobs=options.jobs,
        scheduler=options.scheduler,
        trusted=options.trusted,
    )
