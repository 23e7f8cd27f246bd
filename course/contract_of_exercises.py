"""What a machine can check of an exercise's contract. Every finding names the cell and the way out."""

import re
from collections.abc import Iterator

from nbformat import NotebookNode

from lora_lab.authoring.editions import BADGE_ID, SETUP_ID

MIN_TASKS, MAX_HINTS = 2, 3
MAX_LINES = 25
_LINK = re.compile(r"\]\(([^)\s]+)|(?:href|src)=[\"']([^\"']+)")
_ALLOWED_LINK = re.compile(r"[a-z]+:|#|\.\./notebooks/\d\d_\w+\.ipynb|\.\./course/[^.]|\d\d_\w+\.ipynb")
_FOLD = re.compile(r"<details>")
_SKIPPED = {BADGE_ID, SETUP_ID}


def exercise(notebook: NotebookNode, name: str) -> Iterator[str]:
    """What breaks the contract in the sources of an exercise's complete notebook, as sentences."""
    cells = [cell for cell in notebook.cells if cell.get("id") not in _SKIPPED]
    tasks = _named(cells, "task")
    if not cells[0].source.startswith("# Exercises: "):
        yield "the first cell begins with '# Exercises: ' and what they are about"
    if len(tasks) < MIN_TASKS:
        yield f"{len(tasks)} tasks, at least {MIN_TASKS}"
    for task in tasks:
        yield from _task_findings(task, cells)
    for number, cell in enumerate(notebook.cells):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if cell.cell_type == "code" and cell.get("id") not in _SKIPPED and len(lines) > MAX_LINES:
            yield f"cell {number} has {len(lines)} lines, at most {MAX_LINES}: split it"
        if cell.cell_type == "markdown":
            yield from _link_findings(number, cell.source)


def _task_findings(task: str, cells: list[NotebookNode]) -> Iterator[str]:
    for kind in ("turn", "check", "hint"):
        if task not in _named(cells, kind):
            yield f'task:{task} has no {kind}: add a cell tagged "{kind}:{task}"'
    hints = sum(len(_FOLD.findall(cell.source)) for cell in cells if f"hint:{task}" in cell.metadata.get("tags", []))
    if hints > MAX_HINTS:
        yield f"task:{task} has {hints} hints, at most {MAX_HINTS}"


def _link_findings(number: int, source: str) -> Iterator[str]:
    for found in _LINK.findall(source):
        link = found[0] or found[1]
        if not _ALLOWED_LINK.match(link):
            yield f"cell {number} links to {link}: a lesson (../notebooks/NN_title.ipynb), ../course/…, or the web"


def _named(cells: list[NotebookNode], kind: str) -> list[str]:
    tags = [tag.partition(":") for cell in cells for tag in cell.metadata.get("tags", [])]
    return [name for found, _, name in tags if found == kind]
