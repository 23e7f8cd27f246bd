"""A learner's guesses and turns go from the lesson that they worked in into a new version of it."""

import ast
import json
import re
from collections import Counter
from dataclasses import dataclass

from lora_lab.commands.delivery import notebooks
from lora_lab.commands.delivery.notebooks import Notebook
from lora_lab.commands.delivery.versions import Version, guess_line, same_code

_UNDONE = re.compile(r"^[ \t]*\.\.\.[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Carried:
    """A new lesson with what a learner did.

    Attributes:
        content: the lesson's file; the new one's bytes if nothing was carried over.
        guesses, turns: how many were carried over.
        left: what was not, a few words each.
    """

    content: bytes
    guesses: int
    turns: int
    left: list[str]


def carry(theirs: bytes, base: Version | None, new: bytes) -> Carried:
    """Put a learner's guesses and turns into a new version of the lesson, by their names.

    What answers another question now, or starts from other code, is not put there: it would look as if it fitted.

    Args:
        theirs: the lesson that they worked in.
        base: what it was when it was delivered; None if nobody knows.
        new: the new version.

    Raises:
        ValueError: if either is no notebook.
    """
    worked, notebook, version = notebooks.read(theirs), notebooks.read(new), Version.of("new.ipynb", new)
    counts: Counter[str] = Counter()
    left = []
    for task, text in work(theirs, base, version).items():
        kind, _, name = task.partition(":")
        if why := _misfit(task, text, base, version):
            left.append(why)
            continue
        (_put_guess if kind == "guess" else _put_turn)(notebook, name, text)
        counts[kind] += 1
    if others := _others(worked, base or version):
        left.append(f"{others} other cell{'s' * (others > 1)} that you wrote or changed")
    content = json.dumps(notebook, indent=1).encode() + b"\n" if counts else new
    return Carried(content, counts["guess"], counts["turn"], left)


def work(theirs: bytes, base: Version | None, new: Version) -> dict[str, str]:
    """What a learner answered: {"guess:energy": "40", "turn:lora_forward": its code}, in the lesson's order.

    Args:
        theirs: the lesson that they worked in.
        base: what it was when it was delivered; None if nobody knows.
        new: what it is now; stands for an unknown base.
    """
    notebook, known = notebooks.read(theirs), {*(base or new).cells}
    found = {}
    for kind, name in notebooks.tasks(notebook):
        cells = notebooks.cells_of(notebook, kind, name)
        if kind == "guess":  # the last one counts, and what else has the guess's name counts least
            cells.sort(key=lambda cell: (kind, name) in notebooks.named(cell))
        texts = [notebooks.source(cell) for cell in cells if notebooks.digest(cell) not in known]
        text = (
            _guess(texts, name) if kind == "guess" else _turn(texts, base.tasks.get(f"turn:{name}") if base else None)
        )
        if text:
            found[f"{kind}:{name}"] = text
    return found


def _guess(texts: list[str], name: str) -> str:
    """The last value that was given to the name."""
    values = [match["value"] for text in texts if (match := guess_line(text, name))]
    return next((value for value in reversed(values) if value != "..."), "")


def _turn(texts: list[str], stub: str | None) -> str:
    """All that was typed, in its order: a cell that was split is whole again, of two attempts the later one counts."""
    return "\n\n".join(text for text in texts if not _is_stub(text, stub))


def _is_stub(text: str, stub: str | None) -> bool:
    """Whether nothing but comments was typed; without knowing the stub, whether something is left to type."""
    if not _UNDONE.search(text):
        return False
    lines = {line.strip() for line in text.splitlines()}
    known = lines if stub is None else {line.strip() for line in stub.splitlines()}
    return all(line in known or line.startswith("#") for line in lines)


def _misfit(task: str, text: str, base: Version | None, new: Version) -> str | None:
    """Why a learner's answer does not belong into the new version; None if it does."""
    kind, _, name = task.partition(":")
    guessed = f" (you had guessed {' '.join(text.split())[:60]})" * (kind == "guess")
    if task not in new.tasks:
        return f"the {kind} {name}, which is not in the new lesson{guessed}"
    before, now = (base.tasks.get(task) if base else None), new.tasks[task]
    if kind == "guess" and not _is_value(text):
        return f"the guess {name}, which is no number that stands alone{guessed}"
    if kind == "guess" and before not in (None, now):
        return f"the guess {name}, whose question is another one now{guessed}"
    if kind == "turn" and before is not None and not same_code(before, now):
        return f"the turn {name}, which starts from other code now"
    return None


def _is_value(text: str) -> bool:
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return not any(isinstance(node, ast.Name | ast.Call) for node in ast.walk(tree))


def _put_guess(notebook: Notebook, name: str, value: str) -> None:
    for cell in notebooks.cells_of(notebook, "guess", name):
        text = notebooks.source(cell)
        if match := guess_line(text, name):
            cell["source"] = text[: match.start("value")] + value + text[match.end("value") :]
            return


def _put_turn(notebook: Notebook, name: str, code: str) -> None:
    notebooks.cells_of(notebook, "turn", name)[0]["source"] = code


def _others(theirs: Notebook, base: Version) -> int:
    """How many cells are neither the lesson's nor a guess or a turn."""
    answered = {id(cell) for kind, name in notebooks.tasks(theirs) for cell in notebooks.cells_of(theirs, kind, name)}
    rest = [cell for cell in notebooks.cells(theirs) if id(cell) not in answered]
    return sum(notebooks.digest(cell) not in {*base.cells, *base.frame} for cell in rest)
