"""What the web book is made of: the syllabus's pages in order, questions before their answers, the library."""

import importlib
import json
import re
from pathlib import Path, PurePosixPath

import nbformat
import pytest
from book import __main__ as making
from book import api, contents, pages
from book.links import Links

from lora_lab import show
from lora_lab.authoring.pages import repository

ROOT = Path(__file__).resolve().parents[2]
PARTS = contents.parts(ROOT)
LISTED = [entry.file for part in PARTS for entry in part.entries]
LINKS = Links(ROOT, {*LISTED, making.PICTURE}, **repository(ROOT), files=making.PRINTED)
LESSONS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))


# ── the contents ────────────────────────────────────────────────────────────────────────────────────────────────────


def in_folder(name):
    return [file.name for file in LISTED if file.parent == PurePosixPath(name)]


def test_every_lesson_and_exercise_is_a_page_once_in_order():
    assert in_folder("notebooks") == LESSONS
    assert in_folder("exercises") == sorted(path.name for path in (ROOT / "exercises").glob("*.ipynb"))


def test_every_document_is_a_page_and_the_syllabus_is_the_first():
    documents = [file.name for file in LISTED if file.suffix == ".md"]
    assert LISTED[0] == PurePosixPath("course/syllabus.md")
    assert sorted(documents) == sorted(path.name for path in (ROOT / "course").glob("*.md"))
    assert documents.index("folklore.md") < documents.index("glossary.md") < documents.index("interview_questions.md")
    teaching = next(part for part in PARTS if part.caption == "For who teaches")
    assert [entry.file.stem for entry in teaching.entries][:1] == ["grading"]


def test_the_parts_are_those_of_the_syllabus_with_their_lessons():
    lessons = {part.caption: [entry.title[:2] for entry in part.entries] for part in PARTS}
    assert lessons["I Rank"] == ["00", "01", "02", "03", "04", "05"]
    assert lessons["II Bits"][0] == "06"
    assert PARTS[1].entries[1] == contents.Entry(PurePosixPath("notebooks/01_svd.ipynb"), "01 SVD")


def test_a_part_is_a_table_of_contents():
    assert contents.tree(PARTS[1]).splitlines()[:5] == ["```{toctree}", ":hidden:", ":caption: I Rank", "",
                                                       "00 Start here </notebooks/00_start_here>"]  # fmt: skip


def test_a_lesson_without_a_row_is_refused(tmp_path):
    (tmp_path / "course").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "course" / "syllabus.md").write_text("| **I** | **Rank** |\n| 00 | [One](workbook/00_one.ipynb) |\n")
    for name in ("00_one", "01_two"):
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text("{}")
    with pytest.raises(ValueError, match="no row for notebooks/01_two.ipynb: add one"):
        contents.parts(tmp_path)


# ── pages ───────────────────────────────────────────────────────────────────────────────────────────────────────────

GUESS = "r = 64  #? which rank\n# | 64: too many"
TURN = "def f(x):\n    #> twice\n    return 2 * x\n    #<"
SAID = {
    "guesses": {"r": {"gap": {"text": GUESS, "stub": "r = ...  # which rank"}}},
    "turns": {
        "f": {
            "gaps": [{"text": "\n".join(TURN.splitlines()[1:]), "stub": "    # twice\n    ..."}],
            "solution": "def f(x):\n    return 2 * x",
        }
    },
}
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "IntSlider"}


def markdown(text, name):
    return nbformat.v4.new_markdown_cell(text, id=name)


def code(text, name, *outputs, tags=()):
    shown = [nbformat.v4.new_output("display_data", data) for data in outputs]
    return nbformat.v4.new_code_cell(text, id=name, outputs=shown, metadata={"tags": list(tags)})


def made(*cells):
    return pages.page(nbformat.v4.new_notebook(cells=list(cells)), SAID, "[Exercises](x)").cells


def test_the_badge_becomes_links_and_the_set_up_goes():
    cells = made(markdown("[![Open in Colab](https://x/badge.svg)](https://x)", "colab-badge"), code("1", "set-up"))
    assert [cell.source for cell in cells] == ["[Exercises](x)"]


def test_a_guess_is_a_question_again():
    [cell] = made(code(GUESS, "guess-r", tags=["guess:r"]))
    assert cell.source == "r = ...  # which rank"


def test_an_answer_is_folded_with_its_outputs_before_its_code():
    shown = {"text/html": "<figure>"}
    cells = made(code("#@title The answer: run this cell\nr = 4", "a", shown, tags=["reveal"]))
    assert [cell.source.splitlines()[0] for cell in cells] == [
        '<details class="answer"><summary>The answer</summary>', "r = 4",
        "<details><summary>Its code</summary>", "r = 4", "</details>",
    ]  # fmt: skip
    assert cells[1].metadata.tags == ["remove-input"] and cells[3].metadata.tags == ["remove-output"]
    assert cells[1].outputs[0].data["text/html"] == "<figure>"
    assert cells[1].id != cells[3].id
    assert cells[4].source.count("</details>") == 2


REVEAL = code("r = 4", "a", tags=["reveal"])
PROSE = (
    "It is half.\n\n<details><summary>Why</summary>\n\n# not a heading of the page\n\n</details>\n\n"
    "```\n# a comment\n```"
)


@pytest.mark.parametrize("asked", ["## Next\n\nA text.", "**Guess:** which?", "**Your turn.** Write it.", "**Try it**"])
@pytest.mark.parametrize("together", [True, False])
def test_what_is_said_of_an_answer_is_folded_with_it_up_to_what_is_asked_next(asked, together):
    text = [f"{PROSE}\n\n{asked}"] if together else [PROSE, "It is so.", asked]
    cells = made(REVEAL, *(markdown(each, f"m{number}") for number, each in enumerate(text)), code("2", "b"))
    said = PROSE if together else f"{PROSE}\n\nIt is so."
    assert [cell.source for cell in cells[4:]] == [f"</details>\n\n{said}\n\n</details>", asked, "2"]


def test_code_ends_what_is_said_of_an_answer():
    cells = made(REVEAL, markdown("It is half.", "m"), code("2", "b"), markdown("A later text.", "n"))
    assert [cell.source for cell in cells[4:]] == ["</details>\n\nIt is half.\n\n</details>", "2", "A later text."]


@pytest.mark.parametrize("name", LESSONS)
def test_no_answer_of_a_lesson_is_told_below_its_fold(name):
    """Between an answer and the next code, what is open begins with a heading or asks something."""
    cells = nbformat.reads(making.notebook_page(ROOT, PurePosixPath("notebooks", name), LINKS), as_version=4).cells
    answers = [number for number, cell in enumerate(cells) if cell.source.startswith('<details class="answer">')]
    assert answers
    for number in answers:
        following = cells[_end_of_fold(cells, number) + 1]
        if following.cell_type == "markdown":
            assert following.source.startswith(("#", "**Guess", "**Your", "**Try")), following.source[:80]


def _end_of_fold(cells, number):
    depth = 0
    for place, cell in enumerate(cells[number:], number):
        if cell.cell_type == "markdown":
            depth += cell.source.count("<details") - cell.source.count("</details>")
        if not depth:
            return place
    raise AssertionError("the fold is not closed")


def table(headers, *rows):
    """As a lesson stores it."""
    return show.tabulate(rows, headers)._repr_mimebundle_()


def test_a_table_of_guesses_says_what_was_guessed_and_measured_and_none_of_the_stored_run_s_guesses():
    headers = [
        "what was guessed",
        "your guess",
        "measured",
        "your guess is",
        "a typical guess near yours, and what it often means",
    ]
    rows = [["the rank", "4,096", "2,048", "2,048 too high", "A alone"], ["a & b", "1", "2", "1 too low", ""]]
    wanted = table(["what was guessed", "measured"], ["the rank", "2,048"], ["a & b", "2"])["text/html"]
    for columns in (4, 5):
        shown = table(headers[:columns], *(row[:columns] for row in rows))
        [cell] = made(code("1", "a", shown))
        assert cell.outputs[0].data["text/html"] == wanted


def test_another_table_stays_as_it_is_and_that_of_turns_which_nobody_has_written_goes():
    other = table(["your guess", "measured"], ["1", "2"])
    [cell] = made(code("summary()", "a", other, table(["your turn", "the lesson went on with"], ["f", "yours"])))
    assert [output.data["text/html"] for output in cell.outputs] == [other["text/html"]]


def test_a_turn_shows_its_stub_then_its_hints_then_folded_one_way_to_write_it():
    check = code('f = check("f", f)', "check-f", {"text/plain": "f: right."}, tags=["check:f"])
    cells = made(code(TURN, "turn-f", tags=["turn:f"]), markdown("a hint", "hint-f"), check)
    assert [cell.source for cell in cells] == [
        "def f(x):\n    # twice\n    ...", "a hint",
        "<details><summary>One way to write it</summary>", "def f(x):\n    return 2 * x", "</details>",
    ]  # fmt: skip
    assert not any(cell.get("outputs") for cell in cells)


def test_a_check_that_goes_on_to_show_something_stays():
    check = code('f = check("f", f)\nprint(f(2))', "check-f", {"text/plain": "4"}, tags=["check:f"])
    assert made(check)[-1].outputs[0].data["text/plain"] == "4"


def test_an_exercise_that_was_not_run_keeps_its_check():
    check = code('f = check("f", f)', "check-f", tags=["check:f"])
    assert [cell.source for cell in made(check)] == [check.source]


def test_sliders_become_a_sentence_and_a_progress_bar_nothing():
    figure = {"text/html": "<figure>"}
    sliders, bar = made(code("show.lora_explorer(r=1)", "a", figure, WIDGET), code("load()", "b", WIDGET))
    assert [output.data["text/html"] for output in sliders.outputs] == [
        "<figure>", '<p class="sliders">In the notebook, sliders stand here.</p>',
    ]  # fmt: skip
    assert bar.outputs == []


def test_the_notebook_that_was_given_stays_as_it_is():
    table = {"text/html": "<th>your guess</th>"}
    cells = [code("show.a_explorer()", "a", table, WIDGET), code(GUESS, "g", tags=["guess:r"])]
    notebook = nbformat.v4.new_notebook(cells=cells)
    before = nbformat.writes(notebook)
    pages.page(notebook, SAID, "")
    assert nbformat.writes(notebook) == before


@pytest.mark.parametrize("name", LESSONS)
def test_what_sliders_show_is_shown_by_a_figure_too(name):
    """In the same cell, or for a cell that is optional, above it."""
    figures, cells = 0, json.loads((ROOT / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        outputs = cell.get("outputs", [])
        shown = sum("<figure" in "".join(output.get("data", {}).get("text/html", "")) for output in outputs)
        figures += shown
        if "_explorer(" in "".join(cell["source"]) and cell["cell_type"] == "code":
            assert shown or ("optional" in cell["metadata"].get("tags", []) and figures)


@pytest.mark.parametrize("name", LESSONS)
def test_no_page_holds_an_image_of_another_server(name):
    page = nbformat.reads(making.notebook_page(ROOT, PurePosixPath("notebooks", name), LINKS), as_version=4)
    for cell in page.cells:
        assert "](http" not in "".join(re.findall(r"!\[[^\]]*(\]\(http)?", cell.source))
        assert 'src="http' not in json.dumps(cell.get("outputs", []))


# ── the library's pages ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("room", api.ROOMS)
def test_every_public_name_of_a_room_is_on_its_page(room):
    text = api.page(room)
    for name in getattr(importlib.import_module(f"lora_lab.{room}"), "__all__", []):
        assert re.search(rf"\b{name}\b", text), f"{name} is missing"


def test_a_name_is_described_in_the_room_where_it_is_written_and_linked_where_it_is_handed_on():
    assert ".. autofunction:: lora_lab.adapters.inject" in api.page("adapters")
    assert ".. autofunction:: lora_lab.lora.inject" not in api.page("lora")
    assert "{py:obj}`inject <lora_lab.adapters.inject>`" in api.page("lora")
    assert "autoclass:: lora_lab.data.Person" not in api.page("data")  # with the module `world`, which exports it


def test_a_constant_has_its_value_if_that_is_short_and_the_words_under_it():
    text = api.page("quant")
    assert ".. py:data:: BLOCK_SIZES\n   :module: lora_lab.quant\n   :value: (16, 32," in text
    assert ".. py:data:: FP4_BNB\n   :module: lora_lab.quant\n\n   The table that bitsandbytes calls" in text


@pytest.mark.parametrize("room", api.ROOMS)
def test_every_constant_of_a_room_has_a_value_or_words_under_it(room):
    text = f"{api.page(room)}\n"
    described = re.findall(r"^\.\. py:data:: (\w+)\n   :module: .*\n((?:   .*\n|\n(?!\.\.|#))*)", text, re.MULTILINE)
    assert [name for name, under in described if not under.strip()] == []
    assert text.startswith(f"# lora_lab.{room}\n")


def test_a_path_of_this_machine_is_no_value():
    assert str(ROOT) not in api.page("models")


def test_a_module_that_a_room_exports_stands_under_a_heading():
    assert "## tasks\n\n```{eval-rst}\n.. automodule:: lora_lab.data.tasks" in api.page("data")


def test_every_room_is_listed():
    made = api.pages()
    assert set(made) == {"index", *api.ROOMS}
    assert all(f"[`lora_lab.{room}`]({room}.md)" in made["index"] for room in api.ROOMS)
