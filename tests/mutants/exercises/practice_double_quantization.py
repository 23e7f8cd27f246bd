"""Answers to exercise 10's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer, cells

_CONSTANTS = """
def bytes_of_constants(numel, block, group):
    blocks = math.ceil(numel / block)
    if group is None:
        return 4 * blocks
    groups = math.ceil(blocks / group)
    return blocks + 4 * groups + 4
"""
_MODEL = """
def model_bits(tensors, skipped, block):
    stored = numbers = 0
    for name, shape in tensors.items():
        count = math.prod(shape)
        numbers += count
        module = name.split(".")[-2]
        if len(shape) == 2 and module not in skipped:
            stored += math.ceil(count / 2) + 4 * math.ceil(count / block)
        else:
            stored += 2 * count
    return 8 * stored / numbers
"""
_RANGE = """
def range_constants(absmax, group):
    codes, lows, steps = [], [], []
    for own in absmax.split(group):
        low, step = own.min(), (own.max() - own.min()) / 255
        codes.append(((own - low) / step).round() if step > 0 else torch.zeros_like(own))
        lows.append(low)
        steps.append(step)
    return torch.cat(codes).to(torch.uint8), torch.stack(lows), torch.stack(steps)
"""
_BLOCK = """
def largest_block(weight, levels, sizes, limit):
    def error(size):
        missed = 0.0
        for block in weight.flatten().split(size):
            absmax = block.abs().max()
            if absmax > 0:
                nearest = levels[(block[:, None] / absmax - levels).abs().argmin(dim=1)]
                missed += (nearest * absmax - block).square().sum().item()
        return math.sqrt(missed / weight.square().sum().item())
    for size in sorted(sizes, reverse=True):
        if error(size) <= limit:
            return size
    return None
"""


def _changed(code: str, before: str, after: str, says: str) -> Answer:
    assert code.count(before) == 1, before
    return Answer(code.split("def ")[1].split("(")[0], code.replace(before, after), says)


def _constants(before: str, after: str, says: str) -> Answer:
    return _changed(_CONSTANTS, before, after, says)


def _model(before: str, after: str, says: str) -> Answer:
    return _changed(_MODEL, before, after, says)


def _range(before: str, after: str, says: str) -> Answer:
    return _changed(_RANGE, before, after, says)


def _block(before: str, after: str, says: str) -> Answer:
    return _changed(_BLOCK, before, after, says)


ANSWERS = [
    _constants("4 * groups + 4", "4 * groups", "the mean is stored, too"),
    _constants("math.ceil(numel / block)", "numel // block", "the last block may be short"),
    _constants("math.ceil(numel / block)", "numel / block", "a short block has a whole constant"),
    _constants("math.ceil(blocks / group)", "blocks // group", "the last group may be short"),
    _constants("math.ceil(blocks / group)", "math.ceil(numel / group)", "a group is of constants"),
    _constants("return blocks + 4 * groups", "return 4 * blocks + 4 * groups", "in groups a constant has one byte"),
    _constants("4 * groups + 4", "8 * groups", "one mean for all groups"),
    _constants("return 4 * blocks", "return blocks", "4 bytes"),
    _constants("return 4 * blocks", "pass", "your code stopped in line 6"),
    _constants("return 4 * blocks", "return 32 * blocks", "those are bits"),
    _model("8 * stored / numbers", "stored / numbers", "that is bytes"),
    _model(" + 4 * math.ceil(count / block)", "", "the constants are missing"),
    _model("len(shape) == 2 and module", "module", "norms and biases are no matrices"),
    _model(" and module not in skipped", "", "look at what is skipped"),
    _model("module not in skipped", "not any(part in name for part in skipped)", "a name is skipped as a whole"),
    _model("math.ceil(count / block)", "(count // block)", "the last block of a tensor may be short"),
    _model("stored += 2 * count", "stored += 4 * count", "stored in 16 bits, not 32"),
    _model("math.ceil(count / 2)", "count / 2", "an odd last one fills a byte"),
    _model("stored += 2 * count", "numbers -= count", "and counts, too"),
    _model("return 8 * stored / numbers", "return 8 * stored", "divide by the number of numbers"),
    _range("/ 255", "/ 256", "there are 255 steps"),
    _range("low, step = own.min(),", "low, step = own.mean(),", "is the mean"),
    _range("low, step = own.min(), (own.max() - own.min()) / 255", "low, step = own.min() * 0, own.max() / 255",
     "the constants begin at their least"),
    _range("low, step = own.min(),", "low, step = absmax.min(),", "each group has its own"),
    _range("((own - low) / step).round()", "((own - low) / step).floor()", "not cut off"),
    _range("((own - low) / step).round()", "(own / step).round().clamp(0, 255)", "code = round("),
    _range(".to(torch.uint8)", "", "are torch.float32"),
    _range(".to(torch.uint8)", ".to(torch.int64)", "wanted uint8"),
    _range("absmax.split(group)", "absmax[: len(absmax) // group * group].split(group)", "has the shape"),
    _range(", torch.stack(steps)", "", "wanted 3: codes, low, step"),
    _range("(own.max() - own.min()) / 255", "own.max() / 255", "from the least to the largest"),
    Answer("range_constants", _RANGE.replace(" if step > 0 else torch.zeros_like(own)",
     "").replace(".to(torch.uint8)", ""), "equal constants only"),
    _block("math.sqrt(missed / weight.square().sum().item())", "missed / weight.square().sum().item()",
     "the error is a root"),
    _block("sorted(sizes, reverse=True)", "sorted(sizes)", "so is a larger one"),
    _block("sorted(sizes, reverse=True)", "sizes", "in no order"),
    Answer("largest_block", _BLOCK.replace("if absmax > 0:", "if True:").replace("(nearest * absmax - block)",
     "((nearest - block / absmax) * absmax)"), "a NaN is within no limit"),
    _block("    return None", "    return min(sizes)", "none is within it, so"),
    _block("nearest * absmax - block", "nearest - block", "still to be multiplied"),
    _block("block.abs().max()", "block.max()", "largest *magnitude*"),
    _block("return size", "return error(size)", "none of the sizes"),
    _block("<= limit", ">= limit", "the comparison is turned round"),
    _block("sorted(sizes, reverse=True)", "sizes.sort(reverse=True) or sizes", "your code changes sizes"),
]  # fmt: skip

RIGHT = [
    *cells('''
#:
def bytes_of_constants(numel, block, group):
    blocks = (numel + block - 1) // block
    return 4 * blocks if group is None else 4 + blocks + 4 * ((blocks + group - 1) // group)
#:
def bytes_of_constants(numel, block, group):
    constants = [block] * (numel // block) + [numel % block] * (numel % block > 0)
    if not group:
        return float(4 * len(constants))
    return len(constants) + 4 * len(torch.zeros(len(constants)).split(group)) + 4
#:
def model_bits(tensors, skipped, block):
    bits = {}
    for name, shape in tensors.items():
        n = torch.Size(shape).numel()
        four = len(shape) == 2 and name.rsplit(".", 2)[1 if name.count(".") > 1 else 0] not in skipped
        bits[name] = 8 * ((n + 1) // 2) + 32 * -(-n // block) if four else 16 * n
    return sum(bits.values()) / sum(torch.Size(shape).numel() for shape in tensors.values())
#:
def model_bits(tensors, skipped, block):
    total, weighed = 0, 0.0
    for name, shape in tensors.items():
        n = math.prod(shape)
        stays = len(shape) != 2 or name.split(".")[-2] in set(skipped)
        each = 16.0 if stays else 8 * (math.ceil(n / 2) + 4 * math.ceil(n / block)) / n
        total, weighed = total + n, weighed + n * each
    return weighed / total
#:
def range_constants(absmax, group):
    low = torch.stack([own.min() for own in absmax.split(group)])
    step = (torch.stack([own.max() for own in absmax.split(group)]) - low) / 255
    each = torch.arange(len(absmax)) // group
    codes = torch.nan_to_num((absmax - low[each]) / step[each])
    return codes.round().clamp(0, 255).byte(), low, step
#:
def range_constants(absmax, group):
    filled = F.pad(absmax[None, None], (0, -len(absmax) % group), mode="replicate").view(-1, group)
    low, high = filled.min(dim=1).values, filled.max(dim=1).values
    scale = torch.where(high > low, 255 / (high - low).clamp(min=1e-30), 0)
    codes = ((filled - low[:, None]) * scale[:, None]).round().to(torch.uint8).flatten()[: len(absmax)]
    return [codes, low, (high - low) / 255]
#:
def largest_block(weight, levels, sizes, limit):
    fitting = []
    for size in sizes:
        blocks = F.pad(weight.flatten(), (0, -weight.numel() % size)).view(-1, size)
        absmax = blocks.abs().amax(dim=1, keepdim=True).clamp(min=1e-30)
        codes = torch.bucketize(blocks / absmax, (levels[1:] + levels[:-1]) / 2)
        if (levels[codes] * absmax - blocks).norm() / weight.norm() <= limit:
            fitting.append(size)
    return max(fitting, default=None)
#:
def largest_block(weight, levels, sizes, limit):
    best = None
    for size in sizes:
        back = torch.cat([
            block.abs().max() * levels[(block[:, None] - block.abs().max() * levels).abs().argmin(dim=1)]
            for block in weight.flatten().split(size)
        ]).view(weight.shape)
        if float((back - weight).norm() / weight.norm()) <= limit and (best is None or size > best):
            best = size
    return best
'''),
]  # fmt: skip
