"""Make the notebooks from their masters.

    python course/build.py              build what changed, execute it, keep the outputs
    python course/build.py 01_svd       the same for one
    python course/build.py --check      fail on any drift or breach of the lesson contract; executes nothing
    python course/build.py --take-back notebooks/01_svd.ipynb
                                        a notebook edited in JupyterLab goes back into its master

A master (course/masters/lessons/NN_title.py, see percent.py) is the only hand-written source. This script adds the
Colab badge and the set-up cell, names every cell by its content and writes minimal metadata, so that the same master
always gives the same bytes. Outputs are kept as long as the code stays the same: a changed sentence executes nothing.
"""

import argparse
import hashlib
import os
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import contract
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from percent import Cell, parse, render

ROOT = Path(__file__).resolve().parents[1]
CELL_SECONDS = 600  # a cell that takes longer is stuck
METADATA = {
    "accelerator": "GPU",
    "colab": {"gpuType": "T4"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
BADGE_ID, SETUP_ID = "colab-badge", "set-up"  # the two cells that no master holds
SETUP = """\
#@title Set-up
import os

if "COLAB_RELEASE_TAG" in os.environ:  # only in Colab; what it ships (torch, numpy, ipywidgets) stays as it is
    import subprocess
    import sys

    packages = ["lora_lab @ git+{address}@{tag}", "bitsandbytes"]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *packages], check=True)

import lora_lab
from lora_lab import models

print(f"lora_lab {{lora_lab.__version__}} · tier {{models.detect_tier()}}")"""


@dataclass(frozen=True)
class Edition:
    """One folder of notebooks made from one folder of masters; another edition of the same masters differs in these."""

    masters: str
    notebooks: str
    contract: Callable[[NotebookNode], Iterable[str]]


EDITIONS = [Edition("course/masters/lessons", "notebooks", contract.lesson)]


@dataclass(frozen=True)
class Page:
    """One master and the notebook it gives."""

    root: Path
    edition: Edition
    name: str

    @property
    def master(self) -> Path:
        return self.root / self.edition.masters / f"{self.name}.py"

    @property
    def notebook(self) -> Path:
        return self.root / self.edition.notebooks / f"{self.name}.ipynb"

    def sources(self) -> NotebookNode:
        """The notebook as its master says, without outputs. Raises ValueError with the master's path."""
        try:
            cells = parse(self.master.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.master.relative_to(self.root)}: {error}") from None
        return assemble(cells, f"{self.edition.notebooks}/{self.name}.ipynb", _repository(self.root))

    def stored(self) -> NotebookNode | None:
        """The notebook as it lies in its folder."""
        return nbformat.read(self.notebook, as_version=4) if self.notebook.exists() else None


def pages(root: Path) -> list[Page]:
    """Every master, in the order of their names."""
    masters = [(edition, path) for edition in EDITIONS for path in sorted((root / edition.masters).glob("*.py"))]
    return [Page(root, edition, path.stem) for edition, path in masters]


def assemble(cells: list[Cell], path: str, repository: dict[str, str]) -> NotebookNode:
    """A notebook of the master's cells, with the badge and the set-up cell after the opening markdown cell."""
    if not cells or cells[0].kind != "markdown":
        raise ValueError(f"{path}: the first cell must be markdown: the title and one sentence of promise")
    colab = repository["address"].replace("https://github.com", "https://colab.research.google.com/github")
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    badge = new_markdown_cell(f"[![Open in Colab]({image})]({colab}/blob/{repository['tag']}/{path})", id=BADGE_ID)
    form = {"cellView": "form", "tags": ["nbval-ignore-output"]}  # what it prints depends on the machine
    setup = new_code_cell(SETUP.format(**repository), id=SETUP_ID, metadata=form)
    opening, *body = _identified(cells)
    return new_notebook(cells=[opening, badge, setup, *body], metadata=METADATA)


def _identified(cells: Iterable[Cell]) -> Iterator[NotebookNode]:
    """Cells named by their content; equal cells are told apart by their order."""
    seen: Counter[str] = Counter()
    for cell in cells:
        name = hashlib.sha256(f"{cell.kind}\n{cell.source}".encode()).hexdigest()[:12]
        seen[name] += 1
        make = new_markdown_cell if cell.kind == "markdown" else new_code_cell
        metadata = {"tags": list(cell.tags)} if cell.tags else {}
        yield make(cell.source, id=name if seen[name] == 1 else f"{name}-{seen[name]}", metadata=metadata)


def build(page: Page) -> str:
    """Bring one notebook up to date with its master; say what was done."""
    notebook, old = page.sources(), page.stored()
    _write(page.master, render(parse(page.master.read_text(encoding="utf-8"))))  # tidy, as a formatter does
    if old is not None and _code(old) == _code(notebook) and not any(contract.outputs(old)):
        for new_cell, old_cell in zip(_code_cells(notebook), _code_cells(old), strict=True):
            new_cell.update(outputs=old_cell.outputs, execution_count=old_cell.execution_count)
        changed = _write(page.notebook, _json(notebook))
        return "rewritten, outputs kept" if changed else "up to date"
    start = time.perf_counter()
    execute(notebook, page.notebook.parent)
    _write(page.notebook, _json(notebook))
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
    client.execute()
    notebook.metadata = nbformat.from_dict(METADATA)  # drops the widgets' state and the kernel's version


def check(root: Path, names: list[str]) -> list[str]:
    """Everything in which the notebooks differ from their masters or break the contract, as sentences."""
    chosen = _choose(root, names)
    findings = [f"{page.notebook.relative_to(root)}: {finding}" for page in chosen for finding in _drift(page)]
    if not names:
        wanted = {page.notebook for page in pages(root)}
        found = {path for edition in EDITIONS for path in (root / edition.notebooks).glob("*")}
        strays = sorted(path.relative_to(root) for path in found - wanted if path.name != ".ipynb_checkpoints")
        findings += [f"{path}: has no master; take it back (--take-back) or delete it" for path in strays]
    return findings


def _drift(page: Page) -> Iterator[str]:
    try:
        notebook = page.sources()
        text = page.master.read_text(encoding="utf-8")
    except ValueError as error:
        yield str(error)
        return
    yield from page.edition.contract(notebook)
    if render(parse(text)) != text:
        yield "its master is not tidy (blank lines, line ends): run course/build.py"
    stored = page.stored()
    if stored is None:
        yield "is missing: run course/build.py"
        return
    yield from contract.outputs(stored)
    bare = nbformat.from_dict(stored)
    for cell in _code_cells(bare):
        cell.update(outputs=[], execution_count=None)
    for number, (old, new) in enumerate(zip(bare.cells, notebook.cells, strict=False)):
        if old != new:
            yield f"cell {number} differs from its master: run course/build.py, or --take-back to keep the notebook's"
            return
    if _json(bare) != _json(notebook):
        yield "differs from its master in metadata or in the number of cells: run course/build.py, or --take-back"


def take_back(path: Path, root: Path) -> Page:
    """Write a notebook that was edited in JupyterLab into its master, without the cells that this script adds."""
    path = path.resolve()
    edition = next((each for each in EDITIONS if (root / each.notebooks).resolve() == path.parent), None)
    if edition is None or path.suffix != ".ipynb" or not path.is_file():
        folders = " or ".join(each.notebooks for each in EDITIONS)
        raise ValueError(f"{path}: --take-back wants a notebook in {folders}")
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.get("id") not in (BADGE_ID, SETUP_ID)]
    if any(cell.cell_type == "raw" for cell in cells):
        raise ValueError(f"{path.name}: masters hold markdown and code cells; change the raw cell into one of them")
    page = Page(root, edition, path.stem)
    filled = [cell for cell in cells if cell.source.strip()]
    kept = [Cell(cell.cell_type, cell.source, tuple(cell.metadata.get("tags", []))) for cell in filled]
    _write(page.master, render(kept))
    return page


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The command line: 0 when all is well, 1 for findings or a failing cell, 2 for a wrong name or a broken master."""
    parser = argparse.ArgumentParser(description="Make the notebooks from their masters.")
    parser.add_argument("names", nargs="*", help="masters to build, such as 01_svd; all when left out")
    parser.add_argument("--check", action="store_true", help="only report drift and breaches of the lesson contract")
    parser.add_argument("--take-back", type=Path, metavar="NOTEBOOK", help="write an edited notebook into its master")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            findings = check(root, options.names)
            print(*findings or ["every notebook agrees with its master"], sep="\n")
            return int(bool(findings))
        chosen = [take_back(options.take_back, root)] if options.take_back else _choose(root, options.names)
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


def _choose(root: Path, names: list[str]) -> list[Page]:
    every = pages(root)
    wanted = {Path(name).stem for name in names}
    if unknown := sorted(wanted - {page.name for page in every}):
        raise ValueError(f"no master named {', '.join(unknown)}; there are: {', '.join(page.name for page in every)}")
    return [page for page in every if not wanted or page.name in wanted]


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _code(notebook: NotebookNode) -> list[str]:
    """What decides the outputs: the learner's code, not the set-up cell, which a new tag changes."""
    return [cell.source for cell in _code_cells(notebook) if cell.get("id") != SETUP_ID]


def _json(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


def _write(path: Path, text: str) -> bool:
    """Write a whole file or none; say whether it changed."""
    if path.exists() and path.read_bytes() == text.encode():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    os.replace(unfinished, path)
    return True


def _repository(root: Path) -> dict[str, str]:
    return tomllib.loads((root / "course" / "repository.toml").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
