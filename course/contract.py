"""What a machine can check of the lesson contract. Every finding names the cell and the way out."""

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode
from outputs import has_image_without_alt, no_outputs, outputs

from lora_lab.authoring.editions import BADGE_ID, REVEAL_TITLE, SETUP_ID

__all__ = ["lesson", "no_outputs", "outputs"]

MAX_TEACHING_CELLS = 15
MAX_LINES = 15
MAX_WORDS, MAX_FOLDED_WORDS = 1200, 800
ASSERT_WITHIN = 4  # an assert cell is one of the last so many code cells
CLOSING = ("What I can now decide", "What was not shown", "What to try", "Three questions", "Next")
NOT_TEACHING = {"guess", "check", "assert", "optional"}  # kinds of cells that are not counted

_FENCE = re.compile(r"^```.*?^```[^\n]*$", re.DOTALL | re.MULTILINE)
_DETAILS = re.compile(r"<details>.*?</details>", re.DOTALL)
_MARKDOWN = re.compile(r"`|\]\(|\*[^ *][^*]*\*|\$")
_HEADING = re.compile(r"^## +(.+?)\s*$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)|(?:href|src)=[\"']([^\"']+)")
_SCHEMATIC = re.compile(r"\bshow\.\w+_(?:schematic|diagram)\(")
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

Cells = list[tuple[int, NotebookNode]]  # with their numbers in the notebook


def lesson(notebook: NotebookNode, name: str) -> Iterator[str]:
    """What breaks the contract in the sources of a lesson's notebook, as sentences."""
    cells = [(number, cell) for number, cell in enumerate(notebook.cells) if cell.get("id") not in (BADGE_ID, SETUP_ID)]
    code = [each for each in cells if each[1].cell_type == "code"]
    prose = [each for each in cells if each[1].cell_type == "markdown"]
    for number, cell in cells:
        if not cell.source.strip():
            yield f"cell {number} is empty: delete it"
    yield from _code_findings(code)
    yield from _task_findings(cells, start=name.startswith("00"))
    yield from _word_findings(prose)
    yield from _fold_findings(prose)
    yield from _opening_findings(prose)
    yield from _section_findings(prose)
    if not name.startswith("00"):
        yield from _schematic_findings(cells)
    yield from _ending_findings(code, name)
    yield from _link_findings(prose)


def _code_findings(code: Cells) -> Iterator[str]:
    teaching = [cell for _, cell in code if not _kinds(cell) & NOT_TEACHING and not _calls(cell, "results")]
    if len(teaching) > MAX_TEACHING_CELLS:
        yield f"{len(teaching)} teaching code cells, at most {MAX_TEACHING_CELLS}: move what is not the claim elsewhere"
    for number, cell in code:
        lines = [line for line in cell.source.removeprefix(REVEAL_TITLE).splitlines() if line.strip()]
        if len(lines) > MAX_LINES:
            yield f"{_at(number, cell)} has {len(lines)} lines, at most {MAX_LINES}: split it, or move it into lora_lab"
        if any(_holds_another(node) for node in _nodes(cell) if isinstance(node, _COMPREHENSIONS)):
            yield f"{_at(number, cell)} has a comprehension inside a comprehension: write a loop"


def _task_findings(cells: Cells, start: bool) -> Iterator[str]:
    names = {kind: _named(cells, kind) for kind in ("guess", "turn", "hint")}
    if not names["guess"]:
        yield "no guess: let the learner predict something before it is measured"
    if len(names["turn"]) < (least := 1 if start else 2):
        yield f"{len(names['turn'])} turns, at least {least}: let the learner type the core of the idea"
    for turn in names["turn"]:
        if turn not in names["hint"]:
            yield f'turn:{turn} has no hint: add a markdown cell tagged "hint:{turn}"'
    handed = {key.arg for _, cell in cells for call in _calls(cell, "guesses") for key in call.keywords}
    for guess in names["guess"]:
        if guess not in handed:
            yield f"guess:{guess} is handed to nobody: begin the cell that answers with guesses({guess}={guess})"


def _word_findings(prose: Cells) -> Iterator[str]:
    open_words = folded_words = 0
    for _, cell in prose:
        text = _FENCE.sub("", cell.source)
        words, folded = len(_DETAILS.sub("", text).split()), sum(len(fold.split()) for fold in _DETAILS.findall(text))
        optional = "optional" in _kinds(cell)
        open_words += 0 if optional else words
        folded_words += folded + (words if optional else 0)
    if open_words > MAX_WORDS:
        yield f"{open_words} words of markdown, at most {MAX_WORDS}: cut, or fold what is optional"
    if folded_words > MAX_FOLDED_WORDS:
        yield f"{folded_words} folded words (hints, answers, optional parts), at most {MAX_FOLDED_WORDS}: cut"


def _fold_findings(prose: Cells) -> Iterator[str]:
    for number, cell in prose:
        for fold in _DETAILS.findall(cell.source):
            if _MARKDOWN.search(as_it_stands := fold.split("\n\n")[0]):
                begins = as_it_stands.removeprefix("<details>")[:40]
                yield f"cell {number}: markdown in the fold {begins}… is shown as it stands: a blank line before it"


def _opening_findings(prose: Cells) -> Iterator[str]:
    source = prose[0][1].source if prose else ""
    text = [line for line in source.splitlines() if line.strip() and not line.startswith(("#", "|"))]
    if not source.startswith("# "):
        yield "the first cell begins with '# ' and the lesson's title"
    if not any(line.startswith("|") for line in source.splitlines()):
        yield "the first cell has no small table: minutes on 2 CPU cores and on a T4, memory, builds on"
    if not re.search(r"\d", " ".join(text)):
        yield "the first cell names no number: open with a problem at work, in one number"


def _section_findings(prose: Cells) -> Iterator[str]:
    closing: list[str] = []
    for number, cell in prose:
        text = _FENCE.sub("", cell.source)
        for heading in _HEADING.findall(text):
            if heading in CLOSING:
                closing.append(heading)
            elif not text.startswith(f"## {heading}") or "minutes" not in _kinds(cell):
                yield f'cell {number}: the section "{heading}" does not open a cell tagged "minutes:N", for a person'
        if "## Three questions" in text and len(_DETAILS.findall(_from(text, "## Three questions"))) < 3:
            yield f"cell {number}: three questions want three answers, each in <details>…</details>"
    for heading in CLOSING:
        if heading not in closing:
            yield f"no '## {heading}' at the end"
    if set(closing) == set(CLOSING) and closing != list(CLOSING):
        yield f"the closing parts stand in the order {', '.join(CLOSING)}, each once"


def _schematic_findings(cells: Cells) -> Iterator[str]:
    drawn = [number for number, cell in cells if cell.cell_type == "code" and _SCHEMATIC.search(cell.source)]
    equations = [number for number, cell in cells if cell.cell_type == "markdown" and "$$" in cell.source]
    if not drawn:
        yield "no schematic: draw the idea with a show.…_schematic or show.…_diagram"
    elif equations and equations[0] < drawn[0]:
        yield f"cell {equations[0]} has an equation before the first schematic (cell {drawn[0]}): picture first"


def _ending_findings(code: Cells, name: str) -> Iterator[str]:
    last = [cell for _, cell in code[-ASSERT_WITHIN:]]
    if not any("assert" in _kinds(cell) and re.search(r"^\s*assert\b", cell.source, re.MULTILINE) for cell in last):
        yield f'no cell tagged "assert" among the last {ASSERT_WITHIN} code cells: assert what the lesson found'
    shown = [ast.literal_eval(call.args[0]) for call in (_calls(last[-1], "results") if last else []) if call.args]
    if shown != [name[:2]]:
        yield f'the last code cell calls results("{name[:2]}"): the table of what was guessed and typed'


def _link_findings(prose: Cells) -> Iterator[str]:
    for number, cell in prose:
        text = _FENCE.sub("", cell.source)
        for found in _LINK.findall(text):
            link = found[0] or found[1]
            if not re.match(r"[a-z]+:|#|\.\./course/[^.]|\d\d_\w+\.ipynb", link):
                yield f"cell {number} links to {link}: a lesson (NN_title.ipynb), ../course/…, or an address on the web"
        if has_image_without_alt(text):
            yield f"cell {number} has an image without alt text"


def _at(number: int, cell: NotebookNode) -> str:
    """A cell by its number and its first line."""
    first = cell.source.removeprefix(f"{REVEAL_TITLE}\n").strip().split("\n")[0]
    return f"cell {number} ({first[:40]}{'…' if len(first) > 40 else ''})"


def _kinds(cell: NotebookNode) -> set[str]:
    """A cell's tags without what follows the colon."""
    return {tag.partition(":")[0] for tag in cell.metadata.get("tags", [])}


def _named(cells: Cells, kind: str) -> list[str]:
    tags = [tag.partition(":") for _, cell in cells for tag in cell.metadata.get("tags", [])]
    return [name for found, _, name in tags if found == kind]


def _nodes(cell: NotebookNode) -> list[ast.AST]:
    try:
        return list(ast.walk(ast.parse(cell.source)))
    except SyntaxError:  # a magic; whether it runs is seen when it is executed
        return []


def _calls(cell: NotebookNode, function: str) -> list[ast.Call]:
    nodes = _nodes(cell) if cell.cell_type == "code" else []
    return [node for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function]


def _holds_another(node: ast.AST) -> bool:
    return any(isinstance(inner, _COMPREHENSIONS) for inner in ast.walk(node) if inner is not node)


def _from(text: str, beginning: str) -> str:
    return text[text.index(beginning) :]
