"""Explorables follow the mouse and the keyboard, in JupyterLab and in a real browser."""

import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}  # without it JupyterLab would ask
RANKS = """\
import torch
from lora_lab import show

across = torch.linspace(0, 6, 96)
waves = torch.stack([torch.sin(k * across) / k for k in range(1, 65)])
show.rank_explorer({"waves": waves, "backwards": waves.flip(1)}, r=4)"""

pytestmark = pytest.mark.browser


def opened(driver: ModuleType, page: Any, server: Any, source: str, folder: Path) -> None:
    """A notebook of one cell, opened and run."""
    notebook = folder / "explorable.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source)], metadata={"kernelspec": KERNEL}), notebook)
    shutil.copy(notebook, server.folder)
    driver.open_notebook(page, server, notebook.name)
    (cell,) = driver.run_all(page)
    assert [output for output in cell["outputs"] if output["output_type"] == "error"] == []


def test_the_rank_slider_follows_the_keyboard_and_the_mouse(driver: ModuleType, tmp_path: Path) -> None:
    with driver.serve(tmp_path) as server, driver.browse() as page:
        opened(driver, page, server, RANKS, tmp_path)
        image = page.get_by_alt_text("waves, 4 of 64 layers", exact=False)
        image.wait_for()
        at_four = image.get_attribute("src")
        handle = page.get_by_role("slider").first
        handle.focus()
        page.keyboard.press("ArrowRight")
        page.get_by_text("r = 5", exact=True).wait_for()
        after_key = page.get_by_alt_text("waves, 5 of 64 layers", exact=False)
        assert after_key.get_attribute("src") != at_four
        track = page.locator(".noUi-target").first.bounding_box()
        at = page.locator(".noUi-handle").first.bounding_box()
        page.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
        page.mouse.down()
        page.mouse.move(track["x"] + track["width"] + 20, at["y"] + at["height"] / 2, steps=4)
        page.mouse.up()
        page.get_by_text("r = 64", exact=True).wait_for()
        page.get_by_alt_text("backwards, 64 of 64 layers: 100.0%", exact=False).wait_for()
        if picture := os.environ.get("LORA_LAB_PICTURE"):
            page.screenshot(path=picture)
