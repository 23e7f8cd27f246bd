"""Run workbooks as a learner does who skips what is asked, or who types the solutions: no cell may fail.

python tests/course/run_workbooks.py lessons          every lesson's, guesses None, turns left as they are
python tests/course/run_workbooks.py exercises        every exercise's
python tests/course/run_workbooks.py lessons/03 --typed
                                                      one of them, with the master's guesses and solutions
"""

import argparse
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "course")]

import build  # noqa: E402
from nbformat import NotebookNode  # noqa: E402

from lora_lab.authoring import editions, pages  # noqa: E402

SKIPPED, TYPED = "not yet done", "right."


def main(arguments: list[str] | None = None) -> int:
    """Run the workbooks that are named, or all; 0 only if no cell failed and every check said what it should."""
    parser = argparse.ArgumentParser(description="Run workbooks as a learner does.")
    parser.add_argument("names", nargs="*", help="how names begin, such as lessons, lessons/03 or exercises/03")
    parser.add_argument("--typed", action="store_true", help="with the master's guesses and solutions typed in")
    options = parser.parse_args(arguments)
    every = pages.pages(ROOT)
    chosen = [page for page in every if not options.names or _label(page).startswith(tuple(options.names))]
    if not chosen:
        parser.error(f"no name begins so; there are {', '.join(map(_label, every))}")
    return max(_run(page, options.typed) for page in chosen)


def _label(page: pages.Page) -> str:
    return f"{Path(page.kind.masters).name}/{page.name}"


def _run(page: pages.Page, typed: bool) -> int:
    workbook = pages.stored(page.workbook)
    assert workbook is not None, f"{page.workbook} is missing: run course/build.py"
    said = json.loads(page.generated.read_text(encoding="utf-8"))
    notebook = editions.filled(workbook, said, page.kind) if typed else without_guesses(workbook, said)
    start = time.perf_counter()
    try:
        build.execute(notebook, page.workbook.parent)
    except Exception as error:  # a failing cell or a dead kernel
        print(f"{_label(page)}: a cell failed\n{error}", flush=True)
        return 1
    wrong = [cell.id for cell in notebook.cells if cell.id.startswith("check-") and not says(cell, typed)]
    verdict = f"not what it should say: {', '.join(wrong)}" if wrong else "passed"
    print(f"{_label(page)}: {verdict} in {time.perf_counter() - start:.0f} s", flush=True)
    return int(bool(wrong))


def without_guesses(workbook: NotebookNode, said: dict) -> NotebookNode:
    """A workbook in which every guess is None."""
    copied = editions.bare(workbook)
    for cell in copied.cells:
        if cell.id.startswith("guess-"):
            for guess in said["guesses"].values():
                stub = guess["gap"]["stub"]
                cell.source = cell.source.replace(stub, stub.replace("...", "None", 1))
    return copied


def says(check: NotebookNode, typed: bool) -> bool:
    """Whether a check said that nothing was typed yet, or that what was typed is right."""
    text = "".join(output.get("text", "") for output in check.outputs)
    return (TYPED if typed else SKIPPED) in text


if __name__ == "__main__":
    sys.exit(main())
