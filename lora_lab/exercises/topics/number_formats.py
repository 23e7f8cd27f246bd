"""Lesson 08: what a row of bits stands for, whole numbers with one scale per block, and a gradient through rounding."""

import math
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong, task

FLOATS = {  # name -> dtype, exponent bits, mantissa bits
    "float16": (torch.float16, 5, 10),
    "bfloat16": (torch.bfloat16, 8, 7),
    "E5M2": (torch.float8_e5m2, 5, 2),
    "E4M3": (torch.float8_e4m3fn, 4, 3),
}


def _decode(bits: str, exponent_bits: int, mantissa_bits: int) -> float:
    """(-1)^s · (1 + f) · 2^(e - bias), and (-1)^s · f · 2^(1 - bias) where the exponent bits are all zero."""
    sign = -1 if bits[0] == "1" else 1
    e = int(bits[1 : 1 + exponent_bits], 2)
    f = int(bits[1 + exponent_bits :], 2) / 2**mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
    return sign * f * 2.0 ** (1 - bias) if e == 0 else sign * (1 + f) * 2.0 ** (e - bias)


def _round_blocks(w: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Whole numbers and what they stand for, both [blocks, size]; a block's largest magnitude is the largest number."""
    most = 2 ** (bits - 1) - 1
    scale = w.abs().amax(dim=1, keepdim=True) / most
    codes = (w / scale).round()
    return codes, codes * scale


def _straight_through(w: Tensor, rounded: Tensor) -> Tensor:
    """The values of `rounded`, the gradient of w."""
    return w + (rounded - w).detach()


@task(reference=lambda: _decode)
def decode(decode: Any) -> None:
    """The number that a row of bits stands for: sign, exponent bits, mantissa bits, with subnormals."""
    for bits, e, m in (("01000111", 5, 2), ("00111100", 5, 2), ("10111100", 5, 2), ("00110111", 4, 3)):
        _compare(decode, bits, e, m)
    for name, (_, e, m) in FLOATS.items():
        for code in _codes(1 + e + m):
            bits = f"{code:0{1 + e + m}b}"
            if int(bits[1 : 1 + e], 2) < 2**e - 1 or (name == "E4M3" and bits[1:] != "1" * 7):
                _compare(decode, bits, e, m)


def _codes(width: int) -> list[int]:
    """All codes of a byte; of two bytes a few hundred, the smallest and largest magnitudes of both signs among them."""
    if width == 8:
        return list(range(256))
    edges = [*range(4), 0x7F, 0x80, 0x81, 0x3FF, 0x400, 0x401, 0x7BFF, 0x7F7F]
    return [*edges, *(0x8000 + code for code in edges), *range(5, 2**16, 331)]


def _compare(decode: Any, bits: str, e: int, m: int) -> None:
    call = f'decode("{bits}", {e}, {m})'
    number = plain_number(decode(bits, e, m), f"for {call}")
    wanted = _by_torch(bits, e, m)
    if number != wanted:
        raise Wrong(f"yours gives {number:g} for {call}, wanted {wanted:g}{_slip(number, bits, e, m)}")


def _by_torch(bits: str, e: int, m: int) -> float:
    """What PyTorch reads in the same bits."""
    dtype = next(dtype for dtype, *sizes in FLOATS.values() if sizes == [e, m])
    whole = torch.tensor([int(bits, 2)], dtype=torch.int32)
    held = whole.to(torch.uint8) if len(bits) == 8 else whole.to(torch.int16)
    return float(held.view(dtype).float())


def _slip(found: float, bits: str, e: int, m: int) -> str:
    """What the usual slips give for these bits."""
    sign, field, f = (-1.0) ** int(bits[0]), int(bits[1 : 1 + e], 2), int(bits[1 + e :], 2) / 2**m
    bias = 2 ** (e - 1) - 1
    slips = [
        (-_decode(bits, e, m), "the sign: the first bit 1 means minus"),
        (sign * (1 + f) * 2.0 ** min(field, 300), f"the bias is missing: subtract {bias} from the exponent"),
        (sign * (1 + f) * 2.0 ** (field - bias - 1), f"the bias is 2^({e} − 1) − 1 = {bias}"),
        (sign * (1 + f) * 2.0 ** (field - bias + 1), f"the bias is 2^({e} − 1) − 1 = {bias}"),
        (sign * (1 + f * 2**m) * 2.0 ** (field - bias), f"the mantissa is a fraction: divide it by 2^{m} = {2**m}"),
        (sign * (1 + f * 2**m / 10**m) * 2.0 ** (field - bias), f"the mantissa counts in steps of 1/{2**m}"),
    ]  # fmt: skip
    if field:
        slips.append((sign * f * 2.0 ** (field - bias), "the hidden 1 is missing: it is 1 + f where e is not 0"))
        slips.append(
            (
                sign * (1 + f) * 2.0 ** (1 - bias),
                "the exponent of the subnormals holds only where e is 0; or is your bias 2^exponent_bits − 1?",
            )
        )
        other = sign * (1 + int(bits[1 : 1 + m], 2) / 2**m) * 2.0 ** min(int(bits[1 + m :], 2) - bias, 300)
        slips.append((other, "the exponent stands before the mantissa"))
        slips.append((sign * (1 + f * 2**m / (2**m - 1)) * 2.0 ** (field - bias), f"divide by 2^{m}, not by 2^{m} − 1"))
        cuts = (
            (bits[1:e], bits[1 + e :]),
            (bits[1 : 1 + e], bits[e:]),
            (bits[:e], bits[e:]),
            (bits[: 1 + e], bits[1 + e :]),
        )
        for exponent, mantissa in cuts:
            value = sign * (1 + int(mantissa, 2) / 2**m) * 2.0 ** min(int(exponent, 2) - bias, 300)
            slips.append(
                (value, "cut one place off: the exponent is bits[1 : 1 + exponent_bits], the mantissa what follows")
            )
    else:
        slips.insert(
            0, (sign * (1 + f) * 2.0**-bias, "e is 0 here: there is no hidden 1, and the exponent is 1 − bias")
        )
        slips.insert(0, (sign * f * 2.0**-bias, f"e is 0 here: the exponent is 1 − bias = {1 - bias}, that of e = 1"))
        slips.insert(0, (sign * (1 + f) * 2.0 ** (1 - bias), "e is 0 here: there is no hidden 1 in a subnormal"))
        if found == 0 and f:
            return ": e = 0 does not mean zero; the mantissa still counts, without the hidden 1"
    return next((f": {why}" for slip, why in slips if math.isclose(found, slip, rel_tol=1e-12)), "")


@task(reference=lambda: _round_blocks)
def round_blocks(round_blocks: Any) -> None:
    """Each block as whole numbers from -(2^(bits-1) - 1) to 2^(bits-1) - 1 with a scale of its own."""
    small = torch.tensor([[0.06, -0.14, 0.02, 0.01], [7.0, 3.7, -1.2, 0.4]])
    wide = torch.randn(5, 32, generator=torch.Generator().manual_seed(3)) * torch.tensor([[1], [9], [0.01], [3], [1.0]])
    for w, bits in ((small, 4), (-small, 4), (wide, 8), (wide, 3), (wide, 2)):
        with untouched(w=w):
            pair = round_blocks(w, bits)
        codes, restored = _pair(pair, w)
        most = 2 ** (bits - 1) - 1
        _require_codes(codes, w, bits, most)
        wanted = codes.double() * w.double().abs().amax(dim=1, keepdim=True) / most
        if not torch.allclose(restored.double(), wanted, rtol=1e-5, atol=1e-8):
            if torch.allclose(restored.double(), codes.double()):
                raise Wrong("your second tensor is the whole numbers again: multiply them by the scale of their block")
            row, column = divmod(int((restored.double() - wanted).abs().argmax()), w.shape[1])
            raise Wrong(
                f"the code {float(codes[row, column]):g} of a block whose largest magnitude is "
                f"{float(w[row].abs().max()):.3g} gives {float(restored[row, column]):.4g} at {bits} bits, wanted "
                f"{float(wanted[row, column]):.4g}: code times scale"
            )


def _pair(pair: Any, w: Tensor) -> tuple[Tensor, Tensor]:
    if pair is None:
        raise Wrong("yours returns nothing: end it with return codes, restored")
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise Wrong(f"yours returns a {type(pair).__name__}, wanted two tensors: codes, restored")
    for name, each in zip(("codes", "restored"), pair):
        if not isinstance(each, Tensor):
            raise Wrong(f"your {name} are a {type(each).__name__}, wanted a tensor")
        if each.shape != w.shape:
            raise Wrong(f"your {name} have the shape {list(each.shape)}, wanted {list(w.shape)}, that of w")
    return pair[0], pair[1]


def _require_codes(codes: Tensor, w: Tensor, bits: int, most: int) -> None:
    codes = codes.double()
    if not torch.isfinite(codes).all() or (codes != codes.round()).any():
        raise Wrong(f"your codes hold {float(codes.flatten()[0]):.4g}, which is no whole number: round them")
    largest, scale = codes.abs().amax(dim=1), w.double().abs().amax(dim=1, keepdim=True) / most
    wanted = (w.double() / scale).round()
    differ = (codes - wanted).abs()
    if ((differ <= 1) & ((w.double() / scale - codes).abs() < 0.5001)).all():
        return
    cut = [(codes == of(w.double() / scale)).double().mean() for of in (torch.trunc, torch.floor)]
    if max(cut) > 0.7:  # not all: a quotient of floats may fall just below a whole number
        raise Wrong("your codes are cut off, not rounded: 6.9 must become 7; torch.round takes the nearest")
    if torch.equal(codes, (w.double() / w.double().abs().max() * most).round()):
        raise Wrong("one scale for all: take the largest magnitude of each block, amax(dim=1, keepdim=True)")
    if torch.equal(codes, (w.double() / w.double().amax(dim=1, keepdim=True) * most).round()):
        raise Wrong("the largest magnitude may be negative: take abs() before amax")
    for other, why in ((2**bits - 1, "all 2^bits codes on one side"), (2 ** (bits - 1), "a code that is not there"),
                       (2**bits, "more codes than there are")):  # fmt: skip
        if torch.equal(largest, torch.full_like(largest, other)):
            raise Wrong(f"your largest code at {bits} bits is {other}, wanted 2^({bits} − 1) − 1 = {most}: {why}")
    row, column = divmod(int(differ.argmax()), w.shape[1])
    raise Wrong(
        f"the weight {float(w[row, column]):.3g} of a block whose largest magnitude is {float(w[row].abs().max()):.3g} "
        f"has the code {float(codes[row, column]):g} at {bits} bits, wanted {float(wanted[row, column]):g}"
    )


@task(reference=lambda: _straight_through)
def straight_through(straight_through: Any) -> None:
    """The values of `rounded` forward; backward, every gradient arrives at w unchanged."""
    values = torch.tensor([[0.3, -1.7, 2.2], [0.0, 5.6, -0.4]])
    w = values.clone().requires_grad_()
    rounded = w.round()
    toward = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]])
    with untouched(w=w):
        out = straight_through(w, rounded)
    if not isinstance(out, Tensor) or out.shape != w.shape:
        raise Wrong(f"yours gives {type(out).__name__}, wanted a tensor of the shape {list(w.shape)}")
    if not torch.allclose(out, values.round(), atol=1e-5):
        if torch.allclose(out, values, atol=1e-5):
            raise Wrong("your values are those of w: forward, the layer must compute with `rounded`")
        at = int((out.detach() - values.round()).abs().nan_to_num(9.0).argmax())
        pair = f"{float(out.detach().flatten()[at]):.3g} where rounded has {float(values.round().flatten()[at]):.3g}"
        raise Wrong(f"yours has {pair}: forward, it must be `rounded`")
    if not out.requires_grad:
        raise Wrong("no gradient passes: detach only the difference, so that w itself stays on the path")
    (out * toward).sum().backward()
    grad = torch.zeros_like(values) if w.grad is None else w.grad
    if torch.allclose(grad, toward, atol=1e-6):
        _with_a_scale(straight_through)
        return
    if not grad.any():
        raise Wrong(
            "the gradient that reaches w is zero: that of rounding itself. Let it pass as if nothing were rounded"
        )
    factor = float((grad * toward).sum() / toward.square().sum())
    raise Wrong(f"w gets {factor:.3g} times the gradient that arrives, wanted 1: let w itself stand in the sum once")


def _with_a_scale(straight_through: Any) -> None:
    """The gradient of the rounded path, here through a block's largest magnitude, must not come on top."""
    w = torch.tensor([[0.5, -4.0, 1.0]], requires_grad=True)
    rounded = _round_blocks(w, 3)[1]
    straight_through(w, rounded).sum().backward()
    if w.grad is None or not torch.allclose(w.grad, torch.ones_like(w), atol=1e-5):
        raise Wrong("a gradient comes through `rounded` too, by way of the scale: detach what was rounded")
