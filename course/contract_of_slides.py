"""What a machine can check of a lesson's slides: they begin and end well, ask before they answer, and can be read."""

import ast
from collections.abc import Iterator

from nbformat import NotebookNode
from slides import words
from slides.deck import ANSWERS, QUESTIONS, TAG, deck, of_kind
from slides.shown import of_outputs
from slides.slide import Part, Slide

from lora_lab.authoring.tags import Lesson

FEWEST, MOST = 6, 16  # cells
MAX_WORDS, MAX_ASKED = 100, 30  # of a slide's text; of what one guess is about
LEAST_ASKED = 5  # words that a guess has without a text above it, or nobody in the room knows what is asked
MAX_LINES, MAX_COLUMNS = 16, 100  # of code and of what is printed


def slides(notebook: NotebookNode, lesson: Lesson) -> Iterator[str]:
    """What breaks the contract in the sources of a lesson's notebook, as sentences."""
    tagged = _tagged(notebook)
    if not FEWEST <= len(tagged) <= MOST:
        yield f'{len(tagged)} cells are tagged "{TAG}", from {FEWEST} to {MOST} are to be: tag what is projected'
    if notebook.cells[0] not in tagged:
        yield f'the first slide is the opening: tag the first cell "{TAG}"'
    if not any(f"## {QUESTIONS}" in cell.source for cell in tagged):
        yield f'the last slides are of the closing text: tag the cell with "## {QUESTIONS}" as "{TAG}"'
    yield from _order(tagged, lesson)
    made = deck(notebook, lesson)
    for before, slide in zip([None, *made], made, strict=False):
        yield from _too_short(before, slide)
        yield from _too_long(slide)


def outputs(notebook: NotebookNode) -> Iterator[str]:
    """What cannot be projected of the outputs that an executed notebook stores."""
    for cell in _tagged(notebook):
        if cell.cell_type == "markdown" or of_kind(cell, "guess") or of_kind(cell, "turn"):
            continue
        shown = [part for slide in of_outputs(cell, "") for part in slide.parts]
        if not shown:
            yield f'{_first_line(cell)} is tagged "{TAG}" and shows nothing without a kernel: take the tag away'
        yield from (f"{_first_line(cell)}: {finding}" for part in shown for finding in _of_lines(part))


def _order(tagged: list[NotebookNode], lesson: Lesson) -> Iterator[str]:
    """Findings about guesses and their answers: both are projected, the guess first."""
    asked: list[str] = []
    answered: list[str] = []
    for cell in tagged:
        asked += of_kind(cell, "guess")
        found = [name for name in _answers(cell) if name in lesson.guesses]
        yield from (f"a slide answers guess:{name}, and none asks it before" for name in found if name not in asked)
        answered += found
    for name in asked:
        if name not in answered:
            yield f"guess:{name} is on a slide, and its answer on none: tag the cell that calls .against({name}=…)"


def _answers(cell: NotebookNode) -> list[str]:
    """What a code cell holds against what was measured, by name."""
    if cell.cell_type != "code":
        return []
    calls = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)]
    against = [call for call in calls if getattr(call.func, "attr", "") == "against"]
    return [key.arg for call in against for key in call.keywords if key.arg]


def _too_short(before: Slide | None, slide: Slide) -> Iterator[str]:
    """Findings about a guess or a turn whose words nobody understands who has not read the lesson."""
    where = f"the slide of {slide.heading or slide.section!r}"
    text = [part.text for part in slide.parts if part.kind == "markdown"]
    asked = [part.text for part in slide.parts if part.kind == "ask"]
    led = before is not None and before.kind == "text" and (before.section or before.heading) == slide.section
    if slide.kind == "guess" and not text and not led and min(map(words.count, asked)) < LEAST_ASKED:
        yield f'{where} asks {min(asked, key=words.count)!r} and no more: write "**Guess:** …?" above it'
    if slide.kind == "turn" and "\n" not in text[0] and text[0].endswith(":"):
        yield f'{where} says no more than {text[0]!r}: begin what is to be done with "**Your turn:**"'


def _too_long(slide: Slide) -> Iterator[str]:
    where = f"the slide of {slide.heading or slide.section!r}"
    text = " ".join(part.text for part in slide.parts if part.kind == "markdown")
    most = words.OF_ANSWERS if slide.heading == ANSWERS else MAX_WORDS
    if words.count(text) > most:
        yield f"{where} has {words.count(text)} words, at most {most}: let its first paragraph or items be shorter"
    for part in slide.parts:
        if part.kind == "ask" and words.count(part.text) > MAX_ASKED:
            yield f"{where} asks in {words.count(part.text)} words, at most {MAX_ASKED}: {part.text!r}"
        yield from (f"{where}: {finding}" for finding in _of_lines(part))


def _of_lines(part: Part) -> Iterator[str]:
    lines = part.text.split("\n") if part.kind in ("code", "print") else []
    if len(lines) > MAX_LINES:
        yield f"{len(lines)} lines of {part.kind}, at most {MAX_LINES}"
    if part.kind == "code" and (wide := max(map(len, lines))) > MAX_COLUMNS:
        yield f"a line of {wide} columns, at most {MAX_COLUMNS}: break it"


def _tagged(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if TAG in cell.metadata.get("tags", [])]


def _first_line(cell: NotebookNode) -> str:
    return f"the cell {cell.source.split(chr(10))[0][:40]!r}"
