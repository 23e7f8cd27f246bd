"""One slide: what stands on it, and what is said beside it."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Part:
    """What stands on a slide, from top to bottom.

    "markdown"   text
    "code"       Python
    "figure"     the HTML of a figure, with its alt text, as large as the slide leaves room for
    "table"      the HTML of a table
    "print"      lines as they were printed
    "ask"        what a guess is about, with an empty place beside it
    "answer"     what was measured: HTML of the value, a tab, HTML of what the guess was about
    """

    kind: Literal["markdown", "code", "figure", "table", "print", "ask", "answer"]
    text: str


@dataclass
class Slide:
    """One slide.

    Attributes:
        kind: what the cell is that it comes from.
        section: the heading of the section that it stands in; empty where its own heading says it.
        heading: its own, or empty.
        parts: what stands on it, from top to bottom.
        notes: what the instructor says, as Markdown, a paragraph each.
        cell: the name of its cell.
    """

    kind: Literal["opening", "text", "guess", "turn", "shown", "closing"]
    section: str
    heading: str
    parts: list[Part]
    notes: list[str] = field(default_factory=list)
    cell: str = ""
