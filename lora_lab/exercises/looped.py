"""What the checks of lesson 33 share: a drawn weight as codes in NumPy arrays, and how an answer is written."""

import sys
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
    """A right answer must also handle its block as a whole, as a program of a GPU does: in as many steps, run by run.

    A step takes or writes some part of an array, so that a loop over the two halves of all bytes may be one. (Lines are
    not traced: Python 3.11 was seen to hang in a traced call for good, and a learner's debugger would lose its place.)
    """
    small, large = (_steps(getattr(answer, "py_func", answer), Weight(1, size, size)) for size in (16, 64))
    if small < large:
        raise Wrong(
            "the numbers are right, but a GPU's program does not go from byte to byte: mine >> 4 takes the high halves "
            "of all its bytes at once, and levels[codes] looks all of them up"
        )


def _steps(program: Any, weight: Weight) -> int:
    """How often the program takes or writes a part of what it is handed, or of what it makes of that, for block 0."""
    handed = [_Counted.of(each) if isinstance(each, np.ndarray) else each for each in weight.handed()]
    _Counted.steps = 0
    program(0, *handed, _Counted.of(np.empty(weight.block_size, np.float32)))
    return _Counted.steps


class _Counted(np.ndarray):
    """An array that counts the parts that a program takes of it, of what NumPy makes of it, and writes to it.

    What NumPy takes itself, as for a `print`, is none of the program's. Plain copies, by `np.array` or into a buffer,
    are not followed.
    """

    steps = 0

    @staticmethod
    def of(array: NDArray[Any]) -> NDArray[Any]:
        return array.view(_Counted)

    @staticmethod
    def count(steps: int = 1) -> None:
        caller = sys._getframe(2).f_globals.get("__name__", "")
        if not caller.startswith("numpy."):
            _Counted.steps += steps

    def __getitem__(self, key: Any) -> Any:
        _Counted.count()
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _Counted.count()
        super().__setitem__(key, value)

    def __array_function__(self, *given: Any) -> Any:
        made = super().__array_function__(*given)
        return made.view(_Counted) if type(made) is np.ndarray else made

    def item(self, *place: Any) -> Any:
        _Counted.count()
        return super().item(*place)

    @property
    def flat(self) -> Any:
        _Counted.count(self.size)
        return super().flat

    def tolist(self) -> Any:
        _Counted.count(self.size)
        return super().tolist()
