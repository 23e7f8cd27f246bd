"""How the checks of lesson 33 look at the way in which an answer is written."""

import builtins
from collections.abc import Callable
from typing import Any

import numba
import pytest

from lora_lab.exercises import looped, tasks

ANSWER = tasks.find("restore_loop").reference()


def takes(answer: Any) -> None:
    weight = looped.Weight(1, 16, 16)
    looped.compiled(answer, *weight.handed(), weight.restored())


def test_where_numba_leaves_functions_to_python_there_is_nothing_to_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)
    takes(ANSWER)


@pytest.mark.parametrize("error", [ModuleNotFoundError("numba"), ImportError("Numba needs NumPy 2.3")])
def test_where_numba_cannot_be_imported_right_numbers_are_enough(
    error: ImportError, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring = builtins.__import__

    def refuses(name: str, *args: object) -> object:
        if name == "numba":
            raise error
        return bring(name, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuses)
    takes(ANSWER)


def _while(n: int) -> int:
    while n > 0:
        n -= 1
    return n


def _for(n: int) -> int:
    for i in range(n):
        n += i
    return n


@pytest.mark.parametrize("answer", [_while, _for, lambda n: [i + 1 for i in n], lambda n: sum(i for i in n)])
def test_a_loop_is_seen_in_a_function_and_in_what_stands_within_it(answer: Callable[[int], Any]) -> None:
    with pytest.raises(tasks.Wrong, match="does not go from byte to byte"):
        looped.whole(answer)


def test_what_has_no_loop_or_no_code_of_python_is_taken() -> None:
    looped.whole(lambda n: n + 1)
    looped.whole(len)
