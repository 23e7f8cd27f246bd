"""Answers to the tasks of notebook 11, from their words alone, by somebody who had not seen the checks."""

from tests.mutants.exercises.answer import Answer, cells

PRODUCT = """\
def product_from_codes(x, packed, absmax, levels, shape, block_size):
    numel = shape[0] * shape[1]
    codes = torch.stack([packed >> 4, packed & 15], dim=-1).flatten()[:numel].long()
    constants = absmax.repeat_interleave(block_size)[:numel]
    return x @ (levels[codes] * constants).view(shape).to(x.dtype).T


"""

LAYER = (
    PRODUCT
    + """\
class QLoRALayer(nn.Module):
    def __init__(self, packed, absmax, levels, shape, block_size, r, alpha):
        super().__init__()
        self.register_buffer("packed", packed)
        self.register_buffer("absmax", absmax)
        self.register_buffer("levels", levels)
        self.shape, self.block_size, self.s = shape, block_size, alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, shape[1]) / shape[1] ** 0.5)
        self.lora_B = nn.Parameter(torch.zeros(shape[0], r))

    def forward(self, x):
        y = product_from_codes(x, self.packed, self.absmax, self.levels, self.shape, self.block_size)
        return y + self.s * (x @ self.lora_A.T @ self.lora_B.T)
"""
)

ANSWERS = [
    *cells("""
#: the high one, packed >> 4, is the first weight
def product_from_codes(x, packed, absmax, levels, shape, block_size):
    numel = shape[0] * shape[1]
    codes = torch.stack([packed & 15, packed >> 4], dim=-1).flatten()[:numel].long()
    constants = absmax.repeat_interleave(block_size)[:numel]
    weight = (levels[codes] * constants).view(shape).to(x.dtype)
    return x @ weight.T
#: bring the weight to x's dtype
def product_from_codes(x, packed, absmax, levels, shape, block_size):
    numel = shape[0] * shape[1]
    codes = torch.stack([packed >> 4, packed & 15], dim=-1).flatten()[:numel].long()
    constants = absmax.repeat_interleave(block_size)[:numel]
    weight = (levels[codes] * constants).view(shape)
    return x.float() @ weight.T
#: blocks begin anew in each row
def product_from_codes(x, packed, absmax, levels, shape, block_size):
    numel = shape[0] * shape[1]
    codes = torch.stack([packed >> 4, packed & 15], dim=-1).flatten()[:numel].long()
    constants = absmax[torch.arange(shape[1]) // block_size].repeat(shape[0])
    return x @ (levels[codes] * constants).view(shape).to(x.dtype).T
#: no row begins a new one
def product_from_codes(x, packed, absmax, levels, shape, block_size):
    numel = shape[0] * shape[1]
    codes = torch.stack([packed >> 4, packed & 15], dim=-1).flatten()[:numel].long().view(shape)
    a_row = math.ceil(shape[1] / block_size)
    rows = [levels[row] * absmax[i * a_row + torch.arange(shape[1]) // block_size] for i, row in enumerate(codes)]
    return x @ torch.stack(rows).to(x.dtype).T
#: from the end of the codes
def product_from_codes(x, packed, absmax, levels, shape, block_size):
    numel = shape[0] * shape[1]
    codes = torch.stack([packed >> 4, packed & 15], dim=-1).flatten()[-numel:].long()
    constants = absmax.repeat_interleave(block_size)[:numel]
    return x @ (levels[codes] * constants).view(shape).to(x.dtype).T
#: x may have any number of axes
def qlora_gradients(x, g, W, A, B, s):
    of_x = g @ W + s * (g @ B @ A)
    if x.dim() == 3:
        return of_x, s * ((g @ B).mT @ x).sum(0), s * (g.mT @ (x @ A.T)).sum(0)
    return of_x, s * torch.mm((g @ B).mT, x), s * torch.mm(g.mT, x @ A.T)
#: has the shape [2, 3, 5], wanted [2, 1, 3, 5]
def qlora_gradients(x, g, W, A, B, s):
    x, g = x.squeeze(), g.squeeze()
    of_x = g @ W + s * g @ B @ A
    x, g = x.flatten(0, -2), g.flatten(0, -2)
    return of_x, s * (g @ B).T @ x, s * g.T @ (x @ A.T)
#: x goes through A and B as well
def qlora_gradients(x, g, W, A, B, s):
    flat_x, flat_g = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    of_x = g @ W
    of_A = s * (flat_g @ B).T @ flat_x
    of_B = s * flat_g.T @ (flat_x @ A.T)
    return of_x, of_A, of_B
#: a gradient is their sum
def qlora_gradients(x, g, W, A, B, s):
    n = x[..., 0].numel()
    flat_x, flat_g = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    of_x = g @ W + s * g @ B @ A
    of_A = s * (flat_g @ B).T @ flat_x / n
    of_B = s * flat_g.T @ (flat_x @ A.T) / n
    return of_x, of_A, of_B
"""),
    Answer(
        "QLoRALayer",
        PRODUCT
        + """\
class QLoRALayer(nn.Module):
    def __init__(self, packed, absmax, levels, shape, block_size, r, alpha):
        super().__init__()
        self.register_buffer("packed", packed)
        self.register_buffer("absmax", absmax)
        self.register_buffer("levels", levels)
        eye = torch.eye(shape[1])
        self.W = product_from_codes(eye, packed, absmax, levels, shape, block_size).T
        self.s = alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, shape[1]))
        self.lora_B = nn.Parameter(torch.zeros(shape[0], r))

    def forward(self, x):
        return x @ self.W.T + self.s * (x @ self.lora_A.T @ self.lora_B.T)
""",
        "Keep the codes, and restore in forward",
    ),
    Answer(
        "QLoRALayer",
        PRODUCT
        + """\
class QLoRALayer(nn.Module):
    def __init__(self, packed, absmax, levels, shape, block_size, r, alpha):
        super().__init__()
        self.register_buffer("packed", packed)
        self.register_buffer("absmax", absmax)
        self.register_buffer("levels", levels)
        self.shape, self.block_size, self.s = shape, block_size, alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, shape[1]))
        self.lora_B = nn.Parameter(torch.zeros(shape[0], r))

    @torch.no_grad()
    def frozen(self, x):
        return product_from_codes(x, self.packed, self.absmax, self.levels, self.shape, self.block_size)

    def forward(self, x):
        return self.frozen(x) + self.s * (x @ self.lora_A.T @ self.lora_B.T)
""",
        "Only restoring may stand under no_grad()",
    ),
    *[
        Answer("QLoRALayer", LAYER.replace(*change), says)
        for change, says in (
            (("torch.randn(r, shape[1]) / shape[1] ** 0.5", "torch.ones(r, shape[1])"), "equal rows stay equal"),
            (('self.register_buffer("levels", levels)', "self.levels = levels"), "made with the old levels"),
            (("alpha / r", "alpha // r"), "cut to a whole number"),
        )
    ],
]

RIGHT = [
    *cells("""
#:
def product_from_codes(x, packed, absmax, levels, shape, block_size):
    numel = shape[0] * shape[1]
    codes = torch.stack([packed >> 4, packed & 15], dim=-1).flatten()[:numel].long()
    constants = absmax.repeat_interleave(block_size)[:numel]
    weight = (levels[codes] * constants).view(shape).to(x.dtype)
    return x @ weight.T
#:
def qlora_gradients(x, g, W, A, B, s):
    flat_x, flat_g = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    of_x = g @ W + s * g @ B @ A
    of_A = s * (flat_g @ B).T @ flat_x
    of_B = s * flat_g.T @ (flat_x @ A.T)
    return of_x, of_A, of_B
"""),
    Answer("QLoRALayer", LAYER),
]
