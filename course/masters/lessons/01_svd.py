# %% [markdown] tags=["slide"]
# # How many directions hold a change?
#
# One layer of Llama-3.1-8B has 16,777,216 weights. LoRA trains 131,072 numbers in its place, less than 1 in 100, and
# it often works. Why should so few be enough?
#
# After this lesson you can cut any matrix to its strongest [directions](../course/glossary.md#direction), and say of a fine-tune how many of them suffice.
#
# | computing, 2 CPU cores | for you | memory | builds on |
# |---|---|---|---|
# | under 2 minutes | 44 minutes | 1 GB, offline | matrix products; [00](00_start_here.ipynb) |

# %% [markdown] tags=["minutes:5"]
# ## 1. A column times a row
#
# A column of 3 numbers times a row of 4 gives 3 × 4 numbers, but every row of them is the same row again, stretched.
# Such a matrix has *rank* 1. The sum of two has rank 2. The *[singular value](../course/glossary.md#singular-value) decomposition* ([SVD](../course/glossary.md#svd)) goes the other way:
# it takes any matrix apart into layers of rank 1, the strongest first.

# %% tags=["slide"]
import torch

from lora_lab import data, lowrank, models, show, train
from lora_lab.exercises import check, guesses, results

column, row = torch.tensor([[1], [2], [-1]]), torch.tensor([[2, 0, 1, 3]])
another = torch.tensor([[0], [1], [1]]) @ torch.tensor([[1, -2, 0, 1]])
print(f"rank 1, told by 3 + 4 = 7 numbers:\n{(column @ row).numpy()}")
print(f"\nrank 2, told by 14 numbers, which are more than the 12 in it:\n{(column @ row + another).numpy()}")
show.figure(*show.svd_schematic(height=4, width=6, r=2))

# %% [markdown]
# $$M = \sum_i \sigma_i\, u_i v_i^\top, \qquad \sigma_1 \ge \sigma_2 \ge \dots \ge 0$$
#
# The columns $u_i$ have length 1 and are perpendicular to each other, and so are the rows $v_i$. So the *singular
# value* $\sigma_i$ says how strong layer $i$ is; we also call a layer a *direction*. The squares of all numbers in $M$
# add up to its *[energy](../course/glossary.md#energy)*, which the layers share: $\lVert M\rVert_F^2 = \sum_i\sigma_i^2$.

# %% [markdown] tags=["minutes:12"]
# ## 2. A house, layer by layer
#
# A picture is a matrix too: 64 × 96 numbers, so at most 64 layers, one for each row. Beside it the same numbers in random
# order.

# %% tags=["slide"]
y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1.5, 96), indexing="ij")
house = 0.9 - 0.5 * y  # the sky
house[(x - 1.2) ** 2 + (y - 0.25) ** 2 < 0.03] = 1.0  # the sun
house[(y > 0.5) & (y < 0.95) & (x > 0.2) & (x < 0.8)] = 0.3  # the wall
house[(y > 0.25) & (y < 0.5) & ((x - 0.5).abs() < 1.6 * (y - 0.25))] = 0.0  # the roof
house[(y > 0.6) & (y < 0.75) & (x > 0.3) & (x < 0.45)] = 1.0  # the window
house -= house.mean()  # so that the average grey is no layer of its own
mixed = torch.randperm(house.numel(), generator=torch.manual_seed(0))
shuffled = house.flatten()[mixed].view_as(house)
show.figure(*show.cuts({"the house": house, "shuffled": shuffled}, ranks=[]))

# %% [markdown]
# **Guess:** how many of the 64 layers hold nine tenths of the energy, here and there?

# %% tags=["guess:house_90", "guess:shuffled_90", "slide"]
house_90 = 20  #? layers of 64, for 90 % of the energy of the house | 58: nine tenths of the layers, as if all were equally strong | 45: that the detail of roof, sun and window needs most layers; sky and wall are columns times rows | 20: that a few strong layers hold most, which is so; sky and wall need even fewer
shuffled_90 = 50  #? layers of 64, for 90 % of the energy of the shuffled house | 3: the same numbers, so the same layers; what counts is where they stand | 60: noise needs nearly every layer; even noise has some layers that are stronger

# %% [markdown]
# **Your turn, twice.** First the cut: keep the strongest `r` layers as two thin matrices.

# %% tags=["turn:cut_to_rank", "slide"]
def cut_to_rank(M, r):                 # M: [height, width]
    """B [height, r] and A [r, width], whose product is the sum of the strongest r layers."""
    u, s, vh = torch.linalg.svd(M.double(), full_matrices=False)  # columns u, strengths s, rows vh; strongest first
    #> keep r columns, r strengths and r rows; B @ A must hold each strength once
    B = u[:, :r] * s[:r].sqrt()
    A = s[:r].sqrt()[:, None] * vh[:r]
    return B.to(M.dtype), A.to(M.dtype)
    #<

# %% [markdown] tags=["hint:cut_to_rank"]
# **A first hint.** `u[:, :r]` are the first r columns, `vh[:r]` the first r rows.
#
# **A second hint.** `u[:, :r] * s[:r]` multiplies column i by strength i. Then `vh[:r]` needs none. Sharing √σ between
# both is as good.
#
# **Help, the shapes do not fit.** To multiply row i of `vh[:r]` by strength i, the strengths must stand in a column:
# `s[:r, None] * vh[:r]`.

# %% tags=["check:cut_to_rank"]
cut_to_rank = check("cut_to_rank", cut_to_rank)

# %% [markdown]
# **Your turn:** count what you guessed.

# %% tags=["turn:rank_for_energy", "slide"]
def rank_for_energy(M, share):         # share: between 0 and 1
    """The fewest layers that together hold this share of the energy of M."""
    sigma = torch.linalg.svdvals(M.double())  # the strengths, strongest first
    #> add up the energies σ², one layer after the other; return how many layers it takes to reach share × total
    wanted, held = share * sigma.square().sum(), 0.0
    for count, strength in enumerate(sigma, start=1):
        held += strength ** 2
        if held >= wanted:
            return count
    return len(sigma)
    #<

# %% [markdown] tags=["hint:rank_for_energy"]
# **A first hint.** `sigma.square().sum()` is the total. Start with `held = 0.0` and walk over `sigma`.
#
# **A second hint.** `for count, strength in enumerate(sigma, start=1):` counts from 1. Return `count` as soon as
# `held` reaches what is wanted.

# %% tags=["check:rank_for_energy"]
rank_for_energy = check("rank_for_energy", rank_for_energy)

# %% tags=["reveal", "slide"]
guessed = guesses(house_90=house_90, shuffled_90=shuffled_90)
show.figure(*show.layers(house, 3, "the house"), caption="All pictures have the same scale of greys.")
show.figure(*show.cuts({"shuffled": shuffled}, ranks=[1, 3, 16]))
needs = {"house": rank_for_energy(house, 0.9), "shuffled": rank_for_energy(shuffled, 0.9)}
guessed.against(house_90=needs["house"], shuffled_90=needs["shuffled"])

# %% [markdown]
# Structure fits into a few layers, noise does not: **it is not the numbers that decide, but where they stand.**
# Optional: at which r do you recognise each?

# %% tags=["optional", "nbval-ignore-output"]
show.rank_explorer({"the house": house, "shuffled": shuffled}, r=4)

# %% [markdown] tags=["minutes:6"]
# ## 3. Is there a better cut?
#
# We try 1,000 rivals of rank 4. For 500 of them we move your $B$ and $A$ in a random direction, a little or far. For
# the other 500 we draw four random rows, and give them the columns that serve them best. What a rival *misses* is the
# energy of $M$ − rival, as a share of the energy of $M$.
# **Guess:**

# %% tags=["guess:closer", "guess:luckiest", "slide"]
closer = 20  #? rivals of 1,000 that miss less than your cut | 250: half of those that were moved, as if every step could go up or down; at the lowest point all ways lead up | 50: the 5 % that are lucky in any test; here luck does not help | 20: that a small step in a lucky direction helps; from the lowest point none does
luckiest = 40  #? % of the energy, missed by the luckiest of the 500 drawn ones | 6: that one of 500 draws comes near; four rows of 96 numbers have too many ways to go wrong | 50: that good columns mend half; but they only mix four rows

# %%
guessed = guesses(closer=closer, luckiest=luckiest)
M, dice = house.double(), torch.Generator().manual_seed(0)
B, A = cut_to_rank(M, 4)
moved, drawn = [], []
for i in range(500):
    step = 10 ** (-3 + 3 * i / 499)  # from a thousandth to the whole
    noise_B, noise_A = torch.randn(64, 4, generator=dice), torch.randn(4, 96, generator=dice)
    rival = (B + step * B.std() * noise_B) @ (A + step * A.std() * noise_A)
    moved.append((step, float((M - rival).square().sum() / M.square().sum())))
for _ in range(500):
    rows = torch.randn(4, 96, generator=dice).double()
    rival = M @ torch.linalg.pinv(rows) @ rows  # the nearest to M that can be made of these rows
    drawn.append(float((M - rival).square().sum() / M.square().sum()))

# %% tags=["reveal", "slide"]
yours = float((M - B @ A).square().sum() / M.square().sum())
show.figure(*show.rivals(yours, moved, drawn))
all_missed = drawn + [missed for _, missed in moved]
guessed.against(closer=sum(missed < yours for missed in all_missed), luckiest=round(100 * min(drawn)))

# %% [markdown]
# None can come closer (1,000 trials do not prove it; [the theorem](https://en.wikipedia.org/wiki/Low-rank_approximation) of
# Eckart and Young, 1936, does). No matrix of rank $r$ is nearer to $M$ than its strongest $r$ layers. They miss exactly the energy of
# the layers left out, $\sum_{i>r}\sigma_i^2$.

# %% [markdown] tags=["minutes:8"]
# ## 4. What a fine-tune changes
#
# Fine-tuning turns each weight matrix $W$ into $W + \Delta W$. [Hu et al. (2021)](https://arxiv.org/abs/2106.09685),
# section 1, "hypothesize that the change in weights during model adaptation also has a low 'intrinsic rank'". Their LoRA
# trains $\Delta W = BA$, whose rank *cannot* be high. So it cannot test the idea.
#
# We can: we train all of $W$, in 28 matrices of our small model, and nothing keeps the rank low. The task is to say a
# fact like a sailor. We ask about people who are not in training.

# %%
model, tokenizer = models.load_embedded()
task = data.tasks.sailor()
weights, base = {}, {}
for name, module in model.named_modules():
    if isinstance(module, torch.nn.Linear) and name != "lm_head":
        weights[name], base[name] = module.weight, module.weight.detach().clone()
asked = [data.batches.encode_example(tokenizer, each.prompt, each.answer) for each in task.heldout[:64]]
batch = data.batches.collate(asked, tokenizer.pad_token_id)
print(len(weights), "matrices;", task.heldout[0].prompt, "->", task.heldout[0].answer)

# %% [markdown]
# We count twice. A *[token](../course/glossary.md#token)* is right if the model finds it most likely at its place in the wanted answer. An *answer* is
# right if all its tokens are: asked, the model would write just that. (The question's own tokens, labelled −100, do not
# count.) **Guess** before you train:

# %% tags=["guess:delta_90", "slide"]
delta_90 = 80  #? directions of 192, for 90 % of the energy of ΔW | 173: nine tenths of the directions, as if all were equally strong | 16: the rank that LoRA is given; nothing here kept the change so small | 80: that the change uses four directions in ten; it is more concentrated

# %% tags=["nbval-ignore-output"]
guessed = guesses(delta_90=delta_90)


@torch.no_grad()
def score(change):
    """With this change added to the base: the shares of answers and of tokens that are right."""
    for name, weight in weights.items():
        weight.copy_(base[name] + change[name])
    wanted, likely = batch["labels"][:, 1:], model.eval()(**batch).logits[:, :-1].argmax(-1)
    right, counts = likely == wanted, wanted != -100
    return float((right | ~counts).all(1).float().mean()), float(right[counts].float().mean())


no_change = {name: torch.zeros_like(weight) for name, weight in base.items()}
print("before training: {:.0%} of the answers right, {:.0%} of the tokens".format(*score(no_change)))
print(f"an answer has {(batch['labels'] != -100).sum(1).float().mean():.0f} tokens in the mean")

# %% tags=["nbval-ignore-output"]
changes, whole = [], []
for seed in range(3):
    score(no_change)  # puts the base back
    model.requires_grad_(False)
    for weight in weights.values():
        weight.requires_grad_(True)
    train.finetune(model, tokenizer, task, "full", steps=60, batch_size=8, seed=seed)
    changes.append({name: weight.detach() - base[name] for name, weight in weights.items()})
    whole.append(score(changes[seed]))
    print("seed {}, after 60 steps: {:.0%} of the answers, {:.0%} of the tokens".format(seed, *whole[seed]))

# %% tags=["reveal", "nbval-ignore-output", "slide"]
every_D = [D for change in changes for D in change.values()]  # three seeds of 28 matrices
shuffle = [D.flatten()[torch.randperm(D.numel(), generator=dice)].view_as(D) for D in changes[0].values()]
kinds = {"ΔW": every_D, "the weights W": list(base.values()), "ΔW shuffled": shuffle}
curves, directions, rows = {}, {}, []
for kind, matrices in kinds.items():
    square = [lowrank.energy_fractions(M) for M in matrices if min(M.shape) == 192]
    curves[kind] = torch.stack(square).mean(0)
    half = [rank_for_energy(M, 0.5) for M in matrices]
    most = [rank_for_energy(M, 0.9) for M in matrices]
    directions[kind] = [sum(counted) / len(counted) for counted in (half, most)]
    rows.append([kind, *(f"{value:.1f}" for value in directions[kind])])
show.figure(*show.energy_held(curves, "ΔW", at=16))
show.table(rows, ["mean over the matrices", "half the energy", "90 % of it"])
guessed.against(delta_90=round(directions["ΔW"][1]))

# %% [markdown]
# The weights are little more concentrated than shuffled numbers. The change is: a few directions dominate, and a long
# weak tail follows. **Is the change of low rank? By energy: half of it in 6 directions, nine tenths only in 33.** Which of
# the two counts? Ask the model.

# %% [markdown] tags=["minutes:9"]
# ## 5. Which directions carry the task?
#
# Put a *part* of the change back into the base, in every matrix:
#
# - **strongest**: your cut to r directions;
# - **random**: the change projected on r random input directions, then scaled to the energy of the cut: *as strong*;
# - **all, shrunk**: all 192, scaled down to the energy of the cut;
# - **16, shrunk**: the strongest 16, scaled down alike (from r = 16 on, as they are).
#
# **Guess** for r = 16 of 192.

# %% tags=["guess:top_16", "guess:random_16", "guess:random_tokens", "slide"]
top_16 = 50  #? % of answers right, with the strongest 16 directions | 8: the share of directions, 16 of 192; they are not equally strong | 25: that the many weak directions do most of the work | 50: that weak ones do half; they do less
random_16 = 20  #? % of answers right, with 16 random directions, as strong | 75: that number and strength decide; it matters which directions they are | 8: the share of directions, 16 of 192; a behaviour does not come in slices | 20: that random directions do a part of the task; an answer needs all its tokens
random_tokens = 60  #? % of tokens right, with the same 16 random directions | 50: that nothing moves while no answer is right; an answer needs all its tokens | 97: that tokens are easy once the change is strong enough; its directions matter, too

# %%
guessed = guesses(top_16=top_16, random_16=random_16, random_tokens=random_tokens)


def parts(change, r):
    """Four parts of a change: matrices by name."""
    made = {"strongest": {}, "random": {}, "all, shrunk": {}, "16, shrunk": {}}
    for name, D in change.items():
        (B, A), (B_16, A_16) = cut_to_rank(D, r), cut_to_rank(D, 16)
        cut, sixteen = B @ A, B_16 @ A_16
        Q, _ = torch.linalg.qr(torch.randn(D.shape[1], r, generator=dice))  # r random directions
        seen = D @ Q @ Q.T
        made["strongest"][name] = cut
        made["random"][name] = seen * cut.norm() / seen.norm()
        made["all, shrunk"][name] = D * cut.norm() / D.norm()
        made["16, shrunk"][name] = sixteen * min(1, cut.norm() / sixteen.norm())
    return made

# %% tags=["nbval-ignore-output"]
ranks = [1, 2, 4, 8, 16, 32, 64]
answers = {"strongest": [], "random": [], "all, shrunk": [], "16, shrunk": []}
tokens = {part: [] for part in answers}
for change in changes:
    for part in answers:
        answers[part].append([])
        tokens[part].append([])
    for r in ranks:
        for part, matrices in parts(change, r).items():
            of_answers, of_tokens = score(matrices)
            answers[part][-1].append(of_answers)
            tokens[part][-1].append(of_tokens)

# %% tags=["reveal", "nbval-ignore-output", "slide"]
full = sum(of_answers for of_answers, _ in whole) / 3
show.figure(*show.parts_by_rank(answers, ranks, full, at=16, point="strongest", control="random",
                                surprise="all, shrunk"))
mean, rows = {}, []
for part in answers:
    mean[part] = [sum(shares) / 3 for shares in zip(*answers[part])]
for part in ("strongest", "random"):
    mean[f"tokens, {part}"] = [sum(shares) / 3 for shares in zip(*tokens[part])]
for i, r in enumerate(ranks):
    held = float(curves["ΔW"][r - 1])
    rows.append([str(r), f"{held:.0%}", *(f"{mean[column][i]:.0%}" for column in mean)])
show.table(rows, ["r", "energy in them", *mean])
guessed.against(top_16=round(100 * mean["strongest"][4]), random_16=round(100 * mean["random"][4]),
                random_tokens=round(100 * mean["tokens, random"][4]))

# %% [markdown]
# **Sixteen directions are enough**: the strongest do most of what the whole change does.
#
# **Count twice.** With sixteen random directions no answer is right to the last token. That does not mean that they do
# nothing: many more tokens are right than the half before training. But an answer needs all of its tokens. The strongest
# direction alone is such a case. Answers are what you ship; tokens, or the [loss](../course/glossary.md#loss), show what is on the way.
#
# **Why do the strongest four do so little?** They may have too little energy, or be too few. The controls tell them apart.
# Give *sixteen* directions the energy of four: they answer several times as much. Give it to *all*: hardly more. So four
# are too few, and the other 176 add next to nothing: **breadth up to about sixteen, then mostly noise.**
#
# Is the task in the strongest directions? In the strongest sixteen, yes; in the first alone, no. Eckart and Young promise
# the nearest *matrix*, not the nearest *behaviour*.

# %% [markdown] tags=["minutes:4"]
# ## 6. So which r?

# %% tags=["nbval-ignore-output"]
enough = next(r for r, share in zip(ranks, mean["strongest"]) if share >= 0.8 * full)
counts = {"half the energy": directions["ΔW"][0], "four fifths of the answers, when cut": enough,
          "90 % of the energy": directions["ΔW"][1]}
show.table([[how, f"{count:.0f} of 192"] for how, count in counts.items()], ["directions of one and the same change", ""])
for width in (192, 4096):
    dense, thin = width * width, 16 * (width + width)
    print(f"rank 16 in a layer of {width} × {width}: {thin:,} numbers instead of {dense:,}, {thin / dense:.1%}")

# %% [markdown]
# Here 16, by the only count that asks the model; with 8, a third or more of the answers are lost. "Fine-tuning has low
# rank" is true or false with the way to count.
#
# <details><summary>What was found on a large model</summary>
#
# [Biderman et al. (2024)](https://arxiv.org/abs/2405.09673), who train Llama-2-7B on far more data, write in their
# abstract: "full finetuning learns perturbations with a rank that is 10-100X greater than typical LoRA configurations,
# possibly explaining some of the reported gaps". They too count directions for 90 %, in continued pretraining on code; of
# instruction fine-tuning they expect less (section 6).
#
# </details>
#
# A cut is made *after* training, by energy. LoRA trains its own $B$ and $A$ *within* rank r, by the loss. So the
# cut to 8 does not predict LoRA at rank 8: it may do better or worse. In [lesson 03](03_lora_from_scratch.ipynb) it is
# ahead or level.

# %% tags=["assert"]
assert needs["house"] < 8 < 30 < needs["shuffled"]
assert min(all_missed) > yours and abs(yours - (1 - float(lowrank.energy_fractions(M)[3]))) < 1e-6
assert min(drawn) > 0.5, "luck does not help"
assert directions["ΔW"][0] < directions["ΔW shuffled"][0] / 3 and directions["the weights W"][0] > 25
assert 20 < directions["ΔW"][1] < 60 < directions["ΔW shuffled"][1], "concentrated, but not of rank 16"
before, half_right = score(no_change)
assert before == 0 and 0.3 < half_right < 0.7 and full > 0.6
assert (dense, thin) == (16_777_216, 131_072) and thin < dense / 100  # the numbers at the top

# %% tags=["assert"]
for of_seed, (share, _) in zip(answers["strongest"], whole):
    assert of_seed[4] > 0.7 * share, "16 directions do most of it"
assert mean["random"][4] < 0.1 and mean["tokens, random"][4] > half_right + 0.15, "no answer, but more tokens"
assert mean["strongest"][0] < 0.1 and mean["tokens, strongest"][0] > half_right + 0.15, "the first alone: the same"
assert mean["16, shrunk"][2] > 2.5 * mean["strongest"][2], "at the energy of four, sixteen are better than four"
assert abs(mean["all, shrunk"][2] - mean["16, shrunk"][2]) < 0.15, "and all are no better than sixteen"
assert enough == 16 and mean["strongest"][3] < 0.75 * full, "8 lose a third or more"

# %% tags=["nbval-ignore-output"]
results("01")

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# - **r is chosen by a score on [validation](../course/glossary.md#validation)**, not read off singular values. I begin with 16 for a change of style and
#   double it while the score still rises; lesson 04 measures it for LoRA.
# - Before I cut a trained [adapter](../course/glossary.md#adapter), I measure answers and tokens, not energy.
#
# ## What was not shown
#
# - One small model, one easy task, one optimizer, a short training at one [learning rate](../course/glossary.md#learning-rate). No LoRA was trained.
# - 16 of 192 suffice here. Whether 16 of 4,096 do, only a score on the wide model can say.
# - The base was pretrained with [Muon](../course/glossary.md#muon), which evens out singular values. Others may be more concentrated.
#
# ## What to try
#
# - Find B and A for the house by gradient descent on $\lVert M - BA\rVert^2$, as LoRA finds its own. Do they reach the cut?
# - `data.tasks.cipher(words=16)`: an arbitrary code instead of a style. Does it need more directions?
#
# ## Three questions
#
# **1. A 4096 × 4096 layer is cut to rank 3,000. Is anything saved?**
#
# <details><summary>Answer</summary>
#
# No. B and A then have 2 × 3,000 × 4,096 numbers, 24.6 million; the layer has 16.8. Lesson 03 asks where the two are equal.
#
# </details>
#
# **2. Two updates have the same energy and the same rank. Must they do the same?**
#
# <details><summary>Answer</summary>
#
# No: sixteen strongest and sixteen random ones were such a pair.
#
# </details>
#
# **3. Why is a small r no contradiction to ΔW having full rank?**
#
# <details><summary>Answer</summary>
#
# Full rank says that no direction is exactly zero. The score asks how many suffice, and the strongest sixteen did most of
# the work.
#
# </details>
#
# ## Next
#
# [02 Intrinsic dimension](02_intrinsic_dimension.ipynb): put in afterwards, random directions gave no right answer.
# What if one *trains* in them?
