# %% [markdown]
# # Rank, alpha, learning rate
#
# **3 % or 40 %.** Two people train the same adapter of rank 64, on the same data, at the same learning rate. One followed
# "set α = 2r", the other left α at 32. One of them gets 3 % of the questions right, the other 40 %. By the end you know
# what α does, which rule keeps a rate when the rank changes, and how to choose one without fooling yourself.
#
# | for a person | on 2 CPU cores | on a T4 | memory | builds on |
# |---|---|---|---|---|
# | 45 minutes | about half a minute | the same: no GPU is used | about 1 GB | 03 |

# %% [markdown] tags=["minutes:7"]
# ## 1. Three knobs, one update
#
# This is the second path of a LoRA layer, and what you can turn on it:

# %%
import copy
import math
import torch
from lora_lab import data, lora, models, records, show, train
from lora_lab.exercises import check, guesses, results

show.figure(*show.scaling_schematic(d_out=192, d_in=192, r=16))

# %% [markdown]
# $$\Delta W = s\,B\,A$$
#
# The **rank** r says how many numbers pass between A and B. The **scale** s is a constant, never trained. The **learning
# rate** η says how far a step moves each entry of A and B. Three rules for s are in use:
#
# - **α/r** (Hu et al., [arXiv 2106.09685](https://arxiv.org/abs/2106.09685)): s falls with the rank.
# - **α/√r** (rsLoRA; Kalajdzievski, [arXiv 2312.03732](https://arxiv.org/abs/2312.03732)): s falls more slowly.
# - **constant**: s does not depend on r. (A recipe "α = 2r" with s = α/r gives 2 for each r: here we hand over that 2.)
#
# **Your turn.** Importance: a wrong rule looks like a bad rank. Difficulty: three lines. 4 minutes.
#
# In: `rule`, one of the three names; `r`; `alpha`. Out: s. For `("α/√r", 16, 8)` it is 2.0.

# %% tags=["turn:scaling"]
def scaling(rule, r, alpha):
    #> s by the rule "α/r", "α/√r" or "constant"
    if rule == "α/r":
        return alpha / r
    if rule == "α/√r":
        return alpha / math.sqrt(r)
    return alpha
    #<

# %% [markdown] tags=["hint:scaling"]
# **A first hint.** An `if` for each of the first two names, and a last line for the third.
#
# **Help, it gives None.** A function without `return` on its way gives None. Does each rule reach one?

# %% tags=["check:scaling"]
scaling = check("scaling", scaling)
alphas = {"α/r": 32, "α/√r": 8, "constant": 2}  # so that the three agree at rank 16
for rule, alpha in alphas.items():
    print(f"{rule}, α = {alpha}:", *(f"s = {scaling(rule, r, alpha):g} at r = {r}" for r in (1, 16, 64)), sep="   ")

# %% [markdown] tags=["minutes:9"]
# ## 2. What alpha does
#
# "Doubling α doubles the learning rate", one reads. Test it on a toy: one 3 × 4 update that is pulled towards a target, in
# float64, with B = 0 at the start.

# %% tags=["guess:sgd_step"]
sgd_step = 2  #? times as far moves ΔW in one step of SGD when α is doubled | 2: α stands once in ΔW = s·B·A, so it seems to count once | 1: the optimizer seems to undo the scale

# %%
guessed = guesses(sgd_step=sgd_step)
target = torch.randn(3, 4, generator=torch.manual_seed(0)).double()


def trained_update(optimizer, s, rate_of_B=1.0, steps=1):
    dice = torch.manual_seed(1)
    A = torch.randn(2, 4, generator=dice).double().requires_grad_()
    B = torch.zeros(3, 2).double().requires_grad_()
    groups = [{"params": [A], "lr": 0.01}, {"params": [B], "lr": 0.01 * rate_of_B}]
    made = torch.optim.SGD(groups) if optimizer == "SGD" else torch.optim.Adam(groups, eps=1e-300)
    for _ in range(steps):
        made.zero_grad()
        (s * B @ A - target).square().sum().backward()
        made.step()
    return (s * B @ A).detach()

# %%
ratio = {}
for optimizer in ("SGD", "Adam"):
    single, double = trained_update(optimizer, s=1), trained_update(optimizer, s=2)
    ratio[optimizer] = float(double.norm() / single.norm())
    print(f"{optimizer}: with s = 2, one step moves ΔW {ratio[optimizer]:.6f} times as far as with s = 1")
guessed.against(sgd_step=ratio["SGD"])

# %% [markdown]
# α counts once in the forward pass, and once more in the gradient of B. SGD follows the gradient, so ΔW moves s² as
# far. Adam divides the gradient by its own size, which takes the second s away.
#
# Write B′ = s·B for what really counts. Then every step can be told without s, by giving **B alone** another rate.
#
# **Your turn.** Importance: you will read recipes that change α, and recipes that change a rate. Difficulty: think
# first, then one line. 6 minutes.
#
# In: `optimizer`, "SGD" or "Adam"; `factor`, by which α is multiplied. Out: the number by which the rate of B has to
# be multiplied instead, so that ΔW is the same after every step. (The rate of A stays.)

# %% tags=["turn:rate_of_B"]
def rate_of_B(optimizer, factor):
    #> by what to multiply the rate of B, in place of multiplying α by `factor`
    return factor if optimizer == "Adam" else factor**2
    #<

# %% [markdown] tags=["hint:rate_of_B"]
# **A first hint.** Both printed ratios above were of the first step, in which only B moves, because A's gradient is
# zero while B is. What did doubling α do to that step, under each optimizer?
#
# **A second hint.** With factor 3, SGD's step is 9 times as long.

# %% tags=["check:rate_of_B"]
rate_of_B = check("rate_of_B", rate_of_B)
for optimizer in ("SGD", "Adam"):
    by_alpha = trained_update(optimizer, s=3, steps=50)
    by_rate = trained_update(optimizer, s=1, rate_of_B=rate_of_B(optimizer, 3), steps=50)
    print(f"{optimizer}: ‖ΔW‖ = {by_alpha.norm():.9f} with α tripled, {by_rate.norm():.9f} with B's rate instead")

# %% [markdown]
# The same, step for step. So **under Adam, α is the learning rate of B**, and of B only. Twice the α lets B learn twice as
# fast, and A as before; to choose that ratio on purpose is LoRA+ (Hayou et al., [arXiv
# 2402.12354](https://arxiv.org/abs/2402.12354)). To double the learning rate, double the learning rate.
#
# Adam's ε, weight decay and clipping spoil the equality a little.

# %% [markdown] tags=["minutes:14"]
# ## 3. Which rule lets you keep the rate?
#
# You have tuned a rate at rank 16. Tomorrow you want rank 64, or rank 1, and no new search.
#
# We try it with AdamW: questions about twelve strangers, to be learned by heart in 80 steps. First the rate at rank 16.
#
# **Your turn.** Importance: the commonest way to report a score that nobody gets again. Difficulty: three lines. 5
# minutes.
#
# In: `rows`, dictionaries with `lr`, `validation` (a loss; `None` if the run failed) and `exact` (the share right of what
# is held out, to be reported). Out: the rate to go on with.

# %% tags=["turn:chosen_rate"]
def chosen_rate(rows):
    #> the rate to choose, without peeking at what is held out
    finished = [row for row in rows if row["validation"] is not None]
    return min(finished, key=lambda row: row["validation"])["lr"]
    #<

# %% [markdown] tags=["hint:chosen_rate"]
# **A first hint.** Which of the two numbers may a choice look at? The other one is what you want to report afterwards.
#
# **A second hint.** `min(rows, key=...)` finds a row by a number of it. Leave out first the rows that have none.
#
# **Help, it says "changed the table".** `rows.sort()` reorders the caller's list; `sorted(rows, ...)` does not.

# %% tags=["check:chosen_rate"]
chosen_rate = check("chosen_rate", chosen_rate)

# %% tags=["nbval-ignore-output"]
settings = records.load("rates")["settings"]["new_facts"]
task = data.tasks.new_facts(**settings["data"])
base, tokenizer = models.load_embedded()  # this lesson uses the small model on every machine
run = {"steps": settings["steps"], "batch_size": settings["batch_size"], "seed": 0}


def trained(r, s, lr):
    model = train.prepare(copy.deepcopy(base), "lora", lora.LoRAConfig(r, s * r, target_modules="all-linear"), seed=0)
    train.finetune(model, tokenizer, task, "lora", lr=lr, **run)
    answers = train.answer(model, tokenizer, task.heldout, max_new_tokens=16)
    loss = train.answer_loss(model, tokenizer, task.validation)
    return {"r": r, "scaling": s, "lr": lr, "validation": loss, "exact": task.score(task.heldout, answers)["exact"]}


at_16 = [trained(16, 2.0, lr) for lr in (0.005, 0.01, 0.02)]
show.table([[f"{row['lr']:g}", f"{row['validation']:.3f}"] for row in at_16], ["rate at r = 16", "loss on validation"])

# %% tags=["guess:better_rank"]
better_rank = 20  #? % by which the loss on validation falls from rank 16 to 64 when α = 32 and the rate stay | 75: four times the numbers hold four times as much | 50: twice the loss per doubling of the rank seems a fair exchange

# %% tags=["nbval-ignore-output"]
guessed = guesses(better_rank=better_rank)
rate = chosen_rate(at_16)
rows, live = [], {}
for rule, alpha in alphas.items():
    row = live[rule] = trained(64, scaling(rule, 64, alpha), rate)
    rows.append([f"{rule}, r = 64", f"{row['scaling']:g}", f"{row['validation']:.3f}", f"{row['exact']:.0%}"])
at_best = min(row["validation"] for row in at_16)
show.table(rows, [f"rate {rate:g} kept", "s", "loss on validation", "answers right"], f"At rank 16: loss {at_best:.3f}")
guessed.against(better_rank=100 * (1 - live["α/r"]["validation"] / at_best))

# %% tags=["assert"]
for row in [*at_16, *live.values()]:
    key = {name: row[name] for name in ("r", "scaling", "lr")}
    (there,) = records.tried("rates", task="new_facts", seed=0, **key)
    assert abs(row["validation"] - there["validation"]) < 0.1, "this run and the record's differ by rounding alone"

# %% [markdown]
# The record has three seeds and rank 1 too. For seed 0 it has a search for each rank and rule: a factor
# of two from rate to rate, until the best has a worse neighbour on both sides (`course/records/rates.py`).

# %% tags=["guess:best_moves"]
best_moves = 4  #? times as large is the best rate at rank 64 as at rank 1, scaled by α/r | 64: only s · η counts, and s is 64 times smaller | 1: the division by r is there so that the rate fits every rank

# %% tags=["reveal"]
guessed = guesses(best_moves=best_moves)
panels, best, rows = {}, {}, []
for rule, alpha in alphas.items():
    panels[rule] = {}
    for r in (1, 16, 64):
        point = {"task": "new_facts", "r": r, "scaling": scaling(rule, r, alpha)}
        first = [row for row in records.tried("rates", **point, seed=0) if row["validation"] is not None]
        panels[rule][r] = {row["lr"]: row["validation"] for row in first}
        best[rule, r] = chosen_rate(first)
show.figure(*show.rate_curves(panels), caption="Seed 0; the large mark is the best rate on validation.")
guessed.against(best_moves=best["α/r", 64] / best["α/r", 1])

# %%
rows = []
for rule, alpha in alphas.items():
    cells = []
    for r in (1, 16, 64):
        same = records.tried("rates", task="new_facts", r=r, scaling=scaling(rule, r, alpha), lr=0.01)
        losses = sorted(row["validation"] for row in same)
        cells.append(f"{sum(losses) / len(losses):.2f} ({losses[0]:.2f} to {losses[-1]:.2f})")
    rows.append([rule, *cells])
show.table(rows, ["rate 0.01 everywhere", "r = 1", "r = 16", "r = 64"], "Loss on validation, mean and range of three seeds")

# %% [markdown]
# Raising the rank, **α/r** keeps the rate: rank 64 is at least as good as rank 16. Why? In the first step Adam moves each
# number of B by η. Each output is then s times a sum of r terms of size η · |(A x)ᵢ|. Four times the rank: four times the
# sum. Only s = α/r undoes that. With a constant scale, "α = 2r", the same rate is far too hot.
#
# Lowering the rank, α/r is the one that fails: at rank 1, s = 32 lets B learn 32 times as fast as A. There **α/√r** is
# best. No rule keeps one rate over a factor of 64, but with α/r and with α/√r the best rate moves by a factor of two,
# with a constant scale by eight.
#
# <details><summary>The same count for SGD, and what the papers say</summary>
#
# SGD moves B by the gradient, so the first step moves the output by s² · ‖A x‖², a sum of r terms too. With s², **α/√r**
# keeps it.
#
# Kalajdzievski: only with α/√r do the sizes of the adapter's outputs, and of the gradients at its inputs, stay the same
# as r grows (a theorem about large r). With α/r, he concludes, large ranks learn too slowly.
#
# Chen, Villar and Hayou ([arXiv 2602.06204](https://arxiv.org/abs/2602.06204), abstract) find "two regimes: one where the
# optimal learning rate remains roughly invariant across ranks, and another where it scales inversely with rank",
# depending on start and scale.
#
# </details>

# %% [markdown] tags=["minutes:8"]
# ## 4. What a rank holds
#
# With its own best rate for every rank (s = 2 throughout) and for full fine-tuning, ranks can be compared.

# %% tags=["guess:rate_ratio"]
rate_ratio = 10  #? times as large is LoRA's best rate at rank 16 as that of full fine-tuning | 1: the same data and optimizer seem to want the same rate | 100: LoRA trains about a hundredth of the numbers

# %%
guessed = guesses(rate_ratio=rate_ratio)
scores, rates = {}, {}
for r in (1, 4, 16, 64, 0):  # 0 stands for full fine-tuning
    found = records.chosen("rates", task="new_facts", r=r, scaling=2.0)
    scores[r], rates[r] = [row["exact"] for row in found], found[0]["lr"]
whole = scores.pop(0)

# %% tags=["reveal"]
low, high, full_score = (sum(values) / len(values) for values in (scores[1], scores[64], whole))
title = f"Rank 1 answers {low:.0%}, rank 64 {high:.0%}, all weights {full_score:.0%}"
show.figure(*show.scores_by_size({"twelve strangers, by heart": {"LoRA": scores}}, "LoRA", title, xlabel="rank r",
                                 levels={"twelve strangers, by heart": {"full fine-tuning": whole}}),
            caption="Small marks are single seeds; full fine-tuning's stand at the right end.")
rows = [[f"LoRA, r = {r}" if r else "full fine-tuning", f"{lr:g}", f"{lr / rates[0]:g}"] for r, lr in rates.items()]
show.table(rows, ["", "best rate", "times full fine-tuning's"])
guessed.against(rate_ratio=rates[16] / rates[0])

# %% [markdown]
# Rank 64, the worst at the common rate, has the best mean at its own. But its dots overlap those of rank 4 and 16:
# three seeds cannot tell these ranks apart. All weights have the best mean, and one seed of rank 64 lies among theirs.
#
# <details><summary>Lesson 02 drew full fine-tuning lower, and others report one factor</summary>
#
# Lesson 02's full fine-tuning of the same strangers, at the same rate, has a lower mean: there the 28 matrices trained,
# here embeddings and norms too. The seeds of both overlap.
#
# Thinking Machines ("LoRA Without Regret", 2025) report about ten times full fine-tuning's rate on large models; their
# library [fixes it at
# ten](https://tinker-docs.thinkingmachines.ai/cookbook/api-reference/hyperparam_utils/get_lora_lr_over_full_finetune_lr).
# Our table has another factor for each rank: search.
#
# </details>

# %% [markdown] tags=["minutes:5", "optional"]
# ## 5. Optional: two lessons that seemed to disagree
#
# Earlier versions of lessons 01 and 03 cut a full fine-tuning of the sailor to rank 8. One kept 67 of 78 % right, the
# other 31 of 81 %. Their rates differed, and what trained: the 28 matrices, or embeddings and norms too. Here is each combination:

# %% tags=["guess:cut_keeps"]
cut_keeps = 80  #? % of its right answers that full fine-tuning of the matrices keeps at its highest rate when cut to rank 8 | 100: what training found has low rank, whatever the rate | 4: eight of 192 directions are kept

# %%
guessed = guesses(cut_keeps=cut_keeps)
columns = ("exact", "matrices alone", "cut", "cut, the rest kept", "energy of 8")
rows, kept = [], {}
for places in ("matrices", "everything"):
    for lr in (0.001, 0.002, 0.004):
        same, means = records.tried("rates", task="sailor", places=places, lr=lr), {}
        for column in columns:
            means[column] = sum(row[column] for row in same) / len(same)
        kept[places, lr] = means["cut"] / means["exact"]
        rows.append([f"{places}, {lr:g}", *(f"{mean:.0%}" for mean in means.values())])
headers = ["trained, rate", "whole", "its matrices alone", "cut to rank 8", "cut, the rest kept", "energy of 8"]
show.table(rows, headers)
guessed.against(cut_keeps=100 * kept["matrices", 0.004])

# %% tags=["assert"]
assert ratio == {"SGD": 4.0, "Adam": 2.0}
assert best["constant", 64] <= best["constant", 1] / 4 and best["α/r", 64] >= best["α/r", 1]
assert live["α/r"]["validation"] < live["α/√r"]["validation"] < live["constant"]["validation"]
assert kept["matrices", 0.004] < kept["matrices", 0.001]
for r in (4, 16):
    assert min(scores[64]) < max(scores[r]), "the seeds of rank 64 overlap those of lower ranks"
assert max(scores[64]) > min(whole), "and reach those of all weights"

# %% [markdown] tags=["optional"]
# Rate and luck. The higher the rate, the less of the energy lies in the eight strongest directions: longer steps spread
# over more of them, and at the highest rate a cut keeps clearly less. But the table holds means. At one rate, with
# everything trained, the cut keeps 70, 28 and 52 % right, seed by seed (`records.tried` shows them): two lessons with one
# or three seeds each could not agree. Trained embeddings and norms are a smaller part: kept beside the cut,
# they give 5 to 9 points back.

# %% [markdown]
# ## What I can now decide
#
# With AdamW, on all linear layers:
#
# | you have | do |
# |---|---|
# | nothing tuned | r = 16, α = 32, and a rate; then its halves and doubles, until both neighbours are worse on validation |
# | a rate, and want a higher rank | keep α under α/r, keep the rate |
# | a rate, and want a lower rank | let s grow with α/√r only, keep the rate |
# | a recipe with another α | read it as another rate of B |
# | a style to teach | begin at 16: in lesson 02 the mean rises from rank 1 to 16, though seeds overlap |
# | facts to learn by heart | all weights, if they fit; else a high rank, at *its* best rate |
# | SGD | search anew: ΔW goes with s² |
#
# ## What was not shown
#
# - One small base, short runs, one task for the rules, rates a factor of two apart: a best rate is known to about that
#   factor. Large models may differ in every number; the *procedure* carries over.
# - AdamW with a cosine to zero, clipping at 1, no weight decay. No other optimizer was swept.
#
# ## What to try
#
# - Give A and B two rates (`train.loop.run` takes an optimizer with two groups). Is a ratio of 16 better than 1?
# - Search the best rate again with four times the steps. Does it fall?
# - `data.tasks.cipher(words=12)` in place of the strangers: does rank 1 lack capacity, or time?
#
# ## Three questions
#
# 1. A recipe says r = 16, α = 32, η = 2e-4. You want r = 64 and s unchanged. What is α?
#
# <details><summary>Answer</summary>128 by α/r, because 128/64 = 32/16 = 2. Leaving α at 32 would also have made B learn a
# quarter as fast under Adam.</details>
#
# 2. A colleague reports the best held-out score of nine rates. What is wrong, and how large may it be?
#
# <details><summary>Answer</summary>The held-out set made the choice, so the score is the luckiest of nine. With 200 questions
# a score of 50 % moves by about 3.5 points by chance; the best of nine equals is about 5 points too high. Choose on
# validation, report once.</details>
#
# 3. LoRA "cannot learn the task". Which of three knobs do you turn first?
#
# <details><summary>Answer</summary>The rate: a run at full fine-tuning's rate looks exactly like a rank that is too small.
# Then steps. The rank comes last, when more of it lowers the loss at its own best rate.</details>
#
# ## Next
#
# Which layers get an adapter, and how A and B start: lesson 05.

# %%
results("04")
