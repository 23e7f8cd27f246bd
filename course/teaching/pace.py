"""How long a section takes an instructor who does not dawdle: a walk against the clock, to hold beside its minutes.

Words in sight are read aloud, code is pointed at, each figure and table is looked at, each guess is a show of hands and
one reason, each turn is typed until half the room is done. The numbers are estimates of ours, no measurement.
"""

import re
from collections.abc import Iterable

from nbformat import NotebookNode

OPENING = 5  # minutes of a session before the first section of a lesson
WORDS_A_MINUTE = 130
CODE_LINE, FIGURE, TABLE, GUESS, TURN, TYPED_LINE = 4 / 60, 0.75, 0.5, 1.0, 2.0, 1.0  # minutes for each

_FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)
_ADDRESS = re.compile(r"\]\([^)]*\)")


def clock(minutes: int) -> str:
    """A minute of a session, as its clock shows it: 1:05."""
    return f"{minutes // 60}:{minutes % 60:02}"


def of_cells(cells: Iterable[NotebookNode]) -> float:
    """Minutes to read, point and look: of a section's cells, with their outputs."""
    return sum(_read(cell) if cell.cell_type == "markdown" else _shown(cell) for cell in cells)


def of_hands(guesses: int, turns: Iterable[dict]) -> float:
    """Minutes for what a section asks: its guesses, and its turns as the lesson's generated data have them."""
    typed = [len(gap["text"].split("\n")) - 2 for turn in turns for gap in turn["gaps"]]  # without the two markers
    return GUESS * guesses + TURN * len(typed) + TYPED_LINE * sum(typed)


def _read(cell: NotebookNode) -> float:
    tags = cell.metadata.get("tags", [])
    if "optional" in tags or any(tag.startswith("hint:") for tag in tags):
        return 0
    return len(_ADDRESS.sub("]", _FOLDED.sub("", cell.source)).split()) / WORDS_A_MINUTE


def _shown(cell: NotebookNode) -> float:
    tags = cell.metadata.get("tags", [])
    if {"optional", "assert"} & set(tags):
        return 0
    shown = [output.get("data", {}).get("text/html", "") for output in cell.outputs]
    figures = sum("<img" in each for each in shown)
    tables = sum("<table" in each and "what was guessed" not in each for each in shown)
    folded = "reveal" in tags or any(tag.startswith(("turn:", "guess:")) for tag in tags)  # hidden, or counted as typed
    lines = 0 if folded else sum(bool(line.strip()) for line in cell.source.split("\n"))
    return CODE_LINE * lines + FIGURE * figures + TABLE * tables
