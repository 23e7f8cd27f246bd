"""Lesson 33: one output of a product, read from codes, without the weight ever being made."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lora_lab.exercises.looped import Bytes, Floats, Weight, compiled
from lora_lab.exercises.tasks import Wrong, task


def _dot_codes(row: int, x: Floats, packed: Bytes, absmax: Floats, levels: Floats, block_size: int) -> np.float32:
    half, blocks, total = block_size // 2, len(x) // block_size, np.float32(0)
    for column in range(blocks):
        block, part = row * blocks + column, np.float32(0)
        two, some = packed[block * half : (block + 1) * half], x[column * block_size : (column + 1) * block_size]
        for i in range(half):
            part += levels[two[i] >> 4] * some[2 * i] + levels[two[i] & 15] * some[2 * i + 1]
        total += part * absmax[block]
    return total


@task(reference=lambda: _dot_codes)
def dot_codes(dot_codes: Any) -> None:
    """One output of x Ŵᵀ: its row's blocks, each restored, times x's numbers there."""
    for d_out, d_in, size in ((3, 32, 16), (2, 24, 8), (4, 16, 16)):
        weight, x = Weight(d_out, d_in, size), torch.randn(d_in).numpy()
        matrix = weight.restored().reshape(d_out, d_in).astype(np.float64)
        for row in (d_out - 1, 0):
            try:
                found = dot_codes(row, x.copy(), *weight.handed())
            except IndexError as error:
                if "only integers" in str(error):
                    raise Wrong("a place in levels is a whole number: two[i] >> 4, or two[i] // 16") from error
                if f"for axis 0 with size {size // 2}" in str(error):
                    raise Wrong(
                        f"a block of {size} numbers is {size // 2} bytes; yours asks for more ({error}): range(half)"
                    ) from error
                if "for axis 0 with size 16" in str(error):
                    raise Wrong(
                        f"a code is from 0 to 15, and a block of {size} numbers is {size // 2} bytes ({error}): a half "
                        "is two[i] >> 4 or two[i] & 15"
                    ) from error
                raise Wrong(
                    f"row {row} of [{d_out}, {d_in}] in blocks of {size}: yours asks for something that is not there "
                    f"({error}). A row has len(x) // block_size blocks, and row {row} begins after those before it"
                ) from error
            if found is None:
                raise Wrong("yours gives None, wanted one number: return total")
            if isinstance(found, np.ndarray) and found.ndim:
                raise Wrong(f"yours gives an array of the shape {found.shape}, wanted one number: is it absmax[block]?")
            wanted = float(matrix[row] @ x)
            if not np.isclose(float(found), wanted, rtol=1e-3, atol=1e-3):
                raise Wrong(_why_dot(float(found), row, x, weight), yours=float(found), wanted=wanted)
    compiled(dot_codes, 0, np.ones(16, np.float32), *Weight(1, 16, 16).handed())


def _why_dot(found: float, row: int, x: Floats, weight: Weight) -> str:
    d_in, size = weight.d_in, weight.block_size
    inside = slice(row * d_in, (row + 1) * d_in)
    codes, constants = weight.codes[inside], np.repeat(weight.absmax, size)[inside]
    swapped = codes.reshape(-1, 2)[:, ::-1].reshape(-1)
    half, rows, some = size // 2, weight.restored(codes, constants).reshape(-1, size), x.reshape(-1, size)
    high, low, terms = rows[:, 0::2], rows[:, 1::2], (rows * some).astype(np.float64)
    slips = {
        "the constants are missing: each block's part times its absmax": weight.restored(codes, np.ones(d_in)) @ x,
        "every block has the first one's codes: two[i], not packed[i]": (
            weight.restored(np.tile(weight.codes[:size], d_in // size), constants) @ x
        ),
        "it is always row 0: the first block of a row is row · (blocks of a row)": weight.restored()[:d_in] @ x,
        "the constants are those of row 0": weight.restored(codes, np.repeat(weight.absmax, size)[:d_in]) @ x,
        "the two codes of a byte are the wrong way round": weight.restored(swapped, constants) @ x,
        "every block meets the first numbers of x: those of block c begin at c · block_size": (
            weight.restored(codes, constants) @ np.tile(x[:size], d_in // size)),
        "it is divided by the constant: restoring multiplies": weight.restored(codes, 1 / constants) @ x,
        "it is the last block's part, without its constant: return total": terms[-1].sum() / constants[-1],
        "nothing is added: is part added up, and added to total?": 0.0,
        "the constant is that of block number `row`: absmax[block]": (
            weight.restored(codes, np.full(d_in, weight.absmax[row])) @ x
        ),
        "only half of each block is added up: it is block_size / 2 bytes, of two numbers each": terms[:, :half].sum(),
        "only the high halves are added up": terms[:, 0::2].sum(),
        "only the low halves are added up": terms[:, 1::2].sum(),
        "both numbers of a byte meet number i of some: byte i stands for 2i and 2i + 1": (
            ((high + low) * some[:, :half]).sum()
        ),
        "byte i meets the numbers i and i + 1 of some: it stands for 2i and 2i + 1": (
            (high * some[:, :half] + low * some[:, 1 : half + 1]).sum()
        ),
        "the low halves meet the second half of some: byte i stands for the numbers 2i and 2i + 1": (
            (high * some[:, :half] + low * some[:, half:]).sum()
        ),
        "both numbers of a byte are its high half": weight.restored(np.repeat(codes[0::2], 2), constants) @ x,
        "both numbers of a byte are its low half": weight.restored(np.repeat(codes[1::2], 2), constants) @ x,
        "the constant is multiplied in twice": weight.restored(codes, constants**2) @ x,
        "the total is multiplied by each constant, and with it the blocks before: part times constant, then add": (
            _total_scaled(terms.sum(1), constants[::size])
        ),
        "part is added to total after every byte: once, after the loop": (
            (terms[:, 0::2] + terms[:, 1::2]).cumsum(axis=1).sum()
        ),
        "only the last byte of a block arrives: part +=, not part =": terms[:, -2:].sum(),
        "the codes themselves are multiplied: a code is a place in levels": codes * constants @ x,
        "only the last block arrives: add each block's part to the total": terms[-1].sum(),
        "only the first block arrives: return after the loop": terms[0].sum(),
    }  # fmt: skip
    for words, slip in slips.items():
        if np.isclose(found, float(slip), rtol=1e-4, atol=1e-5):
            return f"row {row}: {words}"
    return f"row {row} of x Ŵᵀ is another number: try it by hand with two blocks of two"


def _total_scaled(parts: NDArray[Any], constants: Floats) -> float:
    """What total *= constant gives, after each block's part without its constant has been added."""
    total = 0.0
    for part, constant in zip(parts, constants):
        total = (total + part / constant) * constant
    return total
