"""Exercises 01: energy and its shares, a soft rank, an error budget, and an adapter cut without its product."""

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from lora_lab import lowrank
from lora_lab.exercises import quantities, required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task


def _rank_for_error(M: Tensor, error: float) -> int:
    energy = torch.linalg.svdvals(M.double()).square()
    left = (energy.sum() - energy.cumsum(0)).clamp_min(0).sqrt()  # after 1, 2, 3, … directions
    return int((left > error * energy.sum().sqrt()).sum()) + 1


def _recompressed(B: Tensor, A: Tensor, r: int) -> tuple[Tensor, Tensor]:
    Q_B, R_B = torch.linalg.qr(B)
    Q_A, R_A = torch.linalg.qr(A.T)
    core_B, core_A = lowrank.truncated_svd(R_B @ R_A.T, r)
    return Q_B @ core_B, core_A @ Q_A.T


@task(reference=lambda: lowrank.energy_fractions)
def energy_held(energy_held: Any) -> None:
    """The share of the energy in the first 1, 2, 3, … directions, one number for each, up to 1."""
    for height, width in ((2, 3), (7, 4), (5, 9)):
        sigma = torch.rand(min(height, width)).double().mul(3).add(0.3).sort(descending=True).values
        M = 4 * _with_strengths(sigma, height, width)
        with untouched(M=M):
            found = energy_held(M)
        what = f"what you give for a matrix {height} × {width}"
        if isinstance(found, (list, tuple)) and all(_is_number(each) for each in found):
            found = torch.tensor([float(each) for each in found], dtype=torch.float64)
        shares = required.tensor(found, what, sigma.shape)
        energy = (4 * sigma).square()
        total = float(energy.sum())
        wanted = torch.stack([energy[: k + 1].sum() for k in range(len(sigma))]) / total
        if torch.allclose(shares.double(), wanted, atol=1e-5):
            continue
        raise Wrong(_why_shares(shares.double(), 4 * sigma, M), yours=shares, wanted=wanted)


def _why_shares(shares: Tensor, sigma: Tensor, M: Tensor) -> str:
    energy = sigma.square()
    centred = torch.linalg.svdvals(M.double() - M.double().mean()).square()
    slips = {
        "energy is σ²: these are sums of σ": sigma.cumsum(0) / sigma.sum(),
        "each direction stands by itself: add up, so that entry k holds what the first k + 1 hold together":
            energy / energy.sum(),
        "these are energies, not shares: divide by all of it": energy.cumsum(0),
        "you divide by the energy of the strongest direction: divide by the sum of all": energy.cumsum(0) / energy[0],
        "you divide by the sum of σ: the whole energy is the sum of σ²": energy.cumsum(0) / sigma.sum(),
        "you square the sums: square each σ first, then add up": sigma.cumsum(0).square() / sigma.sum().square(),
        "that is what is left over after each direction": 1 - energy.cumsum(0) / energy.sum(),
        "you add up from the weakest direction on: the strongest comes first":
            energy.flip(0).cumsum(0) / energy.sum(),
        "these are per cent: give shares, which end in 1": 100 * energy.cumsum(0) / energy.sum(),
        "these are roots of shares: energy is the square of a length": (energy.cumsum(0) / energy.sum()).sqrt(),
        "you take M's mean away first: that is another matrix": centred.cumsum(0) / centred.sum(),
    }  # fmt: skip
    return required.slip(shares, slips, 1e-4) or "these are not the shares: do they rise, and is the last one 1?"


@task(reference=lambda: lowrank.stable_rank)
def stable_rank(stable_rank: Any) -> None:
    """Σσ² / σ₁²: a number between 1 and the rank, whatever the scale of the matrix."""
    found, wanted, cases = [], [], []
    for height, width, scale in ((6, 4, 1.0), (5, 8, 1.0), (5, 8, 1000.0), (7, 7, 0.01)):
        sigma = torch.rand(min(height, width)).double().add(0.4).sort(descending=True).values
        sigma[0] = 1.6
        sigma[-1] = 0  # so that the rank is no answer, and no number of rows or columns
        M = scale * _with_strengths(sigma, height, width)
        with untouched(M=M):
            number = stable_rank(M)
        found.append(_number(number, f"for a matrix {height} × {width}"))
        wanted.append(float((sigma / sigma[0]).square().sum()))
        cases.append((M.double(), scale * sigma))
    if all(math.isclose(one, other, rel_tol=1e-4) for one, other in zip(found, wanted)):
        return
    first = [math.isclose(one, other, rel_tol=1e-4) for one, other in zip(found, wanted)].index(False)
    for slip, of in _STABLE_SLIPS.items():
        if all(math.isclose(one, of(*case), rel_tol=1e-4) for one, case in zip(found, cases)):
            raise Wrong(f"that is not Σσ² / σ₁²: {slip}", yours=found[first], wanted=wanted[first])
    if first == 2:
        why = "right, until the matrix is 1,000 times as large: is a power or a root missing above or below the bar?"
        raise Wrong(why, yours=found[first], wanted=wanted[first])
    raise Wrong(
        "that is not Σσ² / σ₁²: try the matrix of the example by hand", yours=found[first], wanted=wanted[first]
    )


# What the usual slips give, of a matrix and its strengths.
_STABLE_SLIPS: dict[str, Callable[[Tensor, Tensor], float]] = {
    "M.norm(2) is the Frobenius norm again, as M.norm() is, so you get 1 for every matrix; σ₁ is the first of "
    "torch.linalg.svdvals(M)": lambda M, s: 1.0,
    "these are sums of σ, not of σ²": lambda M, s: float(s.sum() / s[0]),
    "you divide a sum of squares by σ₁ alone: square it too": lambda M, s: float(s.square().sum() / s[0]),
    "that is its root: square both norms": lambda M, s: float(s.square().sum().sqrt() / s[0]),
    "that counts the σ which are not zero: the plain rank, in which a weak direction counts as much as a strong one": (
        lambda M, s: float((s > 1e-9).sum())
    ),
    "that counts all σ, zeros too": lambda M, s: float(len(s)),
    "you divide by the largest entry of M: σ₁ is the strength of the strongest direction": (
        lambda M, s: float(M.square().sum() / M.abs().max().square())
    ),
    "that is upside down, so it is below 1": lambda M, s: float(s[0].square() / s.square().sum()),
    "you square the sum of all σ: square each one first": lambda M, s: float((s.sum() / s[0]).square()),
    "you divide by the weakest σ: the strongest is the first": lambda M, s: float(s.square().sum() / s[-1].square()),
}


@task(reference=lambda: _rank_for_error)
def rank_for_error(rank_for_error: Any) -> None:
    """The fewest directions whose sum is off by at most `error` times the length of M."""
    cases: list[tuple[Tensor, float]] = []
    found = []
    for height, width in ((4, 6), (9, 7), (8, 8)):
        sigma = torch.rand(min(height, width)).double().mul(2).add(0.5).sort(descending=True).values
        sigma[0] += 2
        M = 3 * _with_strengths(sigma, height, width)
        left = [math.sqrt(max(0.0, float(sigma[k:].square().sum() / sigma.square().sum()))) for k in range(len(sigma))]
        for above, below in zip(left, [*left[1:], 0.0]):
            error = below + (0.2 + 0.6 * float(torch.rand(()))) * (above - below)
            with untouched(M=M):
                answer = rank_for_error(M, error)
            found.append(_whole(answer))
            cases.append((3 * sigma, error))
    wanted = [_least_within(*case) for case in cases]
    if found == wanted:
        _require_ends(rank_for_error)
        return
    first = [one == other for one, other in zip(found, wanted)].index(False)
    strengths = ", ".join(f"{s:.2f}" for s in cases[first][0].tolist())
    said = f"with σ = {strengths} and an error of {cases[first][1]:.3f}"
    slips = (slip for slip, of in _ERROR_SLIPS.items() if found == [of(*case) for case in cases])
    why = next(slips, "that many miss too much" if found[first] < wanted[first] else "fewer are near enough")
    raise Wrong(f"{said}: {why}", yours=found[first], wanted=wanted[first])


def _require_ends(rank_for_error: Any) -> None:
    """An error that is met exactly, and one that leaves everything out."""
    M = 2 * torch.eye(4)
    for error, wanted, why in (
        (0.5, 3, "one σ of four is left, and its length is half of all: at most the error, so equal is near enough"),
        (1.0, 1, "the rank is 1 at least, even where nothing need be kept"),
    ):
        found = _whole(rank_for_error(M, error))
        if found != wanted:
            raise Wrong(f"with σ = 2, 2, 2, 2 and an error of {error}: {why}", yours=found, wanted=wanted)


def _least_within(s: Tensor, error: float, power: float = 0.5) -> int:
    """Counted one by one; `power` 1 compares squares."""
    total = float(s.square().sum())
    for r in range(1, len(s) + 1):
        if (float(s[r:].square().sum()) / total) ** power <= error:
            return r
    return len(s)


# What the usual slips count, of the strengths and the error.
_ERROR_SLIPS: dict[str, Callable[[Tensor, float], int]] = {
    "you compare the energy that is left with the error: an error is a length, the root of an energy": (
        lambda s, error: _least_within(s, error, 1.0)
    ),
    "you ask that the strongest r hold 1 − error of Σσ: the error is √(what is left of Σσ²)": (
        lambda s, error: next(r for r in range(1, len(s) + 1) if s[:r].sum() >= (1 - error) * s.sum())
    ),
    "you look at the next σ alone, beside the strongest: that is the error of the spectral norm; here all σ left out "
    "count": lambda s, error: int((s > error * s[0]).sum()),
    "you look at the next σ alone: all σ that are left out count": (
        lambda s, error: int((s > error * s.square().sum().sqrt()).sum())
    ),
    "one direction fewer than needed: what is left *after* r directions begins at σ of r + 1, sigma[r:] in Python": (
        lambda s, error: _least_within(s, error) - 1
    ),
    "one direction more than needed: stop as soon as what is left is small enough": (
        lambda s, error: _least_within(s, error) + 1
    ),
    "you compare with the error itself: it is a share of the length of M; or you begin with the largest r": (
        lambda s, error: next((r for r in range(1, len(s) + 1) if s[r:].square().sum().sqrt() <= error), len(s))
    ),
    "you square twice: what may be left of the energy is error²": lambda s, error: _least_within(s, error**2),
    "you count from the weakest direction: the strongest are kept": (
        lambda s, error: _least_within(s.flip(0), error)
    ),
}  # fmt: skip


@task(reference=lambda: _recompressed)
def recompressed(recompressed: Any) -> None:
    """Of two thin factors of rank R the best two of rank r."""
    for d_out, d_in, R, r in ((4, 4, 3, 1), (9, 7, 4, 2), (30, 50, 6, 3), (8, 11, 3, 3)):
        B, A = torch.randn(d_out, R), torch.randn(R, d_in)
        order = (B.norm(dim=0) * A.norm(dim=1)).argsort()  # the longest last, so that the first r are not the longest
        B, A = B[:, order], A[order]
        with untouched(B=B, A=A):
            found = recompressed(B, A, r)
        thin = required.several(found, 2, "two factors, B then A")
        what = f"for B {[d_out, R]}, A {[R, d_in]} and r = {r}"
        if [list(each.shape) for each in thin if isinstance(each, Tensor)] == [[r, d_in], [d_out, r]]:
            raise Wrong(f"{what} the factors are exchanged: return B first, [d_out, r]")
        new_B = required.tensor(thin[0], f"your B, {what},", (d_out, r)).double()
        new_A = required.tensor(thin[1], f"your A, {what},", (r, d_in)).double()
        M = B.double() @ A.double()
        best = _cut(M, r)
        missed, least = (float((M - each).norm() / M.norm()) for each in (new_B @ new_A, best))
        if missed <= least * (1 + 1e-3) + 1e-4:
            continue
        raise Wrong(_why_not_best(new_B @ new_A, B.double(), A.double(), r),
                    yours=f"an error of {missed:.1%} of the length of B A", wanted=f"{least:.1%}")  # fmt: skip


def _why_not_best(product: Tensor, B: Tensor, A: Tensor, r: int) -> str:
    M = B @ A
    u, s, vh = torch.linalg.svd(M, full_matrices=False)
    lengths = (B.norm(dim=0) * A.norm(dim=1)).argsort(descending=True)[:r]
    slips = {
        "these are the first r columns of B and rows of A: nobody sorted them by strength": B[:, :r] @ A[:r],
        "these are the r columns of B and rows of A with the largest product of lengths: the strongest directions "
        "are mixtures of them": B[:, lengths] @ A[lengths],
        "you cut B alone, and A is as strong a part of the product": _cut(B, r) @ A,
        "you cut A alone, and B is as strong a part of the product": B @ _cut(A, r),
        "you cut B and A each by itself: the strongest directions are those of the product": _cut(B, r) @ _cut(A, r),
        "σ is missing: u and vh have length 1": u[:, :r] @ vh[:r],
        "σ is in both factors, so it counts twice": (u[:, :r] * s[:r].square()) @ vh[:r],
        "√σ is in one of the factors only": (u[:, :r] * s[:r].sqrt()) @ vh[:r],
        "these are the weakest directions of the product": (u[:, -r:] * s[-r:]) @ vh[-r:],
    }
    general = (
        "is every orthonormal factor put back, Q_B on the left and Q_A.T on the right? Is R_A transposed, "
        "and are rows of vh kept, vh[:r]?"
    )
    return f"these are not the strongest r directions of B A: {required.slip(product, slips) or general}"


def _cut(M: Tensor, r: int) -> Tensor:
    u, s, vh = torch.linalg.svd(M, full_matrices=False)
    return (u[:, :r] * s[:r]) @ vh[:r]


def _with_strengths(sigma: Tensor, height: int, width: int) -> Tensor:
    """A matrix [height, width] of float32 with these singular values, one for each row or column."""
    n = len(sigma)
    left, _ = torch.linalg.qr(torch.randn(height, n, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(width, n, dtype=torch.float64))
    return ((left * sigma) @ right.T).float()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, Tensor) and value.numel() == 1)


def _number(found: Any, where: str) -> float:
    """A plain number, or a tensor of one."""
    if isinstance(found, Tensor) and found.numel() == 1:
        found = found.detach().double().item()
    return quantities.number(found, where)


def _whole(found: Any) -> int:
    if isinstance(found, Tensor) and found.numel() == 1 and not found.is_floating_point():
        found = found.item()
    if isinstance(found, bool) or not isinstance(found, Integral):
        number = quantities.number(found, "for a rank")
        raise Wrong(f"yours gives {number:.4g}, wanted a whole number of directions: an int")
    return int(found)
