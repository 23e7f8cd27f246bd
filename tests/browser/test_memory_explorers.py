"""The explorables of memory follow mouse and keyboard in a real browser, and say their values to a screen reader."""

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import test_explorables as shared

pytestmark = pytest.mark.browser

RANK, BATCH, TOKENS, ACCUMULATION = range(4)  # sliders of a step, from the top
CONTEXT = 1  # of an answer


def announced(page: Any) -> list[str]:
    """What a screen reader says of each slider."""
    return [slider.get_attribute("aria-valuetext") for slider in page.get_by_role("slider").all()]


def narrowest(page: Any) -> float:
    """Of the sliders' tracks, in pixels."""
    return min(track.bounding_box()["width"] for track in page.locator(".noUi-target").all())


_ANOTHER = "before => [...document.querySelectorAll('code')].at(-1).innerText !== before"  # it is made anew each time


def drag_to_the_end(page: Any, slider: Any) -> None:
    """With the mouse; the picture follows before the button is let go."""
    place = slider.bounding_box()
    track = slider.locator("xpath=ancestor::*[contains(@class, 'noUi-base')]").bounding_box()
    call, height = page.locator("code").last, place["y"] + place["height"] / 2
    before = call.inner_text()
    page.mouse.move(place["x"] + place["width"] / 2, height)
    page.mouse.down()
    page.mouse.move(track["x"] + track["width"] / 2, height, steps=3)
    page.wait_for_function(_ANOTHER, arg=before)
    page.mouse.move(track["x"] + track["width"] + 5, height, steps=3)
    page.mouse.up()


def test_a_step_follows_lists_sliders_and_switches(driver: ModuleType, tmp_path: Path) -> None:
    source = "from lora_lab import show\nshow.memory_explorer('smollm2-135m', 't4', 'lora_lab')"
    with driver.serve(tmp_path) as server, driver.browse() as page:
        shared.opened(driver, page, server, source, tmp_path)
        page.get_by_alt_text("smollm2-135m, qlora: fits on t4").wait_for()
        assert announced(page) == ["16", "1", "2048", "1"]
        assert narrowest(page) >= 400
        page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
        page.set_viewport_size({"width": 600, "height": 1000})
        page.wait_for_function("() => document.querySelector('.noUi-target').getBoundingClientRect().width >= 240")
        page.set_viewport_size({"width": 1280, "height": 1000})

        tokens = page.get_by_role("slider").nth(TOKENS)
        tokens.focus()
        tokens.press("ArrowRight")
        page.get_by_text("seq_len=2176").wait_for()
        assert announced(page)[TOKENS] == "2176"
        tokens.press("Home")
        page.get_by_text("seq_len=128").wait_for()

        drag_to_the_end(page, page.get_by_role("slider").nth(BATCH))
        page.get_by_text("batch_size=32").wait_for()
        assert announced(page) == ["16", "32", "128", "1"]

        page.get_by_label("checkpointing").check()
        page.get_by_text("checkpointing=True").wait_for()
        page.get_by_label("method").select_option("full")
        page.get_by_alt_text("smollm2-135m, full: fits on t4").wait_for()
        assert page.get_by_label("upcast to float32").is_disabled()

        stack = page.get_by_label("stack", exact=True)
        stack.focus()
        stack.press("p")  # a list goes to what begins with a letter
        page.get_by_text("stack='peft'").wait_for()
        page.get_by_label("method").select_option("qlora")
        page.get_by_alt_text("smollm2-135m, qlora: ").wait_for()
        assert page.get_by_label("upcast to float32").is_checked(), "the stack's settings were not taken"
        if picture := os.environ.get("LORA_LAB_PICTURE"):
            page.screenshot(path=picture)


def test_an_answer_follows_lists_and_sliders(driver: ModuleType, tmp_path: Path) -> None:
    source = "from lora_lab import show\nshow.inference_explorer('llama-3.1-8b', 't4')"
    with driver.serve(tmp_path) as server, driver.browse() as page:
        shared.opened(driver, page, server, source, tmp_path)
        page.get_by_alt_text("llama-3.1-8b in bf16: does not fit on t4").wait_for()
        page.get_by_label("weights").select_option("nf4")
        page.get_by_alt_text("llama-3.1-8b in nf4: fits on t4").wait_for()
        assert announced(page) == ["1", "2048"]
        drag_to_the_end(page, page.get_by_role("slider").nth(CONTEXT))
        page.get_by_alt_text("llama-3.1-8b in nf4: does not fit on t4").wait_for()
        assert announced(page) == ["1", "131072"]
        page.get_by_role("slider").nth(CONTEXT).press("ArrowLeft")
        page.get_by_text("context=130944").wait_for()
        page.get_by_label("GPU").select_option("h200")
        page.get_by_text("usable on h200").first.wait_for()
