"""What the learner writes: whole lines that are stubs in the workbook and complete in the notebook."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Gap:
    """Whole lines of a cell: `stub` in the workbook, `text` in the notebook."""

    stub: str
    text: str


def blank(source: str, gaps: Iterable[Gap]) -> str:
    """A cell with stubs in place of what the learner writes."""
    return _replaced(source, [(gap.text, gap.stub) for gap in gaps])


def fill(source: str, gaps: Iterable[Gap]) -> str:
    """The inverse of `blank`."""
    return _replaced(source, [(gap.stub, gap.text) for gap in gaps])


def _replaced(source: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Whole lines replaced from top to bottom, each pair once, below the one before."""
    done, rest = "", f"\n{source}\n"
    for old, new in pairs:
        above, found, below = rest.partition(f"\n{old}\n")
        if not found:  # a cell changed by hand: whoever compares will see it
            break
        done, rest = f"{done}{above}\n{new}", f"\n{below}"
    return f"{done}{rest}"[1:-1]
