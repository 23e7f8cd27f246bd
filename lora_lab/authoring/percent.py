"""The percent format: a notebook as a Python file that can be read, compared and linted.

    # %% [markdown]
    # # A title
    #
    # Text, one comment per line.

    # %% tags=["nbval-ignore-output"]
    print("code")

`render(parse(text)) == text` for every text in this form, and `parse(render(cells)) == cells` for every list of cells
without blank lines at their ends.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_MARKER = "# %%"
_HEADER = re.compile(r"# %%(?P<markdown> \[markdown\])?(?: tags=(?P<tags>\[.*\]))?")


@dataclass(frozen=True)
class Cell:
    """One cell: its kind ("markdown" or "code"), its source without outer blank lines, its tags, and the line of the
    master at which its source begins (0 for a cell that comes from elsewhere)."""

    kind: str
    source: str
    tags: tuple[str, ...] = ()
    line: int = field(default=0, compare=False)


def parse(text: str) -> list[Cell]:
    """Split a master into its cells.

    Raises:
        ValueError: a header, a markdown line or text before the first cell is not in the format; the line is named.
    """
    cells: list[Cell] = []
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith(_MARKER)]
    if any(line.strip() for line in lines[: starts[0] if starts else None]):
        raise ValueError("line 1: a master begins with a cell header such as '# %% [markdown]'")
    for start, end in zip(starts, [*starts, len(lines)][1:], strict=True):
        kind, tags = _header(lines[start], start + 1)
        body, first = _without_blank_ends(lines[start + 1 : end], start + 2)
        if kind == "markdown":
            body, first = _without_blank_ends(_uncomment(body, first), first)
        cells.append(Cell(kind, "\n".join(body), tags, first))
    return cells


def render(cells: Iterable[Cell]) -> str:
    """Write cells as a master: one blank line between cells, one newline at the end."""
    return "\n".join(_render_cell(cell) for cell in cells)


def _render_cell(cell: Cell) -> str:
    markdown = cell.kind == "markdown"
    lines, _ = _without_blank_ends(cell.source.split("\n"))
    if not markdown and any(line.startswith(_MARKER) for line in lines):
        raise ValueError(f"a code cell holds a line that begins with '{_MARKER}', which would split it: reword it")
    header = _MARKER + " [markdown]" * markdown
    if cell.tags:
        header += f" tags={json.dumps(list(cell.tags), ensure_ascii=False)}"
    body = [_comment(line) for line in lines] if markdown else lines
    return "\n".join([header, *body]) + "\n"


def _header(line: str, number: int) -> tuple[str, tuple[str, ...]]:
    match = _HEADER.fullmatch(line)
    if match is None:
        raise ValueError(f"line {number}: {line!r} is no cell header such as '# %% [markdown] tags=[\"name\"]'")
    try:
        tags = json.loads(match["tags"] or "[]")
    except json.JSONDecodeError:
        raise ValueError(f"line {number}: tags are a list of double-quoted names, not {match['tags']}") from None
    return ("markdown" if match["markdown"] else "code"), tuple(tags)


def _comment(line: str) -> str:
    """A line of text as a comment. Text that begins with %% gets a backslash, or it would read as a cell header."""
    return "# " + re.sub(r"^(\\*%%)", r"\\\1", line) if line else "#"


def _uncomment(lines: list[str], first: int) -> list[str]:
    for number, line in enumerate(lines, first):
        if line != "#" and not line.startswith("# "):
            raise ValueError(f"line {number}: in a markdown cell every line begins with '# ', not {line!r}")
    return [re.sub(r"^\\(\\*%%)", r"\1", line[2:]) for line in lines]


def _without_blank_ends(lines: list[str], first: int = 0) -> tuple[list[str], int]:
    """Lines without those at the ends that are blank, and the number of the first one that is left."""
    filled = [place for place, line in enumerate(lines) if line.strip()]
    return (lines[filled[0] : filled[-1] + 1], first + filled[0]) if filled else ([], first)
