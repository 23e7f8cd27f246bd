"""What a lesson says of itself, as an instructor needs it: nothing here is typed, all is read where it stands.

Sections, minutes, guesses, turns and hints come from the master, by way of what course/build.py generates; what was
measured from the outputs of the executed notebook; seconds and memory from the record of course/records/classroom.py.
"""

import html
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import dropwhile
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from teaching import pace

from lora_lab import records
from lora_lab.exercises import lessons

ROOT = Path(__file__).resolve().parents[2]

_ROW = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)
_CELL = re.compile(r"<t[dh][^>]*>(.*?)</t[dh]>", re.DOTALL)


@dataclass(frozen=True)
class Section:
    """A section: its heading, minutes for a person, minutes of a brisk walk through it, processor seconds of its cells,
    what is guessed and typed in it."""

    title: str
    minutes: int
    brisk: float
    seconds: float
    guesses: tuple[str, ...]
    turns: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """A guess: what is asked, in which section (from 1), what was measured, and typical wrong values."""

    name: str
    question: str
    section: int
    measured: str
    wrong: tuple[tuple[float, str], ...]

    @property
    def value(self) -> float:
        """What was measured, as a number."""
        return float(self.measured.replace(",", ""))


@dataclass(frozen=True)
class Facts:
    """One lesson. `helps` are turns and their hints that begin with "Help, "; `tasks` the exercise's, with minutes."""

    name: str
    title: str
    builds_on: str
    sections: tuple[Section, ...]
    asked: tuple[Asked, ...]
    helps: tuple[tuple[str, str], ...]
    tasks: tuple[tuple[str, int], ...]
    peak_bytes: int
    longest_cell: float

    @property
    def number(self) -> str:
        return self.name[:2]

    @property
    def minutes(self) -> int:
        return sum(section.minutes for section in self.sections)

    @property
    def brisk(self) -> float:
        return sum(section.brisk for section in self.sections)

    @property
    def seconds(self) -> float:
        return sum(section.seconds for section in self.sections)


@lru_cache
def every() -> tuple[Facts, ...]:
    """All lessons, in their order."""
    exercises = {exercise.name[:2]: exercise for exercise in lessons.exercises()}
    return tuple(_facts(lesson, exercises[lesson.name[:2]]) for lesson in lessons.every())


def real_peak() -> int:
    """Bytes of a kernel at its peak in the one lesson that runs on the real model without a GPU, 13."""
    (row,) = records.tried("classroom", model="smollm2")
    peak: int = row["peak_bytes"]
    return peak


def measured(notebook: NotebookNode) -> dict[str, str]:
    """Question -> what was measured, from every table of guesses among the outputs of an executed notebook."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            rows = [_CELL.findall(row) for row in _ROW.findall(output.get("data", {}).get("text/html", ""))]
            if rows and rows[0][:3] == ["what was guessed", "your guess", "measured"]:
                found |= {html.unescape(row[0]): html.unescape(row[2]) for row in rows[1:]}
    return found


def builds_on(notebook: NotebookNode) -> str:
    """What the table of the first cell says that the lesson builds on, without links."""
    lines = [line for line in notebook.cells[0].source.split("\n") if line.startswith("|")]
    names, _, values = ([part.strip() for part in line.strip("|").split("|")] for line in lines)
    table = dict(zip(names, values, strict=True))
    return re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", table["builds on"])


def _facts(lesson: lessons.Lesson, exercise: lessons.Lesson) -> Facts:
    notebook = nbformat.read(ROOT / "notebooks" / f"{lesson.name}.ipynb", as_version=4)
    (row,) = records.tried("classroom", lesson=lesson.name, model="embedded")
    told, cells = measured(notebook), by_section(notebook)
    asked = tuple(
        Asked(name, each["question"], each["section"] + 1, told[each["question"]], tuple(map(tuple, each["wrong"])))
        for name, each in lesson.guesses.items()
    )
    sections = []
    for number, each in enumerate(lesson.sections):
        guesses, turns = _within(lesson.guesses, number), _within(lesson.turns, number)
        seconds = sum(row["seconds"].get(cell.id, 0) for cell in cells[number])
        hands = pace.of_hands(len(guesses), [lesson.turns[name] for name in turns])
        taught = dropwhile(lambda cell: not _opens(cell), cells[number])  # without the first screen
        brisk = pace.of_cells(taught) + hands + seconds / 60
        sections.append(Section(each["title"], each["minutes"], brisk, seconds, guesses, turns))
    helps = tuple(
        (turn, hint["label"].removeprefix("Help, ").rstrip("."))
        for turn, each in lesson.turns.items()
        for hint in each["hints"]
        if hint["label"].startswith("Help, ")
    )
    tasks = tuple((task["title"].partition(". ")[2], task["minutes"]) for task in exercise.tasks.values())
    kernel = row["peak_bytes"], max(row["seconds"].values())
    return Facts(lesson.name, lesson.title, builds_on(notebook), tuple(sections), asked, helps, tasks, *kernel)


def by_section(notebook: NotebookNode) -> list[list[NotebookNode]]:
    """The cells of each section: what stands before the first counts to it, and the closing parts to none."""
    found: list[list[NotebookNode]] = [[]]
    for cell in notebook.cells:
        if _opens(cell) and any(map(_opens, found[-1])):
            found.append([])
        if cell.source.startswith("## What I can now decide"):
            break
        found[-1].append(cell)
    return found


def _opens(cell: NotebookNode) -> bool:
    return any(tag.startswith("minutes:") for tag in cell.metadata.get("tags", []))


def _within(named: dict, section: int) -> tuple[str, ...]:
    return tuple(name for name, each in named.items() if each["section"] == section)
