"""The checks themselves, tried with answers that learners might give: wrong, right, the lesson's own, and none.

The answers stand in tests/mutants/exercises/, one file per topic; each file is found by itself. A check draws its
inputs afresh each time, and no verdict may depend on them: `python tests/mutants/exercises/run.py` tries more seeds.
"""

import ast
import importlib
import pkgutil
from collections import Counter
from typing import Any

import pytest

from lora_lab.authoring import percent
from lora_lab.exercises import check, lessons, tasks
from tests.helpers.lessons import MASTERS
from tests.mutants import exercises
from tests.mutants.exercises.answer import Answer, run

NAMES = [each.name for each in pkgutil.iter_modules(exercises.__path__) if each.name not in ("answer", "run")]
TOPICS = [importlib.import_module(f"{exercises.__name__}.{name}") for name in NAMES]
WRONG: list[Answer] = [answer for topic in TOPICS for answer in topic.ANSWERS]
RIGHT: list[Answer] = [answer for topic in TOPICS for answer in topic.RIGHT]
TASKS = sorted(tasks.load())
TURNS = [(f"lessons/{lesson.name}", name) for lesson in lessons.every() for name in lesson.turns]
TURNS += [(f"exercises/{exercise.name}", name) for exercise in lessons.exercises() for name in exercise.turns]
SEED = 0  # others: tests/mutants/exercises/run.py


def name_of(answer: Answer) -> str:
    return f"{answer.task}: {answer.says}" if answer.says else answer.task


@pytest.mark.parametrize("answer", WRONG, ids=name_of)
def test_a_wrong_answer_gets_its_own_diagnosis_and_the_lesson_goes_on_with_the_librarys(answer, capsys):
    given = run(answer.code, answer.task)
    result = check(answer.task, given, SEED)
    said = capsys.readouterr().out
    assert answer.says and answer.says in said and "not right yet" in said
    assert result is not given and "Traceback" not in said


@pytest.mark.parametrize("answer", RIGHT, ids=name_of)
def test_a_right_answer_is_taken_however_it_is_written(answer, capsys):
    given = run(answer.code, answer.task)
    result = check(answer.task, given)
    assert result is given, capsys.readouterr().out


@pytest.mark.parametrize("name", TASKS)
def test_the_librarys_answer_passes_its_own_check(name, capsys):
    answer = tasks.find(name).reference()
    assert check(name, answer) is answer, capsys.readouterr().out


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_tried_with_five_wrong_answers_and_two_right_ones(name):
    wrong, right = Counter(answer.task for answer in WRONG), Counter(answer.task for answer in RIGHT)
    assert wrong[name] >= 5 and right[name] >= 2


@pytest.mark.parametrize("name", [name for each in lessons.exercises() for name in each.turns])
def test_two_wrong_answers_to_an_exercises_task_come_from_somebody_who_had_not_seen_the_check(name):
    blind = [answer for topic in TOPICS if "blind" in topic.__name__ for answer in topic.ANSWERS if answer.task == name]
    assert len(blind) >= 2


def test_every_turn_has_a_task_and_every_task_a_turn():
    assert sorted(name for _, name in TURNS) == TASKS
    assert {answer.task for answer in (*WRONG, *RIGHT)} <= set(TASKS)


def above(lesson: str, name: str) -> dict[str, Any]:
    """What stands above a turn: imports, what an exercise gives to use, the library's answers to the other turns."""
    parsed = percent.parse((MASTERS.parent / f"{lesson}.py").read_text(encoding="utf-8"))
    trees = [ast.parse(cell.source) for cell in parsed if cell.kind == "code"]
    found = [node for tree in trees for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if lesson.startswith("exercises/"):
        plain = [ast.parse(cell.source) for cell in parsed if cell.kind == "code" and not cell.tags]
        found += [node for tree in plain for node in tree.body if isinstance(node, ast.FunctionDef)]
    names: dict[str, Any] = {}
    exec("\n".join(ast.unparse(node) for node in found), names)
    others = [other for each, other in TURNS if each == lesson and other != name]
    return {**names, **{other: tasks.find(other).reference() for other in others}}


def run_turn(lesson: str, name: str, what: str) -> Any:
    """The answer that a lesson's cell gives, solved or as a stub."""
    try:
        return run(lessons.turn(name)[what], name, **above(lesson, name))
    except NameError as error:
        pytest.skip(f"{error}: computed in a cell above; course/build.py --check sees that its check says right")


@pytest.mark.parametrize(("lesson", "name"), TURNS)
def test_a_lessons_own_solution_is_right(lesson, name, capsys):
    answer = run_turn(lesson, name, "solution")
    assert check(name, answer) is answer, capsys.readouterr().out


@pytest.mark.parametrize(("lesson", "name"), TURNS)
def test_a_stub_is_not_yet_done_and_the_lesson_goes_on_with_the_librarys(lesson, name, capsys):
    answer = run_turn(lesson, name, "stub")
    result = check(name, answer)
    assert "not yet done" in capsys.readouterr().out and result is not answer and result is not None
