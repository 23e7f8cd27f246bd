"""Answers to the tasks of notebook 33, from their words alone, by somebody who had not seen the checks."""

from tests.mutants.exercises.answer import Answer, cells

ANSWERS = [
    *cells("""
#: packed, then absmax
def quantize_program(p, values, midpoints, block_size, rows):
    part = values[p * rows * block_size : (p + 1) * rows * block_size]
    codes, absmax = [], []
    for first in range(0, len(part), block_size):
        block = part[first : first + block_size]
        largest = block.abs().max()
        absmax.append(largest)
        scaled = block / largest if largest > 0 else block
        for v in scaled:
            codes.append(int((v > midpoints).sum()))
    codes = torch.tensor(codes)
    return torch.stack(absmax), (codes[0::2] * 16 + codes[1::2]).to(torch.uint8)
#: it is not below
def quantize_program(p, values, midpoints, block_size, rows):
    part = values[p * rows * block_size : (p + 1) * rows * block_size]
    codes, absmax = [], []
    for first in range(0, len(part), block_size):
        block = part[first : first + block_size]
        largest = block.abs().max()
        absmax.append(largest)
        scaled = block / largest if largest > 0 else block
        for v in scaled:
            codes.append(int(torch.searchsorted(midpoints, v, right=True)))
    codes = torch.tensor(codes)
    return (codes[0::2] * 16 + codes[1::2]).to(torch.uint8), torch.stack(absmax)
#: the constants of the program's first
def product_program(p, x, packed, absmax, levels, block_size, rows):
    mine = packed[p * rows : (p + 1) * rows].long()
    constants = absmax[p * rows : (p + 1) * rows]
    codes = torch.stack([mine >> 4, mine & 15], dim=-1).reshape(len(mine), -1)
    y = torch.zeros(x.shape[0], len(mine))
    for b in range(constants.shape[1]):
        cols = slice(b * block_size, (b + 1) * block_size)
        y += (x[:, cols] @ levels[codes[:, cols]].T) * constants[0, b]
    return y
#: y of program
def product_program(p, x, packed, absmax, levels, block_size, rows):
    mine = packed[p * rows : (p + 1) * rows].long()
    constants = absmax[p * rows : (p + 1) * rows]
    codes = torch.stack([mine >> 4, mine & 15], dim=-1).reshape(len(mine), -1)
    y = torch.zeros(x.shape[0], rows)
    for b in range(constants.shape[1]):
        cols = slice(b * block_size, (b + 1) * block_size)
        y[:, : len(mine)] += (x[:, cols] @ levels[codes[:, cols]].T) * constants[:, b]
    return y
"""),
]

RIGHT = [
    Answer(
        task="product_program",
        code="""
def product_program(p, x, packed, absmax, levels, block_size, rows):
    mine = packed[p * rows : (p + 1) * rows].long()
    codes = torch.stack([mine >> 4, mine & 15], dim=-1).reshape(len(mine), -1)
    w = levels[codes] * absmax[p * rows : (p + 1) * rows].repeat_interleave(block_size, 1)
    return x @ w.T
""",
    ),
]
