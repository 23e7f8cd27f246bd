"""The levels of the 4-bit and 8-bit formats, each table made from its definition.

A codebook is a list of levels for weights that have been divided by the largest magnitude of their block,
so that they lie in [-1, 1]. A value is stored as the index of its nearest level.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lora_lab import ranges

EXACTLY: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # whatever torch's defaults have been set to


@dataclass(frozen=True, eq=False)
class Codebook:
    """Levels in ascending order.

    Attributes:
        name: how errors and reports call it.
        values: float32 [levels], ascending; 2 to 256 of them.
        asymmetric: the levels span the range of a block, not its largest magnitude (see `lora_lab.quant.blockwise`).
        midpoints: float32 [levels - 1], derived: between neighbours i and i + 1 lies midpoint i. A value takes
            level i + 1 only above it, so a value on the midpoint takes the lower level.

    Raises:
        TypeError: for a name that is no string, levels that are no tensor, or an `asymmetric` that is no truth value.
        ValueError: for levels that are not ascending, not finite, not float32, or too many for a byte.
    """

    name: str
    values: Tensor
    asymmetric: bool = False
    midpoints: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = self.values
        if not isinstance(self.name, str) or not isinstance(self.asymmetric, bool):
            raise TypeError(f"Codebook({self.name!r}, …, {self.asymmetric!r}): a string, levels, True or False")
        if not isinstance(values, Tensor):
            raise TypeError(f"codebook {self.name!r} needs a tensor of levels, got a {type(values).__name__}")
        if values.dtype != torch.float32 or values.ndim != 1 or not 2 <= len(values) <= 256 or not values.is_cpu:
            raise ValueError(
                f"codebook {self.name!r} needs 2 to 256 float32 levels on the CPU, "
                f"got {values.dtype} of shape {tuple(values.shape)} on {values.device}"
            )
        if not torch.isfinite(values).all() or (values.diff() < 0).any():
            raise ValueError(f"the levels of codebook {self.name!r} must be finite and ascending")
        values = values.detach().clone()  # the midpoints belong to the levels, which must not change under them
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "midpoints", (values[1:] + values[:-1]) / 2)

    def __len__(self) -> int:
        return len(self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Codebook) and (self is other or self._key() == other._key())

    def __hash__(self) -> int:
        return hash(self.name)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Codebook":
        return self  # it is never changed, so the copies of a layer may share it

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, self._key()  # as numbers: a tensor would follow torch.load's map_location

    def _key(self) -> tuple[str, list[float], bool]:
        return self.name, self.values.tolist(), self.asymmetric

    @property
    def label(self) -> str:
        """What tells it from any other: the name, and unless this package has these levels by that name, their hash."""
        if _BY_NAME.get(self.name.upper()) == self:
            return self.name
        levels = (self.values + 0.0).numpy().tobytes()  # without -0, which is equal to 0
        return f"{self.name} (levels {hashlib.sha256(levels).hexdigest()[:16]})"

    def encode(self, scaled: Tensor) -> Tensor:
        """Index of the nearest level, uint8, same shape; `scaled` is float32. By bisection: O(log levels) a value."""
        return torch.bucketize(scaled, self.midpoints.to(scaled.device)).to(torch.uint8)

    def decode(self, codes: Tensor) -> Tensor:
        """Level of each index, float32, same shape."""
        return self.values.to(codes.device)[codes.int()]


def _unpickled(name: str, values: list[float], asymmetric: bool) -> Codebook:
    return Codebook(name, torch.tensor(values, **EXACTLY), asymmetric)


def _codebook(name: str, values: Iterable[float]) -> Codebook:
    return Codebook(name, torch.tensor(sorted(values), **EXACTLY))


def normal_float(bits: int = 4) -> Codebook:
    """NF-k: levels at evenly spaced quantiles of the normal distribution, so that they stand where weights are.

    One level is exactly zero, 2^(k-1) lie above it and 2^(k-1) - 1 below. The two halves are spaced separately and
    share the zero, which is how a symmetric distribution gets an even number of levels and an exact zero:

        qᵢ = Φ⁻¹(pᵢ) / Φ⁻¹(p_max),   pᵢ evenly spaced from ½ to p_max on each side,
        p_max = ½ [(1 - 1/(2·15)) + (1 - 1/(2·16))]        for k = 4

    Φ⁻¹(1) is infinite, so p_max stays below 1. bitsandbytes writes 0.9677083; the mean of the outermost bin centres of
    a grid with 15 and one with 16 bins gives these seven digits. The published table comes out bit for bit only if
    p_max is rounded to seven decimals, the probabilities to float32, the quantile is taken in float64 and rounded to
    float32 before it is divided. Any other order differs in the last bits of up to 12 levels.

    Args:
        bits: 2 to 8.

    Raises:
        TypeError: for bits that are not an integer.
        ValueError: for other numbers of bits.

    Source: bitsandbytes, `functional.create_normal_map`, which makes the published table, and Yoshida, "NF4 Isn't
    Information Theoretically Optimal (and that's Good)", arXiv 2306.06965, who writes it down. Equation 4 of "QLoRA"
    (Dettmers et al., arXiv 2305.14314) is not the recipe of the table in its appendix E.
    """
    bits = ranges.whole("bits", bits, 2, 8)
    half = 2 ** (bits - 1)
    p_max = round(((1 - 1 / (2 * (2 * half - 1))) + (1 - 1 / (2 * (2 * half)))) / 2, 7)

    def quantiles(count: int) -> Tensor:
        probabilities = torch.linspace(p_max, 0.5, count + 1, **EXACTLY)[:-1]
        return torch.special.ndtri(probabilities.double()).float()

    above, below = quantiles(half), -quantiles(half - 1)
    levels = torch.cat([below, torch.zeros(1, **EXACTLY), above]).sort().values
    return Codebook(f"NF{bits}", levels / levels.max())


def _e2m1() -> list[float]:
    """1 sign, 2 exponent and 1 mantissa bit: 0 and ½ are subnormal, then (1 + m/2)·2^(e-1)."""
    magnitudes = [0.0, 0.5] + [(1 + m / 2) * 2.0 ** (e - 1) for e in (1, 2, 3) for m in (0, 1)]
    return [sign * magnitude / 6 for magnitude in magnitudes for sign in (-1, 1)]


def _bitsandbytes_fp4() -> list[float]:
    """As E2M1, but with a tiny subnormal, 1/192, in place of 1/12, and the top levels 1, ⅔, ½, ⅓, ¼, ⅙."""
    magnitudes = [0.0, 1 / 192, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 1.0]
    return [sign * magnitude for magnitude in magnitudes for sign in (-1, 1)]


def _e3m0() -> list[float]:
    """1 sign and 3 exponent bits, no mantissa: zero, and the powers of two from 1/64 to 1."""
    magnitudes = [0.0] + [2.0 ** (e - 7) for e in range(1, 8)]
    return [sign * magnitude for magnitude in magnitudes for sign in (-1, 1)]


NF4 = normal_float(4)
"""NormalFloat of four bits: each level stands for an equal share of a normal distribution, and 0 is exact."""

FP4_E2M1 = _codebook("FP4_E2M1", _e2m1())
"""OCP Microscaling's FP4 (MX specification v1.0, 2023), divided by its largest value, 6."""

FP4_BNB = _codebook("FP4_BNB", _bitsandbytes_fp4())
"""The table that bitsandbytes calls "fp4"; not OCP's E2M1."""

FP4_E3M0 = _codebook("FP4_E3M0", _e3m0())
"""The logarithmic format: three exponent bits and nothing else."""

INT4 = _codebook("INT4", (i / 7 for i in range(-8, 8)))
"""Symmetric integers -8 … 7, scaled so that 7 is the block's largest magnitude; -8 is never used, as in practice."""

INT8 = _codebook("INT8", (i / 127 for i in range(-127, 128)))
"""Symmetric integers -127 … 127; 127 is the block's largest magnitude."""


def asymmetric_integers(bits: int) -> Codebook:
    """2^bits evenly spaced levels from the smallest value of the block to its largest.

    All of them are used however lopsided the block, at the cost of a second constant and of an exact zero.

    Args:
        bits: 2 to 8.

    Raises:
        TypeError: for bits that are not an integer.
        ValueError: for other numbers of bits.
    """
    bits = ranges.whole("bits", bits, 2, 8)
    steps = 2**bits - 1
    levels = torch.tensor([2 * i / steps - 1 for i in range(steps + 1)], **EXACTLY)
    return Codebook(f"INT{bits}_ASYMMETRIC", levels, asymmetric=True)


INT4_ASYMMETRIC = asymmetric_integers(4)
"""Sixteen evenly spaced levels from the block's smallest value to its largest."""

INT8_ASYMMETRIC = asymmetric_integers(8)
"""256 evenly spaced levels from the block's smallest value to its largest."""


def _e4m3() -> list[float]:
    """1 sign, 4 exponent and 3 mantissa bits, bias 7: m/8·2^-6 below 2^-6, then (1 + m/8)·2^(e-7), up to 448."""
    subnormal = [m / 8 * 2.0**-6 for m in range(8)]
    normal = [(1 + m / 8) * 2.0 ** (e - 7) for e in range(1, 16) for m in range(8)]
    magnitudes = [*subnormal, *normal[:-1]]  # the last code is NaN
    return [0.0] + [sign * magnitude / 448 for magnitude in magnitudes if magnitude for sign in (-1, 1)]


FP8_E4M3 = _codebook("FP8_E4M3", _e4m3())
"""The E4M3 of NVIDIA, Arm and Intel (Micikevicius et al., arXiv 2209.05433), over its largest value; 253 levels."""


def dynamic_map() -> Codebook:
    """The signed 8-bit "dynamic" data type: a unary exponent, and what bits are left are a linear fraction.

    For each power of ten 10^-6 … 10^0 the interval [0.1, 1] is cut into 1, 2, 4, … 64 cells, and the cells' centres
    times the power are levels, with both signs; 0 and 1 complete the 256. Small values keep a small relative error.

    Source: Dettmers et al., "8-bit Optimizers via Block-wise Quantization", arXiv 2110.02861, section 1.3.
    """
    levels = [0.0, 1.0]
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1, **EXACTLY)
        centres = 10.0 ** (i - 6) * ((edges[:-1] + edges[1:]) / 2)  # in float32, like the published map
        levels += [*centres.tolist(), *(-centres).tolist()]
    return _codebook("dynamic8", levels)


DYNAMIC8 = dynamic_map()
"""What bitsandbytes' 8-bit optimizers keep their states in, and its double quantization the constants."""

CODEBOOKS = {book.name: book for book in (NF4, FP4_E2M1, FP4_BNB, FP4_E3M0, INT4)}
"""Those that a 4-bit weight can be stored in."""

_ALL = (*CODEBOOKS.values(), INT4_ASYMMETRIC, INT8, INT8_ASYMMETRIC, FP8_E4M3, DYNAMIC8)
_BY_NAME = {book.name.upper(): book for book in _ALL}


def get_codebook(name: str) -> Codebook:
    """One of this package's codebooks by its name, "NF4" or "int8_asymmetric"; capitals do not matter.

    Raises:
        TypeError: for a name that is no string.
        ValueError: for an unknown name; it lists near ones, or all.
    """
    if not isinstance(name, str):
        raise TypeError(f"a codebook's name is a string such as 'NF4', not {name!r}")
    if name.upper() not in _BY_NAME:
        near = ranges.near(name.upper(), _BY_NAME, 5, cutoff=0.5) or list(_BY_NAME)
        raise ValueError(f"unknown codebook {name!r}: choose one of {', '.join(near)}")
    return _BY_NAME[name.upper()]
