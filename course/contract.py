"""What a machine can check of the lesson contract. Every finding names the cell and the way out."""

import re
import statistics
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

MAX_CODE_CELLS = 25
MAX_MEDIAN_LINES = 10
MAX_WORDS = 2000
ASSERT_WITHIN = 4  # an assert stands in one of the last so many code cells

_HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ALT_TEXT = re.compile(r"""\balt\s*=\s*(?P<quote>["'])\s*[^"'\s]""", re.IGNORECASE)
_MARKDOWN_IMAGE_WITHOUT_ALT = re.compile(r"!\[\s*\]\(")


def lesson(notebook: NotebookNode) -> Iterator[str]:
    """What breaks the contract in a lesson's sources, as sentences."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    lengths = [sum(bool(line.strip()) for line in source.splitlines()) for source in code]
    words = sum(len(source.split()) for source in prose)
    if len(code) > MAX_CODE_CELLS:
        yield f"{len(code)} code cells, at most {MAX_CODE_CELLS}: move what is not the lesson into lora_lab"
    if lengths and (median := statistics.median(lengths)) > MAX_MEDIAN_LINES:
        yield f"the median code cell has {median:g} lines, at most {MAX_MEDIAN_LINES}: shorten or split"
    if words > MAX_WORDS:
        yield f"{words} words of markdown, at most {MAX_WORDS}"
    if not any(re.search(r"^\s*assert\b", source, re.MULTILINE) for source in code[-ASSERT_WITHIN:]):
        yield f"no assert in the last {ASSERT_WITHIN} code cells: assert what the lesson found"
    for number, cell in enumerate(notebook.cells):
        if not cell.source.strip():
            yield f"cell {number} is empty"
        if cell.cell_type == "markdown" and _has_image_without_alt(cell.source):
            yield f"cell {number} has an image without alt text"


def outputs(notebook: NotebookNode) -> Iterator[str]:
    """What is wrong with stored outputs: cells not executed in order, errors, images without alt text, local paths."""
    code = [(number, cell) for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    if [cell.execution_count for _, cell in code] != list(range(1, len(code) + 1)):
        yield "not executed from top to bottom: run course/build.py"
    for number, cell in code:
        for output in cell.outputs:
            for finding in _output_findings(output, cell.metadata.get("tags", [])):
                yield f"cell {number} {finding}"


def _output_findings(output: NotebookNode, tags: list[str]) -> Iterator[str]:
    data = output.get("data", {})
    if output.output_type == "error" and "raises-exception" not in tags:
        yield f"ended in {output.ename}: {output.evalue}"
    if any(mime.startswith("image/") for mime in data):
        yield "shows a bare image: use lora_lab.show.figure, which carries alt text"
    if _has_image_without_alt(data.get("text/html", "")):
        yield "shows an image without alt text: use lora_lab.show.figure"
    if any(place in str(output) for place in _local_places()):
        yield "prints a path of the machine it was executed on"


def _has_image_without_alt(text: str) -> bool:
    images = _HTML_IMAGE.findall(text)
    return any(not _ALT_TEXT.search(image) for image in images) or bool(_MARKDOWN_IMAGE_WITHOUT_ALT.search(text))


def _local_places() -> set[str]:
    """This checkout and this environment's packages."""
    return {str(Path(__file__).resolve().parents[1]), sysconfig.get_path("purelib")}
