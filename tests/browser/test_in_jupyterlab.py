"""The first notebook runs green where learners run it: in JupyterLab, in a real browser, without network."""

import importlib
import importlib.util
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

FIRST = Path(__file__).resolve().parents[2] / "notebooks" / "00_start_here.ipynb"

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}  # without it JupyterLab would ask

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def driver() -> ModuleType:
    """The driver module; without a browser its tests are skipped, or fail where LORA_LAB_REQUIRE asks for one."""
    if importlib.util.find_spec("playwright") is None:
        _do_without("playwright: pip install playwright")
    driver = importlib.import_module("lab_driver")  # beside this file
    if driver.find_chromium() is None:
        _do_without("chromium: apt-get install chromium fonts-liberation")
    return driver


def _do_without(what: str) -> None:
    if "chromium" in os.environ.get("LORA_LAB_REQUIRE", "").split(","):
        pytest.fail(f"LORA_LAB_REQUIRE asks for a browser, and this machine lacks {what}")
    pytest.skip(f"this machine lacks {what}")


def run(driver: ModuleType, notebook: Path, folder: Path) -> list[dict[str, Any]]:
    """Run a copy of the notebook in a private JupyterLab; return its code cells."""
    with driver.serve(folder) as server, driver.browse() as page:
        shutil.copy(notebook, server.folder)
        driver.open_notebook(page, server, notebook.name)
        return driver.run_all(page)


def problems(cells: list[dict[str, Any]]) -> list[str]:
    """Cells that were not executed or ended in an error, as sentences."""
    outputs = [(number, output) for number, cell in enumerate(cells, 1) for output in cell["outputs"]]
    errors = [f"cell {n}: {o['ename']}: {o['evalue']}" for n, o in outputs if o["output_type"] == "error"]
    idle = [f"cell {n} was not executed" for n, cell in enumerate(cells, 1) if cell["execution_count"] is None]
    return errors + idle


def test_the_first_notebook_runs_green(driver: ModuleType, tmp_path: Path) -> None:
    stored = [cell for cell in nbformat.read(FIRST, as_version=4).cells if cell.cell_type == "code"]
    cells = run(driver, FIRST, tmp_path)
    assert len(cells) == len(stored)
    assert problems(cells) == []


def test_a_failing_cell_is_seen(driver: ModuleType, tmp_path: Path) -> None:
    """Guards the test above: a driver that sees nothing would pass everything."""
    notebook = tmp_path / "tiny.ipynb"
    cells = [new_code_cell("1 + 1"), new_code_cell("1 / 0"), new_code_cell("2")]
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), notebook)
    found = problems(run(driver, notebook, tmp_path))
    assert found == ["cell 2: ZeroDivisionError: division by zero", "cell 3 was not executed"]


def test_the_memory_explorer_follows_its_controls(driver: ModuleType, tmp_path: Path) -> None:
    notebook = tmp_path / "explorer.ipynb"
    cell = new_code_cell("from lora_lab import show\nshow.memory_explorer('smollm2-135m', 't4')")
    nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": KERNEL}), notebook)
    with driver.serve(tmp_path) as server, driver.browse() as page:
        shutil.copy(notebook, server.folder)
        driver.open_notebook(page, server, notebook.name)
        assert problems(driver.run_all(page)) == []
        page.get_by_text("smollm2-135m with qlora fits on t4").first.wait_for()
        page.get_by_role("button", name="full").click()
        page.get_by_text("smollm2-135m with full fits on t4").first.wait_for()
        if picture := os.environ.get("LORA_LAB_PICTURE"):
            page.screenshot(path=picture)
