# %% [markdown]
# # LoRA in twenty lines
#
# You write one small class, put it around the linear layers of a language model, and teach the model a new voice
# while every weight it had stays frozen. Then you try to prove that it was luck.
#
# | time on 2 CPU cores | memory | network | builds on |
# |---|---|---|---|
# | about a minute and a half (no GPU is used) | under 2 GB | none | 01_svd |
#
# The model is the course's embedded base on every machine. What there is to see fits into it.

# %% [markdown]
# ## A task the model cannot do
#
# The base model has read about people, towns and jobs. Nobody ever asked it to talk like a sailor. An answer counts
# only if it is right letter for letter: the name, the fact and the voice.

# %% tags=["nbval-ignore-output"]
import copy

import torch
from torch import nn

from lora_lab import data, lora, lowrank, models, show, train

base, tokenizer = models.load_embedded()
task = data.tasks.sailor(train=768, heldout=100)
shown = task.heldout[:3]
answers = train.answer(base, tokenizer, shown, max_new_tokens=32)
show.table([[e.prompt, answer, e.answer] for e, answer in zip(shown, answers)],
           ["we write", "the base answers", "we want"])

# %% [markdown]
# ## The equation
#
# A linear layer computes $h = W_0 x$. Its weight $W_0$ has $d_{out}$ rows and $d_{in}$ columns. LoRA leaves it alone
# and adds a second path (Hu et al., 2021, [arXiv 2106.09685](https://arxiv.org/abs/2106.09685), section 4.1: equation 3
# is $W_0 x + B A x$, and the sentences after it add the factor $\alpha / r$):
#
# $$h = W_0\,x + \frac{\alpha}{r}\,B\,A\,x$$
#
# $A$ has $r$ rows and $d_{in}$ columns: it squeezes the input into $r$ numbers. $B$ has $d_{out}$ rows and $r$
# columns: it spreads them out again. Only $A$ and $B$ train. The product $\Delta W = \frac{\alpha}{r} B A$ is a
# matrix of rank at most $r$, like the truncated SVD of lesson 01, but here training finds it. $A$ starts random and
# $B$ starts at zero.

# %%
import math


class LoRALinear(nn.Module):
    """h = W₀ x + (α/r) · B A x        x [..., d_in]  ->  h [..., d_out]"""

    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A = nn.Parameter(torch.empty(r, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, r))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # uniform in ±1/√d_in

    def forward(self, x):
        return self.base(x) + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)


layer = LoRALinear(nn.Linear(5, 3), r=2, alpha=4)
for name, parameter in layer.named_parameters():
    print(f"{name:11} {list(parameter.shape)!s:7} {'trains' if parameter.requires_grad else 'frozen'}")

# %% [markdown]
# **Into the model.** Freeze everything, then replace each linear layer by its wrapped self. The output head `lm_head`
# stays as it is: it shares its weight with the embeddings, and an update of one would leave the other behind.
#
# *Predict, then run:* every adapted layer now holds a matrix $A$ full of random numbers. How far do the logits (the
# scores of the next token) move?

# %%
def inject(model, r=8, alpha=16):
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            model.set_submodule(name, LoRALinear(module, r, alpha))
    return model


def logits(model):
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


encoded = [data.batches.encode_example(tokenizer, e.prompt, e.answer) for e in task.train[:8]]
batch = data.batches.collate(encoded, tokenizer.pad_token_id)
_ = torch.manual_seed(0)
model = inject(copy.deepcopy(base))
print("largest change of any logit:", (logits(model) - logits(base)).abs().max().item())
print("equal bit for bit:", torch.equal(logits(model), logits(base)))

# %% [markdown]
# Not at all, and not only nearly. $B = 0$, so the second path adds exact zeros. Training starts from the base model
# itself.
#
# ## What it costs
#
# A layer gains $r \cdot d_{in}$ numbers in $A$ and $d_{out} \cdot r$ in $B$. Two other formulas are in use. The
# paper's $2 \cdot d_{model} \cdot r$ per matrix (section 5.1) suits its square attention matrices. A third,
# $2 \cdot r \cdot (d_{out} + d_{in})$, counts everything twice.
#
# *Predict, then run:* our model shares each key and value head among three query heads (grouped-query attention), as
# Llama 3 does. For which layers is the paper's formula right?

# %%
r, d_model = 8, base.config.hidden_size
rows, totals = [], [0, 0, 0, 0]
for name, module in model.named_modules():
    if isinstance(module, LoRALinear):
        d_out, d_in = module.base.weight.shape
        there = module.lora_A.numel() + module.lora_B.numel()
        counts = [there, r * (d_out + d_in), 2 * d_model * r, 2 * r * (d_out + d_in)]
        totals = [a + b for a, b in zip(totals, counts)]
        if ".layers.0." in name:
            rows.append([name.split(".")[-1], f"{d_out} × {d_in}", *(f"{count:,}" for count in counts)])
rows.append(["all four blocks", "", *(f"{total:,}" for total in totals)])
show.table(rows, ["layer", "d_out × d_in", "really there", "r·(d_out + d_in)", "2·d_model·r",
                  "2·r·(d_out + d_in)"], f"Trainable parameters at rank {r}")
print(lora.count_parameters(model))

# %% [markdown]
# Only for `q_proj` and `o_proj`. Two errors of the paper's formula point in opposite directions here: it is too high
# for the narrow `k_proj` and `v_proj`, too low for the wide MLP. Count shapes instead: $r \sum (d_{in} + d_{out})$.
#
# ## Which factor learns first?
#
# *Predict, then run:* before the first step, with $A$ random and $B = 0$, which of the two receives a gradient? And
# what if both start at zero, or both random?

# %%
def first_step(a_random, b_random):
    torch.manual_seed(0)
    model = inject(copy.deepcopy(base))
    factors = {"A": [], "B": []}
    for layer in (m for m in model.modules() if isinstance(m, LoRALinear)):
        factors["A"].append(layer.lora_A if a_random else nn.init.zeros_(layer.lora_A))
        factors["B"].append(nn.init.normal_(layer.lora_B, std=0.1) if b_random else layer.lora_B)
    moved = not torch.equal(logits(model), logits(base))
    model(**batch).loss.backward()
    gradients = ["zero" if all(not p.grad.any() for p in factors[name]) else "flows" for name in "AB"]
    return ["moves" if moved else "identical", *gradients]


show.table([["random" if a else "zero", "random" if b else "zero", *first_step(a, b)]
            for a, b in ((True, False), (False, True), (False, False), (True, True))],
           ["A starts", "B starts", "output at step 0", "gradient of A", "gradient of B"])

# %% [markdown]
# The chain rule says why. With $G$ the gradient at the layer's output, $\partial L / \partial A = \frac{\alpha}{r}
# B^\top G\, x^\top$ and $\partial L / \partial B = \frac{\alpha}{r} G\,(A x)^\top$. Each factor's gradient is
# multiplied by the *other* factor. So $A$ waits for one step, until $B$ has moved. With both at zero nothing ever
# moves: each waits for the other. With both random the model is damaged before it starts.
#
# The second row would work too. Hayou et al. (2024, [arXiv 2406.08447](https://arxiv.org/abs/2406.08447)) find that
# random $A$ tolerates larger learning rates, and the paper's choice is the one that everybody uses.
#
# ## What the scale α/r is for
#
# $\alpha$ is a constant that you set once. Dividing by $r$ is meant to let you change the rank without retuning the
# learning rate. Kalajdzievski (2023, [arXiv 2312.03732](https://arxiv.org/abs/2312.03732), "rsLoRA") says that
# $\alpha / r$ makes large ranks learn too slowly. With $\alpha / \sqrt{r}$, and only with it, the moments of the
# adapter's outputs and of the gradients at its inputs do not depend on the rank: that is the theorem. Who is right?
#
# *Predict, then run:* we take one optimizer step from the start and measure how far the logits move. Under which
# scale is that distance the same for rank 1 and rank 64? Does it matter whether SGD or AdamW takes the step?

# %%
def first_move(optimizer, lr, r, scaling, seed):
    torch.manual_seed(seed)
    model = inject(copy.deepcopy(base), r, alpha=scaling * r)
    model(**batch).loss.backward()
    optimizer([p for p in model.parameters() if p.requires_grad], lr=lr).step()
    return float((logits(model) - logits(base)).norm())


ranks, seeds = (1, 8, 64), (0, 1, 2)
moves = {}
for optimizer, lr in ((torch.optim.SGD, 1e-3), (torch.optim.AdamW, 1e-5)):
    for rule, scale in (("α/r", lambda r: 16 / r), ("α/√r", lambda r: 16 / math.sqrt(r))):
        moves[optimizer.__name__, rule] = torch.tensor(
            [[first_move(optimizer, lr, r, scale(r), seed) for r in ranks] for seed in seeds])
steady = {}
for key, values in moves.items():
    ratio = values.mean(0)[-1] / values.mean(0)[0]
    steady[key] = bool(1 / 2 < ratio < 2)
    print(f"{key[0]:5} {key[1]:4}  rank 64 moves as far as rank 1, within a factor of 2: {steady[key]}")

# %% tags=["nbval-ignore-output"]
show.moves_by_rank(moves, ranks, steady, "SGD wants α/√r, AdamW wants α/r: at least in the first step")

# %% [markdown]
# Both are right, each about another optimizer. From $B = 0$, one SGD step with rate $\eta$ makes $B$ proportional to
# $\frac{\alpha}{r} G (Ax)^\top$, and the output then moves by $(\frac{\alpha}{r})^2 \lVert Ax \rVert^2$ times $G$.
# The norm $\lVert Ax \rVert^2$ grows like $r$, so the square root is needed, as rsLoRA says. AdamW divides by the
# gradient's size: each entry of $B$ moves by $\eta$, whatever its gradient, and the output by $\frac{\alpha}{r}
# \lVert Ax \rVert_1$, which needs $\alpha / r$.
#
# One step is not a training. Later steps no longer agree in direction, and Kalajdzievski's long runs do better with
# $\alpha / \sqrt{r}$ at large ranks. Chen, Villar and Hayou (2026, [arXiv
# 2602.06204](https://arxiv.org/abs/2602.06204)) ask how the best *rate* moves with the rank. They find two regimes,
# by initialisation and scale: in one it hardly moves, in the other it falls like $1/r$. Keep one thing: **when you
# change the rank, the scale decides whether your learning rate still fits.** We stay at rank 8 with $\alpha = 16$.
#
# ## A fair opponent, and the learning rate
#
# The baseline is full fine-tuning: the same data, the same number of steps, every weight trains. It is only fair with
# its own best learning rate, so both methods get the same short sweep.
#
# *Predict, then run:* which of the two wants the larger rate?

# %% tags=["nbval-ignore-output"]
prepare = {"LoRA": inject, "full": lambda model: model.requires_grad_(True)}


def trained(method, lr, seed=0, steps=80):
    torch.manual_seed(seed)
    model = prepare[method](copy.deepcopy(base))
    train.finetune(model, tokenizer, task, "lora", lr=lr, steps=steps, batch_size=8, warmup=5, seed=seed)
    return model


rates = {"LoRA": (3e-3, 1e-2, 3e-2), "full": (1e-3, 3e-3, 1e-2)}
sweep = {(method, lr): train.answer_loss(trained(method, lr, steps=24), tokenizer, task.heldout)
         for method in rates for lr in rates[method]}
best = {method: min(rates[method], key=lambda lr: sweep[method, lr]) for method in rates}
show.table([[f"{lr:g}", *(f"{sweep[method, lr]:.3f}" if lr in rates[method] else "–" for method in rates)]
            for lr in (1e-3, 3e-3, 1e-2, 3e-2)], ["learning rate", "LoRA", "full fine-tuning"],
           "Held-out loss, nats per token, after 24 steps")

# %%
print("LoRA's best rate is the larger one:", best["LoRA"] > best["full"])

# %% [markdown]
# Thinking Machines ("LoRA Without Regret", 2025) report a factor of about ten on large models, and about fifteen in
# very short runs. Their library [fixes it at
# ten](https://tinker-docs.thinkingmachines.ai/cookbook/api-reference/hyperparam_utils/get_lora_lr_over_full_finetune_lr/index.md).
# This grid is coarse, a factor of three from rate to rate, but the direction is the same. A LoRA run with full
# fine-tuning's rate looks like a LoRA that cannot learn: compare the columns of the table.
#
# ## Before, after injection, after training
#
# Three seeds each. A seed sets the random $A$ and the order of the data.

# %% tags=["nbval-ignore-output"]
def measured(model):
    answers = train.answer(model, tokenizer, task.heldout, max_new_tokens=32)
    return task.score(task.heldout, answers)["exact"]


tuned = {method: [trained(method, best[method], seed) for seed in seeds] for method in ("LoRA", "full")}
scores = {"base": [measured(base)], "after injection": [measured(inject(copy.deepcopy(base)))]}
scores |= {method: [measured(model) for model in tuned[method]] for method in tuned}
show.table([[name, *(f"{min(values):.0%} to {max(values):.0%}" if len(values) > 1 else f"{values[0]:.0%}",)]
            for name, values in scores.items()], ["", "exact answers, held out"])

# %%
mine = tuned["LoRA"][0]
frozen = all(torch.equal(base.get_submodule(name).weight, module.base.weight)
             for name, module in mine.named_modules() if isinstance(module, LoRALinear))
print("after injection the score is the base's:", scores["after injection"] == scores["base"])
print("every frozen weight is untouched after training:", frozen)
print("LoRA reaches four fifths of full fine-tuning's mean:", sum(scores["LoRA"]) > 0.8 * sum(scores["full"]))

# %% [markdown]
# ## Try to prove it was luck
#
# Perhaps any disturbance of that size would do, or the same numbers at any place. Five controls follow. First a
# random $\Delta W$: every layer gets a random $BA$ with the rank *and the norm* of the one that training found. Only
# its direction differs.
#
# *Predict, then run:* what does the model answer now?

# %% tags=["nbval-ignore-output"]
@torch.no_grad()
def with_updates(deltas):
    model = copy.deepcopy(base)
    for name, delta in deltas.items():
        model.get_submodule(name).weight += delta
    return model


def learned(model):
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}
    return {name: (m.scaling * m.lora_B @ m.lora_A).detach() for name, m in layers.items()}


def random_like(delta, rank=8):
    other = torch.randn(len(delta), rank) @ torch.randn(rank, len(delta[0]))
    return other * delta.norm() / other.norm()


_ = torch.manual_seed(0)
deltas = [learned(model) for model in tuned["LoRA"]]
noise = [with_updates({name: random_like(delta) for name, delta in each.items()}) for each in deltas]
scores["random ΔW"] = [measured(model) for model in noise]
print(train.answer(noise[0], tokenizer, task.heldout[:1], max_new_tokens=32)[0])

# %% [markdown]
# Next the **wrong layer**: the learned updates themselves, each added one block further on. And from the other side:
# what full fine-tuning changed, **cut to rank 8** in every layer by the truncated SVD of lesson 01. Does low rank
# lose what it had learned?

# %% tags=["nbval-ignore-output"]
def next_block(name):
    block = int(name.split(".")[2])
    return name.replace(f".{block}.", f".{(block + 1) % base.config.num_hidden_layers}.")


def cut(delta, rank=8):
    B, A = lowrank.truncated_svd(delta, rank)
    return B @ A


changes = [{name: (model.get_submodule(name).weight - base.get_submodule(name).weight).detach()
            for name in deltas[0]} for model in tuned["full"]]
for control, updates in (("wrong layer", [{next_block(n): d for n, d in each.items()} for each in deltas]),
                         ("full, cut to rank 8", [{n: cut(d) for n, d in each.items()} for each in changes])):
    scores[control] = [measured(with_updates(each)) for each in updates]
for method, each in (("LoRA", deltas[0]), ("full fine-tuning", changes[0])):
    ranks_90 = sorted(lowrank.rank_for_energy(delta, 0.9) for delta in each.values())
    print(f"{method}: {ranks_90[len(ranks_90) // 2]} directions hold 90 % of ΔW's energy (median layer)")

# %% [markdown]
# Two controls are trained, with the same steps and one seed. **A frozen** trains only $B$, over a random $A$
# (LoRA-FA; Zhang et al., 2023, [arXiv 2308.03303](https://arxiv.org/abs/2308.03303)). **One dense place** spends as
# many numbers as LoRA, and a few more, on two whole matrices of the last block.

# %% tags=["nbval-ignore-output"]
def frozen_A(model):
    for name, parameter in inject(model).named_parameters():
        parameter.requires_grad_(name.endswith("lora_B"))
    return model


def one_place(model):
    block = model.requires_grad_(False).model.layers[-1]
    for module in (block.mlp.down_proj, block.self_attn.k_proj):
        module.requires_grad_(True)
    return model


prepare |= {"A frozen": frozen_A, "one dense place": one_place}
for method, rate in (("A frozen", best["LoRA"]), ("one dense place", best["full"])):
    model = trained(method, rate)
    scores[method] = [measured(model)]
    print(f"{method}: {lora.count_parameters(model)}")

# %% [markdown]
# All of it in one picture.

# %% tags=["nbval-ignore-output"]
scores["full fine-tuning"] = scores["full"]
order = ["base", "random ΔW", "wrong layer", "one dense place", "A frozen", "full, cut to rank 8",
         "full fine-tuning", "LoRA"]
show.runs({name: scores[name] for name in order}, point="LoRA",
          title="It is the direction that matters, and the place", xlabel="exact answers about unseen people")

# %% [markdown]
# The size of the update explains nothing: noise of the same norm and rank, and even the very matrices that training
# found, are useless in the wrong direction or at the wrong address.
#
# Now slow down at *full, cut to rank 8*. Hu et al. start from the hypothesis that the change of the weights has a low
# "intrinsic rank" (section 4.1). What full fine-tuning found here has not: the count above says over how many
# directions it spreads, and the cut row beside the *full fine-tuning* row says what the small ones were worth. On
# Llama-2-7B, Biderman et al. (2024, [arXiv 2405.09673](https://arxiv.org/abs/2405.09673), abstract) found the same:
# the change of full fine-tuning had a rank 10 to 100 times that of typical LoRA settings. LoRA does not need that
# hypothesis. It is enough that *some* answer of low rank exists, and that training finds it when it may not look
# elsewhere.
#
# *One dense place* and *A frozen* are sketches: one seed, and the rate of the method they come from. With a sweep of
# their own they may do better.
#
# ## Merge, and take it back
#
# The two paths can be one matrix: $W_0 + \Delta W$. Merged, LoRA costs nothing per token. For this and for files we
# change to the library. Its layer is the same layer, so our weights fit.

# %%
model = lora.inject(copy.deepcopy(base), lora.LoRAConfig(r=8, alpha=16, target_modules="all-linear"))
print(model.load_state_dict(mine.state_dict()))
print("the library computes what ours does, bit for bit:", torch.equal(logits(model), logits(mine)))

# %%
apart, kept = logits(model), copy.deepcopy(model.state_dict())
answers = train.answer(model, tokenizer, shown, max_new_tokens=32)
lora.merge(model)
print("merged, relative difference under 1e-5:", bool((logits(model) - apart).norm() < 1e-5 * apart.norm()))
print("merged, the same answers:", train.answer(model, tokenizer, shown, max_new_tokens=32) == answers)
lora.unmerge(model)
print("unmerged, the same logits bit for bit:", torch.equal(logits(model), apart))
same = [torch.equal(kept[key], value) for key, value in model.state_dict().items()]
print("unmerged, the same weights bit for bit:", all(same))

# %% [markdown]
# ## Into a file, and into another library
#
# An adapter is two small files in the format of Hugging Face PEFT. PEFT is also our independent judge: it knows
# nothing of our code.

# %%
import logging
import tempfile
import warnings

logging.disable(logging.WARNING)  # what other libraries say when peft is imported and used
warnings.simplefilter("ignore")
import peft

folder = lora.save_adapter(model, tempfile.mkdtemp())
print(*sorted(file.name for file in folder.iterdir()))
theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), folder).eval()
gap = (logits(theirs) - apart).norm() / apart.norm()
print("peft computes the same, relative difference under 1e-5:", bool(gap < 1e-5))

# %% [markdown]
# ## Adding and subtracting is not undoing
#
# Models are served in bfloat16, which keeps 8 significant bits. PEFT unmerges by subtracting: $(W_0 + \Delta W) -
# \Delta W$. Each operation rounds.
#
# *Predict, then run:* merge and unmerge the same adapter 100 times. Is the damage after 100 cycles 100 times that
# after one, about 10 times (a random walk), or something else?

# %%
ours = lora.load_adapter(copy.deepcopy(base).bfloat16(), folder)
theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base).bfloat16(), folder)
updates = {name: layer.delta_weight().detach() for name, layer in lora.adapters(ours).items()}
W0 = {name: base.get_submodule(name).weight.detach().bfloat16() for name in updates}
naive = {name: weight.clone() for name, weight in W0.items()}
weight_of = {"ours": lambda name: ours.get_submodule(name).base.weight, "naive": naive.get,
             "peft": lambda name: theirs.base_model.model.get_submodule(name).base_layer.weight}
drift = {way: [] for way in weight_of}
for _ in range(100):
    for name, delta in updates.items():
        naive[name] += delta
        naive[name] -= delta
    theirs.merge_adapter(), theirs.unmerge_adapter()
    lora.merge(ours), lora.unmerge(ours)
    for way, get in weight_of.items():
        moved = torch.cat([(get(name) - weight).flatten().float() for name, weight in W0.items()])
        drift[way].append(float(moved.norm()))
norm = float(torch.cat([weight.flatten().float() for weight in W0.values()]).norm())

# %% tags=["nbval-ignore-output"]
show.table([[str(cycle), *(f"{100 * drift[way][cycle - 1] / norm:.3f} %" for way in ("naive", "peft", "ours"))]
            for cycle in (1, 2, 10, 100)],
           ["cycles", "add ΔW, subtract ΔW", f"peft {peft.__version__}", "lora_lab"],
           "‖W − W₀‖ / ‖W₀‖ after merging and unmerging, bfloat16")

# %%
print("naive: one jump, then no further move:", drift["naive"][0] > 0 and len(set(drift["naive"])) == 1)
print("peft: the error grows from cycle to cycle:", drift["peft"][99] > drift["peft"][9] > drift["peft"][0] > 0)
print("lora_lab: exactly zero after 100 cycles:", max(drift["ours"]) == 0)

# %% [markdown]
# Did you expect that? Call the rounded sum $M$. Subtracting $\Delta W$ from it gives a weight within half a rounding
# step of $M - \Delta W$, so adding the same $\Delta W$ again rounds to the same $M$. Bits are lost once, then nothing
# moves.
#
# PEFT adds $\Delta W$ in fp32 but subtracts it rounded to bfloat16 (version 0.21, `tuners/lora/layer.py`,
# `Linear.merge` and `Linear.unmerge`). The two differ by the same amount in every cycle, so weights walk off. The
# remedy is not better arithmetic: **keep $W_0$, and unmerge by forgetting the sum.** It costs one more copy while
# merged.
#
# ## The result

# %% tags=["nbval-ignore-output"]
mean = {name: sum(values) / len(values) for name, values in scores.items()}
show.table([[label, f"{mean[name]:.0%}"] for label, name in (
    ("before", "base"), ("after injection", "after injection"), ("after LoRA training", "LoRA"),
    ("full fine-tuning, every weight", "full"), ("LoRA's norm, random direction", "random ΔW"),
    ("LoRA's own updates, wrong layer", "wrong layer"))], ["", "exact answers about unseen people"])

# %%
assert scores["after injection"] == scores["base"]
assert mean["LoRA"] > mean["base"] + 0.5, "LoRA learned the task"
assert max(scores["random ΔW"] + scores["wrong layer"]) < min(scores["LoRA"]) / 2, "size alone does nothing"
assert max(drift["ours"]) == 0
print("LoRA learns what the base cannot do; the same norm in another direction or place does not.")

# %% [markdown]
# **Try.**
#
# - Change `r` in `inject` to 1 and to 32, with $\alpha$ fixed, then with $\alpha/r$ fixed. Which needs a new rate?
# - Alternate between two adapters in the naive way: add and subtract the first, then the second. Does it still stand
#   still after the first cycle?
# - Adapt only `q_proj` and `v_proj`, as the paper does. What does the same budget buy?
# - Start from the truncated SVD of $W_0$ instead of random $A$: that is PiSSA (Meng et al., 2024, [arXiv
#   2404.02948](https://arxiv.org/abs/2404.02948)). What must happen to $W_0$ so that step 0 does not move?
#
# **Next.** $W_0$ is frozen, and training never writes to it. So it need not be stored in 32 or 16 bits. Lesson
# **08_build_nf4** stores it in four.
