"""Runs a notebook's cells in one namespace, as a kernel would, and keeps what `check` is handed.

Runs in the worker, beside the student's code: nothing here decides about marks.
"""

import builtins
import dis
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any

from lora_lab.grading.frames import Header

_KEPT = ("time", "timeit", "capture", "prun")  # cell magics below which the cell's own code follows
_LONGEST = 300  # characters of an error's message


class Nothing:
    """What `guesses` and `results` give when nobody is looking: anything may be done with it, nothing happens."""

    def __getattr__(self, name: str) -> "Nothing":
        return self

    def __call__(self, *_: Any, **__: Any) -> "Nothing":
        return self


class Cells:
    """One notebook.

    Attributes:
        names: the namespace in which its cells run.
        handed: what `check` was handed, by task; the last time counts.
        errors: of each cell that stopped, by its number.
    """

    def __init__(self) -> None:
        main = ModuleType("__main__")
        self.names: dict[str, Any] = vars(main)
        self.handed: dict[str, Any] = {}
        self.errors: dict[int, Header] = {}
        sys.modules["__main__"] = main
        sys.modules["lora_lab.exercises"] = self._exercises()
        vars(builtins)["display"] = Nothing()

    def _exercises(self) -> ModuleType:
        """A stand-in for the room that holds the checks and, with them, the answers."""
        room = ModuleType("lora_lab.exercises", "check only keeps what it is handed; the rest does nothing.")
        room.__getattr__ = lambda name: Nothing()  # type: ignore[method-assign]
        room.__dict__["check"] = self._check
        return room

    def _check(self, name: str, answer: Any = None, *_: Any, **__: Any) -> Any:
        self.handed[name] = answer
        return answer

    def run(self, cells: Sequence[str], skip: Sequence[int], before: Callable[[int], None]) -> None:
        """Execute the cells in order; one that stops does not keep the next ones from running.

        Args:
            cells: their sources.
            skip: numbers of cells to leave out.
            before: called with the number of each cell that is about to run.
        """
        for number, source in enumerate(cells):
            if number in skip:
                continue
            before(number)
            try:
                exec(_compiled(source, f"<cell {number}>"), self.names)
            except BaseException as error:  # also SystemExit: a cell cannot end the others
                self.errors[number] = described(error)

    def answer(self, task: str) -> Any:
        """What was handed in for a task, or what stands under its name; `...` if nothing does."""
        return self.handed.get(task, self.names.get(task, ...))


def _compiled(source: str, file: str) -> CodeType:
    """A cell's code; IPython's own lines are left out, and the others keep their numbers."""
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)  # so that errors quote their line
    try:
        return compile(source, file, "exec")
    except SyntaxError:
        if not any(line.lstrip().startswith(("%", "!")) for line in source.splitlines()):
            raise
        return compile("\n".join(_without_magic(source.splitlines())), file, "exec")


def _without_magic(lines: list[str]) -> list[str]:
    first = lines[0].strip()
    if first.startswith("%%") and first[2:].split(" ")[0] not in _KEPT:
        return [""]  # a shell script, HTML, a file
    return [f"{line[: -len(line.lstrip())]}pass" if line.lstrip().startswith(("%", "!")) else line for line in lines]


def described(error: BaseException) -> Header:
    """An exception as plain data, with the line of the cell that raised it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith("<cell")]
    try:
        message = str(error)
    except BaseException:
        message = ""
    if isinstance(error, ModuleNotFoundError):
        message += ". When an exercise is graded, torch, numpy and Python's own modules are there"
    line, source = (frames[-1].lineno, frames[-1].line) if frames else (None, None)
    if isinstance(error, SyntaxError) and not frames:  # of the cell as a whole
        line, source = error.lineno, error.text
    return {
        "type": type(error).__name__,
        "kinds": [kind.__name__ for kind in type(error).__mro__],
        "message": (message.strip().splitlines() or [""])[0][:_LONGEST],
        "line": line,
        "source": source and source.strip()[:_LONGEST],
    }


def is_empty(answer: Any) -> bool:
    """Whether it is nothing, or a function or class none of whose code does anything but return None."""
    if answer is None or answer is ...:
        return True
    functions = vars(answer).values() if isinstance(answer, type) else [answer]
    found = (getattr(inspect.unwrap(getattr(each, "__func__", each)), "__code__", None) for each in functions)
    codes = [code for code in found if isinstance(code, CodeType)]
    return bool(codes) and all(map(_does_nothing, codes))


def _does_nothing(code: CodeType) -> bool:
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("RESUME", "NOP")]
    returns = ("LOAD_CONST", "RETURN_CONST", "RETURN_VALUE")
    return all(step.opname in returns for step in steps) and all(step.argval is None for step in steps)
