"""Which slides a notebook gives: those of its cells tagged `slide`, in their order.

    a text            its heading and its first words (`words`)
    a guess           the question, for the class; the typical wrong guesses are in the notes. Where the text above
                      asks in other words than "**Guess:** …?", its end, unless a slide has shown it
    a turn            the words above it and the stub that the learner finds; solution and hints are in the notes
    any other code    what its outputs show (`shown`)
    the closing cell  what one can decide now, the three questions, and after them the answers, whole: together on a
                      slide, or on one each

The text, the hints and the solutions between two slides are notes of the first. The notes of a section's first slide
begin with the clock of a session, as the instructor's guide has it. Nothing is executed.
"""

import re
import textwrap
from collections.abc import Iterator

from nbformat import NotebookNode
from slides import words
from slides.shown import of_outputs
from slides.slide import Part, Slide
from teaching.pace import OPENING, clock

from lora_lab.authoring.editions import BADGE_ID
from lora_lab.authoring.tags import Lesson

TAG = "slide"
DECIDE, QUESTIONS, ANSWERS = "What I can now decide", "Three questions", "Three answers"
_WIDE = 76  # columns of code that are read from the back row
_BREAKS = re.compile(r'(?P<indent> *)(?P<mark># |"""|def )')  # a comment, a docstring, a function's head
_GOES_ON = {"# ": "# ", "def ": " " * 8}
_COMMENT = re.compile(r"(?P<indent> *)(?P<code>\S.*?\S) {2,}(?P<comment># .*)")


def deck(notebook: NotebookNode, lesson: Lesson) -> list[Slide]:
    """The slides of an executed notebook. `lesson` is what the tags of its master say."""
    made: list[Slide] = []
    section = text = unshown = ""
    now, due = OPENING, f"{clock(0)} to {clock(OPENING)}"
    for cell in notebook.cells:
        if cell.id == BADGE_ID:
            continue
        opens = of_kind(cell, "minutes")
        if opens:
            section = words.heading_and_rest(cell.source)[0]
            _say(made, f"**{section}** ({opens[0]} minutes)")
            begins, now = now, now + int(opens[0])
            due = f"{clock(begins)} to {clock(now)}"
        hint = bool(of_kind(cell, "hint"))
        if cell.cell_type == "markdown" and not hint:
            text = unshown = cell.source
        if TAG in cell.metadata.get("tags", []):
            slides = list(_slides(cell, section, text, unshown, lesson, first=not made))
            if slides and slides[0].kind == "closing":
                due = f"from {clock(now)}"
            if slides and due:
                slides[0].notes.insert(0, f"On the clock: {due}.")
                due = ""
            made += slides
            unshown = ""
        elif cell.cell_type == "markdown":
            _say(made, words.heading_and_rest(text)[1] if opens else cell.source)
        elif turns := of_kind(cell, "turn"):
            _say(made, _solution(turns[0], lesson))
    return made


def of_kind(cell: NotebookNode, kind: str) -> list[str]:
    """What follows the colon in a cell's tags of one kind."""
    tags = [tag.partition(":") for tag in cell.metadata.get("tags", [])]
    return [name for found, _, name in tags if found == kind]


def stub(lesson: Lesson, turn: str) -> str:
    """What the learner finds; a comment that makes its line too wide stands above it."""
    return "\n".join(_narrow(line) for line in lesson.turns[turn].stub.split("\n"))


def _slides(cell: NotebookNode, section: str, text: str, unshown: str, lesson: Lesson, first: bool) -> Iterator[Slide]:
    if cell.cell_type == "markdown" and f"## {QUESTIONS}" in text:
        slides = _closing(text)
    elif cell.cell_type == "markdown":
        slides = iter([_of_text(text, section, first)])
    elif guesses := of_kind(cell, "guess"):
        slides = iter([_guess(guesses, words.guessed(text) or words.leads_to_guess(unshown), section, lesson)])
    elif turns := of_kind(cell, "turn"):
        slides = iter([_turn(turns[0], words.task(words.heading_and_rest(text)[1]), section, lesson)])
    else:
        slides = of_outputs(cell, section)
    for slide in slides:
        slide.cell = cell.id
        yield slide


def _of_text(text: str, section: str, first: bool) -> Slide:
    heading, rest = words.heading_and_rest(text)
    if first:  # the small table speaks to who reads alone
        rest = "\n\n".join(block for block in words.blocks(rest) if not block.startswith("|"))
    shown = words.projected(rest)
    own = "" if heading == section else section
    return Slide("opening" if first else "text", own, heading, [Part("markdown", shown)], _whole(rest, shown))


def _guess(names: list[str], question: str, section: str, lesson: Lesson) -> Slide:
    parts, notes = [Part("markdown", question)] if question else [], ["The class guesses. Typical wrong guesses:"]
    for guess in (lesson.guesses[name] for name in names):
        parts.append(Part("ask", guess.question))
        wrong = [f"- **{value:,.10g}**: {reveals}" for value, reveals in guess.wrong]
        notes.append("\n".join([f"{guess.question}:", "", *wrong]))
    return Slide("guess", section, "Your guess", parts, notes)


def _turn(name: str, task: str, section: str, lesson: Lesson) -> Slide:
    named = "Your turn" in section
    parts = [Part("markdown", task), Part("code", stub(lesson, name))]
    return Slide("turn", "" if named else section, section if named else "Your turn", parts, [_solution(name, lesson)])


def _solution(name: str, lesson: Lesson) -> str:
    return f"Solution:\n\n```python\n{lesson.turns[name].solution}\n```"


def _closing(text: str) -> Iterator[Slide]:
    parts, before = dict(words.parts(text)), text[: text.index("## ")]
    shown = words.projected(parts.get(DECIDE, ""))
    notes = [_said(before), *_whole(parts.get(DECIDE, ""), shown)]
    yield Slide("closing", "", DECIDE, [Part("markdown", shown)], [note for note in notes if note])
    pairs = words.questions(parts[QUESTIONS])
    asked = [Part("markdown", words.numbered([question for question, _ in pairs]))]
    yield Slide("closing", "", QUESTIONS, asked)
    rest = [_said(f"**{heading}**\n\n{text}") for heading, text in parts.items() if heading not in (DECIDE, QUESTIONS)]
    for first, answers in _by_slides([answer for _, answer in pairs]):
        whole = words.numbered(answers, first)
        shown = words.without_links(whole)
        last = first + len(answers) > len(pairs)
        notes = [*_whole(whole, shown), *(rest if last else [])]
        yield Slide("closing", "", ANSWERS, [Part("markdown", shown)], notes)


def _by_slides(answers: list[str]) -> list[tuple[int, list[str]]]:
    """Answers whole, as half of one is none: all on a slide, or one on each; with the number of each slide's first."""
    if words.count(words.without_links(words.numbered(answers))) <= words.OF_ANSWERS:
        return [(1, answers)]
    return [(number, [answer]) for number, answer in enumerate(answers, start=1)]


def _whole(text: str, shown: str) -> list[str]:
    """The text as a note, if not all of it is shown."""
    whole = _said(text)
    return [] if whole.split() == shown.split() else [whole]


def _say(made: list[Slide], text: str) -> None:
    if made and text.strip():
        made[-1].notes.append(_said(text))


def _said(text: str) -> str:
    """A text as a note: nothing is folded, and no link leads to a file."""
    return words.without_links(words.unfolded(text), keep_addresses=True).strip()


def _narrow(line: str) -> str:
    """A line, or in its place some that are read from the back row; other code than a function's head stays whole."""
    if len(line) <= _WIDE:
        return line
    if found := _COMMENT.fullmatch(line):
        return "\n".join(_narrow(found["indent"] + part) for part in (found["comment"], found["code"]))
    if found := _BREAKS.match(line):
        further = found["indent"] + _GOES_ON.get(found["mark"], "")
        return textwrap.fill(line, _WIDE, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
    return line
