"""Making the web book: in place of an old one of its own, or not at all, with one sentence."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import pytest
from book import __main__ as making
from book import whole
from book.links import Links

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def old_book(tmp_path, monkeypatch):
    """A book that was made before; nothing that this one is made of is read."""
    monkeypatch.setattr(making, "sources", lambda root, into: [])
    monkeypatch.setattr(making.npm, "take", lambda package, patterns, into: into.mkdir(parents=True))
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "index.html").write_text("old")
    (tmp_path / "book" / making.MARK).touch()
    return tmp_path


def sphinx(status, page="new"):
    """A stand-in for Sphinx's process, which writes a page."""

    def run(command, **_):
        assert "--fail-on-warning" in command
        (Path(command[-1]) / "index.html").write_text(page)
        return subprocess.CompletedProcess(command, status)

    return run


def test_a_book_takes_the_place_of_the_old_one_and_leaves_nothing_beside_it(old_book, monkeypatch, capsys):
    monkeypatch.setattr(making.subprocess, "run", sphinx(0))
    assert making.main(["--into", str(old_book)]) == 0
    assert (old_book / "book" / "index.html").read_text() == "new"
    assert [path.name for path in old_book.iterdir()] == ["book"]
    assert "book/index.html: " in capsys.readouterr().out


def test_a_warning_is_an_error_and_the_old_book_stays(old_book, monkeypatch, capsys):
    monkeypatch.setattr(making.subprocess, "run", sphinx(1))
    assert making.main(["--into", str(old_book)]) == 1
    assert (old_book / "book" / "index.html").read_text() == "old"
    assert "the book is not made: Sphinx says why above" in capsys.readouterr().err


def test_without_a_network_it_is_one_sentence_and_the_old_book_stays(old_book, monkeypatch, capsys):
    def take(*_, **__):
        raise ConnectionError("mathjax 3.2.2 could not be had")

    monkeypatch.setattr(making.npm, "take", take)
    assert making.main(["--into", str(old_book)]) == 1
    assert (old_book / "book" / "index.html").read_text() == "old"
    assert capsys.readouterr().err == "mathjax 3.2.2 could not be had\n"


@pytest.mark.parametrize("name", ["book", "book_work"])
def test_a_folder_that_is_no_book_of_ours_is_refused_and_stays(old_book, monkeypatch, capsys, name):
    monkeypatch.setattr(making.subprocess, "run", sphinx(0))
    (old_book / "book" / making.MARK).unlink()
    (old_book / "book").rename(old_book / name) if name != "book" else None
    (old_book / name / "thesis.tex").write_text("mine")
    assert making.main(["--into", str(old_book)]) == 1
    assert f"/{name}' holds something that is no book of ours: choose another --into" in capsys.readouterr().err
    assert (old_book / name / "thesis.tex").read_text() == "mine"
    assert [path.name for path in old_book.iterdir()] == [name]


@pytest.mark.parametrize("place", ["course", "course/book", "course/slides/new"])
def test_the_course_s_own_source_is_no_place_for_a_book(place, capsys):
    before = sorted((ROOT / "course").rglob("*"))
    assert making.main(["--into", str(ROOT / place)]) == 1
    assert "lies in the course's own source: choose another --into" in capsys.readouterr().err
    assert sorted((ROOT / "course").rglob("*")) == before


def test_what_a_killed_one_left_is_made_anew(old_book, monkeypatch):
    monkeypatch.setattr(making.subprocess, "run", sphinx(0))
    (old_book / "book_work" / "html" / "half").mkdir(parents=True)
    (old_book / "book_work" / making.MARK).touch()
    assert making.main(["--into", str(old_book)]) == 0
    assert sorted(path.name for path in (old_book / "book").iterdir()) == sorted(
        [making.MARK, "_static", "course", "index.html"]
    )


def test_two_at_once_make_a_book_each_one_after_the_other(old_book, monkeypatch):
    inside, most = [], []

    def slow(root, into):
        inside.append(into)
        most.append(len(inside))
        time.sleep(0.05)
        inside.pop()
        return []

    monkeypatch.setattr(making, "sources", slow)
    monkeypatch.setattr(making.subprocess, "run", sphinx(0))
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(making.main, [["--into", str(old_book)]] * 3)) == [0, 0, 0]
    assert most == [1, 1, 1]


def test_the_sheets_to_print_lie_beside_the_pages(old_book, monkeypatch):
    monkeypatch.setattr(making.subprocess, "run", sphinx(0))
    making.main(["--into", str(old_book)])
    for file in making.PRINTED:
        assert (old_book / "book" / file).read_bytes() == (ROOT / file).read_bytes()


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ('<script src="https://evil.example/x.js"></script>', "index.html asks another server for 'https://evil"),
        ('<img src="//evil.example/p.png">', "asks another server"),
        ('<link rel="stylesheet" href="https://evil.example/a.css">', "asks another server"),
        ('<a href="missing.md">it</a>', "index.html leads to 'missing.md', which is no file of it"),
        ('<a href="../../outside.html">it</a>', "leads to '../../outside.html', which is no file"),
        ('<img src="missing.png">', "index.html loads 'missing.png', which is no file of it"),
        ('<a href="javascript:alert(1)">it</a>', "leads to 'javascript:"),
        ("<details><summary>a</summary>", "index.html has a <details> that is not closed"),
        ("a</details>", "<details> that is closed twice"),
    ],
)
def test_a_page_that_is_not_whole_is_no_book_and_the_old_one_stays(old_book, monkeypatch, capsys, page, said):
    (old_book / "outside.html").write_text("there, and no page")
    monkeypatch.setattr(making.subprocess, "run", sphinx(0, page))
    assert making.main(["--into", str(old_book)]) == 1
    assert said in capsys.readouterr().err
    assert (old_book / "book" / "index.html").read_text() == "old"


def test_a_template_of_the_theme_s_is_no_page(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "macros.html").write_text('<script src="{{ pathto(1) }}"></script>')
    whole.refuse_broken(tmp_path)


def test_a_page_that_is_whole_is_one(old_book, monkeypatch):
    page = """<img src="data:image/png;base64,AA"><a href="https://arxiv.org">x</a><a href="#top">y</a>
        <a href="course/polls.html?print=1#lesson-00">z</a><details><summary>a</summary>b</details>"""
    monkeypatch.setattr(making.subprocess, "run", sphinx(0, page))
    assert making.main(["--into", str(old_book)]) == 0


# ── one page ────────────────────────────────────────────────────────────────────────────────────────────────────────

HALVES = {PurePosixPath("notebooks/a.ipynb"), PurePosixPath("exercises/a.ipynb")}
LINKS = Links(ROOT, HALVES, "https://github.com/me/it", "v1")
NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
SAID = {"guesses": {}, "turns": {}}


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("notebooks/a.ipynb", "[Exercises](../exercises/a.ipynb) · [Work in it, in Colab](https://colab.research.google.com/"
         "github/me/it/blob/v1/course/workbook/a.ipynb) · [The notebook](https://github.com/me/it/blob/v1/course/workbook/a.ipynb)"),
        ("exercises/a.ipynb", "[The lesson](../notebooks/a.ipynb) · [Work in it, in Colab](https://colab.research.google.com/"
         "github/me/it/blob/v1/exercises/a.ipynb) · [The notebook](https://github.com/me/it/blob/v1/exercises/a.ipynb)"),
    ],
)  # fmt: skip
def test_a_page_leads_to_its_other_half_and_to_the_edition_to_work_in(file, wanted):
    assert making._instead_of_the_badge(PurePosixPath(file), LINKS) == wanted


def write(root, notebook, said=SAID):
    for name, content in (("notebooks/a.ipynb", notebook), ("lora_lab/exercises/generated/a.json", said)):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(content if isinstance(content, str) else json.dumps(content))


def cell(*tags):
    return {"cell_type": "code", "id": "a", "source": "r = 1", "outputs": [], "execution_count": None,
            "metadata": {"tags": list(tags)}}  # fmt: skip


@pytest.mark.parametrize(
    ("notebook", "said", "why"),
    [
        ("{", SAID, "a.ipynb is no notebook any more"),
        (NOTEBOOK | {"cells": 5}, SAID, "a.ipynb is no notebook any more"),
        (NOTEBOOK | {"cells": [5]}, SAID, "a.ipynb is no notebook any more"),
        ("[]", SAID, "a.ipynb is no notebook any more"),
        (NOTEBOOK, "{", "a.json is damaged .*: run course/build.py a"),
        (NOTEBOOK | {"cells": [cell("guess:renamed")]}, SAID, "the tasks of .*a.json .'renamed'.: run course/build"),
        (NOTEBOOK | {"cells": [cell("turn:f")]}, SAID | {"turns": 5}, "not have the tasks of .*a.json"),
    ],
)
def test_a_notebook_that_is_half_there_is_one_sentence(tmp_path, notebook, said, why):
    write(tmp_path, notebook, said)
    with pytest.raises(ValueError, match=why):
        making.notebook_page(tmp_path, PurePosixPath("notebooks/a.ipynb"), LINKS)


def test_what_is_for_who_teaches_is_not_found_by_a_learner_s_search(tmp_path):
    for name in ("instructor_guide", "glossary"):
        (tmp_path / "course").mkdir(exist_ok=True)
        (tmp_path / f"course/{name}.md").write_text("# A title\n")
    assert making.document(tmp_path, PurePosixPath("course/glossary.md"), LINKS) == "# A title\n"
    guide = making.document(tmp_path, PurePosixPath("course/instructor_guide.md"), LINKS)
    assert guide == "---\nnosearch: true\n---\n\n# A title\n"
