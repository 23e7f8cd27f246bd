"""Answers to the tasks of notebook 10, from their words alone, by somebody who had not seen the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: one mean for all groups
def bytes_of_constants(numel, block, group):
    blocks = math.ceil(numel / block)
    if group is None:
        return 4 * blocks
    groups = math.ceil(blocks / group)
    return blocks + 4 * groups + 4 * groups
#: a group is of constants, not of weights
def bytes_of_constants(numel, block, group):
    blocks = math.ceil(numel / block)
    if group is None:
        return 4 * blocks
    return blocks + 4 * math.ceil(numel / group) + 4
#: a name is skipped as a whole
def model_bits(tensors, skipped, block):
    total, numbers = 0, 0
    for name, shape in tensors.items():
        n = math.prod(shape)
        numbers += n
        if len(shape) == 2 and not any(each in name for each in skipped):
            total += math.ceil(n / 2) + 4 * math.ceil(n / block)
        else:
            total += 2 * n
    return 8 * total / numbers
#: the mean of tensors' bits
def model_bits(tensors, skipped, block):
    bits = []
    for name, shape in tensors.items():
        n = math.prod(shape)
        if len(shape) == 2 and name.split(".")[-2] not in skipped:
            bits.append(8 * (math.ceil(n / 2) + 4 * math.ceil(n / block)) / n)
        else:
            bits.append(16)
    return sum(bits) / len(bits)
#: rounded to the nearest, not cut off
def range_constants(absmax, group):
    codes, lows, steps = [], [], []
    for each in absmax.split(group):
        low = each.min()
        step = (each.max() - low) / 255
        codes.append(((each - low) / step).to(torch.uint8))
        lows.append(low)
        steps.append(step)
    return torch.cat(codes), torch.stack(lows), torch.stack(steps)
#: the constants begin at their least
def range_constants(absmax, group):
    n = len(absmax)
    padded = torch.cat([absmax, absmax.new_zeros(-n % group)]).view(-1, group)
    low = padded.min(dim=1).values
    step = (padded.max(dim=1).values - low) / 255
    codes = ((padded - low[:, None]) / step[:, None].clamp(min=1e-12)).round()
    return codes.flatten()[:n].to(torch.uint8), low, step
#: 255 steps
def range_constants(absmax, group):
    codes, lows, steps = [], [], []
    for each in absmax.split(group):
        low = each.min()
        step = (each.max() - low) / 256
        codes.append(((each - low) / (step if step > 0 else 1)).round().clamp(max=255).to(torch.uint8))
        lows.append(low)
        steps.append(step)
    return torch.cat(codes), torch.stack(lows), torch.stack(steps)
#: the first of the list that is within it
def largest_block(weight, levels, sizes, limit):
    flat = weight.flatten()
    for size in sizes:
        restored = []
        for block in flat.split(size):
            absmax = block.abs().max()
            codes = (block[:, None] / absmax.clamp(min=1e-9) - levels).abs().argmin(dim=1)
            restored.append(levels[codes] * absmax)
        error = (torch.cat(restored) - flat).norm() / flat.norm()
        if error <= limit:
            return size
#: take the root
def largest_block(weight, levels, sizes, limit):
    flat = weight.flatten()
    for size in sorted(sizes, reverse=True):
        restored = []
        for block in flat.split(size):
            absmax = block.abs().max()
            codes = (block[:, None] / absmax.clamp(min=1e-9) - levels).abs().argmin(dim=1)
            restored.append(levels[codes] * absmax)
        error = ((torch.cat(restored) - flat).square().sum() / flat.square().sum())
        if error <= limit:
            return size
    return None
#: the last block may be short, and its errors count
def largest_block(weight, levels, sizes, limit):
    flat = weight.flatten()
    for size in sorted(sizes, reverse=True):
        blocks = flat[: len(flat) // size * size].view(-1, size)
        if len(blocks) == 0:
            continue
        absmax = blocks.abs().amax(dim=1, keepdim=True)
        codes = (blocks[..., None] / absmax.clamp(min=1e-9)[..., None] - levels).abs().argmin(dim=-1)
        if (levels[codes] * absmax - blocks).norm() / blocks.norm() <= limit:
            return size
    return None
#: errors need not grow with the size
def largest_block(weight, levels, sizes, limit):
    flat = weight.flatten()
    def error(size):
        wrong = 0.0
        for block in flat.split(size):
            absmax = block.abs().max()
            if absmax > 0:
                restored = levels[(block[:, None] / absmax - levels).abs().argmin(dim=1)] * absmax
                wrong += float((restored - block).square().sum())
        return math.sqrt(wrong / float(flat.square().sum()))
    best = None
    for size in sorted(sizes):
        if error(size) > limit:
            break
        best = size
    return best
#: an error of exactly the limit is within it
def largest_block(weight, levels, sizes, limit):
    flat = weight.flatten()
    def error(size):
        wrong = 0.0
        for block in flat.split(size):
            absmax = block.abs().max()
            if absmax > 0:
                restored = levels[(block[:, None] / absmax - levels).abs().argmin(dim=1)] * absmax
                wrong += float((restored - block).square().sum())
        return math.sqrt(wrong / float(flat.square().sum()))
    return max((size for size in sizes if error(size) < limit), default=None)
#: a mean of the blocks' own errors
def largest_block(weight, levels, sizes, limit):
    for size in sorted(sizes, reverse=True):
        errors = []
        for block in weight.flatten().split(size):
            absmax = block.abs().max()
            if absmax > 0:
                restored = levels[(block[:, None] / absmax - levels).abs().argmin(dim=1)] * absmax
                errors.append(float((restored - block).norm() / block.norm()))
            else:
                errors.append(0.0)
        if sum(errors) / len(errors) <= limit:
            return size
    return None
#: largest *magnitude*
def largest_block(weight, levels, sizes, limit):
    flat = weight.flatten()
    for size in sorted(sizes, reverse=True):
        wrong = 0.0
        for block in flat.split(size):
            absmax = block.max().clamp(min=1e-9)
            restored = levels[(block[:, None] / absmax - levels).abs().argmin(dim=1)] * absmax
            wrong += float((restored - block).square().sum())
        if math.sqrt(wrong / float(flat.square().sum())) <= limit:
            return size
    return None
#: divides number by number
def largest_block(weight, levels, sizes, limit):
    flat = weight.flatten()
    for size in sorted(sizes, reverse=True):
        restored = []
        for block in flat.split(size):
            absmax = block.abs().max()
            restored.append(levels[(block[:, None] / absmax.clamp(min=1e-9) - levels).abs().argmin(dim=1)] * absmax)
        kept = flat != 0
        if ((torch.cat(restored) - flat)[kept] / flat[kept]).abs().mean() <= limit:
            return size
    return None
#: need not be evenly spaced
def largest_block(weight, levels, sizes, limit):
    flat, k = weight.flatten(), len(levels)
    for size in sorted(sizes, reverse=True):
        restored = []
        for block in flat.split(size):
            absmax = block.abs().max()
            codes = ((block / absmax.clamp(min=1e-9) + 1) / 2 * (k - 1)).round().long()
            restored.append(levels[codes] * absmax)
        if (torch.cat(restored) - flat).norm() / flat.norm() <= limit:
            return size
    return None
#: what has three is none
def model_bits(tensors, skipped, block):
    total, numbers = 0, 0
    for name, shape in tensors.items():
        n = math.prod(shape)
        numbers += n
        if len(shape) > 1 and name.split(".")[-2] not in skipped:
            total += math.ceil(n / 2) + 4 * math.ceil(n / block)
        else:
            total += 2 * n
    return 8 * total / numbers
#: an earlier part of the name does not count
def model_bits(tensors, skipped, block):
    total, numbers = 0, 0
    for name, shape in tensors.items():
        n = math.prod(shape)
        numbers += n
        if len(shape) == 2 and not set(name.split(".")) & set(skipped):
            total += math.ceil(n / 2) + 4 * math.ceil(n / block)
        else:
            total += 2 * n
    return 8 * total / numbers
#: yours looks at the first part
def model_bits(tensors, skipped, block):
    total, numbers = 0, 0
    for name, shape in tensors.items():
        n = math.prod(shape)
        numbers += n
        if len(shape) == 2 and name.split(".")[0] not in skipped:
            total += math.ceil(n / 2) + 4 * math.ceil(n / block)
        else:
            total += 2 * n
    return 8 * total / numbers
#: takes all that stands before .weight
def model_bits(tensors, skipped, block):
    total, numbers = 0, 0
    for name, shape in tensors.items():
        n = math.prod(shape)
        numbers += n
        if len(shape) == 2 and name[: -len(".weight")] not in skipped:
            total += math.ceil(n / 2) + 4 * math.ceil(n / block)
        else:
            total += 2 * n
    return 8 * total / numbers
#: rounded *up*
def model_bits(tensors, skipped, block):
    total, numbers = 0, 0
    for name, shape in tensors.items():
        n = math.prod(shape)
        numbers += n
        if len(shape) == 2 and name.split(".")[-2] not in skipped:
            total += n // 2 + 4 * math.ceil(n / block)
        else:
            total += 2 * n
    return 8 * total / numbers
#: blocks run on from row to row
def model_bits(tensors, skipped, block):
    total, numbers = 0, 0
    for name, shape in tensors.items():
        n = math.prod(shape)
        numbers += n
        if len(shape) == 2 and name.split(".")[-2] not in skipped:
            total += math.ceil(n / 2) + 4 * shape[0] * math.ceil(shape[1] / block)
        else:
            total += 2 * n
    return 8 * total / numbers
#: and not once for all
def model_bits(tensors, skipped, block):
    total, numbers, coded = 0, 0, 0
    for name, shape in tensors.items():
        n = math.prod(shape)
        numbers += n
        if len(shape) == 2 and name.split(".")[-2] not in skipped:
            total += math.ceil(n / 2)
            coded += n
        else:
            total += 2 * n
    return 8 * (total + 4 * math.ceil(coded / block)) / numbers
#: is something added to the step
def range_constants(absmax, group):
    codes, lows, steps = [], [], []
    for each in absmax.split(group):
        low = each.min()
        step = (each.max() - low) / 255
        codes.append(((each - low) / (step + 1e-5)).round().to(torch.uint8))
        lows.append(low)
        steps.append(step)
    return torch.cat(codes), torch.stack(lows), torch.stack(steps)
#: is not 0, and all of its constants are equal
def range_constants(absmax, group):
    codes, lows, steps = [], [], []
    for each in absmax.split(group):
        low = each.min()
        step = (each.max() - low) / 255 if each.max() > low else torch.tensor(1.0)
        codes.append(((each - low) / (step if step > 0 else 1)).round().to(torch.uint8))
        lows.append(low)
        steps.append(step)
    return torch.cat(codes), torch.stack(lows), torch.stack(steps)
#: is that of all constants
def range_constants(absmax, group):
    codes, lows, steps = [], [], []
    for each in absmax.split(group):
        low = absmax.min()
        step = (absmax.max() - low) / 255
        codes.append(((each - low) / (step if step > 0 else 1)).round().to(torch.uint8))
        lows.append(low)
        steps.append(step)
    return torch.cat(codes), torch.stack(lows), torch.stack(steps)
#: is that of all constants
def range_constants(absmax, group):
    codes, lows, steps = [], [], []
    for each in absmax.split(group):
        low = each.min()
        step = (absmax.max() - absmax.min()) / 255
        codes.append(((each - low) / (step if step > 0 else 1)).round().to(torch.uint8))
        lows.append(low)
        steps.append(step)
    return torch.cat(codes), torch.stack(lows), torch.stack(steps)
#: where the last block is full
def bytes_of_constants(numel, block, group):
    blocks = numel // block + 1
    if group is None:
        return 4 * blocks
    return blocks + 4 * (blocks // group + 1) + 4
#: where the last block or the last group is full
def bytes_of_constants(numel, block, group):
    blocks = math.ceil(numel / block)
    if group is None:
        return 4 * blocks
    return blocks + 4 * (blocks // group + 1) + 4
#: the last group may be short
def bytes_of_constants(numel, block, group):
    blocks = math.ceil(numel / block)
    if group is None:
        return 4 * blocks
    return blocks + 4 * (round(blocks / group)) + 4
#: from one dot to the next
def model_bits(tensors, skipped, block):
    total, numbers = 0, 0
    for name, shape in tensors.items():
        n = math.prod(shape)
        numbers += n
        if len(shape) == 2 and not any(name.endswith(each + ".weight") for each in skipped):
            total += math.ceil(n / 2) + 4 * math.ceil(n / block)
        else:
            total += 2 * n
    return 8 * total / numbers
""")

RIGHT = cells("""
#:
def bytes_of_constants(numel, block, group):
    blocks = math.ceil(numel / block)
    if group is None:
        return 4 * blocks
    return blocks + 4 * math.ceil(blocks / group) + 4
#:
def model_bits(tensors, skipped, block):
    total, numbers = 0, 0
    for name, shape in tensors.items():
        n = math.prod(shape)
        numbers += n
        if len(shape) == 2 and name.split(".")[-2] not in skipped:
            total += math.ceil(n / 2) + 4 * math.ceil(n / block)
        else:
            total += 2 * n
    return 8 * total / numbers
#:
def range_constants(absmax, group):
    codes, lows, steps = [], [], []
    for each in absmax.split(group):
        low = each.min()
        step = (each.max() - low) / 255
        codes.append(((each - low) / (step if step > 0 else 1)).round().to(torch.uint8))
        lows.append(low)
        steps.append(step)
    return torch.cat(codes), torch.stack(lows), torch.stack(steps)
#:
def largest_block(weight, levels, sizes, limit):
    flat = weight.flatten()
    middles = (levels[1:] + levels[:-1]) / 2
    for size in sorted(sizes, reverse=True):
        wrong = 0.0
        for block in flat.split(size):
            absmax = block.abs().max()
            if absmax > 0:
                restored = levels[torch.bucketize(block / absmax, middles)] * absmax
                wrong += float((restored - block).double().square().sum())
        if math.sqrt(wrong / float(flat.double().square().sum())) <= limit:
            return size
    return None
""")
