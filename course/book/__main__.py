"""Make the web book: `python -m book`, in course/. It executes nothing, and warnings are errors."""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath

import nbformat
import npm
from book import api, contents, pages, whole
from book.links import Links

from lora_lab import disk
from lora_lab.authoring.pages import repository, stored, write

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
MATHJAX = ("es5/tex-mml-chtml.js", "es5/input/tex/extensions/*", "es5/output/chtml/fonts/*", "LICENSE")
COLAB = "https://colab.research.google.com/github"
PICTURE = PurePosixPath("course/picture.png")
PRINTED = (PurePosixPath("course/polls.html"), PurePosixPath("course/poll_answers.html"))
"""What lies beside the pages as it is, to be printed."""
UNSEARCHED = "---\nnosearch: true\n---\n\n"
"""Before a page for who teaches: a learner who looks for a word finds the lesson, not its answers."""
MARK = ".lora_lab_book"
"""An empty file in a folder that this program made, and so may remove."""


def sources(root: Path, into: Path) -> list[PurePosixPath]:
    """Write what Sphinx reads, each page under its name in the repository; say which pages the syllabus gives.

    Raises:
        ValueError: for a link that leads nowhere, or a lesson without its place in the syllabus.
    """
    parts = contents.parts(root)
    listed = [entry.file for part in parts for entry in part.entries]
    links = Links(root, {*listed, PICTURE}, **repository(root), files=PRINTED)
    for file in listed:
        write(into / file, document(root, file, links) if file.suffix == ".md" else notebook_page(root, file, links))
    first = links.rewritten((HERE / "index.md").read_text(encoding="utf-8"), PurePosixPath("index.md"))
    trees = [*map(contents.tree, parts), "```{toctree}\n:hidden:\n:caption: The library\n\n/api/index\n```\n"]
    write(into / "index.md", "\n".join([first, *trees]))
    for name, text in api.pages().items():
        write(into / "api" / f"{name}.md", text)
    shutil.copyfile(root / PICTURE, into / PICTURE)
    return listed


def document(root: Path, file: PurePosixPath, links: Links) -> str:
    """A document's page, as Markdown."""
    text = links.rewritten((root / file).read_text(encoding="utf-8"), file)
    return UNSEARCHED + text if file.stem in contents.TEACHING else text


def notebook_page(root: Path, file: PurePosixPath, links: Links) -> str:
    """A notebook's page, as JSON. Raises ValueError for one that is damaged, or not what its master says."""
    notebook = stored(root / file)
    if notebook is None:
        raise ValueError(f"{file} is not there: run course/build.py {file.stem}")
    lesson = file.parent.name == "notebooks"
    generated = root / "lora_lab" / "exercises" / "generated" / ("" if lesson else "exercises") / f"{file.stem}.json"
    said = disk.read_json(generated, f"run course/build.py {file.stem}")
    try:
        page = pages.page(notebook, said, _instead_of_the_badge(file, links))
    except (KeyError, TypeError) as error:
        of = generated.relative_to(root)
        raise ValueError(
            f"{file} does not have the tasks of {of} ({error}): run course/build.py {file.stem}"
        ) from error
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = links.rewritten(cell.source, file)
    return nbformat.writes(page)


def _instead_of_the_badge(file: PurePosixPath, links: Links) -> str:
    """Where one goes from here: the badge is an image of another server."""
    lesson = file.parent.name == "notebooks"
    work = f"course/workbook/{file.name}" if lesson else str(file)
    other = PurePosixPath("exercises" if lesson else "notebooks", file.name)
    name = "Exercises" if lesson else "The lesson"
    here = [f"[{name}](../{other})"] if other in links.pages else []
    slug = links.address.removeprefix("https://github.com/")
    here += [f"[Work in it, in Colab]({COLAB}/{slug}/blob/{links.ref}/{work})"]
    here += [f"[The notebook]({links.address}/blob/{links.ref}/{work})"]
    return " · ".join(here)


def made(into: Path, root: Path = ROOT) -> Path:
    """Make the book in `into/book`, in place of one that is there; a work folder beside it stays when it fails.

    Two at once wait for one another, and nothing that another program or a person put there is removed.

    Raises:
        ValueError: for a link that leads nowhere, a lesson without its place in the syllabus, a warning of Sphinx's, or
            a place that holds something else.
        OSError: if MathJax cannot be had, or the folder cannot be written in.
    """
    into = Path(os.path.realpath(into))
    if into.is_relative_to(os.path.realpath(root / "course")):
        raise ValueError(f"'{into}' lies in the course's own source: choose another --into")
    with disk.locked(disk.writable_folder(into)):
        work, book = into / "book_work", into / "book"
        _refuse_another_s(work)
        _refuse_another_s(book)
        if work.exists():
            shutil.rmtree(work)
        html = work / "html"
        html.mkdir(parents=True)
        (work / MARK).touch()
        (html / MARK).touch()
        _make(root, work / "pages", html, work / "doctrees")
        if book.exists():
            book.rename(work / "old")
        html.rename(book)
        shutil.rmtree(work)
    return book


def _refuse_another_s(folder: Path) -> None:
    """ValueError for a folder that is neither empty nor of our making."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MARK).is_file():
        raise ValueError(f"'{folder}' holds something that is no book of ours: choose another --into, or move it away")


def _make(root: Path, texts: Path, html: Path, doctrees: Path) -> None:
    """Write what Sphinx reads, let it write the pages, and look at them."""
    sources(root, texts)
    npm.take("mathjax", MATHJAX, html / "_static" / "mathjax")
    sphinx = [sys.executable, "-m", "sphinx", "-b", "html", "-c", HERE, "-d", doctrees]
    options = ["--fail-on-warning", "--keep-going", "--quiet", texts, html]
    if subprocess.run([str(word) for word in (*sphinx, *options)], cwd=root, stdin=subprocess.DEVNULL).returncode:
        raise ValueError(f"the book is not made: Sphinx says why above, and what it read is in {texts}")
    for file in PRINTED:
        (html / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(root / file, html / file)
    whole.refuse_broken(html)


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 when the book is made, 1 when it is not."""
    parser = argparse.ArgumentParser(prog="python -m book", description="Make the web book from what is stored.")
    parser.add_argument("--into", type=Path, default=ROOT / "out", help="where its folder book/ is made")
    start = time.perf_counter()
    try:
        book = made(parser.parse_args(arguments).into.absolute())
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{book / 'index.html'}: {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
