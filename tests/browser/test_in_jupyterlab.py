"""The course works where learners work: in JupyterLab as `lora-lab lab` starts it, in a browser, without network."""

import json
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.helpers.course import ANSWER, code, lesson, written

ROOT = Path(__file__).resolve().parents[2]
FIRST = "00_start_here"

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}  # without it JupyterLab would ask

pytestmark = pytest.mark.browser


ARRIVED = """name => {
    const shown = window.jupyterapp.shell.currentWidget?.node;
    const entry = shown?.querySelector(`[data-jupyter-id="${name}"]`);
    const below = entry && entry.getBoundingClientRect().top - shown.getBoundingClientRect().top;
    return entry && below >= 0 && below < shown.clientHeight;
}"""


def progress(server: Any) -> dict[str, Any]:
    return json.loads((server.folder / "progress.json").read_text(encoding="utf-8"))


def put(server: Any, name: str, *sources: str) -> None:
    """A notebook of these cells of code, in the learner's folder."""
    notebook = new_notebook(cells=[new_code_cell(text) for text in sources], metadata={"kernelspec": KERNEL})
    nbformat.write(notebook, server.folder / f"{name}.ipynb")


def test_the_first_lesson_opens_with_nothing_before_it_and_its_links_open(
    driver: ModuleType, server: Any, page: Any
) -> None:
    """At the address that the command prints. A lesson and a document are clicked."""
    driver.open_first(page, server)
    assert driver.opened(page) == f"workbook/{FIRST}.ipynb"
    cells = [cell for cell in read(server.folder / "workbook").cells if cell.cell_type == "markdown"]
    links = [(cell.id, link) for cell in cells for link in _links(cell.source)]
    assert links and [link for _, link in links if not (server.folder / "workbook" / link).is_file()] == []
    for suffix in (".ipynb", ".md"):
        cell, link = next((cell, link) for cell, link in links if link.endswith(suffix))
        driver.follow(page, cell, link)
        assert driver.opened(page) == os.path.normpath(f"workbook/{link}")
        driver.open_notebook(page, server, f"workbook/{FIRST}.ipynb")
    assert driver.pop_ups(page) == []


def test_a_link_to_the_glossary_arrives_at_its_entry(driver: ModuleType, server: Any, page: Any) -> None:
    """The entry that the link names is in sight, far below the top of the document."""
    driver.open_notebook(page, server, f"workbook/{FIRST}.ipynb")
    page.locator('a[href*="glossary.md"][href$="#qlora"]').first.click()
    page.wait_for_function(ARRIVED, arg="qlora")
    assert driver.opened(page) == "glossary.md"


def test_the_first_lesson_is_worked_through(driver: ModuleType, server: Any, page: Any) -> None:
    """What its master answers is typed in, is right, and is kept."""
    driver.open_notebook(page, server, f"workbook/{FIRST}.ipynb")
    complete = read(ROOT / "notebooks")
    for cell in complete.cells:
        if cell.id.startswith(("guess-", "turn-")):
            driver.type_into(page, cell.id, cell.source)
    cells = driver.run_all(page)
    assert len(cells) == len([cell for cell in complete.cells if cell.cell_type == "code"])
    assert (
        driver.problems(cells) == []
        and "not yet done" not in driver.printed(cells)
        and "not right yet" not in driver.printed(cells)
    )
    driver.save(page)
    assert driver.pop_ups(page) == []

    said = json.loads((ROOT / "lora_lab" / "exercises" / "generated" / f"{FIRST}.json").read_text(encoding="utf-8"))
    if said["turns"] or said["guesses"]:
        kept = progress(server)
        assert all(kept["turns"][name]["right"] for name in said["turns"])
        assert said["guesses"].keys() <= kept["guesses"].keys()


def read(folder: Path) -> Any:
    """The first lesson of a folder."""
    return nbformat.read(folder / f"{FIRST}.ipynb", as_version=4)


def _links(text: str) -> list[str]:
    return re.findall(r"\]\(((?!https?:|#|attachment:)[^)#]+)", text)


SMALL = """\
from pathlib import Path

from lora_lab import disk
from lora_lab.exercises import check, guesses, lessons, results
from lora_lab.exercises.tasks import Wrong, task

lessons.FOLDER = Path("generated")
about = {"question": "directions of 192", "value": 40, "wrong": [[192, "all"], [16, "few"]], "section": "", "gap": {}}
turn = {"solution": "", "stub": "", "hints": [], "section": "", "gaps": []}
small = {"title": "Small", "sections": [], "guesses": {"energy": about}, "turns": {"update": turn}}
disk.write_json(lessons.FOLDER / "90_small.json", small)

@task(reference=lambda: lambda x: 2 * x)
def update(answer):
    if answer(3) != 6:
        raise Wrong(f"yours {answer(3)}, wanted 6")
"""


def test_a_guess_and_a_turn_stop_or_go_on_in_a_sentence_and_are_kept(
    driver: ModuleType, server: Any, page: Any
) -> None:
    cells = [code(SMALL), *lesson()[2:-1], code("guessed.against(energy=30)\nupdate(4)")]
    name = "workbook/90_small.ipynb"
    (server.folder / name).write_bytes(written(cells))
    driver.open_notebook(page, server, name)

    ran = driver.run_all(page)
    assert page.get_by_text("First your guess: give energy a number").count() == 1
    assert page.get_by_text("Traceback").count() == 0 and [cell["execution_count"] for cell in ran][-1] is None

    driver.type_into(page, "guess-energy", "energy = 40")
    driver.type_into(page, "turn-update", "def update(x):\n    return x")
    wrong = driver.run_all(page)
    assert driver.problems(wrong) == [] and "update: not right yet: yours 3, wanted 6" in driver.printed(wrong)
    assert wrong[-1]["outputs"][-1]["data"]["text/plain"] == "8"  # the library's goes on

    driver.type_into(page, "turn-update", ANSWER)
    right = driver.run_all(page)
    assert driver.problems(right) == [] and "update: right. Going on with yours." in driver.printed(right)
    kept = progress(server)
    assert kept["turns"]["update"]["right"] and kept["guesses"]["energy"] == {"guess": 40, "measured": 30.0}


def test_commands_run_in_a_cell_are_those_of_this_environment(driver: ModuleType, server: Any, page: Any) -> None:
    put(server, "commands", "!lora-lab --help", "import sys; print(sys.executable)", "!which python")
    driver.open_notebook(page, server, "commands.ipynb")
    ran = driver.run_all(page)
    assert "bring" in driver.printed(ran[:1]) or "doctor" in driver.printed(ran[:1])
    executable, found = driver.printed(ran[1:2]).strip(), driver.printed(ran[2:]).strip()
    assert Path(found).parent == Path(executable).parent


def test_a_failing_cell_is_seen(driver: ModuleType, server: Any, page: Any) -> None:
    """Guards the tests above: a driver that sees nothing would pass everything."""
    put(server, "tiny", "1 + 1", "1 / 0", "2")
    driver.open_notebook(page, server, "tiny.ipynb")
    found = driver.problems(driver.run_all(page))
    assert found == ["cell 2: ZeroDivisionError: division by zero", "cell 3 was not executed"]
