"""LoRA's explorable follows keys and mouse in a real browser, and its sliders announce their values."""

import os
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import test_in_jupyterlab as shared
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.browser

RANK = 2  # sliders from the top: rows, columns, rank, alpha


def test_the_lora_explorer_follows_keys_and_mouse_and_announces_values(driver: ModuleType, tmp_path: Path) -> None:
    notebook = tmp_path / "explorer.ipynb"
    cell = new_code_cell("from lora_lab import show\nshow.lora_explorer(192, 192, r=8, alpha=16)")
    with driver.serve(tmp_path) as server, driver.browse() as page:
        nbformat.write(
            new_notebook(cells=[cell], metadata={"kernelspec": shared.KERNEL}), server.folder / notebook.name
        )
        driver.open_notebook(page, server, notebook.name)
        assert driver.problems(driver.run_all(page)) == []
        page.get_by_alt_text("3,072 numbers train").wait_for()
        sliders = page.get_by_role("slider")
        rank = sliders.nth(RANK)
        assert [float(sliders.nth(i).get_attribute("aria-valuenow") or 0) for i in range(4)] == [192, 192, 8, 16]

        rank.focus()
        rank.press("ArrowRight")
        page.get_by_alt_text("3,456 numbers train").wait_for()
        page.get_by_alt_text("A [9, 192]").wait_for()
        assert float(rank.get_attribute("aria-valuenow") or 0) == 9

        place, track = (
            rank.bounding_box(),
            rank.locator("xpath=ancestor::*[contains(@class, 'noUi-base')]").bounding_box(),
        )
        assert place is not None and track is not None
        page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        page.mouse.down()
        page.mouse.move(track["x"] + track["width"], place["y"] + place["height"] / 2, steps=5)
        page.mouse.up()
        page.get_by_alt_text("LoRA has more numbers than W₀ here").wait_for()
        assert float(rank.get_attribute("aria-valuenow") or 0) == 1024
        if picture := os.environ.get("LORA_LAB_PICTURE"):
            page.screenshot(path=picture)
