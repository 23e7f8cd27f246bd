"""Make the slides of each lesson, for reveal.js, from the outputs that its notebook stores.

    python course/make_slides.py            out/slides/NN_title.html of every lesson, and index.html
    python course/make_slides.py 01_svd     the same for one lesson

Nothing is executed. reveal.js and MathJax come from their npm packages into out/slides/, so that a page asks the
network for nothing. Cells tagged `slide` are projected; how, course/slides/deck.py says.
"""

import argparse
import sys
from pathlib import Path

import npm
from nbformat import NotebookNode
from slides import page
from slides.deck import deck
from slides.slide import Slide

from lora_lab import disk
from lora_lab.authoring.editions import LESSON
from lora_lab.authoring.pages import Page, choose, stored, write

ROOT = Path(__file__).resolve().parents[1]
BROUGHT = {
    "reveal": (
        "reveal.js",
        [
            "dist/reset.css",
            "dist/reveal.css",
            "dist/reveal.js",
            "plugin/notes/notes.js",
            "LICENSE",
        ],
    ),
    "mathjax": ("mathjax", ["es5/tex-svg.js", "LICENSE"]),
}


def slides_of(lesson: Page) -> tuple[str, list[Slide]]:
    """A lesson's title and its slides. Raises ValueError if its notebook is missing or not its master's."""
    sources, executed = lesson.sources(), stored(lesson.notebook)
    if executed is None or _cells(executed) != _cells(sources.notebook):
        raise ValueError(f"{lesson.name}: the notebook is not what its master says; run course/build.py {lesson.name}")
    return sources.lesson.title, deck(executed, sources.lesson)


def make(lessons: list[Page], into: Path) -> list[str]:
    """Write the pages of these lessons, the index of all that lie there, and what they need: all or none.

    Returns:
        a line for each of these lessons.
    """
    texts, lines = {}, []
    for lesson in lessons:
        title, slides = slides_of(lesson)
        minutes = sum(section.minutes for section in lesson.read()[1].sections)
        subtitle = f"Lesson {lesson.name[:2]} · {minutes} minutes with all tasks"
        texts[f"{lesson.name}.html"] = page.lesson_page(title, subtitle, slides)
        lines.append(f"{lesson.name}: {len(slides)} slides")
    there = {path.name: path.read_text(encoding="utf-8") for path in into.glob("[0-9][0-9]_*.html")}
    texts["index.html"] = page.index_page([(name, *page.told(text)) for name, text in sorted((there | texts).items())])
    texts |= {name: (page.LOOK / name).read_text(encoding="utf-8") for name in ("slides.css", "slides.js")}
    with disk.atomic_folder(into) as folder:
        for package_folder, (package, files) in BROUGHT.items():
            npm.take(package, files, folder / package_folder)
        for name, text in texts.items():
            write(folder / name, text)
    return lines


def main(arguments: list[str] | None = None, root: Path = ROOT, into: Path | None = None) -> int:
    """The command line: 0 when all is well, 2 for a wrong name, a stale notebook or a missing network."""
    parser = argparse.ArgumentParser(description="Make the slides of each lesson.")
    parser.add_argument("names", nargs="*", help="lessons, such as 01_svd; all when left out")
    options = parser.parse_args(arguments)
    into = into or root / "out" / "slides"
    try:
        if not all(each.kind is LESSON for each in choose(root, options.names) if options.names):
            raise ValueError("only lessons have slides, no exercises")
        lines = make([each for each in choose(root, options.names) if each.kind is LESSON], into)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(*lines, f"open {into / 'index.html'}", sep="\n")
    return 0


def _cells(notebook: NotebookNode) -> list[tuple[str, str, list[str]]]:
    return [(cell.id, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


if __name__ == "__main__":
    sys.exit(main())
