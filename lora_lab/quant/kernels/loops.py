"""Block-wise quantization on a CPU, in Numba: loops as short as their equations, which pass over memory once.

What a loop needs between two steps, a block or a row, stays in the innermost cache. Codes come in, weights go out, or
the other way round; the product reads codes and makes no weight at all. Values of 16 bits are handed over as they lie
in memory, as int16, and widened or rounded one by one.

Each loop does the parts `start` to `stop` of its work, so that several threads can share it; no value depends on where
the work is cut. All of them stand in one file, because what Numba keeps of a function is looked up by its file's date:
whoever changes `registers` changes this file's, too.
How fast: `benchmarks/bench_kernels_cpu.py`.
"""

from functools import partial

import numba
import numpy as np

from lora_lab.quant.kernels.registers import AVAILABLE, look_up_16

kernel = partial(numba.njit, nogil=True, cache=True, error_model="numpy")  # 1 / 0 is infinite, as in NumPy
inlined = partial(kernel, inline="always")  # calls with so many arguments, one for each row or block, would cost more
adding = partial(kernel, fastmath={"reassoc", "contract"})  # a sum may take its terms in any order; no more than that

FLOAT32, BFLOAT16, FLOAT16 = range(3)

GROUP = 256  # constants with one scale: `double.BLOCK_SIZE`, written out, since Numba looks at this file's date only
RUN = 512  # values that are looked up before the first is multiplied, in whole blocks; 256 to 2048 are as fast
CACHED = 4096  # values that are restored and used before the next: 16 KB, of the innermost cache's 32 or more


@inlined
def restore(packed, table, constants, size, part, values, start, stop):
    """ŵ = levels[code] · absmax, where absmax is stored or is table[code] · scale + mean.

    It is lesson 33's loop with four things more: a byte, or eight, is one look-up; the constants may be quantized, 256
    to a scale; it does a part of the work, so that threads can share it; and a run of blocks is looked up before the
    first is multiplied, because what has just been written in eight bytes is slow to read in sixty-four.

    packed: uint8 [bytes]; table: levels float32 [16], or, where there are no `registers`, int64 [256], the two levels
    of each byte, side by side, as one number of 64 bits.
    constants: absmax, or, if that is empty, the codes, scale, mean and table of double quantization; size: of a block.
    values: float32 [rows, n], some rows of a weight, or some of its columns, in whole blocks: the blocks `start` to
    `stop` of each row are written. part: which block of the weight is the first, and how many lie between two rows.
    """
    first, stride = part
    run = max(1, RUN // size)
    for row in range(len(values)):
        block = first + row * stride
        for k in range(start, stop, run):
            end = min(k + run, stop)
            _look_up(packed, table, (block + k) * size // 2, values[row, k * size : end * size])
            for j in range(k, end):
                value, largest = values[row, j * size : (j + 1) * size], _absmax(constants, block + j)
                for i in range(len(value)):
                    value[i] *= largest


@kernel
def restore16(packed, table, constants, size, part, format, out, start, stop):
    """The same in 16 bits, int16 [rows, n]: levels are looked up apart, and each product is rounded as it is made.

    So nothing waits for the rounding: in a pass of its own it would be one more that the look-ups do not hide.
    """
    first, stride = part
    run = max(1, RUN // size)
    levels = np.empty(run * size, np.float32)
    for row in range(len(out)):
        block = first + row * stride
        for k in range(start, stop, run):
            end = min(k + run, stop)
            _look_up(packed, table, (block + k) * size // 2, levels[: (end - k) * size])
            for j in range(k, end):
                level, some = levels[(j - k) * size : (j - k + 1) * size], out[row, j * size : (j + 1) * size]
                _store(level, _absmax(constants, block + j), format, some)


@kernel
def _look_up_pairs(packed, pairs, first, values):
    """Write the levels of the bytes from `first` on, two for each."""
    pair = values.view(np.int64)
    byte = packed[first : first + len(pair)]
    for i in range(len(byte)):
        pair[i] = pairs[byte[i]]


@kernel
def _look_up_sixteen(packed, levels, first, values):
    """The same, by eight bytes at once: whole blocks, of which packed holds all bytes."""
    for i in range(0, len(values), 16):
        look_up_16(levels, packed, first + i // 2, values, i)


_look_up = _look_up_sixteen if AVAILABLE else _look_up_pairs


@kernel
def _absmax(constants, block):
    """absmax, or table[code] · scale + mean."""
    absmax, codes, scale, mean, table = constants
    return table[codes[block]] * scale[block // GROUP] + mean[0] if len(codes) else absmax[block]


@kernel
def quantize(source, middle, size, format, packed, absmax, start, stop):
    """absmax = max |w| of a block, code = the number of midpoints below w / absmax.

    source: [n], as int32 or int16; middle: float32 [15]; packed: uint8 [bytes]; absmax: float32 [blocks].
    """
    values, codes = np.zeros(size, np.float32), np.empty(size, np.int32)
    bits = values.view(np.int32)
    for block in range(start, stop):
        part = source[block * size : (block + 1) * size]
        _load(part, format, values)
        largest = np.int32(0)  # without its sign a float is ordered as its bits are, NaN above infinity
        for i in range(len(part)):
            largest = max(largest, bits[i] & np.int32(0x7FFFFFFF))
        absmax.view(np.int32)[block] = largest
        _divide(values, absmax[block])
        for i in range(size):
            code = np.int32(0)
            for m in range(15):
                code += np.int32(values[i] > middle[m])
            codes[i] = code
        codes[len(part) :] = 0
        two = packed[block * size // 2 : (block + 1) * size // 2]
        for i in range(len(two)):
            two[i] = codes[2 * i] * 16 + codes[2 * i + 1]


@kernel
def _divide(values, absmax):
    """w · (1 / absmax); where the reciprocal overflows, w / absmax, and 0 for a block of zeros: as `lookup.divide`."""
    inverse = np.float32(1) / absmax
    if inverse < np.inf:
        for i in range(len(values)):
            values[i] *= inverse
    elif absmax > 0:
        for i in range(len(values)):
            values[i] /= absmax


@kernel
def product(packed, table, constants, size, format, x, y, start, stop):
    """y = x · Ŵᵀ for the rows `start` to `stop` of Ŵ, of which one exists at a time, or a few short ones.

    x: float32 [tokens, d_in]; y: float32 [tokens, d_out].
    """
    n = x.shape[1]
    rows = max(1, CACHED // n)
    weight = np.empty((1, rows * n), np.float32)
    for first in range(start, stop, rows):
        some = min(rows, stop - first)
        restore(packed, table, constants, size, (first * n // size, 0), weight, 0, some * n // size)
        _round(weight[0], format)
        _dot(x, weight.reshape(rows, n)[:some], y[:, first : first + some])


@kernel
def product_transposed(packed, table, constants, size, format, g, y, start, stop):
    """y = g · Ŵ for the block columns `start` to `stop` of Ŵ.

    Sums of 64 rows each are added up first, so that less is rounded.

    g: float32 [tokens, d_out]; y: float32 [tokens, d_in].
    """
    blocks, columns = y.shape[1] // size, slice(start * size, stop * size)
    weight = np.empty((1, (stop - start) * size), np.float32)
    group = np.empty((len(g), weight.shape[1]), np.float32)
    y[:, columns] = 0
    for first in range(0, g.shape[1], 64):
        group[:] = 0
        for row in range(first, min(first + 64, g.shape[1])):
            restore(packed, table, constants, size, (row * blocks + start, 0), weight, 0, stop - start)
            _round(weight[0], format)
            for token in range(len(g)):
                _add(g[token, row], weight[0], group[token])
        for token in range(len(g)):
            _add(np.float32(1), group[token], y[token, columns])


@adding
def _dot(x, weight, y):
    """y = x · weightᵀ"""
    for row in range(len(weight)):
        for token in range(len(x)):
            a, b, total = x[token], weight[row], np.float32(0)
            for i in range(len(a)):
                total += a[i] * b[i]
            y[token, row] = total


@adding
def _add(factor, values, total):
    """total += factor · values"""
    for i in range(len(values)):
        total[i] += factor * values[i]


# ---------------------------------------------------------------------------------------------------------------------
# Formats of 16 bits


@inlined
def _store(levels, absmax, format, out):
    """Write level · absmax as the bits of a format of 16, rounded to nearest, ties to even."""
    if format == BFLOAT16:
        for i in range(len(out)):
            out[i] = _to_bfloat16(levels[i] * absmax)
    else:
        for i in range(len(out)):
            out[i] = _to_float16(levels[i] * absmax)


@kernel
def _load(source, format, values):
    """Read the bits of a format as float32 values."""
    if format == FLOAT32:
        for i in range(len(source)):
            values[i] = np.int32(source[i]).view(np.float32)
    elif format == BFLOAT16:
        for i in range(len(source)):
            values[i] = _from_bfloat16(source[i])
    else:
        for i in range(len(source)):
            values[i] = _from_float16(source[i])


@kernel
def _round(values, format):
    """Round float32 values to those that the format has."""
    if format == BFLOAT16:
        for i in range(len(values)):
            values[i] = _from_bfloat16(_to_bfloat16(values[i]))
    elif format == FLOAT16:
        for i in range(len(values)):
            values[i] = _nearest_float16(values[i])


@kernel
def _to_bfloat16(value):
    """The upper half of a float32, after half a unit of it has been added; a little less than half where it is even."""
    bits = np.float32(value).view(np.int32)
    if value != value:
        return np.int32(0x7FC0)
    return (bits + np.int32(0x7FFF) + ((bits >> np.int32(16)) & np.int32(1))) >> np.int32(16)


@kernel
def _to_float16(value):
    """Five bits of exponent, biased by 15 where float32 has 127, and ten of the fraction."""
    bits = np.float32(value).view(np.int32)
    sign, bits = (bits >> np.int32(16)) & np.int32(-0x8000), bits & np.int32(0x7FFFFFFF)
    if bits > 0x7F800000:  # NaN
        half = np.int32(0x7E00)
    elif bits >= 0x47800000:  # 65536 and more
        half = np.int32(0x7C00)
    elif bits < 0x38800000:  # below 2^-14 numbers are multiples of 2^-24
        half = np.int32(np.rint(abs(value) * np.float32(2**24)))
    else:
        half = (
            bits - np.int32((127 - 15) << 23) + np.int32(0xFFF) + ((bits >> np.int32(13)) & np.int32(1))
        ) >> np.int32(13)
    return sign | half


@kernel
def _nearest_float16(value):
    """A float16, as float32: the lower 13 bits are rounded off, and below 2^-14 what is no multiple of 2^-24."""
    bits = np.float32(value).view(np.int32)
    sign, size = bits & np.int32(-0x80000000), bits & np.int32(0x7FFFFFFF)
    near = (size + np.int32(0xFFF) + ((size >> np.int32(13)) & np.int32(1))) & np.int32(-0x2000)
    if size < 0x38800000:
        near = np.float32(np.float32(abs(value) + np.float32(0.5)) - np.float32(0.5)).view(np.int32)
    if near > 0x477FE000:  # 65504, the largest
        near = np.int32(0x7F800000)
    if size > 0x7F800000:  # NaN
        near = size
    return np.int32(sign | near).view(np.float32)


@kernel
def _from_bfloat16(half):
    """The upper half of a float32, whose lower half is zero."""
    return np.int32(np.int32(half) << np.int32(16)).view(np.float32)


@kernel
def _from_float16(half):
    """The way back from `_to_float16`."""
    half = np.int32(half)
    sign, half = (half & np.int32(0x8000)) << np.int32(16), half & np.int32(0x7FFF)
    if half >= 0x7C00:
        bits = (half << np.int32(13)) | np.int32(0x7F800000)
    elif half < 0x400:
        bits = np.float32(np.float32(half) * np.float32(2**-24)).view(np.int32)
    else:
        bits = (half << np.int32(13)) + np.int32((127 - 15) << 23)
    return np.int32(bits | sign).view(np.float32)
