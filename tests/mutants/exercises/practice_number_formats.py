"""Answers to exercise 08's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer, cells

_PACK = """
def pack_nibbles(codes):
    if len(codes) % 2:
        codes = torch.cat([codes, codes.new_zeros(1)])
    return codes[0::2] * 16 + codes[1::2]
"""
_FLAT = """
def quantize_flat(weight, size):
    codes, scales = [], []
    for block in weight.flatten().split(size):
        scale = block.abs().max() / 127
        codes.append((block / scale).round() if scale > 0 else torch.zeros_like(block))
        scales.append(scale)
    return torch.cat(codes).to(torch.int8), torch.stack(scales)
"""
_ROUND = """
def to_bfloat16(x):
    bits = x.view(torch.int32)
    last = (bits >> 16) & 1
    return ((bits + 0x7FFF + last) & ~0xFFFF).view(torch.float32)
"""
_MIXED = """
def mixed_product(x, weight, threshold):
    far = (x.abs() >= threshold).any(dim=0)
    floats = x[:, far] @ weight[:, far].T
    near, own = x[:, ~far], weight[:, ~far]
    sx = near.abs().amax(dim=1, keepdim=True) / 127
    sw = own.abs().amax(dim=1, keepdim=True) / 127
    return floats + ((near / sx).round() @ (own / sw).round().T) * sx * sw.T
"""


def _changed(code: str, before: str, after: str, says: str) -> Answer:
    assert code.count(before) == 1, before
    return Answer(code.split("def ")[1].split("(")[0], code.replace(before, after), says)


def _pack(before: str, after: str, says: str) -> Answer:
    return _changed(_PACK, before, after, says)


def _flat(before: str, after: str, says: str) -> Answer:
    return _changed(_FLAT, before, after, says)


def _round(before: str, after: str, says: str) -> Answer:
    return _changed(_ROUND, before, after, says)


def _mixed(before: str, after: str, says: str) -> Answer:
    return _changed(_MIXED, before, after, says)


ANSWERS = [
    _pack("codes[0::2] * 16 + codes[1::2]", "codes[1::2] * 16 + codes[0::2]",
     "the first of each pair stands in the high half"),
    _pack("codes[0::2] * 16", "codes[0::2] * 10", "a half byte counts to 16"),
    _pack("codes[0::2] * 16", "codes[0::2]", "moved up by four bits"),
    _pack("codes[0::2] * 16 + codes[1::2]", "codes", "two codes share a byte"),
    _pack("codes = torch.cat([codes, codes.new_zeros(1)])", "codes = codes[:-1]",
     "an odd last one has a byte of its own"),
    _pack("torch.cat([codes, codes.new_zeros(1)])", "torch.cat([codes[:-1], codes.new_zeros(1), codes[-1:]])",
     "stands in the high half of its byte too"),
    _pack("codes.new_zeros(1)", "codes.new_ones(1)", "stands a zero"),
    _pack("codes[0::2] * 16 + codes[1::2]", "codes[0::2].int() * 16 + codes[1::2]", "wanted uint8"),
    _pack("codes[0::2] * 16 + codes[1::2]", "codes[:len(codes) // 2] * 16 + codes[len(codes) // 2:]",
     "neighbours share a byte"),
    _flat("/ 127", "/ 128", "int8's largest code is 127"),
    _flat("block.abs().max() / 127", "block.max() / 127", "the largest *magnitude*"),
    _flat("block.abs().max() / 127", "weight.abs().max() / 127", "that of the whole tensor"),
    Answer("quantize_flat", _FLAT.replace(" if scale > 0 else torch.zeros_like(block)", "").replace(".to(torch.int8)",
     ""), "a block of zeros"),
    _flat("(block / scale).round()", "(block / scale).trunc()", "not cut off"),
    _flat(".to(torch.int8)", "", "wanted int8"),
    _flat("codes.append((block / scale)", "codes.append((block * scale)", "code = round(weight / scale"),
    _flat("scales.append(scale)", "scales.append(scale * 127)", "the scale makes that 127"),
    _flat("torch.cat(codes).to(torch.int8)", "torch.cat(codes).to(torch.int8)[: weight.numel() // size * size]",
     "the short block at the end is missing"),
    _flat("torch.cat(codes).to(torch.int8)",
     "torch.cat([*codes, torch.zeros(-weight.numel() % size)]).to(torch.int8)", "so cut it off"),
    _flat("torch.cat(codes).to(torch.int8)", "torch.cat(codes).to(torch.int8).view(weight.shape)",
     "flat, one after the other"),
    _flat(", torch.stack(scales)", "", "wanted codes, scales"),
    _round("((bits + 0x7FFF + last) & ~0xFFFF)", "(bits & ~0xFFFF)", "the upper neighbour is nearer"),
    _round("0x7FFF + last", "0x8000", "the one whose last bit is 0"),
    _round("0x7FFF + last", "0x7FFF", "the one whose last bit is 0"),
    _round("((bits + 0x7FFF + last) & ~0xFFFF)", "(bits + 0x7FFF + last)", "the lower sixteen bits must be zero"),
    _round(".view(torch.float32)", ".view(torch.float32).bfloat16()", "reads bits as floats"),
    _round("return ((bits + 0x7FFF + last) & ~0xFFFF).view(torch.float32)", "return x", "nothing has changed"),
    _round("((bits + 0x7FFF + last) & ~0xFFFF)", "((bits + 0x7FFF + last) & 0x7FFF0000)", "its sign is lost"),
    _round("return ((bits + 0x7FFF + last) & ~0xFFFF).view(torch.float32)", "return x.half().float()",
     "the lower sixteen bits must be zero"),
    _round("(bits >> 16) & 1", "(bits >> 15) & 1", "the one whose last bit is 0"),
    _mixed("floats + (", "(", "the features with an outlier are missing"),
    _mixed("(x.abs() >= threshold)", "(x >= threshold)", "its magnitude decides"),
    _mixed("(x.abs() >= threshold)", "(x.abs() > threshold)", "exactly `threshold`"),
    _mixed("near.abs().amax(dim=1, keepdim=True)", "near.abs().amax()", "each row of x"),
    _mixed("own.abs().amax(dim=1, keepdim=True)", "own.abs().amax().view(1, 1)", "each row of W"),
    _mixed(" * sx * sw.T", "", "multiplied by both scales"),
    _mixed("return floats + ((near / sx).round() @ (own / sw).round().T) * sx * sw.T", "return x @ weight.T",
     "that is the exact product"),
    _mixed("near.abs().amax(dim=1, keepdim=True)", "x.abs().amax(dim=1, keepdim=True)", "must be without them"),
    _mixed("far = (x.abs() >= threshold).any(dim=0)", "far = torch.zeros(x.shape[1], dtype=torch.bool)",
     "nothing is kept in floats"),
    _mixed("(own / sw).round().T", "(own / sw).round()", "your code stopped in line"),
    *cells('''
#: takes its whole feature out
def mixed_product(x, weight, threshold):
    far = x.abs() >= threshold
    near = x.masked_fill(far, 0)
    sx = near.abs().amax(dim=1, keepdim=True) / 127
    sw = weight.abs().amax(dim=1, keepdim=True) / 127
    return (x * far) @ weight.T + ((near / sx).round() @ (weight / sw).round().T) * sx * sw.T
#: columns of x, that are taken out
def mixed_product(x, weight, threshold):
    far = (x.abs() >= threshold).any(dim=1)
    sx = x.abs().amax(dim=1, keepdim=True) / 127
    sw = weight.abs().amax(dim=1, keepdim=True) / 127
    out = ((x / sx).round() @ (weight / sw).round().T) * sx * sw.T
    out[far] = x[far] @ weight.T
    return out
'''),
]  # fmt: skip

RIGHT = [
    *cells('''
#:
def pack_nibbles(codes):
    packed = []
    for n in range(0, len(codes), 2):
        low = int(codes[n + 1]) if n + 1 < len(codes) else 0
        packed.append(int(codes[n]) << 4 | low)
    return torch.tensor(packed, dtype=torch.uint8)
#:
def pack_nibbles(codes):
    pairs = F.pad(codes, (0, len(codes) % 2)).view(-1, 2)
    return (pairs[:, 0] << 4) | pairs[:, 1]
#:
def quantize_flat(weight, size):
    flat = weight.reshape(-1)
    blocks = F.pad(flat, (0, -flat.numel() % size)).view(-1, size)
    scales = blocks.abs().amax(dim=1) / 127
    safe = torch.where(scales > 0, scales, torch.ones_like(scales))
    return (blocks / safe[:, None]).round().char().view(-1)[: flat.numel()], scales
#:
def quantize_flat(weight, size):
    flat = weight.flatten()
    scales = torch.tensor([float(flat[n : n + size].abs().max()) / 127 for n in range(0, len(flat), size)])
    each = scales.repeat_interleave(size)[: len(flat)]
    return torch.nan_to_num(flat / each).round().to(torch.int8), scales
#:
def to_bfloat16(x):
    return x.to(torch.bfloat16).float()
#:
def to_bfloat16(x):
    bits = x.view(torch.int32)
    low, kept = bits & 0xFFFF, bits & ~0xFFFF
    up = (low > 0x8000) | ((low == 0x8000) & ((kept >> 16) % 2 == 1))
    return (kept + up.int() * 0x10000).view(torch.float32)
#:
def mixed_product(x, weight, threshold):
    near = (x.abs().amax(dim=0) < threshold).float()
    a, b = x * near, weight * near
    sa, sb = a.abs().max(dim=1, keepdim=True).values, b.abs().max(dim=1).values
    codes_a, codes_b = (a * 127 / sa).round().int(), (b * 127 / sb[:, None]).round().int()
    return (codes_a.long() @ codes_b.long().T).float() * (sa / 127) * (sb / 127) + (x * (1 - near)) @ weight.T
#:
def mixed_product(x, weight, threshold):
    far = [j for j in range(x.shape[1]) if x[:, j].abs().max() >= threshold]
    near = [j for j in range(x.shape[1]) if j not in far]

    def rounded(m):
        scale = m.abs().amax(dim=1, keepdim=True) / 127
        return torch.round(m / scale) * scale

    return rounded(x[:, near]) @ rounded(weight[:, near]).T + x[:, far] @ weight[:, far].T
'''),
]  # fmt: skip
