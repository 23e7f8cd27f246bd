"""Links of the repository in the book: each arrives, or is refused with its page."""

import re
from pathlib import Path, PurePosixPath

import nbformat
import pytest
from book import __main__ as making
from book import contents
from book.links import Links

from lora_lab.authoring.pages import repository

ROOT = Path(__file__).resolve().parents[2]
LISTED = [entry.file for part in contents.parts(ROOT) for entry in part.entries]
LINKS = Links(ROOT, {*LISTED, making.PICTURE}, **repository(ROOT), files=making.PRINTED)
BLOB = "https://github.com/lora-lab/lora_lab/blob/main"


@pytest.mark.parametrize(
    ("page", "link", "becomes"),
    [
        ("course/syllabus.md", "workbook/01_svd.ipynb", "../notebooks/01_svd.ipynb"),
        ("course/syllabus.md", "../exercises/01_svd.ipynb", "../exercises/01_svd.ipynb"),
        ("course/syllabus.md", "glossary.md", "glossary.md"),
        ("course/folklore.md", "folklore.py", f"{BLOB}/course/folklore.py"),
        ("notebooks/01_svd.ipynb", "02_intrinsic_dimension.ipynb", "02_intrinsic_dimension.ipynb"),
        ("notebooks/01_svd.ipynb", "../course/glossary.md#rank", "#glossary-rank"),
        ("course/glossary.md", "#rank", "#glossary-rank"),
        ("course/glossary.md", "#a-heading", "#a-heading"),
        ("course/instructor_guide.md", "polls.html", "beside:polls.html"),
        ("notebooks/01_svd.ipynb", "../course/polls.html", "beside:../course/polls.html"),
        ("notebooks/01_svd.ipynb", "../tests", f"{BLOB.replace('blob', 'tree')}/tests"),
        ("exercises/01_svd.ipynb", "../course/workbook/01_svd.ipynb", "../notebooks/01_svd.ipynb"),
        ("exercises/01_svd.ipynb", "../solutions/02_intrinsic_dimension.ipynb", "02_intrinsic_dimension.ipynb"),
        ("exercises/01_svd.ipynb", "https://arxiv.org/abs/2106.09685", "https://arxiv.org/abs/2106.09685"),
        ("exercises/01_svd.ipynb", "mailto:a@b.c", "mailto:a@b.c"),
        ("index.md", "course/picture.png", "course/picture.png"),
    ],
)
def test_a_link_of_the_repository_becomes_one_of_the_book(page, link, becomes):
    anchor = '<a id="rank"></a>a ' if page == "course/glossary.md" else ""
    label = "(glossary-rank)=\na " if anchor else ""
    assert LINKS.rewritten(f"{anchor}so [it]({link}) is", PurePosixPath(page)) == f"{label}so [it]({becomes}) is"


def test_a_title_and_a_heading_beside_a_link_stay():
    text = "an ![image](course/picture.png \"A title\") and [one](course/glossary.md 'Words')"
    assert LINKS.rewritten(text, PurePosixPath("index.md")) == text


@pytest.mark.parametrize(
    "code",
    [
        "`[a](gone.md)`",
        "``[a](gone.md) ` ``",
        "```\n[a](gone.md)\n```",
        "\n~~~\n[a](gone.md)\n~~~",
        "\n  ```html\n  <a href='gone.md'>\n  ```",
    ],
)
def test_what_is_code_is_no_link(code):
    assert LINKS.rewritten(f"so {code} is", PurePosixPath("course/syllabus.md")) == f"so {code} is"


@pytest.mark.parametrize(
    "link", ["gone.md", "../../etc/passwd", "/etc/passwd", "workbook/99_gone.ipynb", "glossary.md#gone"]
)
def test_a_link_that_leads_nowhere_is_refused_with_its_page(link):
    with pytest.raises(ValueError, match=f"course/syllabus.md links to '{re.escape(link)}'.*correct"):
        LINKS.rewritten(f"[it]({link})", PurePosixPath("course/syllabus.md"))


@pytest.mark.parametrize("link", ["javascript:alert(1)", "file:///etc/passwd", "ftp://x/y"])
def test_a_link_of_a_scheme_that_no_page_needs_is_refused(link):
    with pytest.raises(ValueError, match="begin it with one of https, http, mailto, or with none"):
        LINKS.rewritten(f"[it]({link})", PurePosixPath("course/syllabus.md"))


@pytest.mark.parametrize(
    "form",
    ['[it](gone.md "A title")', "[it](<gone file.md>)", '<a href="gone.md">it</a>', "<img src=gone.png>",
     "[it][1]\n\n[1]: gone.md", '<script src="https://x/y.js"></script>', '<img alt="" src="https://x/y.png">'],
)  # fmt: skip
def test_no_form_of_a_link_is_overlooked(form):
    with pytest.raises(ValueError, match="course/syllabus.md.*(correct|write )"):
        LINKS.rewritten(f"so {form} is", PurePosixPath("course/syllabus.md"))


@pytest.mark.parametrize("file", ["https://evil.example/p.png", "npm.py", "gone.png", "../notebooks/x.png"])
def test_an_image_that_the_book_does_not_hold_is_refused(file):
    with pytest.raises(ValueError, match="the book holds no such image"):
        LINKS.rewritten(f"![it]({file})", PurePosixPath("course/syllabus.md"))


@pytest.mark.parametrize("text", ['<a href="https://x/y">it</a>', "a note[^1]\n\n[^1]: see it", "<b>a</b> [i] [j]: k"])
def test_what_leads_to_another_server_or_is_no_link_stays(text):
    assert LINKS.rewritten(text, PurePosixPath("course/syllabus.md")) == text


def slug(heading):
    """As Sphinx's MyST names a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("file", [file for file in LISTED if file.suffix == ".md"], ids=str)
def test_a_link_within_a_page_leads_to_a_label_or_a_heading_of_it(file):
    text = LINKS.rewritten((ROOT / file).read_text(encoding="utf-8"), file)
    known = {*re.findall(r"^\(([\w-]+)\)=", text, re.MULTILINE)}
    known |= {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    for other in (ROOT / "course").glob("*.md"):
        anchors = re.findall(r'^<a id="([\w-]+)">', other.read_text(encoding="utf-8"), re.MULTILINE)
        known |= {f"{other.stem}-{name}" for name in anchors}
    assert {*re.findall(r"\]\(#([^)]+)\)", text)} <= known


def test_a_file_outside_of_the_repository_is_nowhere(tmp_path):
    (tmp_path / "outside.md").write_text("there")
    links = Links(tmp_path / "inside", set(), "https://x", "main")
    with pytest.raises(ValueError, match="a.md links to '../outside.md'"):
        links.rewritten("[it](../outside.md)", PurePosixPath("a.md"))


def test_an_anchor_becomes_a_label():
    text = '<a id="rank"></a>**rank**: a number, see <a id="not"></a>'
    written = LINKS.rewritten(text, PurePosixPath("course/glossary.md"))
    assert written == '(glossary-rank)=\n**rank**: a number, see <a id="not"></a>'


@pytest.mark.parametrize("file", LISTED, ids=str)
def test_no_page_of_the_course_has_a_dead_link(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.suffix == ".md":
        assert LINKS.rewritten(text, file)
    else:
        page = nbformat.reads(making.notebook_page(ROOT, file, LINKS), as_version=4)
        assert not any("](../course/workbook" in cell.source for cell in page.cells)
