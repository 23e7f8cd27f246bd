"""What several rooms need, once: units of memory, the ignored label, the methods, the first line of an error."""

from typing import Literal

GB = 10**9
GIB = 2**30

IGNORE = -100
"""A label without loss: the convention of `torch.nn.functional.cross_entropy`."""

Method = Literal["full", "lora", "qlora"]
METHODS: tuple[Method, ...] = ("full", "lora", "qlora")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
