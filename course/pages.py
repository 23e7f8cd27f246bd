"""The masters of the course, and the files that each of them gives."""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import editions
import nbformat
import tags
from nbformat import NotebookNode
from percent import Cell, parse

MASTERS, GENERATED = "course/masters/lessons", "lora_lab/exercises/generated"


@dataclass(frozen=True)
class Page:
    """One master and the files that it gives."""

    root: Path
    name: str

    @property
    def master(self) -> Path:
        return self.root / MASTERS / f"{self.name}.py"

    @property
    def notebook(self) -> Path:
        return self.root / editions.NOTEBOOKS / f"{self.name}.ipynb"

    @property
    def workbook(self) -> Path:
        return self.root / editions.WORKBOOK / f"{self.name}.ipynb"

    @property
    def generated(self) -> Path:
        return self.root / GENERATED / f"{self.name}.json"

    def read(self) -> tuple[list[Cell], tags.Lesson]:
        """The master. Raises ValueError with its path and the line."""
        try:
            cells = parse(self.master.read_text(encoding="utf-8"))
            return cells, tags.read(cells)
        except ValueError as error:
            raise ValueError(f"{self.master.relative_to(self.root)}: {error}") from None

    def sources(self) -> "Sources":
        """The editions as the master says, without outputs. Raises ValueError with the master's path and the line."""
        cells, lesson = self.read()
        try:
            notebook = editions.notebook(cells, self.name, repository(self.root))
        except ValueError as error:
            raise ValueError(f"{self.master.relative_to(self.root)}: {error}") from None
        return Sources(lesson, notebook, editions.workbook(notebook, lesson), editions.generated(lesson))


@dataclass(frozen=True)
class Sources:
    """What a master says: its tags, and its three editions without outputs."""

    lesson: tags.Lesson
    notebook: NotebookNode
    workbook: NotebookNode
    generated: str


def pages(root: Path) -> list[Page]:
    """Every master, in the order of their names."""
    return [Page(root, path.stem) for path in sorted((root / MASTERS).glob("*.py"))]


def choose(root: Path, names: list[str]) -> list[Page]:
    """The masters with these names, or all; ValueError for a name that none has."""
    every = pages(root)
    wanted = {Path(name).stem for name in names}
    if unknown := sorted(wanted - {page.name for page in every}):
        raise ValueError(f"no master named {', '.join(unknown)}; there are: {', '.join(page.name for page in every)}")
    return [page for page in every if not wanted or page.name in wanted]


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
    except nbformat.reader.NotJSONError as error:
        raise ValueError(f"{path} is no notebook any more: delete it and run course/build.py") from error


def as_json(notebook: NotebookNode) -> str:
    """A notebook as it is written."""
    return nbformat.writes(notebook) + "\n"


def write(path: Path, text: str) -> bool:
    """Write a whole file or none; say whether it changed."""
    if path.exists() and path.read_bytes() == text.encode():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    os.replace(unfinished, path)
    return True


def repository(root: Path) -> dict[str, str]:
    """The address and the ref that badges and set-up cells point to."""
    return tomllib.loads((root / "course" / "repository.toml").read_text(encoding="utf-8"))
