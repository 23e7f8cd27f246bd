"""The exercise as nbgrader wants it, and its commands.

The source notebook has marked regions for solutions and hidden tests; `nbgrader generate_assignment` makes of it what
students get, `nbgrader autograde` grades what is under submitted/, `nbgrader generate_feedback` writes what students
read, and `nbgrader export` the marks.
"""

import csv
from pathlib import Path
from textwrap import indent

import nbformat

from graders import forms
from graders.exercise import HIDDEN, NAME, SOLUTION, TASKS, Task
from graders.world import Ran, World

PACKAGE, VERSION = "nbgrader", "0.9.6"
TIMEOUT = 30  # its own default
COMMAND = f"nbgrader autograde {NAME} --ExecutePreprocessor.timeout={TIMEOUT}"
CONDITIONS = (
    f"ExecutePreprocessor.timeout={TIMEOUT} seconds, its default; not in Docker, as its documentation advises for "
    "unsafe code (there too the tests and the student share a process); that feedback shows hidden tests is by design"
)
PAGES = (
    "https://nbgrader.readthedocs.io/en/stable/user_guide/creating_and_grading_assignments.html",
    "https://nbgrader.readthedocs.io/en/stable/user_guide/faq.html",
    "https://github.com/jupyter/nbgrader/issues/917",
)


class Nbgrader:
    """See `graders.grader.Grader`."""

    package, version, command, conditions, pages = PACKAGE, VERSION, COMMAND, CONDITIONS, PAGES
    one_command = True

    def __init__(self, world: World, binaries: Path) -> None:
        self.world, self._nbgrader = world, binaries / "nbgrader"
        self._marks: dict[str, float] = {}

    def prepare(self) -> Path:
        """Make the assignment, and say where the students' notebook is."""
        folder = self.world.folder
        cells = [forms.new_markdown_cell(forms.TITLE), forms.new_code_cell(forms.IMPORT)]
        for task in TASKS:
            cells += _question(task)
        forms.write(cells, folder / "source" / NAME / f"{NAME}.ipynb")
        self.world.must(self._nbgrader, "generate_assignment", NAME)
        return folder / "release" / NAME / f"{NAME}.ipynb"

    def place(self, student: str) -> Path:
        """Where a student's notebook is."""
        return self.world.folder / "submitted" / student / NAME / f"{NAME}.ipynb"

    def grade(self, students: list[str]) -> Ran:
        """Grade one student, or all that have handed in."""
        one = [f"--student={students[0]}"] if len(students) == 1 else []
        timeout = f"--ExecutePreprocessor.timeout={TIMEOUT}"
        return self.world.run(self._nbgrader, "autograde", NAME, timeout, *one)

    def finish(self) -> None:
        """Feedback, and the table of marks."""
        self.world.must(self._nbgrader, "generate_feedback", NAME)
        self.world.must(self._nbgrader, "export", "--to=grades.csv")
        with (self.world.folder / "grades.csv").open(newline="") as table:
            self._marks = {
                row["student_id"]: float(row["score"])
                for row in csv.DictReader(table)
                if row["timestamp"] or row["raw_score"]
            }

    def mark(self, student: str) -> float | None:
        """The score in grades.csv."""
        return self._marks.get(student)

    def seen(self, student: str) -> str:
        """The feedback's page."""
        path = self.world.folder / "feedback" / student / NAME / f"{NAME}.html"
        return path.read_text() if path.exists() else ""


def _question(task: Task) -> list[nbformat.NotebookNode]:
    solution = f"### BEGIN SOLUTION\n# {SOLUTION}\n{task.solution}\n### END SOLUTION"
    solved = f"def {task.name}({task.arguments}):\n" + indent(solution, "    ")
    tests = f"{task.shown}\n### BEGIN HIDDEN TESTS\n# {HIDDEN}\n{task.hidden}\n### END HIDDEN TESTS"
    marked = {"schema_version": 3, "task": False}
    answer = {"grade": False, "grade_id": task.name, "locked": False, "solution": True}
    test = {"grade": True, "grade_id": f"test_{task.name}", "locked": True, "solution": False, "points": 1}
    return [
        forms.new_markdown_cell(f"`{task.name}`: {task.says}"),
        forms.new_code_cell(solved, metadata={"nbgrader": marked | answer}),
        forms.new_code_cell(tests, metadata={"nbgrader": marked | test}),
    ]
