"""Checks of an instructor's own: loaded from a folder, with numbers that are the class's."""

import re
from pathlib import Path

import pytest

from lora_lab.exercises import check, checks, marked_later, private, tasks
from lora_lab.exercises.stopping import Stopped

pytestmark = pytest.mark.usefixtures("course")

CHECKS = """
from lora_lab.exercises.private import drawn
from lora_lab.exercises.tasks import Wrong, task


@task(reference=lambda: lambda: drawn["r"])
def our_rank(rank):
    if rank() != drawn["r"]:
        raise Wrong("another rank")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(private, "drawn", private.drawn)
    (tmp_path / "mine/checks").mkdir(parents=True)
    write(tmp_path / "mine", "class.toml", 'name = "2026 autumn"\n[draw]\nr = [4, 8, 16]\nshape = [[3, 5], [5, 7]]\n')
    write(tmp_path / "mine", "checks/ours.py", CHECKS)
    return tmp_path / "mine"


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text, encoding="utf-8")


def test_checks_of_a_folder_are_tasks_like_any_other(folder, capsys):
    assert private.load(folder) == ["our_rank"]
    check("our_rank", lambda: private.drawn["r"])
    check("our_rank", lambda: 99)
    assert capsys.readouterr().out.startswith("our_rank: right. Going on with yours.\nour_rank: not right yet: another")
    assert private.load(folder) == [] and tasks.find("our_rank")  # loaded again they are replaced, not refused


def test_a_single_file_of_checks_draws_nothing(folder):
    private.load(folder)
    assert private.drawn
    private.load(folder / "checks/ours.py")
    assert private.drawn == {}


def test_a_class_gets_the_same_numbers_each_time_and_classes_differ(folder):
    seen = set()
    for year in range(2000, 2040):
        write(folder, "class.toml", f'name = "{year}"\n[draw]\nr = [4, 8, 16]\nshape = [[3, 5], [5, 7]]\n')
        drawn = private.values(folder)
        assert drawn == private.values(folder) and drawn["r"] in (4, 8, 16)
        seen.add((drawn["r"], *drawn["shape"]))
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "cannot be read"),
        ("[draw]\nr = [4]", 'begin it with a line such as name = "2026 autumn"'),
        ('name = " "', "names no class"),
        ('name = "x"\n[draw]\nr = 4', "a name and a list to draw from, such as r = [4, 8, 16]"),
        ('name = "x"\n[draw]\nr = []', "a name and a list to draw from"),
    ],
)
def test_a_class_that_cannot_be_read_is_named(folder, text, said):
    write(folder, "class.toml", text)
    with pytest.raises(ValueError, match=re.escape(said)):
        private.load(folder)


def test_a_file_that_fails_is_named_with_its_error(folder):
    write(folder, "checks/broken.py", "1 / 0")
    with pytest.raises(ValueError, match=r"broken.py fails: ZeroDivisionError: division by zero"):
        private.load(folder)


def test_a_task_of_the_course_cannot_be_replaced(folder):
    write(folder, "checks/ours.py", CHECKS.replace("our_rank", "double"))
    with pytest.raises(ValueError, match="the task 'double' is in .* already: choose another name"):
        private.load(folder)


@pytest.mark.parametrize("name", ["nothing", "mine/class.toml/x", "mine"])
def test_where_there_are_no_checks_that_is_said(folder, name):
    (folder / "checks/ours.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"give a file of them, or a folder that holds checks/\*\.py"):
        private.load(folder.parent / name)


def test_a_kernel_finds_the_checks_that_its_environment_names(folder, monkeypatch):
    with pytest.raises(Stopped):
        check("our_rank", abs)
    monkeypatch.setenv("LORA_LAB_CHECKS", str(folder))
    assert check("our_rank", abs)() == private.drawn["r"]


def test_an_answer_that_is_marked_later_is_taken_as_it_is(capsys, monkeypatch):
    monkeypatch.setattr(checks, "_marked_later", set())
    with pytest.raises(Stopped):
        check("theirs", abs)
    marked_later("theirs")
    assert check("theirs", abs) is abs and check("theirs", ...) is ...
    assert capsys.readouterr().out == "theirs: taken as it is: your teacher's check marks it.\ntheirs: not yet done.\n"
