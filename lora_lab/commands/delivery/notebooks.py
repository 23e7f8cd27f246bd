"""Notebook files: their cells, and the names of the guesses and turns in them.

A cell of a guess or a turn says its name in its id ("turn-lora_forward") and in its tags ("turn:lora_forward"). Editors
lose both, so the names are also known from the code that asks for them: `guesses(energy=energy)` and
`check("lora_forward", lora_forward)`.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from lora_lab.disk import parse_json

Cell = dict[str, Any]
Notebook = dict[str, Any]

_NAME = re.compile(r"(guess|turn)[-:](\w+)")
_GUESSES = re.compile(r"\bguesses\(([^()]*)\)")
_KEYWORD = re.compile(r"(\w+)\s*=")
_CHECK = re.compile(r"\bcheck\(\s*[\"'](\w+)[\"']")


def read(content: bytes) -> Notebook:
    """A notebook of format 4.

    Raises:
        ValueError: for anything else, with the reason.
    """
    notebook = parse_json(content.decode("utf-8-sig"), finite=False)
    found = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(found, list) or not all(map(_is_cell, found)):
        raise ValueError("it is no notebook of format 4")
    return notebook


def source(cell: Cell) -> str:
    """A cell's text, without what is blank at its end."""
    text = cell["source"]
    return (text if isinstance(text, str) else "".join(text)).rstrip()


def cells(notebook: Notebook) -> Iterator[Cell]:
    """The cells that hold something: JupyterLab adds an empty one where the last is run with Shift+Enter."""
    return (cell for cell in notebook["cells"] if source(cell))


def code(notebook: Notebook) -> Iterator[Cell]:
    """The cells of code that hold something."""
    return (cell for cell in cells(notebook) if cell["cell_type"] == "code")


def digest(cell: Cell) -> str:
    """What a reader would call the cell: its kind and text, not its outputs, its id or its metadata."""
    return hashlib.sha256(f"{cell['cell_type']}\n{source(cell)}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def is_frame(cell: Cell) -> bool:
    """Whether the build added the cell; a release changes its tag in it, and nothing that a learner works on."""
    text = source(cell)
    return (
        cell.get("id") in ("colab-badge", "set-up")
        or text.startswith("[![Open in Colab]")
        or text.startswith("#@title Set-up")
    )


def tasks(notebook: Notebook) -> list[tuple[str, str]]:
    """The guesses and turns of a notebook in its order, as ("guess", "energy") and ("turn", "lora_forward")."""
    found: dict[tuple[str, str], None] = {}
    for cell in code(notebook):
        text = source(cell)
        asked = [("guess", name) for call in _GUESSES.findall(text) for name in _KEYWORD.findall(call)]
        checked = [("turn", name) for name in _CHECK.findall(text)]
        found |= dict.fromkeys([*named(cell), *asked, *checked])
    return list(found)


def cells_of(notebook: Notebook, kind: str, name: str) -> list[Cell]:
    """The code of one guess or turn: cells that are named so, and cells that define it."""
    defines = re.compile(rf"^(?:(?:async )?def|class) {name}\b|^{name}\s*=(?!=)(?!\s*check\()", re.MULTILINE)
    return [cell for cell in code(notebook) if (kind, name) in named(cell) or defines.search(source(cell))]


def named(cell: Cell) -> list[tuple[str, str]]:
    """The guesses and turns that a cell's id and tags say it is."""
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    words = [cell.get("id"), *(tags if isinstance(tags, list) else [])]
    matches = [_NAME.fullmatch(word) for word in words if isinstance(word, str)]
    return list(dict.fromkeys((match[1], match[2]) for match in matches if match))


def _is_cell(cell: object) -> bool:
    if not isinstance(cell, dict) or cell.get("cell_type") not in ("code", "markdown", "raw"):
        return False
    text = cell.get("source")
    return isinstance(text, str) or (isinstance(text, list) and all(isinstance(line, str) for line in text))
