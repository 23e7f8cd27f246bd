"""Three editions of one master: the notebook, the workbook, and what the exercises say (`generated`).

    notebook    complete; every cell named, hints folded, badge and set-up cell added
    workbook    the notebook with stubs for what the learner writes, and each solution folded below its check
    generated   the guesses, turns, hints, solutions and sections, for `lora_lab.exercises`

A lesson and an exercise give the same three, in folders of their own (`Kind`).

`filled` types the solutions into a workbook, which gives the notebook; `master_cells` is the inverse of `notebook`.
"""

import dataclasses
import hashlib
import html
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lora_lab.authoring import set_up
from lora_lab.authoring.gaps import Gap, blank, fill
from lora_lab.authoring.percent import Cell
from lora_lab.authoring.tags import NAMED, Exercise, Lesson, gaps
from lora_lab.authoring.tasks import hints, names

METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
BADGE_ID, SETUP_ID = "colab-badge", "set-up"  # the two cells that no master holds
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}  # in Colab, and in JupyterLab
REVEAL_TITLE = "#@title The answer: run this cell"
_FOLD = "<details><summary>{label}</summary>\n\n{text}\n\n</details>"
_FOLDED_HINT = re.compile(r"<details><summary>(?P<label>[^\n]*?)</summary>\n\n(?P<text>.*?)\n\n</details>", re.DOTALL)
_LINK = r"""((?:\]\(|(?:href|src)=["']))"""  # what stands before a link


@dataclass(frozen=True)
class Kind:
    """What is made from masters, and where it lies, relative to the course.

    Attributes:
        masters: the hand-written sources.
        complete: the executed notebooks, with every answer.
        learners: the notebooks to work in.
        generated: what `lora_lab.exercises` says of them.
        about: what the tags of one master say.
        links: how a link begins in a master, and in the learner's notebook.
        in_repository: whether the learner's notebooks are opened from the repository, by a badge.
    """

    masters: str
    complete: str
    learners: str
    generated: str
    about: type[Lesson]
    links: tuple[str, str]
    in_repository: bool = True

    def as_learners(self, text: str) -> str:
        return self._rewritten(text, *self.links)

    def as_master(self, text: str) -> str:
        return self._rewritten(text, *reversed(self.links))

    @staticmethod
    def _rewritten(text: str, old: str, new: str) -> str:
        return re.sub(_LINK + re.escape(old), lambda found: found[1] + new, text)


LESSON = Kind(
    "course/masters/lessons",
    "notebooks",
    "course/workbook",
    "lora_lab/exercises/generated",
    Lesson,
    ("../course/", "../"),
)
EXERCISE = Kind(
    "course/masters/exercises",
    "solutions",
    "exercises",
    "lora_lab/exercises/generated/exercises",
    Exercise,
    ("../notebooks/", "../course/workbook/"),
)


def notebook(cells: list[Cell], name: str, repository: dict[str, str], kind: Kind = LESSON) -> NotebookNode:
    """The notebook of a master's cells, not executed; badge and set-up cell stand below the opening cell."""
    if not cells or cells[0].kind != "markdown":
        raise ValueError("the first cell must be markdown: the title and one sentence of promise")
    colab = repository["address"].replace("https://github.com", "https://colab.research.google.com/github")
    link = f"{colab}/blob/{repository['ref']}/{kind.learners}/{name}.ipynb"
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({link})"
    ignored = {"tags": ["nbval-ignore-output"]}  # what the set-up prints depends on the machine
    source = set_up.source(repository, [cell.source for cell in cells if cell.kind == "code"])
    setup = new_code_cell(source, id=SETUP_ID, metadata={**FOLDED, **ignored})
    opening, *body = _named(cells)
    badges = [new_markdown_cell(badge, id=BADGE_ID)] * kind.in_repository
    return new_notebook(cells=[opening, *badges, setup, *body], metadata=METADATA)


def workbook(complete: NotebookNode, lesson: Lesson, kind: Kind = LESSON) -> NotebookNode:
    """The learner's edition of a notebook: no outputs, stubs and `...`, the solutions folded."""
    cells = []
    for cell in bare(complete).cells:
        if cell.cell_type == "markdown":
            cell.source = kind.as_learners(cell.source)
        else:
            cell.source = blank(cell.source, gaps(_as_master(cell), lesson))
        cells.append(cell)
        for name in names(_as_master(cell), "check"):
            code = f"```python\n{lesson.turns[name].solution}\n```"
            cells.append(new_markdown_cell(_FOLD.format(label="Solution", text=code), id=f"solution-{name}"))
    return new_notebook(cells=cells, metadata=METADATA)


def generated(lesson: Lesson) -> str:
    """What the exercises say about a lesson, as JSON."""
    return json.dumps(dataclasses.asdict(lesson), indent=1, ensure_ascii=False) + "\n"


def filled(learners: NotebookNode, said: dict[str, Any], kind: Kind = LESSON) -> NotebookNode:
    """A workbook with the solutions typed in and the notebook's guesses made, from what `generated` says."""
    cells = []
    for cell in bare(learners).cells:
        if cell.id.startswith("solution-"):
            continue
        if cell.cell_type == "markdown":
            cell.source = kind.as_master(cell.source)
        else:
            typed = [gap for name in names(_as_master(cell), "turn") for gap in said["turns"][name]["gaps"]]
            guessed = [said["guesses"][name]["gap"] for name in names(_as_master(cell), "guess")]
            cell.source = fill(cell.source, [Gap(**gap) for gap in (*typed, *guessed)])
        cells.append(cell)
    return new_notebook(cells=cells, metadata=METADATA)


def master_cells(edited: NotebookNode) -> list[Cell]:
    """The cells of the master that gives this notebook; empty cells, which JupyterLab leaves, are dropped.

    Raises:
        ValueError: for a raw cell, which masters do not have.
    """
    cells = [cell for cell in edited.cells if cell.get("id") not in (BADGE_ID, SETUP_ID) and cell.source.strip()]
    if any(cell.cell_type == "raw" for cell in cells):
        raise ValueError("masters hold markdown and code cells; change the raw cell into one of them")
    return [dataclasses.replace(_as_master(cell), source=_unfolded(cell)) for cell in cells]


def bare(executed: NotebookNode) -> NotebookNode:
    """A copy without outputs."""
    copied = nbformat.from_dict(executed)
    for cell in copied.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    return copied


def _named(cells: list[Cell]) -> Iterator[NotebookNode]:
    """Cells named by what the learner does in them, the others by their content; equal ones are told apart in order."""
    seen: Counter[str] = Counter()
    for cell in cells:
        digest = hashlib.sha256(f"{cell.kind}\n{cell.source}".encode()).hexdigest()[:12]
        name = next((tag.replace(":", "-") for tag in cell.tags if tag.partition(":")[0] in NAMED), digest)
        seen[name] += 1
        make = new_markdown_cell if cell.kind == "markdown" else new_code_cell
        metadata = {**(FOLDED if "reveal" in cell.tags else {}), **({"tags": list(cell.tags)} if cell.tags else {})}
        yield make(_folded(cell), id=name if seen[name] == 1 else f"{name}-{seen[name]}", metadata=metadata)


def _folded(cell: Cell) -> str:
    """A hint becomes a fold, and what reveals an answer gets the title that Colab shows in place of the source."""
    if names(cell, "hint"):
        return "\n\n".join(_FOLD.format(label=_as_html(hint.label), text=hint.text) for hint in hints(cell))
    if "reveal" in cell.tags and not cell.source.startswith("#@title"):
        return f"{REVEAL_TITLE}\n{cell.source}"
    return cell.source


def _unfolded(cell: NotebookNode) -> str:
    """The inverse of `_folded`."""
    source: str = cell.source
    if names(_as_master(cell), "hint"):
        return _FOLDED_HINT.sub(lambda fold: f"**{_as_text(fold['label'])}** {fold['text']}", source)
    return source.removeprefix(f"{REVEAL_TITLE}\n")


def _as_html(label: str) -> str:
    """Within the tags of a summary Markdown says nothing: `code` needs a tag too."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(label, quote=False))


def _as_text(label: str) -> str:
    return html.unescape(re.sub("<code>(.*?)</code>", r"`\1`", label))


def _as_master(cell: NotebookNode) -> Cell:
    return Cell(cell.cell_type, cell.source, tuple(cell.metadata.get("tags", [])))
