"""Exercise 08: a product by 8-bit codes in which features with an outlier stay in floats."""

import random
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task


def _mixed_product(x: Tensor, weight: Tensor, threshold: float) -> Tensor:
    far = (x.abs() >= threshold).any(dim=0)
    exact = x[:, far] @ weight[:, far].T
    near, own = x[:, ~far], weight[:, ~far]
    sx = near.abs().amax(dim=1, keepdim=True) / 127
    sw = own.abs().amax(dim=1, keepdim=True) / 127
    return exact + ((near / sx).round() @ (own / sw).round().T) * sx * sw.T


@task(reference=lambda: _mixed_product)
def mixed_product(mixed_product: Any) -> None:
    """x Wᵀ: features with an outlier in floats, all others by int8 codes with a scale for each row of x and of W."""
    for tokens, d_in, d_out, count in ((4, 24, 6, 2), (7, 33, 5, 3), (3, 16, 4, 0)):
        x, weight, far = _features(tokens, d_in, d_out, count)
        with untouched(x=x, weight=weight):
            found = mixed_product(x, weight, 6.0)
        where = f"for {tokens} tokens, {d_in} features, {count} of them with an outlier"
        found = required.tensor(found, f"your product {where}", [tokens, d_out]).double()
        wanted = _by_rows(x.double(), weight.double(), 6.0)
        if not torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max())):
            why = _mixed_slip(found, wanted, x.double(), weight.double(), far)
            raise Wrong(f"your product is off {where}{why}", found[:2, :4].float(), wanted[:2, :4].float())


def _features(tokens: int, d_in: int, d_out: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of different size, and features in which one token has an outlier; no quotient is close to a half.

    W has a magnitude above the threshold in a feature in which x has none.
    """
    while True:
        x = torch.randn(tokens, d_in).clamp(-3, 3) * torch.linspace(1, 1.9, tokens)[:, None]
        weight = torch.randn(d_out, d_in) * torch.linspace(1, 4, d_out)[:, None]
        far = torch.randperm(d_in)[:count]
        for feature, value in zip(far, (-8.0, 6.0, 40.0)):
            x[int(torch.randint(tokens, ())), feature] = value
        near = torch.ones(d_in, dtype=torch.bool)
        near[far] = False
        weight[-1, int(near.nonzero()[0])] = random.choice((-9.0, 9.0))
        own = torch.cat([x[:, near], weight[:, near]])
        scaled = own / own.abs().amax(dim=1, keepdim=True) * 127
        if ((scaled - scaled.floor() - 0.5).abs() > 1e-4).all():
            return x, weight, far


def _by_rows(x: Tensor, weight: Tensor, threshold: float) -> Tensor:
    """Number by number."""
    far = [bool((column.abs() >= threshold).any()) for column in x.T]
    keep = torch.tensor([not each for each in far])

    def codes_of(row: Tensor) -> tuple[Tensor, float]:
        scale = float(row[keep].abs().max()) / 127
        return (row / scale).round() * keep, scale

    out = torch.zeros(len(x), len(weight), dtype=torch.float64)
    for i, row in enumerate(x):
        for o, other in enumerate(weight):
            (a, sa), (b, sb) = codes_of(row), codes_of(other)
            out[i, o] = (a * b).sum() * sa * sb + (row * other)[~keep].sum()
    return out


def _mixed_slip(found: Tensor, wanted: Tensor, x: Tensor, weight: Tensor, far: Tensor) -> str:
    near = torch.ones(x.shape[1], dtype=torch.bool)
    near[far] = False
    exact = x[:, ~near] @ weight[:, ~near].T

    def rounded(a: Tensor, b: Tensor, dims: tuple[int | None, int | None]) -> Tensor:
        scales = [
            each.abs().max() if dim is None else each.abs().amax(dim, keepdim=True) for each, dim in zip((a, b), dims)
        ]
        a, b = ((each / s * 127).round() / 127 * s for each, s in zip((a, b), scales))
        return a @ b.T

    def with_scales(of_x: Tensor, of_w: Tensor) -> Tensor:
        found = (own[0] / of_x * 127).round() @ (own[1] / of_w * 127).round().T
        return exact + found * of_x * of_w.T / 127**2

    own = x[:, near], weight[:, near]
    own_x, own_w = (each.abs().amax(1, keepdim=True) for each in own)
    all_x, all_w = (each.abs().amax(1, keepdim=True) for each in (x, weight))
    codes_alone = (own[0] / own_x * 127).round() @ (own[1] / own_w * 127).round().T
    scale = own_x * own_w.T / 127
    quotients = [(each.float() / (each.float().abs().amax(1, keepdim=True) / 127)).double() for each in own]
    (cut, cut_w), (down, down_w) = ([each.trunc() for each in quotients], [each.floor() for each in quotients])
    wrapped = (codes_alone + 128) % 256 - 128
    alone = "take the outliers' features out first: the largest magnitude of a row must be without them"
    slips = [
        (rounded(*own, (1, 1)), "the features with an outlier are missing: their product in floats is added"),
        (exact, "only the outliers' features are there: the others come from their codes"),
        (exact + codes_alone, "the product of the codes is still to be multiplied by both scales"),
        (exact + codes_alone * scale,
         "the two scales multiply: the largest of x's row / 127 times that of W's row / 127"),
        (exact + cut @ cut_w.T * scale / 127, "codes are rounded to the nearest, not cut off"),
        (exact + down @ down_w.T * scale / 127, "codes are rounded to the nearest, not down"),
        (exact + wrapped * scale / 127, "a product of int8 tensors runs over at 127: multiply the codes as floats"),
        (x @ weight.T, "that is the exact product: features without an outlier go through int8 codes"),
        (rounded(x, weight, (1, 1)), "nothing is kept in floats: an outlier in one token takes its whole feature out"),
        (exact + rounded(*own, (None, None)), "each row of x and each row of W has a scale of its own"),
        (exact + rounded(*own, (1, None)), "each row of W, one for each output, has a scale of its own"),
        (exact + rounded(*own, (None, 1)), "each row of x, one for each token, has a scale of its own"),
        (exact + rounded(*own, (0, 0)), "a scale belongs to a row, and the codes of a row are summed up: amax(dim=1)"),
        (with_scales(all_x, own_w), alone),
        (with_scales(own_x, all_w), alone),
        (with_scales(all_x, all_w), alone),
    ]  # fmt: skip
    lone = x.abs() >= 6
    inside = x.masked_fill(lone, 0)
    above, positive = (x.abs() > 6).any(0), (x >= 6).any(0)
    by_both = (x.abs() >= 6).any(0) | (weight.abs() >= 6).any(0)
    slips += [
        (x[:, by_both] @ weight[:, by_both].T + rounded(x[:, ~by_both], weight[:, ~by_both], (1, 1)),
         "a feature is far by the magnitudes of x alone: those of W do not ask for it"),
        (rounded(inside, weight, (1, 1)) + (x * lone) @ weight.T,
         "an outlier takes its whole feature out, for all tokens"),
        (x[:, above] @ weight[:, above].T + rounded(x[:, ~above], weight[:, ~above], (1, 1)),
         "a magnitude of exactly `threshold` is an outlier, too"),
        (x[:, positive] @ weight[:, positive].T + rounded(x[:, ~positive], weight[:, ~positive], (1, 1)),
         "an outlier may be negative: its magnitude decides"),
    ]  # fmt: skip
    rows = (x.abs() >= 6).any(1)
    kept = x @ weight.T
    kept[~rows] = rounded(x[~rows], weight, (1, 1)) if (~rows).any() else kept[~rows]
    slips.append((kept, "it is features, columns of x, that are taken out: any(dim=0)"))
    near_enough = [(float((found - value).abs().max()), why) for value, why in slips if value.shape == found.shape]
    gap, why = min(near_enough, key=lambda each: each[0])
    explained = gap < 0.5 * float((found - wanted).abs().max())  # most of what it is off by
    return f": {why}" if explained else ": do step by step, by hand, the example in the text"
