"""Masters become notebooks, and back; nothing drifts unseen."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import build
import contract
import contract_of_slides
import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from lora_lab.authoring import editions, execution, pages, set_up
from lora_lab.authoring.percent import Cell, parse, render
from tests.helpers.masters import LESSON

MASTER = """\
# %% [markdown]
# # A lesson
#
# One sentence of promise.

# %%
total = 1 + 2
print(total)

# %% [markdown] tags=["wide"]
# What the sum is: $1 + 2$

# %% tags=["nbval-ignore-output"]
total

# %%
assert total == 3
"""
NAME = "01_sum"

# What the format could trip over, and a little of everything else.
texts = st.text(st.sampled_from("a#% []\t\"'\\é…"), max_size=8)


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """A cell whose source begins and ends with a line that is not blank."""
    inner = [line.replace("# %%", "") for line in draw(st.lists(texts, max_size=4))]
    source = "\n".join(["first", *inner, "last"]) if draw(st.booleans()) else ""
    return Cell(draw(st.sampled_from(["markdown", "code"])), source, tuple(draw(st.lists(texts, max_size=2))))


SETUP = "print('{ref}')"  # a set-up cell that needs no library


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A course of one small master, not built yet."""
    monkeypatch.setattr(set_up, "TEMPLATE", SETUP)
    monkeypatch.setattr(contract, "lesson", lambda notebook, name: iter(()))  # too small for it
    monkeypatch.setattr(contract_of_slides, "slides", lambda notebook, lesson: iter(()))
    write_course(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("course")
    write_course(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_up, "TEMPLATE", SETUP)
        assert build.main([], folder) == 0
    return folder


@pytest.fixture
def built(root: Path, built_once: Path) -> Path:
    """The same course with its notebook executed, and its workbook."""
    kind = editions.LESSON
    for folder in (kind.complete, kind.learners, kind.generated):
        shutil.copytree(built_once / folder, root / folder)
    return root


def write_course(root: Path) -> None:
    (root / "course").mkdir()
    (root / "course" / "repository.toml").write_text('address = "https://github.com/o/r"\nref = "v1"\n')
    write_master(root, MASTER)


def write_master(root: Path, text: str, name: str = NAME) -> None:
    path = root / "course/masters/lessons" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def notebook_path(root: Path) -> Path:
    return root / "notebooks" / f"{NAME}.ipynb"


def edit(root: Path, change: Callable[[nbformat.NotebookNode], Any]) -> None:
    """Change the stored notebook as JupyterLab might."""
    notebook = nbformat.read(notebook_path(root), as_version=4)
    change(notebook)
    nbformat.write(notebook, notebook_path(root))


def master_text(root: Path) -> str:
    return (root / "course/masters/lessons" / f"{NAME}.py").read_text(encoding="utf-8")


# ── the percent format ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_master_survives_parsing_and_rendering_to_the_byte() -> None:
    assert render(parse(MASTER)) == MASTER


@pytest.mark.parametrize("line", ["%%", "%%time", "\\%%", "\\\\%% [markdown]"])
def test_text_that_looks_like_a_cell_header_stays_text(line: str) -> None:
    given_cells = [Cell("markdown", f"first\n{line}\nlast")]
    assert parse(render(given_cells)) == given_cells


@given(st.lists(cells()))
def test_any_cells_survive_rendering_and_parsing(given_cells: list[Cell]) -> None:
    assert parse(render(given_cells)) == given_cells


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print(1)\n", "line 1"),
        ("# %% [code]\n", "line 1"),
        ("# %% tags=['single']\n1\n", "line 1"),
        ("# %% [markdown]\n# fine\nbare text\n", "line 3"),
        ("# %% [markdown]\n\n\nbare text\n", "line 4"),
    ],
)
def test_a_master_out_of_form_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(("text", "line"), [("# %%\n1\n", 2), ("# %%\n\n1\n", 3), ("# %% [markdown]\n\n# a\n", 3),
                                            ("# %% [markdown]\n\n#\n# a\n", 4)])  # fmt: skip
def test_a_cell_knows_the_line_at_which_its_source_begins(text: str, line: int) -> None:
    assert parse(text)[0].line == line


def test_a_code_cell_that_would_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split"):
        render([Cell("code", "a = '''\n# %% not a header\n'''")])


# ── building ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_built_notebook_is_executed_and_passes_the_check(built: Path) -> None:
    notebook = nbformat.read(notebook_path(built), as_version=4)
    nbformat.validate(notebook)
    assert build.check(built, []) == []
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == [1, 2, 3, 4]
    assert notebook.cells[3].outputs[0].text == "3\n"
    assert dict(notebook.metadata) == editions.METADATA


def test_badge_and_set_up_follow_the_opening_cell_and_name_the_ref(built: Path) -> None:
    opening, badge, setup = nbformat.read(notebook_path(built), as_version=4).cells[:3]
    assert opening.source.startswith("# A lesson")
    assert "https://colab.research.google.com/github/o/r/blob/v1/course/workbook/01_sum.ipynb" in badge.source
    assert setup.source == "print('v1')" and setup.metadata.cellView == "form"


def test_a_second_build_changes_no_byte(built: Path) -> None:
    before = notebook_path(built).read_bytes()
    assert build.build(pages.pages(built)[0]) == "up to date"
    assert notebook_path(built).read_bytes() == before


def test_a_fresh_build_gives_the_same_bytes(built: Path) -> None:
    before = notebook_path(built).read_bytes()
    notebook_path(built).unlink()
    assert build.main([], built) == 0
    assert notebook_path(built).read_bytes() == before


def test_changed_prose_keeps_the_outputs_and_executes_nothing(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "execute", lambda *_: pytest.fail("executed"))
    write_master(built, MASTER.replace("One sentence", "Another sentence"))
    assert build.check(built, []) != []
    assert build.main([NAME], built) == 0
    assert build.check(built, []) == []


def test_changed_code_is_executed_again(built: Path) -> None:
    write_master(built, MASTER.replace("print(total)", "print(total, total)"))
    assert build.main([], built) == 0
    assert nbformat.read(notebook_path(built), as_version=4).cells[3].outputs[0].text == "3 3\n"


def test_a_failing_cell_leaves_the_old_notebook_in_place(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = notebook_path(built).read_bytes()
    write_master(built, MASTER.replace("total == 3", "total == 4"))
    assert build.main([], built) == 1
    assert "AssertionError" in capsys.readouterr().err
    assert notebook_path(built).read_bytes() == before


def test_an_untidy_master_is_tidied_and_until_then_reported(built: Path) -> None:
    write_master(built, "\n" + MASTER.replace("\n# %%", "\n\n\n# %%"))
    assert any("tidy" in finding for finding in build.check(built, []))
    assert build.main([], built) == 0
    assert master_text(built) == MASTER and build.check(built, []) == []


def test_equal_cells_get_different_ids_that_do_not_move() -> None:
    repository = {"address": "https://github.com/o/r", "ref": "v1"}
    twice = [Cell("markdown", "# T"), Cell("code", "x = 1"), Cell("code", "x = 1")]
    ids = [cell.id for cell in editions.notebook(twice, "p", repository).cells]
    assert len(set(ids)) == len(ids)
    between = [*twice[:2], Cell("code", "y = 2"), twice[2]]
    longer = [cell.id for cell in editions.notebook(between, "p", repository).cells]
    assert longer[:4] == ids[:4] and longer[5] == ids[4]


def test_a_second_lesson_with_the_same_name_of_a_turn_ends_with_status_2(root: Path, capsys: Any) -> None:
    for name in ("02_a", "03_b"):
        write_master(root, LESSON, name)
    assert build.main([NAME], root) == 2
    assert "03_b.py: line 16: 'energy' is a name in course/masters/lessons/02_a.py already" in capsys.readouterr().err
    assert any("03_b.py: line 16: 'energy'" in finding for finding in build.check(root, []))


@pytest.mark.parametrize("arguments", [["02_none"], ["--check", "02_none"], ["--take-back", "nowhere.ipynb"]])
def test_a_wrong_name_ends_with_status_2(root: Path, arguments: list[str]) -> None:
    assert build.main(arguments, root) == 2


def test_a_broken_master_ends_with_status_2_and_names_the_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_master(root, "print(1)\n")
    assert build.main([], root) == 2
    assert "01_sum.py: line 1" in capsys.readouterr().err


# ── drift ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def set_source(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[3].source = "print(3)"


def set_id(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[3].id = "elsewhere"


def set_metadata(notebook: nbformat.NotebookNode) -> None:
    notebook.metadata.kernelspec.display_name = "My Python"


def add_cell(notebook: nbformat.NotebookNode) -> None:
    notebook.cells.append(new_markdown_cell("more"))


def drop_setup(notebook: nbformat.NotebookNode) -> None:
    del notebook.cells[2]


def forget_execution(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[3].update(execution_count=None, outputs=[])


def store_error(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[3].outputs = [new_output("error", ename="ValueError", evalue="no", traceback=[])]


def store_bare_image(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[3].outputs = [new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"})]


def store_image_without_alt(notebook: nbformat.NotebookNode) -> None:
    html = '<figure><img alt="" src="data:,"></figure>'
    notebook.cells[3].outputs = [new_output("display_data", {"text/html": html})]


def store_local_path(notebook: nbformat.NotebookNode) -> None:
    notebook.cells[3].outputs = [new_output("stream", text=f"saved in {build.ROOT}/x")]


@pytest.mark.parametrize(
    "change",
    [set_source, set_id, set_metadata, add_cell, drop_setup, forget_execution, store_error, store_bare_image,
     store_image_without_alt, store_local_path],
)  # fmt: skip
def test_the_check_sees(built: Path, change: Callable[[nbformat.NotebookNode], None]) -> None:
    edit(built, change)
    assert build.main(["--check"], built) == 1


def test_the_check_ignores_what_an_output_says(built: Path) -> None:
    edit(built, lambda notebook: notebook.cells[3].outputs[0].update(text="4\n"))
    assert build.main(["--check"], built) == 0


def test_the_check_sees_a_missing_notebook_and_one_without_master(built: Path) -> None:
    notebook_path(built).rename(built / "notebooks" / "09_stray.ipynb")
    findings = build.check(built, [])
    assert any("missing" in finding for finding in findings) and any("no master" in finding for finding in findings)


def workbook_path(root: Path) -> Path:
    return root / "course/workbook" / f"{NAME}.ipynb"


def generated_path(root: Path) -> Path:
    return root / "lora_lab/exercises/generated" / f"{NAME}.json"


def test_the_check_sees_a_workbook_that_was_worked_in(built: Path) -> None:
    workbook = nbformat.read(workbook_path(built), as_version=4)
    workbook.cells[3].outputs = [new_output("stream", text="3")]
    nbformat.write(workbook, workbook_path(built))
    assert build.check(built, []) == [f"course/workbook/{NAME}.ipynb: cell 3 has an output: run course/build.py"]
    workbook.cells[3].source = "mine = 3"
    nbformat.write(workbook, workbook_path(built))
    findings = build.check(built, [])
    assert any("cell 3 differs" in finding for finding in findings)
    assert any("filled in, it is not the notebook" in finding for finding in findings)


@pytest.mark.parametrize("path", [workbook_path, generated_path])
def test_the_check_sees_what_is_missing_and_a_build_writes_it_without_executing(
    built: Path, path: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path(built).read_bytes()
    path(built).unlink()
    assert len(build.check(built, [])) == 1
    monkeypatch.setattr(build, "execute", lambda *_: pytest.fail("executed"))
    assert build.main([], built) == 0
    assert path(built).read_bytes() == before and build.check(built, []) == []


def test_a_notebook_with_the_marks_of_a_merge_is_named(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notebook_path(built).write_text("<<<<<<< ours\n{}\n")
    for arguments in ([], ["--check"]):
        assert build.main(arguments, built) == 2
        assert "01_sum.ipynb is no notebook any more: delete it" in capsys.readouterr().err


def test_the_check_sees_what_the_exercises_no_longer_say(built: Path) -> None:
    generated_path(built).write_text("{}")
    assert build.check(built, []) == [f"lora_lab/exercises/generated/{NAME}.json: differs from its master: "
                                      "run course/build.py"]  # fmt: skip


def test_a_workbook_that_loses_a_cell_is_seen_even_if_the_builder_lost_it(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filled in, it must be the notebook, whatever made it."""
    whole = editions.workbook

    def forgetful(notebook: nbformat.NotebookNode, *about: Any) -> nbformat.NotebookNode:
        made = whole(notebook, *about)
        del made.cells[-1]
        return made

    monkeypatch.setattr(editions, "workbook", forgetful)
    assert build.main([], built) == 0
    assert build.check(built, []) == [f"course/workbook/{NAME}.ipynb: filled in, it is not the notebook"]


def test_minutes_that_changed_execute_the_lesson_again(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell may show them."""
    heading = '# %% [markdown] tags=["minutes:5"]\n# ## A section\n\n'
    executed: list[Path] = []
    write_master(built, MASTER.replace("# %%\ntotal", f"{heading}# %%\ntotal"))
    monkeypatch.setattr(build, "execute", lambda _, folder: executed.append(folder))
    assert build.main([], built) == 0
    assert executed == [built / "notebooks"]


def test_the_kernel_keeps_no_progress_and_loads_no_other_model(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}
    client = SimpleNamespace(execute=lambda env: given.update(env))
    monkeypatch.setattr(execution, "NotebookClient", lambda *_, **__: client)
    assert build.main([], root) == 0
    assert (given["LORA_LAB_PROGRESS"], given["LORA_LAB_MODEL"]) == ("off", "embedded")


# ── taking back ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_untouched_notebook_gives_its_master_to_the_byte(built: Path) -> None:
    assert build.main(["--take-back", str(notebook_path(built))], built) == 0
    assert master_text(built) == MASTER


def test_a_workbook_is_not_taken_back(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--take-back", str(workbook_path(built))], built) == 2
    assert "--take-back wants a notebook in notebooks" in capsys.readouterr().err
    assert master_text(built) == MASTER


def test_an_edited_notebook_goes_back_into_its_master(built: Path) -> None:
    edit(built, lambda notebook: notebook.cells[0].update(source="# A better title"))
    edit(built, lambda notebook: notebook.cells.insert(4, new_code_cell("print('new')")))
    edit(built, lambda notebook: notebook.cells.append(new_code_cell("")))  # JupyterLab leaves one at the end
    assert build.main(["--take-back", str(notebook_path(built))], built) == 0
    longer = MASTER.replace("print(total)\n", "print(total)\n\n# %%\nprint('new')\n")
    assert master_text(built) == longer.replace("# # A lesson\n#\n# One sentence of promise.", "# # A better title")
    assert build.check(built, []) == []


# ── outputs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_another_set_up_cell_keeps_the_outputs(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints depends on the machine and is compared nowhere, so its words may change without a run."""
    monkeypatch.setattr(set_up, "TEMPLATE", "print('another {ref}')")
    monkeypatch.setattr(build, "execute", lambda *_: pytest.fail("executed"))
    before = nbformat.read(notebook_path(built), as_version=4)
    assert build.main([], built) == 0
    after = nbformat.read(notebook_path(built), as_version=4)
    assert after.cells[2].source == "print('another v1')"
    assert [cell.get("outputs") for cell in after.cells] == [cell.get("outputs") for cell in before.cells]


def test_json_of_a_notebook_has_one_form(built: Path) -> None:
    text = notebook_path(built).read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def test_a_breach_of_the_lesson_contract_is_drift(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "lesson", lambda notebook, name: iter([f"{name} has no guess"]))
    assert build.check(built, []) == [f"course/masters/lessons/{NAME}.py: {NAME} has no guess"]
