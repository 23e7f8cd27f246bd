"""The web book as somebody reads it: made, opened in a headless chromium without a network, every page of it."""

import functools
import html.parser
import http.server
import importlib.util
import shutil
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.browser, pytest.mark.release]

SIX = ("index.html", "notebooks/03_lora_from_scratch.html", "notebooks/06_will_it_fit.html",
       "exercises/09_build_nf4.html", "course/folklore.html", "api/quant.html")  # fmt: skip
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
]
PATIENCE = 120_000  # milliseconds, on a machine that is busy with other work

IMAGES = "[...document.querySelectorAll('img')]"
NAMES = "map(img => img.src.slice(0, 90))"
WITHOUT_WORDS = f"{IMAGES}.filter(img => !(img.alt || '').trim()).{NAMES}"
UNDRAWN = f"{IMAGES}.filter(img => img.complete && !img.naturalWidth).{NAMES}"
WANTS_MATH = "document.querySelectorAll('.math').length"
MATH_IS_SET = "[...document.querySelectorAll('.math')].every(each => each.querySelector('mjx-container'))"
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
WIDER_THAN_ITS_BOX = "blocks => blocks.map(block => block.scrollWidth > block.clientWidth + 1)"
GROUND_OF_FIGURES = (
    "[...document.querySelectorAll('.cell_output img')].map(img => getComputedStyle(img).backgroundColor)"
)
# WCAG's contrast of the words in outputs' tables with what is behind them.
CONTRAST = """() => {
    const parts = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        const ground = parts(getComputedStyle(element).backgroundColor);
        return ground.length === 4 && ground[3] === 0 ? behind(element.parentElement) : ground;
    };
    return [...document.querySelectorAll('.cell_output td, .cell_output th, .sliders')].map(cell => {
        const [a, b] = [light(parts(getComputedStyle(cell).color)), light(behind(cell))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    });
}"""


class _Page(html.parser.HTMLParser):
    """What a page links to, what it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        self.anchors |= {said[name] for name in ("id", "name") if said.get(name)}
        if tag == "a" and said.get("href"):
            self.links.append(said["href"])
        self.loaded += [said[name] for name in ("src", "href") if said.get(name) and tag != "a"]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """The folder of a book made now."""
    if importlib.util.find_spec("myst_nb") is None:
        pytest.fail("Sphinx is not in this environment: `make book` installs it")
    from book.__main__ import made

    return made(tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def parsed(book):
    paths = {path.relative_to(book).as_posix(): path for path in sorted(book.rglob("*.html"))}
    return {name: _Page(path.read_text(encoding="utf-8")) for name, path in paths.items() if name[:1] != "_"}


@pytest.fixture(scope="module")
def address(book):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(book))) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "no chromium: apt-get install chromium fonts-liberation"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, address):
    """A page that reaches the book's server only; `opened.elsewhere` and `opened.errors` say what it tried beside."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.elsewhere, page.errors = [], []

    def only_here(route):
        if route.request.url.startswith(f"{address}/"):
            return route.continue_()
        page.elsewhere.append(route.request.url)
        return route.abort()

    context.route(lambda url: not url.startswith(("data:", "blob:")), only_here)
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    context.close()


def test_every_page_opens_without_a_network_an_error_or_an_image_without_words(opened, address, parsed):
    with_math = 0
    for name in parsed:
        opened.goto(f"{address}/{name}")
        if opened.evaluate(WANTS_MATH):
            opened.wait_for_function(MATH_IS_SET)
            with_math += 1
        opened.wait_for_load_state("networkidle")
        assert opened.evaluate(WITHOUT_WORDS) == [], f"{name} has an image without alt text"
        assert opened.evaluate(UNDRAWN) == [], f"{name} has an image that is not there"
        assert opened.elsewhere == [], f"{name} asks another server"
        assert opened.errors == [], f"{name} has errors"
    assert len(parsed) > 50 and with_math > 5


def test_no_link_within_the_book_is_dead(book, parsed):
    dead = []
    for name, page in parsed.items():
        for link in page.links + page.loaded:
            if urlsplit(link).scheme or link.startswith("//"):
                assert link in page.links or link.startswith("data:"), f"{name} loads {link[:90]}"
                continue
            parts = urlsplit(unquote(link))
            target = (book / name).parent / parts.path if parts.path else book / name
            known = parsed.get(target.resolve().relative_to(book.resolve()).as_posix())
            if not target.is_file() or (parts.fragment and known and parts.fragment not in known.anchors):
                dead.append(f"{name} → {link}")
    assert dead == []


def test_no_page_says_where_it_was_made(book):
    for path in book.rglob("*.html"):
        assert str(ROOT) not in path.read_text(encoding="utf-8"), f"{path.name} has a path of this machine"


def test_the_pages_follow_one_another_as_the_syllabus_has_them(opened, address):
    """By the link to the next one, from the first page."""
    opened.goto(f"{address}/index.html")
    seen = []
    while (following := opened.locator("a.right-next")).count():
        following.click()
        opened.wait_for_load_state()
        seen.append(urlsplit(opened.url).path)
    assert seen[:3] == ["/course/syllabus.html", "/notebooks/00_start_here.html", "/notebooks/01_svd.html"]
    assert seen.index("/exercises/00_start_here.html") == seen.index("/notebooks/14_save_merge_deploy.html") + 1
    assert seen.index("/course/glossary.html") < seen.index("/course/grading.html") < seen.index("/api/index.html")


def test_the_search_is_opened_by_the_keyboard_and_finds_nf4(opened, address):
    opened.goto(f"{address}/index.html")
    opened.keyboard.press("Control+k")
    opened.keyboard.type("NF4")
    opened.keyboard.press("Enter")
    found = opened.locator("#search-results a", has_text="Build NF4").first
    found.wait_for()
    found.click()
    assert urlsplit(opened.url).path.startswith(("/notebooks/09_build_nf4", "/exercises/09_build_nf4"))
    assert opened.elsewhere == [] and opened.errors == []


def test_the_keyboard_skips_to_the_text_and_unfolds_an_answer(opened, address):
    opened.goto(f"{address}/notebooks/03_lora_from_scratch.html")
    opened.keyboard.press("Tab")
    assert "Skip to main content" in opened.evaluate("document.activeElement.textContent")
    answer = opened.locator("details.answer").first
    assert answer.evaluate("fold => fold.open") is False
    answer.locator("summary").first.focus()
    opened.keyboard.press("Shift+Tab")
    opened.keyboard.press("Tab")
    assert opened.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opened.keyboard.press("Enter")
    assert answer.evaluate("fold => fold.open") is True
    assert answer.locator("figure img").first.is_visible()
    assert answer.locator("p", has_text="half its width").is_visible()


@pytest.mark.parametrize("name", SIX)
def test_on_a_telephone_nothing_is_wider_than_the_screen(opened, address, name):
    opened.set_viewport_size({"width": 390, "height": 800})
    opened.goto(f"{address}/{name}")
    opened.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert opened.evaluate(TOO_WIDE) <= 0


def test_code_fits_on_a_laptop_s_screen(opened, address, parsed):
    wider = []
    for name in (name for name in parsed if name.startswith("notebooks/")):
        opened.goto(f"{address}/{name}")
        opened.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
        wider += opened.locator("div.cell_input pre").evaluate_all(WIDER_THAN_ITS_BOX)
    assert len(wider) > 300 and sum(wider) <= len(wider) / 10


@pytest.mark.parametrize("name", SIX)
def test_what_is_printed_fits_on_a_telephone(opened, address, name):
    opened.set_viewport_size({"width": 390, "height": 800})
    opened.goto(f"{address}/{name}")
    opened.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert not any(opened.locator("div.cell_output pre").evaluate_all(WIDER_THAN_ITS_BOX))


def test_the_sheets_to_print_are_opened_from_the_guide(opened, address):
    opened.goto(f"{address}/course/instructor_guide.html")
    opened.locator("a", has_text="polls.html").first.click()
    opened.wait_for_load_state()
    assert urlsplit(opened.url).path == "/course/polls.html"


def test_a_search_does_not_lead_a_learner_to_the_instructor_s_answers(opened, address):
    opened.goto(f"{address}/search.html?q=double+quantization")
    opened.locator("#search-results a", has_text="Double quantization").first.wait_for()
    opened.wait_for_load_state("networkidle")
    found = opened.locator("#search-results a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert not any("instructor_guide" in link for link in found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_in_outputs_can_be_read_and_figures_stay_on_white(opened, address, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.goto(f"{address}/notebooks/06_will_it_fit.html")
    opened.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert min(opened.evaluate(CONTRAST)) >= 4.5
    if scheme == "dark":
        assert set(opened.evaluate(GROUND_OF_FIGURES)) == {"rgb(255, 255, 255)"}


def test_it_can_be_read_from_a_folder_without_a_server(chromium, book):
    page = chromium.new_context(offline=True).new_page()
    page.goto(Path(book / "notebooks" / "03_lora_from_scratch.html").as_uri())
    page.wait_for_function(MATH_IS_SET, timeout=PATIENCE)
    page.context.close()
