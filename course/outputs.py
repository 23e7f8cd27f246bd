"""What must hold for the outputs of a notebook, and that a workbook has none."""

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

_HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ALT_TEXT = re.compile(r"""\balt\s*=\s*(?P<quote>["'])\s*[^"'\s]""", re.IGNORECASE)
_MARKDOWN_IMAGE_WITHOUT_ALT = re.compile(r"!\[\s*\]\(")


def outputs(notebook: NotebookNode) -> Iterator[str]:
    """What is wrong with stored outputs: cells not executed in order, errors, images without alt text, local paths,
    a check that the lesson's own solution does not pass."""
    code = [(number, cell) for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    if [cell.execution_count for _, cell in code] != list(range(1, len(code) + 1)):
        yield "not executed from top to bottom: run course/build.py"
    for number, cell in code:
        for output in cell.outputs:
            for finding in _output_findings(output, cell.metadata.get("tags", [])):
                yield f"cell {number} {finding}"
        printed = "".join(output.get("text", "") for output in cell.outputs)
        if cell.get("id", "").startswith("check-") and ": right." not in printed:
            yield f"cell {number} ({cell.id}) does not say that the lesson's own solution is right"


def no_outputs(notebook: NotebookNode) -> Iterator[str]:
    """What a workbook must not have: it shows nothing before the learner runs it."""
    for number, cell in enumerate(notebook.cells):
        if cell.get("outputs") or cell.get("execution_count"):
            yield f"cell {number} has an output: run course/build.py"


def _output_findings(output: NotebookNode, tags: list[str]) -> Iterator[str]:
    data = output.get("data", {})
    if output.output_type == "error" and "raises-exception" not in tags:
        yield f"ended in {output.ename}: {output.evalue}"
    if any(mime.startswith("image/") for mime in data):
        yield "shows a bare image: use lora_lab.show.figure, which carries alt text"
    if has_image_without_alt(data.get("text/html", "")):
        yield "shows an image without alt text: use lora_lab.show.figure"
    if any(place in str(output) for place in _local_places()):
        yield "prints a path of the machine it was executed on"


def has_image_without_alt(text: str) -> bool:
    """Whether a text, in Markdown or HTML, holds such an image."""
    images = _HTML_IMAGE.findall(text)
    return any(not _ALT_TEXT.search(image) for image in images) or bool(_MARKDOWN_IMAGE_WITHOUT_ALT.search(text))


def _local_places() -> set[str]:
    """This checkout and this environment's packages."""
    return {str(Path(__file__).resolve().parents[1]), sysconfig.get_path("purelib")}
