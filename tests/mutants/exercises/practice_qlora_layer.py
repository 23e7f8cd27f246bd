"""Answers to exercises 11: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer

_SIGNATURE = "def product_from_codes(x, packed, absmax, levels, shape, block_size):\n"
_CODES = "codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[: shape[0] * shape[1]].long()"
_SCALES = "scales = absmax.repeat_interleave(block_size)[: len(codes)]"
_WEIGHT = "weight = (levels[codes] * scales).view(shape)"
_RETURN = "return x @ weight.to(x.dtype).T"


def _product(*lines: str, says: str = "") -> Answer:
    code = _SIGNATURE + "".join(f"    {line}\n" for line in lines)
    return Answer(task="product_from_codes", code=code, says=says)


def _gradients(*lines: str, says: str = "") -> Answer:
    code = "def qlora_gradients(x, g, W, A, B, s):\n" + "".join(f"    {line}\n" for line in lines)
    return Answer(task="qlora_gradients", code=code, says=says)


_OF_X = "of_x = g @ W + s * g @ B @ A"
_ROWS = "x, g = x.flatten(0, -2), g.flatten(0, -2)"
_OF_A = "of_A = s * (g @ B).T @ x"
_OF_B = "of_B = s * g.T @ (x @ A.T)"
_ALL = "return of_x, of_A, of_B"

_RESTORED = """
def restored(packed, absmax, levels, shape, block_size):
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[: shape[0] * shape[1]].long()
    return (levels[codes] * absmax.repeat_interleave(block_size)[: len(codes)]).view(shape)
"""
_CLASS = """
class QLoRALayer(nn.Module):
    def __init__(self, packed, absmax, levels, shape, block_size, r, alpha):
        super().__init__()
        self.register_buffer("packed", packed)
        self.register_buffer("absmax", absmax)
        self.register_buffer("levels", levels)
        self.shape, self.block_size, self.scaling = shape, block_size, alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, shape[1]) / shape[1] ** 0.5)
        self.lora_B = nn.Parameter(torch.zeros(shape[0], r))

    def forward(self, x):
        weight = restored(self.packed, self.absmax, self.levels, self.shape, self.block_size)
        return x @ weight.T + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
"""


def _layer(*changes: tuple[str, str], says: str = "") -> Answer:
    code = _CLASS
    for before, after in changes:
        assert code.count(before) == 1, before
        code = code.replace(before, after)
    return Answer(task="QLoRALayer", code=_RESTORED + code, says=says)


_FORWARD = "weight = restored(self.packed, self.absmax, self.levels, self.shape, self.block_size)"
_INIT_WEIGHT = "restored(packed, absmax, levels, shape, block_size)"

ANSWERS = [
    _product(_CODES.replace("packed >> 4, packed & 15", "packed & 15, packed >> 4"), _SCALES, _WEIGHT, _RETURN,
             says="the wrong way round"),
    _product(_CODES.replace("stack", "cat").replace("dim=1", "dim=0"), _SCALES, _WEIGHT, _RETURN,
             says="they alternate"),
    _product(_CODES, "weight = levels[codes].view(shape)", _RETURN, says="the constants are missing"),
    _product(_CODES, _SCALES, "weight = (codes * scales).view(shape)", _RETURN, says="a code is a place in `levels`"),
    _product(_CODES, "scales = absmax.repeat(block_size)[: len(codes)]", _WEIGHT, _RETURN, says="in another order"),
    _product(_CODES, "weight = (levels[codes] * absmax[0]).view(shape)", _RETURN, says="the first block's constant"),
    _product(_CODES, _SCALES, "weight = (levels[codes] / scales).view(shape)", _RETURN, says="divided by its constant"),
    _product(_CODES, _SCALES, _WEIGHT, "return x @ weight.to(x.dtype)", says="that is x Ŵ"),
    _product(_CODES, _SCALES, _WEIGHT, "return x.float() @ weight.T", says="to x's dtype"),
    _product(_CODES, _SCALES, _WEIGHT, "return x @ weight.T", says="meets two dtypes"),
    _product(_CODES, _SCALES, _WEIGHT.replace("levels", "quant.NF4.values"), _RETURN, says="use the argument"),
    _product(_CODES, _SCALES, _WEIGHT, "y = x @ weight.to(x.dtype).T", says="is a return missing?"),
    _product(_CODES, _SCALES, "levels[codes] *= scales", _WEIGHT, "levels.mul_(0.5)", _RETURN, says="changes levels"),
    _gradients("of_x = g @ W", _ROWS, _OF_A, _OF_B, _ALL, says="x goes through A and B as well"),
    _gradients("of_x = s * g @ B @ A", _ROWS, _OF_A, _OF_B, _ALL, says="through the frozen weight as well"),
    _gradients("of_x = g @ W + g @ B @ A", _ROWS, _OF_A, _OF_B, _ALL, says="s is missing in the way through"),
    _gradients("of_x = s * (g @ W + g @ B @ A)", _ROWS, _OF_A, _OF_B, _ALL, says="s multiplies both ways"),
    _gradients("of_x = g @ W.T + s * g @ B @ A", _ROWS, _OF_A, _OF_B, _ALL, says="Ŵ is transposed"),
    _gradients(_OF_X, _ROWS, "of_A = (g @ B).T @ x", _OF_B, _ALL, says="the gradient of A is off: s is missing"),
    _gradients(_OF_X, _ROWS, _OF_A, "of_B = g.T @ (x @ A.T)", _ALL, says="the gradient of B is off: s is missing"),
    _gradients(_OF_X, _ROWS, "of_A = s * (g @ B).T @ x / len(x)", _OF_B, _ALL, says="the mean over the tokens"),
    _gradients(_OF_X, _ROWS, "of_A = s * x.T @ (g @ B)", _OF_B, _ALL, says="that is its transpose"),
    _gradients(_OF_X, _ROWS, _OF_A, _OF_B, "return of_x, g.T @ x, of_A, of_B", says="the weight is frozen"),
    _gradients(_OF_X, _ROWS, _OF_A, _OF_B, "return of_A, of_B", says="yours gives 2 things"),
    _gradients(_OF_X, "of_A = s * (g @ B).transpose(-1, -2) @ x", "of_B = s * g.transpose(-1, -2) @ (x @ A.T)", _ALL,
               says="has the shape"),
    _layer(("self.scaling * (x", "(x"), says="α/r is missing"),
    _layer(("alpha / r", "alpha"), says="the division by r is missing"),
    _layer(("alpha / r", "r / alpha"), says="the other way round"),
    _layer(("torch.zeros(shape[0], r)", "torch.randn(shape[0], r)"), says="does not start at zero"),
    _layer(("torch.randn(r, shape[1]) / shape[1] ** 0.5", "torch.zeros(r, shape[1])"), says="neither ever gets"),
    _layer(("nn.Parameter(torch.randn(r, shape[1]) / shape[1] ** 0.5)", "torch.randn(r, shape[1])"),
           says="lora_A is no parameter"),
    _layer(('self.register_buffer("packed", packed)', "self.packed = packed"), says="the packed codes are not in"),
    _layer(('self.register_buffer("absmax", absmax)', "self.absmax = absmax"), says="their constants, absmax, are not"),
    _layer(('self.register_buffer("levels", levels)',
            'self.levels = levels; self.register_buffer("weight", ' + _INIT_WEIGHT + ")"), says="holds a dense weight"),
    _layer(('self.register_buffer("levels", levels)', "self.weight = nn.Parameter(" + _INIT_WEIGHT + ")"),
           (_FORWARD, "weight = self.weight"), says="weight is a parameter that trains"),
    _layer(('self.register_buffer("levels", levels)',
            "self.weight = " + _INIT_WEIGHT), (_FORWARD, "weight = self.weight"),
           says="something dense was kept"),
    _layer((_FORWARD, _FORWARD.replace("restored", "x = x.detach(); weight = restored")), says="it detached"),
    _layer(("return x @ weight.T", "return x.detach() @ weight.T"), says="nothing comes back through Ŵ"),
    _layer(("nn.Parameter(torch.randn(r, shape[1]) / shape[1] ** 0.5)", "nn.Linear(shape[1], r, bias=False)"),
           ("x @ self.lora_A.T", "self.lora_A(x)"), says="a module of its own"),
    _layer(("(nn.Module)", ""), ("        super().__init__()\n", ""),
           ('self.register_buffer("packed", packed)', "self.packed = packed"),
           ('self.register_buffer("absmax", absmax)', "self.absmax = absmax"),
           ('self.register_buffer("levels", levels)', "self.levels = levels"), says="derive it from nn.Module"),
]  # fmt: skip

RIGHT = [
    _product("n = shape[0] * shape[1]", "codes = torch.empty(2 * len(packed), dtype=torch.long)",
             "codes[0::2], codes[1::2] = packed // 16, packed % 16",
             "weight = levels[codes[:n]] * absmax[torch.arange(n) // block_size]",
             "return F.linear(x, weight.reshape(shape).to(x.dtype))"),
    _product("rows, d_in = [], shape[1]", "codes = [c for byte in packed.tolist() for c in divmod(byte, 16)]",
             "for i in range(shape[0]):",
             "    at = range(i * d_in, (i + 1) * d_in)",
             "    rows.append([float(levels[codes[j]] * absmax[j // block_size]) for j in at])",
             "return x @ torch.tensor(rows, dtype=x.dtype).T"),
    _gradients("x, A, B = (each.clone().requires_grad_() for each in (x, A, B))",
               "y = x @ W.T + s * x @ A.T @ B.T", "y.backward(g)", "return [x.grad, A.grad, B.grad]"),
    _gradients("of_x = torch.einsum('...o,oi->...i', g, W + s * B @ A)",
               "of_A = s * torch.einsum('...o,or,...i->ri', g, B, x)",
               "of_B = s * torch.einsum('...o,...i,ri->or', g, x, A)", _ALL),
    _layer((_FORWARD, _FORWARD + ".detach()")),
    _layer(('self.register_buffer("levels", levels)', "self.levels = nn.Parameter(levels, requires_grad=False)")),
    _layer(("return x @ weight.T + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)",
            "return x @ (weight + self.scaling * self.lora_B @ self.lora_A).T")),
]  # fmt: skip
