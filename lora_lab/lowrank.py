"""How much of a matrix a few directions hold: truncated SVD, energy, and two soft notions of rank.

A weight W [d_out, d_in] has singular values σ₁ ≥ σ₂ ≥ … ≥ 0. Its *energy* is Σ σᵢ² = ‖W‖²_F.
All factorisations are computed in float64, so the answers do not depend on the dtype of the input, nor on its scale:
shares and ranks are of σ / σ₁, whose squares neither overflow nor vanish.

A weight is a dense matrix of any floating or integer dtype, with values; everything else is a TypeError or ValueError.
"""

import math
from typing import Any

import torch
from torch import Tensor

from lora_lab import ranges


def singular_values(weight: Tensor) -> Tensor:
    """Singular values, descending, float64 [min(d_out, d_in)].

    Raises:
        TypeError: if `weight` is not a dense tensor of real numbers.
        ValueError: if it is not a matrix, is empty, has no values, or holds one that is not finite.
    """
    return torch.linalg.svdvals(_matrix(weight))


def truncated_svd(weight: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """The best approximation of rank `r`: weight ≈ B @ A.

    No matrix of rank r is closer in the Frobenius or the spectral norm; what is left over has the energy
    σ²ᵣ₊₁ + σ²ᵣ₊₂ + … The singular values are shared evenly: B = U √S and A = √S Vᵀ.

    Args:
        weight: [d_out, d_in], any real dtype.
        r: rank, from 1 to min(d_out, d_in).

    Returns:
        B [d_out, r] and A [r, d_in], in the dtype of `weight`, or, for integers, in torch's default dtype.

    Raises:
        TypeError: for a rank that is not an integer, or a weight that is not a dense tensor of real numbers.
        ValueError: for a rank out of range or a weight that is not a finite matrix.

    Source: Eckart and Young, "The approximation of one matrix by another of lower rank", Psychometrika 1936.
    """
    matrix = _matrix(weight)
    r = ranges.whole("r", r, 1, min(matrix.shape))
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:r].sqrt()
    dtype = weight.dtype if weight.is_floating_point() else torch.get_default_dtype()
    return (u[:, :r] * root).to(dtype), (root[:, None] * vh[:r]).to(dtype)


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
        TypeError: for an r that is not an integer, or a dtype that is not floating.
        ValueError: for an odd r, or one below 2.
    """
    r = ranges.whole("r", r, 2)
    if not dtype.is_floating_point:
        raise TypeError(f"{dtype} cannot hold random factors: choose a floating dtype")
    if r % 2:
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
    energy = _relative(weight, "a zero matrix has no energy to share").square().cumsum(0)
    return energy / energy[-1]


def rank_for_energy(weight: Tensor, energy: float = 0.9) -> int:
    """The smallest rank whose best approximation keeps at least `energy` of Σ σ².

    Args:
        weight: [d_out, d_in].
        energy: a share, above 0 and at most 1.

    Raises:
        TypeError: for a share that is not a number.
        ValueError: for a share out of range or a zero matrix.
    """
    energy = ranges.real("energy", energy, above=0, most=1)
    fractions = energy_fractions(weight)
    return int((fractions < energy).sum().clamp(max=len(fractions) - 1)) + 1


def stable_rank(weight: Tensor) -> float:
    """‖W‖²_F / ‖W‖²₂ = Σ σᵢ² / σ₁²: how many directions as strong as the strongest would hold the same energy.

    Never above the rank, and barely moved by small noise, unlike the rank.

    Source: Rudelson and Vershynin, "Sampling from large matrices", 2007 (there: numerical rank).
    """
    return float(_relative(weight, "the stable rank of a zero matrix is not defined").square().sum())


def effective_rank(weight: Tensor) -> float:
    """exp(H(p)) with p = σ / Σ σ: the number of equal directions with the same entropy H.

    Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """
    s = _relative(weight, "the effective rank of a zero matrix is not defined")
    p = s / s.sum()
    return math.exp(float(torch.special.entr(p).sum()))


def _relative(weight: Tensor, undefined: str) -> Tensor:
    """σ / σ₁, float64; ValueError, with `undefined` as its reason, for a zero matrix."""
    s = singular_values(weight)
    if s[0] == 0:
        raise ValueError(f"{undefined}: give a weight with a value that is not zero")
    return s / s[0]


def _matrix(weight: Any) -> Tensor:
    if not isinstance(weight, Tensor):
        raise TypeError(f"expected a matrix as a tensor, got a {type(weight).__name__}: torch.as_tensor makes one")
    if weight.is_complex() or weight.is_quantized or weight.layout != torch.strided:
        raise TypeError(f"cannot factorise {weight.dtype} of layout {weight.layout}: give dense real numbers")
    if weight.ndim != 2 or weight.numel() == 0:
        raise ValueError(f"expected a matrix [d_out, d_in], got shape {tuple(weight.shape)}")
    if weight.is_meta:
        raise ValueError("the weight is on the meta device and has no values: load it before factorising it")
    matrix = weight.detach().to(torch.float64)
    if not torch.isfinite(matrix).all():
        raise ValueError("the weight holds NaN or infinity: repair it before factorising it")
    if math.isinf(float(matrix.abs().max()) * math.sqrt(matrix.numel())):
        raise ValueError("the weight's energy is beyond float64: divide it by its largest magnitude first")
    return matrix
