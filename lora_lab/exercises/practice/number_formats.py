"""Exercise 08: two codes in a byte, blocks with a short end, bfloat16 by its bits."""

import random
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.quantities import codes
from lora_lab.exercises.tasks import Wrong, task


def _pack_nibbles(codes: Tensor) -> Tensor:
    if len(codes) % 2:
        codes = torch.cat([codes, codes.new_zeros(1)])
    return codes[0::2] * 16 + codes[1::2]


def _quantize_flat(weight: Tensor, size: int) -> tuple[Tensor, Tensor]:
    found, scales = [], []
    for block in weight.flatten().split(size):
        scale = block.abs().max() / 127
        found.append((block / scale).round() if scale > 0 else torch.zeros_like(block))
        scales.append(scale)
    return torch.cat(found).to(torch.int8), torch.stack(scales)


def _to_bfloat16(x: Tensor) -> Tensor:
    bits = x.view(torch.int32)
    odd = (bits >> 16) & 1
    return ((bits + 0x7FFF + odd) & ~0xFFFF).view(torch.float32)


@task(reference=lambda: _pack_nibbles)
def pack_nibbles(pack_nibbles: Any) -> None:
    """Codes from 0 to 15, two in a byte, the first one high; an odd last one stands high, beside a zero."""
    for count in (2, 6, random.choice((5, 7)), 1, random.choice((100, 101))):
        given = torch.randint(1, 16, (count,), dtype=torch.uint8)
        given[0] = random.choice((1, 2, 3))
        if count > 1:
            given[1] = random.choice((11, 13, 14))
        with untouched(codes=given):
            packed = pack_nibbles(given)
        said = f"for the codes {given.tolist()}" if count < 8 else f"for {count} codes"
        packed = _bytes(packed, given, said)
        wanted = torch.tensor(_by_hex(given), dtype=torch.uint8)
        if not torch.equal(packed, wanted):
            raise Wrong(f"your bytes are others {said}{_nibble_slip(packed, given)}", packed[:4], wanted[:4])


def _bytes(packed: object, given: Tensor, said: str) -> Tensor:
    wanted = [(len(given) + 1) // 2]
    if isinstance(packed, Tensor) and list(packed.shape) != wanted:
        if packed.shape == given.shape:
            raise Wrong(f"you give as many bytes as there are codes {said}: two codes share a byte")
        raise Wrong(
            f"your tensor of bytes has the shape {list(packed.shape)} {said}, wanted {wanted}: two codes in each, and "
            "an odd last one has a byte of its own"
        )
    return codes(packed, f"your tensor of bytes {said}", wanted, torch.uint8)


def _by_hex(given: Tensor) -> list[int]:
    """The same through hexadecimal digits."""
    digits = "".join(f"{code:x}" for code in given.tolist())
    return list(bytes.fromhex(digits + "0" * (len(digits) % 2)))


def _nibble_slip(packed: Tensor, given: Tensor) -> str:
    if len(given) % 2 and torch.equal(packed[1:], given[1::2] * 16 + given[2::2]):
        return ": an odd number is filled up at the end, beside the last code, and not before the first"
    even, mean = len(given) // 2, packed[: len(given) // 2]
    first, second = given[0 : 2 * even : 2], given[1 : 2 * even : 2]
    half = len(given) // 2
    if torch.equal(packed[:even], first * 16 + second):
        if int(packed[-1]) == int(given[-1]):
            return ": the odd last code stands in the high half of its byte too, as the first of its pair"
        return ": beside an odd last code stands a zero"
    slips = (
        (second * 16 + first, "the first of each pair stands in the high half: times 16"),
        (first * 10 + second, "a half byte counts to 16, not to 10"),
        (first + second, "the first of each pair is moved up by four bits: times 16"),
        (first * 8 + second, "four bits up is times 16"),
        (given[:half] * 16 + given[half : 2 * half], "neighbours share a byte: codes 0 and 1, then 2 and 3"),
        (given[half : 2 * half] * 16 + given[:half], "neighbours share a byte: codes 0 and 1, then 2 and 3"),
        (first * 4 + second, "four bits up is times 16, or << 4"),
        (first, "the second of each pair is missing in the low half"),
        (first * 16, "the second of each pair is missing in the low half"),
    )
    return next((f": {why}" for slip, why in slips if mean.numel() and torch.equal(mean, slip)), "")


@task(reference=lambda: _quantize_flat)
def quantize_flat(quantize_flat: Any) -> None:
    """int8 codes and a scale for each block of the flattened tensor; the last may be short, and one all zero."""
    for shape, size in (((5, 7, 3), 16), ((3, 20), 16), ((40,), 64), ((2, 32), 32)):
        weight = torch.randn(shape) * torch.rand(shape).exp()
        flat = weight.view(-1)
        flat[: 2 * size : 2] *= 3
        flat[size // 3] = -2 * flat.abs().max()  # the largest magnitude of the first block is negative
        if shape == (5, 7, 3):
            flat[size : 2 * size] = 0
        with untouched(weight=weight):
            pair = quantize_flat(weight, size)
        where = f"for the shape {list(shape)} in blocks of {size}"
        found, scale = required.several(pair, 2, "codes, scales")
        blocks = -(-flat.numel() // size)
        zero = flat.view(-1).split(size)[1].abs().max() == 0 if blocks > 1 else False
        if zero and any(isinstance(each, Tensor) and each.is_floating_point() and each.isnan().any() for each in pair):
            raise Wrong(f"NaN {where}, which has a block of zeros: 0 / 0. Divide only where the scale is above zero")
        if isinstance(found, Tensor) and found.dim() != 1:
            raise Wrong(
                f"your codes {where} have the shape {list(found.shape)}: flat, one after the other, [{flat.numel()}]"
            )
        if isinstance(found, Tensor) and len(found) == blocks * size > flat.numel():
            raise Wrong(f"your codes {where} are {len(found)}: what was padded at the end is no weight, so cut it off")
        if isinstance(found, Tensor) and len(found) < flat.numel():
            raise Wrong(f"your codes {where} are {len(found)} of {flat.numel()}: the short block at the end is missing")
        found = codes(found, f"your tensor of codes {where}", [flat.numel()], torch.int8)
        scale = required.tensor(scale, f"your tensor of scales {where}", [blocks])
        _compare_flat(found, scale.double(), flat.double(), size, where)


def _compare_flat(found: Tensor, scale: Tensor, flat: Tensor, size: int, where: str) -> None:
    zeros_last = sorted(enumerate(flat.split(size)), key=lambda each: not each[1].any())
    for number, block in zeros_last:
        wanted, own = float(block.abs().max()) / 127, found[number * size : number * size + len(block)].double()
        said = f"block {number} {where}"
        if wanted == 0 and (own != 0).any():
            raise Wrong(f"{said} is all zero, and your codes of it are not")
        if wanted == 0 and float(scale[number]) != 0:
            raise Wrong(f"{said} is all zero, and your scale of it is not", scale[number], wanted)
        if wanted == 0:
            continue
        if abs(float(scale[number]) / wanted - 1) > 1e-4:
            raise Wrong(
                f"the scale of {said}{_scale_slip(float(scale[number]), block, flat, size)}", scale[number], wanted
            )
        off = (own - block / wanted).abs()
        if (off > 0.5001).any():
            at = int(off.argmax())
            cut = bool((off < 1.001).all())
            why = (
                "codes are rounded to the nearest, and not cut off"
                if cut
                else "code = round(weight / scale of its block)"
            )
            raise Wrong(f"the weight {float(block[at]):.4g} in {said} has a code that is not nearest: {why}", own[at])


def _scale_slip(found: float, block: Tensor, flat: Tensor, size: int) -> str:
    most = float(block.abs().max())
    rows = flat[: flat.numel() // size * size].view(-1, size)
    slips = (
        (most, "is its largest magnitude; the scale makes that 127"),
        (most / 128, "is made for 128, and int8's largest code is 127"),
        (most / 255, "is made for 255 codes on one side; there are 127"),
        (most / 7, "is that of four bits; these codes have eight"),
        (float(block.max()) / 127, "is that of the largest weight; the largest *magnitude* may be a negative one's"),
        (float(flat.abs().max()) / 127, "is that of the whole tensor: each block has its own"),
        (127 / most, "is turned round: a code times its scale gives the weight back"),
        (float(block.abs().mean()) / 127, "comes from the mean magnitude; the largest one decides"),
        (
            float(rows.abs().amax(0)[0]) / 127 if rows.numel() else 0.0,
            "is that of a column: a block is `size` weights in a row",
        ),
    )
    return next(
        (f" {why}" for value, why in slips if value and abs(found / value - 1) < 1e-5),
        " is off: largest magnitude / 127",
    )


@task(reference=lambda: _to_bfloat16)
def to_bfloat16(to_bfloat16: Any) -> None:
    """float32 rounded to bfloat16 by its bits, to the nearest, ties to even; handed back as float32."""
    ties = torch.tensor([0x3F808000, 0x3F818000, 0x3F828000, 0x40490000 + 0x8000, 0x3F80FFFF, 0x3F817FFF, 0x3F808001])
    edges = torch.tensor([3.4e38, -3.4e38, float("inf"), -float("inf"), 0.0, -0.0, 1e-40, -3e-39, 1.0, -1.5])
    wide = torch.randn(300) * torch.exp(20 * torch.randn(300))
    exact = ties.int().view(torch.float32)
    for x in (torch.randn(3, 17), exact, -exact, wide, edges):
        with untouched(x=x):
            found = to_bfloat16(x)
        if not isinstance(found, Tensor) or found.shape != x.shape:  # infinities are welcome here
            required.tensor(found, "your result", x.shape)
        if found.dtype != torch.float32:
            raise Wrong(
                f"your result is {found.dtype}, and it must be torch.float32: .view(torch.float32) reads bits as floats"
            )
        wanted = x.to(torch.bfloat16).float()
        same = found.detach().view(torch.int32) == wanted.view(torch.int32)
        if not same.all():
            at = int((~same).flatten().int().argmax())
            one, yours = x.flatten()[at], found.detach().flatten()[at]
            raise Wrong(_bf16_slip(one, yours, found.detach(), x), yours, wanted.flatten()[at])


def _bits(x: Tensor) -> str:
    text = f"{int(x.view(torch.int32)) & 0xFFFFFFFF:032b}"
    return f"{text[0]} {text[1:9]} {text[9:16]}|{text[16:]}"


def _bf16_slip(one: Tensor, yours: Tensor, found: Tensor, x: Tensor) -> str:
    said = f"{float(one):.9g}, in bits {_bits(one)} with a bar where bfloat16 ends, becomes {float(yours):.9g}: "
    bits, got = int(one.view(torch.int32)) & 0xFFFFFFFF, int(yours.view(torch.int32)) & 0xFFFFFFFF
    low, kept = bits & 0xFFFF, bits & 0xFFFF0000
    if abs(got - (bits >> 16)) <= 1:
        return said + "the upper half must stay where it was: shift it back by 16"
    if got & 0xFFFF:
        if torch.equal(found, x):
            return said + "nothing has changed"
        return said + "the lower sixteen bits must be zero in the end: & ~0xFFFF"
    if yours.isnan():
        return said + "a NaN. Does what is added run over into the exponent of an infinity?"
    if (got ^ bits) >> 31:
        return said + "its sign is lost"
    if low == 0x8000:
        up = got == kept + 0x10000
        return (
            said
            + "it lies exactly between two, and there the one whose last bit is 0 is taken, not "
            + ("always the upper" if up else "always the lower")
        )
    if got == kept:
        return said + "cut off; the upper neighbour is nearer"
    if got == kept + 0x10000:
        return said + "the lower neighbour is nearer"
    return said + "neither of its two neighbours"
