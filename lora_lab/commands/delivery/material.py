"""Where the course's own files lie, and which of them a learner gets.

In a checkout they lie beside the package; a wheel carries them within it, in the same order. `setup.py` runs this file
to know what a wheel needs, so it imports nothing but the standard library.
"""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PACKAGE = Path(__file__).resolve().parents[2]
SHIPPED = "material"  # the package's folder for it, in a wheel only
WORKBOOK, EXECUTED, DOCUMENTS = PurePosixPath("course/workbook"), PurePosixPath("notebooks"), PurePosixPath("course")
EXERCISES, SOLVED = PurePosixPath("exercises"), PurePosixPath("solutions")
CONSTRAINTS = PurePosixPath("constraints.txt")
TEACHING = ("instructor_guide.md", "polls.html", "poll_answers.html")
"""What is for instructors: it tells what lessons let learners guess."""
_LINK = re.compile(r"\]\(([\w./-]+)")  # within the project: no address, no heading
_BEFORE = rb"""((?:\]\(|(?:href|src)=\\?["']))"""  # what stands before a link, in markdown and in a notebook's file
_TO_COURSE, _TO_NOTEBOOKS, _TO_EXERCISES = (
    re.compile(_BEFORE + rb"\.\./" + name + b"/") for name in (b"course", b"notebooks", b"exercises")
)


@dataclass(frozen=True)
class Item:
    """One file that a learner gets.

    Attributes:
        name: where it goes in the learner's folder, as "workbook/00_start_here.ipynb".
        source: where it lies.
    """

    name: str
    source: Path

    @property
    def is_executed(self) -> bool:
        """Whether it is a lesson or an exercise with its answers and outputs."""
        return self.name.startswith((f"{EXECUTED.name}/", f"{SOLVED.name}/"))

    @property
    def has_answers(self) -> bool:
        """Whether it comes only into the folder of who asks for solutions."""
        return self.is_executed or self.name in TEACHING

    def content(self) -> bytes:
        """The file, with links that lead from where it goes."""
        content = self.source.read_bytes()
        if self.is_executed or self.name.startswith(f"{EXERCISES.name}/"):
            return _TO_COURSE.sub(rb"\1../", content)
        if self.name.endswith(".md"):
            return _TO_EXERCISES.sub(rb"\1exercises/", _TO_NOTEBOOKS.sub(rb"\1workbook/", content))
        return content


def root() -> Path:
    """The folder that holds `course` and `notebooks`: in the package if it came in a wheel, else the checkout's.

    Raises:
        FileNotFoundError: if there is none.
    """
    for place in (PACKAGE / SHIPPED, PACKAGE.parent):
        if (place / WORKBOOK).is_dir():
            return place
    raise FileNotFoundError(
        f"no lessons in {PACKAGE / SHIPPED} and none beside {PACKAGE}: install lora_lab again, or work in its checkout"
    )


def items(root: Path) -> list[Item]:
    """What a learner can get, in the order of names: lessons and exercises to work in, executed ones, documents."""
    return [Item(_place(file), root / file) for file in files(root) if file.suffix not in (".toml", ".txt")]


def files(root: Path) -> list[PurePosixPath]:
    """The material's files, relative to its root: both editions of lessons and exercises, the documents, and what they
    link to in `course`."""
    found = {
        *_below(root, WORKBOOK, "*.ipynb"),
        *_below(root, EXECUTED, "*.ipynb"),
        *_below(root, EXERCISES, "*.ipynb"),
        *_below(root, SOLVED, "*.ipynb"),
        *_below(root, DOCUMENTS, "*.md"),
        *_below(root, DOCUMENTS, "repository.toml"),  # what an instructor's own notebooks install
        *_below(root, PurePosixPath(), CONSTRAINTS.name),  # the versions that were tested, which a classroom installs
    }
    return sorted(found | {linked for file in found for linked in _linked(root, file)})


def _below(root: Path, folder: PurePosixPath, pattern: str) -> Iterator[PurePosixPath]:
    return (folder / path.name for path in (root / folder).glob(pattern) if path.is_file())


def _linked(root: Path, file: PurePosixPath) -> Iterator[PurePosixPath]:
    for target in _LINK.findall((root / file).read_text(encoding="utf-8")):
        linked = PurePosixPath(posixpath.normpath(file.parent / target))
        if linked.is_relative_to(DOCUMENTS) and (root / linked).is_file():
            yield linked


def _place(file: PurePosixPath) -> str:
    """`course` becomes the learner's folder, so that what links within it links within the learner's."""
    return str(file.relative_to(DOCUMENTS) if file.is_relative_to(DOCUMENTS) else file)
