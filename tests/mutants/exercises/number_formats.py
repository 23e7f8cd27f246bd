"""Answers to lesson 08's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer, cells

_FIELDS = """
    sign = (-1) ** int(bits[0])
    e = int(bits[1 : 1 + exponent_bits], 2)
    f = int(bits[1 + exponent_bits :], 2) / 2**mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
"""


def _decode(body: str, says: str = "") -> Answer:
    code = f"def decode(bits, exponent_bits, mantissa_bits):{_FIELDS}    {body}\n"
    return Answer(task="decode", code=code, says=says)


def _round(body: str, says: str = "") -> Answer:
    return Answer(
        task="round_blocks", code=f"def round_blocks(w, bits):\n    most = 2 ** (bits - 1) - 1\n    {body}\n", says=says
    )


def _through(body: str, says: str = "") -> Answer:
    return Answer(task="straight_through", code=f"def straight_through(w, rounded):\n    {body}\n", says=says)


_NORMAL = "sign * (1 + f) * 2.0 ** (e - bias)"
_LAST = "codes = (w / scale).round()\n    return codes, codes * scale"
_SCALE = "scale = w.abs().amax(dim=1, keepdim=True) / most\n    "

ANSWERS = [
    _decode(f"return {_NORMAL}", "no hidden 1, and the exponent is 1 − bias"),
    _decode(f"return sign * (1 + f) * 2.0 ** (1 - bias) if e == 0 else {_NORMAL}", "no hidden 1 in a subnormal"),
    _decode(f"return sign * f * 2.0**-bias if e == 0 else {_NORMAL}", "that of e = 1"),
    _decode(f"return 0.0 if e == 0 else {_NORMAL}", "e = 0 does not mean zero"),
    _decode("return sign * f * 2.0 ** (max(e, 1) - bias)", "the hidden 1 is missing"),
    _decode(f"return abs({_NORMAL}) if e else f * 2.0 ** (1 - bias)", "the first bit 1 means minus"),
    _decode("return sign * (1 + f) * 2.0 ** min(e, 200)", "the bias is missing"),
    _decode(f"bias = bias + 1\n    return {_NORMAL}", "− 1 = 15"),
    _decode(f"f = f * 2**mantissa_bits\n    return {_NORMAL}", "the mantissa is a fraction"),
    _decode(f"if e:\n        return {_NORMAL}", "does every case reach a return"),
    _decode(f"return str({_NORMAL})", "wanted a plain number"),
    _decode(f"e = int(bits[1:exponent_bits], 2)\n    return {_NORMAL}", "cut one place off"),
    _decode(f"f = int(bits[exponent_bits:], 2) / 2**mantissa_bits\n    return {_NORMAL}", "cut one place off"),
    _round("scale = w.abs().max() / most\n    " + _LAST, "one scale for all"),
    _round("scale = w.amax(dim=1, keepdim=True) / most\n    " + _LAST, "abs() before amax"),
    _round(_SCALE + "codes = (w / scale).trunc()\n    return codes, codes * scale", "cut off, not rounded"),
    _round(_SCALE + "return w / scale, w / scale * scale", "no whole number"),
    _round("scale = w.abs().amax(dim=1, keepdim=True) / 2 ** (bits - 1)\n    " + _LAST, "a code that is not there"),
    _round("scale = w.abs().amax(dim=1, keepdim=True) / (2**bits - 1)\n    " + _LAST, "all 2^bits codes on one side"),
    _round(_SCALE + "codes = (w / scale).round()\n    return codes, codes", "whole numbers again"),
    _round(_SCALE + "codes = (w / scale).round()\n    return codes, codes / scale", "code times scale"),
    _round(_SCALE + "return (w / scale).round() * scale", "wanted two tensors"),
    _round("scale = w.abs().amax(dim=0, keepdim=True) / most\n    " + _LAST, "of a block whose largest magnitude"),
    _round(_SCALE + "w /= scale\n    return w.round(), w.round() * scale", "your code changes w"),
    _through("return rounded", "the gradient that reaches w is zero"),
    _through("return rounded.detach()", "no gradient passes"),
    _through("return w", "your values are those of w"),
    _through("return w - (rounded - w).detach()", "forward, it must be `rounded`"),
    _through("return w + rounded - w.detach()", "comes through `rounded` too"),
    _through("return 2 * w + (rounded - 2 * w).detach()", "wanted 1"),
    _through("return [w, rounded]", "wanted a tensor"),
    _through("return w.detach() + (rounded - w.detach())", "the gradient that reaches w is zero"),
]  # fmt: skip

RIGHT = [
    *cells("""
#:
def decode(bits, exponent_bits, mantissa_bits):
    value = 0.0 if "1" not in bits[1 : 1 + exponent_bits] else 1.0
    for place, bit in enumerate(bits[1 + exponent_bits :], 1):
        value += int(bit) * 0.5**place
    power = max(int(bits[1 : 1 + exponent_bits], 2), 1) - (2 ** (exponent_bits - 1) - 1)
    return (-value if bits[0] == "1" else value) * 2.0**power
#:
def round_blocks(w, bits):
    codes, restored = torch.empty_like(w), torch.empty_like(w)
    for row in range(len(w)):
        scale = w[row].abs().max() / (2 ** (bits - 1) - 1)
        codes[row] = torch.round(w[row] / scale)
        restored[row] = codes[row] * scale
    return codes, restored
#:
def round_blocks(w, bits):
    largest = torch.maximum(w.max(dim=1).values, -w.min(dim=1).values)[:, None]
    most = 2 ** (bits - 1) - 1
    codes = (w * most / largest).round().int()
    return codes, codes.float() * (largest / most)
#:
def straight_through(w, rounded):
    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w, rounded):
            return rounded.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient, None

    return Through.apply(w, rounded)
#:
def straight_through(w, rounded):
    return rounded.detach() + w - w.detach()
"""),
    _decode("return sign * (f + (e > 0)) * 2.0 ** (max(e, 1) - bias)"),
]
