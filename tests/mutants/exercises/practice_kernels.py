"""Answers to exercise 33's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer

_QUANTIZE = """
def quantize_program(p, values, midpoints, block_size, rows):
    mine = values[p * rows * block_size : (p + 1) * rows * block_size]
    blocks = -(-len(mine) // block_size)
    padded = torch.zeros(blocks * block_size)
    padded[: len(mine)] = mine
    tile = padded.view(blocks, block_size)
    absmax = tile.abs().amax(dim=1)
    scaled = tile / torch.where(absmax > 0, absmax, 1.0)[:, None]
    codes = (scaled.flatten()[: len(mine), None] > midpoints).sum(dim=1)
    return (16 * codes[0::2] + codes[1::2]).to(torch.uint8), absmax
"""
_PRODUCT = """
def product_program(p, x, packed, absmax, levels, block_size, rows):
    mine, constants = packed[p * rows : (p + 1) * rows], absmax[p * rows : (p + 1) * rows]
    total = torch.zeros(len(x), len(mine))
    for block in range(constants.shape[1]):
        first = block * block_size
        half = mine[:, first // 2 : (first + block_size) // 2]
        codes = torch.stack([half >> 4, half & 15], dim=2).flatten(1).long()
        part = x[:, first : first + block_size] @ levels[codes].T
        total += part * constants[:, block]
    return total
"""


def _changed(task: str, code: str, *changes: tuple[str, str], says: str) -> Answer:
    for before, after in changes:
        assert before in code, before
        code = code.replace(before, after)
    return Answer(task=task, code=code, says=says)


def _quantize(*changes: tuple[str, str], says: str) -> Answer:
    return _changed("quantize_program", _QUANTIZE, *changes, says=says)


def _product(*changes: tuple[str, str], says: str) -> Answer:
    return _changed("product_program", _PRODUCT, *changes, says=says)


ANSWERS = [
    _quantize(("tile.abs().amax(dim=1)", "tile.amax(dim=1)"), says="not the largest magnitude"),
    _quantize(("tile.abs().amax(dim=1)", "tile.abs().amax().expand(blocks)"), says="the same constant for all blocks"),
    _quantize(("torch.where(absmax > 0, absmax, 1.0)[:, None]", "absmax[:, None]"), says="0 / 0"),
    _quantize(
        ("absmax = tile.abs().amax(dim=1)", "absmax = tile.abs().amax(dim=1).clone(); absmax[absmax == 0] = 1.0"),
        says="1 for a block of zeros",
    ),
    _quantize(("> midpoints", ">= midpoints"), says="it is not below"),
    _quantize(("codes[0::2] + codes[1::2]", "codes[1::2] + codes[0::2]"), says="the wrong way round"),
    _quantize(
        ("16 * codes[0::2] + codes[1::2]", "16 * codes[: len(codes) // 2] + codes[len(codes) // 2 :]"),
        says="neighbours share a byte",
    ),
    _quantize((" / torch.where(absmax > 0, absmax, 1.0)[:, None]", ""), says="not divided"),
    _quantize((".to(torch.uint8)", ""), says="wanted uint8"),
    _quantize(
        ("p * rows * block_size : (p + 1) * rows * block_size", "p * block_size : (p + rows) * block_size"),
        says="absmax of program",
    ),
    _quantize(("flatten()[: len(mine), None]", "flatten()[:, None]"), says="packed of program"),
    _quantize((", absmax\n", "\n"), says="absmax"),
    _quantize(("padded[: len(mine)] = mine", "padded[: len(mine)] = mine; mine /= 2"), says="changes values"),
    _product(("[half >> 4, half & 15]", "[half & 15, half >> 4]"), says="the wrong way round"),
    _product(("dim=2).flatten(1)", "dim=1).flatten(1)"), says="within a block all high nibbles"),
    _product((" * constants[:, block]", ""), says="the constants are missing"),
    _product(("levels[codes].T", "codes.float().T"), says="the codes themselves"),
    _product(("constants[:, block]", "constants[:, 0]"), says="the first one's constants"),
    _product(("total += part", "total = part"), says="only the last block of columns"),
    _product(("x[:, first : first + block_size]", "x[:, :block_size]"), says="every block meets x's first columns"),
    _product(
        ("packed[p * rows : (p + 1) * rows]", "packed[:rows]"),
        ("absmax[p * rows : (p + 1) * rows]", "absmax[:rows]"),
        says="program",
    ),
    _product(
        ("absmax[p * rows : (p + 1) * rows]", "absmax[: len(packed[p * rows : (p + 1) * rows])]"),
        says="the constants are those of program 0's rows",
    ),
    _product(("return total", "return total.T"), says="has the shape"),
    _product(("    return total", ""), says="is a return missing"),
    _product(("    mine,", "    absmax *= 2\n    mine,"), says="changes absmax"),
    _product((".long()", ""), says="for a mask: make the codes whole numbers"),
    _product((" * constants[:, block]", " * absmax[:, block]"), says="those of its own rows?"),
    _product(("levels[codes].T", "levels[codes]"), says="is a .T missing?"),
    _quantize(
        ("padded = torch.zeros(blocks * block_size)", "padded = mine.view(-1, block_size).flatten()"),
        says="may be short",
    ),
]

RIGHT = [
    Answer(
        task="quantize_program",
        code="""
def quantize_program(p, values, midpoints, block_size, rows):
    stored, constants = [], []
    for block in range(p * rows, (p + 1) * rows):
        mine = values[block * block_size : (block + 1) * block_size]
        if len(mine) == 0:
            break
        largest = max(abs(v) for v in mine.tolist())
        constants.append(largest)
        for value in mine.tolist():
            scaled = value / largest if largest else 0.0
            stored.append(sum(m < scaled for m in midpoints.tolist()))
    packed = [16 * a + b for a, b in zip(stored[::2], stored[1::2])]
    return torch.tensor(packed, dtype=torch.uint8), torch.tensor(constants)
""",
    ),
    Answer(
        task="quantize_program",
        code="""
def quantize_program(p, values, midpoints, block_size, rows):
    number = torch.arange(p * rows * block_size, (p + 1) * rows * block_size)
    inside = number < len(values)
    tile = torch.where(inside, values[number.clamp(max=len(values) - 1)], 0.0)
    blocks = -(-int(inside.sum()) // block_size)
    absmax = tile.view(rows, block_size).abs().max(dim=1).values
    scaled = torch.nan_to_num(tile.view(rows, block_size) / absmax[:, None]).flatten()
    codes = torch.searchsorted(midpoints, scaled)
    packed = codes.view(-1, 2) @ torch.tensor([16, 1])
    return packed[inside[::2]].to(torch.uint8), absmax[:blocks]
""",
    ),
    Answer(
        task="product_program",
        code="""
def product_program(p, x, packed, absmax, levels, block_size, rows):
    outputs = []
    for row in range(p * rows, min((p + 1) * rows, len(packed))):
        codes = torch.stack([packed[row] >> 4, packed[row] & 15], dim=1).flatten().long()
        weight = levels[codes] * absmax[row].repeat_interleave(block_size)
        outputs.append(x @ weight)
    return torch.stack(outputs, dim=1)
""",
    ),
    Answer(
        task="product_program",
        code="""
def product_program(p, x, packed, absmax, levels, block_size, rows):
    mine, constants = packed[p * rows : (p + 1) * rows], absmax[p * rows : (p + 1) * rows]
    high, low = levels[(mine // 16).long()], levels[(mine % 16).long()]
    blocks = constants.shape[1]
    even = x[:, 0::2].view(len(x), blocks, -1)
    odd = x[:, 1::2].view(len(x), blocks, -1)
    high, low = high.view(len(mine), blocks, -1), low.view(len(mine), blocks, -1)
    parts = torch.einsum("tbi,rbi->trb", even, high) + torch.einsum("tbi,rbi->trb", odd, low)
    return (parts * constants).sum(dim=2)
""",
    ),
]
