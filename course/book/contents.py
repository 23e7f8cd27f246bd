"""Which pages the book has, and in which order: the parts, lessons, exercises and documents of the syllabus."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

TEACHING = ("grading", "instructor_guide")  # documents for who teaches; the others are for everybody
_SYLLABUS = PurePosixPath("course/syllabus.md")
_PART = re.compile(r"^\| \*\*(\w+)\*\* \| \*\*(.+?)\*\*", re.MULTILINE)
_LESSON = re.compile(r"^\| (\d\d) \| \[(.+?)\]\(workbook/(\w+)\.ipynb\)", re.MULTILINE)
_EXERCISE = re.compile(r"^\| (\d\d) \| \[(.+?)\]\(\.\./exercises/(\w+)\.ipynb\)", re.MULTILINE)
_DOCUMENT = re.compile(r"\]\((\w+)\.md\)")


@dataclass(frozen=True)
class Entry:
    """A page: its file, relative to the repository and to the book alike, and its title; without one, its heading."""

    file: PurePosixPath
    title: str = ""


@dataclass(frozen=True)
class Part:
    """Pages under one caption."""

    caption: str
    entries: tuple[Entry, ...]


def parts(root: Path) -> list[Part]:
    """The whole book but its first page and the library's, in order.

    Raises:
        ValueError: for a lesson, an exercise or a document without its place in the syllabus.
    """
    text = (root / _SYLLABUS).read_text(encoding="utf-8")
    documents = [name for name in dict.fromkeys(_DOCUMENT.findall(text)) if (root / f"course/{name}.md").is_file()]
    documents += sorted({path.stem for path in (root / "course").glob("*.md")} - {*documents, _SYLLABUS.stem})
    found = [
        Part("The course", (Entry(_SYLLABUS),)),
        *_lessons(text),
        Part("Exercises", _entries(_EXERCISE, text, "exercises")),
        Part("To look up", tuple(Entry(_document(name)) for name in documents if name not in TEACHING)),
        Part("For who teaches", tuple(Entry(_document(name)) for name in documents if name in TEACHING)),
    ]
    _refuse_forgotten(root, {entry.file for part in found for entry in part.entries})
    return [part for part in found if part.entries]


def tree(part: Part) -> str:
    """A part as Sphinx's table of contents."""
    rows = []
    for entry in part.entries:
        page = entry.file.with_suffix("")
        rows.append(f"{entry.title} </{page}>" if entry.title else f"/{page}")
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {part.caption}", "", *rows, "```", ""])


def _lessons(text: str) -> list[Part]:
    """The lessons under each row of the table that opens a part, such as "| **I** | **Rank** |"."""
    opened = list(_PART.finditer(text))
    ends = [part.start() for part in opened[1:]] + [len(text)]
    return [
        Part(f"{part[1]} {part[2]}", _entries(_LESSON, text[part.end() : end], "notebooks"))
        for part, end in zip(opened, ends, strict=True)
    ]


def _entries(rows: re.Pattern[str], text: str, folder: str) -> tuple[Entry, ...]:
    return tuple(
        Entry(PurePosixPath(folder, f"{name}.ipynb"), f"{number} {title}") for number, title, name in rows.findall(text)
    )


def _document(name: str) -> PurePosixPath:
    return PurePosixPath("course", f"{name}.md")


def _refuse_forgotten(root: Path, there: set[PurePosixPath]) -> None:
    for folder in ("notebooks", "exercises"):
        for path in sorted((root / folder).glob("*.ipynb")):
            if PurePosixPath(folder, path.name) not in there:
                raise ValueError(f"course/syllabus.md has no row for {folder}/{path.name}: add one, and it is a page")
