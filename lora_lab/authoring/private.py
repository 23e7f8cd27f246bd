"""An instructor's own exercises, for marks: students get no solutions and no checks, and each class its own numbers.

FOLDER/masters/*.py, checks/*.py, class.toml     what the instructor writes (see `lora_lab.exercises.private`)
FOLDER/built/exercises/*.ipynb                   for the students
FOLDER/built/solutions/*.ipynb                   executed: every check said that the solution is right
FOLDER/built/*.json                              what `lora-lab grade --checks FOLDER` reads
"""

import dataclasses
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from lora_lab.authoring import editions, tags
from lora_lab.authoring.editions import EXERCISE
from lora_lab.authoring.execution import execute
from lora_lab.authoring.pages import as_json, write
from lora_lab.authoring.percent import parse
from lora_lab.authoring.tags import Exercise
from lora_lab.exercises import private

PRIVATE = dataclasses.replace(
    EXERCISE,
    masters="masters",
    complete="built/solutions",
    learners="built/exercises",
    generated="built",
    in_repository=False,
)
_PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def require() -> None:
    """Raises ValueError if what runs notebooks is not installed."""
    if importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("ipykernel") is None:
        raise ValueError(
            "building exercises runs their solutions, which needs the extra lab: pip install lora_lab[lab]"
        )


def build(folder: Path, repository: dict[str, str]) -> Iterator[str]:
    """Build every master of a folder; a sentence for each. Nothing of it is written unless its solutions are right.

    Args:
        folder: the instructor's.
        repository: `address` and `ref` of lora_lab, which the notebooks install in Colab.

    Raises:
        FileNotFoundError: there are no masters, or no checks.
        ValueError: a master is malformed, a task has no check, or a solution is not right.
    """
    masters = sorted((folder / PRIVATE.masters).glob("*.py"))
    if not masters:
        raise FileNotFoundError(
            f"no masters in {folder / PRIVATE.masters}: an exercise is written there as NN_title.py"
        )
    checked = private.load(folder)
    drawn = dict(private.drawn)
    for master in masters:
        exercise, complete = _read(master, drawn, repository)
        if missing := [name for name in exercise.turns if name not in checked]:
            raise ValueError(f"{master}: the task {missing[0]!r} has no check in {folder / 'checks'}")
        _run(complete, folder, master)
        write(folder / PRIVATE.complete / f"{master.stem}.ipynb", as_json(complete))
        write(folder / PRIVATE.learners / f"{master.stem}.ipynb", as_json(_for_students(complete, exercise)))
        write(folder / PRIVATE.generated / f"{master.stem}.json", _for_the_grader(exercise, drawn))
        yield f"{master.stem}: {len(exercise.turns)} tasks, every solution right"
    if drawn:
        yield "drawn for this class: " + ", ".join(f"{name} = {value}" for name, value in sorted(drawn.items()))


def _read(master: Path, drawn: dict[str, Any], repository: dict[str, str]) -> tuple[Exercise, NotebookNode]:
    """What a master says with the class's numbers in it, and its complete notebook."""

    def value(place: re.Match[str]) -> str:
        if place[1] not in drawn:
            raise ValueError(
                f"{{{{{place[1]}}}}} is not drawn: class.toml draws {', '.join(sorted(drawn)) or 'nothing'}"
            )
        return str(drawn[place[1]])

    try:
        cells = parse(_PLACE.sub(value, master.read_text(encoding="utf-8")))
        exercise = tags.read(cells, Exercise)
        assert isinstance(exercise, Exercise)
        return exercise, editions.notebook(cells, master.stem, repository, PRIVATE)
    except ValueError as error:
        raise ValueError(f"{master}: {error}") from None


def _run(complete: NotebookNode, folder: Path, master: Path) -> None:
    """Execute the solutions. Raises ValueError if a cell fails or a check does not say right."""
    try:
        execute(complete, folder / PRIVATE.complete, {"LORA_LAB_CHECKS": str(folder.resolve())})
    except Exception as error:  # a failing cell, a dead kernel
        raise ValueError(f"{master}: its solutions do not run: {str(error).strip().splitlines()[-1]}") from error
    for cell in complete.cells:
        if cell.id.startswith("check-"):
            said = "".join(output.get("text", "") for output in cell.outputs)
            if f"{cell.id.removeprefix('check-')}: right." not in said:
                raise ValueError(f"{master}: its own solution is not right: {' '.join(said.split())}")


def _for_students(complete: NotebookNode, exercise: Exercise) -> NotebookNode:
    """Stubs and hints, and no solution anywhere; `check` takes answers as they are."""
    learners = editions.workbook(complete, exercise, PRIVATE)
    learners.cells = [cell for cell in learners.cells if not cell.id.startswith("solution-")]
    setup = next(cell for cell in learners.cells if cell.id == editions.SETUP_ID)
    names = ", ".join(json.dumps(name) for name in exercise.turns)
    setup.source += f"\n\nfrom lora_lab.exercises import marked_later\n\nmarked_later({names})"
    return learners


def _for_the_grader(exercise: Exercise, drawn: dict[str, Any]) -> str:
    """What `editions.generated` says without the answers, and the class's numbers."""
    said = json.loads(editions.generated(exercise))
    for turn in said["turns"].values():
        turn |= {"solution": "", "gaps": [], "hints": []}
    return json.dumps(said | {"drawn": drawn}, indent=1, ensure_ascii=False) + "\n"
