"""Exercise 10: bytes of constants, and constants by their range."""

import math
import random
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.quantities import codes, number, slip
from lora_lab.exercises.tasks import Wrong, task


def _bytes_of_constants(numel: int, block: int, group: int | None) -> int:
    blocks = math.ceil(numel / block)
    if group is None:
        return 4 * blocks
    return blocks + 4 * math.ceil(blocks / group) + 4


def _range_constants(absmax: Tensor, group: int) -> tuple[Tensor, Tensor, Tensor]:
    found, lows, steps = [], [], []
    for own in absmax.split(group):
        low, step = own.min(), (own.max() - own.min()) / 255
        found.append(((own - low) / step).round() if step > 0 else torch.zeros_like(own))
        lows.append(low)
        steps.append(step)
    return torch.cat(found).to(torch.uint8), torch.stack(lows), torch.stack(steps)


@task(reference=lambda: _bytes_of_constants)
def bytes_of_constants(bytes_of_constants: Any) -> None:
    """Bytes of the constants of one weight, plain or in groups, with a short last block and a short last group."""
    odd = random.choice((1100, 1200, 1300)) * 97  # its blocks and groups are less than half full at the end, or more
    for numel, block, group in (
        (odd, 64, None),
        (6400, 64, None),
        (64 * 768, 64, 256),
        (odd, 32, 256),
        (50, 64, 256),
        (odd, 128, 64),
    ):
        where = f"for {numel:,} weights in blocks of {block}" + (f" and groups of {group}" if group else "")
        found = number(bytes_of_constants(numel, block, group), where)
        wanted = _by_lists(numel, block, group)
        if found != wanted:
            raise Wrong(
                f"yours gives {found:,g} bytes {where}{_constants_slip(found, numel, block, group)}", found, wanted
            )


def _by_lists(numel: int, block: int, group: int | None) -> int:
    blocks = range(0, numel, block)
    if group is None:
        return sum(4 for _ in blocks)
    return sum(1 for _ in blocks) + sum(4 for _ in range(0, len(blocks), group)) + 4


def _constants_slip(found: float, numel: int, block: int, group: int | None) -> str:
    blocks, down = -(-numel // block), numel // block
    if group is None:
        if found == 4 * (down + 1) > 4 * blocks:
            return ": where the last block is full, there is none beyond it"
        return slip(found, (
            (4 * down, "the last block may be short, and has a constant, too: round up"),
            (4 * numel / block, "a short block has a whole constant: round up"),
            (blocks, "a constant is float32: 4 bytes"), (32 * blocks, "those are bits"),
            (4 * blocks + 4, "without groups there is no mean to store"),
            (4 * numel, "one constant for each *block*"),
        ))  # fmt: skip
    groups = -(-blocks // group)
    one_more = {b + 4 * g + 4 for b in (blocks, blocks + 1) for g in (groups, groups + 1)} - {blocks + 4 * groups + 4}
    if numel % block == 0 == blocks % group and found in one_more:
        return ": where the last block or the last group is full, there is none beyond it"
    if blocks % group and found == blocks + 4 * (blocks // group) + 4:
        return ": the last group may be short, and has a scale, too: round up"
    return slip(found, (
        (blocks + 4 * groups, "the mean is stored, too: 4 bytes, once"),
        (blocks + 4 * (blocks // group) + 4, "the last group may be short, and has a scale, too: round up"),
        (blocks + 4 * (blocks // group),
         "the last group may be short, and has a scale, too: round up. And one mean is stored"),
        (down + 4 * (-(-down // group)) + 4, "the last block may be short, and has a constant, too: round up"),
        (down + 4 * (down // group) + 4, "the last block and the last group may be short: round up"),
        (blocks + 4 * -(-numel // group) + 4, "a group is of constants, not of weights"),
        (4 * blocks + 4 * groups + 4, "in groups a constant has one byte, not four"),
        (4 * blocks, "in groups a constant has one byte, and each group a scale of four"),
        (blocks + 4, "each group has a scale of 4 bytes"), (blocks,
         "each group has a scale of 4 bytes, and the mean has 4"),
        (blocks + 8 * groups, "one mean for all groups"), (blocks + groups + 1,
         "scales and mean are float32: 4 bytes each"),
        (8 * (blocks + 4 * groups + 4), "those are bits"),
        (numel / block + 4 * numel / (block * group) + 4, "blocks and groups are whole: round both up"),
        (blocks + 4 * blocks / group + 4, "groups are whole: round up"),
        (blocks + 4 * -(-numel // (block * group)) + 8, "the mean is stored once"),
    ))  # fmt: skip


@task(reference=lambda: _range_constants)
def range_constants(range_constants: Any) -> None:
    """Constants as 8-bit codes between the least and the largest of their group; the last group may be short."""
    for count, group in ((70, 32), (8, 4), (600, 256), (64, 64)):
        absmax = torch.rand(count) + torch.arange(count) / count * 2 + 1.5
        if count == 70:
            absmax[32:64] = absmax[32]
        with untouched(absmax=absmax):
            triple = range_constants(absmax, group)
        where = f"for {count} constants in groups of {group}"
        found, low, step = required.several(triple, 3, "codes, low, step")
        groups = -(-count // group)
        if count == 70 and any(
            isinstance(each, Tensor) and each.is_floating_point() and each.isnan().any() for each in triple
        ):
            raise Wrong(
                f"NaN {where}, of which one has equal constants only: 0 / 0. Divide only where the step is above zero"
            )
        if isinstance(found, Tensor) and found.is_floating_point() and found.shape == absmax.shape:
            raise Wrong(f"your codes {where} are {found.dtype}: rounded, and then .to(torch.uint8)")
        found = codes(found, f"your tensor of codes {where}", [count], torch.uint8)
        low = required.tensor(low, f"your low {where}", [groups])
        step = required.tensor(step, f"your step {where}", [groups])
        for k, own in enumerate(absmax.double().split(group)):
            said, its_codes = f"group {k} {where}", found[k * group : k * group + len(own)]
            _compare_low(float(low[k]), own, absmax, said)
            _compare_step(float(step[k]), own, absmax, said)
            _compare_codes(its_codes, own, said)


def _compare_low(low: float, own: Tensor, absmax: Tensor, said: str) -> None:
    least = float(own.min())
    slips = (
        (0.0, "is zero: the constants begin at their least, without what a short group was filled up with"),
        (float(own.mean()), "is the mean; here the least one takes its place"),
        (float(absmax.min()), "is that of all constants: each group has its own"),
        (float(own.max()), "is the largest"),
    )
    if abs(low - least) > 1e-5:
        why = next((why for value, why in slips if abs(low - value) < 1e-5), "is not the least of the group")
        raise Wrong(f"the low of {said} {why}", low, least)


def _compare_step(step: float, own: Tensor, absmax: Tensor, said: str) -> None:
    most, reach = float(own.max()), float(own.max() - own.min())
    if reach == 0 and abs(step) > 1e-9:
        raise Wrong(f"the step of {said} is not 0, and all of its constants are equal", step, reach)
    slips = (
        (float(absmax.max() - absmax.min()) / 255, "is that of all constants: each group has its own"),
        (reach, "is the whole range: 255 steps go into it"),
        (reach / 256, "is a 256th of the range: from code 0 to code 255 there are 255 steps"),
        (most / 255, "is made for constants from zero on: the range goes from the least to the largest"),
        (reach / 127, "is made for 127 codes; there are 255 above zero"),
        (reach / 254, "is made for 127 codes on each side; here are 255 above zero"),
        (reach / 15, "is made for four bits"),
        (255 / reach if reach else -1.0, "is turned round: low + code · step gives the constant back"),
    )
    if abs(step - reach / 255) > 1e-4 * reach / 255 + 1e-9:
        why = (why for value, why in slips if abs(step - value) < 1e-4 * abs(value))
        raise Wrong(f"the step of {said} {next(why, 'is off: (largest − least) / 255')}", step, reach / 255)


def _compare_codes(found: Tensor, own: Tensor, said: str) -> None:
    step = float(own.max() - own.min()) / 255
    if step == 0 and found.any():
        raise Wrong(f"{said} has equal constants, and your codes of it are not all zero")
    back = own.min() + found.double() * step
    if float((back - own).abs().max()) > 0.501 * step:
        at = int((back - own).abs().argmax())
        why = "code = round((constant − low) / step), 0 to 255"
        exact = (own - own.min()) / step
        upper = ((exact % 1) > 0.55) & ((exact % 1) < 0.99)
        if (found[upper] == exact[upper].floor()).all() and ((found - exact).abs() < 1.01).all():
            why = "codes are rounded to the nearest, not cut off"
        if any(((found - exact * step / (step + more)).abs() < 0.502).all() for more in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)):
            why = "is something added to the step before you divide? Only a step of 0 needs another way"
        came = f"constant {float(own[at]):.4f} of {said} comes back as {float(back[at]):.4f}"
        raise Wrong(f"{came}: {why}", back[at], own[at])
