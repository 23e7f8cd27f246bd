"""What the checks of lesson 33 share: a drawn weight as codes in NumPy arrays, and how an answer is written."""

import sys
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lora_lab.exercises.tasks import Wrong

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


class Weight:
    """A drawn weight [d_out, d_in] as codes, in whole blocks within its rows."""

    def __init__(self, d_out: int, d_in: int, block_size: int) -> None:
        n = d_out * d_in
        self.d_out, self.d_in, self.block_size = d_out, d_in, block_size
        self.codes = torch.randint(16, (n,)).numpy()
        self.codes[:2] = 3, 12  # the first byte tells its two halves apart
        self.packed = (16 * self.codes[0::2] + self.codes[1::2]).astype(np.uint8)
        self.absmax = (0.5 + torch.randperm(n // block_size)).float().numpy()  # no two alike
        self.levels = torch.linspace(-1, 1, 16).pow(3).numpy()

    def restored(self, codes: NDArray[Any] | None = None, absmax: Any = None) -> Floats:
        """The weight, flat; with other codes or other constants of each number."""
        constants = np.repeat(self.absmax, self.block_size) if absmax is None else absmax
        return (self.levels[self.codes if codes is None else codes] * constants).astype(np.float32)

    def handed(self) -> tuple[Bytes, Floats, Floats, int]:
        return self.packed.copy(), self.absmax.copy(), self.levels.copy(), self.block_size


_ASKS_FOR_MEMORY = ("NRT_MemInfo_alloc", "NRT_MemInfo_new", "NRT_MemInfo_varsize")
"""Functions of Numba's runtime that code calls for each new array or list."""


def compiled(answer: Any, *given: Any) -> None:
    """A right answer must also pass the compiler, which the lesson hands it to next, and make no array on the way."""
    try:
        import numba
    except ImportError:  # the numbers are right; the lesson's own import, next, says how to get it
        return
    if numba.config.DISABLE_JIT:  # as one debugs with: there is no machine code to look at
        return
    try:
        made = numba.njit(answer)
        made(*given)
    except Exception as error:  # of its own, and of whatever it cannot import
        raise Wrong(
            f"Numba cannot compile it ({type(error).__name__}), though Python runs it. Plain loops over single "
            "numbers: no lists, no @, no np.dot, no np.stack, no slice as an index, and in place of “a if … else b” "
            "between two codes two lines, each of which looks up its level"
        ) from error
    if any(name in code for name in _ASKS_FOR_MEMORY for code in made.inspect_llvm().values()):
        raise Wrong(
            "the numbers are right, but it asks for new memory, for an array or a list, again and again: compiled, "
            "that takes two to thirty times as long as a plain loop. Number by number, with a for, each put where it "
            "belongs"
        )


def whole(answer: Any) -> None:
    """A right answer must also handle its block as a whole, as a program of a GPU does: in as many lines, run by run.

    Lines are counted where they run, so that a loop over the two halves of all bytes may be one.
    """
    small, large = (Weight(1, size, size) for size in (16, 64))
    if _lines(answer, small) < _lines(answer, large):
        raise Wrong(
            "the numbers are right, but a GPU's program does not go from byte to byte: mine >> 4 takes the high halves "
            "of all its bytes at once, and levels[codes] looks all of them up"
        )


def _lines(program: Any, weight: Weight) -> int:
    """How many lines and calls of the file that the program stands in are run for block 0."""
    file, count, before = getattr(getattr(program, "__code__", None), "co_filename", None), 0, sys.gettrace()

    def see(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename != file:
            return None
        count += event in ("call", "line")
        return see

    sys.settrace(see)
    try:
        program(0, *weight.handed(), np.empty(weight.block_size, np.float32))
    finally:
        sys.settrace(before)
    return count
