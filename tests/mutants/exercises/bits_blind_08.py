"""Answers to the bits of lesson 08, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: there is no hidden 1, and the exponent is 1 − bias
def decode(bits, exponent_bits, mantissa_bits):
    sign = (-1) ** int(bits[0])
    e = int(bits[1:1 + exponent_bits], 2)
    f = int(bits[1 + exponent_bits:], 2) / 2 ** mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
    return sign * (1 + f) * 2.0 ** (e - bias)
#: 1 + exponent_bits], the mantissa what follows
def decode(bits, exponent_bits, mantissa_bits):
    e = int(bits[:exponent_bits], 2)
    f = int(bits[exponent_bits:], 2) / 2 ** mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
    return f * 2.0 ** (1 - bias) if e == 0 else (1 + f) * 2.0 ** (e - bias)
#: the exponent is 1 − bias = -14, that of e = 1
def decode(bits, exponent_bits, mantissa_bits):
    sign = (-1) ** int(bits[0])
    e = int(bits[1:1 + exponent_bits], 2)
    f = int(bits[1 + exponent_bits:], 2) / 2 ** mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
    return sign * f * 2.0 ** -bias if e == 0 else sign * (1 + f) * 2.0 ** (e - bias)
#: is your bias 2^exponent_bits
def decode(bits, exponent_bits, mantissa_bits):
    sign = (-1) ** int(bits[0])
    e = int(bits[1:1 + exponent_bits], 2)
    f = int(bits[1 + exponent_bits:], 2) / 2 ** mantissa_bits
    bias = 2 ** exponent_bits - 1
    return sign * f * 2.0 ** (1 - bias) if e == 0 else sign * (1 + f) * 2.0 ** (e - bias)
#: divide by 2^2, not by
def decode(bits, exponent_bits, mantissa_bits):
    sign = (-1) ** int(bits[0])
    e = int(bits[1:1 + exponent_bits], 2)
    f = int(bits[1 + exponent_bits:], 2) / (2 ** mantissa_bits - 1)
    bias = 2 ** (exponent_bits - 1) - 1
    return sign * f * 2.0 ** (1 - bias) if e == 0 else sign * (1 + f) * 2.0 ** (e - bias)
#: the exponent stands before the mantissa
def decode(bits, exponent_bits, mantissa_bits):
    sign = (-1) ** int(bits[0])
    m = int(bits[1:1 + mantissa_bits], 2)
    e = int(bits[1 + mantissa_bits:], 2)
    f = m / 2 ** mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
    return sign * f * 2.0 ** (1 - bias) if e == 0 else sign * (1 + f) * 2.0 ** (e - bias)
#: e = 0 does not mean zero; the mantissa still counts, without the hidden 1
def decode(bits, exponent_bits, mantissa_bits):
    sign = (-1) ** int(bits[0])
    e = int(bits[1:1 + exponent_bits], 2)
    f = int(bits[1 + exponent_bits:], 2) / 2 ** mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
    if e == 0:
        return 0.0
    return sign * (1 + f) * 2.0 ** (e - bias)
#: take the largest magnitude of each block, amax(dim=1, keepdim=True)
def round_blocks(w, bits):
    scale = w.abs().max() / (2 ** (bits - 1) - 1)
    codes = torch.round(w / scale)
    return codes, codes * scale
#: a code that is not there
def round_blocks(w, bits):
    scale = w.abs().amax(dim=-1, keepdim=True) / 2 ** (bits - 1)
    codes = torch.round(w / scale)
    return codes, codes * scale
#: take abs() before amax
def round_blocks(w, bits):
    scale = w.amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)
    codes = torch.round(w / scale)
    return codes, codes * scale
#: 6.9 must become 7; torch.round takes the nearest
def round_blocks(w, bits):
    scale = w.abs().amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)
    codes = (w / scale).int()
    return codes, codes * scale
#: all 2^bits codes on one side
def round_blocks(w, bits):
    scale = w.abs().amax(dim=-1, keepdim=True) / (2 ** bits - 1)
    codes = torch.round(w / scale)
    return codes, codes * scale
#: has the code 7 at 8 bits, wanted 127
def round_blocks(w, bits):
    scale = w.abs().amax(dim=-1, keepdim=True) / 7
    codes = torch.round(w / scale)
    return codes, codes * scale
#: has the code 249 at 4 bits, wanted -7
def round_blocks(w, bits):
    scale = w.abs().amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)
    codes = torch.floor(w / scale + 0.5)
    return codes.to(torch.uint8), codes * scale
#: detach only the difference, so that w itself stays on the path
def straight_through(w, rounded):
    return rounded.detach()
#: forward, the layer must compute with `rounded`
def straight_through(w, rounded):
    return rounded + (w - rounded).detach()
#: that of rounding itself. Let it pass as if nothing were rounded
def straight_through(w, rounded):
    return rounded.detach().requires_grad_(True)
#: yours has nan where rounded has
def straight_through(w, rounded):
    return w * (rounded / w).detach()
#: forward, it must be `rounded`
def straight_through(w, rounded):
    return w + rounded.detach()
#: make a new tensor instead
def straight_through(w, rounded):
    w.data = rounded.data
    return w
#: let w itself stand in the sum once
def straight_through(w, rounded):
    return w.detach() + (rounded - w)
""")

RIGHT = cells(r"""
#:
def decode(bits, exponent_bits, mantissa_bits):
    sign = -1 if bits[0] == "1" else 1
    e = int(bits[1:1 + exponent_bits], 2)
    f = int(bits[1 + exponent_bits:], 2) / 2 ** mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
    return sign * f * 2.0 ** (1 - bias) if e == 0 else sign * (1 + f) * 2.0 ** (e - bias)
#:
def round_blocks(w, bits):
    scale = w.abs().amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)
    codes = torch.round(w / scale)
    return codes, codes * scale
#:
def straight_through(w, rounded):
    return w + (rounded - w).detach()
""")
