"""Is what the learner typed right? Said in one sentence, never with a traceback."""

import contextlib
import io
import random
import secrets
import traceback
from collections.abc import Iterator
from typing import Any, TypeVar

from lora_lab import ranges, units
from lora_lab.exercises import private, saved, stubs, wording
from lora_lab.exercises.beside import side_by_side
from lora_lab.exercises.stopping import say
from lora_lab.exercises.tasks import Score, Task, Wrong

Answer = TypeVar("Answer")
SEEDS = 100_000
PRINTED = 5  # lines at most of what the learner's code printed while it was checked


def check(name: str, answer: Answer, seed: int | None = None) -> Answer | Any:
    """Say whether an answer is right, and return what the lesson goes on with.

    The answer is tried on inputs that are drawn afresh each time.

    Args:
        name: the task's.
        answer: the learner's function, class or value.
        seed: draws the inputs of an earlier check again, which said it; by default a new one.

    Returns:
        `answer` if it is right, else the library's.

    Raises:
        Stopped: no task has that name; one sentence, with the nearest name.
    """
    if name in _marked_later:
        done = "not yet done." if stubs.untouched(name, answer) else "taken as it is: your teacher's check marks it."
        say(f"{name}: {done}")
        return answer
    task = private.find(name)
    if stubs.untouched(name, answer):
        return _go_on(task, f"{name}: not yet done: going on with the library's.")
    seed = secrets.randbelow(SEEDS) if seed is None else ranges.seed(seed)
    printed = io.StringIO()
    with drawn_from(seed), contextlib.redirect_stdout(printed):
        verdict = judged(task, answer)
    if not isinstance(verdict, Wrong):
        say(f"{name}: right.{wording.score(verdict)} Going on with yours.")
        saved.turn(name, right=True)
        return answer
    if lines := printed.getvalue().splitlines():
        more = ["…"] if len(lines) > PRINTED else []
        say("\n".join(["Your code printed:", *lines[:PRINTED], *more]))
    lines = [f"{name}: not right yet: {verdict}", *side_by_side(verdict), "Going on with the library's."]
    result = _go_on(task, "\n".join(lines))
    say(f'The same inputs again: check("{name}", {name}, seed={seed})')
    return result


_marked_later: set[str] = set()


def marked_later(*names: str) -> None:
    """Say which tasks have no check here: `check` takes an answer to them as it is, for a teacher to mark."""
    _marked_later.update(names)


def _go_on(task: Task, sentence: str) -> Any:
    say(f"{sentence} Hints are folded above this cell.")
    saved.turn(task.name, right=False)
    return task.reference()


def judged(task: Task, answer: Any) -> Score | Wrong | None:
    """What a check says of an answer: the score of a puzzle, nothing if it is right, else what is wrong."""
    try:
        return task.passes(answer)
    except Wrong as wrong:
        return wrong
    except (Exception, SystemExit) as error:  # whatever the learner's code does, they read a sentence
        return Wrong(_in_words(error))


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
def drawn_from(seed: int) -> Iterator[None]:
    """What a check draws comes from a seed, and what is drawn afterwards does not depend on it."""
    import torch

    state = random.getstate()
    used = torch.cuda.device_count() if torch.cuda.is_initialized() else 0  # to ask the others would take their memory
    with torch.random.fork_rng(devices=range(used)):
        torch.manual_seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)
