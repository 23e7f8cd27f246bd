"""In what the editions differ from their masters, or break the contract."""

import json
from collections.abc import Iterator
from pathlib import Path

import contract
import contract_of_exercises
import contract_of_slides
from nbformat import NotebookNode

from lora_lab.authoring import editions, tags
from lora_lab.authoring.editions import LESSON
from lora_lab.authoring.pages import KINDS, Page, as_json, choose, masters, pages, stored
from lora_lab.authoring.percent import parse, render


def check(root: Path, names: list[str]) -> list[str]:
    """Everything in which the editions differ from their masters or break the contract, as sentences."""
    findings = [finding for page in choose(root, names) for finding in _drift(page)]
    if not names:
        findings += [f"{path}: has no master; take it back (--take-back) or delete it" for path in _strays(root)]
    try:
        tags.refuse_repeated(masters(root))
    except ValueError as error:
        findings.append(str(error))
    return findings


def _drift(page: Page) -> Iterator[str]:
    """Each finding begins with the file that it is about."""
    try:
        new = page.sources()
    except ValueError as error:
        yield str(error)
        return
    broken = contract.lesson if page.kind is LESSON else contract_of_exercises.exercise
    for finding in broken(new.notebook, page.name):
        yield f"{page.master.relative_to(page.root)}: {finding}"
    if page.kind is LESSON:
        findings = contract_of_slides.slides(new.notebook, new.lesson)
        yield from (f"{page.master.relative_to(page.root)}: {finding}" for finding in findings)
    text = page.master.read_text(encoding="utf-8")
    if render(parse(text)) != text:
        yield f"{page.master.relative_to(page.root)}: is not tidy (blank lines, line ends): run course/build.py"
    notebook, workbook = stored(page.notebook), stored(page.workbook)
    yield from _differences(page.notebook, notebook, new.notebook, page, "or --take-back to keep the notebook's")
    yield from _differences(page.workbook, workbook, new.workbook, page, "which writes it")
    if not page.generated.exists() or page.generated.read_bytes() != new.generated.encode():
        yield f"{page.generated.relative_to(page.root)}: differs from its master: run course/build.py"
    elif notebook is not None and workbook is not None:
        complete = editions.filled(workbook, json.loads(new.generated), page.kind)
        if as_json(complete) != as_json(editions.bare(notebook)):
            yield f"{page.workbook.relative_to(page.root)}: filled in, it is not the notebook"


def _differences(path: Path, old: NotebookNode | None, new: NotebookNode, page: Page, way_out: str) -> Iterator[str]:
    """In what a stored notebook or workbook differs from its master."""
    where = path.relative_to(page.root)
    if old is None:
        yield f"{where}: is missing: run course/build.py"
        return
    findings = contract.outputs(old) if path == page.notebook else contract.no_outputs(old)
    yield from (f"{where}: {finding}" for finding in findings)
    if path == page.notebook and page.kind is LESSON:
        yield from (f"{where}: {finding}" for finding in contract_of_slides.outputs(old))
    stripped = editions.bare(old)
    for number, (old_cell, new_cell) in enumerate(zip(stripped.cells, new.cells, strict=False)):
        if old_cell != new_cell:
            yield f"{where}: cell {number} differs from its master: run course/build.py, {way_out}"
            return
    if as_json(stripped) != as_json(new):
        yield f"{where}: differs from its master in metadata or number of cells: run course/build.py, {way_out}"


def _strays(root: Path) -> list[Path]:
    wanted = {path for page in pages(root) for path in (page.notebook, page.workbook, page.generated)}
    folders = {root / folder for kind in KINDS for folder in (kind.complete, kind.learners, kind.generated)}
    found = {path for folder in folders for path in folder.glob("*") if path.name != ".ipynb_checkpoints"}
    return sorted(path.relative_to(root) for path in found - wanted - folders)
