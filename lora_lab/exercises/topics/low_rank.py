"""What is typed in lesson 01."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lora_lab import lowrank, units
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task


@task(reference=lambda: lowrank.truncated_svd)
def cut_to_rank(split: Callable[[Tensor, int], tuple[Tensor, Tensor]]) -> None:
    """The factors B and A whose product is the sum of the strongest r layers."""
    if not callable(split):
        raise Wrong(f"cut_to_rank is {split!r}, wanted a function of M and r")
    for height, width, r in [(7, 5, 2), (4, 9, 3), (6, 6, 1), (5, 3, 3)]:
        for M in (_matrix(height, width), _matrix(height, width).double()):
            B, A = _factors(_split(split, M, r), (height, width), r)
            _require_the_strongest(B.double() @ A.double(), M.double(), r)


def _split(split: Callable[[Tensor, int], Any], M: Tensor, r: int) -> Any:
    try:
        with untouched(M=M):
            return split(M, r)
    except RuntimeError as error:
        if "must match the size" not in str(error):
            raise
        raise Wrong(
            f"two sizes do not fit in a product ({units.first_line(error)}): strength i multiplies row i of vh if the "
            "strengths stand in a column, s[:r, None] * vh[:r]"
        ) from error


def _factors(answer: Any, shape: tuple[int, int], r: int) -> tuple[Tensor, Tensor]:
    """B and A, after their kinds and shapes have been looked at."""
    (height, width), wanted = shape, f"of a {shape[0]} × {shape[1]} matrix at r = {r}"
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Wrong(f"it returns {_brief(answer)}, wanted two tensors: return B, A")
    B, A = answer
    for name, factor in (("B", B), ("A", A)):
        if not isinstance(factor, Tensor):
            raise Wrong(f"{name} is {_brief(factor)}, wanted a tensor")
    if (tuple(B.shape), tuple(A.shape)) == ((r, width), (height, r)):
        raise Wrong(f"{wanted}, B and A are exchanged: return B [{height}, {r}] first")
    for name, factor, size in (("B", B, (height, r)), ("A", A, (r, width))):
        found = tuple(factor.shape)
        if found == size:
            continue
        if found == size[::-1]:
            raise Wrong(f"{wanted}, {name} is {list(found)}, wanted {list(size)}: transpose it")
        raise Wrong(f"{wanted}, {name} is {list(found)}, wanted {list(size)}: keep r columns of u, r rows of vh")
    return B, A


def _require_the_strongest(product: Tensor, M: Tensor, r: int) -> None:
    (height, width), (u, s, vh) = M.shape, torch.linalg.svd(M, full_matrices=False)
    if torch.allclose(product, _cut(M, r), atol=1e-4):
        return
    missed, least = (float((M - each).square().sum()) for each in (product, _cut(M, r)))
    energy = float(M.square().sum())
    mistakes = {
        "σ is missing: u and vh have length 1, the strengths are in s": u[:, :r] @ vh[:r],
        "σ is in both factors, so it counts twice: give √σ to each, or all of it to one": (
            (u[:, :r] * s[:r].square()) @ vh[:r]
        ),
        "√σ is in one factor only: the other one wants it too": (u[:, :r] * s[:r].sqrt()) @ vh[:r],
        "these are the weakest r layers: svd gives the strongest first": (u[:, -r:] * s[-r:]) @ vh[-r:],
        "σ counts three times: M times v has length σ already": (u[:, :r] * s[:r] ** 3) @ vh[:r],
        "a layer's right side is a row of vh: take vh[:r], not its columns vh[:, :r]": (
            (u[:, :r] * s[:r]) @ vh[:, :r].T if height >= width else torch.zeros_like(M)
        ),
        "you subtract M's mean first: that is another matrix; split M as it is": _cut(M - M.mean(), r),
        "you subtract the mean of each column first: split M as it is": _cut(M - M.mean(0), r),
    }
    for mistake, matrix in mistakes.items():
        if torch.allclose(product, matrix, atol=1e-4):
            raise Wrong(mistake)
    raise Wrong(f"B @ A misses {missed / energy:.0%} of M's energy at r = {r}, wanted {least / energy:.0%}, as the "
                "strongest r layers do")  # fmt: skip


def _cut(M: Tensor, r: int) -> Tensor:
    """The sum of the strongest r layers."""
    u, s, vh = torch.linalg.svd(M, full_matrices=False)
    return (u[:, :r] * s[:r]) @ vh[:r]


@task(reference=lambda: lowrank.rank_for_energy)
def rank_for_energy(count: Callable[[Tensor, float], int]) -> None:
    """The fewest layers that hold a share of the energy."""
    if not callable(count):
        raise Wrong(f"rank_for_energy is {count!r}, wanted a function of M and share")
    cases = [(_with_strengths(sigma), sigma, share) for sigma in _STRENGTHS for share in (0.3, 0.61, 0.77, 0.9, 0.999)]
    twos = torch.full((4,), 2.0, dtype=torch.float64)  # halves and quarters are exact
    cases += [(twos.diag(), twos, share) for share in (0.5, 0.75)]
    found = []
    for M, _, share in cases:
        with untouched(M=M):
            answer = count(M, share)
        found.append(_whole(answer))
    wanted = [_least(sigma.square(), share) for _, sigma, share in cases]
    if found != wanted:
        raise Wrong(_why_not_so_many(found, wanted, [(sigma, share) for _, sigma, share in cases]))


def _whole(found: Any) -> float:
    if hasattr(found, "item") and getattr(found, "ndim", 0) == 0:  # of torch or NumPy
        found = found.item()
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise Wrong(f"it returns {_brief(found)}, wanted a whole number of layers")
    if 0 < found < 1:
        raise Wrong(f"yours is {found:.3g}, and that is a share: return how many layers it takes")
    return found


_STRENGTHS = [
    torch.tensor(strengths, dtype=torch.float64)
    for strengths in ([3.0, 2.0, 1.0, 0.5, 0.2], [5.0, 1.0, 1.0, 1.0], [1.0] * 6, [7.0, 0.1])
]

# What the usual slips count, of the strengths σ and a share.
_SLIPS: dict[str, Callable[[Tensor, float], int]] = {
    "energy is σ², not σ": lambda s, share: _least(s, share),
    "count from the strongest layer, not from the weakest": lambda s, share: _least(s.square().flip(0), share),
    "that many layers hold less than the share: count the one that reaches it too": (
        lambda s, share: _least(s.square(), share) - 1
    ),
    "you take one layer more where the share is reached exactly: held ≥ share is enough": (
        lambda s, share: int((s.square().cumsum(0) <= share * s.square().sum()).sum()) + 1
    ),
    "these are the layers that are strong beside the strongest: add energies up until they hold the share": (
        lambda s, share: int((s.square() >= (1 - share) * s[0].square()).sum())
    ),
    "the energies are compared with the share itself: compare them with share times the total": (
        lambda s, share: int((s.square().cumsum(0) < share).sum()) + 1
    ),
    "the total is the sum of σ², yours is the sum of σ": (
        lambda s, share: int((s.square().cumsum(0) < share * s.sum()).sum()) + 1
    ),
    "that is a share of the number of layers: strong layers hold more of the energy than weak ones": (
        lambda s, share: math.ceil(share * len(s))
    ),
    "square each strength and then add: the square of a sum is another number": (
        lambda s, share: int((s.cumsum(0).square() < share * s.sum().square()).sum()) + 1
    ),
}


def _why_not_so_many(found: list[float], wanted: list[int], cases: list[tuple[Tensor, float]]) -> str:
    """Where it went wrong first, and the slip that counts the same in every case."""
    first = [one == other for one, other in zip(found, wanted, strict=True)].index(False)
    (sigma, share), yours, truth = cases[first], found[first], wanted[first]
    strengths = ", ".join(f"{s:g}" for s in sigma.tolist())
    said = f"σ = {strengths} and share = {share:g}: yours {yours:g}, wanted {truth}"
    for slip, counted in _SLIPS.items():
        if found == [counted(*case) for case in cases]:
            return f"{said}; {slip}"
    if yours == truth - 1:
        return f"{said}; that many layers hold less than the share"
    return f"{said}; one layer fewer reaches the share already" if yours == truth + 1 else said


def _least(parts: Tensor, share: float) -> int:
    """How many of the parts, from the first on, hold a share of their sum."""
    held = 0.0
    for count, part in enumerate(parts.tolist(), 1):
        held += part
        if held >= share * float(parts.sum()):
            return count
    return len(parts)


def _matrix(height: int, width: int) -> Tensor:
    return torch.randn(height, width, generator=torch.Generator().manual_seed(10 * height + width))


def _with_strengths(sigma: Tensor) -> Tensor:
    """A matrix, one row longer than wide, with these singular values."""
    dice = torch.Generator().manual_seed(len(sigma))
    n = len(sigma)
    u, _ = torch.linalg.qr(torch.randn(n + 1, n, generator=dice, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(n, n, generator=dice, dtype=torch.float64))
    return (u * sigma) @ v.T


def _brief(value: object) -> str:
    several = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"a {type(value).__name__}{several}"
