"""Answers to exercise 09's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer, cells

_CODES = """
def nearest_codes(values, levels):
    midpoints = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(values, midpoints)
"""
_TABLE = """
def normal_levels(bits):
    n = 2**bits
    p_max = (1 - 1 / (2 * (n - 1)) + 1 - 1 / (2 * n)) / 2
    def half(count):
        p = torch.linspace(p_max, 0.5, count + 1)[:-1]
        return torch.special.ndtri(p)
    levels = torch.cat([-half(n // 2 - 1), torch.zeros(1), half(n // 2)]).sort().values
    return levels / levels.max()
"""
_BACK = """
def restore_packed(packed, absmax, levels, shape, size):
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[: math.prod(shape)]
    scale = absmax.repeat_interleave(size)[: len(codes)]
    return (levels[codes.int()] * scale).view(shape)
"""
_FOUR_BITS = """
from lora_lab.exercises.practice.parcels import pack

def fewest_bytes(weight, inputs):
    levels = quant.NF4.values
    blocks = weight.view(5, 32, 96)
    scale = blocks.abs().amax(dim=1)
    codes = quant.NF4.encode(blocks / scale[:, None]).view(160, 96)
    return [{"columns": torch.arange(96).byte(), "codes": pack(codes, 4), "levels": levels, "scale": scale}]
"""


def _changed(code: str, before: str, after: str, says: str = "") -> Answer:
    assert code.count(before) == 1, before
    return Answer(code.split("def ")[1].split("(")[0], code.replace(before, after), says)


def _codes(before: str, after: str, says: str) -> Answer:
    return _changed(_CODES, before, after, says)


def _table(before: str, after: str, says: str = "") -> Answer:
    return _changed(_TABLE, before, after, says)


def _back(before: str, after: str, says: str) -> Answer:
    return _changed(_BACK, before, after, says)


def _puzzle(before: str, after: str, says: str = "") -> Answer:
    return _changed(_FOUR_BITS, before, after, says)


_LAST = 'return [{"columns": torch.arange(96).byte(), "codes": pack(codes, 4), "levels": levels, "scale": scale}]'

ANSWERS = [
    _codes("(values, midpoints)", "(values, midpoints, right=True)", "there the lower level is taken"),
    _codes("(values, midpoints)", "(values, levels)", "another level is nearer"),
    _codes("return torch.bucketize(values, midpoints)", "return levels[torch.bucketize(values, midpoints)]",
     "yours are the levels themselves"),
    _codes("(values, midpoints)", "(values, midpoints) + 1", "codes count from 0"),
    _codes("(values, midpoints)", "(values.flatten(), midpoints)", "has the shape"),
    _codes("(values, midpoints)", "(values, midpoints).float()", "a code is a whole number"),
    _codes("return torch.bucketize(values, midpoints)", "return (values - levels).abs().argmin()",
     "your code stopped in line"),
    _codes("(values, midpoints)", "(values.clamp_(-1, 1), midpoints)", "your code changes values"),
    _table("return levels / levels.max()", "return levels", "divide by it"),
    _table(".sort().values", "", "are not ascending"),
    _table("half(n // 2 - 1)", "half(n // 2)", "yours has"),
    _table("count + 1)[:-1]", "count)", "exact zeros"),
    _table("p_max = (1 - 1 / (2 * (n - 1)) + 1 - 1 / (2 * n)) / 2", "p_max = 0.9677083", "p_max is that of 4 bits"),
    _table("p_max = (1 - 1 / (2 * (n - 1)) + 1 - 1 / (2 * n)) / 2", "p_max = 1 - 1 / (2 * n)",
     "p_max is the mean of two"),
    _table("p_max = (1 - 1 / (2 * (n - 1)) + 1 - 1 / (2 * n)) / 2", "p_max = 1.0", "infinity"),
    _table("torch.special.ndtri(p)", "2 * p - 1", "the probabilities are, not the levels"),
    _table("-half(n // 2 - 1)", "-half(n // 2)[1:]", "its largest"),
    _table("[-half(n // 2 - 1), torch.zeros(1), half(n // 2)]", "[-half(n // 2), torch.zeros(1), half(n // 2 - 1)]",
     "one fewer below"),
    _table("n = 2**bits", "n = 16", "yours has"),
    _back("[packed >> 4, packed & 15]", "[packed & 15, packed >> 4]", "stands in its high half"),
    _back("torch.stack([packed >> 4, packed & 15], dim=1).flatten()", "torch.cat([packed >> 4, packed & 15])",
     "are neighbours"),
    _back(" * scale", "", "still to be multiplied"),
    _back("absmax.repeat_interleave(size)", "absmax.repeat(size)", "repeat_interleave, not repeat"),
    _back("[: math.prod(shape)]", "", "your code stopped"),
    _back(".view(shape)", "", "has the shape"),
    _back(" * scale", " / scale", "so multiply here"),
    _back(" * scale", " * absmax.max()", "an absmax of its own"),
    _back("codes.int()", "codes", "your code stopped"),
    _puzzle("torch.arange(96).byte()", "torch.arange(95).byte()", "which does not go with the others"),
    _puzzle(_LAST, "return [{'weight': weight}]", "it must have"),
    _puzzle(_LAST, "return [{'columns': torch.arange(96).byte(), 'values': weight}]", "and 10,000 are allowed"),
    _puzzle(_LAST, "return [{'columns': torch.arange(48).byte(), 'values': weight[:, :48].to(torch.float8_e4m3fn)}]",
     "is allowed"),
    _puzzle(_LAST, "return []", "No piece adds anything"),
    _puzzle(_LAST, "return weight", "a list of dictionaries"),
    _puzzle("pack(codes, 4)", "codes", "which does not go with the others"),
    _puzzle(_LAST, "U, S, Vh = torch.linalg.svd(weight)\n    return [{'B': U[:, :8] * S[:8], 'A': Vh[:8]}]",
     "is allowed"),
    _puzzle("torch.arange(96).byte()", "torch.zeros(96).byte()", "name one twice"),
    _puzzle("torch.arange(96).byte()", "torch.arange(1, 97).byte()", "there are 0 to 95"),
    _puzzle('"scale": scale', '"scale": scale / 0', "not finite"),
    _puzzle('"levels": levels', '"levels": levels[:15]', "2, 4, 8"),
    *cells('''
#: No piece adds anything
def fewest_bytes(weight, inputs):
    kept = torch.zeros(160, 0, dtype=torch.float16)
    return [{"columns": torch.zeros(0).byte(), "values": kept}]
#: it must have
kept = {}

def fewest_bytes(weight, inputs):
    kept[len(kept)] = weight
    return [{"number": torch.tensor([len(kept) - 1])}]
'''),
]  # fmt: skip

RIGHT = [
    *cells('''
#:
def nearest_codes(values, levels):
    return (values[..., None].double() - levels.double()).abs().argmin(dim=-1).to(torch.uint8)
#:
def nearest_codes(values, levels):
    codes = torch.zeros(values.shape, dtype=torch.int32)
    for low, high in zip(levels, levels[1:]):
        codes += values > (low + high) / 2
    return codes
'''),
    Answer("normal_levels", "def normal_levels(bits):\n    return quant.normal_float(bits).values\n"),
    *cells('''
#:
def normal_levels(bits):
    half = 2 ** (bits - 1)
    top = 1 - 1 / (4 * (2 * half - 1)) - 1 / (8 * half)
    quantile = torch.distributions.Normal(0.0, 1.0).icdf
    above = [float(quantile(torch.tensor(0.5 + (top - 0.5) * k / half))) for k in range(1, half + 1)]
    below = [-float(quantile(torch.tensor(0.5 + (top - 0.5) * k / (half - 1)))) for k in range(1, half)]
    return torch.tensor(sorted([*below, 0.0, *above])) / above[-1]
#:
def restore_packed(packed, absmax, levels, shape, size):
    weight = torch.empty(math.prod(shape))
    for k in range(len(weight)):
        byte = int(packed[k // 2])
        weight[k] = levels[byte % 16 if k % 2 else byte // 16] * absmax[k // size]
    return weight.view(shape)
#:
def restore_packed(packed, absmax, levels, shape, size):
    codes = torch.empty(2 * len(packed), dtype=torch.long)
    codes[0::2], codes[1::2] = packed // 16, packed % 16
    numel = torch.Size(shape).numel()
    values = F.pad(levels[codes[:numel]], (0, -numel % size)).view(-1, size) * absmax[:, None]
    return values.flatten()[:numel].reshape(shape)
'''),
    _puzzle("levels = quant.NF4.values", "levels = quant.NF4.values"),
    _puzzle('"levels": levels, "scale": scale', '"levels": levels.half(), "scale": scale.bfloat16()'),
    *cells('''
#:
def fewest_bytes(weight, inputs):
    size = inputs.square().mean(dim=0).sqrt()
    U, S, Vh = torch.linalg.svd(weight * size, full_matrices=False)
    B, A = (U[:, :9] * S[:9]).half(), (Vh[:9] / size).half()
    loud = size.argsort(descending=True)[:8]
    rest = (weight - B.float() @ A.float())[:, loud]
    return ({"A": A, "B": B}, {"columns": loud, "values": rest.to(torch.float8_e5m2)})
'''),
]  # fmt: skip
