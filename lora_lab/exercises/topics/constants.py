"""Lesson 10: what constants weigh, and eight bits for each of them instead of thirty-two."""

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from lora_lab import quant
from lora_lab.exercises.tasks import Wrong, task

GROUP = 256
_Parts = tuple[Tensor, Tensor, Tensor]


def _bits_per_parameter(block: int, group: int | None) -> float:
    if group is None:
        return 4 + 32 / block
    return 4 + 8 / block + 32 / (block * group)


def _double_quantize(absmax: Tensor, levels: Tensor) -> _Parts:
    mean = absmax.mean()
    groups = (absmax - mean).view(-1, GROUP)
    scale = groups.abs().amax(dim=1)
    scaled = groups / scale[:, None]
    codes = (scaled[:, :, None] - levels).abs().argmin(dim=-1)
    return codes.flatten().to(torch.uint8), scale, mean


def _restore_constants(codes: Tensor, scale: Tensor, mean: Tensor, levels: Tensor) -> Tensor:
    return levels[codes.int()] * scale.repeat_interleave(GROUP) + mean


@task(reference=lambda: _bits_per_parameter)
def bits_per_parameter(bits_per_parameter: Any) -> None:
    """Bits of codes and constants for each weight, without double quantization (group None) and with it."""
    for block, group in ((64, None), (64, 256), (128, None), (32, 64), (4096, 256)):
        found = bits_per_parameter(block, group)
        if found is None:
            raise Wrong(f"yours gives None for block {block} and group {group}: does every case reach a return?")
        if isinstance(found, bool) or not isinstance(found, Real):
            raise Wrong(f"yours gives {found!r} for block {block} and group {group}, wanted a plain number of bits")
        wanted = _bits_per_parameter(block, group)
        if not math.isclose(float(found), wanted, rel_tol=1e-9):
            said = f"for block {block} and group {group} yours gives {float(found):.6g} bits, wanted {wanted:.6g}"
            raise Wrong(said + _why_bits(float(found), block, group))


def _why_bits(found: float, block: int, group: int | None) -> str:
    wanted = _bits_per_parameter(block, group)
    slips = [(wanted - 4, "these are the constants alone: the four bits of the code are missing")]
    slips += [(wanted / 8, "that is bytes: eight bits are a byte")]
    if group is None:
        slips += [(4 + 8 / block, "a float32 constant has 32 bits"), (4 + 4 / block, "its four bytes are 32 bits")]
        slips += [(4 + 16 / block, "a float32 constant has 32 bits; 16 are a bfloat16's")]
    else:
        slips += [
            (4 + 8 / block, "the constants of the constants are missing: 32 bits for each group"),
            (4 + 32 / block + 8 / (block * group), "the 8 bits and the 32 are exchanged"),
            (4 + 32 / block, "with groups a constant has 8 bits, not 32"),
            (4 + 8 / block + 32 / group, "a group is of constants, so its 32 bits serve block · group weights"),
            (4 + 40 / block, "the 32 bits of a group serve block · group weights, not block"),
            (4 + 8 / (block * group), "each block has 8 bits of its own, and each group 32"),
            (4 + 1 / block + 4 / (block * group), "one byte is 8 bits, and four bytes are 32"),
        ]
    return next((f": {why}" for slip, why in slips if math.isclose(found, slip, rel_tol=1e-9)), "")


def _constants(seed: int, groups: int) -> Tensor:
    """Largest magnitudes of blocks, some of which are far larger."""
    dice = torch.Generator().manual_seed(seed)
    rows = torch.rand(groups, GROUP, generator=dice) * (1 + torch.arange(groups)[:, None])
    rows[0, 3] = 0.0  # far below the mean: the largest offset of its group is negative
    return (1.5 + rows).flatten()


@task(reference=lambda: _double_quantize)
def double_quantize(double_quantize: Any) -> None:
    """Constants as codes of 8 bits, one scale for each 256 of them, and one mean for all."""
    for seed, groups, book in ((0, 3, quant.DYNAMIC8), (1, 1, quant.INT8), (2, 5, quant.FP8_E4M3)):
        absmax = _constants(seed, groups)
        found = double_quantize(absmax.clone(), book.values.clone())
        codes, scale, mean = _three(found)
        _check_mean(mean, absmax)
        _check_scale(scale, absmax)
        _check_codes(codes, absmax, book.values)


def _three(found: object) -> _Parts:
    if not isinstance(found, tuple | list) or len(found) != 3:
        raise Wrong("yours does not give three things: return codes, scale, mean")
    for name, part in zip(("codes", "scale", "mean"), found):
        if not isinstance(part, Tensor):
            raise Wrong(f"{name} is {type(part).__name__}, wanted a tensor")
    return found[0], found[1], found[2]


def _check_mean(mean: Tensor, absmax: Tensor) -> None:
    if mean.numel() != 1:
        raise Wrong(f"mean has the shape {tuple(mean.shape)}, wanted one number: the mean of all constants")
    if not torch.allclose(mean.float(), absmax.mean(), rtol=1e-5):
        middle = "; that is the median" if torch.allclose(mean.float(), absmax.median()) else ""
        raise Wrong(f"mean is {float(mean):.4g}, wanted {float(absmax.mean()):.4g}, that of all constants{middle}")


def _check_scale(scale: Tensor, absmax: Tensor) -> None:
    groups = (absmax - absmax.mean()).view(-1, GROUP)
    wanted = groups.abs().amax(dim=1)
    if scale.shape != wanted.shape:
        one = ": one for each group of 256, not one for all" if scale.numel() == 1 else ", one for each group of 256"
        raise Wrong(f"scale has the shape {tuple(scale.shape)}, wanted {tuple(wanted.shape)}{one}")
    if torch.allclose(scale.float(), wanted, rtol=1e-5):
        return
    slips = (
        (groups.amax(dim=1), "that is the largest offset, and the largest magnitude may be a negative one: use abs()"),
        (absmax.view(-1, GROUP).amax(dim=1), "that is the largest constant: first subtract the mean"),
        (groups.std(dim=1), "that is the spread: beyond it a value has no level"),
    )
    why = next((why for slip, why in slips if torch.allclose(scale.float(), slip, rtol=1e-5)), "")
    at = int((scale - wanted).abs().argmax())
    raise Wrong(
        f"scale of group {at} is {float(scale[at]):.4g}, wanted {float(wanted[at]):.4g}{': ' if why else ''}{why}"
    )


def _check_codes(codes: Tensor, absmax: Tensor, levels: Tensor) -> None:
    if codes.shape != absmax.shape:
        raise Wrong(f"codes have the shape {tuple(codes.shape)}, wanted {tuple(absmax.shape)}: one for each constant")
    if codes.dtype.is_floating_point or codes.dtype == torch.bool:
        raise Wrong(f"codes are {codes.dtype}, wanted the numbers of levels: argmin gives them")
    if codes.dtype != torch.uint8:
        raise Wrong(
            f"codes are {codes.dtype}, {codes.element_size()} bytes each, and nothing is saved: make them uint8"
        )
    groups = (absmax - absmax.mean()).view(-1, GROUP)
    scaled = (groups / groups.abs().amax(dim=1, keepdim=True)).flatten()
    if int(codes.max()) >= len(levels):
        raise Wrong(
            f"a code is {int(codes.max())}, and there are {len(levels)} levels: a code is the number of a level"
        )
    off, least = (scaled - levels[codes.int()]).abs(), (scaled[:, None] - levels).abs().amin(dim=1)
    if (off <= least + 1e-6).all():
        return
    at = int((off - least).argmax())
    level = float(levels[codes[at].int()])
    said = f"constant {at} is {float(scaled[at]):.4f} of its scale; yours has the level {level:.4f}"
    nearest = float(levels[int((scaled[at] - levels).abs().argmin())])
    uncentred = (absmax.view(-1, GROUP) / groups.abs().amax(dim=1, keepdim=True)).flatten()
    if torch.equal(codes.int(), (uncentred[:, None] - levels).abs().argmin(dim=1).int()):
        raise Wrong(f"{said}, and {nearest:.4f} is nearest: divide what is left after the mean is subtracted")
    whole = groups.flatten()
    if torch.equal(codes.int(), (whole[:, None] - levels).abs().argmin(dim=1).int()):
        raise Wrong(f"{said}, and {nearest:.4f} is nearest: divide by the scale of the group first")
    raise Wrong(f"{said}, and {nearest:.4f} is nearest")


@task(reference=lambda: _restore_constants)
def restore_constants(restore_constants: Any) -> None:
    """The constants again, from codes, scales and the mean."""
    for seed, groups, book in ((0, 3, quant.DYNAMIC8), (2, 5, quant.INT8)):
        codes, scale, mean = _double_quantize(_constants(seed, groups), book.values)
        try:
            found = restore_constants(codes.clone(), scale.clone(), mean.clone(), book.values.clone())
        except IndexError as error:
            if "mask" not in str(error):
                raise
            raise Wrong("torch reads uint8 in square brackets as a mask, not as numbers: codes.long()") from error
        wanted = _restore_constants(codes, scale, mean, book.values)
        if not isinstance(found, Tensor) or found.shape != wanted.shape:
            given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise Wrong(f"yours gives {given}, wanted a tensor of the shape {tuple(wanted.shape)}: one constant a code")
        if torch.allclose(found.float(), wanted, rtol=1e-5, atol=1e-6):
            continue
        at = int((found - wanted).abs().argmax())
        said = f"constant {at} comes out as {float(found[at]):.4g}, wanted {float(wanted[at]):.4g}"
        raise Wrong(said + _why_restored(found.float(), codes, scale, mean, book.values))


def _why_restored(found: Tensor, codes: Tensor, scale: Tensor, mean: Tensor, levels: Tensor) -> str:
    level, spread = levels[codes.int()], scale.repeat_interleave(GROUP)
    tiled = scale.repeat(GROUP)
    slips = (
        (level * spread, "the mean is missing"),
        (level + mean, "the scale is missing"),
        ((level + mean) * spread, "the mean was subtracted before the division: it comes back after the product"),
        (level * tiled + mean, "each scale serves 256 constants in a row: repeat_interleave(256), not repeat"),
        ((codes / 127.5 - 1) * spread + mean, "levels need not be even steps: look the code up in levels"),
        (levels[codes.to(torch.int8).long()] * spread + mean, "codes above 127 do not fit into int8"),
        (codes * spread + mean, "a code is the number of a level: look it up in levels"),
        (level / spread + mean, "quantizing divided by the scale: multiply here"),
        (level * spread - mean, "quantizing subtracted the mean: add it here"),
    )
    return next((f": {why}" for slip, why in slips if torch.allclose(found, slip, rtol=1e-5, atol=1e-6)), "")
