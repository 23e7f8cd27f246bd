"""A task: what its answer must satisfy, and the library's own answer to it.

    from lora_lab.exercises.tasks import Wrong, task

    @task(reference=lambda: lowrank.truncated_svd)
    def truncated_svd(svd):
        \"\"\"The best approximation of a weight by two factors of rank r.\"\"\"
        B, A = svd(weight, 2)
        if A.shape != (2, 7):
            raise Wrong(f"A has the shape {tuple(A.shape)}, wanted (2, 7): r rows, d_in columns")

Tasks stand in `lora_lab/exercises/topics/`, one file per lesson's topic.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_lab.exercises.stopping import unknown


class Wrong(Exception):
    """What is wrong with an answer, in one sentence: yours, wanted, and why."""


@dataclass(frozen=True)
class Task:
    """What to check under a name.

    Attributes:
        name: the task's, which is the turn's in its lesson.
        passes: raises `Wrong` for an answer that is not right.
        reference: makes the answer that a lesson goes on with when the learner's is not right.
    """

    name: str
    passes: Callable[[Any], None]
    reference: Callable[[], Any]


_tasks: dict[str, Task] = {}


def task(reference: Callable[[], Any]) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Make a function the check of the task of its name.

    Raises:
        ValueError: another function is the check of that task.
    """

    def register(passes: Callable[[Any], None]) -> Callable[[Any], None]:
        name = passes.__name__
        if name in _tasks and _tasks[name].passes.__module__ != passes.__module__:
            raise ValueError(f"the task {name!r} is in {_tasks[name].passes.__module__} already: choose another name")
        _tasks[name] = Task(name, passes, reference)
        return passes

    return register


def find(name: str) -> Task:
    """The task of that name; `Stopped`, with the nearest name, if there is none."""
    if name not in _tasks:
        load()
    if name not in _tasks:
        raise unknown("task", name, _tasks)
    return _tasks[name]


def load() -> dict[str, Task]:
    """All tasks, after every topic has been imported."""
    from lora_lab.exercises import topics

    for module in pkgutil.iter_modules(topics.__path__):
        importlib.import_module(f"{topics.__name__}.{module.name}")
    return _tasks
