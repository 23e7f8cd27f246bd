"""What lesson 33 names beside what it measures: other ways to restore a weight [4096, 4096], and to multiply by one.

Each on one thread, the shortest of several runs in turn, in milliseconds. `bench_kernels_cpu.py` runs this as a program
of its own and writes down what it prints: where a model has been freed before, new memory is old.
"""

import json
import time
from collections.abc import Callable
from functools import partial

import numba
import numpy as np
import torch

from lora_lab import quant
from lora_lab.exercises import tasks

Way = Callable[[], object]


def in_turn(ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """The shortest time of each way, in milliseconds."""
    shortest = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            shortest[name] = min(shortest[name], 1000 * (time.perf_counter() - start))
    return {name: round(taken, 1) for name, taken in shortest.items()}


def into_new_memory() -> dict[str, float]:
    """PyTorch's lines, `torch.compile` of them, and the library's kernel; and the seconds to compile."""
    stored = _stored()

    def lines(packed: torch.Tensor, absmax: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten().int()
        return levels.index_select(0, codes).view(-1, 64) * absmax[:, None]

    parts = stored.packed, stored.absmax, stored.codebook.values
    with torch.compiler.config.patch(force_disable_caches=True):  # it keeps what it has compiled in an earlier run
        start = time.perf_counter()
        compiled = torch.compile(lines)
        compiled(*parts)
        found = {"seconds to compile": round(time.perf_counter() - start, 1)}
    ways = {"lines": partial(lines, *parts), "compiled": partial(compiled, *parts), "kernel": stored.dequantize}
    return {**found, **in_turn(ways, rounds=9)}


def into_memory_that_is_there() -> dict[str, float]:
    """PyTorch's six lines, the same six as loops that are compiled one by one, and one compiled loop in their place."""
    stored = _stored()
    packed, absmax, levels = stored.packed, stored.absmax, stored.codebook.values
    high, low, both = packed >> 4, packed & 15, torch.stack([packed, packed], dim=1)
    codes, values = both.flatten().int(), torch.empty(2 * len(packed))
    weight = values.view(-1, 64).clone()

    def six_lines() -> None:
        torch.bitwise_right_shift(packed, 4, out=high)
        torch.bitwise_and(packed, 15, out=low)
        torch.stack([high, low], dim=1, out=both)
        codes.copy_(both.flatten())
        torch.index_select(levels, 0, codes, out=values)
        torch.mul(values.view(-1, 64), absmax[:, None], out=weight)

    arrays = [each.numpy() for each in (packed, absmax, levels, high, low, both, codes, values, weight)]

    def six_loops() -> None:
        for loop in LOOPS:
            loop(*arrays)

    one = numba.njit(tasks.find("restore_loop").reference())
    out = np.empty(weight.numel(), np.float32)
    ways = {"six lines": six_lines, "six loops": six_loops, "one loop": partial(one, *arrays[:3], 64, out)}
    found = in_turn(ways, rounds=20)
    assert torch.equal(weight.flatten(), stored.dequantize().flatten()) and np.array_equal(out, weight.flatten())
    return found


def fused_products() -> dict[str, float]:
    """The lesson's product of one token from codes; without look-ups; where a sum may take any order; both; the dense
    product, and the library's from codes.
    """
    stored, x, y = _stored(), np.ones(4096, np.float32), np.empty(4096, np.float32)
    packed, absmax, levels = (each.numpy() for each in (stored.packed, stored.absmax, stored.codebook.values))
    ways: dict[str, Way] = {}
    for name, dot in {"as it is": tasks.find("dot_codes").reference(), "no look-ups": _dot_without_look_ups}.items():
        for any_order in (False, True):
            product = _product(numba.njit(dot, fastmath=any_order))
            ways[f"{name}, any order" if any_order else name] = partial(product, x, packed, absmax, levels, 64, y)
    dense, one = stored.dequantize(), torch.from_numpy(x)[None]
    for name in ("as it is", "as it is, any order"):
        ways[name]()
        assert np.allclose(y, dense.numpy() @ x, rtol=1e-3, atol=1e-2), name
    ways["dense"] = lambda: one @ dense.T
    ways["the library"] = partial(quant.kernels.product, one, stored.stored, (4096, 4096), False)
    return in_turn(ways, rounds=40)


def _stored() -> quant.QuantizedTensor:
    return quant.quantize(torch.randn(4096, 4096))


def _product(dot: Callable[..., float]) -> Callable[..., None]:
    @numba.njit
    def product(x, packed, absmax, levels, block_size, y):  # type: ignore[no-untyped-def]
        for row in range(len(y)):
            y[row] = dot(row, x, packed, absmax, levels, block_size)

    return product


def _dot_without_look_ups(row, x, packed, absmax, levels, block_size):  # type: ignore[no-untyped-def]
    half, blocks, total = block_size // 2, len(x) // block_size, np.float32(0)
    for column in range(blocks):
        block, part = row * blocks + column, np.float32(0)
        two = packed[block * half : (block + 1) * half]
        some = x[column * block_size : (column + 1) * block_size]
        for i in range(half):
            part += np.float32(two[i] >> 4) * some[2 * i] + np.float32(two[i] & 15) * some[2 * i + 1]
        total += part * absmax[block]
    return total


@numba.njit
def _high(packed, absmax, levels, high, low, both, codes, values, weight):  # type: ignore[no-untyped-def]
    for i in range(len(packed)):
        high[i] = packed[i] >> 4


@numba.njit
def _low(packed, absmax, levels, high, low, both, codes, values, weight):  # type: ignore[no-untyped-def]
    for i in range(len(packed)):
        low[i] = packed[i] & 15


@numba.njit
def _side_by_side(packed, absmax, levels, high, low, both, codes, values, weight):  # type: ignore[no-untyped-def]
    for i in range(len(high)):
        both[i, 0], both[i, 1] = high[i], low[i]


@numba.njit
def _to_32_bits(packed, absmax, levels, high, low, both, codes, values, weight):  # type: ignore[no-untyped-def]
    flat = both.reshape(-1)
    for i in range(len(codes)):
        codes[i] = flat[i]


@numba.njit
def _look_up(packed, absmax, levels, high, low, both, codes, values, weight):  # type: ignore[no-untyped-def]
    for i in range(len(codes)):
        values[i] = levels[codes[i]]


@numba.njit
def _multiply(packed, absmax, levels, high, low, both, codes, values, weight):  # type: ignore[no-untyped-def]
    of = values.reshape(weight.shape)
    for block in range(len(weight)):
        for i in range(weight.shape[1]):
            weight[block, i] = of[block, i] * absmax[block]


LOOPS = (_high, _low, _side_by_side, _to_32_bits, _look_up, _multiply)

if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps({"restored_ms": into_new_memory(), "restored_there_ms": into_memory_that_is_there(),
                      "fused_ms": fused_products()}))  # fmt: skip
