"""Exercises 14, the first and third: adapters stacked, and a merge into codes."""

import math
import random
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong, task

_Adapters = list[tuple[Tensor, Tensor, float]]


def _stacked(adapters: _Adapters, weights: list[float]) -> tuple[Tensor, Tensor]:
    A = torch.cat([A for A, _, _ in adapters])
    B = torch.cat([w * s * B for (_, B, s), w in zip(adapters, weights)], dim=1)
    return A, B


def _merged_into_codes(codes: Tensor, absmax: Tensor, levels: Tensor, update: Tensor) -> tuple[Tensor, Tensor, float]:
    stored = levels[codes.long()] * absmax[:, None]
    merged = stored + update
    constants = merged.abs().amax(dim=1)
    again = (merged[..., None] / constants[:, None, None] - levels).abs().argmin(-1).to(torch.uint8)
    moved = levels[again.long()] * constants[:, None] - stored
    return again, constants, float((moved * update).sum() / (update * update).sum())


@task(reference=lambda: _stacked)
def stacked(stacked: Any) -> None:
    """One A and one B whose product is the weighted sum of several adapters' updates."""
    for d_out, d_in, ranks in ((3, 3, (1, 1)), (7, 5, (2, 2, 2)), (6, 9, (1, 4, 2)), (5, 4, (2, 3, 1))):
        scales = random.sample((0.75, 1.5, 3.0, 5.0), len(ranks))
        adapters = [(torch.randn(r, d_in), torch.randn(d_out, r), s) for r, s in zip(ranks, scales)]
        weights = [1.0, -0.5 - random.random(), 0.3 + random.random()][: len(ranks)]
        if ranks[0] > ranks[-1]:
            weights[1] = 0.0
        handed = {"adapters": [(A.clone(), B.clone(), s) for A, B, s in adapters], "weights": list(weights)}
        with untouched(**handed):
            found = stacked(*handed.values())
        said = f"for ranks {', '.join(map(str, ranks))}"
        A, B = required.several(found, 2, "two tensors, A and B")
        total = sum(ranks)
        if isinstance(A, Tensor) and len(set(ranks)) == 1 and A.shape == (ranks[0], d_in) != (total, d_in):
            raise Wrong(
                f"{said} your A has the rank of one adapter: A's and B's added separately multiply each B with "
                "the others' A as well. Put them beside each other"
            )
        if isinstance(A, Tensor) and A.shape == (d_out, total) != (total, d_in):
            raise Wrong(f"{said} the first of yours has B's shape, {list(A.shape)}: A first, then B")
        without = total - sum(r for r, weight in zip(ranks, weights) if not weight)
        if isinstance(A, Tensor) and A.shape == (without, d_in) != (total, d_in):
            raise Wrong(
                f"{said} your A has no rows of the adapter whose weight is 0: the new rank is the sum of all ranks, "
                "and zeros in B are enough"
            )
        A = required.tensor(A, f"{said} A", (total, d_in))
        B = required.tensor(B, f"{said} B", (d_out, total))
        wanted = _sum_of_updates(adapters, weights)
        if float((B.double() @ A.double() - wanted).norm() / wanted.norm()) > 1e-4:
            small = {"yours": B @ A, "wanted": wanted.float()} if total == 2 else {}
            raise Wrong(
                f"{said} B·A is not the weighted sum of the updates: {_why_stacked(A, B, adapters, weights)}", **small
            )


def _sum_of_updates(adapters: _Adapters, factors: list[float], scaled: bool = True) -> Tensor:
    parts = [w * (s if scaled else 1) * (B.double() @ A.double()) for (A, B, s), w in zip(adapters, factors)]
    return torch.stack(parts).sum(0)


def _why_stacked(A: Tensor, B: Tensor, adapters: _Adapters, weights: list[float]) -> str:
    scales = [s for *_, s in adapters]
    n = len(adapters)
    turned = torch.cat([w * s * B for (_, B, s), w in zip(reversed(adapters), reversed(weights))], 1)
    slips = {
        "each adapter's own scale s is missing": _sum_of_updates(adapters, weights, scaled=False),
        "the weights are missing": _sum_of_updates(adapters, [1.0] * n),
        "weights and scales are missing": _sum_of_updates(adapters, [1.0] * n, scaled=False),
        "weight and scale are in A and in B, so they come in twice": _sum_of_updates(
            adapters, [w * w * s for w, s in zip(weights, scales)]
        ),
        "the weight is in A and in B, so it comes in twice": _sum_of_updates(adapters, [w * w for w in weights]),
        "the scale is in A and in B, so it comes in twice": _sum_of_updates(
            adapters, [w * s for w, s in zip(weights, scales)]
        ),
        "the weight is divided by the scale: multiply": _sum_of_updates(
            adapters, [w / s for w, s in zip(weights, scales)], scaled=False
        ),
        "a negative weight has lost its sign": _sum_of_updates(adapters, [abs(w) for w in weights]),
        "it is divided by the number of adapters: the weights say how much each counts": _sum_of_updates(
            adapters, [w / n for w in weights]
        ),
        "the weights are divided by their sum: they need not add up to 1": _sum_of_updates(
            adapters, [w / sum(weights) for w in weights]
        ),
        "the weights are divided by the sum of their absolute values: they need not add up to 1": _sum_of_updates(
            adapters, [w / sum(map(abs, weights)) for w in weights]
        ),
        "every adapter has the first one's scale": _sum_of_updates(
            adapters, [w * scales[0] for w in weights], scaled=False
        ),
    }
    found = required.slip(B.detach().double() @ A.detach().double(), slips)
    if found is None and B.shape == turned.shape and torch.allclose(B, turned):
        found = "B's pieces come in another order than A's"
    return found or "does each piece of B, with its weight and scale, stand where its A stands?"


@task(reference=lambda: _merged_into_codes)
def merged_into_codes(merged_into_codes: Any) -> None:
    """New codes and constants of Ŵ + ΔW, and the share of ΔW that arrived."""
    for blocks, size, strength in ((2, 12, 0.5), (5, 24, 0.3), (9, 32, 0.06), (4, 20, 1.5), (3, 14, None)):
        levels = torch.cat([torch.tensor([-1.0, 0.0, 1.0]), torch.rand(13) * 1.8 - 0.9]).sort().values
        codes = torch.randint(16, (blocks, size), dtype=torch.uint8)
        for block in range(blocks):
            codes[block, random.randrange(size)] = random.choice((0, 15))  # a block's constant stands at an end
        if strength is None:
            codes[:, -1] = 15  # which stays the largest after a step up, so that the constants stay too
        absmax = 0.5 + torch.rand(blocks)
        update = (
            strength * torch.randn(blocks, size)
            if strength is not None
            else _a_step_up(codes, levels) * absmax[:, None]
        )
        handed = {"codes": codes.clone(), "absmax": absmax.clone(), "levels": levels.clone(), "update": update.clone()}
        with untouched(**handed):
            found = merged_into_codes(*handed.values())
        again, constants, kept = required.several(
            found, 3, "the new codes, the new constants, and the share that arrived"
        )
        said = f"for {blocks} blocks of {size}"
        constants = required.tensor(constants, f"{said} your tensor of constants", (blocks,))
        stored = levels[codes.long()] * absmax[:, None]
        merged = stored + update
        _require_constants(constants, merged, absmax, said)
        again = required.tensor(again, f"{said} your tensor of codes", (blocks, size), torch.uint8)
        if int(again.max()) > 15:
            raise Wrong(f"{said} a code is above 15, and there are 16 levels")
        wanted = _nearest(merged, constants, levels)
        restored = levels[again.long()] * constants[:, None]
        gap = (merged - restored).abs() - (merged - wanted).abs()
        if bool((gap > 1e-5 * constants[:, None]).any()):
            small = {"yours": restored, "wanted": wanted} if blocks == 2 else {}
            raise Wrong(f"{said} {_why_codes(again, codes, levels, merged, constants, absmax, update)}", **small)
        share = plain_number(kept, "for the share that arrived")
        _compare_share(
            share,
            levels[again.long()] * absmax[:, None] - stored,
            restored - stored,
            update,
            again != codes,
            merged - restored,
            said,
        )


def _a_step_up(codes: Tensor, levels: Tensor) -> Tensor:
    """Updates a bit larger than half a gap, so that more arrives than was asked."""
    above = (codes.long() + 1).clamp(max=15)
    return 0.6 * (levels[above] - levels[codes.long()])


def _require_constants(found: Tensor, merged: Tensor, absmax: Tensor, said: str) -> None:
    wanted = torch.tensor([max(abs(each) for each in row) for row in merged.tolist()])
    if torch.allclose(found, wanted, rtol=1e-4):
        return
    slips = {
        "they are the old ones, and what grew beyond them would be cut: measure anew": absmax,
        "one for all blocks: each has its own": wanted.max().expand_as(wanted),
        "the largest number with its sign: the largest absolute value is wanted": merged.amax(dim=1),
    }
    why = required.slip(found, slips) or "the largest absolute value of Ŵ + ΔW in each block"
    raise Wrong(f"{said} the new constants are off: {why}")


def _nearest(merged: Tensor, constants: Tensor, levels: Tensor) -> Tensor:
    """Each weight's best restored value, by trying all levels."""
    rows = []
    for row, constant in zip(merged.tolist(), constants.tolist()):
        rows.append([min((level * constant for level in levels.tolist()), key=lambda v: abs(v - each)) for each in row])
    return torch.tensor(rows)


def _why_codes(again: Tensor, codes: Tensor, levels: Tensor, merged: Tensor, constants: Tensor, absmax: Tensor,
               update: Tensor) -> str:  # fmt: skip
    def codes_of(values: Tensor) -> Tensor:
        return (values[..., None] - levels).abs().argmin(-1)

    slips = {
        "your codes are the old ones: round Ŵ + ΔW to the nearest levels": codes,
        "your codes are those of the update alone": codes_of(update / constants[:, None]),
        "the sum is divided by the old constants: by the new ones, with which it will be restored": codes_of(
            merged / absmax[:, None]
        ),
        "the sum is not divided by its block's constant, and levels lie between −1 and 1": codes_of(merged),
        "the update is added to the levels as it is: both must be on one scale, so restore first": codes_of(
            (levels[codes.long()] + update) / constants[:, None]
        ),
        "searchsorted gives the next level above, not the nearest: use the midpoints": torch.searchsorted(
            levels, (merged / constants[:, None]).contiguous()
        ).clamp(max=15),
        "the nearest level is taken without the absolute value: take distances": (
            merged[..., None] / constants[:, None, None] - levels
        ).argmin(-1),
        "the update is subtracted": codes_of((merged - 2 * update) / constants[:, None]),
    }
    for words, wrong in slips.items():
        if torch.equal(again.long(), wrong.long()):
            return words
    off = float((again.long() != codes_of(merged / constants[:, None])).float().mean())
    return f"{off:.0%} of your codes are not the nearest level to (Ŵ + ΔW) / constant"


def _compare_share(
    share: float, by_old: Tensor, moved: Tensor, update: Tensor, changed: Tensor, error: Tensor, said: str
) -> None:
    pairs = [(float(m), float(u)) for m, u in zip(moved.flatten(), update.flatten())]
    energy = sum(u * u for _, u in pairs)
    wanted = sum(m * u for m, u in pairs) / energy
    if math.isclose(share, wanted, rel_tol=1e-4, abs_tol=1e-5):
        return
    by_block = (moved * update).sum(1) / update.square().sum(1)
    lengths = math.sqrt(sum(m * m for m, _ in pairs)), math.sqrt(energy)
    slips = {
        "that is the share of codes that changed: a code may jump too far, or the wrong way": float(
            changed.float().mean()
        ),
        "that is a ratio of lengths: what moved may point elsewhere": lengths[0] / lengths[1],
        "that is a ratio of energies, ΣM² over ΣΔW²: above the line stands M·ΔW, for what moved may point elsewhere": (
            lengths[0] / lengths[1]
        )
        ** 2,
        "that is the mean of the blocks' shares: add the products of all blocks first, then divide once": float(
            by_block.mean()
        ),
        "it is cut off at 0 and 1: more may arrive than was asked, and some may go the wrong way": min(
            1.0, max(0.0, wanted)
        ),
        "that is the cosine: divide by the update's length twice": wanted * lengths[1] / (lengths[0] or 1),
        "that divides by what moved: the question is how much of the *update* arrived": wanted
        * energy
        / (lengths[0] ** 2 or 1),
        "that is 1 minus the length of the error over the update's": 1 - float(error.norm()) / lengths[1],
        "that is 1 minus the error's energy over the update's": 1 - float(error.square().sum()) / energy,
        "that is a percentage: a share of everything is 1": 100 * wanted,
        "that is the product of the two, and not divided by the update's own energy": wanted * energy,
        "that is what is lost: 1 minus it": 1 - wanted,
        "that takes the sum away, and not the old restored weight: M is what really moved": wanted - 1,
        "the new codes are restored with the old constants: with the new ones": float((by_old * update).sum()) / energy,
        "it is the mean over the weights of what moved over its update: add the products first, then divide": sum(
            m / u for m, u in pairs if u
        )
        / len(pairs),
    }
    for words, value in slips.items():
        if math.isclose(share, value, rel_tol=1e-5, abs_tol=1e-6):
            raise Wrong(f"{said} the share that arrived is off: {words}")
    raise Wrong(
        f"{said} the share that arrived is off: add M·ΔW over all weights, divide by the sum of ΔW² over all",
        share,
        wanted,
    )
