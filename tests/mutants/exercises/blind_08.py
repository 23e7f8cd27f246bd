"""Answers to the tasks of notebook 08, from their words alone, by somebody who had not seen the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: the first of each pair stands in the high half
def pack_nibbles(codes):
    if len(codes) % 2:
        codes = torch.cat([codes, codes.new_zeros(1)])
    return codes[0::2] + codes[1::2] * 16
#: neighbours share a byte
def pack_nibbles(codes):
    half = (len(codes) + 1) // 2
    low = torch.zeros(half, dtype=torch.uint8)
    low[:len(codes) - half] = codes[half:]
    return codes[:half] * 16 + low
#: the odd last code stands in the high half of its byte too
def pack_nibbles(codes):
    out = []
    for i in range(0, len(codes) - 1, 2):
        out.append(int(codes[i]) * 16 + int(codes[i + 1]))
    if len(codes) % 2:
        out.append(int(codes[-1]))
    return torch.tensor(out, dtype=torch.uint8)
#: the largest *magnitude* may be a negative one's
def quantize_flat(weight, size):
    codes, scales = [], []
    for block in weight.flatten().split(size):
        scale = (block.max() / 127).clamp(min=0)
        codes.append((block / scale).round().nan_to_num(0).clamp(-127, 127).to(torch.int8))
        scales.append(scale)
    return torch.cat(codes), torch.stack(scales)
#: what was padded at the end is no weight
def quantize_flat(weight, size):
    flat = weight.flatten()
    flat = torch.cat([flat, flat.new_zeros(-len(flat) % size)]).view(-1, size)
    scales = flat.abs().amax(dim=1) / 127
    codes = (flat / scales[:, None]).round().nan_to_num().to(torch.int8)
    return codes.flatten(), scales
#: not always the upper
def to_bfloat16(x):
    bits = x.view(torch.int32)
    return ((bits + 0x8000) & ~0xFFFF).view(torch.float32)
#: your code changes x
def to_bfloat16(x):
    bits = x.view(torch.int32)
    bits += 0x7FFF + ((bits >> 16) & 1)
    bits &= ~0xFFFF
    return bits.view(torch.float32)
#: its sign is lost
def to_bfloat16(x):
    bits = x.abs().view(torch.int32)
    last = (bits >> 16) & 1
    return ((bits + 0x7FFF + last) & ~0xFFFF).view(torch.float32)
#: take the outliers' features out first
def mixed_product(x, weight, threshold):
    far = (x.abs() >= threshold).any(dim=0)
    of_x = x.abs().amax(dim=1, keepdim=True) / 127
    of_w = weight.abs().amax(dim=1, keepdim=True) / 127
    y = ((x / of_x).round()[:, ~far] @ (weight / of_w).round()[:, ~far].T) * of_x * of_w.T
    return y + x[:, far] @ weight[:, far].T
#: its magnitude decides
def mixed_product(x, weight, threshold):
    far = (x >= threshold).any(dim=0)
    y = x[:, far] @ weight[:, far].T
    x, weight = x[:, ~far], weight[:, ~far]
    of_x = x.abs().amax(dim=1, keepdim=True) / 127
    of_w = weight.abs().amax(dim=1, keepdim=True) / 127
    return y + ((x / of_x).round() @ (weight / of_w).round().T) * of_x * of_w.T
#: not before the first
def pack_nibbles(codes):
    if len(codes) % 2:
        codes = torch.cat([codes.new_zeros(1), codes])
    return codes[0::2] * 16 + codes[1::2]
#: is all zero, and your scale of it is not
def quantize_flat(weight, size):
    codes, scales = [], []
    for block in weight.flatten().split(size):
        scale = block.abs().max() / 127
        if scale == 0:
            scale = torch.tensor(1.0)
        codes.append((block / scale).round().to(torch.int8))
        scales.append(scale)
    return torch.cat(codes), torch.stack(scales)
#: rounded to the nearest, and not cut off
def quantize_flat(weight, size):
    codes, scales = [], []
    for block in weight.flatten().split(size):
        scale = block.abs().max() / 127
        codes.append((block / (scale if scale > 0 else 1)).to(torch.int8))
        scales.append(scale)
    return torch.cat(codes), torch.stack(scales)
#: by the magnitudes of x alone
def mixed_product(x, weight, threshold):
    far = (x.abs() >= threshold).any(dim=0) | (weight.abs() >= threshold).any(dim=0)
    y = x[:, far] @ weight[:, far].T
    x, weight = x[:, ~far], weight[:, ~far]
    of_x = x.abs().amax(dim=1, keepdim=True) / 127
    of_w = weight.abs().amax(dim=1, keepdim=True) / 127
    return y + ((x / of_x).round() @ (weight / of_w).round().T) * of_x * of_w.T
#: runs over at 127
def mixed_product(x, weight, threshold):
    far = (x.abs() >= threshold).any(dim=0)
    y = x[:, far] @ weight[:, far].T
    x, weight = x[:, ~far], weight[:, ~far]
    of_x = x.abs().amax(dim=1, keepdim=True) / 127
    of_w = weight.abs().amax(dim=1, keepdim=True) / 127
    codes_x, codes_w = (x / of_x).round().to(torch.int8), (weight / of_w).round().to(torch.int8)
    return y + (codes_x @ codes_w.T) * of_x * of_w.T
#: not cut off
def mixed_product(x, weight, threshold):
    far = (x.abs() >= threshold).any(dim=0)
    y = x[:, far] @ weight[:, far].T
    x, weight = x[:, ~far], weight[:, ~far]
    of_x = x.abs().amax(dim=1, keepdim=True) / 127
    of_w = weight.abs().amax(dim=1, keepdim=True) / 127
    return y + ((x / of_x).trunc() @ (weight / of_w).trunc().T) * of_x * of_w.T
#: not down
def mixed_product(x, weight, threshold):
    far = (x.abs() >= threshold).any(dim=0)
    y = x[:, far] @ weight[:, far].T
    x, weight = x[:, ~far], weight[:, ~far]
    of_x = x.abs().amax(dim=1, keepdim=True) / 127
    of_w = weight.abs().amax(dim=1, keepdim=True) / 127
    return y + ((x / of_x).floor() @ (weight / of_w).floor().T) * of_x * of_w.T
""")

RIGHT = cells("""
#:
def pack_nibbles(codes):
    if len(codes) % 2:
        codes = torch.cat([codes, codes.new_zeros(1)])
    return codes[0::2] * 16 + codes[1::2]
#:
def quantize_flat(weight, size):
    codes, scales = [], []
    for block in weight.flatten().split(size):
        scale = block.abs().max() / 127
        codes.append((block / scale).round().to(torch.int8) if scale > 0 else torch.zeros(len(block), dtype=torch.int8))
        scales.append(scale)
    return torch.cat(codes), torch.stack(scales)
#:
def to_bfloat16(x):
    bits = x.view(torch.int32)
    last = (bits >> 16) & 1
    return ((bits + 0x7FFF + last) & ~0xFFFF).view(torch.float32)
#:
def mixed_product(x, weight, threshold):
    far = (x.abs() >= threshold).any(dim=0)
    y = x[:, far] @ weight[:, far].T
    if far.all():
        return y
    x, weight = x[:, ~far], weight[:, ~far]
    of_x = x.abs().amax(dim=1, keepdim=True) / 127
    of_w = weight.abs().amax(dim=1, keepdim=True) / 127
    return y + ((x / of_x).round() @ (weight / of_w).round().T) * of_x * of_w.T
#:
def mixed_product(x, weight, threshold):
    far = x.abs().amax(dim=0) >= threshold
    y = x[:, far] @ weight[:, far].T
    near_x, near_w = x[:, ~far], weight[:, ~far]
    of_x = near_x.abs().amax(dim=1) / 127
    of_w = near_w.abs().amax(dim=1) / 127
    codes = torch.round(near_x / of_x[:, None]) @ torch.round(near_w / of_w[:, None]).T
    return y + codes * of_x[:, None] * of_w
""")
