# %% [markdown]
# # Exercises: Places and starts
#
# PiSSA's start from the definition, the line of a configuration that gives one layer another rank, and one budget shared so that every number
# holds as much as it can. After lesson [05](../notebooks/05_places_and_starts.ipynb), about 45 minutes.

# %%
import torch

from lora_lab.exercises import check

# %% [markdown] tags=["task:pissa_start"]
# ## 1. Start at the strongest part
#
# difficulty 3 of 5 · importance 3 of 5 · 15 minutes
#
# PiSSA trains the strongest r directions of the weight itself. It splits W into two parts:
#
# $$W = \underbrace{W_{res}}_{\text{frozen}} + \underbrace{s\,B A}_{\text{trained}}$$
#
# where s · B A is the best approximation of W with rank r (lesson 01), and s is LoRA's scale α/r. So at step 0 the layer computes what it
# always did. B and A share everything evenly: column i of B is as long as row i of A.
#
# In: `W` [d_out, d_in], `r`, `s`. Out: `B` [d_out, r], `A` [r, d_in], `residual` [d_out, d_in]; W itself stays as it is.
#
# Example: W = [[8, 0], [0, 1]], r = 1, s = 2. The strongest part is [[8, 0], [0, 0]], so B = [[2], [0]], A = [[2, 0]] (or both with a
# minus), and the residual is [[0, 0], [0, 1]].

# %% tags=["turn:pissa_start"]
def pissa_start(W, r, s):              # -> B [d_out, r], A [r, d_in], residual [d_out, d_in]
    u, sigma, vh = torch.linalg.svd(W, full_matrices=False)
    #> √(σ/s) into each factor; what they leave of W
    root = (sigma[:r] / s).sqrt()
    B, A = u[:, :r] * root, root[:, None] * vh[:r]
    return B, A, W - s * B @ A
    #<

# %% [markdown] tags=["hint:pissa_start"]
# **A first hint.** The strongest part is Σ σ · u · v over r directions, and must be s · B A. So B A is that divided by s: each direction has
# σ/s to give away, a root of it to B and a root to A.
#
# **A second hint.** `u[:, :r] * root` multiplies columns, `root[:, None] * vh[:r]` rows.
#
# **Help, the layer starts elsewhere.** The residual is what s · B A leaves of W, s included.

# %% tags=["check:pissa_start"]
pissa_start = check("pissa_start", pissa_start)

# %% [markdown]
# How much of a weight is trained at the start, in a real layer of our small model?

# %%
from lora_lab import models

model, _ = models.load_embedded()
W = model.model.layers[0].mlp.up_proj.weight.detach()
for r in (1, 8, 64):
    B, A, residual = pissa_start(W, r, s=2.0)
    held = 1 - float(residual.square().sum() / W.square().sum())
    print(f"r = {r}: {held:.0%} of the energy of W is trained")

# %% [markdown] tags=["task:setting_for"]
# ## 2. One layer, another rank
#
# difficulty 3 of 5 · importance 3 of 5 · 12 minutes
#
# A PEFT configuration may say `"r": 8, "rank_pattern": {"layers\\.0\\..*": 32, "down_proj": 2}` (a JSON file doubles the backslashes). Which
# rank does a layer get? Each key is a regular expression for the *end* of a layer's name, beginning with a whole part: at the beginning of the name or
# after a dot. The first key that matches counts, in the order of the pattern. If none matches, the layer gets the default. `alpha_pattern` works the
# same way.
#
# In: `name`, a layer's full name; `pattern`, a dictionary from keys to numbers; `default`. Out: the number for this layer.
#
# Example: for `{"up_proj": 4}` and the default 8, `"layers.0.up_proj"` gets 4, and so does `"up_proj"`; `"layers.0.backup_proj"` and `"up_proj.norm"`
# get 8. For `{"k_proj|v_proj": 3}` `"layers.0.v_proj"` gets 3.

# %% tags=["turn:setting_for"]
def setting_for(name, pattern, default):
    import re
    #> the value of the first key that matches the end of the name
    for key, value in pattern.items():
        if re.fullmatch(rf"(.*\.)?({key})", name):
            return value
    return default
    #<

# %% [markdown] tags=["hint:setting_for"]
# **A first hint.** `re.fullmatch(expression, name)` is something if all of the name fits the expression, else `None`.
#
# **A second hint.** Before the key there may be nothing, or anything that ends in a dot: `(.*\.)?`. In a string that begins with `rf"`
# backslashes stay, and `{key}` is filled in.
#
# **Help, k_proj|v_proj does not work.** `|` reaches as far as it can. Put round brackets around the key.

# %% tags=["check:setting_for"]
setting_for = check("setting_for", setting_for)
pattern = {r"layers\.0\..*": 32, "down_proj": 2}
for name in ("model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj", "model.layers.10.mlp.up_proj"):
    print(f"{name}: rank {setting_for(name, pattern, 8)}")

# %% [markdown] tags=["task:ranks_for_layers"]
# ## 3. One budget, unequal layers
#
# difficulty 4 of 5 · importance 3 of 5 · 18 minutes
#
# The lesson gave all layers the same rank. But a direction in a wide layer costs more numbers than one in a narrow layer, and the changes that
# layers want are not equally strong. Say somebody has trained all weights once, and you know the singular values of each ΔW. Share a budget of
# numbers so that each number holds as much energy as it can.
#
# The rule: look at the next direction of every layer, the strongest one that it has not got yet. Of those that the rest of the budget can pay, take the
# one with the most **energy per number**, σ² divided by its cost, and raise that layer's rank by one. Again, until none can be paid or none is left.
#
# In: `strengths`, a dictionary from names to lists of σ, strongest first; `costs`, from names to d_in + d_out, what one rank costs; `budget`. Out: a
# dictionary from names to ranks, 0 for a layer that gets none.
#
# Example: `{"a": [3, 1], "b": [2, 2]}` with costs `{"a": 9, "b": 2}` and a budget of 13. Energy per number: a has 9/9 = 1 and then 1/9, b has
# 4/2 = 2 twice. So b, b, a: 2 + 2 + 9 = 13 numbers, `{"a": 1, "b": 2}`.

# %% tags=["turn:ranks_for_layers"]
def ranks_for_layers(strengths, costs, budget):   # -> {name: rank}
    ranks = dict.fromkeys(strengths, 0)    # every layer begins with rank 0
    #> again and again: the affordable next direction with the most energy per number
    while True:
        best, most = None, 0.0
        for name, sigma in strengths.items():
            if ranks[name] < len(sigma) and costs[name] <= budget:
                gain = sigma[ranks[name]] ** 2 / costs[name]
                if gain > most:
                    best, most = name, gain
        if best is None:
            return ranks
        ranks[best] += 1
        budget -= costs[best]
    #<

# %% [markdown] tags=["hint:ranks_for_layers"]
# **A first hint.** The next direction of a layer is `sigma[ranks[name]]`: with rank 0 it is the first one. There is one as long as
# `ranks[name] < len(sigma)`.
#
# **A second hint.** In a `while True:` loop, walk over the layers, keep the best of those with `costs[name] <= budget`, and return the ranks when
# there was none.
#
# **Help, I spend too much or too little.** Ask what a direction costs before you take it. And when the best one costs too much, another may still fit.

# %% tags=["check:ranks_for_layers"]
ranks_for_layers = check("ranks_for_layers", ranks_for_layers)

# %% [markdown]
# Two layers of equal energy: one has a few strong directions, the other many weak ones.

# %%
strengths = {"few and strong": [0.5 ** (k / 2) for k in range(12)], "many and weak": [(1 / 6) ** 0.5] * 12}
costs = {"few and strong": 384, "many and weak": 384}
for budget in (2_000, 4_000, 8_000):
    print(f"{budget:,} numbers:", ranks_for_layers(strengths, costs, budget))
