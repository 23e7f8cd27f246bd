"""A task: what its answer must satisfy, and the library's own answer to it.

    from lora_lab.exercises.tasks import Wrong, task

    @task(reference=lambda: lowrank.truncated_svd)
    def truncated_svd(svd):
        \"\"\"The best approximation of a weight by two factors of rank r.\"\"\"
        B, A = svd(weight, 2)
        if A.shape != (2, 7):
            raise Wrong(f"A has the shape {tuple(A.shape)}, wanted (2, 7): r rows, d_in columns")

The tasks of lessons stand in `lora_lab/exercises/topics/`, those of exercises in `lora_lab/exercises/practice/`, one
file per topic. A check draws its inputs afresh (who calls it seeds `torch` and `random`), and asks an answer for
nothing but calls, attributes and plain values, so that the answer may live in another process (`lora_lab.grading`).
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lora_lab.exercises.stopping import unknown

NOTHING = object()


class Wrong(Exception):
    """What is wrong with an answer.

        raise Wrong("your update is 2 times too large: is α/r applied once?", yours=h, wanted=base + update)

    Args:
        why: one sentence. Where the answer is graded for marks, it is all that a student reads, so that it helps
            without telling what is expected; the tasks of lessons may tell.
        yours, wanted: what the answer gave and what it should have been, on a small case: numbers, short lists, small
            tensors. Shown side by side in the notebook only.
    """

    def __init__(self, why: str, yours: Any = NOTHING, wanted: Any = NOTHING) -> None:
        super().__init__(why)
        self.why = why
        self.shown = tuple(each for each in (("yours", yours), ("wanted", wanted)) if each[1] is not NOTHING)


@dataclass(frozen=True)
class Score:
    """What a right answer to a puzzle uses, which its check returns.

    Attributes:
        used: lower is better.
        unit: of what, as in "bytes".
        best: the best known, which the reference reaches.
    """

    used: float
    unit: str
    best: float


@dataclass(frozen=True)
class Task:
    """What to check under a name.

    Attributes:
        name: the task's, which is the turn's in its lesson.
        passes: raises `Wrong` for an answer that is not right; of a puzzle, returns its `Score`.
        reference: makes the answer that a lesson goes on with when the learner's is not right.
    """

    name: str
    passes: Callable[[Any], Score | None]
    reference: Callable[[], Any]


_tasks: dict[str, Task] = {}

Check = Callable[[Any], Any]


def task(reference: Callable[[], Any]) -> Callable[[Check], Check]:
    """Make a function the check of the task of its name.

    Raises:
        ValueError: another function is the check of that task.
    """

    def register(passes: Check) -> Check:
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


def registered() -> set[str]:
    """The names of the tasks that there are by now."""
    return set(_tasks)


def load() -> dict[str, Task]:
    """All tasks, after every topic has been imported."""
    from lora_lab.exercises import practice, topics

    for folder in (topics, practice):
        for module in pkgutil.iter_modules(folder.__path__):
            importlib.import_module(f"{folder.__name__}.{module.name}")
    return _tasks
