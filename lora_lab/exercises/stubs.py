"""Whether an answer is still the stub that the workbook came with."""

import dis
import inspect
from types import CodeType
from typing import Any

from lora_lab.exercises import lessons
from lora_lab.exercises.stopping import Stopped


def untouched(name: str, answer: object) -> bool:
    """Whether nothing has been typed: `...`, None, the workbook's function or class, or a function without a body.

    A `...` in a function leaves no trace in its bytecode, so the bytecode is compared, wherever it was defined.
    """
    if answer is None or answer is ...:
        return True
    codes = _codes_of(answer)
    if codes and all(_is_empty(code) for code in codes.values()):
        return True
    try:
        stub = lessons.turn(name)["stub"]
    except Stopped:  # a task of no lesson
        return False
    wanted = _codes_in(compile(stub, "stub", "exec"), name)
    return bool(wanted) and wanted.keys() <= codes.keys() and all(_same(codes[key], wanted[key]) for key in wanted)


def _codes_of(answer: Any) -> dict[str, CodeType]:
    """The code of a function, or of each method that a class defines itself."""
    functions = vars(answer) if isinstance(answer, type) else {"": answer}
    codes = {name: getattr(_undecorated(value), "__code__", None) for name, value in functions.items()}
    return {name: code for name, code in codes.items() if code is not None}


def _undecorated(value: Any) -> Any:
    """The function under a property, a static or class method, or a decorator that keeps to `functools.wraps`."""
    return inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))


def _codes_in(module: CodeType, name: str) -> dict[str, CodeType]:
    """The same, of the function or class of that name in a compiled cell."""
    for code in _inner(module):
        if code.co_name == name:
            is_class = code.co_names[:1] == ("__name__",)  # with which the body of a class begins
            return {each.co_name: each for each in _inner(code) if _is_named(each)} if is_class else {"": code}
    return {}


def _same(one: CodeType, other: CodeType) -> bool:
    """Equal but for where they stand."""
    if (one.co_code, one.co_names, one.co_varnames) != (other.co_code, other.co_names, other.co_varnames):
        return False
    mine, theirs = (tuple(each for each in code.co_consts if not isinstance(each, CodeType)) for code in (one, other))
    return mine == theirs and all(map(_same, _inner(one), _inner(other)))  # one bytecode makes as many of them


def _is_empty(code: CodeType) -> bool:
    """Whether it does nothing but return None."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("RESUME", "NOP")]
    return all(step.opname in ("LOAD_CONST", "RETURN_CONST", "RETURN_VALUE") for step in steps) and all(
        step.argval is None for step in steps
    )


def _is_named(code: CodeType) -> bool:
    """Whether it was written as a function, and is no comprehension, and not what Python makes of annotations."""
    return code.co_name.isidentifier() and not code.co_name.startswith("__annot")


def _inner(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]
