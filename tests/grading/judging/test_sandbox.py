"""What the sandbox shows, and what is said where there is none."""

import os
from pathlib import Path

import pytest

import lora_lab
from lora_lab.exercises import lessons
from lora_lab.grading import host, sandbox
from lora_lab.grading.isolation import Limits
from lora_lab.grading.judge import Judge
from lora_lab.grading.sandbox import NoSandbox
from tests.hostile.attack import RIGHT, Paper, notebook

LIBRARY = Path(lora_lab.__file__).parent


def test_without_bubblewrap_nothing_runs_and_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda _: None)
    with Judge() as judge, pytest.raises(NoSandbox, match="apt-get install bubblewrap"):
        judge.grade(notebook(*RIGHT), Paper())


def test_a_sandbox_that_does_not_start_is_no_sandbox(monkeypatch):
    monkeypatch.setattr(sandbox, "command", lambda *_: ["/bin/sh", "-c", "echo bwrap: setting up uid map: no >&2"])
    with Judge() as judge, pytest.raises(NoSandbox, match=r"uid map.*AppArmor"):
        judge.grade(notebook(*RIGHT), Paper())


def test_a_server_that_says_something_else_is_none(monkeypatch):
    monkeypatch.setattr(sandbox, "command", lambda _, fd, __: ["/bin/sh", "-c", f"echo hello. >&{fd}"])
    keeper = host.Host(trusted=False)
    with pytest.raises(NoSandbox), keeper.session(frozenset(), Limits()):
        pass
    assert keeper.process is None


def bound(allow):
    """What is mounted, without the interpreter and the system's libraries."""
    command = sandbox.command(allow, 3)
    pairs = zip(command, command[1:], strict=False)
    return [Path(source) for option, source in pairs if option.startswith("--ro-bind")]


def test_of_the_library_only_what_is_allowed_is_there():
    ours = {path.relative_to(LIBRARY).as_posix() for path in bound({"quant"}) if path.is_relative_to(LIBRARY)}
    rooms = {name.split("/")[0] for name in ours if not name.startswith("grading/")}
    assert rooms == {"__init__.py", "moved.py", "quant", "disk", "ranges.py", "units.py", "wrappers.py"}
    assert not ours & {"grading/judge.py", "grading/remote.py", "grading", "exercises"}


def test_no_folder_above_the_library_nor_a_home_is_there():
    above = {LIBRARY, *LIBRARY.parents, Path.home(), Path(os.getcwd())}
    assert not above & set(bound({"lowrank"}))


def test_no_exercise_allows_the_room_of_checks_or_a_room_that_is_not_there():
    for room in ("exercises", "grading"):
        assert room not in sandbox.rooms({"lowrank", "quant", "data", "lora", "memory", "train", "adapters", "methods"})
    with pytest.raises(ValueError, match="no room"):
        sandbox.rooms({"../secret"})


def test_no_course_exercise_lets_its_answers_import_the_checks():
    import json

    for file in (lessons.FOLDER / "exercises").glob("*.json"):
        there = sandbox.rooms(json.loads(file.read_text(encoding="utf-8")).get("allow", ()))
        assert not there & {"exercises", "grading", "authoring", "commands"}, file.stem


def test_the_environment_is_not_handed_on(monkeypatch):
    monkeypatch.setenv("SECRET", "a")
    command = sandbox.command((), 3)
    assert "--clearenv" in command and "SECRET" not in command
