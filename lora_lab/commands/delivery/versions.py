"""What identifies one version of a file: enough to see who has changed what, without keeping the file."""

import ast
import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any

from lora_lab.commands.delivery import notebooks


@dataclass(frozen=True)
class Version:
    """One version of a lesson or a document.

    Attributes:
        file: of its bytes.
        cells: of the text of each cell, without those that the build adds; of a document, of the whole.
        frame: of those that the build adds.
        tasks: what stands in the place of each guess ("guess:energy": its question) and turn ("turn:lora_forward":
            its stub).
    """

    file: str
    cells: tuple[str, ...]
    frame: tuple[str, ...]
    tasks: dict[str, str]

    @classmethod
    def of(cls, name: str, content: bytes) -> "Version":
        """Of a file's content. Raises ValueError for a notebook that is none."""
        file = hashlib.sha256(content).hexdigest()
        if not name.endswith(".ipynb"):
            return cls(file, (file,), (), {})
        notebook = notebooks.read(content)
        of_kind: dict[bool, list[str]] = {True: [], False: []}
        for cell in notebooks.cells(notebook):
            of_kind[notebooks.is_frame(cell)].append(notebooks.digest(cell))
        return cls(file, tuple(of_kind[False]), tuple(of_kind[True]), _starts(notebook))

    @classmethod
    def read(cls, stored: Any) -> "Version":
        """What `as_json` wrote. Raises ValueError for anything else."""
        if not isinstance(stored, dict) or stored.keys() != {"file", "cells", "frame", "tasks"}:
            raise ValueError("a version is not as it should be")
        file, cells, frame, tasks = (stored[key] for key in ("file", "cells", "frame", "tasks"))
        texts = [file, *_listed(cells), *_listed(frame), *(tasks.values() if isinstance(tasks, dict) else [None])]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a version is not as it should be")
        return cls(file, tuple(cells), tuple(frame), tasks)

    def as_json(self) -> dict[str, Any]:
        """What `read` takes."""
        return asdict(self)

    def reads_as(self, other: "Version") -> bool:
        """Whether a reader would call them the same: outputs, ids and metadata may differ."""
        return (self.cells, self.frame) == (other.cells, other.frame)


def question(notebook: notebooks.Notebook, name: str) -> str | None:
    """The comment beside a guess, in whichever cell it stands; None if there is no such guess."""
    found = [guess_line(notebooks.source(cell), name) for cell in notebooks.cells_of(notebook, "guess", name)]
    return next((match["question"] or "" for match in found if match), None)


def guess_line(text: str, name: str) -> "re.Match[str] | None":
    """The last line `NAME = VALUE  # QUESTION` of a cell: groups "value" and "question"."""
    line = rf"^{name}[ \t]*=(?!=)[ \t]*(?P<value>[^#\n]*?)[ \t]*(?:#[ \t]*(?P<question>.*?)[ \t]*)?$"
    return next(reversed(list(re.finditer(line, text, re.MULTILINE))), None)


def same_code(one: str, other: str) -> bool:
    """Whether two texts are the same but for comments and layout."""
    try:
        return ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))
    except (SyntaxError, ValueError, RecursionError):  # cells may hold what only IPython understands
        return one == other


def _starts(notebook: notebooks.Notebook) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, name in notebooks.tasks(notebook):
        if kind == "guess" and (asked := question(notebook, name)) is not None:
            found[f"guess:{name}"] = asked
        if kind == "turn" and (stub := notebooks.cells_of(notebook, kind, name)):
            found[f"turn:{name}"] = notebooks.source(stub[0])
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]
