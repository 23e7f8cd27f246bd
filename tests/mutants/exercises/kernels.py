"""Answers to lesson 33's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer

_LOOP = """
def restore_loop(packed, absmax, levels, block_size, out):
    half = block_size // 2
    for block in range(len(absmax)):
        constant = absmax[block]
        for i in range(block * half, block * half + half):
            out[2 * i] = levels[packed[i] >> 4] * constant
            out[2 * i + 1] = levels[packed[i] & 15] * constant
    return out
"""
_PROGRAM = """
import numpy as np
def restore_program(block, packed, absmax, levels, block_size, out):
    half = block_size // 2
    mine = packed[block * half : block * half + half]
    codes = np.stack([mine >> 4, mine & 15], axis=1).reshape(-1)
    out[block * block_size : (block + 1) * block_size] = levels[codes] * absmax[block]
    return out
"""
_DOT = """
import numpy as np
def dot_codes(row, x, packed, absmax, levels, block_size):
    half, blocks, total = block_size // 2, len(x) // block_size, np.float32(0)
    for column in range(blocks):
        block, part = row * blocks + column, np.float32(0)
        for i in range(half):
            byte = packed[block * half + i]
            at = column * block_size + 2 * i
            part += levels[byte >> 4] * x[at]
            part += levels[byte & 15] * x[at + 1]
        total += part * absmax[block]
    return total
"""


def _changed(task: str, code: str, *changes: tuple[str, str], says: str = "") -> Answer:
    for before, after in changes:
        assert before in code, before
        code = code.replace(before, after)
    return Answer(task=task, code=code, says=says)


def _loop(*changes: tuple[str, str], says: str = "") -> Answer:
    return _changed("restore_loop", _LOOP, *changes, says=says)


def _program(*changes: tuple[str, str], says: str = "") -> Answer:
    return _changed("restore_program", _PROGRAM, *changes, says=says)


def _dot(*changes: tuple[str, str], says: str = "") -> Answer:
    return _changed("dot_codes", _DOT, *changes, says=says)


ANSWERS = [
    _loop(("packed[i] >> 4", "packed[i] & 1"), ("packed[i] & 15", "packed[i] >> 4"), says="numbers differ"),
    _loop((">> 4", "& 0xF"), ("packed[i] & 15", "packed[i] >> 4"), says="the wrong way round"),
    _loop(("packed[i] & 15", "packed[i] >> 4"), says="both numbers of a byte are its high half"),
    _loop(("packed[i] >> 4", "packed[i] & 15"), says="both numbers of a byte are its low half"),
    _loop((" * constant", ""), says="the constants are missing"),
    _loop(("absmax[block]", "absmax[0]"), says="the first block's constant"),
    _loop(
        ("levels[packed[i] >> 4]", "(packed[i] >> 4)"),
        ("levels[packed[i] & 15]", "(packed[i] & 15)"),
        says="a code is a place",
    ),
    _loop(("half = block_size // 2", "half = block_size"), says="is 4 bytes"),
    _loop(("out[2 * i]", "out[i]"), ("out[2 * i + 1]", "out[len(out) // 2 + i]"), says="all high halves come before"),
    _loop(("    return out", ""), says="end with return out"),
    _loop(("    half =", "    out = out.copy()\n    half ="), says="makes a new array"),
    _loop(("block * half + half)", "block * half + half - 1)"), says="were never written"),
    _loop(
        ("out[2 * i] =", "packed[i] += 0; absmax[block] *= 1.0; out[2 * i] ="),
        ("    return out", "    absmax[0] += 1\n    return out"),
        says="changes what it only reads",
    ),
    _loop(
        ("packed[i] >> 4", "packed[i - block * half] >> 4"),
        ("packed[i] & 15", "packed[i - block * half] & 15"),
        says="every block has the first one's bytes",
    ),
    _program(("[mine >> 4, mine & 15]", "[mine & 15, mine >> 4]"), says="the wrong way round"),
    _program(("axis=1", "axis=0"), says="all high halves come before all low ones"),
    _program(("absmax[block]", "absmax[0]"), says="the first block's constant"),
    _program((" * absmax[block]", ""), says="the constant is missing"),
    _program((" * absmax[block]", " * absmax"), says="is it absmax[block]?"),
    _program(("block * half + half]", "block * half + half + 1]"), says="is 8 bytes, which begin at byte block"),
    _program(("packed[block * half : block * half + half]", "packed[:half]"), says="the first block's bytes"),
    _program(
        (
            "out[block * block_size : (block + 1) * block_size] = levels[codes] * absmax[block]",
            "out[:] = np.tile(levels[codes] * absmax[block], len(absmax))",
        ),
        says="also writes the numbers of block",
    ),
    _program(("    return out", ""), says="end with return out"),
    _program(("    half =", "    out = out.copy()\n    half ="), says="makes a new array"),
    _program(
        ("(block + 1) * block_size] = levels[codes]", "(block + 1) * block_size - 2] = levels[codes[:-2]]"),
        says="unwritten",
    ),
    _program(
        (
            "block_size] = levels",
            "block_size] = np.nan_to_num(out[block * block_size : (block + 1) * block_size]) + levels",
        ),
        says="run twice",
    ),
    _dot(("byte >> 4", "byte & 0xF"), ("byte & 15", "byte >> 4"), says="the wrong way round"),
    _dot(("packed[block * half + i]", "packed[i]"), says="every block has the first one's codes"),
    _dot((" * absmax[block]", ""), says="the constants are missing"),
    _dot(("row * blocks + column", "column"), says="always row 0"),
    _dot(("absmax[block]", "absmax[column]"), says="the constants are those of row 0"),
    _dot(("column * block_size + 2 * i", "2 * i"), says="every block meets the first numbers of x"),
    _dot(("column * block_size + 2 * i", "column * block_size + i"), says="byte i meets the numbers i and i + 1"),
    _dot(
        ("at = column * block_size + 2 * i", "at = column * block_size + i"),
        ("x[at + 1]", "x[at + half]"),
        says="the low halves meet the second half",
    ),
    _dot(("            part += levels[byte & 15] * x[at + 1]\n", ""), says="only the high halves"),
    _dot(("            part += levels[byte >> 4] * x[at]\n", ""), says="only the low halves"),
    _dot(("total += part", "total = part"), says="only the last block arrives"),
    _dot(("    return total", "        return total"), says="only the first block arrives"),
    _dot(("    return total", ""), says="return total"),
    _dot(("row * blocks + column", "row * len(x) + column"), says="begins after those before it"),
    _dot(("    return total", "    return x"), says="wanted one number"),
]

ANSWERS += [
    Answer(
        task="restore_loop",
        says="Numba cannot compile it",
        code="""
def restore_loop(packed, absmax, levels, block_size, out):
    for n in range(len(out)):
        byte = packed[n // 2]
        code = byte & 15 if n % 2 else byte >> 4
        out[n] = absmax[n // block_size] * levels[code]
    return out
""",
    ),
    Answer(
        task="dot_codes",
        says="Numba cannot compile it",
        code="""
def dot_codes(row, x, packed, absmax, levels, block_size):
    d_in, total = len(x), 0.0
    for first in range(0, d_in, block_size):
        constant = absmax[(row * d_in + first) // block_size]
        for i in range(block_size):
            byte = packed[(row * d_in + first + i) // 2]
            total += constant * levels[byte & 15 if i % 2 else byte >> 4] * x[first + i]
    return total
""",
    ),
    _loop((">> 4", "// 10"), ("& 15", "% 10"), says="a code is from 0 to 15"),
    _loop(("    return out", "        return out"), says="does return out stand after the loop"),
    _loop(
        ("out[2 * i] =", "out[block * block_size + i - block * half] ="),
        ("out[2 * i + 1]", "out[block * block_size + half + i - block * half]"),
        says="within a block all high halves",
    ),
    _program(
        ("packed[block * half : block * half + half]", "packed[block * block_size : block * block_size + half]"),
        says="sizes do not fit",
    ),
    _program(("levels[codes]", "codes"), says="the codes themselves are multiplied"),
    _program(("mine & 15", "mine >> 4"), says="both numbers of a byte are its high half"),
    _dot(
        ("part += levels[byte >> 4]", "levels[byte >> 4]"),
        ("part += levels[byte & 15]", "levels[byte & 15]"),
        says="nothing is added",
    ),
    _dot(("absmax[block]", "absmax[row]"), says="block number `row`"),
    _dot(("for i in range(half)", "for i in range(half // 2)"), says="only half of each block"),
    _dot(("part += levels[byte >> 4]", "part = levels[byte >> 4]"), says="only the last byte of a block"),
    _dot(
        ("levels[byte >> 4]", "(byte >> 4)"), ("levels[byte & 15]", "(byte & 15)"), says="a code is a place in levels"
    ),
    _loop(("out[2 * i] =", "out[2 * i] +="), ("out[2 * i + 1] =", "out[2 * i + 1] +="), says="nor +="),
    _loop(("absmax[block]", "absmax[block * block_size // 64]"), says="block_size, not 64"),
    Answer(
        task="restore_loop",
        says="byte i of two holds the numbers 2i and 2i + 1",
        code="""
def restore_loop(packed, absmax, levels, block_size, out):
    half = block_size // 2
    for block in range(len(absmax)):
        numbers = out[block * block_size : (block + 1) * block_size]
        for i in range(half):
            byte = packed[block * half + i]
            numbers[i], numbers[i + 1] = levels[byte >> 4] * absmax[block], levels[byte & 15] * absmax[block]
    return out
""",
    ),
    Answer(
        task="restore_loop",
        says="for an array or a list",
        code="""
def restore_loop(packed, absmax, levels, block_size, out):
    found = []
    for byte in packed:
        found.append(levels[byte >> 4])
        found.append(levels[byte & 15])
    for n in range(len(out)):
        out[n] = found[n] * absmax[n // block_size]
    return out
""",
    ),
    _program((".reshape(-1)", ""), says="makes them one"),
    _program(("block_size] = levels", "block_size] += levels"), says="not +="),
    _dot(("byte & 15", "byte >> 4"), says="both numbers of a byte are its high half"),
    _dot(("part * absmax[block]", "part * absmax[block] * absmax[block]"), says="multiplied in twice"),
    _dot(("total += part * absmax[block]", "total += part; total *= absmax[block]"), says="with it the blocks before"),
    _dot(
        ("\n        total += part * absmax[block]", "\n            total += part * absmax[block]"),
        says="after every byte",
    ),
    Answer(
        task="restore_loop",
        says="it asks for new memory",
        code="""
def restore_loop(packed, absmax, levels, block_size, out):
    half = block_size // 2
    for block in range(len(absmax)):
        constant, two = absmax[block], packed[block * half : (block + 1) * half]
        numbers = out[block * block_size : (block + 1) * block_size]
        numbers[0::2] = levels[two >> 4] * constant
        numbers[1::2] = levels[two & 15] * constant
    return out
""",
    ),
    Answer(
        task="dot_codes",
        says="it asks for new memory",
        code="""
def dot_codes(row, x, packed, absmax, levels, block_size):
    half, total = block_size // 2, 0.0
    for column in range(len(x) // block_size):
        block = row * (len(x) // block_size) + column
        two, some = packed[block * half : (block + 1) * half], x[column * block_size : (column + 1) * block_size]
        total += ((levels[two >> 4] * some[0::2]).sum() + (levels[two & 15] * some[1::2]).sum()) * absmax[block]
    return total
""",
    ),
    Answer(
        task="restore_program",
        says="does not go from byte to byte",
        code="""
def restore_program(block, packed, absmax, levels, block_size, out):
    for n in range(block * block_size, (block + 1) * block_size):
        out[n] = levels[packed[n // 2] & 15 if n % 2 else packed[n // 2] >> 4] * absmax[block]
    return out
""",
    ),
    _loop(("packed[i] >> 4", "packed[i] / 16"), says="a whole number"),
    Answer(
        task="restore_program",
        says="NumPy's arrays: np.stack",
        code="""
import torch
def restore_program(block, packed, absmax, levels, block_size, out):
    mine = packed[block * block_size // 2 : (block + 1) * block_size // 2]
    codes = torch.stack([mine >> 4, mine & 15], dim=1).flatten()
    out[block * block_size : (block + 1) * block_size] = levels[codes] * absmax[block]
    return out
""",
    ),
    Answer(
        task="restore_loop",
        says="which begins anew with each block",
        code="""
def restore_loop(packed, absmax, levels, block_size, out):
    half = block_size // 2
    for block in range(len(absmax)):
        two = packed[block * half : (block + 1) * half]
        for i in range(len(two)):
            out[2 * i] = levels[two[i] >> 4] * absmax[block]
            out[2 * i + 1] = levels[two[i] & 15] * absmax[block]
    return out
""",
    ),
    _program(("out[block * block_size : (block + 1) * block_size] =", "out[:] ="), says="its own numbers are out["),
    _dot(
        ("* x[at + 1]", "* x[column * block_size + i]"),
        ("* x[at]", "* x[column * block_size + i]"),
        says="number i of some",
    ),
    _dot(("levels[byte >> 4]", "levels[byte]"), says="a code is from 0 to 15"),
    _dot(("levels[byte >> 4]", "levels[byte / 16]"), says="a whole number"),
    _dot(("part * absmax[block]", "part * absmax"), says="absmax[block]?"),
]

ANSWERS += [
    _loop((" * constant", " / constant"), says="restoring multiplies"),
    _loop(("packed[i] & 15", "packed[i] & 4"), says="all high halves are right"),
    _loop(("packed[i] >> 4", "packed[i] >> 5"), says="all low halves are right"),
    _loop(("packed[i] >> 4", "packed[i - block * half] >> 4"), says="all low halves are right"),
    _program((" * absmax[block]", " / absmax[block]"), says="restoring multiplies"),
    _dot(("part * absmax[block]", "part / absmax[block]"), says="restoring multiplies"),
    _dot(("    return total", "    return part"), says="the last block's part, without its constant"),
    _dot(
        ("range(half)", "range(block_size)"),
        ("packed[block * half + i]", "packed[block * half : (block + 1) * half][i]"),
        says="range(half)",
    ),
]

RIGHT = [
    Answer(
        task="restore_loop",
        code="""
def restore_loop(packed, absmax, levels, block_size, out):
    for i in range(len(packed)):
        constant = absmax[2 * i // block_size]
        high, low = divmod(int(packed[i]), 16)
        out[2 * i], out[2 * i + 1] = levels[high] * constant, levels[low] * constant
    return out
""",
    ),
    Answer(
        task="restore_loop",
        code="""
def restore_loop(packed, absmax, levels, block_size, out):
    for n in range(len(out)):
        byte, constant = packed[n // 2], absmax[n // block_size]
        if n % 2:
            out[n] = constant * levels[byte & 15]
        else:
            out[n] = constant * levels[byte >> 4]
    return out
""",
    ),
    Answer(
        task="restore_program",
        code="""
def restore_program(block, packed, absmax, levels, block_size, out):
    start, half = block * block_size, block_size // 2
    mine = packed[start // 2 : start // 2 + half]
    out[start : start + block_size : 2] = levels[mine >> 4] * absmax[block]
    out[start + 1 : start + block_size : 2] = levels[mine & 15] * absmax[block]
    return out
""",
    ),
    Answer(
        task="restore_program",
        code="""
import numpy as np
def restore_program(block, packed, absmax, levels, block_size, out):
    pairs = np.stack([np.repeat(levels, 16), np.tile(levels, 16)], axis=1)
    mine = packed[block * block_size // 2 :][: block_size // 2]
    np.multiply(pairs[mine].ravel(), absmax[block], out=out[block * block_size :][:block_size])
    return out
""",
    ),
    Answer(
        task="dot_codes",
        code="""
def dot_codes(row, x, packed, absmax, levels, block_size):
    d_in, total = len(x), 0.0
    for first in range(0, d_in, block_size):
        constant = absmax[(row * d_in + first) // block_size]
        for i in range(block_size):
            byte = packed[(row * d_in + first + i) // 2]
            total += constant * levels[(byte >> 4) * (1 - i % 2) + (byte & 15) * (i % 2)] * x[first + i]
    return total
""",
    ),
    Answer(
        task="dot_codes",
        code="""
def dot_codes(row, x, packed, absmax, levels, block_size):
    blocks, total = len(x) // block_size, 0.0
    for column in range(blocks):
        block = row * blocks + column
        for i in range(block_size // 2):
            byte = packed[block * (block_size // 2) + i]
            high, low = levels[byte >> 4], levels[byte & 15]
            at = column * block_size + 2 * i
            total += absmax[block] * (high * x[at] + low * x[at + 1])
    return total
""",
    ),
]
