"""What the stored outputs of a cell show: each figure and each table on a slide of its own.

A table that holds guesses against what was measured stands first, as its measured values alone: what the notebook's
author guessed is nothing to the class. Up to three printed lines stand with the figure or the table beside them.
"""

import re
from collections.abc import Iterator

from nbformat import NotebookNode
from slides.slide import Part, Slide

_FEW = 3  # printed lines
_AGAINST = ">what was guessed<"  # in the head of a table of guesses
_ROW = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)
_CELL = re.compile(r"<td[^>]*>(.*?)</td>", re.DOTALL)


def of_outputs(cell: NotebookNode, section: str) -> Iterator[Slide]:
    """The slides of an executed cell. Widgets are left out: they are dead without a kernel."""
    parts = [part for output in cell.outputs for part in _parts(output)]
    answers = [part for part in parts if part.kind == "answer"]
    groups = _grouped([part for part in parts if part.kind != "answer"]) or [[]]
    groups[0] = [*answers, *groups[0]]
    for group in groups:
        if group:
            yield Slide("shown", section, "", group)


def _parts(output: NotebookNode) -> Iterator[Part]:
    html = output.get("data", {}).get("text/html", "")
    if "<figure" in html:
        yield Part("figure", html)
    elif _AGAINST in html:
        for row in _ROW.findall(html)[1:]:
            about, _, measured, *_ = _CELL.findall(row)
            yield Part("answer", f"{measured}\t{about}")
    elif "<table" in html:
        yield Part("table", html)
    elif output.get("text", "").strip():
        yield Part("print", output.text.rstrip())


def _grouped(parts: list[Part]) -> list[list[Part]]:
    """The parts by slides: a figure or a table to each, and few printed lines with them."""
    groups: list[list[Part]] = []
    for part in parts:
        if groups and (_is_few([part]) or _is_few(groups[-1])):
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def _is_few(parts: list[Part]) -> bool:
    return all(part.kind == "print" and part.text.count("\n") < _FEW for part in parts)
