"""Exercise 02: a short column lifted into many tensors, and a step with a P that is never stored."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task

Row = Callable[[int], Tensor]


def _lifted(z: Tensor, column: Tensor, sign: Tensor, shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    sizes = [math.prod(shape) for shape in shapes.values()]
    moves = (sign * z[column]).split(sizes)
    return {name: move.view(shape) for (name, shape), move in zip(shapes.items(), moves)}


def _step_row_by_row(
    row: Row, theta_0: Tensor, z: Tensor, gradient_at: Callable[[Tensor], Tensor], rate: float
) -> Tensor:
    D = len(theta_0)
    theta = theta_0 + torch.stack([row(i) @ z for i in range(D)])
    gradient, of_z = gradient_at(theta), torch.zeros_like(z)
    for i in range(D):
        of_z += gradient[i] * row(i)
    return z - rate * of_z


_SHAPES = (
    {"b": [2, 2], "a": [3]},
    {"up.weight": [3, 4], "up.bias": [3], "down.weight": [4, 3], "norm": [4]},
    {"w": [5, 1], "v": [2, 2, 3], "u": [1]},
)


@task(reference=lambda: _lifted)
def lifted(lifted: Any) -> None:
    """P z as moves of the tensors of a model, one after the other in the order of `shapes`; z gets its gradient."""
    for shapes in _SHAPES:
        D = sum(math.prod(shape) for shape in shapes.values())
        d = 3
        column, sign = torch.randperm(D) % d, torch.randint(0, 2, (D,)) * 2.0 - 1
        sign[:2] = torch.tensor([-1.0, 1.0])  # both are there
        z = torch.randn(d, requires_grad=True)
        handed: dict[str, Any] = {"z": z, "column": column.clone(), "sign": sign.clone(), "shapes": dict(shapes)}
        with untouched(**handed):
            found = lifted(*handed.values())
        moves = _named(found, shapes)
        wanted = _by_counting(z.detach(), column, sign, shapes)
        _compare_moves(moves, wanted, z.detach(), column, sign, shapes)
        _require_gradient(moves, z, column, sign, shapes)


def _named(found: Any, shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    if found is None:
        raise Wrong("yours gives None, wanted a dictionary: is a return missing?")
    if not isinstance(found, dict):
        raise Wrong(f"yours gives a {type(found).__name__}, wanted a dictionary from the names in shapes to tensors")
    if missing := [name for name in shapes if name not in found]:
        raise Wrong(f"your dictionary has no {missing[0]!r}: each name in shapes gets its tensor")
    if surplus := [name for name in found if name not in shapes]:
        raise Wrong(f"your dictionary has {surplus[0]!r:.40}, which is no name in shapes")
    return {name: required.tensor(found[name], f"your tensor {name!r}", shape) for name, shape in shapes.items()}


def _by_counting(z: Tensor, column: Tensor, sign: Tensor, shapes: Mapping[str, list[int]]) -> dict[str, Tensor]:
    """One weight after the other."""
    made, at = {}, 0
    for name, shape in shapes.items():
        numbers = []
        for _ in range(math.prod(shape)):
            numbers.append(float(sign[at]) * float(z[int(column[at])]))
            at += 1
        made[name] = torch.tensor(numbers).reshape(shape)
    return made


def _compare_moves(
    moves: dict[str, Tensor], wanted: dict[str, Tensor], z: Tensor, column: Tensor, sign: Tensor,
    shapes: Mapping[str, list[int]],
) -> None:  # fmt: skip
    if all(torch.allclose(moves[name].detach().double(), wanted[name].double(), atol=1e-5) for name in shapes):
        return
    ones = torch.ones_like(sign)
    again: dict[str, Tensor] = {}  # each tensor from weight 0 on
    for name, shape in shapes.items():
        n = math.prod(shape)
        again |= _by_counting(z, column[:n], sign[:n], {name: shape})
    backward = _by_counting(z, column, sign, dict(list(shapes.items())[::-1]))
    sorted_by_name = _by_counting(z, column, sign, dict(sorted(shapes.items())))
    whole = torch.cat([wanted[name].flatten() for name in shapes])
    slips = {
        "the signs are missing: multiply by sign, weight by weight": _by_counting(z, column, ones, shapes),
        "every tensor begins again at the first weight: go on where the last one ended": again,
        "the tensors come in another order: keep that of shapes, unsorted": backward,
        "the names are sorted: keep the order of shapes": sorted_by_name,
        "the moves have the opposite sign": {name: -each for name, each in wanted.items()},
        "the numbers of a tensor stand by columns: PyTorch's view and reshape fill row after row": {
            name: each.flatten().reshape(each.T.shape).T if each.dim() == 2 else each for name, each in wanted.items()
        },
        "you give z itself, one number after the other, without looking up column": _by_counting(
            z, torch.arange(len(column)) % len(z), sign, shapes
        ),
        "the signs are looked up at column: sign has one number for each weight": _by_counting(
            z, column, sign[column], shapes
        ),
    }
    yours = torch.cat([moves[name].detach().flatten() for name in shapes])
    flat = {words: torch.cat([slip[name].flatten() for name in shapes]) for words, slip in slips.items()}
    why = required.slip(yours, flat) or "weight i of the whole column moves by sign[i] · z[column[i]]"
    worst = max(shapes, key=lambda name: float((moves[name].detach() - wanted[name]).abs().max()))
    shown = {} if len(whole) > 8 else {"yours": moves[worst].detach(), "wanted": wanted[worst]}
    raise Wrong(f"the moves of {worst!r} are not those of P z: {why}", **shown)


def _require_gradient(
    moves: dict[str, Tensor], z: Tensor, column: Tensor, sign: Tensor, shapes: Mapping[str, list[int]]
) -> None:
    pulls = {name: torch.randn(shape) for name, shape in shapes.items()}
    if not all(move.requires_grad for move in moves.values()):
        raise Wrong("no gradient reaches z, so nothing would train: leave out detach(), .data, float() and no_grad()")
    total = torch.stack([(moves[name] * pulls[name]).sum() for name in shapes]).sum()
    (gradient,) = torch.autograd.grad(total, z, allow_unused=True)
    flat = torch.cat([pulls[name].flatten() for name in shapes])
    wanted = torch.zeros_like(z).index_add(0, column, sign * flat)
    if gradient is None or not torch.allclose(gradient, wanted, atol=1e-4):
        raise Wrong("the moves are right, but not the gradient at z: compute all of them from z itself")


@task(reference=lambda: _step_row_by_row)
def step_row_by_row(step_row_by_row: Any) -> None:
    """z − rate · Pᵀ g(θ₀ + P z), with the rows of P drawn when they are needed and none of them kept."""
    for D, d in ((4, 2), (7, 3), (11, 5)):
        P, theta_0, z, target = torch.randn(D, d), torch.randn(D), torch.randn(d), torch.randn(D)
        rate = 0.02 + 0.05 * float(torch.rand(()))
        asked: list[int] = []
        seen: list[Any] = []
        given = {"theta_0": theta_0.clone(), "z": z.clone()}
        with untouched(**given):
            found = step_row_by_row(_rows(P, asked), given["theta_0"], given["z"], _gradient(target, seen), rate)
        _require_visits(seen, theta_0, P, z)
        what = f"your z, for θ₀ [{D}] and z [{d}],"
        new = required.tensor(found, what, (d,)).double()
        of_theta = (theta_0 + P @ z - target).double()
        of_z = torch.stack([(of_theta * P[:, j]).sum() for j in range(d)])
        if not torch.allclose(new, z - rate * of_z, atol=1e-4):
            raise Wrong(_why_step(new, z.double(), of_z, rate, D), yours=new.float(), wanted=(z - rate * of_z).float())
        _require_frugal(asked, D)


def _rows(P: Tensor, asked: list[int]) -> Row:
    def row(i: int) -> Tensor:
        asked.append(int(i))
        return P[int(i)].clone()

    return row


def _gradient(target: Tensor, seen: list[Any]) -> Callable[[Tensor], Tensor]:
    def gradient_at(theta: Tensor) -> Tensor:
        seen.append(theta.detach().clone() if isinstance(theta, Tensor) else theta)
        return torch.as_tensor(theta).detach().float() - target

    return gradient_at


def _require_visits(seen: list[Any], theta_0: Tensor, P: Tensor, z: Tensor) -> None:
    if len(seen) != 1:
        raise Wrong(f"you ask gradient_at {len(seen)} times in one step, wanted once, at θ = θ₀ + P z")
    theta = required.tensor(seen[0], "the θ at which you ask for the gradient", theta_0.shape).double()
    move = (P @ z).double()
    if torch.allclose(theta, theta_0 + move, atol=1e-4):
        return
    slips = {
        "that is θ₀: the model has moved, by P z": theta_0.double(),
        "that is P z alone: it starts from θ₀": move,
        "that is θ₀ − P z": theta_0.double() - move,
    }
    words = required.slip(theta, slips) or "its number i is θ₀[i] plus the product of row(i) and z"
    raise Wrong(f"you ask for the gradient at another θ than θ₀ + P z: {words}", yours=theta.float(),
                wanted=theta_0 + P @ z)  # fmt: skip


def _why_step(new: Tensor, z: Tensor, of_z: Tensor, rate: float, D: int) -> str:
    slips = {
        "you go up: a step goes against the gradient": z + rate * of_z,
        "the rate is missing": z - of_z,
        "that is the gradient of z: return z after a step": of_z,
        "that is the step alone: add it to z": -rate * of_z,
        "you take the mean over the weights: Pᵀ g is a sum": z - rate * of_z / D,
        "that is the z you were given": z,
    }
    return required.slip(new, slips) or (
        "that is not z − rate · Pᵀ g: Pᵀ g is the sum of g[i] · row(i) over all weights i"
    )


def _require_frugal(asked: list[int], D: int) -> None:
    times = [asked.count(i) for i in range(D)]
    if max(times) == 1:
        raise Wrong(
            "each row was drawn once, so you have kept all of them: that is P, with D · d numbers; draw a row again "
            "when the gradient comes back"
        )
    if max(times) > 2:
        raise Wrong(
            f"row {times.index(max(times))} was drawn {max(times)} times in one step: once on the way to θ and once "
            "on the way back is enough"
        )  # fmt: skip
