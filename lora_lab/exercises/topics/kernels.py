"""Lesson 33: a weight restored by a loop, and by a program that knows its block only.

The answers are plain Python over NumPy arrays, one number or one block at a time, as a compiler of loops takes them.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lora_lab.exercises.looped import Bytes, Floats, Weight, compiled, whole
from lora_lab.exercises.tasks import Wrong, task


def _restore_loop(packed: Bytes, absmax: Floats, levels: Floats, block_size: int, out: Floats) -> Floats:
    half = block_size // 2
    for block in range(len(absmax)):
        constant, two = absmax[block], packed[block * half : (block + 1) * half]
        numbers = out[block * block_size : (block + 1) * block_size]
        for i in range(len(two)):
            numbers[2 * i] = levels[two[i] >> 4] * constant
            numbers[2 * i + 1] = levels[two[i] & 15] * constant
    return out


def _restore_program(block: int, packed: Bytes, absmax: Floats, levels: Floats, block_size: int, out: Floats) -> Floats:
    half = block_size // 2
    mine = packed[block * half : block * half + half]
    codes = np.stack([mine >> 4, mine & 15], axis=1).reshape(-1)
    out[block * block_size : (block + 1) * block_size] = levels[codes] * absmax[block]
    return out


def _why(found: Floats, weight: Weight) -> str | None:
    """The slip that restores these numbers, in words."""
    n, size = len(weight.codes), weight.block_size
    high, low = weight.codes[0::2], weight.codes[1::2]
    place = np.arange(n)
    slips = {
        "the two codes of a byte are the wrong way round: the high half, two[i] >> 4, comes first": weight.restored(
            np.stack([low, high], 1).reshape(-1)
        ),
        "all high halves come before all low ones: byte i holds the numbers 2i and 2i + 1": np.concatenate(
            [weight.restored()[0::2], weight.restored()[1::2]]
        ),
        "within a block all high halves come before all low ones: byte i of two holds the numbers 2i and 2i + 1": (
            weight.restored(np.concatenate([high.reshape(-1, size // 2), low.reshape(-1, size // 2)], 1).reshape(-1))
        ),
        "both numbers of a byte are its high half: the second is two[i] & 15": weight.restored(np.repeat(high, 2)),
        "both numbers of a byte are its low half: the first is two[i] >> 4": weight.restored(np.repeat(low, 2)),
        "every block has the first one's bytes: two[i], not packed[i]": weight.restored(
            np.tile(weight.codes[:size], n // size)
        ),
        "the constants are missing: a level times its block's constant": weight.restored(absmax=np.ones(n)),
        "every number has the first block's constant: is it absmax[block], and block_size, not 64?": weight.restored(
            absmax=np.full(n, weight.absmax[0])
        ),
        "it is divided by the constant: restoring multiplies": weight.restored(
            absmax=1 / np.repeat(weight.absmax, size)
        ),
        "every byte has a constant of its own, absmax[i]: the block's is constant": weight.restored(
            absmax=weight.absmax[place % size // 2 % len(weight.absmax)]
        ),
        "the codes themselves are multiplied: a code is a place in levels": weight.codes
        * np.repeat(weight.absmax, size),
        "the constant changes after block_size bytes: a block is half as many": weight.restored(
            absmax=weight.absmax[place // (2 * size)]
        ),
        "the constants follow one another number by number: block_size neighbours share one": weight.restored(
            absmax=weight.absmax[place % len(weight.absmax)]
        ),
    }
    said = (words for words, slip in slips.items() if np.allclose(found, slip, rtol=1e-5, atol=1e-7))
    return next(said, _why_half(np.isclose(found, weight.restored(), rtol=1e-5, atol=1e-7)))


def _why_half(right: NDArray[np.bool_]) -> str | None:
    """Which half of each byte is taken wrongly, if only one is."""
    high, low = right[0::2].all(), right[1::2].all()
    if high == low:
        return None
    return f"all {'high' if high else 'low'} halves are right, and the others are not: two[i] >> 4 and two[i] & 15"


def _array(found: Any, out: Floats, given: Floats, name: str) -> Floats:
    """What the answer returned, if it is an array like `out`."""
    if found is None:
        filled = not np.array_equal(out, given, equal_nan=True)
        raise Wrong(
            f"yours gives None, wanted {name}: "
            + ("end with " if filled else "fill it, and end with ")
            + f"return {name}"
        )
    if not isinstance(found, np.ndarray) or found.shape != out.shape:
        shape = f" of the shape {found.shape}" if isinstance(found, np.ndarray) else ""
        raise Wrong(
            f"yours gives a {type(found).__name__}{shape}, wanted {name}, {out.shape}: write your numbers into it, and "
            f"return {name}"
        )
    return found


@task(reference=lambda: _restore_loop)
def restore_loop(restore_loop: Any) -> None:
    """Every number is its level times its block's constant, written to `out`, which is returned."""
    for d_out, d_in, size in ((2, 24, 8), (3, 64, 32), (1, 16, 16)):
        weight = Weight(d_out, d_in, size)
        out = np.full(d_out * d_in, np.nan, dtype=np.float32)
        given, handed = out.copy(), weight.handed()
        try:
            found = restore_loop(*handed, out)
        except IndexError as error:
            if "only integers" in str(error):
                raise Wrong("a place in levels is a whole number: two[i] >> 4, or two[i] // 16") from error
            if "out of bounds for axis 0 with size 16" in str(error) and size == 8:
                raise Wrong(
                    f"a code is from 0 to 15, and yours asks levels for another ({error}): a half is two[i] >> 4 or "
                    "two[i] & 15"
                ) from error
            raise Wrong(
                f"{len(handed[0])} bytes, {len(handed[1])} blocks and {len(out)} numbers, and yours asks for one "
                f"that is not there ({error}): a block of {size} numbers is {size // 2} bytes"
            ) from error
        found = _array(found, out, given, "out")
        if found is not out and not np.array_equal(out, found, equal_nan=True):
            raise Wrong("yours makes a new array: write into out, which is there already; new memory costs most")
        _compare(found, weight)
        packed, absmax, levels, _ = handed
        if (packed != weight.packed).any() or (absmax != weight.absmax).any() or (levels != weight.levels).any():
            raise Wrong("yours changes what it only reads: packed, absmax and levels belong to the caller")
    compiled(restore_loop, *Weight(1, 16, 16).handed(), np.empty(16, np.float32))


def _compare(found: Floats, weight: Weight) -> None:
    wanted = weight.restored()
    if np.isnan(found).any():
        missing = np.isnan(found).reshape(-1, weight.block_size)
        if missing.all():
            why = "is it numbers[…] = …, not numbers = …, which writes nowhere, nor +=, for out holds no numbers yet?"
        elif missing[1:].all() and not missing[0].any():
            why = (
                "only the first block's place is written. Is it numbers[2 * i], which begins anew with each block, not "
                "out[2 * i]? And does return out stand after the loop over all blocks?"
            )
        elif missing.all(axis=1).any():
            why = "is return out after the loop over all blocks?"
        else:
            why = "byte i of two holds the numbers 2i and 2i + 1 of its block"
        raise Wrong(f"{missing.sum()} of {len(found)} numbers of out were never written: {why}")
    if not np.allclose(found, wanted, rtol=1e-5, atol=1e-7):
        differs = ~np.isclose(found, wanted, rtol=1e-5, atol=1e-7)
        why = _why(found, weight) or f"{np.mean(differs):.0%} of the numbers differ"
        four = slice(first := int(differs.argmax()) // 4 * 4, first + 4)
        raise Wrong(f"{why}. Numbers {first} to {first + 3}", yours=torch.from_numpy(found[four].copy()),
                    wanted=torch.from_numpy(wanted[four]))  # fmt: skip


@task(reference=lambda: _restore_program)
def restore_program(restore_program: Any) -> None:
    """One block, whichever it is, at its place in `out`; nothing else is touched, and no program needs another."""
    weight = Weight(4, 48, 16)  # a block is 8 bytes, and there are 12: an error with one of the numbers says which
    blocks, size, wanted = len(weight.absmax), weight.block_size, weight.restored()
    out = np.full(len(wanted), np.nan, dtype=np.float32)
    for block in (blocks - 1, *torch.randperm(blocks - 1).tolist()):  # the last first: programs have no order
        before = out.copy()
        try:
            given = restore_program(block, *weight.handed(), out)
        except TypeError as error:
            if "expected Tensor" in str(error) or "must be Tensor" in str(error):
                raise Wrong("these are NumPy's arrays: np.stack([high, low], axis=1) puts them side by side") from error
            raise
        except ValueError as error:
            why = f"A block of {size} numbers is {size // 2} bytes, which begin at byte block · {size // 2}"
            if f"({blocks},)" in str(error):
                why = f"absmax holds the constants of all {blocks} blocks: is it absmax[block]?"
            elif f"({len(out)},)" in str(error):
                why = (
                    "out is the whole weight's: its own numbers are out[block * block_size : (block + 1) * block_size]"
                )
            elif f"({size // 2},2)" in str(error):
                why = "Numbers in pairs have two dimensions: .reshape(-1) makes them one"
            raise Wrong(f"program {block}: sizes do not fit ({error}). {why}") from error
        found = _array(given, out, before, "out")
        if found is not out and not np.array_equal(out, found, equal_nan=True):
            raise Wrong("yours makes a new array: a program writes its part into out, which all of them share")
        mine = np.zeros(len(out), dtype=bool)
        mine[block * size : (block + 1) * size] = True
        changed = ~((out == before) | (np.isnan(out) & np.isnan(before)))
        if changed[~mine].any():
            raise Wrong(
                f"program {block} also writes the numbers of block {int(np.flatnonzero(changed & ~mine)[0]) // size}: "
                f"its own {size} numbers begin at block · block_size = {block * size}"
            )
        if np.isnan(out[mine]).any():
            left = int(np.isnan(out[mine]).sum())
            raise Wrong(
                f"program {block} leaves {left} of its {size} numbers unwritten: they begin at block · block_size, "
                f"{size} here, not 64, and are written with =, not +=, for out holds none yet"
            )
        if not np.allclose(out[mine], wanted[mine], rtol=1e-5, atol=1e-7):
            raise Wrong(_why_block(out[mine], weight, block), yours=torch.from_numpy(out[mine][:4].copy()),
                        wanted=torch.from_numpy(wanted[mine][:4]))  # fmt: skip
    again = _array(restore_program(1, *weight.handed(), out), out, out, "out")
    if not np.allclose(again, wanted, rtol=1e-5, atol=1e-7):
        raise Wrong("run twice, program 1 gives something else: it must write its numbers, not add to what is there")
    whole(restore_program)


def _why_block(found: Floats, weight: Weight, block: int) -> str:
    size = weight.block_size
    inside = slice(block * size, (block + 1) * size)
    codes, constants = weight.codes[inside], np.full(size, weight.absmax[block])
    high, low = codes[0::2], codes[1::2]
    slips = {
        "the two codes of a byte are the wrong way round: mine >> 4 comes first": (
            np.stack([low, high], 1).reshape(-1), constants),
        "all high halves come before all low ones: they alternate": (np.concatenate([high, low]), constants),
        "it takes the first block's constant: absmax[block]": (codes, np.full(size, weight.absmax[0])),
        "it takes the first block's bytes: those of block begin at block · block_size / 2": (
            weight.codes[:size], constants),
        "the constant is missing": (codes, np.ones(size)),
        "it is divided by the constant: restoring multiplies": (codes, 1 / constants),
        "both numbers of a byte are its high half": (np.repeat(high, 2), constants),
        "both numbers of a byte are its low half": (np.repeat(low, 2), constants),
    }  # fmt: skip
    for words, (of, times) in slips.items():
        if np.allclose(found, weight.restored(of, times), rtol=1e-5, atol=1e-7):
            return f"program {block}: {words}"
    if np.allclose(found, codes * constants):
        return f"program {block}: the codes themselves are multiplied, and a code is a place in levels"
    return f"program {block} writes other numbers than the loop"
