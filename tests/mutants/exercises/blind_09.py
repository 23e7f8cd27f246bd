"""Answers to the tasks of notebook 09, from their words alone, by somebody who had not seen the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells("""
#: there the lower level is taken
def nearest_codes(values, levels):
    middles = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(values, middles, right=True)
#: another level is nearer
def nearest_codes(values, levels):
    return (values[..., None] > levels).sum(dim=-1).clamp(max=len(levels) - 1)
#: their places are wanted
def nearest_codes(values, levels):
    return levels[(values[..., None] - levels).abs().argmin(dim=-1)]
#: p_max is that of 4 bits
def normal_levels(bits):
    n = 2 ** bits
    p_max = 0.9677083
    def half(count):
        return torch.special.ndtri(torch.linspace(p_max, 0.5, count + 1)[:-1])
    levels = torch.cat([half(n // 2), torch.zeros(1), -half(n // 2 - 1)])
    return (levels / levels.max()).sort().values
#: not the upper half without its largest
def normal_levels(bits):
    n = 2 ** bits
    p_max = 1 - (1 / (2 * (n - 1)) + 1 / (2 * n)) / 2
    def half(count):
        return torch.special.ndtri(torch.linspace(p_max, 0.5, count)[:-1])
    levels = torch.cat([half(n // 2 + 1), torch.zeros(1), -half(n // 2 + 1)[1:]])
    return (levels / levels.max()).sort().values
#: the two codes of a byte are neighbours
def restore_packed(packed, absmax, levels, shape, size):
    numel = math.prod(shape)
    codes = torch.cat([packed >> 4, packed & 15])[:numel].long()
    constants = absmax.repeat_interleave(size)[:numel]
    return (levels[codes] * constants).view(shape)
#: repeat_interleave, not repeat
def restore_packed(packed, absmax, levels, shape, size):
    numel = math.prod(shape)
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:numel].long()
    constants = absmax.repeat(size)[:numel]
    return (levels[codes] * constants).view(shape)
#: on new inputs the outputs of weight
def fewest_bytes(weight, inputs):
    U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
    r = 12
    return [{"B": (U[:, :r] * S[:r]).half(), "A": Vh[:r].half()}]
#: 10,000 are allowed
def fewest_bytes(weight, inputs):
    return [{"columns": torch.arange(96, dtype=torch.uint8), "values": weight.half()}]
#: wanted float32
def normal_levels(bits):
    n = 2 ** bits
    p_max = 1 - (1 / (2 * (n - 1)) + 1 / (2 * n)) / 2
    def half(count):
        return torch.special.ndtri(torch.linspace(p_max, 0.5, count + 1, dtype=torch.float64)[:-1])
    levels = torch.cat([half(n // 2), torch.zeros(1), -half(n // 2 - 1)])
    return (levels / levels.max()).sort().values
#: but from another p_max
def normal_levels(bits):
    n = 2 ** bits
    p_max = 1 - 1 / (2 * (n - 1)) + 1 / (2 * n) / 2
    def half(count):
        return torch.special.ndtri(torch.linspace(p_max, 0.5, count + 1)[:-1])
    levels = torch.cat([half(n // 2), torch.zeros(1), -half(n // 2 - 1)])
    return (levels / levels.max()).sort().values
#: whole sixteens
def restore_packed(packed, absmax, levels, shape, size):
    numel = math.prod(shape)
    codes = torch.stack([packed >> 4, packed % 15], dim=1).flatten()[:numel].long()
    constants = absmax.repeat_interleave(size)[:numel]
    return (levels[codes] * constants).view(shape)
#: row after row
def restore_packed(packed, absmax, levels, shape, size):
    numel = math.prod(shape)
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:numel].long()
    constants = absmax.repeat_interleave(size)[:numel]
    if len(shape) == 2:
        return (levels[codes] * constants).view(shape[1], shape[0]).T
    return (levels[codes] * constants).view(shape)
#: a block has `size` weights
def restore_packed(packed, absmax, levels, shape, size):
    numel = math.prod(shape)
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:numel].long()
    constants = absmax[torch.arange(numel) // math.ceil(numel / len(absmax))]
    return (levels[codes] * constants).view(shape)
#: a block has `size` weights
def restore_packed(packed, absmax, levels, shape, size):
    numel = math.prod(shape)
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:numel].long()
    block = torch.arange(numel) // (numel // len(absmax))
    return (levels[codes] * absmax[block.clamp(max=len(absmax) - 1)]).view(shape)
#: since codes are packed
def fewest_bytes(weight, inputs):
    levels = torch.linspace(-1, 1, 16)
    scale = weight.view(4, 40, 96).abs().amax(dim=1)
    codes = (weight / scale.repeat_interleave(40, dim=0))[..., None].sub(levels).abs().argmin(dim=-1).byte()
    return [{"columns": torch.arange(96).byte(), "codes": codes, "levels": levels, "scale": scale.half()}]
""")

RIGHT = cells("""
#:
def nearest_codes(values, levels):
    middles = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(values.contiguous(), middles)
#:
def nearest_codes(values, levels):
    middles = (levels[1:] + levels[:-1]) / 2
    return (values[..., None] > middles).sum(dim=-1)
#:
def normal_levels(bits):
    n = 2 ** bits
    p_max = 1 - (1 / (2 * (n - 1)) + 1 / (2 * n)) / 2
    def half(count):
        p = torch.linspace(p_max, 0.5, count + 1, dtype=torch.float64)[:-1]
        return torch.special.ndtri(p)
    levels = torch.cat([half(n // 2), torch.zeros(1, dtype=torch.float64), -half(n // 2 - 1)])
    return (levels / levels.max()).sort().values.float()
#:
def restore_packed(packed, absmax, levels, shape, size):
    numel = math.prod(shape)
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:numel].long()
    constants = absmax.repeat_interleave(size)[:numel]
    return (levels[codes] * constants).view(shape)
#:
def fewest_bytes(weight, inputs):
    def pack(codes, bits):
        places = torch.arange(bits - 1, -1, -1)
        stream = ((codes.reshape(-1, 1).long() >> places) & 1).flatten()
        stream = torch.cat([stream, stream.new_zeros(-len(stream) % 8)]).view(-1, 8)
        return (stream << torch.arange(7, -1, -1)).sum(dim=1).to(torch.uint8)
    rows, d = weight.shape
    levels = torch.linspace(-1, 1, 16)
    scale = weight.view(4, rows // 4, d).abs().amax(dim=1)
    codes = (weight / scale.repeat_interleave(rows // 4, dim=0))[..., None].sub(levels).abs().argmin(dim=-1)
    columns = torch.arange(d, dtype=torch.uint8)
    return [{"columns": columns, "codes": pack(codes, 4), "levels": levels, "scale": scale.half()}]
#:
def fewest_bytes(weight, inputs):
    spread = inputs.square().mean(dim=0).sqrt()
    U, S, Vh = torch.linalg.svd(weight * spread, full_matrices=False)
    target = (inputs @ weight.T).norm()
    for r in range(1, 25):
        B, A = (U[:, :r] * S[:r]).half(), (Vh[:r] / spread).half()
        if ((inputs @ A.float().T) @ B.float().T - inputs @ weight.T).norm() <= 0.11 * target:
            break
    return [{"B": B, "A": A}]
""")
