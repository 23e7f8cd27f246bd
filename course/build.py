"""Make the editions of each lesson from its master.

    python course/build.py              build what changed, execute it, keep the outputs
    python course/build.py 01_svd       the same for one lesson
    python course/build.py exercises/01_svd
                                        the same for one exercise
    python course/build.py --check      fail on any drift or breach of the lesson contract; executes nothing
    python course/build.py --take-back notebooks/01_svd.ipynb
                                        a notebook edited in JupyterLab goes back into its master

A master (course/masters/lessons/NN_title.py, …/exercises/NN_title.py; see lora_lab/authoring) is the only hand-written
source. A lesson's gives notebooks/NN_title.ipynb, course/workbook/NN_title.ipynb and
lora_lab/exercises/generated/NN_title.json; an exercise's gives the same in solutions/, exercises/ and
generated/exercises/. They are always the same bytes. Outputs are kept as long as the code stays the same: a changed
sentence executes nothing.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import contract
import nbformat
from drift import check
from nbformat import NotebookNode

from lora_lab.authoring import editions, tags
from lora_lab.authoring.execution import execute
from lora_lab.authoring.pages import KINDS, Page, Sources, as_json, choose, masters, stored, write
from lora_lab.authoring.percent import parse, render

ROOT = Path(__file__).resolve().parents[1]


def build(page: Page) -> str:
    """Bring the editions of one master up to date; say what was done."""
    new, old = page.sources(), stored(page.notebook)
    keeps = old is not None and _outputs_hold(page, old, new)
    changed = write(page.master, render(parse(page.master.read_text(encoding="utf-8"))))  # tidy, as a formatter does
    changed |= write(page.generated, new.generated)  # the notebook's cells read it
    changed |= write(page.workbook, as_json(new.workbook))
    if old is not None and keeps:
        for new_cell, old_cell in zip(_code_cells(new.notebook), _code_cells(old), strict=True):
            new_cell.update(outputs=old_cell.outputs, execution_count=old_cell.execution_count)
        changed |= write(page.notebook, as_json(new.notebook))
        return "rewritten, outputs kept" if changed else "up to date"
    start = time.perf_counter()
    execute(new.notebook, page.notebook.parent)
    write(page.notebook, as_json(new.notebook))
    return f"executed in {time.perf_counter() - start:.0f} s"


def take_back(path: Path, root: Path) -> Page:
    """Write a notebook that was edited in JupyterLab into its master, without the cells that this script adds."""
    path = path.resolve()
    kind = next((each for each in KINDS if path.parent == (root / each.complete).resolve()), None)
    if kind is None or path.suffix != ".ipynb" or not path.is_file():
        raise ValueError(f"{path}: --take-back wants a notebook in {' or '.join(each.complete for each in KINDS)}")
    try:
        text = render(editions.master_cells(nbformat.read(path, as_version=4)))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    page = Page(root, path.stem, kind)
    write(page.master, text)
    return page


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The command line: 0 when all is well, 1 for findings or a failing cell, 2 for a wrong name or a broken master."""
    parser = argparse.ArgumentParser(description="Make the editions of each lesson from its master.")
    parser.add_argument("names", nargs="*", help="masters to build, such as 01_svd; all when left out")
    parser.add_argument("--check", action="store_true", help="only report drift and breaches of the lesson contract")
    parser.add_argument("--take-back", type=Path, metavar="NOTEBOOK", help="write an edited notebook into its master")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            findings = check(root, options.names)
            print(*findings or ["every edition agrees with its master"], sep="\n")
            return int(bool(findings))
        chosen = [take_back(options.take_back, root)] if options.take_back else choose(root, options.names)
        tags.refuse_repeated(masters(root))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return max([_report(page) for page in chosen], default=0)


def _report(page: Page) -> int:
    try:
        print(f"{page.notebook.relative_to(page.root)}: {build(page)}", flush=True)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:  # a failing cell or a dead kernel: the message says which, the old notebook stays
        print(f"{page.notebook.relative_to(page.root)}: not written, a cell failed\n{error}", file=sys.stderr)
        return 1
    return 0


def _outputs_hold(page: Page, old: NotebookNode, new: Sources) -> bool:
    """Whether a stored notebook's outputs are those of its new sources: of the code, and of the sections, whose titles
    and minutes a cell may show."""
    said = page.generated.read_text(encoding="utf-8") if page.generated.exists() else '{"sections": []}'
    same = _code(old) == _code(new.notebook) and _sections(said) == _sections(new.generated)
    return same and not any(contract.outputs(old))


def _sections(said: str) -> object:
    try:
        return json.loads(said)["sections"]
    except (ValueError, KeyError):  # damaged, as by a merge: it is written anew
        return None


def _code(notebook: NotebookNode) -> list[str]:
    """The lesson's code, without the set-up cell, which a new ref changes."""
    return [cell.source for cell in _code_cells(notebook) if cell.get("id") != editions.SETUP_ID]


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


if __name__ == "__main__":
    sys.exit(main())
