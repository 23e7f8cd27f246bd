"""Answers to the tasks of lesson 03."""

from tests.mutants.exercises.answer import Answer, cells


def forward(body: str, says: str = "") -> Answer:
    return Answer("lora_forward", "def lora_forward(self, x):\n    " + body.replace("\n", "\n    "), says)


def init(body: str, says: str = "") -> Answer:
    return Answer("lora_init", "def lora_init(d_out, d_in, r):\n    " + body.replace("\n", "\n    "), says)


def inject(body: str, says: str = "") -> Answer:
    return Answer("lora_inject", "def lora_inject(model, wrap):\n    " + body.replace("\n", "\n    "), says)


def walk(which: str, what: str = "model.set_submodule(name, wrap(module))") -> str:
    return f"for name, module in list(model.named_modules()):\n    if {which}:\n        {what}\n"


UPDATE = "(x @ self.lora_A.T @ self.lora_B.T)"
UNIFORM = "nn.Parameter(torch.empty(r, d_in).uniform_(-d_in**-0.5, d_in**-0.5))"
ZERO_A, ZERO_B = "nn.Parameter(torch.zeros(r, d_in))", "nn.Parameter(torch.zeros(d_out, r))"
FREEZE, RETURN = "model.requires_grad_(False)\n", "return model"
LINEAR = "isinstance(module, nn.Linear)"
WANTED = f"{LINEAR} and name != 'lm_head'"

ANSWERS = [
    forward(f"return self.base(x) + {UPDATE}", "without α/r"),
    forward("return self.base(x)", "the base's output alone"),
    forward(f"return self.scaling * {UPDATE}", "the base is missing"),
    forward(f"return self.scaling * (self.base(x) + {UPDATE})", "multiplies the base's output too"),
    forward(f"return self.scaling * self.base(x) + {UPDATE}", "and not the update"),
    forward(f"return x @ self.base.weight.T + self.scaling * {UPDATE}", "the bias is missing"),
    forward(f"return self.base(x) + self.scaling * self.scaling * {UPDATE}", "comes in twice"),
    forward(f"return self.base(x) + {UPDATE} / self.scaling", "you divide by self.scaling"),
    forward(f"return self.base(x) + self.scaling / len(self.lora_A) * {UPDATE}", "divide by r once"),
    forward(f"return self.base(x) + self.scaling * len(self.lora_A) * {UPDATE}", "you multiply by α"),
    forward(f"return self.base(x) - self.scaling * {UPDATE}", "is subtracted"),
    forward(f"h = self.base(x) + self.scaling * {UPDATE}", "returns nothing"),
    forward(f"return [self.base(x), self.scaling * {UPDATE}]", "yours is a list"),
    forward("return self.base(x) + self.scaling * (x @ self.lora_A @ self.lora_B)", "your code stopped in line 2"),
    forward(f"with torch.no_grad():\n    u = {UPDATE}\nreturn self.base(x) + self.scaling * u", "reaches lora_A"),
    forward(f"return self.base(x) + self.scaling * {UPDATE.replace('lora_B', 'lora_B.data')}", "reaches lora_B"),
    forward("self.base.weight.data += self.scaling * self.lora_B @ self.lora_A\nreturn self.base(x)", "base.weight"),
    forward(f"return (self.base(x) + self.scaling * {UPDATE}).sum(-1)", "has the shape"),
    forward("return self.base(x) + self.scaling * torch.relu(x @ self.lora_A.T) @ self.lora_B.T", "yours has"),
    init(f"return {ZERO_A}, {ZERO_B}", "both are zero"),
    init(f"return {UNIFORM}, nn.Parameter(torch.randn(d_out, r) / d_out)", "B is not zero"),
    init(f"return {ZERO_A}, nn.Parameter(torch.randn(d_out, r) * 0.1)", "A is zero and B random"),
    init("return nn.Parameter(torch.randn(d_in, r) / d_in**0.5), nn.Parameter(torch.zeros(r, d_out))", "transposed"),
    init(f"return {ZERO_B}, {UNIFORM}", "wrong order"),
    init("return nn.Parameter(torch.randn(r, d_out)), nn.Parameter(torch.zeros(d_in, r))", "A squeezes d_in to r"),
    init("return torch.randn(r, d_in) / d_in**0.5, torch.zeros(d_out, r)", "A would not train"),
    init(f"return {UNIFORM}, torch.zeros(d_out, r)", "B would not train"),
    init(f"return nn.Parameter(torch.randn(r, d_in)), {ZERO_B}", "too large"),
    init(f"return nn.Parameter(1e-5 * torch.randn(r, d_in)), {ZERO_B}", "too small"),
    init(f"return nn.Parameter(torch.full((r, d_in), math.nan)), {ZERO_B}", "NaN or infinity"),
    init(f"return nn.Parameter(torch.ones(r, d_in) / d_in**0.5), {ZERO_B}", "one number everywhere"),
    init(f"torch.manual_seed(0)\nreturn {UNIFORM}, {ZERO_B}", "the same in two layers"),
    init(f"A, B = {UNIFORM}, {ZERO_B}", "returns nothing"),
    init(f"return {UNIFORM}", "wanted two tensors"),
    inject(walk(WANTED) + RETURN, "still trains"),
    inject(FREEZE + walk(LINEAR) + RETURN, "lm_head is adapted too"),
    inject(walk(WANTED) + FREEZE + RETURN, "is frozen: freeze before"),
    inject(FREEZE + walk(WANTED).replace("named_modules", "named_children") + RETURN, "q_proj is not wrapped"),
    inject(FREEZE + walk(f"{LINEAR} and name.endswith('q_proj')") + RETURN, "mlp.0 is not wrapped"),
    inject(FREEZE + walk(WANTED, "model.set_submodule(name, wrap(wrap(module)))") + RETURN, "is wrapped twice"),
    inject(
        FREEZE + walk(WANTED, "model.set_submodule(name, wrap(nn.Linear(*module.weight.shape[::-1])))") + RETURN,
        "has lost its weights",
    ),
    inject(FREEZE + walk(WANTED, "model.set_submodule(name, nn.Sequential(module))") + RETURN, "is a Sequential now"),
    inject(
        FREEZE + walk(WANTED, "module.weight.data.zero_(); model.set_submodule(name, wrap(module))") + RETURN,
        "have changed",
    ),
    inject(FREEZE + walk(WANTED), "returns nothing"),
    inject("import copy\nmodel = copy.deepcopy(model)\n" + FREEZE + walk(WANTED) + RETURN, "wanted the same model"),
]

# Written by somebody who knew the lesson and had not seen the check.
ANSWERS += cells("""
#: your code changes x
def lora_forward(self, x):
    h = self.base(x)
    x *= self.scaling
    return h + x @ self.lora_A.T @ self.lora_B.T
#: no gradient reaches x through the base
def lora_forward(self, x):
    with torch.no_grad():
        h = self.base(x)
    return h + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
#: no gradient reaches x through the update
def lora_forward(self, x):
    update = self.scaling * (x.detach() @ self.lora_A.T @ self.lora_B.T)
    return self.base(x) + update
#: B A is not transposed
def lora_forward(self, x):
    return self.base(x) + self.scaling * (x @ (self.lora_B @ self.lora_A))
#: x of 2 dimensions goes through and x of 3 does not
def lora_forward(self, x):
    update = (self.lora_B @ (self.lora_A @ x.T)).T
    return self.base(x) + self.scaling * update
#: A gets the base's output
def lora_forward(self, x):
    h = self.base(x)
    return h + self.scaling * (h @ self.lora_A.T @ self.lora_B.T)
#: is multiplied by 2: use self.scaling
def lora_forward(self, x):
    return self.base(x) + 2 * (x @ self.lora_A.T @ self.lora_B.T)
#: x of 3 dimensions goes through and x of 2 does not
def lora_forward(self, x):
    batch, tokens, d_in = x.shape
    flat = x.reshape(batch * tokens, d_in)
    update = flat @ self.lora_A.T @ self.lora_B.T
    return self.base(x) + self.scaling * update.view(batch, tokens, -1)
#: the bias is missing
def lora_forward(self, x):
    h = x @ self.base.weight.T
    return h + self.scaling * (x @ self.lora_A.T) @ self.lora_B.T
#: your forward changes base.weight
def lora_forward(self, x):
    self.base.weight.data += self.scaling * self.lora_B @ self.lora_A
    return self.base(x)
#: wanted about 0
def lora_init(d_out, d_in, r):
    A = nn.Parameter(torch.rand(r, d_in) / math.sqrt(d_in))
    B = nn.Parameter(torch.zeros(d_out, r))
    return A, B
#: rank 1: draw every row by itself
def lora_init(d_out, d_in, r):
    bound = 1 / math.sqrt(d_in)
    row = torch.empty(d_in).uniform_(-bound, bound)
    A = nn.Parameter(row.repeat(r, 1))
    return A, nn.Parameter(torch.zeros(d_out, r))
#: yours is 1/√r
def lora_init(d_out, d_in, r):
    bound = 1 / math.sqrt(r)
    A = nn.Parameter(torch.empty(r, d_in).uniform_(-bound, bound))
    return A, nn.Parameter(torch.zeros(d_out, r))
#: kaiming_uniform_ takes without a=√5
def lora_init(d_out, d_in, r):
    A = nn.Parameter(torch.empty(r, d_in))
    nn.init.kaiming_uniform_(A)
    B = nn.Parameter(torch.zeros(d_out, r))
    return A, B
#: xavier_uniform_ nearly
def lora_init(d_out, d_in, r):
    A = nn.Parameter(torch.empty(r, d_in))
    nn.init.xavier_uniform_(A)
    return A, nn.Parameter(torch.zeros(d_out, r))
#: yours is 1/√d_out
def lora_init(d_out, d_in, r):
    bound = 1 / math.sqrt(d_out)
    A = nn.Parameter(torch.empty(r, d_in).uniform_(-bound, bound))
    return A, nn.Parameter(torch.zeros(d_out, r))
#: drawn from a bell
def lora_init(d_out, d_in, r):
    A = nn.Parameter(torch.randn(r, d_in) / math.sqrt(d_in))
    return A, nn.Parameter(torch.zeros(d_out, r))
#: two values
def lora_init(d_out, d_in, r):
    bound = 1 / math.sqrt(d_in)
    A = nn.Parameter(torch.randint(0, 2, (r, d_in)) * 2 * bound - bound)
    return A, nn.Parameter(torch.zeros(d_out, r))
#: A is the same in two layers
def lora_init(d_out, d_in, r):
    torch.manual_seed(0)
    bound = d_in ** -0.5
    A = nn.Parameter(torch.empty(r, d_in).uniform_(-bound, bound))
    return A, nn.Parameter(torch.zeros(d_out, r))
#: too small; scale them by 1/√d_in
def lora_init(d_out, d_in, r):
    bound = 1 / d_in
    A = nn.Parameter(torch.empty(r, d_in).uniform_(-bound, bound))
    return A, nn.Parameter(torch.zeros(d_out, r))
#: only the layer named
def lora_inject(model, wrap):
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and "head" not in name:
            model.set_submodule(name, wrap(module))
    return model
#: wanted the same model
def lora_inject(model, wrap):
    import copy
    model = copy.deepcopy(model)
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            model.set_submodule(name, wrap(module))
    return model
#: still trains: freeze the model first
def lora_inject(model, wrap):
    model.eval()
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            model.set_submodule(name, wrap(module))
    return model
""")

RIGHT = [
    forward("return self.base(x) + F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scaling"),
    forward("return self.base(x) + x @ (self.scaling * self.lora_B @ self.lora_A).T"),
    forward("u = torch.einsum('...i,ri->...r', x, self.lora_A)\nh = self.base(x)\n"
            "h = h + self.scaling * torch.einsum('...r,or->...o', u, self.lora_B)\nreturn h"),
    init(f"return {UNIFORM}, {ZERO_B}"),
    init(f"A = (2 * torch.rand(r, d_in) - 1) / math.sqrt(d_in)\nreturn nn.Parameter(A), {ZERO_B}"),
    init("A, B = nn.Parameter(torch.empty(r, d_in)), nn.Parameter(torch.empty(d_out, r))\n"
         "nn.init.kaiming_uniform_(A, a=math.sqrt(5))\nnn.init.zeros_(B)\nreturn [A, B]"),
    inject(FREEZE + walk(WANTED) + RETURN),
    inject("""for p in model.parameters():
    p.requires_grad = False
def visit(parent, path=""):
    for name, child in list(parent.named_children()):
        if not isinstance(child, nn.Linear):
            visit(child, path + name + ".")
        elif path + name != "lm_head":
            setattr(parent, name, wrap(child))
visit(model)
return model"""),
]  # fmt: skip

# By the same hand.
RIGHT += cells("""
#:
def lora_forward(self, x):
    squeezed = F.linear(x, self.lora_A)
    return torch.add(self.base(x), F.linear(squeezed, self.lora_B), alpha=self.scaling)
#:
def lora_forward(self, inputs):
    delta = torch.einsum("...i,ri,or->...o", inputs, self.lora_A, self.lora_B)
    return self.base(inputs) + delta.mul(self.scaling)
#:
def lora_forward(self, x):
    delta_W = self.scaling * (self.lora_B @ self.lora_A)
    return self.base(x) + torch.matmul(x, delta_W.transpose(0, 1))
#:
def lora_forward(self, x):
    h = self.base(x)
    h += (x * self.scaling) @ self.lora_A.mT @ self.lora_B.mT
    return h
#:
def lora_init(d_out, d_in, r):
    A = nn.Linear(d_in, r, bias=False).weight
    B = nn.Linear(r, d_out, bias=False).weight
    nn.init.zeros_(B)
    return A, B
#:
def lora_init(d_out, d_in, r):
    import numpy as np
    edge = 1 / np.sqrt(d_in)
    a = np.random.default_rng().uniform(-edge, edge, size=(r, d_in)).astype("float32")
    return nn.Parameter(torch.from_numpy(a)), nn.Parameter(torch.from_numpy(np.zeros((d_out, r), dtype="float32")))
#:
def lora_init(d_out, d_in, r):
    A = nn.Parameter((2 * torch.rand((r, d_in)) - 1) * d_in ** -0.5)
    B = nn.Parameter(A.new_zeros(d_out, r))
    return [A, B]
#:
def lora_inject(model, wrap):
    for p in model.parameters():
        p.requires_grad = False

    def go(parent):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                if name != "lm_head":
                    setattr(parent, name, wrap(child))
            else:
                go(child)

    go(model)
    return model
#:
def lora_inject(model, wrap):
    model.requires_grad_(False)
    names = [n for n, layer in model.named_modules() if type(layer) is nn.Linear and n.rpartition(".")[2] != "lm_head"]
    for n in names:
        parent, _, last = n.rpartition(".")
        model.get_submodule(parent)._modules[last] = wrap(model.get_submodule(n))
    return model
#:
def lora_inject(model, wrap):
    for p in model.parameters():
        p.requires_grad_(False)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and not name.endswith("lm_head"):
            model.set_submodule(name, wrap(module))
    return model
""")
