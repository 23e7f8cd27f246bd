"""A session in Colab, in its order: a kernel with an older release, a restart, lesson 00 filled in, a second lesson."""

from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from tests.colab import emulated
from tests.colab.emulated import ROOT, Environment, in_colab

LESSON, WITH_BITSANDBYTES = "00_start_here", "09_build_nf4"

Packages = dict[str, tuple[str, int]]


def notebook(name: str) -> NotebookNode:
    """The workbook with the solutions typed in."""
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def set_up_of(name: str) -> str:
    """From the learner's edition."""
    workbook = nbformat.read(ROOT / "course" / "workbook" / f"{name}.ipynb", as_version=4)
    return next(cell.source for cell in workbook.cells if cell.id == "set-up")


def outputs(executed: NotebookNode) -> list[str]:
    """What each cell of code shows."""
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    return ["".join(_shown(each) for each in cell.outputs) for cell in cells]


def _shown(output: Any) -> str:
    return output.text if output.output_type == "stream" else "\n".join(output.get("traceback", []))


@pytest.fixture(scope="module")
def shipped(colab: Environment) -> Packages:
    return colab.packages()


@pytest.fixture(scope="module")
def older_kernel(colab: Environment, shipped: Packages, repository: str) -> list[str]:
    """What a kernel shows that had loaded an older release: an import of it, the set-up cell, the set-up cell again."""
    address = emulated.REPOSITORY["address"]
    source = f"lora_lab @ git+{address}@older"
    colab.pip("install", "--quiet", "--no-deps", source, environment=in_colab(repository))
    cells = ["import lora_lab; print(lora_lab.__version__)", set_up_of(LESSON), set_up_of(LESSON)]
    return outputs(colab.execute(new_notebook(cells=[new_code_cell(cell) for cell in cells]), in_colab(repository)))


@pytest.fixture(scope="module")
def lesson(colab: Environment, older_kernel: list[str], repository: str) -> NotebookNode:
    """The lesson after the restart, with a look at what it ran on at its end."""
    executed = notebook(LESSON)
    look = "import lora_lab, torch, transformers, peft\nprint(lora_lab.__file__, torch.__version__, peft.__version__)"
    executed.cells.append(new_code_cell(look))
    return colab.execute(executed, in_colab(repository))


def test_a_kernel_that_has_loaded_an_older_release_is_to_be_restarted(older_kernel: list[str]) -> None:
    loaded, first, _ = older_kernel
    assert loaded == "0.0.1\n"
    printed, _, sentence = first.partition("\n")
    assert printed == "Installing the course, once: about half a minute"
    assert sentence.startswith("This session has to be restarted: lora_lab ")
    assert sentence.endswith(
        "is installed, and an older one is loaded. Choose Runtime > Restart session, then run this cell again."
    )


def test_until_the_restart_the_cell_says_so_again_and_installs_nothing(older_kernel: list[str]) -> None:
    assert older_kernel[2] == older_kernel[1].partition("\n")[2]


def test_the_lesson_runs_to_its_end_on_colabs_versions(colab: Environment, lesson: NotebookNode) -> None:
    failed = [each.traceback for cell in lesson.cells for each in cell.get("outputs", []) if "traceback" in each]
    assert failed == []
    file, torch, peft = outputs(lesson)[-1].split()
    assert file == str(colab.site / "lora_lab" / "__init__.py")
    assert (torch, peft) == (emulated.TORCH, "0.20.0")


def test_after_the_restart_the_cell_installs_nothing_and_finds_nothing_wrong(lesson: NotebookNode) -> None:
    assert outputs(lesson)[0] == "No GPU here: the lessons use the small model that comes with the course.\n"


def test_nothing_that_colab_ships_was_replaced_and_only_the_course_is_new(
    colab: Environment, shipped: Packages, lesson: NotebookNode
) -> None:
    now = colab.packages()
    assert {name: now.get(name) for name in shipped} == shipped
    assert set(now) - set(shipped) == {"lora_lab"}


def test_a_lesson_that_needs_bitsandbytes_gets_it_alone_and_once(
    colab: Environment, shipped: Packages, lesson: NotebookNode, repository: str
) -> None:
    before = colab.packages()
    asked = "from peft.import_utils import is_bnb_available\nis_bnb_available()"  # as `get_peft_model` asks
    told = colab.run_cell(set_up_of(WITH_BITSANDBYTES), in_colab(repository), before=asked)
    assert "peft looked for bitsandbytes before it was installed, and will not look again" in told
    assert told.endswith("Choose Runtime > Restart session, then run this cell again.\n")
    now = colab.packages()
    assert {name: now.get(name) for name in before} == before
    assert set(now) - set(before) == {"bitsandbytes"}

    again = colab.run_cell(set_up_of(WITH_BITSANDBYTES), in_colab(repository), before=asked)
    assert again == "No GPU here: the lessons use the small model that comes with the course.\n"
    assert colab.packages() == now
