"""The quantizer follows keys and mouse in a real browser, at once, and its sliders announce their values."""

import os
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
import test_in_jupyterlab as shared
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.browser


def test_the_quantizer_follows_keys_and_mouse_and_announces_values(driver: ModuleType, tmp_path: Path) -> None:
    cell = new_code_cell("from lora_lab import show\nshow.quantizer_explorer(('INT4', 'NF4'), outlier=0)")
    with driver.serve(tmp_path) as server, driver.browse() as page:
        name = "quantizer.ipynb"
        nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": shared.KERNEL}), server.folder / name)
        driver.open_notebook(page, server, name)
        assert driver.problems(driver.run_all(page)) == []
        page.get_by_alt_text("INT4, blocks of 64, σ 1, no outlier").wait_for()
        outlier = page.get_by_role("slider")
        assert float(outlier.get_attribute("aria-valuenow") or -1) == 0

        outlier.focus()
        outlier.press("ArrowRight")
        page.get_by_alt_text("INT4, blocks of 64, σ 1, outlier 5 σ").wait_for()
        assert float(outlier.get_attribute("aria-valuenow") or -1) == 5

        outlier.scroll_into_view_if_needed()
        place = outlier.bounding_box()
        track = outlier.locator("xpath=ancestor::*[contains(@class, 'noUi-base')]").bounding_box()
        assert place is not None and track is not None
        page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        page.mouse.down()
        page.mouse.move(track["x"] + track["width"], place["y"] + place["height"] / 2, steps=5)
        page.get_by_alt_text("INT4, blocks of 64, σ 1, outlier 50 σ: absmax 50.000").wait_for()  # before it is let go
        page.mouse.up()

        page.locator(".widget-dropdown select").nth(0).select_option("NF4")
        page.locator(".widget-dropdown select").nth(1).select_option("16")
        page.get_by_alt_text("NF4, blocks of 16, σ 1, outlier 50 σ").wait_for()
        if picture := os.environ.get("LORA_LAB_PICTURE"):
            page.screenshot(path=picture)
