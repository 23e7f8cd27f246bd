"""The exercise as an instructor's private folder of lora_lab, and its commands.

`lora-lab exercises build` makes of a master and checks what students get, and `lora-lab grade` grades a folder of
notebooks in a sandbox.
"""

import csv
import html
import sys
from dataclasses import replace
from pathlib import Path

from graders.exercise import HIDDEN, NAME, SOLUTION, TASKS, Task
from graders.world import Ran, World

COMMAND = "lora-lab grade submissions --checks FOLDER --out grades.csv"
CONDITIONS = "its defaults: bubblewrap, a fresh process for each submission, 2 at once"
_ROOT = Path(__file__).resolve().parents[2]
_EXERCISE = f"01_{NAME}"

_CHECKS = '''"""Checks of LoRA's basics."""

import torch

from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong, task


def require_close(found, wanted):
    # {hidden}
    if not isinstance(found, torch.Tensor) or found.dtype != wanted.dtype:
        raise Wrong("that is no tensor of the inputs' kind")
    if found.shape != wanted.shape:
        raise Wrong("its shape is not the one that is asked for")
    if not torch.allclose(found, wanted, rtol=1e-4, atol=1e-5):
        raise Wrong("its values are not right", yours=found, wanted=wanted)
'''
_CHECK = """

def _{name}({arguments}):
    # {solution_mark}
    {solution}


@task(reference=lambda: _{name})
def {name}(f):
{check}
"""
_HEAD = """# %% [markdown]
# # LoRA: the basics
#
# After [a lesson](../notebooks/01_svd.ipynb), with the [glossary](../course/glossary.md).

# %%
import torch

from lora_lab.exercises import check
"""
_TASK = """
# %% [markdown] tags=["task:{name}"]
# ## {number}. {title}
#
# difficulty 1 of 5 · importance 3 of 5 · 5 minutes · 1 points
#
# `{name}`: {says}

# %% tags=["turn:{name}"]
def {name}({arguments}):
    #> one line
    # {solution_mark}
    {solution}
    #<

# %% [markdown] tags=["hint:{name}"]
# **A first hint.** One line.

# %% tags=["check:{name}"]
{name} = check("{name}", {name})
"""


class Ours:
    """See `graders.grader.Grader`."""

    package, version, command, conditions, pages = "lora_lab", "", COMMAND, CONDITIONS, ()
    one_command = True

    def __init__(self, world: World, binaries: Path) -> None:
        self.world = replace(world, variables=world.variables | {"PYTHONPATH": str(_ROOT), "LORA_LAB_PROGRESS": "off"})

    def prepare(self) -> Path:
        """Build the exercise, and say where the students' notebook is."""
        folder = self.world.folder
        checks = _CHECKS.format(hidden=HIDDEN) + "".join(_fill(_CHECK, task) for task in TASKS)
        master = _HEAD + "".join(_fill(_TASK, task, number) for number, task in enumerate(TASKS, 1))
        for path, text in {"checks/basics.py": checks, f"masters/{_EXERCISE}.py": master}.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        ran = self.world.must(*self._lora_lab("exercises", "build", folder))
        notebook = folder / f"built/exercises/{_EXERCISE}.ipynb"
        if not notebook.exists():
            sys.exit(f"lora-lab exercises build failed: {ran.output}")
        return notebook

    def place(self, student: str) -> Path:
        """Where a student's notebook is."""
        return self.world.folder / "submissions" / f"{student}_{_EXERCISE}.ipynb"

    def grade(self, students: list[str]) -> Ran:
        """Grade one student, or all that have handed in."""
        folder, alone = self.world.folder, len(students) == 1
        out = folder / "graded" / f"{students[0] if alone else 'all'}.csv"
        out.parent.mkdir(exist_ok=True)
        what = self.place(students[0]) if alone else folder / "submissions"
        return self.world.run(*self._lora_lab("grade", what, "--checks", folder, "--out", out))

    def finish(self) -> None:
        """Nothing is left to do."""

    def mark(self, student: str) -> float | None:
        """The sum of a student's rows in the table of marks."""
        alone = self.world.folder / "graded" / f"{student}.csv"
        rows = _rows(alone) or [row for row in _rows(alone.with_name("all.csv")) if row["student"] == student]
        return sum(float(row["points"]) for row in rows) if rows and all(row["points"] for row in rows) else None

    def seen(self, student: str) -> str:
        """The feedback's page and the file for Gradescope."""
        pages = [
            *self.world.folder.glob("graded/*.feedback/*"),
            *self.world.folder.glob("graded/*.gradescope/**/*.json"),
        ]
        own = [page for page in pages if student in str(page.relative_to(self.world.folder))]
        return "\n".join(html.unescape(page.read_text(encoding="utf-8")) for page in own)

    def _lora_lab(self, *words: str | Path) -> list[str | Path]:
        return [sys.executable, "-m", "lora_lab.commands.cli", *words]


def _rows(table: Path) -> list[dict[str, str]]:
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _fill(text: str, task: Task, number: int = 0) -> str:
    return text.format(
        name=task.name,
        number=number,
        title=task.name.replace("_", " ").capitalize(),
        says=task.says,
        arguments=task.arguments,
        solution=task.solution,
        solution_mark=SOLUTION,
        check=task.check,
    )
