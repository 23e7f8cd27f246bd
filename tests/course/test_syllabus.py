"""The syllabus is the one table of the course: every lesson once, and every link leads somewhere."""

import re
import runpy

import pytest

from lora_lab.exercises import lessons
from tests.helpers.lessons import MASTERS

SYLLABUS = MASTERS.parents[1] / "syllabus.md"
TEXT = SYLLABUS.read_text(encoding="utf-8")
LINKS = re.findall(r"\]\(([^)#]+)", TEXT)
ROWS = {row[0]: row for row in (re.split(r"\s*\|\s*", line)[1:-1] for line in TEXT.splitlines()) if row[:1] and
        re.fullmatch(r"\d\d", row[0]) and len(row) == 6}  # fmt: skip
NAMES = sorted(master.stem for master in MASTERS.glob("[0-9][0-9]_*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_lesson_has_its_row_and_the_row_opens_its_workbook(name):
    assert name[:2] in ROWS, f"course/syllabus.md has no row for {name}: add one"
    assert f"(workbook/{name}.ipynb)" in ROWS[name[:2]][1], f"link the row of {name[:2]} to workbook/{name}.ipynb"


@pytest.mark.parametrize("exercise", lessons.exercises(), ids=lambda each: each.name)
def test_every_exercise_has_its_row_with_its_tasks_and_minutes(exercise):
    row = next((line for line in TEXT.splitlines() if f"(../exercises/{exercise.name}.ipynb)" in line), None)
    assert row is not None, f"course/syllabus.md has no row for the exercise {exercise.name}: add one"
    *_, tasks, minutes = re.split(r"\s*\|\s*", row)[1:-1]
    assert tasks.split("; ") == [task["title"].partition(". ")[2] for task in exercise.tasks.values()]
    assert minutes == str(sum(task["minutes"] for task in exercise.tasks.values()))


def test_a_row_without_a_link_is_a_lesson_that_does_not_exist_yet():
    written = {name[:2] for name in NAMES}
    assert {number for number, row in ROWS.items() if "](" not in row[1]}.isdisjoint(written)


def test_the_lessons_stand_in_their_order_each_once():
    numbers = re.findall(r"^\| (\d\d) \| \[[^\]]*\]\(workbook", TEXT, re.MULTILINE)
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_every_link_leads_to_a_file_of_the_course(link):
    """The folder that a learner gets mirrors course/, with exercises/ in it and without notebooks/."""
    assert (SYLLABUS.parent / link).is_file()
    assert not link.startswith("..") or link.startswith("../exercises/")


def test_a_lessons_minutes_are_the_sum_of_its_sections():
    for lesson in lessons.every():
        if total := sum(section["minutes"] for section in lesson.sections):
            row = ROWS[lesson.name[:2]]
            assert row[4] == str(total), f"lesson {lesson.name[:2]} takes {total} minutes, the syllabus says {row[4]}"


@pytest.mark.parametrize("name", NAMES)
def test_a_row_says_what_one_can_do_and_no_number_that_its_lesson_asks_to_guess(name):
    assert "| its question | what you can do afterwards |" in TEXT
    for words in ROWS[name[:2]][2:4]:
        plain = words.replace("NF4", "").replace("4-bit", "")
        assert not re.search(r"\d", plain), f"{plain!r} gives a result: say what one can do with it"


def test_the_readmes_picture_leaves_out_the_control_that_lesson_00_asks_about():
    readme = (MASTERS.parents[2] / "README.md").read_text(encoding="utf-8")
    drawn = runpy.run_path(str(SYLLABUS.parent / "records" / "picture.py"))["drawn"]()
    names = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert {"full", "lora", "qlora"} == set(names) and "shuffled" not in readme
