"""How much of a matrix a few directions hold: truncated SVD, energy, and two soft notions of rank.

A weight W [d_out, d_in] has singular values σ₁ ≥ σ₂ ≥ … ≥ 0. Its *energy* is Σ σᵢ² = ‖W‖²_F.
All factorisations are computed in float64, so the answers do not depend on the dtype of the input.
"""

import math

import torch
from torch import Tensor


def singular_values(weight: Tensor) -> Tensor:
    """Singular values, descending, float64 [min(d_out, d_in)].

    Raises:
        ValueError: if `weight` is not a matrix, is empty, or holds a value that is not finite.
    """
    return torch.linalg.svdvals(_matrix(weight))


def truncated_svd(weight: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """The best approximation of rank `r`: weight ≈ B @ A.

    No matrix of rank r is closer in the Frobenius or the spectral norm; what is left over has the energy
    σ²ᵣ₊₁ + σ²ᵣ₊₂ + … The singular values are shared evenly: B = U √S and A = √S Vᵀ.

    Args:
        weight: [d_out, d_in], any floating dtype.
        r: rank, from 1 to min(d_out, d_in).

    Returns:
        B [d_out, r] and A [r, d_in], in the dtype of `weight`.

    Raises:
        ValueError: for a rank out of range or a weight that is not a finite matrix.

    Source: Eckart and Young, "The approximation of one matrix by another of lower rank", Psychometrika 1936.
    """
    matrix = _matrix(weight)
    if not 1 <= r <= min(matrix.shape):
        raise ValueError(
            f"rank {r} does not fit a matrix of shape {tuple(matrix.shape)}: choose r from 1 to {min(matrix.shape)}"
        )
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:r].sqrt()
    return (u[:, :r] * root).to(weight.dtype), (root[:, None] * vh[:r]).to(weight.dtype)


def zero_product(
    d_out: int, d_in: int, r: int, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> tuple[Tensor, Tensor]:
    """Two random factors, neither of them zero, with B @ A = 0 exactly, in every dtype.

    The first half of the r directions between them has random rows in A and zero columns in B, the second half the
    other way round, so in each term of the product one side is zero.

    Args:
        d_out: rows of B.
        d_in: columns of A.
        r: the size they share, an even number.
        dtype, device: of the factors.

    Returns:
        B [d_out, r] and A [r, d_in]; what is not zero is standard normal.

    Raises:
        ValueError: for an odd r, or one below 2.
    """
    if r < 2 or r % 2:
        raise ValueError(f"r={r} cannot be split evenly between A and B: choose an even number, 2 at least")
    A, B = (torch.zeros(shape, dtype=dtype, device=device) for shape in ((r, d_in), (d_out, r)))
    A[: r // 2].normal_()
    B[:, r // 2 :].normal_()
    return B, A


def energy_fractions(weight: Tensor) -> Tensor:
    """The share of the energy that the first 1, 2, 3, … directions hold; float64 [min(d_out, d_in)], ending in 1.

    Raises:
        ValueError: for a zero matrix, which has no energy to share.
    """
    energy = singular_values(weight).square().cumsum(0)
    if energy[-1] == 0:
        raise ValueError("a zero matrix has no energy to share: give a weight with a value that is not zero")
    return energy / energy[-1]


def rank_for_energy(weight: Tensor, energy: float = 0.9) -> int:
    """The smallest rank whose best approximation keeps at least `energy` of Σ σ².

    Args:
        weight: [d_out, d_in].
        energy: a share, above 0 and at most 1.

    Raises:
        ValueError: for a share out of range or a zero matrix.
    """
    if not 0 < energy <= 1:
        raise ValueError(f"energy {energy} is not a share: choose a number above 0 and at most 1")
    fractions = energy_fractions(weight)
    return int((fractions < energy).sum().clamp(max=len(fractions) - 1)) + 1


def stable_rank(weight: Tensor) -> float:
    """‖W‖²_F / ‖W‖²₂ = Σ σᵢ² / σ₁²: how many directions as strong as the strongest would hold the same energy.

    Never above the rank, and barely moved by small noise, unlike the rank.

    Source: Rudelson and Vershynin, "Sampling from large matrices", 2007 (there: numerical rank).
    """
    energy = singular_values(weight).square()
    if energy[0] == 0:
        raise ValueError("the stable rank of a zero matrix is not defined: give a weight with a value that is not zero")
    return float(energy.sum() / energy[0])


def effective_rank(weight: Tensor) -> float:
    """exp(H(p)) with p = σ / Σ σ: the number of equal directions with the same entropy H.

    Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """
    s = singular_values(weight)
    if s[0] == 0:
        raise ValueError(
            "the effective rank of a zero matrix is not defined: give a weight with a value that is not zero"
        )
    p = s / s.sum()
    return math.exp(float(torch.special.entr(p).sum()))


def _matrix(weight: Tensor) -> Tensor:
    if weight.ndim != 2 or weight.numel() == 0:
        raise ValueError(f"expected a matrix [d_out, d_in], got shape {tuple(weight.shape)}")
    if not torch.isfinite(weight).all():
        raise ValueError("the weight holds NaN or infinity: repair it before factorising it")
    return weight.detach().to(torch.float64)
