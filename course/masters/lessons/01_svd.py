# %% [markdown]
# # What a few directions can hold
#
# By the end you will have measured how many directions of a full fine-tuning update carry what it taught, and you will
# know in which sense "updates are low rank" is true.
#
# | time on 2 CPU cores | memory | builds on |
# |---|---|---|
# | under 2 minutes | about 1 GB | matrix products; no lesson before it |

# %% [markdown]
# ## 1. A matrix you can see
#
# A matrix M [height, width] of *rank* 1 is a column times a row: one pattern down, one pattern across. The singular
# value decomposition writes any M as a sum of such patterns, strongest first:
#
# $$M = \sum_i \sigma_i\, u_i v_i^\top, \qquad \sigma_1 \ge \sigma_2 \ge \dots \ge 0$$
#
# The $u_i$ are perpendicular to each other, and so are the $v_i$; the singular value $\sigma_i$ is the strength of
# direction $i$. Keep the first r of them and M shrinks into two thin factors, B [height, r] and A [r, width].
#
# Below is a picture with 64 rows, and beside it the same pixels in random order. **Predict:** at which r can you
# recognise each?

# %%
import torch
from lora_lab import data, lora, lowrank, models, show, train


def best_rank_r(M, r):
    u, s, vh = torch.linalg.svd(M.double(), full_matrices=False)
    B = u[:, :r] * s[:r].sqrt()
    A = s[:r, None].sqrt() * vh[:r]
    return B.to(M.dtype), A.to(M.dtype)  # M ≈ B @ A


y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1.5, 96), indexing="ij")
picture = 0.9 - 0.5 * y  # the sky
picture[(x - 1.2) ** 2 + (y - 0.25) ** 2 < 0.03] = 1.0  # the sun
picture[(y > 0.5) & (y < 0.95) & (x > 0.2) & (x < 0.8)] = 0.3  # the house
picture[(y > 0.25) & (y < 0.5) & ((x - 0.5).abs() < 1.6 * (y - 0.25))] = 0.0  # the roof
picture[(y > 0.6) & (y < 0.75) & (x > 0.3) & (x < 0.45)] = 1.0  # the window
picture -= picture.mean()
B, A = best_rank_r(picture, 64)
print("all 64 directions give the picture back:", torch.allclose(B @ A, picture, atol=1e-5))

# %%
mixed = torch.randperm(picture.numel(), generator=torch.manual_seed(0))
shuffled = picture.flatten()[mixed].view_as(picture)
rows = {name: {**{f"r = {r}": torch.matmul(*best_rank_r(M, r)) for r in (1, 4, 16)}, "all 64": M}
        for name, M in {"picture": picture, "shuffled": shuffled}.items()}
show.figure(show.matrix_grid(rows, "Structure fits in a few directions, noise does not"),
            alt="A house under a sun is recognisable at rank 4 and nearly exact at rank 16 of 64; "
                "the same pixels shuffled look as random as before at every rank.")

# %% [markdown]
# The sum of squares $\lVert M\rVert_F^2 = \sum_i \sigma_i^2$ is the *energy* of M. Four ways to count directions:
#
# - **half, 90 %**: the fewest directions that hold this share of the energy.
# - **stable rank** $\sum_i\sigma_i^2/\sigma_1^2$: how many directions as strong as the strongest would hold the same
#   energy (Rudelson and Vershynin, 2007).
# - **effective rank** $e^{H(p)}$ with $p_i = \sigma_i/\sum_j\sigma_j$ and H the entropy: it counts weak directions too
#   (Roy and Vetterli, 2007).
#
# They answer different questions. Keep that in mind: by the end they will disagree, and that is the lesson.

# %%
MEASURES = {
    "half": lambda M: lowrank.rank_for_energy(M, 0.5), "90 %": lambda M: lowrank.rank_for_energy(M, 0.9),
    "stable": lowrank.stable_rank, "effective": lowrank.effective_rank}


def directions(matrices):
    """Every measure, averaged over some matrices."""
    return [sum(measure(M) for M in matrices) / len(matrices) for measure in MEASURES.values()]


show.table([[name, *(f"{value:.1f}" for value in directions([M]))]
            for name, M in {"picture": picture, "the same pixels, shuffled": shuffled}.items()],
           headers=["64 × 96", *MEASURES])

# %% [markdown]
# ## 2. Nothing of rank r is closer
#
# Eckart and Young (1936): among all matrices of rank r, the truncated SVD is the nearest to M in the Frobenius norm,
# and it misses exactly the energy of the directions left out: $\lVert M - BA\rVert_F^2 = \sum_{i>r}\sigma_i^2$. Two
# rivals test that: M projected on a random subspace of r dimensions, and factors B, A trained by gradient descent,
# which is how LoRA will find its own.

# %%
def trained_factors(M, r, seed, steps=400):
    generator = torch.manual_seed(seed)
    B = torch.randn(M.shape[0], r, generator=generator).mul(0.3).requires_grad_()
    A = torch.randn(r, M.shape[1], generator=generator).mul(0.3).requires_grad_()
    adam = torch.optim.Adam([B, A], lr=0.03)
    for _ in range(steps):
        adam.zero_grad()
        (M - B @ A).square().sum().backward()
        adam.step()
    return (B @ A).detach()


def missed(approximation):
    return float((picture - approximation).square().sum() / picture.square().sum())


of_svd = missed(torch.matmul(*best_rank_r(picture, 4)))
of_adam = missed(trained_factors(picture, 4, seed=0))
print("at r = 4, Adam misses at most a tenth more than the SVD:", of_svd <= of_adam + 1e-6 <= 1.1 * of_svd)

# %% tags=["nbval-ignore-output"]
def on_random_subspace(M, r, seed):
    Q, _ = torch.linalg.qr(torch.randn(M.shape[1], r, generator=torch.manual_seed(seed)))
    return M @ Q @ Q.T


rows = []
for r in (1, 4, 16):
    tail = 1 - float(lowrank.energy_fractions(picture)[r - 1])
    svd = missed(torch.matmul(*best_rank_r(picture, r)))
    rivals = [[missed(make(picture, r, seed)) for seed in range(3)]
              for make in (trained_factors, on_random_subspace)]
    spreads = [f"{min(values):.2%} to {max(values):.2%}" for values in rivals]
    rows.append([str(r), f"{tail:.2%}", f"{svd:.2%}", *spreads])
    assert abs(svd - tail) < 1e-6 and min(map(min, rivals)) > svd - 1e-6
show.table(rows, ["r", "energy left out", "SVD misses", "trained B, A, 3 seeds", "random subspace, 3 seeds"])

# %% [markdown]
# Gradient descent on B and A comes close to the optimum without ever computing an SVD, and never beats it. A random
# subspace of the same size misses most of the picture: the number of directions is not what matters, but which ones.
#
# ## 3. What a rank costs
#
# A weight W [d_out, d_in] has d_out · d_in numbers, its factors have r (d_out + d_in). They cost the same at the
# *break-even rank* d_out · d_in / (d_out + d_in). The last two shapes are those of Llama-3.1-8B.

# %%
shapes = {"embedded base, q_proj": (192, 192), "embedded base, down_proj": (192, 512),
          "8B, q_proj": (4096, 4096), "8B, down_proj": (4096, 14336)}
rows = []
for name, (d_out, d_in) in shapes.items():
    dense, factors = d_out * d_in, 16 * (d_out + d_in)
    even = dense / (d_out + d_in)
    rows.append([name, f"{dense:,}", f"{factors:,}", f"{factors / dense:.2%}", f"{even:,.0f}"])
show.table(rows, ["matrix", "numbers", "at r = 16", "share", "break-even r"])

# %% [markdown]
# The share falls with the width, because factors grow with the side of the matrix and not with its area. On large
# models a small r is nearly free. Does it suffice?
#
# ## 4. Not the weights themselves
#
# Now the embedded base of this course: a small Llama that reads passages and answers questions about them.
# **Predict:** each of its matrices has up to 192 directions. How many hold 90 % of the energy: 10, 50, 100? Two
# controls have no structure by construction: Gaussian noise of the same shape and variance, and the same weights
# shuffled.

# %%
model, tokenizer = models.load_embedded()  # this lesson uses the small model on every machine
weights = {name: module.weight for name, module in model.named_modules()
           if isinstance(module, torch.nn.Linear) and name != "lm_head"}
base = {name: weight.detach().clone() for name, weight in weights.items()}
dice = torch.manual_seed(0)
gaussian = [torch.randn(W.shape, generator=dice) * W.std() for W in base.values()]


def shuffle(M):
    return M.flatten()[torch.randperm(M.numel(), generator=dice)].view_as(M)


print(f"{len(weights)} matrices, {sum(W.numel() for W in base.values()):,} weights")

# %% tags=["nbval-ignore-output"]
of_weights = {"weights": directions(list(base.values())), "Gaussian": directions(gaussian),
              "weights, shuffled": directions([shuffle(W) for W in base.values()])}
show.table([[name, *(f"{value:.1f}" for value in values)] for name, values in of_weights.items()],
           headers=["mean over 28 matrices", *MEASURES])

# %% [markdown]
# By energy, the weights are hardly distinguishable from noise. One caveat: this base was pretrained with Muon, an
# optimizer that evens out the singular values of its updates; other bases may have steeper spectra. Either way, the
# model
# itself can say whether its weak directions matter. We keep the strongest r of every matrix and ask it questions about
# passages.
#
# The score used from here on is the share of answers that are right to the last token. One forward pass gives it:
# greedy decoding reproduces an answer exactly if every token of it is the most likely one after the tokens before.

# %%
def encode(examples):
    encoded = [data.batches.encode_example(tokenizer, example.prompt, example.answer) for example in examples]
    return data.batches.collate(encoded, tokenizer.pad_token_id)


@torch.no_grad()
def score(matrices, batch):
    """The share of answers right to the last token, with these matrices in the model."""
    for name, weight in weights.items():
        weight.copy_(matrices[name])
    wanted = batch["labels"][:, 1:]
    most_likely = model.eval()(**batch).logits[:, :-1].argmax(-1)
    return float(((most_likely == wanted) | (wanted == -100)).all(1).float().mean())


questions = encode(data.tasks.reading(64))
print("with all of its weights, the base answers over nine questions in ten:", score(base, questions) > 0.9)

# %% tags=["nbval-ignore-output"]
def factored(matrices):
    """B and A of full rank; their first r columns and rows are the truncation to r."""
    return {name: best_rank_r(M, min(M.shape)) for name, M in matrices.items()}


def keep(factors, r):
    return {name: B[:, :r] @ A[:r] for name, (B, A) in factors.items()}


svd_of_base = factored(base)
reading = {r: score(keep(svd_of_base, r), questions) for r in (16, 64, 96, 128, 192)}
show.table([[str(r), f"{share:.0%}"] for r, share in reading.items()],
           headers=["r kept of every weight", "questions right"])

# %% [markdown]
# The weights do need most of their directions. If W + B A is to work with a small r, then W has to stay whole, and
# only the *change* may be small.
#
# ## 5. The change, measured
#
# Hu et al. (LoRA, 2021, [arXiv 2106.09685](https://arxiv.org/abs/2106.09685), section 1) "hypothesize that the change
# in weights during model adaptation also has a low 'intrinsic rank'". They then train B A, whose rank is bounded by
# construction. We look at what nothing bounds: full fine-tuning. All 28 matrices train (embeddings and norms stay, so
# that ΔW is the whole change) on a small task: say a fact like a sailor. The people in the held-out questions occur
# nowhere in training.

# %%
task = data.tasks.sailor()
heldout = encode(task.heldout[:64])
print(task.train[0].prompt, "→", task.train[0].answer)
print("the base gets nothing right:", score(base, heldout) == 0)


def full_finetune(seed):
    """ΔW of every matrix after a short full fine-tuning from the base."""
    score(base, heldout)  # puts the base back
    model.requires_grad_(False)
    for weight in weights.values():
        weight.requires_grad_(True)
    train.finetune(model, tokenizer, task, "full", lr=2e-3, steps=60, batch_size=8, seed=seed)
    return {name: weight.detach() - base[name] for name, weight in weights.items()}

# %% tags=["nbval-ignore-output"]
def plus(delta):
    return {name: base[name] + delta[name] for name in base}


def energy_of(part, whole):
    squares = [sum(of[name].square().sum() for name in part) for of in (part, whole)]
    return float(squares[0] / squares[1])


deltas = [full_finetune(seed) for seed in range(3)]
full = [score(plus(delta), heldout) for delta in deltas]
greedy = task.score(task.heldout[:64], train.answer(model, tokenizer, task.heldout[:64]))["exact"]
show.table([[f"full fine-tuning, seed {seed}", f"{share:.0%}"] for seed, share in enumerate(full)]
           + [["seed 2, decoded token by token", f"{greedy:.0%}"]], headers=["", "answers right"])
assert abs(greedy - full[2]) <= 1 / 64, "the one-pass score is not that of greedy decoding"

# %% [markdown]
# **Predict** before you run on: the weights needed about as many directions for 90 % of their energy as noise. What
# about ΔW?

# %% tags=["nbval-ignore-output"]
def mean_energy(matrices):
    """Averaged over the matrices with 192 directions."""
    return torch.stack([lowrank.energy_fractions(M) for M in matrices if min(M.shape) == 192]).mean(0)


change = deltas[0]
curves = {"ΔW": mean_energy(change.values()), "weights W": mean_energy(base.values()),
          "Gaussian": mean_energy(gaussian),
          "ΔW, shuffled": mean_energy([shuffle(D) for D in change.values()])}
show.figure(show.energy_curves(curves, "ΔW", "The change is concentrated, the weights are not"),
            alt="Share of energy over directions kept, of 192. At 16 directions: "
                + ", ".join(f"{name} {shares[15]:.0%}" for name, shares in curves.items()),
            caption="Mean over the 20 matrices with 192 directions. The two controls lie on each other.")

# %%
of_changes = [directions(list(delta.values())) for delta in deltas]
of_gaussian = of_weights["Gaussian"]
print("in all three seeds, on average over the matrices")
print("half of ΔW's energy sits in a quarter of the directions that noise needs, or fewer:",
      all(values[0] <= of_gaussian[0] / 4 for values in of_changes))
print("90 % of it in half, or fewer:", all(values[1] <= of_gaussian[1] / 2 for values in of_changes))
print("but its effective rank is above 16:", all(values[3] > 16 for values in of_changes))

# %% [markdown]
# So: concentrated, yes; low rank, no. A handful of directions dominates, and a long weak tail follows. The tail is not
# rounding: in sum it holds a fair part of the energy. Is it needed?
#
# ## 6. Which directions carry the behaviour?
#
# Energy is only a statement about a matrix. The causal test puts a part of ΔW back into the base and asks for sailors:
#
# - **strongest r**: the truncated SVD of every ΔW.
# - **all, shrunk**: the whole ΔW scaled *down* to the norm of the strongest r. Same energy, every direction.
# - **the rest**: ΔW minus the strongest r, so all the weak directions.
# - **random r**: ΔW projected on r random directions, scaled *up* to the norm of the strongest r. Same rank, same
#   energy.
#
# **Predict:** at r = 16, which of the four still speaks like a sailor?

# %% tags=["nbval-ignore-output"]
def norm_of(target, D):
    return D * (target.norm() / D.norm())


def parts(delta, factors, r, seed):
    top = keep(factors, r)
    return {
        "strongest r": top,
        "all, shrunk": {name: norm_of(top[name], D) for name, D in delta.items()},
        "the rest": {name: D - top[name] for name, D in delta.items()},
        "random r": {name: norm_of(top[name], on_random_subspace(D, r, seed)) for name, D in delta.items()},
    }


svd_of_changes = [factored(delta) for delta in deltas]
some = "model.layers.0.self_attn.q_proj"
one = {part: Ds[some] for part, Ds in parts(deltas[0], svd_of_changes[0], 16, seed=0).items()}
show.table([[part, str(int(torch.linalg.matrix_rank(D))), f"{energy_of({some: D}, deltas[0]):.0%}"]
            for part, D in one.items()],
           headers=["one ΔW [192, 192] at r = 16", "rank", "energy"])

# %% tags=["nbval-ignore-output"]
ranks = (1, 2, 4, 8, 16, 32)
sweep = [{r: {part: score(plus(Ds), heldout) for part, Ds in parts(delta, factors, r, seed).items()}
          for r in ranks} for seed, (delta, factors) in enumerate(zip(deltas, svd_of_changes))]
scores = {part: [[of_seed[r][part] for r in ranks] for of_seed in sweep] for part in sweep[0][1]}
mean = {part: [sum(shares) / 3 for shares in zip(*seeds)] for part, seeds in scores.items()}
title = "Sixteen of 192 directions carry the task, the rest do not"
fig = show.score_curves(scores, ranks, "strongest r", title, levels={"full fine-tuning": sum(full) / 3})
at16 = ", ".join(f"{part} {shares[4]:.0%}" for part, shares in mean.items())
show.figure(fig, alt="Answers right over directions kept, mean of three seeds; full fine-tuning "
            f"{sum(full) / 3:.0%}. At r = 16: {at16}",
            caption="Mean and range of three seeds. Grey: the three controls.")

# %% [markdown]
# The figure compares equal ranks. The table adds the energy that each part holds, so that equal energies can be
# compared too: the rest at one r with the strongest, or the shrunk whole, at another.

# %% tags=["nbval-ignore-output"]
energy = [sum(energy_of(keep(factors, r), delta) for delta, factors in zip(deltas, svd_of_changes)) / 3
          for r in ranks]
equal = ("strongest r", "all, shrunk", "random r")  # of one energy at each r
columns = zip(ranks, energy, *(mean[part] for part in equal), [1 - e for e in energy], mean["the rest"])
show.table([[str(r), *(f"{share:.0%}" for share in shares)] for r, *shares in columns],
           headers=["r", "their energy", *equal, "energy of the rest", "the rest"])

# %% [markdown]
# Sixteen directions do about what the whole update does. The same energy in random directions teaches next to nothing.
# And the rest is worth less than its energy: compare the rest after r = 8 with the strongest four, which have less
# energy and more right answers. That supports the hypothesis.
#
# Two results should slow you down.
#
# - **r = 1.** The strongest direction alone teaches nothing, and the update without it still works in part. Strongest
#   does not mean most needed.
# - **All, shrunk.** At small r, the same energy spread over all directions in their own proportions does better than
#   the strongest few at full strength. So the weak directions are not noise: they matter together with the strong
#   ones.
#
# Eckart and Young promise the nearest *matrix*. They say nothing about the nearest *behaviour*.
#
# Aghajanyan et al. (2020, [arXiv 2012.13255](https://arxiv.org/abs/2012.13255), abstract) reach 90 % of full
# fine-tuning on MRPC with 200 parameters in a *random* subspace. No contradiction: they train inside that subspace,
# and the solution can settle there. We project afterwards, on directions that the training never chose.
#
# ## 7. Where the few directions come from
#
# The gradient of a weight is a sum over the tokens of the batch, $G = \sum_t \delta_t x_t^\top$: input $x_t$, error
# $\delta_t$. Tokens of one task resemble each other, so G may have few directions. But AdamW does not follow G. Its
# first step is $\eta\, G/|G|$ per number: the *sign*, times the learning rate η. **Predict:** what does taking signs
# do to the four measures?

# %% tags=["nbval-ignore-output"]
score(base, heldout)  # puts the base back
model.zero_grad()
model(**encode(task.train[:64])).loss.backward()
gradients = [weight.grad.clone() for weight in weights.values()]
counts = {"gradient at the base": directions(gradients),
          "its sign: AdamW's first step": directions([G.sign() for G in gradients]),
          **{f"ΔW after 60 steps, seed {seed}": of for seed, of in enumerate(of_changes)}, **of_weights}
show.table([[name, *(f"{value:.1f}" for value in values)] for name, values in counts.items()],
           headers=["mean over 28 matrices", *MEASURES])

# %% [markdown]
# Here the measures part. Taking signs leaves a few strong directions in charge (half, stable) and smears a weak tail
# over most others (90 %, effective). ΔW keeps the few and has less tail than a single step. A reading that fits: steps
# agree on the strong directions and add up, and the smear differs from step to step and partly cancels. The last point
# under "Try" tests it.
#
# So "fine-tuning updates have low rank" depends on the measure. Biderman et al. (2024, [arXiv
# 2405.09673](https://arxiv.org/abs/2405.09673)) fine-tune Llama-2-7B on far more data, count the directions for 90 %
# of the variance, and find a rank "10-100X greater than typical LoRA configurations" (abstract). Hu et al. (section
# 7.2) see r = 1 suffice on their tasks and warn that a small r need not work on every one. Our ΔW has both faces: a
# high rank by energy, and a task that survives at r = 16.
#
# ## 8. A floor, not a ceiling
#
# Truncation picks four directions *after* training, with an eye on energy. LoRA trains B and A of rank four from the
# start, with an eye on the loss. **Predict:** does it do better or worse than the strongest four of ΔW? The next
# lesson builds `lora.inject`; here it only has to run, for the same 60 steps. Adapters want a larger learning rate
# than full fine-tuning. Each rate in this lesson is the better of two, tried once on an earlier version of the base
# with these same held-out people, so the comparison of methods is rough; the comparison of parts of one ΔW is not
# touched by it.

# %% tags=["nbval-ignore-output"]
def trained_at_rank(r, seed):
    """Answers right after training B A of rank r on every matrix, over the frozen base."""
    score(base, heldout)
    torch.manual_seed(seed)
    lora.inject(model, lora.LoRAConfig(r=r, alpha=2 * r, target_modules="all-linear"))
    train.finetune(model, tokenizer, task, "lora", lr=1e-2, steps=60, batch_size=8, seed=seed)
    change = {name: model.get_submodule(name).delta_weight().detach() for name in base}
    lora.remove(model)
    return score(plus(change), heldout)


at = {r: {part: [shares[i] for shares in seeds] for part, seeds in scores.items()} for i, r in enumerate(ranks)}
trained = [trained_at_rank(4, seed) for seed in range(3)]
summary = {"full fine-tuning, all directions": full, "trained at rank 4 (LoRA)": trained,
           "ΔW truncated to rank 4": at[4]["strongest r"],
           **{f"ΔW at r = 16: {part}": of for part, of in at[16].items()}}
show.table([[name, f"{sum(of) / 3:.0%}", f"{min(of):.0%} to {max(of):.0%}"]
            for name, of in summary.items()], headers=["answers right", "mean", "three seeds"])

# %% [markdown]
# On average, training *within* a rank finds directions that truncation does not. What survives truncation is a floor
# for what that rank can hold.
#
# ## What holds
#
# The weights use most of their directions. The change that fine-tuning makes is concentrated: its sixteen strongest
# directions carry the task, and neither the rest nor random ones do.

# %%
changes = max(of[1] for of in of_changes)
assert of_weights["weights"][1] > 0.8 * of_gaussian[1] > 1.6 * changes  # directions for 90 % of the energy
assert all(kept > 0.75 * whole for kept, whole in zip(at[16]["strongest r"], full))
assert max(at[16]["the rest"]) < 0.1 and max(at[16]["random r"]) < 0.1
assert sum(trained) > sum(at[4]["strongest r"])
assert energy[2] < 1 - energy[3] and mean["strongest r"][2] > mean["the rest"][3]  # less energy, more right
print("16 directions keep over three quarters of the task; the rest, and random ones, under a tenth")

# %% [markdown]
# ## Try
#
# - `task = data.tasks.cipher(words=16)` with 75 steps: an arbitrary code instead of a style. Does it need more
#   directions?
# - Four times the steps. Do the strongest directions pull away from the tail, or does the tail catch up?
# - Put ΔW back in the attention matrices only, then in the MLP only. Which carries the sailor?
# - Train with `torch.optim.SGD` in a loop of your own. Without the sign, is the tail gone?
#
# Next: `03_lora_from_scratch` builds the layer that trains B and A, and nothing else.
