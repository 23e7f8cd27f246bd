"""Slides as a page for reveal.js: one file of HTML for a lesson, which reads nothing but the files beside it."""

import html
import itertools
import re
from pathlib import Path

import jinja2
from markupsafe import Markup
from nbconvert.filters import Highlight2HTML, markdown2html
from slides.slide import Part, Slide

LOOK = Path(__file__).parent / "look"
_SLIDE, _TITLE_ENDS = re.compile(r"^<section ", re.MULTILINE), ": slides"
_ANCHOR = re.compile(r'<a class="anchor-link".*?</a>', re.DOTALL)


def lesson_page(title: str, subtitle: str, slides: list[Slide]) -> str:
    """The page of a lesson. `title` is for the browser's tab, `subtitle` stands on the first slide."""
    return _template("lesson.html").render(title=title, subtitle=subtitle, slides=slides)


def index_page(lessons: list[tuple[str, str, int]]) -> str:
    """The page that leads to the others: file, title and number of slides of each."""
    return _template("index.html").render(lessons=lessons)


def told(lesson: str) -> tuple[str, int]:
    """The title and the number of slides that a lesson's page has."""
    title = lesson.partition("<title>")[2].partition(f"{_TITLE_ENDS}</title>")[0]
    return html.unescape(title), len(_SLIDE.findall(lesson))


def as_html(part: Part) -> Markup:
    """What a part looks like. Links are words on a slide: a class cannot click them."""
    if part.kind == "markdown":
        return markdown(part.text)
    if part.kind == "code":
        return Markup(Highlight2HTML(pygments_lexer="python")(part.text))
    if part.kind == "print":
        return Markup("<pre>{}</pre>").format(part.text)
    return Markup(part.text)  # an output, as `show` made it


def markdown(text: str) -> Markup:
    return Markup(_ANCHOR.sub("", markdown2html(text)))


def _template(name: str) -> jinja2.Template:
    look = jinja2.Environment(
        loader=jinja2.FileSystemLoader(LOOK), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    look.filters |= {"html": as_html, "markdown": markdown, "groupby_run": _runs}
    return look.get_template(name)


def _runs(parts: list[Part]) -> list[tuple[str, list[Part]]]:
    """Parts that follow one another and are of one kind, together."""
    return [(kind, list(run)) for kind, run in itertools.groupby(parts, lambda part: part.kind)]
