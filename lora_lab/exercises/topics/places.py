"""Lesson 05: a rank for a budget, two rates for two factors, and when to stop."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task
from lora_lab.ranges import brief

Shapes = Sequence[tuple[int, int]]

# No square matrix among them, and no number twice in the first ones: each slip gives another rank at the first budget.
_SHAPES = [[(200, 512), (64, 176)], [(64, 192)], [(512, 192), (200, 512), (64, 96)]]
_BUDGETS = (240_100, 20_900, 5_000, 9_700, 31_000)


def _nearest_rank(shapes: Shapes, budget: int) -> int:
    per_rank = sum(d_in + d_out for d_out, d_in in shapes)
    return max(1, round(budget / per_rank))


@task(reference=lambda: _nearest_rank)
def rank_for_budget(rank_for: Callable[[Shapes, int], int]) -> None:
    """The whole rank, at least 1, at which adapters on these matrices hold as nearly as possible `budget` numbers."""
    for shapes in _SHAPES:
        for budget in _BUDGETS:
            given = list(shapes)
            with untouched(shapes=given):
                yours = rank_for(given, budget)
            if (found := _index(yours)) is None:
                raise Wrong(f"yours is {brief(yours)}, a {type(yours).__name__}: a rank is a whole number, so round it")
            if found != (wanted := _nearest_rank(shapes, budget)):
                raise Wrong(_why_not_this_rank(shapes, budget, found, wanted))
    if (yours := rank_for([(192, 512)], 200)) != 1:
        raise Wrong(f"for a budget below one rank yours is {yours}, wanted 1: no adapter has a rank below 1")


def _index(value: Any) -> int | None:
    """A whole number, of Python, NumPy or torch, as an int; None for anything else."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _why_not_this_rank(shapes: Shapes, budget: int, yours: int, wanted: int) -> str:
    per_rank = sum(d_in + d_out for d_out, d_in in shapes)
    slips = {
        sum(d_in * d_out for d_out, d_in in shapes): "d_in · d_out counts the frozen matrix; A and B have d_in + d_out",
        2 * per_rank: "you count everything twice: A has d_in numbers per rank and B has d_out",
        sum(2 * d_in for _, d_in in shapes): "2 · d_in fits square matrices only: B has d_out numbers per rank",
        sum(2 * d_out for d_out, _ in shapes): "2 · d_out fits square matrices only: A has d_in numbers per rank",
        sum(d_in for _, d_in in shapes): "B is missing: it has d_out numbers per rank",
        sum(d_out for d_out, _ in shapes): "A is missing: it has d_in numbers per rank",
        sum(shapes[0]): "only the first matrix is counted: add up all of them",
        sum(shapes[-1]): "only the last matrix is counted: add to the sum with +=",
        per_rank / len(shapes): "you divide by the average matrix: every matrix needs its own A and B, so add them up",
    }
    said = f"for the shapes {list(shapes)} and {budget:,} numbers yours is {yours}, wanted {wanted}"
    if yours in (budget // per_rank, -(-budget // per_rank)):
        way = "down" if yours < wanted else "up"
        return (
            f"{said}: you round {way}, to {yours * per_rank:,} numbers, and {wanted * per_rank:,} are nearer to the "
            "budget"
        )
    others = {
        max(1, round(per_rank / budget)): "you divide upside down: the budget stands above what one rank costs",
        wanted * per_rank: "that is what the adapter holds in all: return its rank",
        2 ** round(math.log2(budget / per_rank)): "only powers of two come out: any whole number may be a rank",
        round(sum(budget / sum(shape) for shape in shapes)): "every matrix gets the whole budget: they share it",
    }
    if yours in others:
        return f"{said}: {others[yours]}"
    for divisor, why in slips.items():
        if divisor != per_rank and yours in (
            int(budget / divisor),
            max(1, round(budget / divisor)),
            math.ceil(budget / divisor),
        ):
            return f"{said}: {why}"
    return f"{said}: divide the budget by what one rank costs, the sum of d_in + d_out over the matrices, and round"


def _groups(named: Sequence[tuple[str, nn.Parameter]], lr: float, ratio: float) -> list[dict[str, Any]]:
    factor_A = [parameter for name, parameter in named if name.endswith("lora_A")]
    factor_B = [parameter for name, parameter in named if name.endswith("lora_B")]
    return [{"params": factor_A, "lr": lr}, {"params": factor_B, "lr": ratio * lr}]


# A name that holds both letters, so that it takes more than one of them to tell the factors apart.
_NAMES = ("Albert.0.q_proj.lora_A", "Albert.0.q_proj.lora_B", "1.up_proj.lora_B", "Bloc.1.up_proj.lora_A")


@task(reference=lambda: _groups)
def lora_plus_groups(groups_of: Callable[..., Any]) -> None:
    """Parameter groups for an optimizer: every A at the rate `lr`, every B at `ratio` times that."""
    for lr, ratio in ((0.002, 16.0), (0.01, 4.0)):
        named = [(name, nn.Parameter(torch.zeros(2))) for name in _NAMES]
        with untouched(named=named):
            groups = groups_of(named, lr, ratio)
        rates = _rates(groups, named)
        wanted = {name: lr if name.endswith("A") else ratio * lr for name in _NAMES}
        if any(abs(rates[name] - wanted[name]) > 1e-9 for name in _NAMES):
            _right_name(rates, {float(group["lr"]) for group in groups})
            raise Wrong(_why_not_these_rates(rates, lr, ratio))


def _why_not_these_rates(rates: dict[str, float], lr: float, ratio: float) -> str:
    yours = {name[-1]: rates[name] for name in _NAMES}
    said = f"with lr={lr:g} and ratio={ratio:g} yours are A {yours['A']:g}, B {yours['B']:g}, wanted "
    said += f"A {lr:g}, B {ratio * lr:g}"
    slips = {
        "the two are swapped; it is B, which starts at zero, that gets the larger rate": (ratio * lr, lr),
        "both factors have the same rate, which is plain LoRA": (yours["B"], yours["B"]),
        "the ratio is right, but lr is the rate of A, and B's is above it": (yours["B"] / ratio, yours["B"]),
        "a ratio multiplies": (yours["A"], lr + ratio),
        "ratio is no rate, it says how many times lr the rate of B is": (yours["A"], ratio),
        "16 stands in your code: use ratio": (yours["A"], 16 * yours["A"]),
    }
    for slip, (rate_of_A, rate_of_B) in slips.items():
        if abs(yours["A"] - rate_of_A) < 1e-9 and abs(yours["B"] - rate_of_B) < 1e-9:
            return f"{said}: {slip}"
    return said


def _rates(groups: Any, named: Sequence[tuple[str, nn.Parameter]]) -> dict[str, float]:
    """The rate of each parameter by name, once each."""
    if not isinstance(groups, (list, tuple)) or not all(isinstance(group, dict) for group in groups):
        raise Wrong(f"yours is a {type(groups).__name__}: give a list of dicts, one for each group")
    rates: dict[str, float] = {}
    names = {id(parameter): name for name, parameter in named}
    for group in groups:
        if "params" not in group or "lr" not in group:
            raise Wrong(f"a group of yours has the keys {sorted(group)}, wanted params and lr")
        for parameter in [group["params"]] if isinstance(group["params"], nn.Parameter) else group["params"]:
            if id(parameter) not in names and isinstance(parameter, nn.Parameter):
                raise Wrong(
                    "a group holds a copy: it would be trained, and the model would stay as it is; take its own"
                )
            if id(parameter) not in names:
                raise Wrong(
                    f"a group holds a {type(parameter).__name__} that is no parameter of the model: named has pairs of "
                    "name and parameter, and params wants the parameters alone"
                )
            if names[id(parameter)] in rates:
                raise Wrong(f"{names[id(parameter)]} is in two groups: each parameter belongs to one")
            rates[names[id(parameter)]] = float(group["lr"])
    if missing := [name for name in _NAMES if name not in rates]:
        raise Wrong(f"{missing[0]} is in no group, so it would never train: tell A from B by how the name ends")
    return rates


def _right_name(rates: dict[str, float], given: set[float]) -> None:
    """Raises Wrong for factors that were told apart by something else than how their name ends."""
    here = [rates[name] for name in _NAMES]
    if len(set(here)) == 1 and len(given) > 1:
        raise Wrong(
            f"all have the rate {here[0]:g} and one group is empty: what you look for is in every name or in none, as "
            'the a of "lora" is; look for the ending lora_A'
        )
    if here[0] == here[2] != here[1] == here[3]:
        raise Wrong("you go by position, one here and one there: A and B need not take turns, so look at the name")
    for letter in "AB":
        found = {rates[name] for name in _NAMES if name.endswith(letter)}
        if len(found) > 1:
            raise Wrong(
                f"the factors {letter} get {len(found)} different rates: a letter may stand anywhere in a name; look "
                f"for how it ends, lora_{letter}"
            )


def _stop(losses: Sequence[float], patience: int) -> tuple[int, int]:
    best = 0
    for now, loss in enumerate(losses):
        if loss < losses[best]:
            best = now
        if now - best == patience:
            return best, now
    return best, len(losses) - 1


_CURVES = {
    "with a bump that is no reason to stop": ([5.0, 4.0, 3.5, 3.7, 3.0, 2.5, 2.6], 2),
    "that falls a little every second time": ([5.0, 4.0, 4.2, 3.9, 4.1, 3.8, 4.0], 2),
    "that never rises": ([5.0, 4.0, 3.0, 2.0], 2),
    "that rises after its best": ([5.0, 3.0, 3.5, 3.4, 3.3, 3.6, 3.7, 3.8, 3.9], 3),
    "whose lowest value comes after the stop": ([5.0, 3.0, 3.5, 3.6, 3.7, 1.0], 2),
    "that stays level": ([4.0, 3.0, 3.0, 3.0, 2.9], 2),
    "that ends before patience does": ([5.0, 2.0, 3.0], 4),
}


@task(reference=lambda: _stop)
def stop_early(stop: Callable[[Sequence[float], int], tuple[int, int]]) -> None:
    """(best, last): the evaluation with the lowest loss so far, and the one after which training stops."""
    for curve, (losses, patience) in _CURVES.items():
        given, wanted = list(losses), _stop(losses, patience)
        with untouched(losses=given):
            yours = stop(given, patience)
        if not isinstance(yours, (tuple, list)) or len(yours) != 2:
            raise Wrong(f"yours is {brief(yours)}: give two numbers, (best, last)")
        best, last = map(_index, yours)
        if best is None or last is None:
            raise Wrong(f"yours is {brief(tuple(yours))}: give where they stand in the list, two whole numbers")
        if (best, last) != wanted:
            said = f"for a loss {curve}, {losses}, with patience {patience} yours is {(best, last)}, wanted {wanted}"
            raise Wrong(f"{said}: {_why_not_there(losses, patience, (best, last), wanted)}")


def _why_not_there(losses: Sequence[float], patience: int, yours: tuple[int, int], wanted: tuple[int, int]) -> str:
    best, last = yours
    if (last, best) == wanted:
        return "the two are exchanged: best comes first"
    if best == 0 < wanted[0]:
        return (
            "your best stays the first one: begin with losses[0] as the lowest, and a loss below it (<) is a new best"
        )
    if patience != 2 and yours == _stop(losses, 2):
        return "that is right for patience 2: use patience, whatever it is"
    if last >= len(losses):
        return f"there are {len(losses)} evaluations, and the last one is number {len(losses) - 1}"
    if len(set(losses)) < len(losses) and last > wanted[1]:
        return "a loss that only equals the best is no improvement"
    if best > wanted[1]:
        return "the best one lies after the stop, where nobody has trained: look only at what came before"
    if best == wanted[0] and wanted[1] + 1 < last == len(losses) - 1:
        return "you find the best and go on to the end: last is the evaluation at which patience has run out"
    if last == wanted[1]:
        return "best is the first of the lowest losses until the stop"
    if last == wanted[1] + 1:
        return f"you wait one evaluation too long: after {patience} in a row without a new best, stop"
    if last > wanted[1]:
        return "a fall from the last value is no new best: compare with the lowest so far"
    if last == patience:
        return f"you stop after {patience} evaluations, whatever they were: count those since the best"
    if last == wanted[1] - 1 or yours == _stop(losses, patience - 1):
        return "you stop one evaluation too early"
    return "a new best starts the count again"
