"""Exercise 10: the relative error of a weight in blocks, and the errors that usual slips give in its place."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Error = Callable[[Tensor, Tensor, int], float]  # of a weight, levels and a block size
Pairs = list[tuple[Tensor, Tensor]]


def relative_error(weight: Tensor, levels: Tensor, size: int) -> float:
    """√(Σ (ŵ − w)² / Σ w²), block after block, in float64, by the distance to every level."""
    return _root(_pairs(weight, levels, size))


def _nearest(part: Tensor, levels: Tensor) -> Tensor:
    return levels[(part[:, None] - levels).abs().argmin(dim=1)]


def _most(block: Tensor) -> Tensor:
    return block.abs().max()


def _pairs(
    weight: Tensor, levels: Tensor, size: int,
    most: Callable[[Tensor], Tensor] = _most, put: Callable[[Tensor, Tensor], Tensor] = _nearest, multiply: bool = True,
) -> Pairs:  # fmt: skip
    """Each block, and what is restored of it."""
    pairs = []
    for block in weight.double().flatten().split(size):
        largest = most(block)
        back = put(block / largest, levels.double()) * (largest if multiply else 1) if largest > 0 else block
        pairs.append((block, back))
    return pairs


def _missed(pairs: Pairs) -> float:
    return sum(float((back - block).square().sum()) for block, back in pairs)


def _length(pairs: Pairs) -> float:
    return sum(float(block.square().sum()) for block, _ in pairs)


def _root(pairs: Pairs) -> float:
    return math.sqrt(_missed(pairs) / _length(pairs)) if pairs else math.nan


def _squared(weight: Tensor, levels: Tensor, size: int) -> float:
    return relative_error(weight, levels, size) ** 2


def _nan_by_zeros(weight: Tensor, levels: Tensor, size: int) -> float:
    has_zeros = any(not block.any() for block in weight.flatten().split(size))
    return math.nan if has_zeros else relative_error(weight, levels, size)


def _signed(weight: Tensor, levels: Tensor, size: int) -> float:
    return _root(_pairs(weight, levels, size, most=lambda block: block.max()))


def _not_multiplied(weight: Tensor, levels: Tensor, size: int) -> float:
    return _root(_pairs(weight, levels, size, multiply=False))


def _one_up(weight: Tensor, levels: Tensor, size: int) -> float:
    def above(part: Tensor, levels: Tensor) -> Tensor:
        return levels[torch.bucketize(part, levels).clamp(max=len(levels) - 1)]

    return _root(_pairs(weight, levels, size, put=above))


def _evenly_spaced(weight: Tensor, levels: Tensor, size: int) -> float:
    def by_step(part: Tensor, levels: Tensor) -> Tensor:
        return levels[((part + 1) / 2 * (len(levels) - 1)).round().long()]

    return _root(_pairs(weight, levels, size, put=by_step))


def _even_levels(weight: Tensor, levels: Tensor, size: int) -> float:
    return relative_error(weight, torch.linspace(-1, 1, len(levels)), size)


def _one_for_all(weight: Tensor, levels: Tensor, size: int) -> float:
    return _root(_pairs(weight, levels, size, most=lambda _: _most(weight.double())))


def _full(weight: Tensor, levels: Tensor, size: int) -> Pairs:
    return [pair for pair in _pairs(weight, levels, size) if len(pair[0]) == size]


def _dropped(weight: Tensor, levels: Tensor, size: int) -> float:
    return _root(_full(weight, levels, size))


def _dropped_of_all(weight: Tensor, levels: Tensor, size: int) -> float:
    return math.sqrt(_missed(_full(weight, levels, size)) / float(weight.double().square().sum()))


def _mean_of_blocks(weight: Tensor, levels: Tensor, size: int) -> float:
    own = [_root([pair]) for pair in _pairs(weight, levels, size) if pair[0].any()]
    return sum(own) / len(own)


def _mean_of_all_blocks(weight: Tensor, levels: Tensor, size: int) -> float:
    pairs = _pairs(weight, levels, size)
    return sum(_root([pair]) for pair in pairs if pair[0].any()) / len(pairs)


def _joined(weight: Tensor, levels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    pairs = _pairs(weight, levels, size)
    return torch.cat([block for block, _ in pairs]), torch.cat([back for _, back in pairs])


def _mean_of_quotients(weight: Tensor, levels: Tensor, size: int) -> float:
    whole, back = _joined(weight, levels, size)
    return float(((back - whole) / whole)[whole != 0].abs().mean())


def _mean_of_quotients_with_zeros(weight: Tensor, levels: Tensor, size: int) -> float:
    whole, back = _joined(weight, levels, size)
    return float(((back - whole) / whole).nan_to_num().abs().mean())


def _magnitudes(weight: Tensor, levels: Tensor, size: int) -> float:
    whole, back = _joined(weight, levels, size)
    return float((back - whole).abs().sum() / whole.abs().sum())


def _largest_of_all(weight: Tensor, levels: Tensor, size: int) -> float:
    whole, back = _joined(weight, levels, size)
    return float((back - whole).abs().max() / whole.abs().max())


def _not_divided(weight: Tensor, levels: Tensor, size: int) -> float:
    return math.sqrt(_missed(_pairs(weight, levels, size)))


def _by_numbers(weight: Tensor, levels: Tensor, size: int) -> float:
    return math.sqrt(_missed(_pairs(weight, levels, size)) / weight.numel())


_SHORT = "the last block may be short, and its errors count as all others"
_SUMS = "sums go over the whole weight, and are divided once: yours is a mean of the blocks' own errors"
_QUOTIENTS = "squares are summed up before anything is divided: yours divides number by number"
_EVEN = "the levels are those that are given, and need not be evenly spaced"
_NOT_DIVIDED = "the error is relative: Σ (ŵ − w)² is divided by Σ w²"

SLIPS: dict[Error, str] = {
    _squared: "that is the error without its root: the error is a root, so take the root of the quotient",
    _nan_by_zeros: "0 / 0 in a block of zeros is NaN, and a NaN is within no limit",
    _signed: "the absmax is a largest *magnitude*: is a large negative weight cut off in yours?",
    _not_multiplied: "a level is still to be multiplied by the absmax of its block",
    _one_up: "put each weight on the *nearest* level: bucketize wants the midpoints between levels",
    _one_for_all: "each block has an absmax of its own",
    _dropped: _SHORT,
    _dropped_of_all: _SHORT,
    _mean_of_blocks: _SUMS,
    _mean_of_all_blocks: _SUMS,
    _mean_of_quotients: _QUOTIENTS,
    _mean_of_quotients_with_zeros: _QUOTIENTS,
    _magnitudes: "the sums are of squares, and not of magnitudes",
    _largest_of_all: "the error is of all weights together, and not of the worst one",
    _evenly_spaced: _EVEN,
    _even_levels: _EVEN,
    _not_divided: _NOT_DIVIDED,
    _by_numbers: _NOT_DIVIDED,
}
