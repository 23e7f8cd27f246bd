"""Workbooks run as by a learner who skips what is asked, and as by one who types the solutions."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output

from lora_lab.authoring import pages
from tests.course import run_workbooks
from tests.helpers.masters import LESSON

SAYS = {"skipped": "double: not yet done: going on", "typed": "double: right. Going on with yours."}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[nbformat.NotebookNode]:
    """What is executed, in a course of one lesson; every check says what a learner's would."""
    page = pages.Page(tmp_path, "05_lesson")
    pages.write(page.master, LESSON)
    pages.write(tmp_path / "course/repository.toml", 'address = "https://github.com/o/r"\nref = "v1"\n')
    pages.write(page.workbook, pages.as_json(page.sources().workbook))
    pages.write(page.generated, page.sources().generated)
    executed: list[nbformat.NotebookNode] = []

    def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
        assert folder == page.workbook.parent
        executed.append(notebook)
        text = "\n".join(cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            if cell.id.startswith("check-"):
                says = SAYS["typed" if "return 2 * x\n    #<" in text else "skipped"]
                cell.outputs = [new_output("stream", text=says)]

    monkeypatch.setattr(run_workbooks, "ROOT", tmp_path)
    monkeypatch.setattr(run_workbooks.build, "execute", execute)
    return executed


def test_who_skips_everything_makes_no_guess_and_types_nothing(run, capsys):
    assert run_workbooks.main(["lessons/05"]) == 0
    code = [cell.source for cell in run[0].cells if cell.cell_type == "code"]
    assert "energy = None  # directions of 192\nrank = None  # rank of an update" in code
    assert "def double(x):\n    # twice as much: one line\n    ..." in code
    assert "05_lesson: passed in" in capsys.readouterr().out


def test_who_types_the_solutions_runs_the_notebook(run):
    assert run_workbooks.main(["--typed"]) == 0
    notebook = pages.Page(run_workbooks.ROOT, "05_lesson").sources().notebook
    assert [cell.source for cell in run[0].cells] == [cell.source for cell in notebook.cells]


@pytest.mark.parametrize(("arguments", "says"), [([], SAYS["typed"]), (["--typed"], SAYS["skipped"])])
def test_a_check_that_says_something_else_is_a_failure(run, arguments, says, monkeypatch, capsys):
    for kind in SAYS:
        monkeypatch.setitem(SAYS, kind, says)
    assert run_workbooks.main(arguments) == 1
    assert "not what it should say: check-double, check-scaling" in capsys.readouterr().out


def test_a_cell_that_fails_is_a_failure_and_the_others_run(run, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("NameError: name 'alpha' is not defined")

    monkeypatch.setattr(run_workbooks.build, "execute", fail)
    assert run_workbooks.main([]) == 1
    assert "05_lesson: a cell failed\nNameError" in capsys.readouterr().out


def test_a_name_that_no_lesson_begins_with_is_named_as_wrong(run, capsys):
    with pytest.raises(SystemExit):
        run_workbooks.main(["99"])
    assert "no name begins so; there are lessons/05_lesson" in capsys.readouterr().err and not run
