"""Answers to the exercises of lesson 03, written without seeing the checks."""

from tests.mutants.exercises.answer import Answer, cells

ANSWERS = cells(r"""
#: queries have heads · head_dim numbers, whatever hidden is
def lora_numbers(sizes, targets, r):
    h, i = sizes["hidden"], sizes["intermediate"]
    q, kv = sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    total = 0
    for t in targets:
        if t in ("q_proj", "o_proj"):
            total += 2 * h
        elif t in ("k_proj", "v_proj"):
            total += h + kv
        else:
            total += h + i
    return total * r * sizes["layers"]
#: A and B are two thin matrices, whose numbers add
def lora_numbers(sizes, targets, r):
    h, i = sizes["hidden"], sizes["intermediate"]
    q, kv = sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    total = 0
    for t in targets:
        if t in ("q_proj", "o_proj"):
            total += h * q
        elif t in ("k_proj", "v_proj"):
            total += h * kv
        else:
            total += h * i
    return total * r * sizes["layers"]
#: add r · (d_in + d_out) for each target, in each block
def lora_numbers(sizes, targets, r):
    h, i = sizes["hidden"], sizes["intermediate"]
    q, kv = sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    total = 0
    for t in targets:
        if t in ("q_proj", "o_proj"):
            total += h + q
        if t in ("k_proj", "v_proj"):
            total += h + kv
        if t in ("gate_proj", "up_proj"):
            total += h + i
    return total * r * sizes["layers"]
#: keys and values have kv_heads heads, fewer than queries
def lora_numbers(sizes, targets, r):
    h, i = sizes["hidden"], sizes["intermediate"]
    q, kv = sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    total = 0
    for t in targets:
        if t in ("q_proj", "k_proj", "v_proj", "o_proj"):
            total += h + q
        else:
            total += h + i
    return total * r * sizes["layers"]
#: A and B are counted twice
def lora_numbers(sizes, targets, r):
    h, i = sizes["hidden"], sizes["intermediate"]
    q, kv = sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    total = 0
    for t in set(targets):
        if t in ("q_proj", "o_proj"):
            total += h + q
        elif t in ("k_proj", "v_proj"):
            total += (h + kv) * 2
        else:
            total += h + i
    return total * r * sizes["layers"]
#: queries have heads · head_dim numbers, whatever hidden is
def lora_numbers(sizes, targets, r):
    h, i = sizes["hidden"], sizes["intermediate"]
    q, kv = sizes["heads"] * h // sizes["heads"], sizes["kv_heads"] * h // sizes["heads"]
    total = 0
    for t in targets:
        if t in ("q_proj", "o_proj"):
            total += h + q
        elif t in ("k_proj", "v_proj"):
            total += h + kv
        else:
            total += h + i
    return total * r * sizes["layers"]
#: a target may be one part or several, and means every name that ends in it
def adapted_names(names, targets):
    hit = [n for n in names if n.split(".")[-1] in targets]
    return hit, [t for t in targets if not any(n.split(".")[-1] == t for n in names)]
#: is no dot in
def adapted_names(names, targets):
    import re
    hit = [n for n in names if any(re.search(r"(^|\.)" + t + "$", n) for t in targets)]
    return hit, [t for t in targets if not any(re.search(r"(^|\.)" + t + "$", n) for n in hit)]
#: a target stands at the end of a name
def adapted_names(names, targets):
    hit = [n for n in names if any("." + t in "." + n for t in targets)]
    return hit, [t for t in targets if not any("." + t in "." + n for n in names)]
#: the second list is empty then
def adapted_names(names, targets):
    hit, missed = [], set(targets)
    for n in names:
        for t in targets:
            if n == t or n.endswith("." + t):
                hit.append(n)
                missed.discard(t)
                break
    return hit, list(missed)
#: a target may be one part or several, and means every name that ends in it
def adapted_names(names, targets):
    hit, missed = [], list(targets)
    for n in names:
        for t in list(missed):
            if n == t or n.endswith("." + t):
                hit.append(n)
                missed.remove(t)
    return hit, missed
#: read it, and take nothing out
def adapted_names(names, targets):
    hit = []
    for n in names:
        for t in targets:
            if n == t or n.endswith("." + t):
                hit.append(n)
                targets.remove(t)
                break
    return hit, targets
#: A and B alone are saved
def peft_tensors(state):
    return {"base_model.model." + n + ".weight": t for n, t in state.items() if ".base." not in n}
#: 6 of the 8 tensors have no such name in yours; your first name is
def peft_tensors(state):
    return {
        "base_model.model." + name.removeprefix("model.") + ".weight": tensor
        for name, tensor in state.items()
        if name.endswith((".lora_A", ".lora_B"))
    }
#: only names whose last part is lora_A or lora_B count
def peft_tensors(state):
    return {"base_model.model." + n + ".weight": t for n, t in state.items() if "lora_" in n}
#: read it, and take nothing out
def peft_tensors(state):
    for n in list(state):
        t = state.pop(n)
        if n.endswith((".lora_A", ".lora_B")):
            state["base_model.model." + n + ".weight"] = t
    return state
#: has the shape [4, 2], wanted [2, 4]
def peft_tensors(state):
    return {"base_model.model." + n + ".weight": t.T for n, t in state.items() if n.endswith((".lora_A", ".lora_B"))}
#: is float16, wanted float32
def peft_tensors(state):
    ours = {name: tensor for name, tensor in state.items() if name.endswith((".lora_A", ".lora_B"))}
    return {"base_model.model." + name + ".weight": tensor.half() for name, tensor in ours.items()}
""") + [
    Answer(
        "LoRALayer",
        r"""
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base
        self.base.weight.requires_grad = False
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features) / base.in_features ** 0.5)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
""",
        "the base is frozen, with base.requires_grad_(False)",
    ),
    Answer(
        "LoRALayer",
        r"""
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return x @ self.base.weight.T + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
""",
        "the bias is missing",
    ),
    Answer(
        "LoRALayer",
        r"""
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.zeros(r, base.in_features))
        self.lora_B = nn.Parameter(torch.randn(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
""",
        "B is not zero, so the layer would not start at its base",
    ),
    Answer(
        "LoRALayer",
        r"""
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = torch.randn(r, base.in_features, requires_grad=True)
        self.lora_B = torch.zeros(base.out_features, r, requires_grad=True)

    def forward(self, x):
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
""",
        "self.lora_A = nn.Parameter(…)",
    ),
    Answer(
        "LoRALayer",
        r"""
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = nn.Parameter(torch.tensor(alpha / r))
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
""",
        "it is a plain number, no parameter",
    ),
    Answer(
        "LoRALayer",
        r"""
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        self.update = self.scaling * self.lora_B @ self.lora_A

    def forward(self, x):
        return self.base(x) + x @ self.update.T
""",
        "A and B are there, but forward does not use them",
    ),
    Answer(
        "LoRALayer",
        r"""
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha // r
        self.lora_A = nn.Parameter(torch.rand(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
""",
        "you cut the decimals off",
    ),
    Answer(
        "LoRALayer",
        r"""
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Linear(base.in_features, r, bias=False)
        self.lora_B = nn.Linear(r, base.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, x):
        return self.base(x) + self.scaling * self.lora_B(self.lora_A(x))
""",
        "nn.Parameter(…)",
    ),
    Answer(
        "LoRALayer",
        r"""
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.ones(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        self.base.requires_grad_(False)

    def forward(self, x):
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
""",
        "draw it at random, without a seed",
    ),
    Answer(
        "MergeableLayer",
        r"""
class MergeableLayer:
    def __init__(self, weight, B, A, scaling):
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged = False
        self.original = weight

    def forward(self, x):
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self):
        if not self.merged:
            self.weight += (self.scaling * self.B @ self.A).to(self.weight.dtype)
            self.merged = True

    def unmerge(self):
        self.weight = self.original
        self.merged = False
""",
        "if you kept the original, was it the same tensor, and has merge written",
    ),
    Answer(
        "MergeableLayer",
        r"""
class MergeableLayer:
    def __init__(self, weight, B, A, scaling):
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged = False
        self.original = weight.clone()

    def forward(self, x):
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self):
        if not self.merged:
            self.weight += (self.scaling * self.B @ self.A).to(self.weight.dtype)
            self.merged = True

    def unmerge(self):
        self.weight = self.original.clone()
        self.merged = False
""",
        "which others use too",
    ),
    Answer(
        "MergeableLayer",
        r"""
class MergeableLayer:
    def __init__(self, weight, B, A, scaling):
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged = False

    def forward(self, x):
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self):
        self.original = self.weight
        self.weight = (self.weight + self.scaling * self.B @ self.A).to(self.weight.dtype)
        self.merged = True

    def unmerge(self):
        self.weight = self.original
        self.merged = False
""",
        "AttributeError: 'MergeableLayer' object has no attribute 'original'",
    ),
    Answer(
        "MergeableLayer",
        r"""
class MergeableLayer:
    def __init__(self, weight, B, A, scaling):
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged = False

    def forward(self, x):
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self):
        if self.merged:
            return
        self.original = self.weight
        self.weight = (self.weight + self.scaling * self.B @ self.A).to(self.weight.dtype)
        self.merged = True

    def unmerge(self):
        self.weight = self.original
        self.merged = False
""",
        "AttributeError: 'MergeableLayer' object has no attribute 'original'",
    ),
    Answer(
        "MergeableLayer",
        r"""
class MergeableLayer:
    def __init__(self, weight, B, A, scaling):
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged = False
        self.original = weight

    def forward(self, x):
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self):
        self.weight = self.original + self.scaling * self.B @ self.A
        self.merged = True

    def unmerge(self):
        self.weight = self.original
        self.merged = False
""",
        "bring the sum back to the dtype of the weight",
    ),
    Answer(
        "MergeableLayer",
        r"""
class MergeableLayer:
    def __init__(self, weight, B, A, scaling):
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged = False
        self.original = weight
        self.sum = (weight + scaling * B @ A).to(weight.dtype)

    def forward(self, x):
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self):
        self.weight = self.sum

    def unmerge(self):
        self.weight = self.original
""",
        "say that you have merged",
    ),
    Answer(
        "MergeableLayer",
        r"""
class MergeableLayer:
    def __init__(self, weight, B, A, scaling):
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged = False
        self.original = weight.float()

    def forward(self, x):
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self):
        self.weight = (self.original + self.scaling * self.B @ self.A).to(self.weight.dtype)
        self.merged = True

    def unmerge(self):
        self.weight = self.original
        self.merged = False
""",
        "the weight is float32, wanted bfloat16",
    ),
]

RIGHT = cells(r"""
#:
def lora_numbers(sizes, targets, r):
    h, i = sizes["hidden"], sizes["intermediate"]
    q, kv = sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    total = 0
    for t in targets:
        if t in ("q_proj", "o_proj"):
            total += h + q
        elif t in ("k_proj", "v_proj"):
            total += h + kv
        else:
            total += h + i
    return total * r * sizes["layers"]
#:
def adapted_names(names, targets):
    def means(target, name):
        return ("." + name).endswith("." + target)
    hit = [n for n in names if any(means(t, n) for t in targets)]
    return hit, [t for t in targets if not any(means(t, n) for n in names)]
#:
def peft_tensors(state):
    out = {}
    for name, t in state.items():
        if name.split(".")[-1] in ("lora_A", "lora_B"):
            out[f"base_model.model.{name}.weight"] = t
    return out
""") + [
    Answer(
        "LoRALayer",
        r"""
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base
        for p in self.base.parameters():
            p.requires_grad = False
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features) / base.in_features ** 0.5)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))

    def forward(self, x):
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
""",
    ),
    Answer(
        "MergeableLayer",
        r"""
class MergeableLayer:
    def __init__(self, weight, B, A, scaling):
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged = False
        self.original = weight

    def forward(self, x):
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self):
        if not self.merged:
            self.weight = (self.original.float() + self.scaling * self.B @ self.A).to(self.original.dtype)
            self.merged = True

    def unmerge(self):
        self.weight = self.original
        self.merged = False
""",
    ),
]
