"""Is what the learner typed right? Said in one sentence, never with a traceback."""

import contextlib
import io
import random
import traceback
from collections.abc import Iterator
from typing import Any, TypeVar

from lora_lab import units
from lora_lab.exercises import saved, stubs
from lora_lab.exercises.stopping import say
from lora_lab.exercises.tasks import Task, Wrong, find

Answer = TypeVar("Answer")
PRINTED = 5  # lines at most of what the learner's code printed while it was checked


def check(name: str, answer: Answer) -> Answer | Any:
    """Say whether an answer is right, and return what the lesson goes on with.

    Args:
        name: the task's.
        answer: the learner's function, class or value.

    Returns:
        `answer` if it is right, else the library's.

    Raises:
        Stopped: no task has that name; one sentence, with the nearest name.
    """
    task = find(name)
    if stubs.untouched(name, answer):
        return _go_on(task, f"{name}: not yet done: going on with the library's.")
    printed = io.StringIO()
    with _same_chance_afterwards(), contextlib.redirect_stdout(printed):
        wrong = _diagnosis(task, answer)
    if not wrong:
        say(f"{name}: right. Going on with yours.")
        saved.turn(name, right=True)
        return answer
    if lines := printed.getvalue().splitlines():
        more = ["…"] if len(lines) > PRINTED else []
        say("\n".join(["Your code printed:", *lines[:PRINTED], *more]))
    return _go_on(task, f"{name}: not right yet: {wrong}\nGoing on with the library's.")


def _go_on(task: Task, sentence: str) -> Any:
    say(f"{sentence} Hints are folded above this cell.")
    saved.turn(task.name, right=False)
    return task.reference()


def _diagnosis(task: Task, answer: object) -> str:
    """What is wrong, or nothing."""
    try:
        task.passes(answer)
    except Wrong as wrong:
        return str(wrong)
    except (Exception, SystemExit) as error:  # whatever the learner's code does, they read a sentence
        return _in_words(error)
    return ""


def _in_words(error: BaseException) -> str:
    """An exception, with the line of the learner's cell that raised it."""
    what = f"{type(error).__name__}: {units.first_line(error)}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_a_cell(frame.filename)]
    if not frames:
        missing = ": it gave None, so is a return missing?" if "NoneType" in what else ""
        return f"what your code gave could not be used{missing} ({what})"
    line = f" ({frames[-1].line})" if frames[-1].line else ""
    return f"your code stopped in line {frames[-1].lineno} of its cell{line}: {what}"


def _is_a_cell(file: str) -> bool:
    """Whether a file's name is one that Jupyter, Colab or IPython gives to a cell."""
    return any(part in file for part in ("ipykernel_", "ipython-input", "<cell"))


@contextlib.contextmanager
def _same_chance_afterwards() -> Iterator[None]:
    """What is drawn after a check does not depend on it, and what it draws itself is the same each time."""
    import torch

    state = random.getstate()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(0)
        random.seed(0)
        try:
            yield
        finally:
            random.setstate(state)
