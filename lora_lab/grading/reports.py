"""What comes out: a table of marks, a table of files, and for each student a page and a file for Gradescope.

Whatever a student wrote, a name or what a diagnosis quotes, is shown and never obeyed: not by a browser, and not by a
spreadsheet, which would take a cell that begins with "=" for a formula.
"""

import csv
import hashlib
import io
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_lab import disk
from lora_lab.grading.engine import Graded
from lora_lab.grading.feedback import page
from lora_lab.grading.marks import NOT_GRADED, Mark, by_student, number, total
from lora_lab.grading.submissions import Left

COLUMNS = ("student", "exercise", "task", "status", "points", "of", "score", "why", "late", "file")
_FORMULA = ("=", "+", "-", "@", "\t", "＝", "＋", "－", "＠")  # the last four are what Excel takes for them
_RESERVED = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))}


@dataclass(frozen=True)
class Places:
    """Where a run's results are: `grades.csv`, and what belongs to it beside it."""

    out: Path

    @property
    def files(self) -> Path:
        """The table of files."""
        return self.out.with_name(f"{self.out.stem}.files.csv")

    @property
    def feedback(self) -> Path:
        """The folder of pages."""
        return self.out.with_name(f"{self.out.stem}.feedback")

    @property
    def gradescope(self) -> Path:
        """The folder of files for Gradescope."""
        return self.out.with_name(f"{self.out.stem}.gradescope")

    @property
    def cache(self) -> Path:
        """The folder of what is graded already."""
        return self.out.with_name(f"{self.out.stem}.cache")

    def all(self) -> tuple[Path, ...]:
        """Each of them."""
        return self.out, self.files, self.feedback, self.gradescope, self.cache


def write(places: Places, rows: Sequence[Mark], graded: Sequence[Graded], left: Sequence[Left]) -> None:
    """Write all reports, the table of marks last: where it is new, the others are.

    Raises:
        OSError: if one cannot be written; those that were there are whole.
    """
    students = by_student(rows)
    with disk.atomic_folder(places.feedback, instead_of=("*.html",)) as folder:
        for student, own in students.items():
            _write(folder / f"{file_name(student)}.html", page(student, own))
    with disk.atomic_folder(places.gradescope, instead_of=("*.json",)) as folder:
        for student, own in students.items():
            seconds = sum(each.outcome.seconds for each in graded if each.submission.student == student)
            disk.write_json(folder / f"{file_name(student)}.json", gradescope(own, seconds))
    for path, table in ((places.files, files_table(graded, left)), (places.out, marks_table(rows))):
        with disk.atomic_path(path) as temporary:
            _write(temporary, table)


def marks_table(rows: Iterable[Mark]) -> str:
    """`grades.csv`: a row for each student and task."""
    return _table(
        COLUMNS,
        (
            (each.student, each.exercise, each.task, each.status, each.points, each.of, each.score,
             " ".join(each.why.split()), "yes" if each.late else "no", each.file)
            for each in rows
        ),
    )  # fmt: skip


def files_table(graded: Iterable[Graded], left: Iterable[Left]) -> str:
    """`grades.files.csv`: a row for each file that was handed in, and what was made of it."""
    rows = [
        (one.submission.path, "not graded" if one.outcome.trouble else "graded", one.submission.student,
         one.submission.exercise, "yes" if one.submission.late else "no",
         one.submission.modified.isoformat(timespec="seconds") if one.submission.modified else "",
         "; ".join(filter(None, (one.submission.note, one.outcome.trouble))))
        for one in graded
    ]  # fmt: skip
    rows += [(each.path, each.kind, each.student, each.exercise, "", "", each.why) for each in left]
    return _table(("file", "what", "student", "exercise", "late", "modified", "note"), sorted(rows))


def gradescope(rows: Sequence[Mark], seconds: float) -> dict[str, Any]:
    """One student's results, in the format of Gradescope's autograders.

    Source: gradescope-autograders.readthedocs.io, "Autograder Specifications", section "Output format".
    """
    points, of = total(rows)
    lacking = sum(row.status == NOT_GRADED for row in rows)
    said = f"{number(points)} of {number(of)} points."
    if lacking:
        said += f" {lacking} of {len(rows)} tasks could not be graded: ask your instructor."
    several = len({row.exercise for row in rows}) > 1
    return {
        "score": points,
        "execution_time": round(seconds, 3),
        "output": said,
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
        "tests": [
            {
                "name": f"{row.exercise}: {row.task}" if several else row.task,
                "number": str(at),
                "score": row.points or 0.0,
                "max_score": row.of,
                "status": "passed" if row.status == "right" else "failed",
                "output": "\n".join(filter(None, (row.status, row.for_student, "late" if row.late else ""))),
                "visibility": "visible",
                "extra_data": {"status": row.status, "late": row.late, "file": row.file, "puzzle_score": row.score},
            }
            for at, row in enumerate(rows, 1)
        ],
    }


def file_name(student: str) -> str:
    """A name that every system takes and that is one student's alone: letters and digits of any script, and the start
    of a hash, by which names that differ in signs or capitals only are told apart."""
    kept = "".join(
        each if unicodedata.category(each)[0] in "LNM" else "_" for each in unicodedata.normalize("NFC", student)
    )
    short = kept.encode()[:80].decode("utf-8", "ignore").strip("_")
    if short.casefold() in _RESERVED:
        short = f"{short}_"
    return f"{short or 'student'}-{hashlib.sha256(student.encode('utf-8', 'surrogatepass')).hexdigest()[:10]}"


def cell(value: object) -> str:
    """A value of a table. A text that a spreadsheet would take for a formula gets an apostrophe in front, which
    spreadsheets do not show; numbers are ours and stay."""
    if isinstance(value, float | int):
        return number(float(value))
    text = "" if value is None else " ".join(str(value).replace("\r", "\n").split("\n"))  # a row is a line
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
