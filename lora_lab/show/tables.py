"""A small table: one in place of ten prints."""

import html
import re
from collections.abc import Sequence

from lora_lab.show.inputs import filled
from lora_lab.show.rich import Rich

_NUMBER = re.compile(r"\W*(\d|$)")  # a sign or a relation, then a digit; or nothing but signs, as in "–"
_CELL = "padding: 0.2em 0.9em; text-align: "


def tabulate(rows: Sequence[Sequence[str]], headers: Sequence[str], caption: str | None = None) -> Rich:
    """Lay out rows of strings as an HTML table and as aligned text.

    The first column, which names the row, is aligned left; a column of numbers is aligned right.

    Args:
        rows: strings, already rounded to what matters and carrying their units.
        headers: one per column.
        caption: a sentence above the table.

    Raises:
        TypeError: a row is not a sequence, or a value not a string.
        ValueError: a row has another length than the headers.
    """
    filled("headers", headers)
    for row in rows:
        if isinstance(row, str) or not isinstance(row, Sequence):
            raise TypeError(f"{row!r} is no row: give a list of strings, one for each header")
        if len(row) != len(headers):
            raise ValueError(f"row {list(row)} has {len(row)} values for {len(headers)} headers")
        for value in (*row, *headers):
            if not isinstance(value, str):
                raise TypeError(f"{value!r} is no string: round it first, as in f'{{value:.1%}}' or f'{{value:,}}'")
    sides = [_side(number, [row[number] for row in rows]) for number in range(len(headers))]
    return Rich(_as_html(rows, headers, sides, caption), _as_text(rows, headers, sides, caption))


def table(rows: Sequence[Sequence[str]], headers: Sequence[str], caption: str | None = None) -> None:
    """Show a table, wherever in the cell this stands. Arguments and errors as for `tabulate`."""
    tabulate(rows, headers, caption).display()


def _side(number: int, values: list[str]) -> str:
    numeric = all(_NUMBER.match(value) for value in values)
    return "right" if number and numeric else "left"


def _as_text(rows: Sequence[Sequence[str]], headers: Sequence[str], sides: list[str], caption: str | None) -> str:
    widths = [max(len(row[number]) for row in [headers, *rows]) for number in range(len(headers))]
    justify = {"left": str.ljust, "right": str.rjust}
    lines = [
        "  ".join(justify[side](value, width) for value, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in [headers, ["-" * width for width in widths], *rows]
    ]
    return "\n".join([caption, *lines] if caption else lines)


def _as_html(rows: Sequence[Sequence[str]], headers: Sequence[str], sides: list[str], caption: str | None) -> str:
    def line(kind: str, values: Sequence[str]) -> str:
        pairs = zip(values, sides, strict=True)
        cells = [f'<{kind} style="{_CELL}{side}">{html.escape(value)}</{kind}>' for value, side in pairs]
        return f"<tr>{''.join(cells)}</tr>"

    above = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    body = "\n".join(line("td", row) for row in rows)
    return f"<table>{above}\n<thead>{line('th', headers)}</thead>\n<tbody>\n{body}\n</tbody></table>"
