"""Checks of an instructor's own, which students do not get; what they are about may be drawn for each class.

    FOLDER/class.toml       name = "2026 autumn"
                            [draw]
                            r = [4, 8, 16]
    FOLDER/checks/*.py      functions under `@task`, as in `lora_lab/exercises/practice/`
    FOLDER/masters/*.py     exercises, as in course/masters/exercises/

`drawn["r"]` in a check, and `{{r}}` in a master, are what this class got: the same each time for one name.
"""

import hashlib
import importlib.util
import os
import random
import sys
import tomllib
from pathlib import Path
from typing import Any

from lora_lab.exercises import tasks
from lora_lab.exercises.tasks import Task
from lora_lab.units import first_line


class NotDrawn(LookupError):
    """A check is about something that was not drawn; the sentence says what."""


class _Drawn(dict[str, Any]):
    """Says in a sentence what is not there: a KeyError would read as if the answer were at fault."""

    def __missing__(self, name: str) -> Any:
        there = ", ".join(sorted(self)) or "nothing"
        raise NotDrawn(f"a check asks for {name!r}, and what was drawn for the class is {there}")


drawn: dict[str, Any] = _Drawn()
"""What was drawn for the class whose checks were loaded last."""


def find(name: str) -> Task:
    """A task of the course, or of the folder that the variable LORA_LAB_CHECKS names: so an instructor's solutions find
    their checks. `Stopped`, with the nearest name, if there is none."""
    folder = os.environ.get("LORA_LAB_CHECKS")
    if folder and name not in tasks.registered() and name not in tasks.load():
        load(Path(folder))
    return tasks.find(name)


def values(folder: Path) -> dict[str, Any]:
    """What a class got of each list under `[draw]`; nothing where there is no class.toml.

    Raises:
        ValueError: class.toml is no TOML, has no name, or draws from something that is no list.
    """
    path = folder / "class.toml"
    if not path.exists():
        return {}
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {first_line(error)}") from None
    name, lists = said.get("name"), said.get("draw", {})
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f'{path} names no class: begin it with a line such as name = "2026 autumn"')
    if not isinstance(lists, dict) or not all(isinstance(each, list) and each for each in lists.values()):
        raise ValueError(f"{path}: below [draw] each line is a name and a list to draw from, such as r = [4, 8, 16]")
    return {key: random.Random(_digest(name, key)).choice(each) for key, each in lists.items()}


def load(path: Path) -> list[str]:
    """Register the checks of a folder, or of one file of them, and say of which tasks they are.

    They are code of the instructor's, and run here.

    Raises:
        FileNotFoundError: there are none.
        ValueError: a file fails, or checks a task of the course.
    """
    files = sorted((path / "checks").glob("*.py")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise FileNotFoundError(f"no checks in {path}: give a file of them, or a folder that holds checks/*.py")
    before = set(tasks.load())
    drawn.clear()
    drawn.update(values(path) if path.is_dir() else {})
    for file in files:
        try:
            _run(file)
        except Exception as error:  # whatever the file does
            raise ValueError(f"{file} fails: {type(error).__name__}: {first_line(error)}") from error
    return sorted(tasks.registered() - before)


def _run(file: Path) -> None:
    """As a module that stays, under a name that no other has."""
    name = f"checks_{_digest(str(file.resolve()), 'module')}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _digest(name: str, key: str) -> str:
    return hashlib.sha256(f"{name}\n{key}".encode()).hexdigest()[:16]
