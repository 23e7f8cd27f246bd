"""Answers to the bits of lesson 10, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: a group is of constants, so its 32 bits serve block · group weights
def bits_per_parameter(block, group):
    if group is None:
        return 4 + 32 / block
    return 4 + 8 / block + 32 / group
#: its four bytes are 32 bits
def bits_per_parameter(block, group):
    if group is None:
        return 4 + 4 / block
    return 4 + (1 + 4 / group) / block
#: the four bits of the code are missing
def bits_per_parameter(block, group):
    if group is None:
        return 32 / block
    return 8 / block + 32 / (block * group)
#: TypeError: unsupported operand type(s) for *: 'int' and 'NoneType'
def bits_per_parameter(block, group):
    return 4 + 8 / block + 32 / (block * group)
#: are exchanged
def bits_per_parameter(block, group):
    if group is None:
        return 4 + 32 / block
    return 4 + 32 / block + 8 / (block * group)
#: the mean of all constants
def double_quantize(absmax, levels):
    c = absmax.view(-1, 256)
    mean = c.mean(dim=1, keepdim=True)
    t = (c - mean).abs().amax(dim=1)
    k = (((c - mean) / t[:, None])[:, :, None] - levels).abs().argmin(dim=-1)
    return k.view(-1).to(torch.uint8), t, mean
#: that is the largest offset, and the largest magnitude may be a negative one
def double_quantize(absmax, levels):
    mean = absmax.mean()
    c = (absmax - mean).view(-1, 256)
    t = c.amax(dim=1)
    k = ((c / t[:, None])[:, :, None] - levels).abs().argmin(dim=-1)
    return k.view(-1).to(torch.uint8), t, mean
#: first subtract the mean
def double_quantize(absmax, levels):
    mean = absmax.mean()
    c = absmax.view(-1, 256)
    t = c.abs().amax(dim=1)
    k = ((c / t[:, None])[:, :, None] - levels).abs().argmin(dim=-1)
    return k.view(-1).to(torch.uint8), t, mean
#: one for each group of 256, not one for all
def double_quantize(absmax, levels):
    mean = absmax.mean()
    c = absmax - mean
    t = c.abs().max()
    k = ((c / t)[:, None] - levels).abs().argmin(dim=-1)
    return k.to(torch.uint8), t, mean
#: make them uint8
def double_quantize(absmax, levels):
    mean = absmax.mean()
    c = (absmax - mean).view(-1, 256)
    t = c.abs().amax(dim=1)
    k = ((c / t[:, None])[:, :, None] - levels).abs().argmin(dim=-1)
    return k.view(-1), t, mean
#: 0.8383 is nearest
def double_quantize(absmax, levels):
    mean = absmax.mean()
    c = (absmax - mean).view(-1, 256)
    t = c.abs().amax(dim=1)
    k = torch.bucketize((c / t[:, None]).contiguous(), levels).clamp(max=len(levels) - 1)
    return k.view(-1).to(torch.uint8), t, mean
#: -0.5008 is nearest
def double_quantize(absmax, levels):
    mean = absmax.mean()
    c = (absmax - mean).view(-1, 256)
    t = c.abs().amax(dim=1)
    k = torch.round((c / t[:, None] + 1) / 2 * (len(levels) - 1))
    return k.view(-1).to(torch.uint8), t, mean
#: codes.long()
def restore_constants(codes, scale, mean, levels):
    return levels[codes] * scale.repeat_interleave(256) + mean
#: repeat_interleave(256), not repeat
def restore_constants(codes, scale, mean, levels):
    return levels[codes.long()] * scale.repeat(256) + mean
#: the mean is missing
def restore_constants(codes, scale, mean, levels):
    return levels[codes.long()] * scale.repeat_interleave(256)
#: one constant a code
def restore_constants(codes, scale, mean, levels):
    return levels[codes.long()].view(-1, 256) * scale[:, None] + mean
#: it comes back after the product
def restore_constants(codes, scale, mean, levels):
    return (levels[codes.long()] + mean) * scale.repeat_interleave(256)
#: levels need not be even steps
def restore_constants(codes, scale, mean, levels):
    return (codes.float() / 127.5 - 1) * scale.repeat_interleave(256) + mean
#: do not fit into int8
def restore_constants(codes, scale, mean, levels):
    return levels[codes.to(torch.int8).long()] * scale.repeat_interleave(256) + mean
""")

RIGHT = cells(r"""
#:
def bits_per_parameter(block, group):
    if group is None:
        return 4 + 32 / block
    return 4 + (8 + 32 / group) / block
#:
def double_quantize(absmax, levels):
    mean = absmax.mean()
    c = (absmax - mean).view(-1, 256)
    t = c.abs().amax(dim=1)
    k = ((c / t[:, None])[:, :, None] - levels).abs().argmin(dim=-1)
    return k.view(-1).to(torch.uint8), t, mean
#:
def restore_constants(codes, scale, mean, levels):
    return levels[codes.long()] * scale.repeat_interleave(256) + mean
""")
