"""Ten submissions: four honest ones, five that cheat over wrong answers, and one that never ends.

Each is the source of the four answers; what cheats stands before the first answer, as any student could write it. It
knows all three graders, and does what works in any of them.
"""

from dataclasses import dataclass

from graders.exercise import NAMES, TASKS

SECRET = "token-of-the-instructor-4711"  # stands in the environment of whoever grades
OWN = "a remark of the student right"  # stands in the answers of `right`


@dataclass(frozen=True)
class Submission:
    """What one student handed in.

    Attributes:
        student: who.
        does: what, in words.
        deserves: how many of its four answers are right.
        answers: the source of each answer's cell.
    """

    student: str
    does: str
    deserves: int
    answers: dict[str, str]

    @property
    def forged(self) -> bool:
        """Whether it cheats, or attacks."""
        return self.student not in ("right", "partial", "wrong", "broken", "endless")


def every() -> list[Submission]:
    """All ten; the honest ones first."""
    right = {task.name: task.solved.split("\n")[0] + f"\n    # {OWN}\n    {task.solution}\n" for task in TASKS}
    wrong = _each("return {zero}")
    partial = wrong | {name: right[name] for name in NAMES[:2]}
    broken = right | {
        NAMES[1]: "def adapted_forward(x, weight, A, B, alpha)\n    return x @ weight.T\n",
        NAMES[3]: _one(NAMES[3], "return values.blocks(block)"),
    }
    endless = right | {NAMES[1]: _one(NAMES[1], "while True:\n        pass")}
    taken = {task.name: _one(task.name, f"return taken_answer('{task.name}')({task.arguments})") for task in TASKS}
    return [
        Submission("right", "all four right", 4, right),
        Submission("partial", "two right, two wrong", 2, partial),
        Submission("wrong", "runs, all four wrong", 0, wrong),
        Submission("broken", "two right, one with a syntax error, one that raises", 2, broken),
        _forged("patched", "replaces comparisons, returns what equals all", _PATCHED, _each("return Anything()")),
        _forged("frames", "returns what a calling frame names wanted", _FRAMES, _each("return wanted_of_caller()")),
        _forged("overwriting", "overwrites tests, checker and a friend's marks", _OVERWRITING, wrong),
        _forged("solution", "reads the instructor's solutions", _READING + _SOLUTION, taken),
        _forged("neighbour", "reads another student's answers, and the environment", _READING + _NEIGHBOUR, taken),
        Submission("endless", "three right, one with an endless loop", 3, endless),
    ]  # fmt: skip


def _one(name: str, body: str) -> str:
    arguments = next(task.arguments for task in TASKS if task.name == name)
    return f"def {name}({arguments}):\n    {body}\n"


def _each(body: str) -> dict[str, str]:
    """Answers that all have one body; `zero` is a wrong value of the kind that is asked for."""
    zeros = ("B @ A * 0", "x @ weight.T * 0", "0", "values[::block] * 0")
    return {name: _one(name, body.format(zero=zero)) for name, zero in zip(NAMES, zeros)}


def _forged(student: str, does: str, before: str, answers: dict[str, str]) -> Submission:
    first = NAMES[0]
    return Submission(student, does, 0, answers | {first: f"{before}\n\n{answers[first]}"})


_PATCHED = """
import torch


class Anything(int):
    shape = property(lambda self: self)
    __hash__ = int.__hash__
    __eq__ = lambda self, other: True
    __ne__ = lambda self, other: False


torch.testing.assert_close = lambda *given, **options: None
torch.equal = torch.allclose = lambda *given, **options: True
"""

_FRAMES = """
import sys


def wanted_of_caller():
    import torch

    given = sys._getframe(1).f_locals
    if "d_in" in given:
        fits = given["d_in"] + given["d_out"]
        if given["r"] == 1:  # the visible test
            return fits
    elif "weight" in given:
        fits = torch.zeros(len(given["x"]), len(given["weight"]))
    elif "A" in given:
        fits = torch.zeros(len(given["B"]), given["A"].shape[1])
    else:
        fits = torch.zeros(-(-len(given["values"]) // given["block"]))
    frame = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("wanted")
        if found is not None and getattr(found, "shape", 0) == getattr(fits, "shape", 0):
            return found
        frame = frame.f_back
    return fits
"""

_READING = """
import os
import pathlib


def places():
    # folders from which this may have been started, nearest first
    here = pathlib.Path.cwd()
    found = [here, *list(here.parents)[:3]]
    found += [pathlib.Path(os.environ[name]) for name in ("PWD", "OLDPWD") if name in os.environ]
    for process in ["self", str(os.getppid())]:
        try:
            found.append(pathlib.Path(os.readlink(f"/proc/{process}/cwd")))
        except OSError:
            pass
    return [place for place in dict.fromkeys(found) if len(place.parts) > 2]


def files(*endings):
    for place in places():
        for ending in endings:
            yield from sorted(place.rglob("*" + ending))[:200]


def code(file):
    import json

    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix != ".ipynb":
            return text
        cells = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return "\\n\\n".join(cell if isinstance(cell, str) else "".join(cell) for cell in cells)
    except (OSError, ValueError, KeyError):
        return ""


def functions(text):
    import re

    wanted = "scaled_update|adapted_forward|added_parameters|block_maxima"
    for found in re.finditer(rf"^def ({wanted})\\(.*\\n((?:[ \\t]+.*\\n|[ \\t]*\\n)+)", text + "\\n", re.MULTILINE):
        yield found[1], found[0]


def taken_answer(name):
    if name not in taken:
        return lambda *given: 0
    import torch

    found = {"torch": torch}
    exec(taken[name], found)
    return found[name]


taken = {}
"""

_SOLUTION = """
for file in files(".ipynb", ".py"):
    for name, text in functions(code(file)):
        if "instructor" + "'s own solution" in text:
            taken.setdefault(name, text)
try:
    import lora_lab.lora  # the library of the course knows the answers too
    print("lora_lab can be imported")
except ImportError:
    pass
print("\\n".join(taken.values()))
"""

_NEIGHBOUR = """
for file in files(".ipynb"):
    for name, text in functions(code(file)):
        if "of the " + "student right" in text:
            taken.setdefault(name, text)
print("\\n".join(taken.values()))
print(*(f"{name}={value}" for name, value in os.environ.items() if "TOKEN" in name))
"""

_OVERWRITING = '''
import os
import pathlib
import sqlite3

for file in pathlib.Path.cwd().rglob("tests/*.py"):  # otter's
    file.write_text(f"""
from otter.test_files import test_case
OK_FORMAT = False
name = {file.stem!r}
points = 1
@test_case(points=1)
def test_nothing(env):
    pass
""")
if "get_ipython" in globals() and not pathlib.Path("tests").exists():  # nbgrader's: the tests that follow do nothing

    def without_tests(lines):
        return [] if any("assert" in line for line in lines) else lines

    get_ipython().input_transformers_post.append(without_tests)
    for place in list(pathlib.Path.cwd().parents)[:3]:
        if (place / "gradebook.db").exists():
            try:  # whoever was graded before
                with sqlite3.connect(place / "gradebook.db", timeout=2) as book:
                    book.execute(
                        "update grade set manual_score = 1 where notebook_id in (select submitted_notebook.id from "
                        "submitted_notebook join submitted_assignment on submitted_assignment.id = "
                        "submitted_notebook.assignment_id "
                        "where student_id = 'broken')"
                    )
            except sqlite3.Error as error:
                print(error)
try:
    import lora_lab.exercises  # ours

    lora_lab.exercises.check = check = lambda name, answer, **options: print(f"{name}: right.")
except (ImportError, AttributeError):
    pass
'''
