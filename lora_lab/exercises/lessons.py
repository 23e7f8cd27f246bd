"""What lessons and exercises say about their guesses, turns and sections; generated from their masters by
course/build.py."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from lora_lab import disk, ranges
from lora_lab.exercises.stopping import Stopped, unknown

FOLDER = Path(__file__).parent / "generated"


@dataclass(frozen=True)
class Lesson:
    """One lesson, or one exercise.

    Attributes:
        name: such as "03_lora_from_scratch".
        title: its heading.
        sections: each with `title` and `minutes`.
        guesses: by name, each with `question`, `value`, `wrong` (pairs: value, what it reveals), `section`.
        turns: by name, each with `solution`, `stub`, `hints` (each with `label` and `text`), `section`.
        tasks: of an exercise: by name, each with `title`, `difficulty`, `importance`, `minutes`, `points`.
        allow: of an exercise: the rooms of the library that answers may import where they are graded.
    """

    name: str
    title: str
    sections: list[dict[str, Any]]
    guesses: dict[str, dict[str, Any]]
    turns: dict[str, dict[str, Any]]
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    allow: list[str] = field(default_factory=list)


def every() -> list[Lesson]:
    """All lessons, in their order."""
    return list(_read(FOLDER))


def exercises() -> list[Lesson]:
    """All exercises, in their order."""
    return list(_read(FOLDER / "exercises"))


def lesson(number: str) -> Lesson:
    """The lesson whose name begins so, such as "03"; `Stopped` if there is none."""
    found = [each for each in every() if isinstance(number, str) and number and each.name.startswith(number)]
    if not found:
        known = ", ".join(each.name[:2] for each in every())
        raise Stopped(f"no lesson is numbered {ranges.brief(number)}: there are {known or 'none yet'}")
    return found[0]


def guess(name: str) -> dict[str, Any]:
    """What a guess is about; `Stopped`, with the nearest name, if there is none."""
    return _find("guess", name, {key: value for each in every() for key, value in each.guesses.items()})


def turn(name: str) -> dict[str, Any]:
    """What a turn is about; `Stopped`, with the nearest name, if there is none."""
    return _find("turn", name, {key: value for each in (*every(), *exercises()) for key, value in each.turns.items()})


def _find(kind: str, name: str, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if not isinstance(name, str) or name not in known:
        raise unknown(kind, name, known)
    return known[name]


@lru_cache
def _read(folder: Path) -> tuple[Lesson, ...]:
    files = sorted(folder.glob("*.json"))
    return tuple(Lesson(file.stem, **disk.read_json(file, "install the course again")) for file in files)
