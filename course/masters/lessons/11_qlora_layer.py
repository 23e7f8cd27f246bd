# %% [markdown]
# # A QLoRA layer
#
# You build the layer that learns through a weight stored in four bits, watch it learn while not one stored bit
# moves, and find out why merging it back into four bits can throw the training away.
#
# | time on 2 CPU cores | memory | builds on |
# |---|---|---|
# | 1.5 minutes (no GPU is used) | under 1 GB | [03](03_lora_from_scratch.ipynb), [09](09_build_nf4.ipynb) |
#
# The model is the course's embedded base on every machine.

# %% [markdown]
# ## The equation
#
# A linear layer has a weight $W$ of shape [d_out, d_in]. QLoRA stores it as 4-bit codes $W_4$, frozen, and trains a
# LoRA update beside it. Dettmers et al. (2023, [arXiv 2305.14314](https://arxiv.org/abs/2305.14314), equation 5, and
# equation 3 for the scale $s$, which 5 leaves out), with weights as PyTorch stores them:
#
# $$y = x\,\hat W^\top + s\,(x A^\top) B^\top, \qquad \hat W = \mathrm{dequantize}(W_4), \qquad s = \alpha / r$$
#
# $A$ [r, d_in] starts random and $B$ [d_out, r] starts at zero, as in lesson 03. Write $g = \partial L/\partial y$
# for the gradient that arrives from above. Then
#
# $$\frac{\partial L}{\partial x} = g\,\hat W + s\,(g B) A,
# \qquad \frac{\partial L}{\partial B} = s\, g^\top (x A^\top),
# \qquad \frac{\partial L}{\partial A} = s\,(g B)^\top x$$
#
# $\hat W$ stands in the gradient for $x$. Without that term nothing would pass through this layer to the adapters
# below it: at the start $B$ is zero, and the other term with it.
# A gradient for $W_4$ stands nowhere: a code is an integer from 0 to 15, and nobody will change it.
#
# So the frozen product needs its own rule: something for $x$, nothing for the weight.

# %%
import copy
import math

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn import functional as F

from lora_lab import data, lora, models, quant, show, train


class FrozenProduct(torch.autograd.Function):
    """x Ŵᵀ, where Ŵ is made from the codes in each pass and dropped again."""

    @staticmethod
    def forward(ctx, x, layer):  # x [..., d_in]
        ctx.layer = layer
        return F.linear(x, layer.dequantize(x.dtype))  # y = x Ŵᵀ

    @staticmethod
    def backward(ctx, g):  # g = ∂L/∂y [..., d_out]
        return g @ ctx.layer.dequantize(g.dtype), None  # ∂L/∂x = g Ŵ, and nothing for the layer

# %% [markdown]
# Around it, two small classes. `Linear4bit` holds the codes. `QLoRALinear` adds the update, and its last line is
# the equation.

# %%
class Linear4bit(nn.Module):
    def __init__(self, linear, codebook=quant.NF4, double_quant=True):
        super().__init__()
        self.stored = quant.quantize(linear.weight, codebook, block_size=64, double_quant=double_quant)
        self.bias = linear.bias

    def dequantize(self, dtype=None):
        return self.stored.dequantize(dtype)  # Ŵ [d_out, d_in]

    def forward(self, x):
        y = FrozenProduct.apply(x, self)
        return y if self.bias is None else y + self.bias


class QLoRALinear(Linear4bit):
    def __init__(self, linear, r=8, alpha=16):
        super().__init__(linear)
        d_out, d_in = linear.weight.shape
        self.scaling = alpha / r
        self.A = nn.Parameter(torch.empty(r, d_in).uniform_(-1, 1) / math.sqrt(d_in))
        self.B = nn.Parameter(torch.zeros(d_out, r))

    def forward(self, x):
        return super().forward(x) + self.scaling * F.linear(F.linear(x, self.A), self.B)

# %% [markdown]
# Does the hand-written rule agree with what PyTorch derives by itself? The oracle is a dense layer that holds $\hat
# W$, with the same $A$ and $B$ ($B$ no longer zero). The shape is odd on purpose: 100 × 33 is no multiple of the
# block of 64, so the last block is short.

# %%
_ = torch.manual_seed(0)
layer = QLoRALinear(nn.Linear(100, 33, bias=False))
_ = nn.init.normal_(layer.B)
dense, x = layer.dequantize(), torch.randn(2, 5, 100)


def outcome(forward):
    """y and the gradients of Σ y² for x, A and B."""
    inputs = [x.clone().requires_grad_(), layer.A, layer.B]
    y = forward(inputs[0])
    return [y, *torch.autograd.grad(y.square().sum(), inputs)]


ours = outcome(layer)
oracle = outcome(lambda v: F.linear(v, dense) + layer.scaling * v @ layer.A.T @ layer.B.T)
error = [float((a - b).detach().norm() / b.detach().norm()) for a, b in zip(ours, oracle)]
show.table([[name, str(e < 1e-6)] for name, e in zip(["y", "∂L/∂x", "∂L/∂A", "∂L/∂B"], error)],
           ["", "equal to the dense layer's to 1 in 10⁶"])

# %% [markdown]
# ## Why dequantize twice?
#
# The class could be shorter. Take a dequantized weight that needs no gradient, and let autograd do the rest:

# %%
class KeepsDense(Linear4bit):
    def forward(self, x):
        return F.linear(x, self.dequantize(x.dtype), self.bias)

# %% [markdown]
# The numbers are the same. The memory is not: to compute $g\hat W$ later, autograd keeps something from the forward
# to the backward pass.
#
# **Predict, then run.** Eight layers of 512 × 512 in a row, a batch of 64. How many bytes does autograd keep with
# `KeepsDense`, and how many with `FrozenProduct`? For comparison, the eight weights take 8,388,608 bytes in fp32.
# `saved_tensors_hooks` shows every tensor that autograd puts aside.

# %%
def bytes_kept(layers, x):
    """Bytes that autograd holds between forward and backward."""
    kept = {}

    def on_save(tensor):
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()  # each storage once
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(on_save, lambda tensor: tensor):
        y = nn.Sequential(*layers)(x)
    y.sum().backward()
    return sum(kept.values())


linears = [nn.Linear(512, 512, bias=False) for _ in range(8)]
batch = torch.randn(64, 512, requires_grad=True)
kept = {kind.__name__: bytes_kept([kind(linear) for linear in linears], batch) for kind in (KeepsDense, Linear4bit)}
stored = sum(Linear4bit(linear).stored.nbytes for linear in linears)
show.table([[name, f"{stored:,}", f"{n:,}"] for name, n in kept.items()],
           ["layer", "stored, bytes", "kept for backward, bytes"])

# %% [markdown]
# `KeepsDense` keeps a dense copy of every layer until its turn in the backward pass. The whole model is then in
# memory unpacked, and storing it in four bits has saved nothing. `FrozenProduct` keeps nothing, because the codes
# are there anyway. Its price is a second dequantization per step, and one dense copy of one layer at a time.
# bitsandbytes makes the same choice (`MatMul4Bit.backward`).
#
# One more property, which sounds too plain to test: an evaluation between two training steps must not change
# anything.

# %%
def gradient_of_x(layer):
    v = x.clone().requires_grad_()
    layer.train()(v).square().sum().backward()
    return v.grad


before, codes = gradient_of_x(layer), layer.stored.packed.clone()
with torch.no_grad():
    _ = layer.eval()(x)
print("gradient unchanged, bit for bit:", torch.equal(gradient_of_x(layer), before))
print("codes unchanged, bit for bit:   ", torch.equal(layer.stored.packed, codes))

# %% [markdown]
# bitsandbytes 0.50.2 fails this test on CPUs with AVX-512-BF16, which most recent servers have. There, an eval
# forward whose input needs no gradient rearranges the codes for a faster kernel and leaves them so
# (`bitsandbytes/nn/modules.py`, `Linear4bit.forward`). Training afterwards gives $x$ no gradient, with a warning at
# most. Other CPUs and GPUs do not take that path. [Issue
# 2078](https://github.com/bitsandbytes-foundation/bitsandbytes/issues/2078) is another consequence:
# `model.to(device)` moves the rearranged codes as if they were not. On a CPU, reload a bitsandbytes model after
# evaluating it.
#
# ## What it weighs
#
# A weight of $n$ values in blocks of 64 stores $n/2$ bytes of codes, plus one constant per block: four bytes, or
# one byte after double quantization (DQ), with a float32 scale per 256 constants and one mean. The formula must
# agree with real tensors before we use it on a model that does not fit here.

# %%
def nf4_bytes(shape, double_quant, block=64):
    n = math.prod(shape)
    blocks = math.ceil(n / block)
    constants = blocks + 4 * math.ceil(blocks / 256) + 4 if double_quant else 4 * blocks
    return math.ceil(n / 2) + constants


for shape in [(33, 100), (192, 512), (1024, 1024), (1, 1)]:
    for double_quant in (False, True):
        stored = quant.quantize(torch.randn(shape), double_quant=double_quant)
        assert nf4_bytes(shape, double_quant) == stored.nbytes
print("the formula gives the exact bytes of eight real tensors")

# %% [markdown]
# **Predict, then run.** Llama-2-7B has 6,738,415,616 parameters. "Four bits are half a byte" makes that 3.37 GB.
# What will the table say for NF4 with DQ: less, the same, a tenth more, a third more? And how much of it does DQ
# save?

# %%
model, tokenizer = models.load_embedded()
body = {name: m for name, m in model.named_modules() if type(m) is nn.Linear and name != "lm_head"}
h, i, layers, vocabulary = 4096, 11008, 32, 32000  # Llama-2-7B
llama = layers * [(h, h)] * 4 + layers * [(i, h), (i, h), (h, i)]
small = [m.weight.shape for m in body.values()]
others = {"embedded": model.num_parameters() - sum(map(math.prod, small)),  # embeddings, head, norms:
          "llama": 2 * vocabulary * h + (2 * layers + 1) * h}  # 16 bits each under QLoRA


def row(name, shapes, rest=0):
    n = sum(map(math.prod, shapes))
    nf4, dq = (sum(nf4_bytes(shape, double) for shape in shapes) + 2 * rest for double in (False, True))
    sizes = [4 * (n + rest), 2 * (n + rest), nf4, dq]
    return [name, f"{n + rest:,}", *(f"{size / 1e6:,.3f}" for size in sizes), f"{8 * dq / (n + rest):.3f}"]


show.table([row("one layer, 1024 × 1024", [(1024, 1024)]), row("embedded base, linear layers", small),
            row("embedded base, whole", small, others["embedded"]), row("Llama-2-7B, linear layers", llama),
            row("Llama-2-7B, whole", llama, others["llama"])],
           ["", "parameters", "fp32, MB", "bf16, MB", "NF4, MB", "NF4+DQ, MB", "bits per parameter, DQ"])

# %% [markdown]
# MB is 10⁶ bytes.
#
# Two things are not in "half a byte": the constants, and all that is not a linear layer. Embeddings and head stay
# in 16 bits, and the smaller the model, the more they weigh. The last column is about linear layers only where the
# row says so. Without DQ, a constant costs 32 bits per 64 values, which makes 4.5 bits per value; the paper puts the
# saving at about 0.37 bits, or 3 GB for a 65B model (section 1).
#
# With `KeepsDense`, training Llama-2-7B in bf16 would put the bf16 size of its linear layers on top of all this.
#
# ## What the base loses
#
# Rounding must cost something. We quantize every linear layer of the embedded base and ask what it can still do:
# *read* (questions about a passage on a stranger) and *recall* (facts that it learned by heart).
#
# **Predict, then run.** Where does it break: at INT4, FP4, 3 bits (NF3) or 2 bits (NF2)? The weight error is
# $\|W-\hat W\| / \|W\|$ over all linear layers.

# %% tags=["nbval-ignore-output"]
def rounded(model, codebook):
    """A dense copy of `model` with every linear layer rounded to `codebook`, block 64, DQ."""
    return quant.dequantize_model(quant.quantize_model(copy.deepcopy(model), codebook=codebook))


def weights(model):
    return {name: model.get_submodule(name).weight.detach() for name in body}


def distance(a, b):
    """‖a - b‖ / ‖b‖ over all layers."""
    return math.sqrt(sum(float((a[n] - b[n]).square().sum()) for n in b) / sum(float(b[n].square().sum()) for n in b))


def abilities(name, m):
    reading, recall = train.reading(m, tokenizer, questions), train.recall(m, tokenizer, world)
    return name, distance(weights(m), weights(model)), reading, recall


questions, world = data.tasks.reading(80), data.World.generate()
formats = {"NF4": quant.NF4, "INT4": quant.INT4, "FP4 (bitsandbytes')": quant.FP4_BNB,
           "NF3": quant.normal_float(3), "NF2": quant.normal_float(2)}
results = [abilities("not rounded", model)]
results += [abilities(name, rounded(model, book)) for name, book in formats.items()]
HEADERS = ["format", "weight error", "reading", "recall"]
show.table([[name, *map("{:.1%}".format, values)] for name, *values in results], HEADERS)

# %% [markdown]
# Down to three bits hardly anything is lost; at two bits nearly everything is. Among the 4-bit formats, the paper
# ranks NF4 first, FP4 next and Int4 last by perplexity (Table 2). Weight error puts INT4 before FP4, so it is not
# the whole story, and this base cannot settle it: its margins are so wide that its scores do not tell the 4-bit
# formats apart.
#
# Is it the *bits* that break it? Look at NF2's levels:

# %%
print([round(v, 3) for v in quant.normal_float(2).values.tolist()])

# %% [markdown]
# NF-k insists on an exact zero and gives the spare level to the positive side. With 16 levels nobody notices. With
# four, one negative level is left, at the very end, and most negative weights become zero.
#
# Two controls. Four levels set by hand, symmetric and without a zero. And NF2's weight error as plain random noise,
# of the same size in every layer: if noise is harmless, the *pattern* of NF2's error does the damage; if not, its
# *size* is enough.

# %% tags=["nbval-ignore-output"]
by_hand = quant.Codebook("four by hand", torch.tensor([-0.65, -0.2, 0.2, 0.65]))
noisy, generator = copy.deepcopy(model), torch.Generator().manual_seed(0)
for name in body:
    w = noisy.get_submodule(name).weight.data
    noise = torch.randn(w.shape, generator=generator)
    w += noise * (results[-1][1] * w.norm() / noise.norm())  # as large as NF2's error
results += [abilities("four levels by hand", rounded(model, by_hand)),
            abilities("noise as large as NF2's", noisy)]
show.table([[name, *map("{:.1%}".format, values)] for name, *values in results[-3:]], HEADERS)

# %%
score = {name: (error, reading) for name, error, reading, _ in results}
print("4-bit formats and NF3 read as well as the base, within 3 points:",
      all(score[name][1] > score["not rounded"][1] - 0.03 for name in ("NF4", "INT4", "FP4 (bitsandbytes')", "NF3")))
print("NF2 reads under 10 %, four levels by hand over 75 %:",
      score["NF2"][1] < 0.1 and score["four levels by hand"][1] > 0.75)
print("weight error, from small to large:", ", ".join(sorted(formats, key=lambda name: score[name][0])))

# %% [markdown]
# Noise of that size breaks the base too, so the size is to blame, and the size comes from the levels. With four
# better levels, two bits keep most of what the base can do. "2-bit breaks the model" would have been the wrong
# lesson from the first table: NF4's recipe is good at sixteen levels, not at every number of levels.
#
# ## Training through four bits
#
# Now the adapters. The task is that of lesson 03: a statement comes in, and the same fact must come out in a
# sailor's voice. From here on we use the library's layers, `quant.quantize_model` and `lora.inject`; a test holds
# your classes to them bit for bit.

# %% tags=["nbval-ignore-output"]
task = data.tasks.sailor(train=640, heldout=56)
base4 = quant.quantize_model(copy.deepcopy(model))  # NF4, block 64, DQ
KEEP, STEPS = (4, 6, 8, 40), 40


def trained(base, seed):
    """A copy of `base` with trained adapters, and its updates ΔW after some of the steps."""
    learner, updates = copy.deepcopy(base), {}
    torch.manual_seed(seed)
    lora.inject(learner, lora.LoRAConfig(r=8, alpha=16, target_modules="all-linear"))

    def keep(step, loss):
        if step in KEEP:
            updates[step] = {name: m.delta_weight().detach() for name, m in lora.adapters(learner).items()}

    train.finetune(learner, tokenizer, task, "qlora", lr=1e-2, steps=STEPS, warmup=5, seed=seed, on_step=keep)
    return learner, updates


learners, updates = zip(*(trained(base4, seed) for seed in range(3)))
print(f"{len(learners)} runs of {STEPS} steps:", lora.count_parameters(learners[0]))

# %% [markdown]
# **Predict, then run.** Every layer was dequantized some eighty times, and gradients flowed through it. How many of
# the stored bytes have changed?

# %%
frozen = {name: value for name, value in base4.state_dict().items() if "packed" in name or "absmax" in name}
after = [{name.replace(".base.", "."): value for name, value in each.state_dict().items()} for each in learners]
changed = sum(int((each[name] != value).sum()) for each in after for name, value in frozen.items())
print(f"{changed} of the codes and constants in {len(frozen)} tensors changed, in {len(after)} runs")

# %% [markdown]
# Did they learn? A baseline stands beside them: LoRA on the original dense base. So do two controls: a base whose
# weights are shuffled within each layer and then stored as NF4 (the same numbers, the knowledge gone), and the
# broken NF2 base. The "→" rows with two different bases swap: an adapter moves to a base on which it was not
# trained.
#
# **Predict, then run.** Which of the two broken bases can an adapter of this size repair?

# %% tags=["nbval-ignore-output"]
def plus(base, update):
    """A dense copy of `base` with weights W + ΔW."""
    merged = copy.deepcopy(base)
    for name, delta in update.items():
        merged.get_submodule(name).weight.data += delta
    return merged


def scores(m):
    answers = train.answer(m, tokenizer, task.heldout, max_new_tokens=24)
    return {"loss": train.answer_loss(m, tokenizer, task.heldout), **task.score(task.heldout, answers)}


nf4, nf2, shuffled = rounded(model, quant.NF4), rounded(model, formats["NF2"]), copy.deepcopy(model)
for name in body:
    w = shuffled.get_submodule(name).weight.data
    w.copy_(w.flatten()[torch.randperm(w.numel(), generator=generator)].view_as(w))
shuffled = rounded(shuffled, quant.NF4)
on_dense, on_nf2, on_shuffled = (trained(base, 0)[1][STEPS] for base in (model, nf2, shuffled))
runs = {"NF4, not trained": [nf4], "NF4 → NF4, 3 seeds": [plus(nf4, each[STEPS]) for each in updates],
        "NF4 → dense, 3 seeds": [plus(model, each[STEPS]) for each in updates],
        "dense → dense": [plus(model, on_dense)], "dense → NF4": [plus(nf4, on_dense)],
        "NF2 → NF2": [plus(nf2, on_nf2)], "shuffled → shuffled": [plus(shuffled, on_shuffled)]}
measured = {name: [scores(m) for m in copies] for name, copies in runs.items()}

# %% tags=["nbval-ignore-output"]
def spread(values, form):
    low, high = f"{min(values):{form}}", f"{max(values):{form}}"
    return low if low == high else f"{low} to {high}"


show.table([[name, spread([s["loss"] for s in each], ".2f"), spread([s["style"] for s in each], ".0%"),
             spread([s["exact"] for s in each], ".0%")] for name, each in measured.items()],
           ["trained on → used on", "loss, nats per token", "sailor's voice", "exact"])

# %%
mean = {name: {key: sum(s[key] for s in each) / len(each) for key in each[0]} for name, each in measured.items()}
learned = mean["NF4 → NF4, 3 seeds"]
untrained = mean["NF4, not trained"]
print("sailor's voice from under 5 % to over 85 %:", untrained["style"] < 0.05 and learned["style"] > 0.85)
print("exact answers from none to over 25 %:", untrained["exact"] == 0 and learned["exact"] > 0.25)
print("exact answers on the shuffled base under 5 %:", mean["shuffled → shuffled"]["exact"] < 0.05)
print("the NF2 base ends with a higher loss than NF4:", mean["NF2 → NF2"]["loss"] > 1.2 * learned["loss"])

# %% [markdown]
# Four frozen bits carry the gradient as well as thirty-two do: the rows for NF4 and dense overlap. The shuffled
# control shows what the adapter alone can do. It learns the voice, which is in the training data, but the fact must
# be read from the prompt, and there the base is missing.
#
# The surprise is NF2. That base could no longer read, and yet the adapter gets the task out of it, at a higher loss.
# Not all that looked destroyed was. The QLoRA paper says that adapters recover what 4-bit rounding lost (section 4).
# LoftQ (Li et al., 2023, [arXiv 2310.08659](https://arxiv.org/abs/2310.08659)) finds QLoRA failing on 2-bit bases of
# large models. Our adapter is larger in proportion and our task far narrower, so do not count on such a repair.
#
# ## Merging: where the gain is lost
#
# For deployment you want one weight instead of two. There are four candidates, with $Q$ for rounding to NF4:
#
# - $\hat W + \Delta W$, dense: the sum that was trained;
# - $W + \Delta W$, dense: on the original weight, as many scripts do;
# - $Q(\hat W + \Delta W)$: back into four bits. PEFT's `merge` does this on a bitsandbytes layer, and warns of
#   "rounding errors" (`peft/tuners/lora/bnb.py`);
# - $Q(W + \Delta W)$: on the original, then into four bits.
#
# **Predict, then run.** Rank the four. Then: does a *small* update, early in training, lose a larger or a smaller
# share than a large one? The share lost is
# $(L_\text{merged} - L_\text{adapter}) / (L_\text{base} - L_\text{adapter})$, with losses $L$ on held-out examples.
# The first candidate is the adapter itself, so it loses nothing; the last cell asserts that. A negative share means
# that a merge helped, by luck.

# %% tags=["nbval-ignore-output"]
MERGES = {"W + ΔW": lambda update: plus(model, update),
          "Q(Ŵ + ΔW)": lambda update: rounded(plus(nf4, update), quant.NF4),
          "Q(W + ΔW)": lambda update: rounded(plus(model, update), quant.NF4)}


def loss(m):
    return train.answer_loss(m, tokenizer, task.heldout)


start, nf4_weights = loss(nf4), weights(nf4)
size, lost = {}, {}
for seed, step in [(seed, step) for seed in range(3) for step in KEEP]:
    size[seed, step] = distance(weights(plus(nf4, updates[seed][step])), nf4_weights)
    adapter = loss(plus(nf4, updates[seed][step]))
    for name, merge in MERGES.items():
        lost[name, seed, step] = (loss(merge(updates[seed][step])) - adapter) / (start - adapter)
show.table([[f"{step}", spread([size[seed, step] for seed in range(3)], ".1%"),
             *(spread([lost[name, seed, step] for seed in range(3)], ".1%") for name in MERGES)] for step in KEEP],
           ["steps", "‖ΔW‖ / ‖Ŵ‖", *MERGES])

# %% [markdown]
# The column $Q(\hat W + \Delta W)$ stands out, and most of all for the smallest update. Both 4-bit merges round to
# sixteen levels with about the same error. Why does one lose so much more?
#
# $\hat W$ stands *on* the grid: each of its values is exactly a level. An update that is smaller than half a step
# cannot lift it to the next level, so $Q$ puts it back. $W$ stands anywhere between levels. A small push takes some
# of its values over a midpoint, and on average the push survives. We can measure how much of $\Delta W$ arrives:
# the movement of the rounded weight, projected on $\Delta W$.

# %% tags=["nbval-ignore-output"]
def inner(a, b):
    return sum(float((a[name] * b[name]).sum()) for name in b)


def arrives(base, update):
    """⟨Q(base + ΔW) - Q(base), ΔW⟩ / ⟨ΔW, ΔW⟩: 1 if the update survives rounding, 0 if it vanishes."""
    end = weights(rounded(plus(base, update), quant.NF4))
    return inner({name: end[name] - origin[base][name] for name in update}, update) / inner(update, update)


origin = {base: weights(rounded(base, quant.NF4)) for base in (nf4, model)}
survival = {step: [(arrives(nf4, each[step]), arrives(model, each[step])) for each in updates] for step in KEEP}
show.table([[f"{step}", *(spread(values, ".0%") for values in zip(*survival[step]))] for step in KEEP],
           ["steps", "of ΔW arrives in Q(Ŵ + ΔW)", "of ΔW arrives in Q(W + ΔW)"])

# %% [markdown]
# ## The result

# %% tags=["nbval-ignore-output"]
fig, axes = plt.subplots()
looks = {"Q(Ŵ + ΔW)": ("o-", show.POINT), "Q(W + ΔW)": ("s-", show.BLUE), "W + ΔW": ("D-", show.CONTEXT)}
for seed in range(3):
    xs = [100 * size[seed, step] for step in KEEP]
    for name, (form, colour) in looks.items():
        ys = [100 * lost[name, seed, step] for step in KEEP]
        axes.plot(xs, ys, form, color=colour, linewidth=1.5, label=name if seed == 0 else None)
axes.axvline(100 * score["NF4"][0], color=show.CONTEXT, linestyle=":")
axes.text(100 * score["NF4"][0], 80, "  NF4's own error", color="#555555")
axes.set(xlabel="size of the update, ‖ΔW‖ / ‖Ŵ‖ (%)", ylabel="share of the gain lost (%)",
         title="The 4-bit grid swallows small updates")
axes.legend(loc="center right")
show.figure(fig, alt="Share of the gain lost against the size of the update, three seeds. Merging back into the 4-bit "
            "base loses most of a small update and little of a large one. Merging into the original weight loses "
            "little, in four bits or dense.")

# %%
assert changed == 0
assert abs(loss(learners[0]) - measured["NF4 → NF4, 3 seeds"][0]["loss"]) < 1e-3  # Ŵ + ΔW is what was trained
assert untrained["style"] < 0.05 and learned["style"] > 0.85
early, late = ([[lost[name, seed, step] for seed in range(3)] for name in ("Q(Ŵ + ΔW)", "Q(W + ΔW)")]
               for step in (KEEP[0], KEEP[-1]))
assert min(early[0]) > 2 * max(early[1]) and min(early[0]) > max(late[0])
print("stored bits unchanged; the adapter learned; merging back into the 4-bit base lost more than")
print("twice what merging the original did, and a small update lost more than a large one, on every seed")

# %% [markdown]
# Training through four bits is safe; merging into four bits is where care is due. Keep the adapter apart, or merge
# into $\hat W$, as `lora.merge_and_remove` does: no loss, at the price of a dense weight. If it must be four bits, go
# back to the original $W$ first.
#
# Our updates are large: a tiny model, a high learning rate. Smaller learning rates and larger models mean smaller
# updates in proportion, and those stand on the left of the figure. QA-LoRA (Xu et al., 2023, [arXiv
# 2309.14717](https://arxiv.org/abs/2309.14717)) trains the update so that it can be merged into the 4-bit weight
# exactly.
#
# **Try.** Use `quant.normal_float(3)` for the base: the grid is coarser; where does the curve go? Merge in bf16
# instead of fp32: is bf16's grid fine enough? Train longer, at a tenth of the rate.
#
# **Next.** Lesson 12 takes this layer to the main job: an open-book JSON task, scored before and after, against
# LoRA and full fine-tuning.
