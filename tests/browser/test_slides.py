"""Slides in a real browser, opened from the disk: they fit, can be read, are driven by keys, and ask for nothing."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import make_slides
import pytest

LESSONS = sorted(path.stem for path in (Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
WIDTH, HEIGHT, LEAST = 1280, 720, 18  # px; smaller letters are not read from the back row

# What is wrong with the slide in front, and what is in it.
LOOK = """least => {
    const slide = Reveal.getCurrentSlide(), frame = slide.querySelector('.frame'), body = slide.querySelector('.body');
    const all = [...frame.querySelectorAll('*')].filter(each => !each.closest('mjx-container'));
    const words = all.filter(each => [...each.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
    const edge = frame.getBoundingClientRect(), problems = [];
    for (const box of [frame, body])
        if (box.scrollHeight > box.clientHeight + 1 || box.scrollWidth > box.clientWidth + 1)
            problems.push(`overflow: ${box.className}`);
    for (const each of all) {
        const box = each.getBoundingClientRect();
        if (box.width && (box.right > edge.right + 1 || box.bottom > edge.bottom + 1 || box.left < edge.left - 1))
            problems.push(`outside: ${each.outerHTML.slice(0, 60)}`);
    }
    for (const each of words)
        if (parseFloat(getComputedStyle(each).fontSize) < least - 0.01) problems.push(`small: ${each.textContent}`);
    for (const image of frame.querySelectorAll('img')) {
        if (!image.alt.trim()) problems.push('no alt text');
        if (image.getBoundingClientRect().height < 250) problems.push('a small figure');
    }
    return problems;
}"""

pytestmark = [pytest.mark.browser, pytest.mark.release]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slides of every lesson."""
    into = tmp_path_factory.mktemp("slides")
    assert make_slides.main([], into=into) == 0
    return into


@pytest.fixture(scope="module")
def browser_page(driver: ModuleType) -> Iterator[Any]:
    """A page for all tests, which reaches files and writes down what else it asks for."""
    with driver.browse() as page:
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        page.wrong = []
        page.context.on("request", lambda request: _note(page, request.url))
        page.route("file://**", lambda route: route.continue_())
        page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        yield page


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_slide_fits_and_can_be_read_and_nothing_is_asked_of_the_network(
    folder: Path, browser_page: Any, lesson: str
) -> None:
    opened(browser_page, folder / f"{lesson}.html")
    problems = {}
    for number in range(browser_page.evaluate("Reveal.getTotalSlides()")):
        browser_page.evaluate("number => Reveal.slide(number)", number)
        if found := browser_page.evaluate(LOOK, LEAST):
            problems[number + 1] = found
    assert problems == {} and browser_page.wrong == []


def test_arrows_go_on_and_back_and_equations_are_set(folder: Path, browser_page: Any) -> None:
    opened(browser_page, folder / "03_lora_from_scratch.html")
    at = "Reveal.getIndices().h"
    for key, slide in (("ArrowRight", 1), ("Space", 2), ("ArrowLeft", 1), ("End", 18), ("Home", 0)):
        browser_page.keyboard.press(key)
        assert browser_page.evaluate(at) == slide
    browser_page.evaluate("Reveal.slide(4)")
    equation = browser_page.locator("section.present .frame mjx-container[display] svg")
    assert equation.bounding_box()["height"] > 40
    assert browser_page.locator("section.present .frame").inner_text().count("$") == 0


@pytest.mark.parametrize("by", ["key", "click"])
def test_a_figure_fills_the_screen_part_by_part_and_then_is_as_before(folder: Path, browser_page: Any, by: str) -> None:
    opened(browser_page, folder / "05_places_and_starts.html")
    browser_page.evaluate("Reveal.slide(11)")
    image = browser_page.locator("section.present .frame img")
    before, views = image.bounding_box(), []
    for _ in range(4):
        browser_page.keyboard.press("z") if by == "key" else image.click()
        views.append((image.get_attribute("data-view"), image.bounding_box()))
    whole = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT}
    assert views == [("top", whole), ("center", whole), ("bottom", whole), (None, before)]


def test_notes_open_in_a_window_of_their_own_and_follow(folder: Path, browser_page: Any) -> None:
    opened(browser_page, folder / "03_lora_from_scratch.html")
    with browser_page.context.expect_page() as opens:
        browser_page.keyboard.press("s")
    notes = opens.value
    try:
        notes.wait_for_selector("iframe >> nth=1")
        browser_page.wait_for_timeout(500)
        browser_page.evaluate("Reveal.slide(2)")
        notes.get_by_text("there A alone is as large as W₀", exact=False).wait_for()
    finally:
        notes.close()
    assert browser_page.wrong == []


def test_each_slide_prints_to_one_page(folder: Path, browser_page: Any) -> None:
    address = (folder / "03_lora_from_scratch.html").as_uri()
    browser_page.goto(f"{address}?print-pdf")
    browser_page.wait_for_selector(".pdf-page >> nth=18", state="attached")
    sheets = "[...document.querySelectorAll('.pdf-page')].map(page => [page.offsetWidth, page.offsetHeight])"
    assert browser_page.evaluate(sheets) == [[WIDTH, HEIGHT - 1]] * 19  # a pixel less, as reveal.js has it


def test_the_index_leads_to_every_lesson(folder: Path, browser_page: Any) -> None:
    browser_page.goto((folder / "index.html").as_uri())
    links = browser_page.locator("a")
    assert [link.get_attribute("href") for link in links.all()] == [f"{lesson}.html" for lesson in LESSONS]
    links.first.click()
    browser_page.wait_for_selector("html.ready", state="attached")


def opened(page: Any, path: Path) -> None:
    page.goto("about:blank")
    page.wrong.clear()
    page.goto(path.as_uri())
    page.wait_for_selector("html.ready", state="attached")


def _note(page: Any, address: str) -> None:
    if not address.startswith(("file://", "data:", "blob:", "about:")):
        page.wrong.append(f"asked for {address}")
