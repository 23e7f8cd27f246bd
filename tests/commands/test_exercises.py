"""`lora-lab exercises`: what is done, and an instructor's own exercises built."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_output

from lora_lab.authoring import private as building
from lora_lab.authoring.editions import SETUP_ID
from lora_lab.commands.cli import main
from lora_lab.exercises import lessons, saved, tasks
from tests.helpers.exercise import EXERCISE

CHECKS = """
from lora_lab.exercises.private import drawn
from lora_lab.exercises.tasks import Wrong, task


def require(f, times):
    if f(3) != 3 * times:
        raise Wrong("that is another multiple")


@task(reference=lambda: lambda x: 2 * x)
def our_twice(f):
    require(f, 2)


@task(reference=lambda: lambda x: drawn["times"] * x)
def our_times(f):
    require(f, drawn["times"])
"""
MASTER = (
    EXERCISE.replace("twice", "our_twice").replace("thrice", "our_times")
    .replace("return 3 * x", "return {{times}} * x").replace("Three times as much.", "{{times}} times as much.")
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An instructor's, with one master of two tasks."""
    monkeypatch.setattr(tasks, "_tasks", {})
    for name, text in {"masters/01_times.py": MASTER, "checks/ours.py": CHECKS,
                       "class.toml": 'name = "2026 autumn"\n[draw]\ntimes = [3, 5, 7]\n'}.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


# ── what is done ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_lesson_and_exercise_is_listed_with_what_is_right(tmp_path, capsys):
    lesson = next(each for each in lessons.every() if len(each.turns) > 1)
    kept = {"turns": {next(iter(lesson.turns)): {"right": True}}, "guesses": {}}
    (tmp_path / saved.NAME).write_text(json.dumps(kept))
    assert main(["exercises", "--folder", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith(f"{lesson.title}  "))
    assert f"1 of {len(lesson.turns)}" in row
    assert all(f"{each.title}  " in out for each in lessons.exercises()) and f"Kept in {tmp_path / saved.NAME}" in out


def test_a_folder_without_progress_says_what_will_be_written(tmp_path, capsys):
    assert main(["exercises", "--folder", str(tmp_path)]) == 0
    assert "Nothing yet: " in (out := capsys.readouterr().out) and "0 of" in out


def test_my_course_is_looked_into_where_nothing_else_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LORA_LAB_PROGRESS", raising=False)
    (tmp_path / "my_course").mkdir()
    (tmp_path / "my_course" / saved.NAME).write_text('{"turns": {}, "guesses": {}}')
    assert main(["exercises"]) == 0
    assert f"Kept in my_course/{saved.NAME}" in capsys.readouterr().out
    monkeypatch.setenv("LORA_LAB_PROGRESS", "off")
    assert main(["exercises"]) == 0 and "No progress is kept" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert main(["exercises", "--folder", str(tmp_path / "none")]) == 2
    assert "none': give the one that lora-lab lab made" in capsys.readouterr().err


# ── an instructor's own ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fast(monkeypatch):
    """Solutions that are not run; each check says what it should, unless the test says otherwise."""

    def execute(notebook, *_):
        for cell in notebook.cells:
            if cell.id.startswith("check-"):
                cell.outputs = [new_output("stream", text=execute.says.format(cell.id[6:]))]

    execute.says = "{}: right. Going on with yours."
    monkeypatch.setattr(building, "execute", execute)
    return execute


def test_students_get_stubs_without_solutions_and_the_grader_what_it_reads(folder, fast, capsys):
    assert main(["exercises", "build", str(folder)]) == 0
    times = int(capsys.readouterr().out.split("times = ")[1])
    assert times in (3, 5, 7)
    students = (folder / "built/exercises/01_times.ipynb").read_text()
    assert f"{times} times as much." in students and "marked_later(" in students and "colab-badge" not in students
    typed = [cell.source for cell in nbformat.reads(students, 4).cells if cell.id != SETUP_ID]
    assert "return" not in "".join(typed) and "Solution" not in students and "A first hint." in students
    grader = json.loads((folder / "built/01_times.json").read_text())
    assert grader["drawn"] == {"times": times} and grader["tasks"]["our_times"]["points"] == 3
    assert grader["allow"] == ["lowrank"] and "return" not in json.dumps(grader["turns"])


def test_what_the_guide_shows_is_built_as_it_stands(folder, fast, capsys):
    guide = (Path(__file__).resolve().parents[2] / "course/grading.md").read_text(encoding="utf-8")
    master, check = (block.partition("```")[0] for block in re.split("```(?:text|python)\n", guide)[1:3])
    drawn = "[draw]\n" + "\n".join(re.findall(r"^ +(\w+ = \[.*\])$", guide, re.MULTILINE))
    for old in ("masters/01_times.py", "checks/ours.py"):
        (folder / old).unlink()
    (folder / "masters/01_rank.py").write_text(master, encoding="utf-8")
    (folder / "checks/rank.py").write_text(check, encoding="utf-8")
    (folder / "class.toml").write_text(f'name = "2026 autumn"\n{drawn}\n', encoding="utf-8")
    assert main(["exercises", "build", str(folder)]) == 0
    grader = json.loads((folder / "built/01_rank.json").read_text())
    assert grader["tasks"]["adapter_size"]["points"] == 3 and set(grader["drawn"]) == {"r", "block_size"}
    answer = tasks.find("adapter_size")
    assert answer.passes(answer.reference()) is None
    with pytest.raises(tasks.Wrong, match="count both"):
        answer.passes(lambda d_out, d_in: d_out)


@pytest.mark.parametrize(("said", "points"), [(" · 2 points", 2), (" · 1 point", 1), ("", 1)])
def test_one_point_is_written_as_people_write_it(folder, fast, said, points):
    file = folder / "masters/01_times.py"
    file.write_text(file.read_text().replace(" · 3 points", said))
    assert main(["exercises", "build", str(folder)]) == 0
    assert json.loads((folder / "built/01_times.json").read_text())["tasks"]["our_times"]["points"] == points


@pytest.mark.slow
def test_the_solutions_are_run_with_the_checks_of_the_folder(folder, capsys):
    assert main(["exercises", "build", str(folder)]) == 0
    assert "01_times: 2 tasks, every solution right" in (said := capsys.readouterr().out)
    solved = (folder / "built/solutions/01_times.ipynb").read_text()
    assert f"return {int(said.split('times = ')[1])} * x" in solved and "our_times: right." in solved


def test_a_solution_that_its_own_check_refuses_builds_nothing(folder, fast, capsys):
    fast.says = "{}: not right yet: no"
    assert main(["exercises", "build", str(folder)]) == 2
    assert "01_times.py: its own solution is not right: our_twice: not right yet: no" in capsys.readouterr().err
    assert not (folder / "built").exists()


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            "masters/01_times.py",
            "{{times}} *",
            "{{tims}} *",
            "01_times.py: {{tims}} is not drawn: class.toml draws times",
        ),
        ("masters/01_times.py", "## 1. Twice", "1. Twice", "01_times.py: line 10: task:our_twice begins with"),
        ("checks/ours.py", "def our_times", "def other", "01_times.py: the task 'our_times' has no check in"),
        ("checks/ours.py", "import Wrong", "import Worng", "ours.py fails: ImportError"),
        ("class.toml", "name", "nom", "names no class"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_sentence(folder, fast, capsys, name, old, new, said):
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    assert main(["exercises", "build", str(folder)]) == 2
    assert said in (err := capsys.readouterr().err) and err.count("\n") == 1 and not (folder / "built").exists()


def test_a_folder_without_masters_is_named(tmp_path, capsys):
    assert main(["exercises", "build", str(tmp_path)]) == 2
    assert "no masters in" in capsys.readouterr().err
