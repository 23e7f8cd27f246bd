"""Exercises 05: PiSSA's start, a rank or alpha by a pattern, and ranks that share one budget."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lora_lab import lowrank
from lora_lab.exercises import quantities, required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task


def _pissa_start(W: Tensor, r: int, s: float) -> tuple[Tensor, Tensor, Tensor]:
    B, A = lowrank.truncated_svd(W / s, r)
    return B, A, W - s * B @ A


def _setting_for(name: str, pattern: dict[str, float], default: float) -> float:
    for key, value in pattern.items():
        if re.fullmatch(rf"(.*\.)?({key})", name):
            return value
    return default


def _ranks_for_layers(strengths: dict[str, list[float]], costs: dict[str, int], budget: int) -> dict[str, int]:
    ranks = dict.fromkeys(strengths, 0)
    while True:
        best, most = None, 0.0
        for name, sigma in strengths.items():
            if ranks[name] < len(sigma) and costs[name] <= budget:
                gain = sigma[ranks[name]] ** 2 / costs[name]
                if gain > most:
                    best, most = name, gain
        if best is None:
            return ranks
        ranks[best] += 1
        budget -= costs[best]


@task(reference=lambda: _pissa_start)
def pissa_start(pissa_start: Any) -> None:
    """s B A is the strongest part of W, evenly shared by B and A, and the residual is what is left of W."""
    for d_out, d_in, r in ((3, 4, 1), (9, 6, 2), (12, 30, 4)):
        W, s = torch.randn(d_out, d_in), 1.5 + 2 * float(torch.rand(()))
        with untouched(W=W):
            found = pissa_start(W, r, s)
        parts = required.several(found, 3, "B, A and the residual")
        what = f"for W {[d_out, d_in]} and r = {r},"
        if [list(each.shape) for each in parts if isinstance(each, Tensor)][:2] == [[r, d_in], [d_out, r]]:
            raise Wrong(f"{what} A and B are exchanged: return B first, [d_out, r]")
        sizes = {"B": (d_out, r), "A": (r, d_in), "residual": (d_out, d_in)}
        B, A, residual = (
            required.tensor(each, f"your {name}, {what}", size).detach().double()
            for each, (name, size) in zip(parts, sizes.items())
        )
        u, S, vh = torch.linalg.svd(W.double(), full_matrices=False)
        strongest = (u[:, :r] * S[:r]) @ vh[:r]
        small = d_out == 3
        if not torch.allclose(s * B @ A, strongest, atol=1e-3):
            shown = {"yours": s * B @ A, "wanted": strongest} if small else {}
            raise Wrong(f"s · B A is not the strongest part of W: {_why_part(s * B @ A, u, S, vh, r, s)}", **shown)
        if not torch.allclose(residual + s * B @ A, W.double(), atol=1e-4):
            slips = {
                "it is W itself: then the strongest part counts twice at step 0": W.double(),
                "it is W − B A: the layer adds s · B A, so that much goes": W.double() - B @ A,
                "it is W + s · B A: what the layer adds is taken away here": W.double() + s * B @ A,
                "it is s · B A, and should be what that leaves of W": s * B @ A,
            }
            why = required.slip(residual, slips) or "it is W − s · B A"
            shown = {"yours": residual + s * B @ A, "wanted": W} if small else {}
            raise Wrong(f"the residual plus s · B A is not W, so the layer would start elsewhere: {why}", **shown)
        if not torch.allclose(B.norm(dim=0), A.norm(dim=1), rtol=1e-2):
            raise Wrong("the parts are right, but B and A do not share σ evenly: column i of B is as long as row i "
                        "of A, so √σ and √s go into each")  # fmt: skip


def _why_part(product: Tensor, u: Tensor, S: Tensor, vh: Tensor, r: int, s: float) -> str:
    strongest = (u[:, :r] * S[:r]) @ vh[:r]
    slips = {
        "it is s times too large: B A itself is the strongest part, so divide by s": s * strongest,
        "it is s times too small: you divide by s twice": strongest / s,
        "these are the weakest directions": (u[:, -r:] * S[-r:]) @ vh[-r:],
        "these are the weakest directions, and s is missing": s * (u[:, -r:] * S[-r:]) @ vh[-r:],
        "σ is missing: u and vh have length 1": u[:, :r] @ vh[:r],
        "σ and s are missing: u and vh have length 1": s * u[:, :r] @ vh[:r],
        "σ is in both factors, so it counts twice": (u[:, :r] * S[:r].square()) @ vh[:r],
        "σ is in both factors, so it counts twice, and s is missing": s * (u[:, :r] * S[:r].square()) @ vh[:r],
        "√σ is in one of the factors only": (u[:, :r] * S[:r].sqrt()) @ vh[:r],
        "it is zero: PiSSA starts at the strongest part, not at B = 0": torch.zeros_like(product),
    }
    return required.slip(product, slips) or "it is the sum of the r strongest σ · u · v"


_LAYER = "model.layers.{}.{}"
# name, keys of the pattern, which of them it means (None: the default), and what another answer overlooks
_LOOKUPS: tuple[tuple[str, tuple[str, ...], int | None, str], ...] = (
    (_LAYER.format(0, "self_attn.q_proj"), ("q_proj",), 0, "a key may be the last part of a name"),
    ("q_proj", ("q_proj",), 0, "a key may be the whole name, with no dot before it"),
    (_LAYER.format(0, "self_attn.q_proj"), (), None, "an empty pattern means nothing: the default"),
    (_LAYER.format(0, "self_attn.q_proj"), ("k_proj", "q_proj"), 1, "go on to the next key when one does not match"),
    (_LAYER.format(0, "mlp.backup_proj"), ("up_proj",), None, "backup_proj only ends in these letters: a key begins "
                                                              "after a dot, or where the name begins"),
    (_LAYER.format(0, "q_proj.norm"), ("q_proj",), None, "the name goes on after the key: it must reach the end"),
    (_LAYER.format(0, "mlp.up_proj"), ("mlp.up_proj",), 0, "a key may be several parts"),
    (_LAYER.format(7, "mlp.up_proj"), ("layers.7.mlp.up_proj",), 0, "a key may be several parts"),
    (_LAYER.format(1, "mlp.up_proj"), (r"layers\.[01]\..*proj",), 0, "a key is a regular expression"),
    (_LAYER.format(0, "mlp.up_proj"), ("up_proj", r"layers\.0\..*"), 0, "both keys match, and the first one counts"),
    (_LAYER.format(0, "mlp.up_proj"), (r"layers\.0\..*", "up_proj"), 0, "both keys match, and the first one counts"),
    (_LAYER.format(11, "mlp.up_proj"), (r"layers\.[01]\..*proj",), None, "layers.11 is not layers.[01]"),
    (_LAYER.format(3, "self_attn.v_proj"), ("k_proj|v_proj",), 0, "k_proj|v_proj means either of the two: put the "
                                                                  "key in round brackets"),
    (_LAYER.format(3, "self_attn.bv_proj"), ("k_proj|v_proj",), None, "k_proj|v_proj belongs in round brackets: else "
                                                                      "the dot before it belongs to k_proj alone"),
    (_LAYER.format(3, "k_proj.dense"), ("k_proj|v_proj",), None, "k_proj|v_proj belongs in round brackets: else the "
                                                                 "end of the name belongs to v_proj alone"),
)  # fmt: skip


@task(reference=lambda: _setting_for)
def setting_for(setting_for: Any) -> None:
    """The value of the first key, a regular expression, that is the end of the name in whole parts."""
    for name, keys, meant, overlooked in _LOOKUPS:
        values = torch.randperm(90)[: len(keys) + 1].add(2).tolist()
        pattern = dict(zip(keys, values))
        with untouched(pattern=pattern):
            found = quantities.number(setting_for(name, pattern, values[-1]), f"for {name} and the pattern {pattern}")
        wanted = values[-1 if meant is None else meant]
        if found != wanted:
            said = f"for {name} and the pattern {pattern} with the default {values[-1]}"
            if found not in values:
                raise Wrong(
                    f"{said}: yours is neither the default nor a value of the pattern", yours=found, wanted=wanted
                )
            raise Wrong(f"{said}: {overlooked}", yours=found, wanted=wanted)


@task(reference=lambda: _ranks_for_layers)
def ranks_for_layers(ranks_for_layers: Any) -> None:
    """Ranks that hold the most energy per number, one direction after the other, within the budget."""
    cases = [({"a": [3.0, 1.0], "b": [2.0, 2.0]}, {"a": 9, "b": 2}, 13)]
    cases.append(({"a": [5.0, 4.0], "b": [1.0, 0.5]}, {"a": 10, "b": 3}, 14))
    cases.append(({"a": [4.0, 2.0], "b": [0.1]}, {"a": 3, "b": 50}, 6))
    for _ in range(6):
        names = ["q_proj", "k_proj", "up_proj", "down_proj"]
        strengths = {name: sorted((5 * torch.rand(6)).add(0.2).tolist(), reverse=True) for name in names}
        costs = {name: 13 * cost + 1 for cost, name in zip((torch.randperm(9)[:4] + 2).tolist(), names)}
        cases.append((strengths, costs, int(sum(costs.values()) * (1.5 + 1.5 * float(torch.rand(()))))))
    found = []
    for strengths, costs, budget in cases:
        handed = {"strengths": {name: list(sigma) for name, sigma in strengths.items()}, "costs": dict(costs)}
        with untouched(**handed):
            answer = ranks_for_layers(handed["strengths"], handed["costs"], budget)
        found.append(_ranks(answer, strengths, costs, budget))
    wanted = [_by_sorting(*case) for case in cases]
    good = [one == other for one, other in zip(found, wanted)]
    if all(good):
        return
    at = good.index(False)
    why = next((words for words, slip in _RANK_SLIPS.items() if found == [slip(*case) for case in cases]), "")
    if not why:
        costs = cases[at][1]
        spent = [sum(costs[name] * r for name, r in ranks.items()) for ranks in (found[at], wanted[at])]
        why = "somewhere a direction was taken that holds less energy per number than one that was left"
        if spent[0] < spent[1]:
            why = (
                "numbers are left over that would pay for another direction: when one no longer fits, a cheaper one may"
            )
    said = f"for σ {cases[at][0]}, costs {cases[at][1]} and {cases[at][2]} numbers" if at < 3 else "with four layers"
    raise Wrong(f"{said}: {why}", yours=str(found[at]), wanted=str(wanted[at]))


def _ranks(answer: Any, strengths: dict[str, list[float]], costs: dict[str, int], budget: int) -> dict[str, int]:
    if not isinstance(answer, dict):
        given = "None" if answer is None else f"a {type(answer).__name__}"
        raise Wrong(f"yours gives {given}, wanted a dictionary from names to ranks")
    if missing := [name for name in strengths if name not in answer]:
        raise Wrong(f"{missing[0]} has no rank in yours: a layer that gets nothing has rank 0")
    if surplus := [name for name in answer if name not in strengths]:
        raise Wrong(f"{surplus[0]!r:.40} is no layer")
    ranks = {}
    for name in strengths:
        number = quantities.number(answer[name], f"as the rank of {name}")
        if number != int(number):
            raise Wrong(f"yours gives {number:g} as the rank of {name}, wanted a whole number")
        if not 0 <= number <= len(strengths[name]):
            raise Wrong(f"yours gives {number:g} as the rank of {name}, which has {len(strengths[name])} directions")
        ranks[name] = int(number)
    spent = sum(costs[name] * ranks[name] for name in ranks)
    if spent > budget:
        raise Wrong(f"your ranks cost {spent} numbers, and the budget is {budget}: is a direction taken before "
                    "anybody asks whether it fits?", yours=str(ranks))  # fmt: skip
    return ranks


def _by_sorting(
    strengths: dict[str, list[float]], costs: dict[str, int], budget: int,
    worth: Callable[[float, int], float] = lambda sigma, cost: sigma * sigma / cost, stops: bool = False,
) -> dict[str, int]:  # fmt: skip
    """All directions in the order of their worth, each taken if it fits; within a layer the strongest come first."""
    every = [
        (-worth(sigma, costs[name]), k, name) for name, all_of in strengths.items() for k, sigma in enumerate(all_of)
    ]
    ranks = dict.fromkeys(strengths, 0)
    for _, _, name in sorted(every):
        if costs[name] <= budget:
            budget -= costs[name]
            ranks[name] += 1
        elif stops:
            break
    return ranks


def _in_turns(strengths: dict[str, list[float]], costs: dict[str, int], budget: int) -> dict[str, int]:
    ranks = dict.fromkeys(strengths, 0)
    for k in range(max(map(len, strengths.values()))):
        for name in strengths:
            if k < len(strengths[name]) and costs[name] <= budget:
                budget -= costs[name]
                ranks[name] += 1
    return ranks


def _equal(strengths: dict[str, list[float]], costs: dict[str, int], budget: int) -> dict[str, int]:
    return dict.fromkeys(strengths, min(budget // sum(costs.values()), min(map(len, strengths.values()))))


_RANK_SLIPS: dict[str, Callable[..., dict[str, int]]] = {
    "you take the strongest direction, whatever it costs: what counts is its energy per number": (
        lambda s, c, b: _by_sorting(s, c, b, lambda sigma, cost: sigma)
    ),
    "you compare σ per number: energy is σ²": lambda s, c, b: _by_sorting(s, c, b, lambda sigma, cost: sigma / cost),
    "you take the cheapest layers first, whatever their directions hold": (
        lambda s, c, b: _by_sorting(s, c, b, lambda sigma, cost: 1 / cost)
    ),
    "you stop at the first direction that does not fit: a cheaper one may still": (
        lambda s, c, b: _by_sorting(s, c, b, stops=True)
    ),
    "every layer gets its next direction in turn: take the one with the most energy per number": _in_turns,
    "every layer gets the same rank: that is the lesson's rule": _equal,
    "you take the directions with the least energy per number": (
        lambda s, c, b: _by_sorting(s, c, b, lambda sigma, cost: -sigma * sigma / cost)
    ),
}
