"""Every interview question has a level, an answer, and a cell that shows it; every mistake of others has its page."""

import re

import folklore
import nbformat
import pytest

from lora_lab.commands.delivery import material
from tests.helpers.lessons import MASTERS

PATH = MASTERS.parents[1] / "interview_questions.md"
TEXT = PATH.read_text(encoding="utf-8")
LEVELS = ("Entry", "Mid", "Field engineer")
WRITTEN = {master.stem for master in MASTERS.glob("[0-9][0-9]_*.py")}

SHOWN = re.compile(
    r"^Shown in (?:lesson \[(\d\d)\]\(workbook/(\1_\w+)\.ipynb\), .+|the \[folklore\]\(folklore\.md\), .+)\.$"
)
HEARD = re.compile(r"\*\*Often heard\.\*\* (.*?)(?=\n\n)", re.DOTALL)
NAMED = re.compile(r"`((?:guess|turn|check)-\w+)`")
SECTION = re.compile(r"section “([^”]+)”")


def questions() -> dict[str, list[tuple[str, str]]]:
    """Level → its questions, each with what stands below."""
    found = {}
    for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        level, _, body = part.partition("\n")
        asked = [each.partition("\n") for each in re.split(r"^### ", body, flags=re.MULTILINE)[1:]]
        found[level] = [(question, below.strip()) for question, _, below in asked]
    return found


EVERY = [each for asked in questions().values() for each in asked]


def test_there_are_three_levels_each_with_questions_and_no_question_twice():
    assert tuple(questions()) == LEVELS
    assert min(len(asked) for asked in questions().values()) >= 6
    assert len({question for question, _ in EVERY}) == len(EVERY)


@pytest.mark.parametrize(("question", "below"), EVERY, ids=[question[:40] for question, _ in EVERY])
def test_a_question_says_where_it_is_shown_and_folds_its_answer(question, below):
    shown, _, rest = below.partition("\n\n")
    assert question.endswith("?") and SHOWN.match(shown), f"{question}: {shown}"
    answer = re.fullmatch(r"<details><summary>Answer</summary>\n\n(.+)\n\n</details>", rest, re.DOTALL)
    assert answer and "<details>" not in answer[1] and 15 <= len(answer[1].split()) <= 190, question


@pytest.mark.parametrize(("question", "below"), EVERY, ids=[question[:40] for question, _ in EVERY])
def test_the_cells_sections_and_rows_that_it_names_exist(question, below):
    shown, _, answer = below.partition("\n\n")
    places = [(name, shown) for _, name in SHOWN.findall(shown) if name]
    for lesson, words in re.findall(r"\(lesson (\d\d),\s([^)]+)\)", answer):
        places += [(name, words) for name in WRITTEN if name.startswith(lesson)]
    for name, words in places:
        if name not in WRITTEN:  # it comes with its lesson
            continue
        ids, headings = contents(name)
        named, sections = NAMED.findall(words), SECTION.findall(words.replace("\n", " "))
        assert named or sections, f"{question}: names no cell and no section of {name}"
        for cell in named:
            assert cell in ids, f"{question}: {name} has no cell {cell}"
        for section in sections:
            assert section in headings, f"{question}: {name} has no section {section!r}"
    rows = {row.__name__ for row in folklore.ROWS}
    for row in re.findall(r"\[folklore\]\(folklore\.md\),\s`(\w+)`", below):
        assert row in rows, f"{question}: course/folklore.py has no row {row}"


def test_what_is_often_heard_is_quoted_with_the_page_where_it_stands():
    heard = HEARD.findall(TEXT)
    assert len(heard) >= 8 and TEXT.count("**Often heard.**") == len(heard)
    for words in heard:
        assert re.search(r"“[^”]+”", words) and re.search(r"\]\(https://[^)]+\)", words), words


def test_a_learner_gets_the_questions_and_what_they_link_to():
    names = {item.name for item in material.items(MASTERS.parents[2])}
    assert "interview_questions.md" in names
    for link in re.findall(r"\]\((?!https:)([^)#]+)", TEXT):
        assert link in names or link.removeprefix("workbook/").removesuffix(".ipynb") not in WRITTEN, link


def contents(name: str) -> tuple[set[str], set[str]]:
    """The ids of a lesson's cells, the same in both editions, and its headings."""
    editions = [MASTERS.parents[2] / f"{folder}/{name}.ipynb" for folder in ("notebooks", "course/workbook")]
    ids, headings = [], set()
    for edition in editions:
        cells = nbformat.read(edition, as_version=4).cells
        ids.append({cell.id for cell in cells})
        prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        headings |= set(re.findall(r"^## (.+?)\s*$", prose, re.MULTILINE))
    return ids[0] & ids[1], headings
