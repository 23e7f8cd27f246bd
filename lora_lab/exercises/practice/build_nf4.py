"""Exercise 09: codes with ties, a normal-float table of any width, weights from their bytes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lora_lab import quant
from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.quantities import codes
from lora_lab.exercises.tasks import Wrong, task


def _nearest_codes(values: Tensor, levels: Tensor) -> Tensor:
    return torch.bucketize(values, (levels[1:] + levels[:-1]) / 2)


def _normal_levels(bits: int) -> Tensor:
    return quant.normal_float(bits).values


def _restore_packed(packed: Tensor, absmax: Tensor, levels: Tensor, shape: Sequence[int], size: int) -> Tensor:
    found = torch.stack([packed >> 4, packed & 15], dim=1).flatten().int()
    found = found[: torch.Size(shape).numel()]
    return (levels[found] * absmax.repeat_interleave(size)[: len(found)]).view(*shape)


@task(reference=lambda: _nearest_codes)
def nearest_codes(nearest_codes: Any) -> None:
    """The place of the nearest level, any shape, any number of levels; on a midpoint the lower one."""
    few = torch.tensor([-1.0, -0.5, 0.25, 1.0])
    small = torch.tensor([-0.9, -0.75, -0.2, -0.125, 0.3, 0.625, 0.7])  # three of them on midpoints
    table = torch.sort(torch.randint(-900, 900, (16,)) / 1024).values
    table = torch.unique(torch.cat([table, torch.tensor([-1.0, 1.0])]))
    ties = (table[1:] + table[:-1]) / 2
    wide = torch.cat([torch.rand(30) * 2.4 - 1.2, ties, table])
    wide = wide[torch.randperm(len(wide))][: len(wide) // 5 * 5].view(5, -1)
    for values, levels in ((small, few), (wide, table), (torch.tensor([[1.5], [-2.0]]), few)):
        with untouched(values=values, levels=levels):
            found = nearest_codes(values, levels)
        if isinstance(found, Tensor) and found.is_floating_point() and found.shape == values.shape:
            is_level = torch.isin(found.float(), levels).all()
            raise Wrong(
                "yours are the levels themselves: their places are wanted" if is_level else "a code is a whole number"
            )
        held = codes(found, "your tensor of codes", values.shape).long()
        wanted = _one_by_one(values, levels)
        if not torch.equal(held, wanted):
            if torch.equal(held - 1, wanted):
                raise Wrong(
                    f"every code of yours is one too large: codes count from 0 to {len(levels) - 1}", held, wanted
                )
            at = int((held != wanted).flatten().int().argmax())
            value, yours, right = values.flatten()[at], int(held.flatten()[at]), int(wanted.flatten()[at])
            raise Wrong(_code_slip(float(value), yours, right, levels), yours, right)


def _one_by_one(values: Tensor, levels: Tensor) -> Tensor:
    """In exact arithmetic: every level is a fraction of a power of two."""
    table = levels.double().tolist()
    found = [min(range(len(table)), key=lambda k: (abs(v - table[k]), k)) for v in values.double().flatten().tolist()]
    return torch.tensor(found).view(values.shape)


def _code_slip(value: float, yours: int, right: int, levels: Tensor) -> str:
    said = f"{value:g} gets the code {yours} of the levels {_some(levels)}"
    if not 0 <= yours < len(levels):
        return f"{said}: codes count from 0 to {len(levels) - 1}"
    off, least = abs(value - float(levels[yours])), abs(value - float(levels[right]))
    if off == least:
        return f"{said}: it lies on a midpoint, and there the lower level is taken"
    return f"{said}: another level is nearer"


def _some(levels: Tensor) -> str:
    return f"{[round(level, 4) for level in levels.tolist()]}" if len(levels) < 6 else f"that are {len(levels)}"


@task(reference=lambda: _normal_levels)
def normal_levels(normal_levels: Any) -> None:
    """A normal-float table of 2 to 8 bits: one zero, 2^(bits − 1) levels above, one fewer below, the largest 1."""
    for bits in (4, 2, 3, 6, 8):
        found = normal_levels(bits)
        half = 2 ** (bits - 1)
        if isinstance(found, Tensor) and list(found.shape) != [2 * half]:
            raise Wrong(_counted(found, bits, half))
        levels = required.tensor(found, f"your table for {bits} bits", [2 * half], torch.float32).double()
        _require_table(levels, bits, half)
        wanted = _by_distribution(bits)
        off = (levels - wanted).abs()
        if float(off.max()) > 2e-5:
            at = int(off.argmax())
            raise Wrong(
                f"for {bits} bits your level {at} is {float(levels[at]):.5f}{_table_slip(levels, bits)}",
                levels[: 2 * half : max(1, half // 4)], wanted[: 2 * half : max(1, half // 4)],
            )  # fmt: skip


def _counted(levels: Tensor, bits: int, half: int) -> str:
    counts = f"{int((levels > 0).sum())} above zero, {int((levels < 0).sum())} below, {int((levels == 0).sum())} zeros"
    return f"your table for {bits} bits has the shape {list(levels.shape)}, wanted [{2 * half}]: yours has {counts}"


def _require_table(levels: Tensor, bits: int, half: int) -> None:
    if (levels.diff() < 0).any():
        raise Wrong(f"your levels for {bits} bits are not ascending: sort them")
    if int((levels == 0).sum()) != 1:
        raise Wrong(
            f"your table for {bits} bits has {int((levels == 0).sum())} exact zeros: leave ½ out of both "
            "halves, and add one"
        )
    if int((levels > 0).sum()) != half:
        raise Wrong(
            f"your table for {bits} bits has {int((levels > 0).sum())} levels above zero: 2^(bits − 1) of "
            "them, one fewer below"
        )
    if abs(float(levels.max()) - 1) > 1e-6:
        raise Wrong(
            f"the largest level of your table for {bits} bits is {float(levels.max()):.4f}: divide by it, so "
            "that it is 1"
        )


def _p_max(bits: int) -> float:
    bins = 2**bits
    return float((1 - 1 / (2 * (bins - 1)) + 1 - 1 / (2 * bins)) / 2)


def _by_distribution(bits: int, p_max: float | None = None) -> Tensor:
    """By the normal distribution of torch, in float64."""
    half, top = 2 ** (bits - 1), p_max or _p_max(bits)

    def at(count: int) -> Tensor:
        steps = torch.arange(1, count + 1, dtype=torch.float64) / count
        return torch.distributions.Normal(0.0, 1.0).icdf(0.5 + (top - 0.5) * steps)

    levels = torch.cat([-at(half - 1).flip(0), torch.zeros(1, dtype=torch.float64), at(half)])
    return levels / levels[-1]


def _p_of(levels: Tensor, bits: int) -> float:
    """The p_max that gives the least level above zero, by halving: the larger p_max, the smaller it is."""
    low, high = 0.5 + 1e-6, 1 - 1e-9
    for _ in range(50):
        middle = (low + high) / 2
        wide = float(_by_distribution(bits, middle)[2 ** (bits - 1)]) > float(levels[2 ** (bits - 1)])
        low, high = (middle, high) if wide else (low, middle)
    return low


def _table_slip(levels: Tensor, bits: int) -> str:
    half = 2 ** (bits - 1)
    if torch.allclose(levels, _by_distribution(bits, _p_max(4)), atol=1e-4) and bits != 4:
        return ": p_max is that of 4 bits; it follows 2^bits"
    for bins, why in (
        (half, "p_max comes from 2^bits, the levels of the whole table, and not from those of one half"),
        (2 * half + 1, "p_max is the mean of two: one with 2^bits − 1, one with 2^bits"),
    ):
        for p in (1 - 1 / (2 * bins), (2 - 1 / (2 * bins) - 1 / (2 * max(1, bins - 1))) / 2):
            if 0.5 < p < 1 and torch.allclose(levels, _by_distribution(bits, p), atol=1e-5):
                return f": {why}"
    for p in (1 - 1 / (4 * half), 1 - 1 / (2 * (2 * half - 1)), 1 - 1 / (2 * half), 1 - 1 / (2 * half - 1),
              1 - (1 / (2 * half - 1) + 1 / (2 * half)) / 2):  # fmt: skip
        if torch.allclose(levels, _by_distribution(bits, p), atol=1e-5):
            return ": p_max is the mean of two, one with 2^bits − 1 and one with 2^bits"
    if torch.allclose(levels.diff(), levels.diff().mean().expand(2 * half - 1), atol=0.02):
        return ": those are evenly spaced; the probabilities are, not the levels"
    if torch.allclose(levels, _by_distribution(bits, _p_of(levels, bits)), atol=2e-5):
        return (
            ": the probabilities are evenly spaced as they should be, but from another p_max. Do that of 2 bits by hand"
        )
    own = levels[half:]
    mirrored = torch.allclose(levels[: half - 1], -own[:-1].flip(0), atol=1e-5)
    if mirrored and bits > 2:
        return ": below zero stand one fewer, evenly spaced in p, and not the upper half without its largest"
    inner = torch.allclose(levels[: half - 1], -own[1:].flip(0), atol=1e-5)
    if inner and bits > 2:
        return ": below zero stand one fewer, evenly spaced in p, and not the upper half without its smallest"
    return ": in each half the probabilities are evenly spaced from p_max to ½, the ½ left out"


@task(reference=lambda: _restore_packed)
def restore_packed(restore_packed: Any) -> None:
    """A weight from its bytes: two codes in each, a level for each code, times the absmax of its block."""
    for shape, size in (((3, 5), 4), ((6, 8), 16), ((5, 9), 16), ((2, 3, 7), 32)):
        numel = torch.Size(shape).numel()
        levels = torch.sort(torch.rand(16) * 2 - 1).values
        absmax = torch.rand(-(-numel // size)) * 5 + torch.arange(1, -(-numel // size) + 1)
        packed = torch.randint(256, (-(-numel // 2),), dtype=torch.uint8)
        where = f"for the shape {list(shape)} in blocks of {size}"
        with untouched(packed=packed, absmax=absmax, levels=levels):
            found = restore_packed(packed, absmax, levels, list(shape), size)
        if isinstance(found, Tensor) and found.numel() == 2 * len(packed) > numel:
            raise Wrong(f"yours has {found.numel()} weights {where}, one too many: the last half byte is a filler")
        restored = required.tensor(found, f"your weight {where}", shape).double().flatten()
        wanted = _by_loop(packed, absmax, levels, numel, size)
        if not torch.allclose(restored, wanted, rtol=1e-5, atol=1e-6):
            at = int((restored - wanted).abs().argmax())
            why = _restored_slip(restored, wanted, packed, absmax, levels, shape, size)
            raise Wrong(f"weight {at} comes out wrong {where}{why}", restored[at], wanted[at])


def _by_loop(packed: Tensor, absmax: Tensor, levels: Tensor, numel: int, size: int) -> Tensor:
    digits = packed.numpy().tobytes().hex()
    table, peaks = levels.double().tolist(), absmax.double().tolist()
    return torch.tensor([table[int(digits[k], 16)] * peaks[k // size] for k in range(numel)], dtype=torch.float64)


def _restored_slip(
    found: Tensor, wanted: Tensor, packed: Tensor, absmax: Tensor, levels: Tensor, shape: Sequence[int], size: int
) -> str:
    numel = torch.Size(shape).numel()
    peaks = absmax.double().repeat_interleave(size)[:numel]
    swapped = packed % 16 * 16 + packed // 16
    halves = torch.cat([packed // 16, packed % 16]).int()[:numel]
    tiled = absmax.double().repeat(-(-numel // len(absmax)))[:numel]
    plain = wanted / peaks
    modulo = torch.stack([packed // 16, packed % 15], dim=1).flatten().int()[:numel]
    fewer = [each.clamp(max=len(absmax) - 1) for each in
             (torch.arange(numel) // n for n in (numel // len(absmax), -(-numel // len(absmax))))]  # fmt: skip
    slips = (
        (levels.double()[modulo] * peaks, "the low half is what is left after whole sixteens: & 15, or % 16"),
        (wanted.view(*shape[::-1]).permute(*reversed(range(len(shape)))).flatten(),
         "the numbers of a weight stand row after row, and yours column after column"),
        *((plain * absmax.double()[each], "a block has `size` weights; only the last one may have fewer")
          for each in fewer),
        (_by_loop(swapped, absmax, levels, numel, size), "the first code of a byte stands in its high half: >> 4"),
        (levels.double()[halves] * peaks,
         "the two codes of a byte are neighbours: stack the halves in pairs before flattening"),
        (plain, "each level is still to be multiplied by the absmax of its block"),
        (plain * tiled, "a block is `size` weights in a row: repeat_interleave, not repeat"),
        (plain / peaks, "quantizing divided by absmax, so multiply here"),
        (plain * absmax.double().max(), "each block has an absmax of its own"),
        (plain * absmax.double()[0], "each block has an absmax of its own"),
    )  # fmt: skip
    return next((f": {why}" for value, why in slips if torch.allclose(found, value, rtol=1e-5, atol=1e-6)), "")
