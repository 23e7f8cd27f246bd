"""Exercises 33: two programs as a GPU runs them, each for a part of the work that its number names."""

from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task


def _quantize_program(p: int, values: Tensor, midpoints: Tensor, block_size: int, count: int) -> tuple[Tensor, Tensor]:
    mine = values[p * count * block_size : (p + 1) * count * block_size]
    blocks = mine.split(block_size)
    absmax = torch.stack([block.abs().max() for block in blocks])
    scaled = torch.cat([block / (largest if largest > 0 else 1) for block, largest in zip(blocks, absmax)])
    codes = torch.bucketize(scaled, midpoints)
    return (16 * codes[0::2] + codes[1::2]).to(torch.uint8), absmax


def _product_program(
    p: int, x: Tensor, packed: Tensor, absmax: Tensor, levels: Tensor, block_size: int, rows: int
) -> Tensor:
    mine, constants = packed[p * rows : (p + 1) * rows], absmax[p * rows : (p + 1) * rows]
    total = torch.zeros(len(x), len(mine))
    for block in range(constants.shape[1]):
        first = block * block_size
        half = mine[:, first // 2 : (first + block_size) // 2]
        codes = torch.stack([half >> 4, half & 15], dim=2).flatten(1).long()
        total += x[:, first : first + block_size] @ levels[codes].T * constants[:, block]
    return total


def _codes(values: list[float], midpoints: list[float], absmax: float, strict: bool = True) -> list[int]:
    """By the definition, number by number."""
    scaled = [value / absmax if absmax else 0.0 for value in values]
    return [sum(middle < each if strict else middle <= each for middle in midpoints) for each in scaled]


class _Values:
    """Drawn values in blocks, of which the last is short, one is zero, and one has a value on a midpoint."""

    def __init__(self, blocks: int, block_size: int, short: int) -> None:
        n = (blocks - 1) * block_size + short
        self.block_size = block_size
        self.midpoints = torch.tensor([-0.75, -0.25, 0.25, 0.5, 0.875])
        values = torch.randint(-64, 65, (n,)).float() / 8
        values[0], values[1] = -16.0, 4.0  # the largest is negative, and 4 / 16 lies on a midpoint
        values[block_size : 2 * block_size] = 0
        values[-1] = 9.0
        self.values = values

    def blocks(self, p: int, count: int) -> list[list[float]]:
        return [block.tolist() for block in self.values.split(self.block_size)][p * count : (p + 1) * count]


def _bytes(codes: list[int], low_first: bool = False) -> list[int]:
    pairs = zip(codes[0::2], codes[1::2])
    return [16 * b + a if low_first else 16 * a + b for a, b in pairs]


@task(reference=lambda: _quantize_program)
def quantize_program(quantize_program: Any) -> None:
    """What program p stores: the codes of its blocks, two to a byte, and their constants."""
    for blocks, size, short, count in ((4, 4, 2, 1), (5, 8, 6, 2)):
        drawn = _Values(blocks, size, short)
        for p in reversed(range(-(-blocks // count))):
            handed = {"values": drawn.values.clone(), "midpoints": drawn.midpoints.clone()}
            case = f"program {p}, {count} of {blocks} blocks of {size}, the last of {short}"
            try:
                with untouched(**handed):
                    found = quantize_program(p, *handed.values(), size, count)
            except RuntimeError as error:
                if "is invalid for input of size" in str(error):
                    raise Wrong(f"{case}: no whole number of blocks ({error}): the last one may be short") from error
                raise
            packed, absmax = required.several(found, 2, "two tensors, packed and absmax")
            if isinstance(packed, Tensor) and packed.is_floating_point():
                raise Wrong(f"{case}: the first thing that yours returns holds no codes: packed, then absmax")
            mine = drawn.blocks(p, count)
            largest = [max(map(abs, block)) for block in mine]
            absmax = required.tensor(absmax, f"absmax of {case},", [len(mine)])
            if not torch.allclose(absmax.float(), torch.tensor(largest)):
                raise Wrong(_why_constants(absmax.float(), mine, drawn, case), yours=absmax, wanted=largest)
            codes = [code for block, top in zip(mine, largest) for code in _codes(block, drawn.midpoints.tolist(), top)]
            packed = required.tensor(packed, f"packed of {case},", [len(codes) // 2], torch.uint8)
            if packed.tolist() != _bytes(codes):
                raise Wrong(_why_codes(packed.tolist(), mine, largest, drawn, case), yours=packed.tolist(),
                            wanted=_bytes(codes))  # fmt: skip


def _why_constants(found: Tensor, mine: list[list[float]], drawn: _Values, case: str) -> str:
    slips = {
        "the largest value, not the largest magnitude: take abs() first": [max(block) for block in mine],
        "1 for a block of zeros: divide by 1 there, and store 0": [max(map(abs, block)) or 1.0 for block in mine],
        "the same constant for all blocks: each has its own": [max(abs(v) for b in mine for v in b)] * len(mine),
    }
    words = required.slip(found, {words: torch.tensor(slip) for words, slip in slips.items()})
    if words is None:
        return f"{case}: absmax differs. Are these its own blocks? They begin with number p · count"
    return f"{case}: {words}"


def _why_codes(found: list[int], mine: list[list[float]], largest: list[float], drawn: _Values, case: str) -> str:
    middles = drawn.midpoints.tolist()
    pairs = list(zip(mine, largest))
    right = [code for block, top in pairs for code in _codes(block, middles, top)]
    slips = {
        "the two codes of a byte are the wrong way round: the first is the high nibble": _bytes(right, low_first=True),
        "a value on a midpoint counts it, and it is not below": _bytes(
            [code for block, top in pairs for code in _codes(block, middles, top, strict=False)]
        ),
        "the values are not divided by their block's constant": _bytes(
            [code for block, _ in pairs for code in _codes(block, middles, 1.0)]
        ),
        "the first half of the codes fills the high nibbles: neighbours share a byte": [
            16 * a + b for a, b in zip(right[: len(right) // 2], right[len(right) // 2 :])
        ],
    }
    if 0.0 in largest:
        for code in range(len(middles) + 1):
            at_zero = [
                each for block, top in pairs for each in (_codes(block, middles, top) if top else [code] * len(block))
            ]
            if found == _bytes(at_zero) and at_zero != right:
                return (
                    f"{case}: in a block of zeros each code is that of the value 0.0, and yours is code {code}: 0 / 0?"
                )
    words = next((words for words, slip in slips.items() if found == slip), None)
    return f"{case}: " + (words or "other codes: count for each number the midpoints below value / absmax")


@task(reference=lambda: _product_program)
def product_program(product_program: Any) -> None:
    """The outputs of program p: its rows of x Ŵᵀ, block of columns by block of columns."""
    for tokens, d_out, blocks, size, rows in ((2, 5, 3, 4, 2), (3, 4, 2, 8, 4), (1, 7, 4, 2, 3)):
        codes = torch.randint(16, (d_out, blocks * size))
        packed = (16 * codes[:, 0::2] + codes[:, 1::2]).to(torch.uint8)
        absmax = 0.5 + torch.randperm(d_out * blocks).view(d_out, blocks).float()
        levels = torch.cat([torch.rand(15).sort().values - 1, torch.ones(1)])
        x = torch.randn(tokens, blocks * size)
        for p in reversed(range(-(-d_out // rows))):
            handed = {"x": x, "packed": packed, "absmax": absmax, "levels": levels}
            handed = {name: each.clone() for name, each in handed.items()}
            mine = slice(p * rows, min((p + 1) * rows, d_out))
            here = mine.stop - mine.start
            case = f"program {p}, {rows} of {d_out} rows, {blocks} blocks of {size} columns"
            try:
                with untouched(**handed):
                    found = product_program(p, *handed.values(), size, rows)
            except (IndexError, RuntimeError) as error:
                if why := _why_stopped(error, case):
                    raise why from error
                raise
            y = required.tensor(found, f"y of {case},", [tokens, here])
            weight = levels[codes] * absmax.repeat_interleave(size, dim=1)
            wanted = x.double() @ weight.double().T
            if not torch.allclose(y.double(), wanted[:, mine], rtol=1e-3, atol=1e-3):
                raise Wrong(
                    _why_product(y, x, codes, absmax, levels, size, mine, case), yours=y, wanted=wanted[:, mine]
                )


def _why_stopped(error: Exception, case: str) -> Wrong | None:
    if "too many indices" in str(error):
        return Wrong(f"{case}: torch takes a uint8 index for a mask: make the codes whole numbers, .long()")
    if "must match" in str(error) or "match the broadcast shape" in str(error):
        return Wrong(f"{case}: sizes do not fit ({error}). Are the constants those of its own rows?")
    if "mat1 and mat2" in str(error):
        return Wrong(f"{case}: {error}. [tokens, block_size] @ [block_size, rows]: is a .T missing?")
    return None


def _why_product(
    y: Tensor, x: Tensor, codes: Tensor, absmax: Tensor, levels: Tensor, size: int, mine: slice, case: str
) -> str:
    scales = absmax.repeat_interleave(size, dim=1)
    plain = levels[codes]
    swapped = levels[codes.view(len(codes), -1, 2).flip(2).flatten(1)]
    halves = levels[torch.cat([codes[:, 0::2], codes[:, 1::2]], dim=1)]
    blocked = codes.view(len(codes), -1, size)
    in_blocks = levels[torch.cat([blocked[:, :, 0::2], blocked[:, :, 1::2]], dim=2).flatten(1)]
    here = mine.stop - mine.start
    slips = {
        "the two codes of a byte are the wrong way round: the first is the high nibble": swapped * scales,
        "all high nibbles come before all low ones: they alternate": halves * scales,
        "within a block all high nibbles come before all low ones: they alternate": in_blocks * scales,
        "the constants are missing": plain,
        "the codes themselves are multiplied: levels[code]": codes * scales,
        "every block of columns has the first one's constants": plain * absmax[:, :1],
        "every row has the constants of the program's first: absmax[rows, block]": plain * scales[mine.start],
    }
    results = {words: x @ (slip.T.float())[:, mine] for words, slip in slips.items()}
    results["those are the outputs of program 0: begin at row p · rows"] = x @ (plain * scales)[:here].T
    results["the constants are those of program 0's rows"] = x @ (plain[mine] * scales[:here]).T
    results["only the last block of columns arrives: add the parts up"] = (
        x[:, -size:] @ (plain * scales)[mine, -size:].T
    )
    results["every block meets x's first columns"] = x[:, :size].repeat(1, absmax.shape[1]) @ (plain * scales)[mine].T
    words = required.slip(y, results)
    return f"{case}: {words or 'other numbers: try the example by hand with one row'}"
