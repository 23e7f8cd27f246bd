# %% [markdown] tags=["slide"]
# # LoRA from scratch
#
# A hundred customers each want their own fine-tuned version of a model with 8 billion weights. As a hundred copies that
# is **1.6 TB**; the first cell computes it.
#
# At the end you will have typed LoRA's layer, put it around every linear layer of a language model, and held its success
# against three controls and two rivals.
#
# | computing, 2 CPU cores | for you | memory | builds on |
# |---|---|---|---|
# | about a minute | 65 minutes | under 2 GB | 01_svd |

# %% [markdown] tags=["minutes:4"]
# ## 1. A copy for every customer
#
# Full fine-tuning changes every weight, so every customer needs every weight again. LoRA stores only what it adds.

# %%
import copy
from types import SimpleNamespace

import torch
from torch import nn

from lora_lab import data, memory, models, records, show, train
from lora_lab.exercises import check, guesses, results

CUSTOMERS, BYTES = 100, 2  # bfloat16: two bytes a number
full = memory.estimate("llama-3.1-8b", "full").trainable_params
added = memory.estimate("llama-3.1-8b", "lora", r=16).trainable_params
rows = []
for name, numbers in {"every weight": full, "what LoRA adds, at rank 16": added}.items():
    gigabytes = BYTES * numbers / 1e9
    rows.append([name, f"{numbers:,}", f"{gigabytes:.3f} GB", f"{CUSTOMERS * gigabytes:,.1f} GB"])
rows.append(["one base, a hundred adapters", "", "", f"{BYTES * (full + CUSTOMERS * added) / 1e9:,.1f} GB"])
show.table(rows, ["Llama-3.1-8B", "numbers", "one customer", "a hundred customers"])

# %% [markdown] tags=["minutes:8"]
# ## 2. Two paths
#
# The hundred share one base, and each brings a small file. What is in it?
#
# A linear layer multiplies its input x by a weight W₀ [d_out, d_in]. LoRA *freezes* W₀: training never writes to it.
# Beside it comes a second path through two thin matrices.
#
# - **A** squeezes the input, here 4,096 numbers, into r = 16. r is the *rank*: B A is a matrix of rank r at most.
# - **B** spreads those 16 numbers out again.
# - **α/r** is a constant that sets how loud the second path is. Dividing by r is meant to spare a new search for the
#   learning rate when r changes; lesson 04 tests that.

# %% tags=["slide"]
show.figure(*show.lora_schematic(d_out=4096, d_in=4096, r=16, counts=False))

# %% [markdown]
# "Low" rank must be low against something. **Guess:** at which r do A and B together hold as many numbers as W₀?

# %% tags=["guess:break_even", "slide"]
break_even = 4_096  #? rank at which A and B hold as many numbers as W₀, 4,096 × 4,096
# | 4096: there A alone is as large as W₀, and B comes on top
# | 64: that is √4,096, as if r counted twice: but each rank adds one row to A and one column to B, 8,192 numbers

# %% tags=["reveal", "nbval-ignore-output", "slide"]
guessed = guesses(break_even=break_even)
r = 1
while r * 4096 + 4096 * r < 4096 * 4096:
    r += 1
guessed.against(break_even=r)
show.figure(*show.lora_schematic(d_out=4096, d_in=4096, r=16))
show.lora_explorer(d_out=192, d_in=192, r=8, alpha=16)

# %% [markdown] tags=["slide"]
# Each rank costs d_in + d_out numbers, so a square layer [breaks even](../course/glossary.md#break-even) at *half its width*. The sliders
# (mouse or arrow keys) count for any layer: ours of 192 × 192 breaks even at 96.
#
# As an equation (Hu et al., 2021, [arXiv 2106.09685](https://arxiv.org/abs/2106.09685), section 4.1:
# equation 3 is $W_0 x + B A x$, and the text after it adds the factor):
#
# $$h = W_0\,x + \frac{\alpha}{r}\,B\,A\,x$$

# %% [markdown] tags=["minutes:8"]
# ## 3. Your turn: the forward pass
#
# `self` has the frozen layer `self.base`, which you call like a function, `self.lora_A` [r, d_in], `self.lora_B`
# [d_out, r] and the number `self.scaling`, which is α/r. In PyTorch x comes in *rows*, [tokens, d_in], so you write B A
# x from the left: first x times A transposed.

# %% tags=["turn:lora_forward", "slide"]
def lora_forward(self, x):  # x: [..., d_in] -> h: [..., d_out]
    #> the base's output, plus the scaled update
    update = x @ self.lora_A.T @ self.lora_B.T  # [..., d_in] -> [..., r] -> [..., d_out]
    return self.base(x) + self.scaling * update
    #<

# %% [markdown] tags=["hint:lora_forward"]
# **A first hint.** Follow the picture's arrows. The upper path is one call, `self.base(x)`. The lower one is two matrix
# products. Then a multiplication by a number, then a sum.
#
# **Help, I get a shape error.** `x @ self.lora_A` cannot work: x has d_in columns and A has r rows. Transpose: `x @
# self.lora_A.T` has the shape [..., r]. The next one works the same way.
#
# **Why not multiply B and A first?** It gives the same result, but B A is as large as W₀. Squeezing x first costs r ·
# (d_in + d_out) multiplications a token instead.

# %% tags=["check:lora_forward"]
lora_forward = check("lora_forward", lora_forward)

# %% [markdown] tags=["minutes:13"]
# ## 4. Your turn: where to start
#
# Before training, the layer must give *exactly* what its base gives. And it must be able to learn. **Guess:** which may
# start at zero: A, B, both? There are four starts: each of the two zero or random.

# %% tags=["guess:good_starts", "slide"]
good_starts = 1  #? of the four starts, how many add nothing at first and can still learn
# | 1: "B = 0, as in the paper": yes, but the mirrored start, A = 0, adds nothing either, and learns
# | 3: "one zero is enough, so both at zero is safe too": it adds nothing, for ever

# %%
W0 = nn.Linear(512, 192).requires_grad_(False)
x, wanted = torch.randn(64, 512), torch.randn(64, 192)  # anything: we only ask what can move


def first_step(A_random, B_random):  # -> how far the output moves, the largest gradient of A and of B
    A, B = torch.zeros(8, 512, requires_grad=True), torch.zeros(192, 8, requires_grad=True)
    if A_random:
        nn.init.normal_(A, std=0.1)
    if B_random:
        nn.init.normal_(B, std=0.1)
    layer = SimpleNamespace(base=W0, lora_A=A, lora_B=B, scaling=2)  # stands in for the layer's self
    h = lora_forward(layer, x)
    (h - wanted).square().mean().backward()
    return [(h - W0(x)).abs().max().item(), A.grad.abs().max().item(), B.grad.abs().max().item()]

# %% tags=["reveal", "nbval-ignore-output", "slide"]
guessed = guesses(good_starts=good_starts)
starts, rows, good = {}, [], 0
for A_random, B_random in ((True, True), (True, False), (False, True), (False, False)):
    starts[A_random, B_random] = moved, of_A, of_B = first_step(A_random, B_random)
    if moved == 0 and (of_A > 0 or of_B > 0):  # adds nothing, and something gets a gradient
        good += 1
    words = ["random" if A_random else "zero", "random" if B_random else "zero"]
    rows.append([*words, f"{moved:.2g}", f"{of_A:.2g}", f"{of_B:.2g}"])
guessed.against(good_starts=good)
show.table(rows, ["A starts", "B starts", "largest move of the output", "largest gradient of A", "of B"])

# %% [markdown]
# The chain rule says why. With $G$ the gradient that arrives at the layer's output,
#
# $$\frac{\partial L}{\partial A} = \frac{\alpha}{r}\,B^\top G\,x^\top \qquad
# \frac{\partial L}{\partial B} = \frac{\alpha}{r}\,G\,(A\,x)^\top$$
#
# Each factor's gradient is multiplied by the *other* factor. With B = 0, A waits one step until B has moved. With both
# at zero, each waits for the other for ever. With both random, the output moves before anything is learned.
#
# The paper draws A at random and sets B to zero. PEFT, the library most people use, draws A uniformly from ±1/√d_in.

# %% tags=["turn:lora_init", "slide"]
def lora_init(d_out, d_in, r):  # -> A: [r, d_in], B: [d_out, r], both trainable
    #> A uniform in ±1/√d_in, B zero, each an nn.Parameter
    bound = 1 / d_in**0.5
    A = nn.Parameter(torch.empty(r, d_in).uniform_(-bound, bound))
    B = nn.Parameter(torch.zeros(d_out, r))
    return A, B
    #<

# %% [markdown] tags=["hint:lora_init"]
# **A first hint.** `torch.empty(r, d_in).uniform_(-bound, bound)` is a random matrix. `nn.Parameter(tensor)` marks a
# tensor as something to train.
#
# **Which one is zero?** If B is zero, then B A x is zero for every x, whatever A is.
#
# **Help, the shapes are wrong.** As in `nn.Linear`, rows are outputs. A gives r numbers, so A has r rows.

# %% tags=["check:lora_init"]
lora_init = check("lora_init", lora_init)

# %% [markdown]
# Your two functions make the class: this *is* LoRA.

# %%
class LoRALinear(nn.Module):
    """h = W₀ x + (α/r) · B A x"""

    def __init__(self, base, r, alpha):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scaling = alpha / r
        self.lora_A, self.lora_B = lora_init(base.out_features, base.in_features, r)

    forward = lora_forward  # your function becomes the method


def with_lora(linear):
    return LoRALinear(linear, r=8, alpha=16)


rows = []
for name, parameter in with_lora(nn.Linear(512, 192)).named_parameters():
    rows.append([name, str(list(parameter.shape)), "trained" if parameter.requires_grad else "frozen"])
show.table(rows, ["parameter", "shape", "is"])

# %% [markdown] tags=["minutes:9"]
# ## 5. Your turn: into a model
#
# Our model is a small Llama: 28 linear layers in four [blocks](../course/glossary.md#block), and a [head](../course/glossary.md#head) `lm_head` that scores the next token. The head
# shares its weight with the [embeddings](../course/glossary.md#embeddings), so it stays as it is. Every other `nn.Linear` gets a wrapper: `wrap(linear)`
# makes it, `model.set_submodule(name, layer)` puts it in place.

# %% tags=["turn:lora_inject", "slide"]
def lora_inject(model, wrap):  # -> the same model, in which only what the wrappers add can train
    #> freeze everything, then replace every nn.Linear but lm_head by wrap(it)
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            model.set_submodule(name, wrap(module))
    return model
    #<

# %% [markdown] tags=["hint:lora_inject"]
# **A first hint.** Three steps: `model.requires_grad_(False)`; a loop over `list(model.named_modules())`, which gives
# names such as `model.layers.0.self_attn.q_proj` with their modules; in it, the replacement.
#
# **Help, nothing trains.** Freeze first and wrap then. The other way round, the new A and B are frozen too.
#
# **Why a list?** You change the model while you walk through it. A list is made before the first change.

# %% tags=["check:lora_inject"]
lora_inject = check("lora_inject", lora_inject)

# %%
base, tokenizer = models.load_embedded()
task = data.tasks.cipher(words=12, seed=0)
encoded = [data.batches.encode_example(tokenizer, e.prompt, e.answer) for e in task.train[:8]]
batch = data.batches.collate(encoded, tokenizer.pad_token_id)


def logits(model):  # the scores of the next token, [examples, tokens, vocabulary]
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits


model = lora_inject(copy.deepcopy(base), with_lora)
moved_at_step_0 = (logits(model) - logits(base)).abs().max().item()
print("28 layers now hold random numbers. Largest change of any score:", moved_at_step_0)
trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
whole = sum(p.numel() for p in base.parameters())
print(f"LoRA trains {trained:,} numbers, full fine-tuning {whole:,}: {trained / whole:.1%}")

# %% [markdown] tags=["minutes:4"]
# ## 6. Is it the same LoRA that everybody uses?
#
# PEFT knows nothing of your code. Both get the same layer and the same A and B, none of them zero.

# %% tags=["nbval-ignore-output"]
import peft

linear = base.model.layers[0].mlp.down_proj
ours = with_lora(copy.deepcopy(linear))
config = peft.LoraConfig(r=8, lora_alpha=16, target_modules=["0"])  # "0": its name in nn.Sequential
theirs = peft.inject_adapter_in_model(config, nn.Sequential(copy.deepcopy(linear)))[0]
A, B = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
with torch.no_grad():
    ours.lora_A.copy_(A)
    ours.lora_B.copy_(nn.init.normal_(B))
x = torch.randn(64, linear.in_features)
h, h_of_peft = ours(x), theirs(x)
h.square().mean().backward()
h_of_peft.square().mean().backward()

# %% tags=["nbval-ignore-output"]
gaps, rows = {}, []
pairs = {"output": (h, h_of_peft), "gradient of A": (ours.lora_A.grad, A.grad),
         "gradient of B": (ours.lora_B.grad, B.grad)}
for name, (yours, peft_has) in pairs.items():
    gaps[name] = ((yours - peft_has).norm() / peft_has.norm()).item()
    rows.append([name, f"{gaps[name]:.1e}", "1e-6"])
show.table(rows, ["yours and PEFT's", "relative difference", "allowed"])

# %% [markdown] tags=["minutes:9"]
# ## 7. Does it learn?
#
# The task is a secret code over twelve words: each stands for another. An answer counts if all five words are right.
# The opponent is full fine-tuning: same examples, same 150 steps, every weight trains. To be fair, each has its own
# learning rate: the one with the least loss on *validation* lists. Scores are on *[held-out](../course/glossary.md#held-out)* lists, which chose nothing.
# The runs were recorded.
#
# The loss is in *[nats](../course/glossary.md#nats) a token*: −ln of the probability of the right token. 0.7 is about one in two, 0.04 is 96 %.

# %% tags=["nbval-ignore-output"]
record = records.load("from_scratch")
shown = task.heldout[:2]
answers = train.answer(base, tokenizer, shown, max_new_tokens=40)
show.table([[e.prompt, a, e.answer] for e, a in zip(shown, answers)], ["we write", "the base answers", "we want"])
rows = []
for run in ("full", "LoRA"):
    for row in record["rows"]:  # in the order of their rates
        if row["run"] == run and row["seed"] == 0:
            rows.append([run, f"{row['lr']:g}", f"{row['valid_loss']:.3f}"])
show.table(rows, ["what trains", "learning rate", "loss on validation, nats a token"])

# %% [markdown]
# LoRA's best rate is five times full fine-tuning's.
#
# **Guess:** LoRA trains about 6 % of the numbers. If full fine-tuning's score counts as 100, what does LoRA reach?

# %% tags=["guess:reached", "slide"]
reached = 60  #? LoRA's score, if full fine-tuning's counts as 100
# | 50: "so few numbers must cost half": but a thin update still changes every weight of every layer
# | 100: "LoRA is as good": on tasks that are easy for both, yes; here it falls a little short

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(reached=reached)
_ = torch.manual_seed(0)  # what follows trains: most of the lesson's minute
mine = lora_inject(copy.deepcopy(base), with_lora)
train.finetune(mine, tokenizer, task, "lora", lr=record["chosen"]["LoRA"], steps=150, batch_size=8, seed=0)
yours = task.score(task.heldout, train.answer(mine, tokenizer, task.heldout, max_new_tokens=40))["exact"]
scores = records.scores_by_run(record)  # run -> the score of each seed, at the run's chosen rate
too_slow = records.scores_by_run(record, lr=record["chosen"]["full"])["LoRA"]
mean = {run: sum(each) / len(each) for run, each in scores.items()}
guessed.against(reached=100 * mean["LoRA"] / mean["full"])
rows = [["your LoRA, just now", f"{yours:.1%}"]]
for name, seeds in {"full": scores["full"], "LoRA": scores["LoRA"], "LoRA at full's rate": too_slow}.items():
    rows.append([f"{name}, recorded, seeds 0 to 2", ", ".join(f"{score:.1%}" for score in seeds)])
show.table(rows, ["what trained", "held-out lists right"])

# %% [markdown]
# A seed is another code, another start, another order of examples. One code was hardly learned by either, so compare
# seed by seed: LoRA falls short each time.
#
# **The last row is the trap.** At full fine-tuning's best rate LoRA looks unable to learn. Nothing is broken: the rate
# is.

# %% [markdown] tags=["minutes:10", "slide"]
# ## 8. Was it luck?
#
# Three controls, three seeds each:
#
# - **answers shuffled**: trained on each other's answers.
# - **random direction**: in every layer a random B A of the rank *and the norm* that training found.
# - **wrong block**: the learned updates, each one block further on.
#
# And two rivals:
#
# - **one dense place**: as many trained numbers, all in two whole matrices of the last block.
# - **full, cut to rank 8**: what full fine-tuning changed in each matrix, cut by the SVD of lesson 01.
#
# **Guess:** if full fine-tuning's score counts as 100, what is left after the cut?

# %% tags=["guess:cut", "slide"]
cut = 80  #? score after the cut to rank 8, if full fine-tuning's counts as 100
# | 90: "LoRA learns at rank 8, so full fine-tuning's change must fit into rank 8": it need not be the same change
# | 30: "8 of 192 directions are next to nothing": but the strongest eight carry far more than their share

# %% tags=["reveal", "slide"]
guessed = guesses(cut=cut)
guessed.against(cut=100 * mean["full, cut to rank 8"] / mean["full"])
order = ("LoRA, answers shuffled", "random direction", "wrong block", "one dense place", "full, cut to rank 8")
panel = {run: scores[run] for run in order}
panel.update({"full fine-tuning": scores["full"], "LoRA": scores["LoRA"]})
show.runs(panel, point="LoRA", xlabel="held-out lists right")
rows = []
for row in record["rows"]:
    if row["run"] == "full" and row["seed"] == 0:
        left = records.scores_by_run(record, lr=row["lr"])["full, cut to rank 8"][0]
        rows.append([f"{row['lr']:g}", f"{row['exact']:.0%}", f"{left:.0%}"])
show.table(rows, ["full fine-tuning's rate, seed 0", "held-out lists right", "after the cut to rank 8"])

# %% [markdown]
# Shuffled answers teach nothing. Size alone explains nothing: a random update of the same norm, or the very matrices that
# training found, one block further on, leave nothing over. One dense place has as many numbers and reaches 21 of LoRA's
# 57; because it is dense, or only in the last block? This run cannot say.
#
# At the cut: Hu et al. hypothesize (section 4.1) that the change of the weights has a low "intrinsic rank".
# What full fine-tuning *does* here has not: cut to rank 8 it loses a large part, and how large differs between seeds
# and rates. LoRA at rank 8 is far ahead of the cut with one seed and level with another: three runs do
# not settle it. It is no copy of full fine-tuning: it is enough that *some* good answer of low rank exists.
#
# <details><summary>What was found on large models</summary>
#
# Biderman et al. (2024, [arXiv 2405.09673](https://arxiv.org/abs/2405.09673), abstract) compare LoRA and full
# fine-tuning on programming and mathematics. In continued pretraining on code, full fine-tuning's change has "a rank that is 10-100X greater than
# typical LoRA configurations". They see in it a possible reason why LoRA learned less in their runs.
#
# In lesson 01 the cut keeps another part: what fits into rank 8 is a property of a *run*.
#
# </details>

# %% tags=["assert", "nbval-ignore-output"]
assert round(CUSTOMERS * 2 * full / 1e12, 1) == 1.6 and added < full / 100
assert moved_at_step_0 == 0, "step 0 is the base, to the bit"
assert r == 2048 and good == 2 and starts[True, False][:2] == [0, 0] and starts[False, False] == [0, 0, 0]
assert max(gaps.values()) < 1e-6, "the same layer as PEFT's"
assert record["chosen"]["LoRA"] == 5 * record["chosen"]["full"]
assert max(too_slow) < 0.01 and sorted(scores["LoRA"])[1] > 0.7, "the rate decides whether LoRA learns"
records.repeats(yours, scores["LoRA"][0], within=0.2)
assert max(mean[run] for run in ("LoRA, answers shuffled", "random direction", "wrong block")) < 0.1
assert mean["LoRA"] > max(mean["full, cut to rank 8"], mean["one dense place"]) + 0.1
for of_lora, of_full in zip(scores["LoRA"], scores["full"], strict=True):
    assert 0.7 * of_full <= of_lora <= of_full

# %% tags=["nbval-ignore-output"]
results("03")

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# - **Bytes.** For many variants of one base, store adapters: r · Σ (d_in + d_out) numbers each.
# - **Start.** If a home-made layer moves the model at step 0, or nothing trains, look at A and B first.
# - **Rate.** At full fine-tuning's, LoRA learned nothing. Begin at five times it, this lesson's ratio (others report ten,
#   lesson 04), and bracket on validation, by factors of two.
# - **Method.** Here, in 150 steps, LoRA came to 86 of 100. Thinking Machines
#   ([2025](https://thinkingmachines.ai/blog/lora/)) report a match on larger models, Biderman et al. do not. Measure both.
#
# ## What was not shown
#
# One small model, one task, one rank, 150 steps; rates chosen with one seed, by factors of two.
#
# ## What to try
#
# - Start with A zero and B random. Does it learn as well?
# - Wrap only `q_proj` and `v_proj`.
#
# ## Three questions
#
# <details><summary>Why may A and B not both start at zero?</summary>
#
# Each factor's gradient is multiplied by the other factor. With both at zero, both gradients are zero, at every step.
#
# </details>
# <details><summary>A colleague's LoRA learns nothing at the rate that worked for full fine-tuning. What do you
# say first?</summary>
#
# Try several times that rate. Section 7 had just this case: at full fine-tuning's rate no seed learned, at five times
# that rate two of three did.
#
# </details>
# <details><summary>Full fine-tuning's change is not of low rank. Why can LoRA work all the same?</summary>
#
# Full fine-tuning was free to use all directions and did. That does not mean that it had to. LoRA asks for one good
# answer among those of low rank, and searches only there.
#
# </details>
#
# ## Next
#
# Rank 8, α = 16 and the rate were given. Lesson 04 asks where they come from.
