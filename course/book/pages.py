"""A notebook as a page to be read: what was asked is still a question, and what only a kernel can do is left out.

Guesses are blank, and their answer is folded: the outputs first, the code below, then the text that goes on from it. A
turn shows its stub, then its hints, then, folded, one way to write it. The set-up cell goes, and so does what only a
kernel or a reader's own run would fill: sliders, the column of one's guesses, the table of one's turns.
"""

import collections
import copy
import re
from collections.abc import Iterable, Iterator
from typing import Any

import nbformat
from nbformat import NotebookNode

from lora_lab.authoring.editions import BADGE_ID, SETUP_ID
from lora_lab.authoring.gaps import Gap, blank

_WIDGET = "application/vnd.jupyter.widget-view+json"
_TITLE = re.compile(r"#@title .*\n")
_ASKS = re.compile(r"^(?:#+ |\*\*(?:Guess|Your|Try)\b)", re.MULTILINE)
_ROW = re.compile(r"<tr>(.*?)</tr>", re.DOTALL)
_FIELD = re.compile(r"<t[hd]\b.*?</t[hd]>", re.DOTALL)
_OF_GUESSES = ("what was guessed", "your guess", "measured", "your guess is")
_OF_TURNS = "the lesson went on with"


def page(notebook: NotebookNode, said: dict[str, Any], links: str) -> NotebookNode:
    """The page of a lesson or an exercise.

    Args:
        notebook: its complete edition, or the learner's for an exercise.
        said: what its master says: `lora_lab/exercises/generated/NAME.json`.
        links: Markdown that takes the place of the badge.

    Returns:
        A new notebook, with the same outputs but for those that need a kernel.
    """
    new = copy.deepcopy(notebook)
    new.cells = list(_cells(new.cells, said, links))
    return new


def _cells(cells: Iterable[NotebookNode], said: dict[str, Any], links: str) -> Iterator[NotebookNode]:
    cells = collections.deque(cells)
    while cells:
        cell = cells.popleft()
        kind, name = _task(cell)
        if cell.id == BADGE_ID:
            yield _markdown(links)
        elif cell.id == SETUP_ID:
            continue
        elif kind == "guess":
            yield _code(cell, blank(cell.source, _gaps(said["guesses"][name] for name in _guesses(cell))))
        elif kind == "turn":
            yield _code(cell, blank(cell.source, _gaps([said["turns"][name]])))
        elif kind == "check" and cell.outputs:  # the lesson's: it was run
            yield from _solution(cell, said["turns"][name]["solution"])
        elif kind == "reveal":
            yield from _answer(cell, _said_of_it(cells))
        else:
            yield _without_widgets(cell)


def _task(cell: NotebookNode) -> tuple[str, str]:
    """The tag that says what a cell is for, as "turn" and the turn's name."""
    for tag in cell.metadata.get("tags", []):
        kind, _, name = tag.partition(":")
        if kind in ("guess", "turn", "check", "reveal"):
            return kind, name
    return "", ""


def _guesses(cell: NotebookNode) -> list[str]:
    return [tag.partition(":")[2] for tag in cell.metadata.tags if tag.startswith("guess:")]


def _gaps(tasks: Iterable[dict[str, Any]]) -> list[Gap]:
    return [Gap(**gap) for task in tasks for gap in task.get("gaps", [task.get("gap")])]


def _said_of_it(cells: collections.deque[NotebookNode]) -> str:
    """The text that goes on from an answer, taken away: up to code, a heading or what is asked next."""
    parts = []
    while cells and cells[0].cell_type == "markdown":
        text = cells[0].source
        ends = [found.start() for found in _ASKS.finditer(text) if _is_closed(text[: found.start()])]
        if ends:
            parts.append(text[: ends[0]].rstrip())
            cells[0] = NotebookNode({**cells[0], "source": text[ends[0] :]})
            break
        parts.append(cells.popleft().source)
    return "\n\n".join(filter(None, parts))


def _is_closed(text: str) -> bool:
    return text.count("<details") == text.count("</details>") and text.count("```") % 2 == 0


def _answer(cell: NotebookNode, said_of_it: str) -> Iterator[NotebookNode]:
    cell = _without_widgets(cell)
    cell.source = _TITLE.sub("", cell.source, count=1)
    yield _markdown('<details class="answer"><summary>The answer</summary>')
    yield _only(cell, "remove-input")
    yield _markdown("<details><summary>Its code</summary>")
    yield _only(cell, "remove-output")
    yield _markdown("\n\n".join(filter(None, ["</details>", said_of_it, "</details>"])))


def _solution(check: NotebookNode, solution: str) -> Iterator[NotebookNode]:
    yield _markdown("<details><summary>One way to write it</summary>")
    yield _code(check, solution)
    yield _markdown("</details>")
    if "\n" in check.source.strip():  # it goes on to show something
        yield _without_widgets(check)


def _without_widgets(cell: NotebookNode) -> NotebookNode:
    """Sliders as a sentence; a progress bar, which is a widget too, as nothing. And nobody has guessed yet."""
    if cell.cell_type != "code":
        return cell
    shown = [output for output in cell.outputs if _WIDGET not in output.get("data", {})]
    kept = [_of_nobody(output) for output in shown if _OF_TURNS not in output.get("data", {}).get("text/html", "")]
    if len(shown) < len(cell.outputs) and "_explorer(" in cell.source:
        words = '<p class="sliders">In the notebook, sliders stand here.</p>'
        kept.append(nbformat.v4.new_output("display_data", {"text/html": words, "text/plain": "sliders"}))
    return NotebookNode({**cell, "outputs": kept})


def _of_nobody(output: NotebookNode) -> NotebookNode:
    """A table of guesses as what was guessed and measured: the guesses of the stored run are not the reader's."""
    html = output.get("data", {}).get("text/html", "")
    if all(f">{header}<" in html for header in _OF_GUESSES):
        output.data["text/html"] = _ROW.sub(lambda row: f"<tr>{_asked_and_measured(row[1])}</tr>", html)
    return output


def _asked_and_measured(row: str) -> str:
    fields = _FIELD.findall(row)
    return fields[0] + fields[2]


def _code(cell: NotebookNode, source: str) -> NotebookNode:
    new = {"id": f"{cell.id}-said", "source": source, "outputs": [], "metadata": NotebookNode()}
    return NotebookNode({**cell, **new})


def _only(cell: NotebookNode, tag: str) -> NotebookNode:
    return NotebookNode({**cell, "id": f"{cell.id}-{tag}", "metadata": NotebookNode(tags=[tag])})


def _markdown(text: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(text)
