"""What a student has, task by task: the rows from which every report is made."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lora_lab.grading.engine import Graded
from lora_lab.grading.exercise import Exercise
from lora_lab.grading.files import shown
from lora_lab.grading.verdict import Verdict

MOST_WHY = 2_000  # characters of a diagnosis, which may quote what the student wrote
NOT_GRADED, NOTHING = "not graded", "nothing handed in"


@dataclass(frozen=True)
class Mark:
    """One task of one student.

    Attributes:
        student, exercise, task: their names.
        status: a verdict's, "not graded" or "nothing handed in".
        points: earned; None where it is not graded.
        of: that it could earn.
        score: what a puzzle's answer used; None without one.
        why: a sentence for the student; no expected values.
        late: whether the file came after the deadline.
        file: its path; "" without one.
    """

    student: str
    exercise: str
    task: str
    status: str
    points: float | None
    of: float
    score: float | None = None
    why: str = ""
    late: bool = False
    file: str = ""

    @property
    def for_student(self) -> str:
        """The sentence for the student; what went wrong with the grader is not theirs."""
        return "ask your instructor" if self.status == NOT_GRADED else self.why


def marks(graded: Sequence[Graded], exercises: Sequence[Exercise], students: Iterable[str] = ()) -> list[Mark]:
    """A mark for each task of each submission, and for each exercise of which a student of the roster has none.

    Exercises of which nobody has handed in anything are not missed.
    """
    known = {each.name: each for each in exercises}
    rows = [mark for each in graded for mark in _of_one(each, known[each.submission.exercise])]
    there = {(each.submission.student, each.submission.exercise) for each in graded}
    asked = {exercise for _, exercise in there}
    roster = list(students)
    rows += [
        Mark(student, exercise.name, task, NOTHING, 0.0, exercise.points[task])
        for student in roster
        for exercise in exercises
        if exercise.name in asked and (student, exercise.name) not in there
        for task in exercise.tasks
    ]
    place = {student: at for at, student in enumerate(dict.fromkeys([*roster, *(row.student for row in rows)]))}
    order = {each.name: at for at, each in enumerate(exercises)}
    return sorted(rows, key=lambda row: (place[row.student], order[row.exercise]))


def by_student(rows: Iterable[Mark]) -> dict[str, list[Mark]]:
    """Each student's marks, in their order."""
    found: dict[str, list[Mark]] = {}
    for row in rows:
        found.setdefault(row.student, []).append(row)
    return found


def total(rows: Iterable[Mark]) -> tuple[float, float]:
    """Points, and points that there are."""
    rows = list(rows)
    return sum(row.points or 0.0 for row in rows), sum(row.of for row in rows)


def number(value: float | None) -> str:
    """As a person writes it: 1 and 0.5; nothing for None."""
    return "" if value is None else f"{value:.10g}"


def _of_one(graded: Graded, exercise: Exercise) -> Iterable[Mark]:
    one, outcome = graded.submission, graded.outcome
    said: dict[str, Verdict] = {verdict.task: verdict for verdict in outcome.verdicts}
    for task in exercise.tasks:
        if outcome.trouble or task not in said:
            status, points, score, why = NOT_GRADED, None, None, outcome.trouble or "the grader said nothing of it"
        else:
            status, points, score = said[task].status, float(said[task].points), said[task].score
            why = said[task].why
        yield Mark(
            one.student, one.exercise, task, status, points, exercise.points[task], score,
            _short(why), one.late, one.path,
        )  # fmt: skip


def _short(why: str) -> str:
    """A diagnosis of a length that a page bears; lines stay lines."""
    text = "\n".join(shown(line) for line in why[: MOST_WHY + 1].splitlines())
    return text if len(text) <= MOST_WHY else f"{text[:MOST_WHY]}..."
