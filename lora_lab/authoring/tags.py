"""What the tags of a master say about the whole lesson; what is malformed is refused with the line of the master.

`guess:NAME`, `turn:NAME` and `hint:NAME` are in tasks.py. A turn's check is a cell tagged `check:NAME`. A section opens
with its heading in a markdown cell tagged `minutes:N`. Further tags: `reveal` (a cell whose result answers a guess: its
source is folded), `assert`, `optional`, `slide`, and nbval's.

In an exercise each turn has a markdown cell `task:NAME` above it, which says what to write, and the opening cell
carries `allow:ROOM` for each room of the library that an answer may import where it is graded.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lora_lab.authoring.gaps import Gap
from lora_lab.authoring.percent import Cell
from lora_lab.authoring.tasks import Guess, Stated, Turn, guesses, hints, names, refused, stated, turn

NAMED = ("guess", "turn", "check", "hint", "task")  # tags that carry a task's name
_KIND = {"guess": "code", "turn": "code", "check": "code", "hint": "markdown", "minutes": "markdown",
         "reveal": "code", "assert": "code", "task": "markdown", "allow": "markdown"}  # fmt: skip
_NAME = re.compile(r"[A-Za-z_]\w{0,39}", re.ASCII)  # it becomes a cell's id
_PLAIN = ("optional", "slide", "nbval-ignore-output", "nbval-skip", "nbval-check-output", "raises-exception")


@dataclass(frozen=True)
class Section:
    """A heading and the minutes that a person needs from there to the next."""

    title: str
    minutes: int


@dataclass
class Lesson:
    """What the tags of one master say."""

    title: str
    sections: list[Section] = field(default_factory=list)
    guesses: dict[str, Guess] = field(default_factory=dict)
    turns: dict[str, Turn] = field(default_factory=dict)


@dataclass
class Exercise(Lesson):
    """What the tags of an exercise's master say: `allow` names the rooms that its answers may import."""

    allow: list[str] = field(default_factory=list)
    tasks: dict[str, Stated] = field(default_factory=dict)


def read(cells: list[Cell], about: type[Lesson] = Lesson) -> Lesson:
    """What the tags of a master say, of a lesson or of an exercise.

    Raises:
        ValueError: something is malformed; the sentence begins with the line of the master.
    """
    lesson = about(cells[0].source.split("\n")[0].lstrip("# ") if cells else "")
    checked: set[str] = set()
    for cell in cells:
        _refuse_unknown_tags(cell)
        section = len(lesson.sections) - 1 if lesson.sections else None
        for minutes in names(cell, "minutes"):
            lesson.sections.append(_section(cell, minutes))
        for guess in guesses(cell, section):
            _add(lesson.guesses, guess.name, guess, cell, "guess")
        for name in _at_most_one(cell, "turn"):
            _add(lesson.turns, name, turn(cell, name, section), cell, "turn")
        for name in _at_most_one(cell, "check"):
            _refuse_check(cell, name, lesson, checked)
            checked.add(name)
        for name in _at_most_one(cell, "hint"):
            if name not in lesson.turns:
                raise refused(cell, f"hint:{name} has no turn:{name} above it")
            lesson.turns[name].hints += hints(cell)
        _read_task(cell, lesson)
    for cell in cells:
        for name in names(cell, "turn"):
            if name not in checked:
                raise refused(cell, f'turn:{name} has no check: add a cell tagged "check:{name}" below it')
            if isinstance(lesson, Exercise) and name not in lesson.tasks:
                raise refused(cell, f'turn:{name} has no task: add a markdown cell tagged "task:{name}" above it')
    return lesson


def gaps(cell: Cell, lesson: Lesson) -> list[Gap]:
    """What the learner fills in in this cell, from top to bottom."""
    typed = [gap for name in names(cell, "turn") for gap in lesson.turns[name].gaps]
    guessed = [guess.gap for guess in lesson.guesses.values() if guess.name in names(cell, "guess")]
    return [*typed, *guessed]


def refuse_repeated(masters: Mapping[str, list[Cell]]) -> None:
    """Raises ValueError for a name that stands twice in the course: hints and progress are found by it."""
    owner: dict[str, str] = {}
    for master, cells in masters.items():
        for cell in cells:
            for name in (*names(cell, "guess"), *names(cell, "turn")):
                if name in owner:
                    where = f"is a name in {owner[name]} already: names are unique over the course"
                    raise ValueError(f"{master}: {refused(cell, f'{name!r} {where}')}")
                owner[name] = master


def _read_task(cell: Cell, lesson: Lesson) -> None:
    """What only an exercise has: its tasks' statements, and the rooms that answers may import."""
    tagged, allowed = _at_most_one(cell, "task"), names(cell, "allow")
    if not isinstance(lesson, Exercise):
        if tagged or allowed:
            raise refused(cell, f"the tag '{'task' if tagged else 'allow'}' stands in an exercise only")
        return
    if not all(map(_NAME.fullmatch, allowed)):
        raise refused(cell, "allow: names a room of the library, as in allow:lowrank")
    lesson.allow += allowed
    for name in tagged:
        if name in lesson.turns:
            raise refused(cell, f"task:{name} stands above turn:{name}")
        _add(lesson.tasks, name, stated(cell, name), cell, "task")


def _section(cell: Cell, minutes: str) -> Section:
    if not cell.source.startswith("## "):
        raise refused(cell, f"minutes:{minutes} stands on the cell that opens a section, with '## ' and its heading")
    if not minutes.isdecimal() or int(minutes) < 1:
        raise refused(cell, f"minutes:{minutes}: a whole number of minutes, at least 1")
    return Section(cell.source.split("\n")[0].removeprefix("## ").strip(), int(minutes))


def _refuse_check(cell: Cell, name: str, lesson: Lesson, checked: set[str]) -> None:
    if name not in lesson.turns:
        raise refused(cell, f"check:{name} has no turn:{name} above it")
    if name in checked:
        raise refused(cell, f"check:{name} stands there twice")
    if f'{name} = check("{name}", {name})' not in cell.source.split("\n"):
        raise refused(cell, f"check:{name} wants the line '{name} = check(\"{name}\", {name})'")


def _refuse_unknown_tags(cell: Cell) -> None:
    known = [*_KIND, *_PLAIN]
    for tag in cell.tags:
        kind, colon, name = tag.partition(":")
        if kind in _KIND and cell.kind != _KIND[kind]:
            raise refused(cell, f"the tag {tag!r} stands on a {_KIND[kind]} cell")
        if kind in NAMED and not _NAME.fullmatch(name):
            raise refused(cell, f"the tag {tag!r} wants a name: {kind}:NAME, as in Python, of at most 40 plain letters")
        if kind not in known and (near := difflib.get_close_matches(kind, known, 1, 0.75)):
            raise refused(cell, f"unknown tag {tag!r}: did you mean {near[0]!r}?")
        if kind not in (*NAMED, "minutes", "allow") and kind in known and colon:
            raise refused(cell, f"the tag {tag!r} takes no name: {kind!r} alone")
    markers = [line.strip()[:2] for line in cell.source.split("\n")] if cell.kind == "code" else []
    if {"#>", "#<"} & set(markers) and not names(cell, "turn"):
        raise refused(cell, "'#>' and '#<' belong into a cell tagged \"turn:NAME\"")


def _at_most_one(cell: Cell, kind: str) -> list[str]:
    found = names(cell, kind)
    if len(found) > 1:
        raise refused(cell, f"one {kind} a cell, not {' and '.join(found)}")
    return found


def _add(where: dict, name: str, what: object, cell: Cell, kind: str) -> None:
    if name in where:
        raise refused(cell, f"{kind}:{name} stands there twice: names are unique over the course")
    where[name] = what
