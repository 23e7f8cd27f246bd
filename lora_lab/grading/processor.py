"""How much processor time a process has used together with all that it has started, on Linux; elsewhere its own."""

import os
import time
from pathlib import Path

_CLOCK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def seconds() -> float:
    """Of this process, of its children that have ended, and of those that run, with theirs."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system + _running(os.getpid())


def _running(process: int) -> float:
    """Of the children that run, theirs, and what each has had from its own that ended."""
    return sum(_of(child) + _running(child) for child in _children(process))


def _children(process: int) -> list[int]:
    try:
        lists = [file.read_text(encoding="utf-8") for file in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:  # another system, or it has just ended
        return []
    return [int(number) for text in lists for number in text.split()]


def _of(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _CLOCK  # user, system, and both of children that have ended
