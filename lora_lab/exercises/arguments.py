"""An answer leaves what it was given as it was."""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from lora_lab.exercises.tasks import Wrong


@contextlib.contextmanager
def untouched(**given: Any) -> Iterator[None]:
    """Around the call of an answer: what it was given is afterwards what it was before.

        with untouched(M=M):
            B, A = split(M, r)

    Args:
        given: arguments by the names that the learner reads: tensors, numbers, and lists and dictionaries of them.

    Raises:
        Wrong: one of them has changed; the sentence names it.
    """
    before = {name: _copy(value) for name, value in given.items()}
    yield
    for name, value in given.items():
        if not _same(value, before[name]):
            way = "make a new tensor instead" if isinstance(value, Tensor) else "read it, and take nothing out"
            raise Wrong(f"your code changes {name}, which is the caller's and is still needed: {way}")


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def _same(now: Any, then: Any) -> bool:
    if isinstance(then, Tensor):
        return isinstance(now, Tensor) and now.shape == then.shape and bool((now == then).all())
    if isinstance(then, Mapping):
        return list(now) == list(then) and all(_same(now[key], then[key]) for key in then)
    if isinstance(then, (list, tuple)):
        return len(now) == len(then) and all(map(_same, now, then))
    return bool(now == then)
