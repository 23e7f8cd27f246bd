"""Exercise 10: the largest block size whose error is within a limit."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lora_lab import quant
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.practice import block_errors
from lora_lab.exercises.practice.block_errors import Error, relative_error
from lora_lab.exercises.quantities import number
from lora_lab.exercises.tasks import Wrong, task


@dataclass(frozen=True)
class _Case:
    weight: Tensor
    levels: Tensor
    sizes: Sequence[int]
    limits: Sequence[float]


Choice = Callable[[Sequence[int], Sequence[float], float], float | None]  # of sizes, their errors and a limit


def _largest_block(weight: Tensor, levels: Tensor, sizes: Sequence[int], limit: float) -> int | None:
    for size in sorted(sizes, reverse=True):
        if relative_error(weight, levels, size) <= limit:
            return size
    return None


@task(reference=lambda: _largest_block)
def largest_block(largest_block: Any) -> None:
    """The largest block size whose relative error is within a limit; None if there is none."""
    cases = [*_small(), _wide()]
    asked = [(case, limit) for case in cases for limit in case.limits]
    found: list[float | None] = []
    for case, limit in asked:
        with untouched(weight=case.weight, levels=case.levels, sizes=case.sizes):
            size = largest_block(case.weight, case.levels, case.sizes, limit)
        found.append(None if size is None else number(size, _where(case, limit)))
        if found[-1] is not None and found[-1] not in case.sizes:
            raise Wrong(f"yours gives {found[-1]:g} {_where(case, limit)}: that is none of the sizes")
    wanted = _answers(cases, relative_error, _largest)
    if found != wanted:
        at = next(k for k, size in enumerate(found) if size != wanted[k])
        raise Wrong(f"yours gives {found[at]} {_where(*asked[at])}: {_slip(found, wanted, cases, at)}",
                    found[at], wanted[at])  # fmt: skip


def _where(case: _Case, limit: float) -> str:
    numbers = case.weight.numel()
    weight = f"the weight {case.weight.tolist()}, " if numbers < 9 else f"a weight of {numbers} numbers, "
    return f"for {weight}the sizes {list(case.sizes)} and a limit of {limit:.2%}"


def _small() -> list[_Case]:
    """The text's example; errors of exactly 0; a larger size of less error; an error in the short block alone."""
    levels, of = torch.tensor([-1.0, 0.0, 1.0]), random.choice((0.5, 2.0, 4.0))
    return [
        _Case(torch.tensor([4.0, 3, 1, 1]), levels, [2, 4], (0.23, 0.4, 0.15)),
        _Case(of * torch.tensor([1.0, 0, 1, 1, 0, 1]), levels, [3, 4, 2], (0.0,)),
        _Case(of * torch.tensor([1.0, 1, 1, 1, 4, 4, 4, 4]), levels, [3, 4], (0.05,)),
        _Case(of * torch.tensor([1.0, 0, 1, 1, 1, 0.75]), levels, [2, 4, 1], (0.05,)),
    ]


def _wide() -> _Case:
    """Limits close to both sides of each error, and wider ones; the last block of every size is all zero."""
    levels, sizes = quant.NF4.values, [32, 250, 16, 120, 64]
    weight = 100 * torch.randn(19, 47) * torch.rand(19, 1).exp()
    weight[torch.randint(13, (3,)), torch.randint(47, (3,))] *= 9
    weight[13:] = 0
    errors = [relative_error(weight, levels, size) for size in sizes]
    close = [error * by for error in errors for by in (1.02, 0.98)]
    return _Case(weight, levels, sizes, [9.0, *close, *(max(errors) * 1.15**k for k in range(1, 11))])


def _answers(cases: Sequence[_Case], error: Error, choice: Choice) -> list[float | None]:
    found: list[float | None] = []
    for case in cases:
        errors = [error(case.weight, case.levels, size) for size in case.sizes]
        found += [choice(case.sizes, errors, limit) for limit in case.limits]
    return found


def _largest(sizes: Sequence[int], errors: Sequence[float], limit: float) -> float | None:
    return max((size for size, error in zip(sizes, errors) if error <= limit), default=None)


def _below(sizes: Sequence[int], errors: Sequence[float], limit: float) -> float | None:
    return max((size for size, error in zip(sizes, errors) if error < limit), default=None)


def _beyond(sizes: Sequence[int], errors: Sequence[float], limit: float) -> float | None:
    return max((size for size, error in zip(sizes, errors) if error >= limit), default=None)


def _smallest(sizes: Sequence[int], errors: Sequence[float], limit: float) -> float | None:
    return min((size for size, error in zip(sizes, errors) if error <= limit), default=None)


def _first(sizes: Sequence[int], errors: Sequence[float], limit: float) -> float | None:
    return next((size for size, error in zip(sizes, errors) if error <= limit), None)


def _last(sizes: Sequence[int], errors: Sequence[float], limit: float) -> float | None:
    return _first(sizes[::-1], errors[::-1], limit)


def _upward(sizes: Sequence[int], errors: Sequence[float], limit: float) -> float | None:
    best = None
    for size, error in sorted(zip(sizes, errors)):
        if error > limit:
            break
        best = size
    return best


_CHOICES: dict[Choice, str] = {
    _below: "an error of exactly the limit is within it",
    _smallest: "it is within the limit, but so is a larger one, which has fewer constants",
    _first: "the first of the list that is within it; the sizes are in no order, and the largest is wanted",
    _last: "the last of the list that is within it; the sizes are in no order, and the largest is wanted",
    _upward: "errors need not grow with the size: where one is too large, a larger block may still do",
    _beyond: "the comparison is turned round: the error is to be the limit or less",
}


def _slip(found: list[float | None], wanted: list[float | None], cases: Sequence[_Case], at: int) -> str:
    """The words of the way that gives all these answers; else what is wrong with the first wrong one."""
    if all(right is None or right == size for size, right in zip(found, wanted)):
        return "none is within it, so it must be None"
    for choice, why in _CHOICES.items():
        if found == _answers(cases, relative_error, choice):
            return why
    for error, why in block_errors.SLIPS.items():
        if found == _answers(cases, error, _largest):
            return why
    size, right = found[at], wanted[at]
    if size is None:
        return "one of them is within it. Print your errors: those of the text's example are 0.33 and 0.19"
    if right is None or size > right:
        return "its error is more than that. Print your errors: those of the text's example are 0.33 and 0.19"
    return "a larger one is within it, too. Print your errors: those of the text's example are 0.33 and 0.19"
