"""Masters of exercises give exercises without answers, solutions, and what the grader and `hint` read."""

import json
import re
from pathlib import Path

import build
import contract_of_exercises
import pytest
from nbformat.v4 import new_output

from lora_lab.authoring import editions, pages, tags
from lora_lab.authoring.editions import EXERCISE as KIND
from lora_lab.authoring.percent import parse, render
from tests.helpers.exercise import EXERCISE

ROOT = Path(build.__file__).resolve().parents[1]
EXERCISES = [page for page in pages.pages(ROOT) if page.kind is KIND]
MIN_EXERCISES, MIN_TASKS = 14, 45


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A course of one exercise, not built yet."""
    pages.write(tmp_path / "course/repository.toml", 'address = "https://github.com/o/r"\nref = "v1"\n')
    pages.write(tmp_path / KIND.masters / "01_twice.py", EXERCISE)
    return tmp_path


@pytest.fixture
def page(root: Path) -> pages.Page:
    return pages.Page(root, "01_twice", KIND)


def sources(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells)


# ── what a master gives ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_master_says_what_each_task_asks_and_which_rooms_answers_may_import():
    said = tags.read(parse(EXERCISE), tags.Exercise)
    assert said.allow == ["lowrank"]
    assert list(said.tasks) == list(said.turns) == ["twice", "thrice"]
    assert said.tasks["thrice"] == tags.Stated("thrice", "2. Thrice", 2, 5, 10, 3)
    assert said.tasks["twice"].points == 1


def test_the_exercise_has_stubs_and_the_solution_folded_and_the_badge_opens_it(page):
    learners = page.sources().workbook
    stub = next(cell for cell in learners.cells if cell.id == "turn-twice")
    assert stub.source == "def twice(x):\n    # one line\n    ..."
    folded = [cell.source for cell in learners.cells if "return 2 * x" in cell.source]
    assert len(folded) == 1 and folded[0].startswith("<details><summary>Solution</summary>")
    assert "https://colab.research.google.com/github/o/r/blob/v1/exercises/01_twice.ipynb" in sources(learners)


def test_links_lead_to_the_workbook_from_the_exercise_and_to_the_notebook_from_the_solution(page):
    complete, learners = page.sources().notebook, page.sources().workbook
    assert "](../notebooks/01_svd.ipynb)" in sources(complete) and "](../course/glossary.md)" in sources(complete)
    assert "](../course/workbook/01_svd.ipynb)" in sources(learners) and "](../course/glossary.md)" in sources(learners)


def test_filled_in_the_exercise_is_the_solution(page):
    said = json.loads(page.sources().generated)
    complete = editions.filled(page.sources().workbook, said, KIND)
    assert pages.as_json(complete) == pages.as_json(page.sources().notebook)


def test_the_master_can_be_had_back_from_the_solution(page):
    assert render(editions.master_cells(page.sources().notebook)) == EXERCISE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("difficulty 1 of 5 · ", "", "line 10: task:twice begins with '## ' and its heading, then a line such as"),
        ("difficulty 1 of 5", "difficulty 7 of 5", "line 10: task:twice begins with"),
        ("# ## 1. Twice", "# Twice", "line 10: task:twice begins with"),
        (' tags=["task:twice"]', "", 'turn:twice has no task: add a markdown cell tagged "task:twice" above it'),
        ('"task:thrice"', '"task:twice"', "task:twice stands above turn:twice"),
        ('tags=["allow:lowrank"]', 'tags=["alow:lowrank"]', "unknown tag 'alow:lowrank': did you mean 'allow'?"),
        ('tags=["hint:thrice"]', 'tags=["allow:"]', "allow: names a room of the library, as in allow:lowrank"),
    ],
)
def test_a_malformed_master_is_refused_with_its_line(old, new, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        tags.read(parse(EXERCISE.replace(old, new, 1)), tags.Exercise)


def test_tasks_and_rooms_belong_to_exercises_only():
    with pytest.raises(ValueError, match="the tag 'allow' stands in an exercise only"):
        tags.read(parse(EXERCISE))


# ── built, and in step ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_build_writes_all_three_and_the_check_is_silent_until_one_changes(root, page, monkeypatch):
    monkeypatch.setattr(build, "execute", executed)
    assert build.main(["exercises/01_twice"], root) == 0
    assert build.check(root, []) == []
    page.workbook.write_text(page.workbook.read_text().replace("one line", "two lines"))
    assert [finding.partition(":")[0] for finding in build.check(root, [])][0] == "exercises/01_twice.ipynb"
    page.workbook.unlink()
    assert build.check(root, []) == ["exercises/01_twice.ipynb: is missing: run course/build.py"]
    (root / "exercises/99_stray.ipynb").write_text("{}")
    assert "exercises/99_stray.ipynb: has no master" in build.check(root, [])[-1]


def executed(notebook, folder):
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = number
        if cell.id.startswith("check-"):
            cell.outputs = [new_output("stream", text=f"{cell.id.removeprefix('check-')}: right. Going on with yours.")]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("# # Exercises: doubling", "# # Doubling", "the first cell begins with '# Exercises: '"),
        (
            "**A first hint.** Multiply.",
            "**A.** B\n#\n# **C.** D\n#\n# **E.** F\n#\n# **G.** H",
            "has 4 hints, at most 3",
        ),
        ("../notebooks/01_svd.ipynb", "01_svd.py", "links to 01_svd.py"),
        (' tags=["hint:twice"]', "", 'task:twice has no hint: add a cell tagged "hint:twice"'),
    ],
)
def test_what_breaks_the_contract_is_named(page, old, new, said):
    pages.write(page.master, EXERCISE.replace(old, new, 1))
    findings = list(contract_of_exercises.exercise(page.sources().notebook, page.name))
    assert len(findings) == 1 and said in findings[0]


def test_an_exercise_of_one_task_is_too_short(page):
    pages.write(page.master, EXERCISE[: EXERCISE.index('# %% [markdown] tags=["task:thrice"]')])
    assert list(contract_of_exercises.exercise(page.sources().notebook, page.name)) == ["1 tasks, at least 2"]


# ── the course's own ────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_are_as_many_exercises_and_tasks_as_the_course_promises():
    tasks = [task for page in EXERCISES for task in page.read()[1].turns]
    assert len(EXERCISES) >= MIN_EXERCISES and len(tasks) >= MIN_TASKS


@pytest.mark.parametrize("page", EXERCISES, ids=lambda page: page.name)
def test_an_exercise_allows_no_room_that_the_library_has_not_and_follows_a_lesson(page):
    said = page.read()[1]
    assert isinstance(said, tags.Exercise)
    assert all(
        (ROOT / "lora_lab" / room).exists() or (ROOT / "lora_lab" / f"{room}.py").exists() for room in said.allow
    )
    assert pages.Page(ROOT, page.name).master.exists() or page.name[:2] in {each.name[:2] for each in pages.pages(ROOT)}
