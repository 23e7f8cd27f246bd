"""Make the editions of each lesson from its master.

    python course/build.py              build what changed, execute it, keep the outputs
    python course/build.py 01_svd       the same for one
    python course/build.py --check      fail on any drift or breach of the lesson contract; executes nothing
    python course/build.py --take-back notebooks/01_svd.ipynb
                                        a notebook edited in JupyterLab goes back into its master

A master (course/masters/lessons/NN_title.py, see percent.py and tags.py) is the only hand-written source. It gives
notebooks/NN_title.ipynb, course/workbook/NN_title.ipynb and lora_lab/exercises/generated/NN_title.json (editions.py),
always the same bytes. Outputs are kept as long as the code stays the same: a changed sentence executes nothing.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import contract
import editions
import nbformat
import tags
from drift import check
from nbclient import NotebookClient
from nbformat import NotebookNode
from pages import Page, Sources, as_json, choose, masters, stored, write
from percent import parse, render

ROOT = Path(__file__).resolve().parents[1]
CELL_SECONDS = 600  # a cell that takes longer is stuck
ENVIRONMENT = {"LORA_LAB_MODEL": "embedded", "LORA_LAB_PROGRESS": "off"}  # outputs depend on no cache, no learner


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


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run every cell in a fresh kernel that works in `folder`, and keep nothing but sources and outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    library = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # this tree's, wherever it lies
    client.execute(env={**os.environ, **ENVIRONMENT, "PYTHONPATH": library})
    notebook.metadata = nbformat.from_dict(editions.METADATA)  # drops the widgets' state and the kernel's version


def take_back(path: Path, root: Path) -> Page:
    """Write a notebook that was edited in JupyterLab into its master, without the cells that this script adds."""
    path, folder = path.resolve(), root / editions.NOTEBOOKS
    if path.parent != folder.resolve() or path.suffix != ".ipynb" or not path.is_file():
        raise ValueError(f"{path}: --take-back wants a notebook in {editions.NOTEBOOKS}")
    try:
        text = render(editions.master_cells(nbformat.read(path, as_version=4)))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    page = Page(root, path.stem)
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
