"""How the checks of lesson 33 look at the way in which an answer is written."""

import builtins
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
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


def restored(*lines: str) -> Callable[..., Any]:
    """A program of these lines, in a file of its own as a cell is."""
    code = "\n    ".join(["def program(block, packed, absmax, levels, block_size, out):", *lines, "return out"])
    made: dict[str, Any] = {"np": np}
    exec(compile(code, "<a cell>", "exec"), made)
    return made["program"]


NUMBER_BY_NUMBER = {
    "for": ("for n in range(block_size): out[n] = levels[packed[n // 2] >> 4]",),
    "while": ("n = 0", "while n < block_size:", "    out[n] = levels[packed[n // 2] >> 4]", "    n += 1"),
    "list": ("codes = [byte >> 4 for byte in packed]",),
    "sum": ("total = sum(levels[byte >> 4] for byte in packed)",),
    "numbers": ("codes = [byte >> 4 for byte in packed.tolist()]",),
    "halves": ("high = packed >> 4", "for n in range(block_size // 2): high[n]"),
    "write": ("for n in range(block_size): out[n] = 0",),
    "flat": ("codes = [byte >> 4 for byte in packed.flat]",),
    "item": ("codes = [packed.item(n) >> 4 for n in range(block_size // 2)]",),
    "where": ("high = np.where(packed > 15, packed >> 4, 0)", "for n in range(block_size // 2): high[n]"),
    "map": ("codes = list(map(lambda byte: byte >> 4, packed))",),
}
WHOLE = {
    "halves": (
        "for first, half in enumerate((packed >> 4, packed & 15)): out[first::2] = levels[half] * absmax[block]",
    ),
    "print": ("print(packed)", "said = f'{packed} {levels!r}'", "out[:] = 1", "assert np.unique(packed).size"),
    "bytes": ("mine = np.frombuffer(packed.tobytes(order='C'), np.uint8)", "out[0::2] = levels[mine >> 4]"),
    "stack": ("out[:] = levels[np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)] * absmax[block]",),
}


@pytest.mark.parametrize("lines", NUMBER_BY_NUMBER.values(), ids=NUMBER_BY_NUMBER)
def test_what_goes_from_number_to_number_is_no_program_of_a_gpu(lines: tuple[str, ...]) -> None:
    with pytest.raises(tasks.Wrong, match="does not go from byte to byte"):
        looped.whole(restored(*lines))


@pytest.mark.parametrize("lines", WHOLE.values(), ids=WHOLE)
def test_what_handles_its_block_as_a_whole_is_one_even_in_a_loop_over_halves(lines: tuple[str, ...]) -> None:
    looped.whole(restored(*lines))


def test_a_program_is_asked_as_it_was_written_whatever_wraps_it() -> None:
    looped.whole(numba.njit(restored(*WHOLE["stack"])))
    looped.whole(partial(restored(*WHOLE["stack"])))
    with pytest.raises(tasks.Wrong, match="does not go from byte to byte"):
        looped.whole(numba.njit(restored(*NUMBER_BY_NUMBER["while"])))


def test_no_line_is_traced_so_that_a_debugger_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "settrace", lambda *given: pytest.fail("traced"))
    looped.whole(restored(*WHOLE["halves"]))
