"""A course of two exercises, in place of the one that is there."""

from pathlib import Path

import pytest

from lora_lab import disk
from lora_lab.grading import exercise
from lora_lab.grading.exercise import Exercise
from tests.grading.classroom import EXERCISES


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Exercise]:
    """Its exercises."""
    folder = tmp_path / "generated"
    for name, (tasks, allow) in EXERCISES.items():
        said = {"title": name, "tasks": {task: {"points": points} for task, points in tasks.items()}, "allow": allow}
        folder.mkdir(exist_ok=True)
        disk.write_json(folder / f"{name}.json", said)
    monkeypatch.setattr(exercise, "_GENERATED", folder)
    return exercise.course()[0]
