"""The contract of lessons in the old form, until they are rewritten."""

import re
import statistics
from collections.abc import Iterator

from nbformat import NotebookNode
from outputs import has_image_without_alt

MAX_CODE_CELLS = 25
MAX_MEDIAN_LINES = 10
MAX_WORDS = 2000
ASSERT_WITHIN = 4  # an assert stands in one of the last so many code cells


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
        if cell.cell_type == "markdown" and has_image_without_alt(cell.source):
            yield f"cell {number} has an image without alt text"
