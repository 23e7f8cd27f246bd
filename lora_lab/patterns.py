"""Which names a regular expression matches, found without ever hanging.

An expression such as (a+)+b can take longer than the universe lasts, and an adapter's configuration comes from others.
Python's matcher cannot be interrupted, and no look at an expression tells all bad ones from good ones. So an expression
that could be slow is tried in a child process whose time is limited; one that plainly cannot be is tried here.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence

SECONDS = 3
"""Of computing time, where the system can count it: a machine that is busy with other things does not use it up."""

_CHILD = f"""
import json, re, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CPU, ({SECONDS}, {SECONDS}))
except (ImportError, ValueError, OSError):
    pass
expressions, names = json.load(sys.stdin)
print(json.dumps([[name for name in names if re.fullmatch(each, name)] for each in expressions]))
"""
_WAIT = 10 * SECONDS  # where computing time cannot be counted
_LONGEST = 10**6  # characters of an expression, or of all names: compiling and sending them takes time too


def regular_expression(text: str) -> re.Pattern[str]:
    """`re.compile`, or ValueError."""
    try:
        if len(text) > _LONGEST:
            raise OverflowError(f"{len(text):,} characters are too many")
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{_short(text)} is neither a name nor a regular expression ({error}): repair it, or give names"
        ) from error


def matches(expressions: Iterable[str], names: Sequence[str]) -> dict[str, set[str]]:
    """For each regular expression the names that it matches in full.

    Raises:
        ValueError: for what is no regular expression, takes too long, or would have to be tried in a child process
            where none can be started.
    """
    compiled = {each: regular_expression(each) for each in expressions}
    slow = [each for each in compiled if not is_harmless(each)]
    found = {each: set(filter(compiled[each].fullmatch, names)) for each in compiled if each not in slow}
    return found | (_in_child(slow, names) if slow else {})


def is_harmless(expression: str) -> bool:
    """Whether the work grows at most with the square of a name's length: nothing but characters, classes, groups with a
    few alternatives, and two repeats at most, none of them of a group.

    PEFT's prefix for the end of a name, `(.*\\.)?(…)$`, may stand before it and counts as one repeat.
    """
    rest = re.sub(r"\\[^0-9]|\[\^?\]?[^\]\[\\]*\]", "a", expression)  # escapes and classes stand for one character
    rest = rest.replace("(?:", "(")
    budget = 2
    if rest.startswith("(.*a)?("):
        rest, budget = rest.removeprefix("(.*a)?"), 1
    plain = re.fullmatch(r"[^\\\[\]{}?]*", rest) and not re.search(r"\)[*+]|[*+][*+]", rest)
    top_level = re.fullmatch(r"[^()*+]*", rest)  # a list of names, however long
    return bool(plain and (top_level or rest.count("*") + rest.count("+") <= budget and rest.count("|") <= 8))


def _in_child(expressions: list[str], names: Sequence[str]) -> dict[str, set[str]]:
    try:
        if getattr(sys, "frozen", False) or not sys.executable:
            raise OSError("there is no Python to start")
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=json.dumps([expressions, list(names)]),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
            timeout=_WAIT,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except subprocess.TimeoutExpired:
        raise _too_slow(expressions) from None
    except (OSError, RuntimeError, NotImplementedError) as error:  # a sandbox without processes
        raise ValueError(
            f"{_short(expressions[0])} could take for ever and is tried in a process of its own, which cannot be "
            f"started here ({error}): give names, or an expression with fewer repeats"
        ) from error
    if done.returncode:
        raise _too_slow(expressions)
    return {each: set(found) for each, found in zip(expressions, json.loads(done.stdout))}


def _too_slow(expressions: list[str]) -> ValueError:
    which = _short(expressions[0]) if len(expressions) == 1 else f"one of {', '.join(map(_short, expressions[:3]))}"
    return ValueError(
        f"the regular expression {which} takes too long (over {SECONDS} seconds for this model's names): "
        "give names, or an expression without nested repeats"
    )


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:80]!r}…"
