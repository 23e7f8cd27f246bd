"""The exercise as otter-grader wants it, and its commands.

The master is in the format of Otter Assign, with exception-based tests; `otter assign` makes of it the students'
notebook and the autograder's zip, and `otter run` grades one notebook. The other command, `otter grade`, which the
documentation recommends, runs the same in a Docker container for each submission, and is not used here.
"""

import json
from pathlib import Path
from textwrap import indent

import nbformat

from graders import forms
from graders.exercise import HIDDEN, NAME, SOLUTION, TASKS, Task
from graders.world import Ran, World

PACKAGE, VERSION = "otter-grader", "7.0.0"
COMMAND = "otter run -a lora_basics-autograder.zip -o OUT SUBMISSION"
CONDITIONS = (
    "without Docker: otter run, which its documentation calls less secure than otter grade (a container for each "
    "submission, --timeout, --no-network), and which has no limit of time. A container, not tried here, would hide the "
    "instructor's and the others' files, and end the loop; the tests and the student share a process there too"
)
PAGES = (
    "https://otter-grader.readthedocs.io/en/latest/test_files/python_format.html",
    "https://otter-grader.readthedocs.io/en/stable/workflow/executing_submissions/otter_run.html",
    "https://otter-grader.readthedocs.io/en/stable/workflow/executing_submissions/otter_grade.html",
)
_CONFIG = """# ASSIGNMENT CONFIG
init_cell: true
export_cell: false
check_all_cell: false
generate:
    show_hidden: false
tests:
    ok_format: false"""


class Otter:
    """See `graders.grader.Grader`."""

    package, version, command, conditions, pages = PACKAGE, VERSION, COMMAND, CONDITIONS, PAGES
    one_command = False

    def __init__(self, world: World, binaries: Path) -> None:
        self.world, self._otter = world, binaries / "otter"

    def prepare(self) -> Path:
        """Make the assignment, and say where the students' notebook is."""
        folder = self.world.folder
        cells = [forms.new_raw_cell(_CONFIG), forms.new_markdown_cell(forms.TITLE), forms.new_code_cell(forms.IMPORT)]
        for task in TASKS:
            cells += _question(task)
        forms.write(cells, folder / f"{NAME}.ipynb")
        self.world.must(self._otter, "assign", f"{NAME}.ipynb", "dist", "--no-pdfs")
        (zipped,) = (folder / "dist/autograder").glob("*.zip")
        zipped.rename(folder / f"{NAME}-autograder.zip")
        return folder / f"dist/student/{NAME}.ipynb"

    def place(self, student: str) -> Path:
        """Where a student's notebook is."""
        return self.world.folder / "submissions" / student / f"{NAME}.ipynb"

    def grade(self, students: list[str]) -> Ran:
        """Grade one student; the command takes no more."""
        (student,) = students
        out = self.world.folder / "graded" / student
        out.mkdir(parents=True)
        archive = f"{NAME}-autograder.zip"
        return self.world.run(self._otter, "run", "-a", archive, "-o", out, "--no-logo", self.place(student))

    def finish(self) -> None:
        """Nothing is left to do."""

    def mark(self, student: str) -> float | None:
        """The sum in results.json."""
        results = self._results(student)
        return None if results is None else sum(float(test.get("score") or 0) for test in results["tests"])

    def seen(self, student: str) -> str:
        """What Gradescope would show of results.json: tests and output that are not marked as hidden."""
        results = self._results(student)
        if results is None:
            return ""
        shown = [json.dumps(test) for test in results["tests"] if test.get("visibility") != "hidden"]
        if results.get("stdout_visibility") == "visible":
            shown.append(self.world.folder.joinpath("output.txt").read_text(errors="replace"))
        return "\n".join(shown)

    def _results(self, student: str) -> dict | None:
        path = self.world.folder / "graded" / student / "results.json"
        return json.loads(path.read_text()) if path.exists() else None


def _question(task: Task) -> list[nbformat.NotebookNode]:
    raw, code = forms.new_raw_cell, forms.new_code_cell
    solution = f"# BEGIN SOLUTION\n# {SOLUTION}\n{task.solution}\n# END SOLUTION"
    hidden = '""" # BEGIN TEST CONFIG\nhidden: true\n""" # END TEST CONFIG\n'
    return [
        raw(f"# BEGIN QUESTION\nname: {task.name}\npoints: 1\nall_or_nothing: true"),
        forms.new_markdown_cell(f"`{task.name}`: {task.says}"),
        raw("# BEGIN SOLUTION"),
        code(f"def {task.name}({task.arguments}):\n" + indent(solution, "    ")),
        raw("# END SOLUTION"),
        raw("# BEGIN TESTS"),
        code(_test(task, "shown", task.shown)),
        code(hidden + _test(task, "hidden", f"# {HIDDEN}\n{task.hidden}")),
        raw("# END TESTS"),
        raw("# END QUESTION"),
    ]


def _test(task: Task, which: str, body: str) -> str:
    return f"def test_{which}({task.name}):\n    import torch\n\n" + indent(body, "    ")
