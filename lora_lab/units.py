"""What several rooms need, once: units of memory, block sizes, the ignored label, the methods, lines to be printed."""

import os
from collections.abc import Sequence
from typing import Literal

GB = 10**9
GIB = 2**30

BLOCK_SIZES = tuple(2**k for k in range(4, 13))
"""Weights that may share a quantization constant: from 16 to 4096."""

IGNORE = -100
"""A label without loss: the convention of `torch.nn.functional.cross_entropy`."""

Method = Literal["full", "lora", "qlora"]
METHODS: tuple[Method, ...] = ("full", "lora", "qlora")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, with the next where it ends in a colon; or the name of its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if isinstance(error, KeyError) and error.args:
        return f"no {lines[0]}"  # whose message is the key alone
    return f"{lines[0]} {lines[1].rstrip(',')}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


def command_line(words: Sequence[str]) -> str:
    """A command as it is typed on this system, where names have spaces in them: Windows knows no single quotes."""
    import shlex
    import subprocess

    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
