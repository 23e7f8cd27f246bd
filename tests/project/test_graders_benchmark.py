"""The exercise and the submissions of `benchmarks/bench_graders.py`, without the graders that it installs."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from graders import submissions
from graders.exercise import NAMES, TASKS
from graders.world import World

EVERY = {each.student: each for each in submissions.every()}


def passes(source: str, name: str) -> bool:
    """Whether an answer passes both tests of its task."""
    task = TASKS[NAMES.index(name)]
    names: dict[str, Any] = {"torch": torch}
    try:
        for part in (source, task.shown, task.hidden):
            exec(part, names)
    except Exception:  # an assertion, a syntax error, whatever the answer raises
        return False
    return True


@pytest.mark.parametrize("student", ["right", "partial", "wrong", "broken"])
def test_an_honest_submission_deserves_what_its_answers_pass(student):
    submission = EVERY[student]
    assert sum(passes(submission.answers[name], name) for name in NAMES) == submission.deserves


def test_there_are_ten_and_each_answers_every_task():
    assert len(EVERY) == 10 and sum(each.forged for each in EVERY.values()) == 5
    assert all(tuple(each.answers) == NAMES for each in EVERY.values())


def test_what_a_command_starts_is_stopped_when_its_time_is_up(tmp_path):
    ran = World(tmp_path, {}, 0.5).run("sh", "-c", "sleep 60 & sleep 60")
    assert not ran.ended and ran.wall < 30


def test_the_time_of_what_outlives_its_parent_is_counted(tmp_path):
    busy = f"{sys.executable} -S -c 'import time; [0 for _ in iter(lambda: time.process_time() < 0.2, False)]'"
    ran = World(tmp_path, {}, 60).run("sh", "-c", f"({busy} &) ; exit 0")
    assert ran.ended and ran.cpu > 0.05
