"""A course of one lesson with two tasks, in place of the one that is there."""

from collections import Counter
from pathlib import Path

import pytest

from lora_lab.authoring import editions, tags
from lora_lab.authoring.percent import parse
from lora_lab.exercises import hints, lessons, saved, tasks
from lora_lab.exercises.tasks import Wrong, task
from tests.helpers.masters import LESSON


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds `progress.json` as soon as something is tried."""
    folder = tmp_path / "generated"
    folder.mkdir()
    (folder / "05_lesson.json").write_text(editions.generated(tags.read(parse(LESSON))), encoding="utf-8")
    monkeypatch.setattr(lessons, "FOLDER", folder)
    monkeypatch.setattr(tasks, "_tasks", {})
    monkeypatch.setattr(tasks, "load", lambda: tasks._tasks)  # the course's own tasks stay out
    monkeypatch.setenv("LORA_LAB_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.setattr(saved, "turns", {})
    monkeypatch.setattr(saved, "guesses", {})
    monkeypatch.setattr(saved, "_said", set())
    monkeypatch.setattr(hints, "_shown", Counter())

    @task(reference=lambda: _twice)
    def double(f):
        """Twice as much."""
        if f(3) == 3:
            raise Wrong("you give back 3 for 3, wanted 6: multiply by two")
        if f(3) != 6:
            raise Wrong(f"you give back {f(3)} for 3, wanted 6")

    @task(reference=lambda: 2.0)
    def scaling(value):
        """Alpha over r."""
        if value != 2:
            raise Wrong(f"{value} is not alpha / r")

    @task(reference=lambda: Square)
    def square(kind):
        """A class with two methods."""
        if kind().of(3) != 9:
            raise Wrong("3 gives no 9")

    return tmp_path


class Square:
    def of(self, x):
        return x * x


def _twice(x):
    return x + x
