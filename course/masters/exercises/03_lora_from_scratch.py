# %% [markdown]
# # Exercises: LoRA from scratch
#
# Around the layer that you typed in the lesson stands a small library: it counts what an adapter costs, finds the layers that a target names,
# merges, and saves. You write all of it, the whole class included. After lesson [03](../notebooks/03_lora_from_scratch.ipynb), about
# 75 minutes.

# %%
import torch
from torch import nn

from lora_lab.exercises import check

# %% [markdown] tags=["task:lora_numbers"]
# ## 1. What an adapter costs
#
# difficulty 2 of 5 · importance 4 of 5 · 12 minutes
#
# A block of a Llama has seven linear layers. Today's models share keys and values between several heads of queries (*grouped-query
# attention*), so four of the seven are not square:
#
# | layer | d_in | d_out |
# |---|---|---|
# | `q_proj` | hidden | heads · head_dim |
# | `k_proj`, `v_proj` | hidden | kv_heads · head_dim |
# | `o_proj` | heads · head_dim | hidden |
# | `gate_proj`, `up_proj` | hidden | intermediate |
# | `down_proj` | intermediate | hidden |
#
# How many numbers does LoRA of rank r train, if every block gets adapters on the layers in `targets`?
#
# In: `sizes`, a dictionary with `hidden`, `intermediate`, `heads`, `kv_heads`, `head_dim` and `layers` (how many blocks); `targets`, a list
# of names from the table; `r`. Out: an int.
#
# Example: hidden 8, kv_heads 2, head_dim 3, layers 2, whatever the rest. `k_proj` goes from 8 to 6 numbers: with r = 1 it
# costs 14 in each block, 28 in all.

# %% tags=["turn:lora_numbers"]
def lora_numbers(sizes, targets, r):
    hidden, inner = sizes["hidden"], sizes["intermediate"]
    #> d_in and d_out of each target, then what A and B hold, in every block
    queries, keys = sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    shapes = {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys),
              "o_proj": (queries, hidden), "gate_proj": (hidden, inner), "up_proj": (hidden, inner),
              "down_proj": (inner, hidden)}
    total = 0
    for name in targets:
        d_in, d_out = shapes[name]
        total += sizes["layers"] * r * (d_in + d_out)
    return total
    #<

# %% [markdown] tags=["hint:lora_numbers"]
# **A first hint.** Write the table as a dictionary from names to pairs (d_in, d_out).
#
# **A second hint.** A is [r, d_in] and B is [d_out, r]: together r · (d_in + d_out) numbers, in each of `layers` blocks.

# %% tags=["check:lora_numbers"]
lora_numbers = check("lora_numbers", lora_numbers)
llama = {"hidden": 4096, "intermediate": 14336, "heads": 32, "kv_heads": 8, "head_dim": 128, "layers": 32}
attention, mlp = ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"]
for targets in (["q_proj", "v_proj"], attention, mlp, attention + mlp):
    print(f"Llama-3.1-8B, r = 16, {', '.join(targets)}: {lora_numbers(llama, targets, 16):,}")

# %% [markdown] tags=["task:adapted_names"]
# ## 2. Which layers a target names
#
# difficulty 2 of 5 · importance 4 of 5 · 12 minutes
#
# `target_modules=["q_proj"]` means every layer whose name *is* `q_proj` or ends in `.q_proj`. It may not catch `q_proj_norm`, nor
# `backup_proj` when `up_proj` is meant: a target is whole parts between dots. It may be several parts, as in `self_attn.q_proj`. And a target
# that means no layer is a typing mistake which somebody must be told of.
#
# In: `names`, all layers of a model; `targets`. Out: two lists: the names that some target means, in the order of `names` and each once; and the
# targets that mean none, in the order of `targets`.
#
# Example: for `names = ["a.up_proj", "a.backup_proj", "head"]` and `targets = ["up_proj", "down_proj"]` it is
# `(["a.up_proj"], ["down_proj"])`.

# %% tags=["turn:adapted_names"]
def adapted_names(names, targets):     # -> adapted names, targets without a layer
    #> whole parts at the end of a name
    adapted, found = [], set()
    for name in names:
        meant = [target for target in targets if name == target or name.endswith("." + target)]
        found.update(meant)
        if meant:
            adapted.append(name)
    return adapted, [target for target in targets if target not in found]
    #<

# %% [markdown] tags=["hint:adapted_names"]
# **A first hint.** `"a.backup_proj".endswith("up_proj")` is true. What must stand before the target?
#
# **Help, `lm_head` is left out.** Some names have no dot: a name may also *equal* the target.

# %% tags=["check:adapted_names"]
adapted_names = check("adapted_names", adapted_names)

# %% [markdown] tags=["task:LoRALayer"]
# ## 3. The whole layer
#
# difficulty 3 of 5 · importance 5 of 5 · 20 minutes
#
# In the lesson the class stood there and you typed its parts. Now from nothing:
#
# $$h = W_0\,x + b + \frac{\alpha}{r}\,B\,A\,x$$
#
# In: `base`, an `nn.Linear` from d_in to d_out, with or without a bias; `r`; `alpha`. Your class is an `nn.Module` with
#
# - parameters `lora_A` [r, d_in], random, and `lora_B` [d_out, r], zero, which train; nothing else does;
# - `scaling`, the number α/r;
# - `forward(x)`, x [..., d_in] → h [..., d_out], which begins as `base(x)`.
#
# Example: around a base with W₀ = [[1, 2]], no bias, and r = 1, α = 3, once A is [[1, 1]] and B is [[2]], x = [1, 0] gives
# 1 + 3 · 2 · 1 = 7.

# %% tags=["turn:LoRALayer"]
class LoRALayer(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        #> the frozen base, the scaling, A random, B zero
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, base.in_features) / base.in_features**0.5)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        #<

    def forward(self, x):
        #> the base's output, plus the scaled update
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
        #<

# %% [markdown] tags=["hint:LoRALayer"]
# **A first hint.** A tensor becomes a parameter of a module by `self.lora_A = nn.Parameter(tensor)`. `base.in_features` and
# `base.out_features` are d_in and d_out.
#
# **A second hint.** `base.requires_grad_(False)` freezes weight and bias, and returns the base.
#
# **Help, the shapes do not fit.** x stands in rows: `x @ self.lora_A.T` is [..., r].

# %% tags=["check:LoRALayer"]
LoRALayer = check("LoRALayer", LoRALayer)

# %% [markdown] tags=["task:MergeableLayer"]
# ## 4. Merge, and back
#
# difficulty 3 of 5 · importance 4 of 5 · 15 minutes
#
# For serving, the update is added into the weight: one product instead of three. For the next customer it must come out again, and the base must be
# the base, *bit for bit*: it is shared, and somebody compares checksums.
#
# `__init__` and `forward` are given. Write `merge` and `unmerge`, and put into `__init__` what they need.
#
# - `merge()`: `weight` becomes W + scaling · B A, in the dtype that it had. A second `merge()` changes nothing more.
# - `unmerge()`: `weight` has the very bits from before, after any number of rounds. Without a merge before it, it changes nothing.
# - `forward` gives the same before and after, but for rounding; it looks at `merged`.
#
# In: `weight` [d_out, d_in], float32 or bfloat16; `B` [d_out, r] and `A` [r, d_in], float32; `scaling`.
#
# Example: `weight` [[1, 1]], B [[1]], A [[2, 0]], scaling 0.5: merged, `weight` is [[2, 1]].

# %% tags=["turn:MergeableLayer"]
class MergeableLayer:
    def __init__(self, weight, B, A, scaling):
        self.weight, self.B, self.A, self.scaling = weight, B, A, scaling
        self.merged = False
        #> what merge and unmerge need
        self.original = weight
        #<

    def forward(self, x):              # x: [tokens, d_in] -> [tokens, d_out]
        h = x @ self.weight.to(x.dtype).T
        return h if self.merged else h + self.scaling * (x @ self.A.T @ self.B.T)

    def merge(self):
        #> the sum as a new tensor, in the dtype of the weight
        self.weight = (self.original + self.scaling * (self.B @ self.A)).to(self.original.dtype)
        self.merged = True
        #<

    def unmerge(self):
        #> the weight from before
        self.weight, self.merged = self.original, False
        #<

# %% [markdown] tags=["hint:MergeableLayer"]
# **A first hint.** In floating point (a + b) − b is not always a. So do not subtract.
#
# **A second hint.** Keep the original weight under another name. merge makes a *new* tensor from it, and unmerge goes back to it.
#
# **Help, the output moves after merge.** `forward` adds the update unless `self.merged` says that it is in the weight.

# %% tags=["check:MergeableLayer"]
MergeableLayer = check("MergeableLayer", MergeableLayer)

# %% [markdown]
# What subtracting would have cost, in the two dtypes in which bases are stored:

# %% tags=["nbval-ignore-output"]
for dtype in (torch.float32, torch.bfloat16):
    dice = torch.manual_seed(0)
    W = (torch.randn(256, 256, generator=dice) / 16).to(dtype)
    update = 0.01 * torch.randn(256, 2, generator=dice) @ torch.randn(2, 256, generator=dice)
    back = ((W + update).to(dtype) - update).to(dtype)
    print(f"{dtype}: added and subtracted once, {float((back != W).float().mean()):.0%} of the weights are others")

# %% [markdown] tags=["task:peft_tensors"]
# ## 5. The names in the file
#
# difficulty 2 of 5 · importance 3 of 5 · 12 minutes
#
# PEFT, vLLM and the hub read an adapter from a file in which A of the layer `model.layers.0.mlp.up_proj` is called
# `base_model.model.model.layers.0.mlp.up_proj.lora_A.weight`: PEFT's wrapper around a model is `base_model.model`, and its A is a
# linear layer, which has a `weight`.
#
# In: `state`, the `state_dict()` of a model with layers like your `LoRALayer` in it: the adapted layer's tensors end in `.base.weight`,
# `.base.bias`, `.lora_A` and `.lora_B`; other layers have theirs. Out: a dictionary with what belongs into the file: every A and B under its
# name there, the tensors as they are, and nothing of the base.
#
# Example: from `{"head.base.weight": W, "head.lora_A": A, "head.lora_B": B, "norm.weight": n}` come
# `{"base_model.model.head.lora_A.weight": A, "base_model.model.head.lora_B.weight": B}`.

# %% tags=["turn:peft_tensors"]
def peft_tensors(state):               # {name: tensor} -> {name in the file: tensor}
    #> every A and B, renamed
    tensors = {}
    for name, tensor in state.items():
        if name.endswith((".lora_A", ".lora_B")):
            tensors[f"base_model.model.{name}.weight"] = tensor
    return tensors
    #<

# %% [markdown] tags=["hint:peft_tensors"]
# **A first hint.** Walk over `state.items()`. Which names *end* in what you look for?
#
# **Help, a norm is in my file.** `"lora_A" in name` also finds `model.lora_A_norm.weight`. Look at the end of a name.

# %% tags=["check:peft_tensors"]
peft_tensors = check("peft_tensors", peft_tensors)

# %% [markdown]
# All together, on the small model of the lessons: names, layers, counts, and what is saved.

# %%
from lora_lab import models

model, _ = models.load_embedded()
linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
adapted, missed = adapted_names(linear, ["q_proj", "v_proj", "c_proj"])
model.requires_grad_(False)
for name in adapted:
    model.set_submodule(name, LoRALayer(model.get_submodule(name), r=8, alpha=16))
config = model.config
sizes = {"hidden": config.hidden_size, "intermediate": config.intermediate_size, "heads": config.num_attention_heads,
         "kv_heads": config.num_key_value_heads, "head_dim": config.head_dim, "layers": config.num_hidden_layers}
saved = peft_tensors(model.state_dict())
print(f"{len(adapted)} layers adapted; no layer is called {', '.join(missed)}")
print(f"numbers that train: {lora_numbers(sizes, ['q_proj', 'v_proj'], 8):,} by the formula, "
      f"{sum(tensor.numel() for tensor in saved.values()):,} in the file, first {next(iter(saved))}")
