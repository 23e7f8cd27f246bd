"""The masters of a course, and the files that each of them gives."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from lora_lab import disk
from lora_lab.authoring import editions, tags
from lora_lab.authoring.editions import EXERCISE, LESSON, Kind
from lora_lab.authoring.percent import Cell, parse

KINDS = (LESSON, EXERCISE)


@dataclass(frozen=True)
class Page:
    """One master and the files that it gives."""

    root: Path
    name: str
    kind: Kind = LESSON

    @property
    def label(self) -> str:
        """What it is called on the command line: "01_svd" for a lesson, "exercises/01_svd" for an exercise."""
        return self.name if self.kind is LESSON else f"{Path(self.kind.masters).name}/{self.name}"

    @property
    def master(self) -> Path:
        return self.root / self.kind.masters / f"{self.name}.py"

    @property
    def notebook(self) -> Path:
        """The complete one."""
        return self.root / self.kind.complete / f"{self.name}.ipynb"

    @property
    def workbook(self) -> Path:
        """The learner's."""
        return self.root / self.kind.learners / f"{self.name}.ipynb"

    @property
    def generated(self) -> Path:
        return self.root / self.kind.generated / f"{self.name}.json"

    def read(self) -> tuple[list[Cell], tags.Lesson]:
        """The master. Raises ValueError with its path and the line."""
        try:
            cells = parse(self.master.read_text(encoding="utf-8"))
            return cells, tags.read(cells, self.kind.about)
        except ValueError as error:
            raise ValueError(f"{self.master.relative_to(self.root)}: {error}") from None

    def sources(self) -> "Sources":
        """The editions as the master says, without outputs. Raises ValueError with the master's path and the line."""
        cells, lesson = self.read()
        try:
            notebook = editions.notebook(cells, self.name, repository(self.root), self.kind)
        except ValueError as error:
            raise ValueError(f"{self.master.relative_to(self.root)}: {error}") from None
        workbook = editions.workbook(notebook, lesson, self.kind)
        return Sources(lesson, notebook, workbook, editions.generated(lesson))


@dataclass(frozen=True)
class Sources:
    """What a master says: its tags, and its three editions without outputs."""

    lesson: tags.Lesson
    notebook: NotebookNode
    workbook: NotebookNode
    generated: str


def pages(root: Path) -> list[Page]:
    """Every master, lessons first, in the order of their names."""
    return [Page(root, path.stem, kind) for kind in KINDS for path in sorted((root / kind.masters).glob("*.py"))]


def choose(root: Path, names: list[str]) -> list[Page]:
    """The masters with these names, or all; ValueError for a name that none has."""
    every = pages(root)
    wanted = {name.removesuffix(".py") for name in names}
    if unknown := sorted(wanted - {page.label for page in every}):
        raise ValueError(f"no master named {', '.join(unknown)}; there are: {', '.join(page.label for page in every)}")
    return [page for page in every if not wanted or page.label in wanted]


def masters(root: Path) -> dict[str, list[Cell]]:
    """The cells of every master that is in the percent format, by its path."""
    found = {}
    for page in pages(root):
        try:
            found[str(page.master.relative_to(root))] = parse(page.master.read_text(encoding="utf-8"))
        except ValueError:  # is reported where that page is built or checked
            continue
    return found


def stored(path: Path) -> NotebookNode | None:
    """A notebook as it lies in its folder. Raises ValueError for one that is damaged, as by a merge."""
    try:
        return nbformat.read(path, as_version=4) if path.exists() else None
    except (nbformat.ValidationError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no notebook any more: delete it and build it again") from error


def as_json(notebook: NotebookNode) -> str:
    """A notebook as it is written."""
    return nbformat.writes(notebook) + "\n"


def write(path: Path, text: str) -> bool:
    """Write a whole file or none; say whether it changed."""
    if path.exists() and path.read_bytes() == text.encode():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with disk.atomic_path(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
    return True


def repository(root: Path) -> dict[str, str]:
    """The address and the ref that badges and set-up cells point to."""
    return tomllib.loads((root / "course" / "repository.toml").read_text(encoding="utf-8"))
