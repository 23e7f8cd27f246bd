"""What is graded: an exercise with its tasks and points, and the checks that judge them.

The course's own exercises are read from what their masters generated; an instructor's private ones from the folder that
`lora-lab exercises build` made, or from one Python file with checks. Nothing of it is executed here.
"""

import ast
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lora_lab
from lora_lab import disk, ranges
from lora_lab.disk.names import refuse_no_name, require_file
from lora_lab.units import command_line

COURSE = Path(lora_lab.__file__).parent / "exercises"
_GENERATED = COURSE / "generated" / "exercises"
BUILT, CHECKS = "built", "checks"  # the folders in an instructor's folder
_CLOSED = ("exercises", "grading", "authoring", "commands")
_MOST_SOURCE = 10_000_000


@dataclass(frozen=True)
class Exercise:
    """One notebook's tasks.

    Attributes:
        name: as in "01_svd".
        title: its heading.
        tasks: their names, in the notebook's order.
        allow: the rooms of the library that answers may import.
        points: what each task earns.
        stubs: by task, the cell in which nothing has been typed yet.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    allow: frozenset[str]
    points: dict[str, float]
    stubs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sources:
    """The code of checks, as text, so that it can be sent to where they are used.

    Attributes:
        files: names and texts of an instructor's own; none for the course's.
        digest: changes whenever a verdict might.
        drawn: what they are about, as it was drawn for the class.
    """

    files: tuple[tuple[str, str], ...]
    digest: str
    drawn: dict[str, Any] = field(default_factory=dict)


def course() -> tuple[list[Exercise], Sources]:
    """The course's exercises, with its checks."""
    return _built(_GENERATED, "install the course again")[0], Sources((), digest_of_course())


def private(path: str | Path) -> tuple[list[Exercise], Sources]:
    """An instructor's exercises: a folder that was built, or a Python file with checks.

    A file's tasks are one exercise, in the order in which they stand there. Its constants `ALLOW`, names of rooms, and
    `POINTS`, by task, may say more; where it has none, what the course says of tasks of these names holds.

    Raises:
        OSError: if there is nothing of that name, or it cannot be read.
        ValueError: for a folder that was not built, or a file without checks.
    """
    refuse_no_name(path)
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"there is no '{path}': give a Python file with checks, or a folder that was built")
    drawn: dict[str, Any] = {}
    if place.is_dir():
        way_out = f"run `{command_line(['lora-lab', 'exercises', 'build', str(path)])}` first"
        if not (place / BUILT).is_dir():
            raise ValueError(f"'{path}' has no folder '{BUILT}', so it is none that was built: {way_out}")
        exercises, drawn = _built(place / BUILT, way_out)
        files = tuple((file.stem, _text(file)) for file in sorted((place / CHECKS).glob("*.py")))
    else:
        files = ((place.stem, _text(place)),)
        exercises = [_of_source(place, files[0][1])]
    defined = {task for name, source in files for task in _tasks_of(_parsed(name, source))}
    known = defined | {task for exercise in _of_course() for task in exercise.tasks}
    if lacking := [task for exercise in exercises for task in exercise.tasks if task not in known]:
        raise ValueError(
            f"no file in {place / CHECKS} checks {ranges.first(lacking)}: write @task functions of this name"
        )
    text = json.dumps([digest_of_course(), files, drawn], sort_keys=True)
    return exercises, Sources(files, hashlib.sha256(text.encode()).hexdigest(), drawn)


def _built(folder: Path, way_out: str) -> tuple[list[Exercise], dict[str, Any]]:
    """What the JSON files of a folder say, in the order of their names, and what was drawn for the class."""
    found = [(file, disk.read_json(file, way_out)) for file in sorted(folder.glob("*.json"))]
    found = [(file, said) for file, said in found if said.get("tasks")]
    if not found:
        raise ValueError(f"'{folder}' holds no exercise: {way_out}")
    drawn = [said.get("drawn", {}) for _, said in found]
    if any(each != drawn[0] or not isinstance(each, dict) for each in drawn):
        raise ValueError(f"the exercises in '{folder}' were drawn for several classes: {way_out}")
    exercises = [_of_json(file, said, way_out) for file, said in found]
    owner: dict[str, str] = {}
    for exercise in exercises:
        for task in exercise.tasks:
            if owner.setdefault(task, exercise.name) != exercise.name:
                raise ValueError(f"the task {task!r} is in {owner[task]} and in {exercise.name}: rename one of them")
    return exercises, drawn[0]


def _of_course() -> list[Exercise]:
    """The course's exercises, if there are any."""
    return course()[0] if any(_GENERATED.glob("*.json")) else []


def _of_json(file: Path, said: dict[str, Any], way_out: str) -> Exercise:
    try:
        tasks = {str(name): float(task.get("points", 1)) for name, task in said.get("tasks", {}).items()}
        allow = _rooms(said.get("allow", ()))
        points = {name: ranges.real(f"points of {name}", value, least=0) for name, value in tasks.items()}
        stubs = {name: str(turn["stub"]) for name, turn in said.get("turns", {}).items() if turn.get("stub")}
        return Exercise(file.stem, str(said.get("title", file.stem)), tuple(tasks), allow, points, stubs)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is damaged ({error}): {way_out}") from error


def _of_source(file: Path, source: str) -> Exercise:
    """The exercise that one file of checks is."""
    tree = _parsed(str(file), source)
    tasks = tuple(_tasks_of(tree))
    if not tasks:
        raise ValueError(f"'{file}' has no check: write functions with @task(reference=...), as the guide shows")
    said = _constants(file, tree)
    ours = [each for each in _of_course() if set(each.tasks) & set(tasks)] if "ALLOW" not in said else []
    allow = _rooms(said.get("ALLOW", ())).union(*(each.allow for each in ours))
    points = dict.fromkeys(tasks, 1.0)
    points |= {task: each.points[task] for each in ours for task in each.tasks if task in points}
    stubs = {task: stub for each in _of_course() for task, stub in each.stubs.items() if task in points}
    for task, value in dict(said.get("POINTS", {})).items():
        if task not in points:
            raise ValueError(f"'{file}': POINTS names {ranges.brief(task)}, which it has no check of")
        points[task] = ranges.real(f"POINTS of {task}", value, least=0)
    return Exercise(file.stem, file.stem, tasks, allow, points, stubs)


def _constants(file: Path, tree: ast.Module) -> dict[str, Any]:
    """`ALLOW` and `POINTS`, which must be written out, because nothing is executed."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("ALLOW", "POINTS"):
                try:
                    found[name] = ast.literal_eval(node.value)
                except ValueError:
                    raise ValueError(f"'{file}', line {node.lineno}: write {name} out, without calls") from None
                if not isinstance(found[name], (dict,) if name == "POINTS" else (tuple, list, set)):
                    raise ValueError(f"'{file}': {name} must be {'{task: points}' if name == 'POINTS' else 'a tuple'}")
    return found


def _rooms(names: Iterable[object]) -> frozenset[str]:
    """Rooms of the library that answers may import."""
    there = {file.name.removesuffix(".py") for file in COURSE.parent.iterdir() if file.name[0] not in "_."}
    for name in names:
        if name not in there:
            raise ValueError(f"{ranges.brief(name)} is allowed to answers, and is no room of lora_lab")
        if name in _CLOSED:
            raise ValueError(f"the room {name!r} holds the answers, or marks them, and is allowed to none")
    return frozenset(map(str, names))


def _tasks_of(tree: ast.Module) -> list[str]:
    """The functions of a module that are decorated with a call of `task`."""
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any("task" in (getattr(each.func, "id", ""), getattr(each.func, "attr", ""))
                for each in node.decorator_list if isinstance(each, ast.Call))
    ]  # fmt: skip


def _parsed(name: str, source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"'{name}'{where} is no Python ({error.args[0]}): run it once yourself") from error


def _text(file: Path) -> str:
    require_file(file, "give a Python file with checks")
    try:
        if file.stat().st_size > _MOST_SOURCE:
            raise ValueError(f"'{file}' has over {_MOST_SOURCE:,} bytes: give a Python file with checks")
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{file}' is not in UTF-8 ({error.reason}): give a Python file with checks") from error
    except OSError as error:
        raise OSError(f"'{file}' cannot be read ({error.strerror}): make it readable") from error


def digest_of_course() -> str:
    """Of all that a verdict depends on beside the version: how answers are checked, and how they are judged."""
    digest = hashlib.sha256()
    for folder in (COURSE, Path(__file__).parent):
        for file in sorted(folder.rglob("*.py")):
            digest.update(f"{file.relative_to(folder.parent).as_posix()}\0".encode())
            digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()
