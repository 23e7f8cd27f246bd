"""What is to be run of a submission: the code cells of a notebook, and the tasks that they are about."""

import json
import re
from dataclasses import dataclass
from typing import Any

BYTES = 32 * 2**20
CELLS = 2_000
CODE = 2 * 2**20  # characters of all code together

_TAG = re.compile(r"(?:turn|check):(\w{1,80})", re.ASCII)
_CALL = re.compile(r"""\bcheck\(\s*["'](\w{1,80})["']""", re.ASCII)


class Malformed(Exception):
    """A file that is no notebook that can be graded; the sentence says why, to whoever handed it in."""


@dataclass(frozen=True)
class Notebook:
    """A submission's code.

    Attributes:
        cells: the source of each code cell, in order.
        places: by task, the numbers of the cells that are about it.
    """

    cells: tuple[str, ...]
    places: dict[str, tuple[int, ...]]

    def defining(self, task: str) -> list[str]:
        """The cells in which something of the task's name is defined, other than what `check` returns."""
        begins = re.compile(rf"^(?:def|class) {task}\b|^{task}\s*=(?!=)(?!\s*check\()", re.MULTILINE)
        return [cell for cell in self.cells if begins.search(cell)]


def read(content: bytes) -> Notebook:
    """The code cells of a notebook, and where its tasks stand.

    A task is found by its tag and by the call `check("name"`, since editors and Colab lose tags. Nothing is asked of
    names, ids and other metadata.

    Raises:
        Malformed: this is no notebook of format 4, or one that is too large.
    """
    if len(content) > BYTES:
        raise Malformed(
            f"the file has {len(content):,} bytes, at most {BYTES:,} are read: clear its outputs and save it"
        )
    try:
        book = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Malformed("the file is no notebook: it is not written in UTF-8") from None
    except (ValueError, RecursionError):  # RecursionError: brackets within brackets
        raise Malformed("the file is no notebook: it is not JSON. Save it in Jupyter, and hand in the .ipynb") from None
    cells = book.get("cells") if isinstance(book, dict) else None
    if not isinstance(cells, list):
        old = isinstance(book, dict) and "worksheets" in book
        raise Malformed(
            "the notebook has an old format: open and save it in Jupyter" if old else "the file has no cells"
        )
    if len(cells) > CELLS:
        raise Malformed(f"the notebook has {len(cells):,} cells, at most {CELLS:,} are graded")
    return _notebook([cell for cell in cells if _kind(cell) == "code"])


def _notebook(cells: list[dict[str, Any]]) -> Notebook:
    sources = tuple(map(_source, cells))
    if sum(map(len, sources)) > CODE:
        raise Malformed(f"the notebook has over {CODE:,} characters of code")
    places: dict[str, list[int]] = {}
    for number, (cell, source) in enumerate(zip(cells, sources, strict=True)):
        for task in dict.fromkeys([*_tagged(cell), *_CALL.findall(source)]):
            places.setdefault(task, []).append(number)
    return Notebook(sources, {task: tuple(numbers) for task, numbers in places.items()})


def _kind(cell: object) -> str:
    kind = cell.get("cell_type") if isinstance(cell, dict) else None
    if not isinstance(kind, str):
        raise Malformed("the notebook has a cell that is none: it has no cell_type")
    return kind


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source")
    lines = [source] if isinstance(source, str) else source
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise Malformed("the notebook has a code cell whose source is no text")
    return "".join(lines)


def _tagged(cell: dict[str, Any]) -> list[str]:
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    found = [_TAG.fullmatch(tag) for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    return [match[1] for match in found if match]
