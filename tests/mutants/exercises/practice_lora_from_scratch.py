"""Answers to exercises 03: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer, cells

_SHAPES = """def lora_numbers(sizes, targets, r):
    h, n = sizes["hidden"], sizes["intermediate"]
    q, kv = sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    shapes = {"q_proj": (h, q), "k_proj": (h, kv), "v_proj": (h, kv), "o_proj": (q, h),
              "gate_proj": (h, n), "up_proj": (h, n), "down_proj": (n, h)}
"""
_SUM = '    return sizes["layers"] * r * sum(sum(shapes[t]) for t in targets)\n'
_INIT = """        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features) / base.in_features ** 0.5)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
"""
_FORWARD = "self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)"


def _numbers(code: str, says: str = "") -> Answer:
    return Answer("lora_numbers", code, says)


def _layer(init: str = _INIT, forward: str = _FORWARD, says: str = "") -> Answer:
    code = f"class LoRALayer(nn.Module):\n    def __init__(self, base, r, alpha):\n{init}\n"
    return Answer("LoRALayer", f"{code}    def forward(self, x):\n        return {forward}\n", says)


_MERGE = "self.weight, self.merged = (self.kept + self.scaling * self.B @ self.A).to(self.kept.dtype), True"
_ONCE = """if not self.merged:
            self.weight += self.scaling * self.B @ self.A
        self.merged = True"""
_UNMERGE = "self.weight, self.merged = self.kept, False"


def _merge(merge: str = _MERGE, unmerge: str = _UNMERGE, says: str = "") -> Answer:
    return Answer("MergeableLayer", f"""class MergeableLayer:
    def __init__(self, weight, B, A, scaling):
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged, self.kept = False, weight.clone()

    def forward(self, x):
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self):
        {merge}

    def unmerge(self):
        {unmerge}
""", says)  # fmt: skip


ANSWERS = [
    _numbers(_SHAPES.replace('sizes["kv_heads"]', 'sizes["heads"]') + _SUM, "fewer than queries"),
    _numbers(_SHAPES.replace("(h, q)", "(h, h)").replace("(q, h)", "(h, h)") + _SUM, "attention is not square"),
    _numbers(_SHAPES + _SUM.replace('sizes["layers"] * ', ""), "that is one block"),
    _numbers(_SHAPES + _SUM.replace("r * ", ""), "that is one rank"),
    _numbers(_SHAPES + _SUM.replace("sum(shapes[t])", "shapes[t][0] * shapes[t][1]"), "numbers add"),
    _numbers(_SHAPES + _SUM.replace("sum(shapes[t])", "shapes[t][0]"), "A alone"),
    _numbers(_SHAPES + _SUM.replace("in targets", "in shapes"), "only the targets"),
    _numbers(_SHAPES + _SUM.replace("return", "total ="), "gives None"),
    *cells('''
#: goes on after it
def adapted_names(names, targets):
    return [n for n in names if any(t in n for t in targets)], [t for t in targets if not any(t in n for n in names)]
#: its last part is backup_proj
def adapted_names(names, targets):
    return ([n for n in names if any(n.endswith(t) for t in targets)],
            [t for t in targets if not any(n.endswith(t) for n in names)])
#: may be one part or several
def adapted_names(names, targets):
    last = [n.split(".")[-1] for n in names]
    return [n for n, part in zip(names, last) if part in targets], [t for t in targets if t not in last]
#: keep that of the model
def adapted_names(names, targets):
    found, missed = [], []
    for t in sorted(targets):
        mine = [n for n in names if n == t or n.endswith("." + t)]
        found += [n for n in mine if n not in found]
        if not mine:
            missed.append(t)
    return [n for n in reversed(names) if n in found], missed
#: stands there twice
def adapted_names(names, targets):
    found = [n for n in names for t in targets if n == t or n.endswith("." + t)]
    return found, [t for t in targets if not any(n == t or n.endswith("." + t) for n in names)]
#: no dot before it
def adapted_names(names, targets):
    found = [n for n in names if any(n.endswith("." + t) for t in targets)]
    return found, [t for t in targets if not any(n.endswith("." + t) for n in names)]
#: targets without a layer
def adapted_names(names, targets):
    found = [n for n in names if any(n == t or n.endswith("." + t) for t in targets)]
    return found, [n for n in names if n not in found]
#: wanted two: the second
def adapted_names(names, targets):
    return [n for n in names if any(n == t or n.endswith("." + t) for t in targets)]
'''),
    _layer(_INIT.replace(".requires_grad_(False)", ""), says="still trains"),
    _layer(_INIT.replace("alpha / r", "alpha"), says="divide by r"),
    _layer(_INIT.replace("alpha / r", "r / alpha"), says="upside down"),
    _layer(_INIT.replace("torch.zeros(base.out", "torch.randn(base.out"), says="B is not zero"),
    _layer(_INIT.replace("torch.randn(r, ", "0 * torch.randn(r, "), says="A is zero"),
    _layer(_INIT.replace("self.lora_A = nn.Parameter", "self.lora_A = "), says="lora_A is not among the parameters"),
    _layer(_INIT.replace("base.requires_grad_(False)", "nn.Linear(base.in_features, base.out_features, "
           "base.bias is not None).requires_grad_(False)"), says="the layer that you were given"),
    _layer(forward=_FORWARD.replace("self.scaling * ", ""), says="α/r is missing"),
    _layer(forward=f"self.scaling * ({_FORWARD.replace('self.scaling * ', '')})", says="multiplies the base's output"),
    _layer(forward=_FORWARD.replace("(x @ ", "(self.base(x) @ "), says="both paths begin at x"),
    _layer(forward=_FORWARD.replace("self.lora_A.T", "self.lora_A.T.detach()"), says="the gradient of lora_A"),
    _layer(_INIT.replace("nn.Parameter(torch.randn(r, base.in_features) / base.in_features ** 0.5)",
                         "nn.Linear(base.in_features, r, bias=False)"), says="a layer with a weight"),
    _layer(_INIT + "        self.requires_grad_(False)\n", says="lora_A does not train"),
    _layer("        torch.manual_seed(0)\n" + _INIT, says="the same in two layers"),
    _merge(unmerge="self.weight, self.merged = self.weight - self.scaling * self.B @ self.A, False",
           says="unmerge without a merge"),
    _merge(unmerge="if self.merged:\n            self.weight, self.merged = "
           "(self.weight - self.scaling * self.B @ self.A).to(self.weight.dtype), False", says="keep the original"),
    _merge("self.weight, self.merged = self.weight + self.scaling * self.B @ self.A, True", says="a second time"),
    _merge(_MERGE.replace("self.scaling * ", ""), says="α/r is missing"),
    _merge(_MERGE.replace("True", "self.merged"), says="say that you have merged"),
    _merge(unmerge="self.weight = self.kept", says="is merged False"),
    Answer("MergeableLayer", _merge(_ONCE).code.replace("weight.clone()", "weight"), "still the merged one"),
    _merge("self.merged = True", says="the weight has not changed"),
    _merge(_MERGE.replace(".to(self.kept.dtype)", ".double()"), says="back to the dtype"),
    *cells('''
#: begins with what PEFT puts around
def peft_tensors(state):
    return {k + ".weight": v for k, v in state.items() if k.endswith(("lora_A", "lora_B"))}
#: is a .weight
def peft_tensors(state):
    return {"base_model.model." + k: v for k, v in state.items() if k.endswith(("lora_A", "lora_B"))}
#: is of the base
def peft_tensors(state):
    return {"base_model.model." + k + ".weight": v for k, v in state.items()}
#: a norm of the base
def peft_tensors(state):
    return {"base_model.model." + k + ".weight": v for k, v in state.items() if "lora_" in k}
#: its file leaves it out
def peft_tensors(state):
    names = [k for k in state if k.endswith(("lora_A", "lora_B"))]
    return {"base_model.model." + k + ".default.weight": state[k] for k in names}
#: the layer score is missing
def peft_tensors(state):
    return {"base_model." + k + ".weight": v for k, v in state.items() if k.endswith(("lora_A", "lora_B"))} and {
        "base_model.model." + k + ".weight": v for k, v in state.items()
        if k.startswith("model.") and k.endswith(("lora_A", "lora_B"))}
#: has the shape
def peft_tensors(state):
    return {"base_model.model." + k + ".weight": v.T for k, v in state.items() if k.endswith(("lora_A", "lora_B"))}
#: is bfloat16
def peft_tensors(state):
    return {"base_model.model." + k + ".weight": v.bfloat16() for k, v in state.items()
            if k.endswith(("lora_A", "lora_B"))}
'''),
]  # fmt: skip

RIGHT = [
    _numbers('''def lora_numbers(sizes, targets, r):
    total = 0
    for name in targets:
        d_in = d_out = sizes["hidden"]
        if name in ("gate_proj", "up_proj"):
            d_out = sizes["intermediate"]
        elif name == "down_proj":
            d_in = sizes["intermediate"]
        elif name == "o_proj":
            d_in = sizes["heads"] * sizes["head_dim"]
        else:
            d_out = sizes["heads" if name == "q_proj" else "kv_heads"] * sizes["head_dim"]
        total += r * d_in + d_out * r
    return total * sizes["layers"]
'''),
    _numbers(_SHAPES + '    return sum(r * (i + o) for t in targets for i, o in [shapes[t]] * sizes["layers"])\n'),
    *cells('''
#:
def adapted_names(names, targets):
    adapted, missed = [], set(targets)
    for name in names:
        parts = name.split(".")
        mine = [t for t in targets if parts[-len(t.split(".")):] == t.split(".")]
        missed -= set(mine)
        if mine:
            adapted.append(name)
    return adapted, [t for t in targets if t in missed]
#:
def adapted_names(names, targets):
    dotted = tuple("." + t for t in targets)
    left = [t for t in targets if all(not ("." + n).endswith("." + t) for n in names)]
    return [n for n in names if ("." + n).endswith(dotted)], left
'''),
    _layer(),
    _layer(_INIT.replace("self.base = base.requires_grad_(False)", "self.base = base\n"
           "        for p in base.parameters():\n            p.requires_grad = False"),
           "F.linear(F.linear(x, self.lora_A), self.lora_B) * self.scaling + self.base(x)"),
    _layer(forward="self.base(x) + x @ (self.scaling * self.lora_B @ self.lora_A).T"),
    _merge(),
    _merge("if not self.merged:\n            self.kept, self.merged = self.weight.clone(), True\n"
           "            self.weight = (self.kept.float() + self.scaling * self.B @ self.A).to(self.kept.dtype)",
           "if self.merged:\n            self.weight, self.merged = self.kept, False"),
    *cells('''
#:
def peft_tensors(state):
    found = {}
    for key, tensor in state.items():
        *layer, last = key.split(".")
        if last in ("lora_A", "lora_B"):
            found[".".join(["base_model", "model", *layer, last, "weight"])] = tensor.detach().clone()
    return found
#:
def peft_tensors(state):
    import re
    return {re.sub(r"^(.*lora_[AB])$", r"base_model.model.\\\\1.weight", key): state[key]
            for key in sorted(state) if re.search(r"lora_[AB]$", key)}
'''.replace("\\\\\\\\", "\\\\").replace("\\\\1", "\\1")),
]  # fmt: skip
