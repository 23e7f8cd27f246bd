# %% [markdown] tags=["slide"]
# # How few numbers can steer a model
#
# **200 numbers.** With so many, spread over all its weights at random, Aghajanyan et al. tuned a language model, RoBERTa,
# "to achieve 90\% of the full parameter performance levels on MRPC" ([arXiv 2012.13255](https://arxiv.org/abs/2012.13255),
# abstract; MRPC: do two sentences say the same, yes or no?). Lesson 01 put random directions of an update back into a
# model, and no answer came right. By the end you know why both are right, how to measure how many numbers a task needs, and
# how badly one run knows it.
#
# | for a person | on 2 CPU cores | on a T4 | memory | builds on |
# |---|---|---|---|---|
# | 40 minutes | about a minute | the same, without GPU | about 1 GB | 00, 01, least squares |

# %% [markdown] tags=["minutes:8"]
# ## 1. Many weights, few numbers
#
# Put all D weights of a model into one column θ. Let a short column z with d numbers
# steer them all:

# %% tags=["slide"]
import copy
import torch
from torch import nn
from lora_lab import data, models, records, show, train
from lora_lab.exercises import check, guesses, results
from lora_lab.train import subspace

small = subspace.Projection(D=12, d=3, seed=1)
show.figure(*show.subspace_schematic(small))

# %% [markdown] tags=["slide"]
# $$\theta = \theta_0 + P\,z$$
#
# The model comes with θ₀. P is drawn **once**. Only z trains, from zero. All θ that can be reached form a *[subspace](../course/glossary.md#subspace)* of d dimensions through θ₀: a sheet of paper
# in a room, if D is 3 and d is 2.
#
# Our P is as simple as it gets: each weight listens to one number of z, with a random sign. `column[i]` says to which number weight i listens, `sign[i]` is +1 or −1.
#
# <details><summary>Whose method is this?</summary>
#
# Li et al. ([arXiv 1804.08838](https://arxiv.org/abs/1804.08838), 2018).
# They use dense, sparse and Fastfood matrices for P; a dense one would have D · d numbers.
#
# </details>
#
# **Your turn.** Importance: the whole method. Difficulty: one line. 5 minutes.
#
# In: `theta_0` [D], `column` [D] whole numbers, `sign` [D] of ±1, `z` [d]. Out: θ [D]. With `z = [5, 7]`,
# `column = [1, 0, 1]`, `sign = [1, 1, -1]` and θ₀ zero, θ is [7, 5, −7].

# %% tags=["turn:inside", "slide"]
def inside(theta_0, column, sign, z):  # [D], [D], [D], [d] -> [D]
    #> θ₀ plus P z, without writing P out
    return theta_0 + sign * z[column]
    #<

# %% [markdown] tags=["hint:inside"]
# **A first hint.** `z[column]` is a column of D numbers: for each weight, the number of z to which it listens.
#
# **A second hint.** Multiply it by `sign`, number by number, and add where the model started.
#
# **Help, nothing would train.** Use z as it comes. `.detach()`, `.data` and `.item()` cut the gradient.

# %% tags=["check:inside"]
inside = check("inside", inside)
print("z = [1, 0, 0] moves", inside(torch.zeros(12), small.column, small.sign, torch.tensor([1.0, 0, 0])).tolist())

# %% [markdown] tags=["minutes:10"]
# ## 2. Does a random subspace hold a solution?
#
# First a problem with an exact answer: 1,000 weights, 20 equations Xθ = y. There are many solutions; θ₀ = 0 is none. In a random subspace of d dimensions, how much of the misfit ‖Xθ − y‖² is left
#
# - at **the best point inside**, that is at the best z?
# - at **a solution's shadow**: the solution nearest to θ₀, [projected](../course/glossary.md#projection) onto the subspace as in lesson 01?

# %% tags=["guess:needed", "guess:shadow_left", "slide"]
needed = 200  #? dimensions from which a random subspace solves all 20 equations | 1000: a random direction seems worthless, so all weights seem needed | 10: it seems that half the equations come for free | 200: that random directions are ten times worse than chosen ones; nearly all serve as well
shadow_left = 10  #? % of the misfit left at the shadow, in 200 of 1,000 dimensions | 80: a fifth of the way seems to take away a fifth of a squared misfit | 0: the subspace holds a solution, so the shadow seems to be one

# %% tags=["nbval-ignore-output"]
guessed = guesses(needed=needed, shadow_left=shadow_left)
D, equations, dimensions = 1000, 20, [5, 10, 15, 20, 25, 50, 200]
dice = torch.manual_seed(0)
X = torch.randn(equations, D, generator=dice)
y = torch.randn(equations, generator=dice)
nearest = torch.linalg.pinv(X) @ y  # the solution nearest to zero, [D]


def misfit(theta):
    """What is left of ‖Xθ − y‖², as a share of what it was at θ = 0."""
    return float((X @ theta - y).square().sum() / y.square().sum())


print(f"at the nearest solution the misfit is {misfit(nearest):.0e}")

# %%
chosen, shadows = [], []
for d in dimensions:
    best, shadow, far = [], [], []
    for seed in range(10):
        projection = subspace.Projection(D, d, seed)
        written = projection.written_out()  # P, [D, d]
        z = torch.linalg.lstsq(X @ written, y[:, None], driver="gelsd").solution[:, 0]
        best.append(misfit(written @ z))
        shadow.append(misfit(projection(projection.nearest(nearest))))
        far.append(float((written @ z).norm() / nearest.norm()))
    chosen.append(sum(best) / 10)
    shadows.append(sum(shadow) / 10)

# %% tags=["reveal", "slide"]
show.figure(*show.misfit_by_dimension(dimensions, chosen, shadows, equations),
            caption="Means of ten random subspaces.")
solved = next(d for d, left in zip(dimensions, chosen) if left < 1e-9)
print(f"in {d} dimensions the best point inside lies {sum(far) / 10:.1f} times as far from θ₀ as the nearest solution")
guessed.against(needed=solved, shadow_left=100 * shadows[-1])

# %% [markdown]
# Twenty equations need twenty numbers, however many weights these steer.
#
# The shadow fails all the same. Projecting keeps d/D of the move, so about (1 − 200/1000)² = 64 % of the misfit stays. The
# solution inside is another one, over twice as far away. Two weights and one equation show why:

# %% tags=["slide"]
show.figure(*show.reach_and_shadow(normal=(0.5, 1.0), offset=1.0, direction=(1.0, 0.35)))

# %% [markdown]
# The solutions are a whole line. Another line, in nearly any direction, crosses it somewhere: *training inside* walks to
# the crossing. *Projecting afterwards* asks whether one particular solution lies near the random line, and it does not.
#
# For m equations, put θ = P z into Xθ = y: (X P) z = y has m equations and d unknowns, and is solvable as soon as d ≥ m.
# Li et al. call the first such d the **[intrinsic dimension](../course/glossary.md#intrinsic-dimension)**. A language model has no list of equations: measure.

# %% [markdown] tags=["minutes:10"]
# ## 3. The same with a model
#
# The task and the 28 matrices are lesson 01's: say a fact like a sailor. We take d = 54,272, as many numbers as LoRA of
# rank 4 has, 1 for 29 weights. The same random subspace is used twice:
#
# - **shadow**: fine-tune all matrices in full, then project the update onto the subspace.
# - **inside**: start again from the base, and train z.
#
# The control is a random z, as long as the trained one. Scored is the share of 200 unseen sentences that are right to the
# last token.

# %% tags=["guess:inside_right", "slide"]
inside_right = 10  #? % right after training inside the same subspace | 0: random directions gave no right answer in 01, so they cannot here | 95: as good as the best full fine-tuning, since a subspace that large always meets a solution

# %%
guessed = guesses(inside_right=inside_right)
base, tokenizer = models.load_embedded()  # this lesson uses the small model on every machine
settings = records.load("intrinsic")["settings"]["sailor"]
task = data.tasks.sailor(**settings["data"])
run = {"steps": settings["steps"], "batch_size": settings["batch_size"], "seed": 0}


@torch.no_grad()
def right(model):
    """The share of held-out answers that are right to the last token, from one forward pass."""
    encoded = [data.batches.encode_example(tokenizer, e.prompt, e.answer) for e in task.heldout]
    batch = data.batches.collate(encoded, tokenizer.pad_token_id)
    likeliest, wanted = model.eval()(**batch).logits[:, :-1].argmax(-1), batch["labels"][:, 1:]
    return float(((likeliest == wanted) | (wanted == -100)).all(1).float().mean())

# %%
def weights_of(model):
    """The 28 matrices."""
    linear = [module for name, module in model.named_modules() if isinstance(module, nn.Linear) and name != "lm_head"]
    return [module.weight for module in linear]


full = copy.deepcopy(base).requires_grad_(False)
for weight in weights_of(full):
    weight.requires_grad_(True)
rate = records.chosen("intrinsic", task="sailor", run="full", size=0)[0]["lr"]
train.finetune(full, tokenizer, task, "full", lr=rate, **run)
changes = [(new - old).detach().flatten() for new, old in zip(weights_of(full), weights_of(base))]
change = torch.cat(changes)  # [D]
print(f"D = {len(change):,} weights, full fine-tuning at rate {rate:g}")

# %%
d = 54_272
model = copy.deepcopy(base)
z = subspace.enter(model, d, seed=0)  # makes weights θ₀ + P z
projection = subspace.Projection(len(change), d, seed=0)
z.data.copy_(projection.nearest(change))
scores = {"base": right(base), "full": right(full), "shadow": right(model)}
first, theta_0 = weights_of(model)[0].detach().flatten(), weights_of(base)[0].detach().flatten()
mine = inside(theta_0, projection.column[: len(first)], projection.sign[: len(first)], z.detach())
print(f"largest difference {float((mine - first).abs().max()):.1f}: enter is your line, for 28 matrices")

z.data.zero_()
row = records.chosen("intrinsic", task="sailor", run="subspace", size=d)[0]
train.finetune(model, tokenizer, task, "full", lr=row["lr"], **run)  # "full": all that may train, here z
scores["inside"] = right(model)
message = z.detach().clone()

# %% tags=["nbval-ignore-output", "slide"]
noise = torch.randn(d, generator=torch.manual_seed(1))
z.data.copy_(noise * message.norm() / noise.norm())
scores["a random z of that length"] = right(model)
fresh = copy.deepcopy(base)
subspace.enter(fresh, d, seed=0).data.copy_(message)
scores["a fresh base, given z and the seed"] = right(fresh)
show.table([[name, f"{score:.0%}"] for name, score in scores.items()], ["", "answers right"])
print(f"z has {message.nbytes / 1000:,.0f} kB, the weights that moved {change.nbytes / 1000:,.0f} kB")
guessed.against(inside_right=100 * scores["inside"])

# %% tags=["assert", "nbval-ignore-output"]
records.repeats(scores["inside"], row["exact"], within=0.1)
assert max(scores["shadow"], scores["a random z of that length"]) <= 0.05 < 0.2 < scores["inside"]
assert scores["a fresh base, given z and the seed"] == scores["inside"], "z and a seed are the whole fine-tuning"

# %% [markdown]
# The same directions, the same count, and two answers. The shadow of a good solution gives no right answer. Another good
# solution was there all the time, and training finds it; a random z does not. Lesson 01's verdict was about shadows.
#
# The last row: z and the seed are the whole fine-tuning.

# %% [markdown] tags=["minutes:12"]
# ## 4. How many numbers does a task need?
#
# Now means of three seeds, and a second task: questions about twelve strangers, to be learned by heart. LoRA joins at rank
# 1, 4 and 16, each with as many numbers as one of the subspaces. Steps are equal, validation chose the rates
# (`course/records/intrinsic.py`).
#
# Both papers count a task as solved at 90 % of full training's score, and call the smallest d that reaches it **[d90](../course/glossary.md#d90)**;
# d50 is the same for a half.
#
# **Your turn.** Importance: this is the number that papers report. Difficulty: three lines. 5 minutes.
#
# In: `scores`, a dictionary d → share right, in any order; `full`, [full fine-tuning](../course/glossary.md#full-fine-tuning)'s share; `part`, 0.9 for d90. Out:
# the smallest d that reaches this part of `full`, or `None`. For `{100: 0.1, 1000: 0.5, 10000: 0.7}`, 0.75 and 0.9 it is
# 10000.

# %% tags=["turn:dimension_for", "slide"]
def dimension_for(scores, full, part):
    #> the smallest d whose score is at least `part` of `full`, None if there is none
    reached = [d for d in scores if scores[d] >= part * full]
    return min(reached, default=None)
    #<

# %% [markdown] tags=["hint:dimension_for"]
# **A first hint.** Collect the d that qualify in a list, then take the smallest.
#
# **Help, `min()` of an empty list stops.** `min(reached, default=None)` gives None instead.
#
# **Help, the table is sorted.** Not always; and a score may dip later. Both do not matter if you collect first.

# %% tags=["check:dimension_for"]
dimension_for = check("dimension_for", dimension_for)

# %% tags=["guess:lora_factor", "slide"]
lora_factor = 2  #? times as many answers right with LoRA as in a random subspace, 13,568 numbers each, sailor | 5: directions that are trained must beat random ones by far | 0.2: numbers that may steer any weight must beat rank 1 by far | 2: directions that are trained must win, if not by far; with as many numbers they need not

# %%
guessed = guesses(lora_factor=lora_factor)


def recorded(task_name, run_name, sizes):
    """Numbers that train → scores of all seeds, at the rate that validation chose."""
    points = {}
    for size in sizes:
        found = records.chosen("intrinsic", task=task_name, run=run_name, size=size)
        points[found[0]["trainable"]] = [row["exact"] for row in found]
    return points


def mean(values):
    return sum(values) / len(values)

# %% tags=["reveal", "slide"]
panels, whole = {}, {}
for shown, name, sizes, ranks in (
    ("sailor", "sailor", (100, 1_000, 13_568, 54_272, 217_088, 434_176, 868_352), (1, 4, 16)),
    ("twelve strangers, by heart", "new_facts", (1_000, 13_568, 217_088), (1, 16)),
):
    panels[shown] = {"random subspace": recorded(name, "subspace", sizes), "LoRA": recorded(name, "lora", ranks)}
    (whole[shown],) = recorded(name, "full", (0,)).values()
levels = {shown: {"full fine-tuning": values} for shown, values in whole.items()}
few, many = min(panels["sailor"]["random subspace"].items()), max(panels["sailor"]["random subspace"].items())
title = f"Sailor: {mean(few[1]):.0%} right with {few[0]:,} numbers, {mean(many[1]):.0%} with {many[0]:,}"
title = f"{title}, {mean(whole['sailor']):.0%} with all"
show.figure(*show.scores_by_size(panels, "random subspace", title, levels=levels),
            caption="Small marks are single seeds; full fine-tuning's stand at the right end, and one of them is above all "
                    "others. Validation chose each rate with seed 0, whose marks may be the lucky ones.")

# %% tags=["nbval-ignore-output", "slide"]
rows = []
for name, runs in panels.items():
    for run_name, points in runs.items():
        means = {size: mean(values) for size, values in points.items()}
        found = [dimension_for(means, mean(whole[name]), part) for part in (0.5, 0.9)]
        missing = f"not reached up to {max(points):,}"
        rows.append([name, run_name, f"{mean(whole[name]):.0%}", *(f"{d:,}" if d else missing for d in found)])
show.table(rows, ["task", "run", "full fine-tuning", "d50, of the sizes tried", "d90"])
alone = []  # d90 from the runs of one seed
for seed in range(3):
    single = {size: values[seed] for size, values in panels["sailor"]["random subspace"].items()}
    alone.append(dimension_for(single, whole["sailor"][seed], 0.9))
print("the sailor's d90 in a random subspace, seed by seed:", *(f"{d:,}" for d in alone), sep="   ")
equal = [mean(panels["sailor"][run_name][13_568]) for run_name in ("LoRA", "random subspace")]
guessed.against(lora_factor=equal[0] / equal[1])

# %% tags=["assert"]
assert chosen[dimensions.index(equations)] < 1e-9 < 0.05 < chosen[dimensions.index(equations) - 1]
assert min(shadows) > 0.5, "a shadow never solves, even in 200 dimensions"
controls = [row["control"] for row in records.load("intrinsic")["rows"] if row["run"] == "subspace"]
assert max(controls) <= 0.05, "a random z of the same length answers nothing"
at_54_272 = {name: runs[54_272] for name, runs in panels["sailor"].items()}
assert min(at_54_272["random subspace"]) > max(at_54_272["LoRA"]), "no overlap at 54,272"
assert sorted(alone) == [217_088, 868_352, 868_352], "one seed's d90 is a quarter of the others'"
assert max(whole["sailor"]) > max(many[1]), "the best run of six is one of full fine-tuning's"
for runs in panels.values():
    points = runs["random subspace"]
    assert mean(points[max(points)]) > mean(points[min(points)]) + 0.2, "more numbers reach further"

# %% [markdown] tags=["slide"]
# Half of full fine-tuning's score is cheap on both tasks: one number for 116 weights. The sailor's mean first reaches nine
# tenths with 868,352, over half of all weights.
#
# How sure is that? Nine tenths of 81 % is 73 %. With 434,176 and with 217,088 numbers the means are 71 %: two points short,
# where single seeds differ by 10 to 25. One seed alone says 217,088. With three seeds, and sizes two and four times apart, this d90 is
# known to a factor of four at best.
#
# Now slow down: number for number, random directions do as well as LoRA here, or better (with 54,272 numbers all their
# seeds lie above LoRA's; elsewhere they overlap). Why then LoRA? A subspace makes the file and the optimizer small, but
# each step still holds a gradient for all D weights. LoRA's gradients are as small as its factors. Lesson 07 counts them.
#
# ## What I can now decide
#
# - **How many numbers does my task need?** On a model small enough to tune in full: do so, then with a hundredth, a tenth
#   and half as many numbers, three seeds each. Report score, steps, sizes and seeds. On a large one you cannot measure
#   d90. Raise LoRA's rank, each at its own rate, until the loss on validation falls by less than seeds differ.
# - **Ship a LoRA.** z is no smaller than a LoRA of as many numbers, and needs the same P: PyTorch [does not
#   promise](https://docs.pytorch.org/docs/stable/notes/randomness.html) that a seed gives the same numbers in another
#   release. A subspace is an instrument for measuring tasks.
# - **Cutting is not training.** A failed projection says nothing about training there.
#
# ## What was not shown
#
# - Long training, as in both papers.
# - A dense P, or Aghajanyan et al.'s scale for each layer (SAID).
#
# <details><summary>Why 200 there, and hundreds of thousands here?</summary>Perhaps because their model is far larger.
# Aghajanyan et al. compared over a dozen pre-trained models: "larger models tend to have lower intrinsic dimension after a
# fixed number of pre-training updates" (abstract). Theirs also trains longer, and MRPC asks only yes or no, where
# guessing already scores: nine tenths of full fine-tuning is then closer to a guess. One base cannot tell.</details>
#
# ## What to try
#
# - Four times the steps: does d90 fall?
# - LoRA at rank 64 has as many numbers as the last subspace. Which is better?
#
# ## Three questions
#
# 1. A model has 8 billion weights and a task sets 500 conditions. How many dimensions does a random subspace need?
#
# <details><summary>Answer</summary>About 500 for equations that are linear: one number per condition, whatever D. For a
# language model that number is not known beforehand, and d90 measures it.</details>
#
# 2. Why does the shadow of a good solution fail, although the subspace holds another solution?
#
# <details><summary>Answer</summary>
#
# Projecting keeps about d/D of *one* solution's move. The subspace meets the set of
# solutions elsewhere, usually further away from θ₀. Only a search inside finds that point.
#
# </details>
#
# 3. Is LoRA a random subspace?
#
# <details><summary>Answer</summary>In its first step: A is random and only B moves, so ΔW = B A lies in a random subspace
# (and stays in one if A is frozen, as in LoRA-FA). Then A learns too, and directions are chosen.</details>
#
# ## Next
#
# [03_lora_from_scratch](03_lora_from_scratch.ipynb): the adapter whose directions train as well.

# %% tags=["nbval-ignore-output"]
results("02")
