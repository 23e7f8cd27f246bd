# %% [markdown] tags=["slide"]
# # Number formats
#
# Eight billion weights take **32 GB** in FP32, and 2.5 GB at two bits and a scale. How far down can you go, and what does
# each step cost?
#
# At the end you have decoded the common formats, know what each cannot hold and what one [outlier](../course/glossary.md#outlier) costs, and
# have measured what rounding takes from a model.
#
# | computing, 2 CPU cores | for you | memory | builds on |
# |---|---|---|---|
# | about a minute; no GPU is used | 62 minutes | about 1 GB | [06](06_will_it_fit.ipynb) |

# %% [markdown] tags=["minutes:5"]
# ## 1. A weight is a row of bits
#
# 0.1 in seven formats. FP32 is `torch.float32`, [BF16](../course/glossary.md#bf16) `torch.bfloat16`; E5M2 and E4M3 are the two kinds of [FP8](../course/glossary.md#fp8).

# %% tags=["slide"]
import copy
import random

import torch
from torch import nn
from torch.nn.utils import parametrize

from lora_lab import data, memory, models, records, show, train
from lora_lab.exercises import check, guesses, results
from lora_lab.train.pretrain import packed

TENTH = {"FP32": "0 01111011 10011001100110011001101", "FP16": "0 01011 1001100110", "BF16": "0 01111011 1001101",
         "E5M2": "0 01011 10", "E4M3": "0 0011 101", "INT8": "0 0001101", "INT4": "0 001"}
show.figure(*show.bits_schematic(TENTH), caption="The integers are the nearest to 0.1 · 127 and 0.1 · 7.")
weights = memory.estimate("llama-3.1-8b", "full").trainable_params
show.table([[f"{bits} bits", f"{weights * bits / 8 / 1e9:.1f} GB"] for bits in (32, 16, 8, 4, 3, 2)],
           ["a weight of Llama-3.1-8B in", "all its weights"], "Codes only: the scales of section 4 add half a bit a weight.")

# %% [markdown] tags=["minutes:13"]
# ## 2. Your turn: what the bits say
#
# A float is a number in scientific notation, to base 2. Read the **[exponent](../course/glossary.md#exponent)** bits as a whole number e, and the
# **[mantissa](../course/glossary.md#mantissa)** bits as a whole number divided by 2^m, where m is how many they are: a fraction f from 0 to just below 1.
#
# $$\text{value} = (-1)^{\text{sign}} \cdot (1 + f) \cdot 2^{\,e - \text{bias}}
# \qquad \text{bias} = 2^{\,\text{exponent bits} - 1} - 1$$
#
# The 1 is not stored: to base 2 every number begins with it. But then there is no zero. So where e = 0,
# the 1 is left out, and the exponent is that of e = 1. Such numbers are **[subnormal](../course/glossary.md#subnormal)**:
#
# $$\text{value} = (-1)^{\text{sign}} \cdot f \cdot 2^{\,1 - \text{bias}}$$
#
# In: `bits`, a string of 0 and 1, and how many of them are exponent and mantissa. Out: the number. For
# `("00111100", 5, 2)` it is 1.0. The largest e is kept for infinity and "not a number" (NaN); you need not treat it.
# (`int("101", 2)` is 5.)

# %% tags=["turn:decode", "slide"]
def decode(bits, exponent_bits, mantissa_bits):
    #> the number that the bits stand for
    sign = -1 if bits[0] == "1" else 1
    e = int(bits[1 : 1 + exponent_bits], 2)
    f = int(bits[1 + exponent_bits :], 2) / 2**mantissa_bits
    bias = 2 ** (exponent_bits - 1) - 1
    if e == 0:
        return sign * f * 2.0 ** (1 - bias)
    return sign * (1 + f) * 2.0 ** (e - bias)
    #<

# %% [markdown] tags=["hint:decode"]
# **A first hint.** Cut the string: `bits[0]`, then `bits[1 : 1 + exponent_bits]`, then the rest. `int(part, 2)` reads a
# part as a whole number.
#
# **A second hint.** By hand, `01000110` with 5 and 2: e is 10001 = 17, f is 10 = 2/4, the bias 15: 1.5 · 2² = 6.
#
# **Help, I get a string error.** `int("", 2)` fails: did you cut at the right places?

# %% tags=["check:decode"]
decode = check("decode", decode)

# %%
SIZES = {"FP32": (8, 23), "FP16": (5, 10), "BF16": (8, 7), "E5M2": (5, 2), "E4M3": (4, 3)}
rows, ones = [], {}
for name, (e, m) in SIZES.items():
    one = "00" + "1" * (e - 1) + "0" * m
    smallest = "0" * (e + m) + "1"
    largest = "0" + "1" * (e - 1) + "0" + "1" * m
    if name == "E4M3":
        largest = "01111110"  # only 1111 111 is taken, by NaN
    ones[name] = decode(one[:-1] + "1", e, m) - decode(one, e, m)
    tenth = decode(TENTH[name].replace(" ", ""), e, m)
    rows.append([name, f"{tenth:.8f}", f"{decode(largest, e, m):.5g}", f"{decode(smallest, e, m):.2g}", f"{ones[name]:.2g}"])
show.table(rows, ["", "its 0.1", "largest number", "smallest above 0", "from 1 to the next number"])

# %% [markdown]
# E4M3 reaches further: its "dynamic range is extended by not representing infinities and having only one mantissa bit-pattern for NaNs" (Micikevicius et al., 2022,
# [abstract](https://huggingface.co/papers/2209.05433)).
#
# **Exponent bits buy range, mantissa bits buy nearness.** BF16 is FP32 rounded to 7 mantissa bits: all its range (but
# the last subnormals), an eighth of [FP16](../course/glossary.md#fp16)'s nearness.

# %% [markdown] tags=["minutes:8"]
# ## 3. Where the numbers stand
#
# **Guess:** 1, plus 0.001 a thousand times, each sum rounded: what is it?

# %% tags=["guess:sum_bf16", "slide"]
sum_bf16 = 1.95  #? the sum in BF16 | 2: rounding errors should go up as often as down, and cancel; these all go the same way | 1.99: BF16 is coarse by less than a percent, so the sum seems to be, too

# %% tags=["slide"]
guessed = guesses(sum_bf16=sum_bf16)
rows, sums = [], {}
for name, dtype in {"FP32": torch.float32, "FP16": torch.float16, "BF16": torch.bfloat16}.items():
    total = torch.tensor(1.0, dtype=dtype)
    for _ in range(1000):
        total += 0.001
    sums[name] = float(total)
    rows.append([name, f"{float(total):.4f}", f"{ones[name]:.2g}"])
guessed.against(sum_bf16=sums["BF16"])
show.table(rows, ["", "1 + 0.001 + … + 0.001", "from 1 to the next number"])

# %% [markdown]
# 0.001 is less than half a step, so every addition is rounded away. An optimizer's update is such an addition: so
# mixed precision keeps weights in FP32 (lesson 06).
#
# All 8-bit numbers, by your function:

# %% tags=["slide"]
eight = {}
for name in ("E4M3", "E5M2"):
    e, m = SIZES[name]
    codes = [f"{code:08b}" for code in range(128)]  # the positive half: 00000000 to 01111111
    usable = [bits for bits in codes if bits[1 : 1 + e] != "1" * e or (name == "E4M3" and bits != "01111111")]
    eight[name] = [decode(bits, e, m) for bits in usable]
eight["INT8"] = list(range(1, 128))
show.figure(*show.number_lines(eight, -17, 16), caption="Each doubling is as wide as the next. Left of a row of even "
            "doublings stand the subnormals.")

# %% [markdown] tags=["minutes:10"]
# ## 4. Your turn: whole numbers in blocks
#
# Whole numbers of 8 bits stand evenly, and hold neither 0.02 nor 300. So they come with a **scale**, one float for a **block** of
# weights. It makes the block's largest magnitude, its **[absmax](../course/glossary.md#absmax)**, the largest whole number: 7 of [INT4](../course/glossary.md#int4) (its −8 stays unused, to be symmetric).
#
# $$\text{scale} = \frac{\max|w|}{2^{\,\text{bits}-1} - 1} \qquad \text{code} = \text{round}\!\left(\frac{w}{\text{scale}}\right)
# \qquad \hat w = \text{code} \cdot \text{scale}$$
#
# In: `w`, [blocks, size], no block all zero. Out: codes and restored weights, both [blocks, size]. For
# `torch.tensor([[0.7, -0.19]])` at 4 bits: codes 7 and −2, restored 0.7 and −0.2.

# %% tags=["turn:round_blocks", "slide"]
def round_blocks(w, bits):
    #> one scale for each block; codes; restored weights
    most = 2 ** (bits - 1) - 1
    scale = w.abs().amax(dim=1, keepdim=True) / most
    codes = (w / scale).round()
    return codes, codes * scale
    #<

# %% [markdown] tags=["hint:round_blocks"]
# **A first hint.** `w.abs().amax(dim=1, keepdim=True)` has one number for each row, as a column [blocks, 1], so that `w /
# scale` divides each row by its own.
#
# **Help, it says "one scale for all".** Without `dim=1` there is one absmax for all blocks.

# %% tags=["check:round_blocks"]
round_blocks = check("round_blocks", round_blocks)

# %% [markdown] tags=["minutes:9"]
# ## 5. One outlier
#
# Blocks of 64 normal weights of standard deviation σ, one of them set to 20 σ. **Guess:** how many
# percent of the other 63 does INT4 now restore as zero?

# %% tags=["guess:zeroed", "slide"]
zeroed = 25  #? % of the other 63 weights that become zero | 2: one weight of 64 is under 2 %, but its absmax sets the scale of all | 15: as before the outlier; but one step is now 2.9 σ

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(zeroed=zeroed)
w = torch.randn(4096, 64, generator=torch.manual_seed(0))
rows, zero, error = [], {}, {}
for outlier in (False, True):
    if outlier:
        w[:, 0] = 20
    for bits in (4, 8):
        codes, restored = round_blocks(w, bits)
        others = codes[:, 1:]
        zero[bits, outlier] = float((others == 0).float().mean())
        error[bits, outlier] = float((restored - w)[:, 1:].square().mean())
        said = "one of 20 σ" if outlier else "none"
        rows.append([f"INT{bits}, outlier: {said}", f"{zero[bits, outlier]:.1%}", f"{error[bits, outlier]:.3%}"])
guessed.against(zeroed=100 * zero[4, True])
show.table(rows, ["the 63 others", "restored as zero", "mean squared error, of σ²"])

# %% tags=["nbval-ignore-output"]
show.figure(*show.quantizer("INT4", sigma=1, block_size=64, outlier=20))
show.quantizer_explorer(books=("INT4", "INT8"), block_size=64, outlier=20)

# %% [markdown]
# Above, a block's weights over the levels' bins; below, how many go to each. Move the
# levers: what does a farther outlier do to the others? And what do shorter blocks change for all 4,096 weights?
#
# <details><summary>What you found</summary>
#
# The farther the outlier, the more of its block becomes zero. The harm stays in that block: that is why blocks are short.
# Eight bits have room for an outlier, four do not.
#
# </details>
#
# <details><summary>Where outliers of this kind are found</summary>
#
# Less in weights than in activations, the numbers between the layers. Dettmers et al. (2022, LLM.int8(), [arXiv
# 2208.07339](https://arxiv.org/abs/2208.07339), abstract) report "highly systematic emergent features in transformer
# language models",
# and multiply their dimensions in 16 bits, "while still more than 99.9% of values are multiplied in 8-bit".
#
# </details>

# %% [markdown] tags=["minutes:5"]
# ## 6. Round a model
#
# **[Post-training quantization](../course/glossary.md#ptq)** (PTQ): train in floats, then round. Here: our small model's 28 matrices, in blocks
# of 64. It knows 320 facts about 64 people.

# %% tags=["nbval-ignore-output"]
base, tokenizer = models.load_embedded()
world = data.world.World.generate(seed=0, people=64)


def rounded(weight, bits):
    return round_blocks(weight.reshape(-1, 64), bits)[1].reshape(weight.shape)


def matrices(model):
    return [layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and name != "lm_head"]


def round_model(model, bits):
    for layer in matrices(model):
        layer.weight.data = rounded(layer.weight.data, bits)
    return model

# %% tags=["nbval-ignore-output"]
knows, heldout, rows = {}, {}, []
for bits in (32, 8, 4, 3):
    model = copy.deepcopy(base)
    knows[bits] = train.recall(model if bits == 32 else round_model(model, bits), tokenizer, world)
    heldout[bits] = records.tried("rounding", bits=bits)[0]["heldout"]
    rows.append([str(bits), f"{knows[bits]:.1%}", f"{heldout[bits]:.4f}", f"{heldout[bits] / heldout[32] - 1:+.1%}"])
show.table(rows, ["bits of a weight", "facts completed exactly", "loss on other text", "against 32 bits"],
           "Loss in nats a token, recorded, on text like that of pretraining.")

# %% [markdown]
# At three bits every fact is complete, but on other text the loss is 2.5 % higher (four bits: 0.4 %). What it
# knows best is the last to show damage. And one bit less?

# %% tags=["guess:two_bits", "slide"]
two_bits = 80  #? % of the facts that it still completes at 2 bits | 95: three bits kept every fact, so two should keep most; but 7 levels become 3 | 50: half the bits of four, so half the facts

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(two_bits=two_bits)
knows[2] = train.recall(round_model(copy.deepcopy(base), 2), tokenizer, world)
guessed.against(two_bits=100 * knows[2])

# %% [markdown]
# Of seven levels three are left: −scale, 0, scale.

# %% [markdown] tags=["minutes:12"]
# ## 7. Your turn: a gradient for rounding
#
# **[Quantization-aware training](../course/glossary.md#qat)** (QAT) rounds in every forward pass *during* training: the loss is that of the rounded
# model. But the slope of rounding is zero almost everywhere, so no gradient reaches the float weights behind it.
#
# The **[straight-through](../course/glossary.md#straight-through) estimator** cheats: forward, the rounded values; backward, the gradient passes as if nothing had
# been rounded. (Named by Bengio et al., [2013](https://arxiv.org/abs/1308.3432), abstract, for neurons that fire or not.)
#
# In: `w`, and `rounded`, computed from it. Out: a tensor with the values of `rounded` whose gradient arrives
# at w times 1. (No gradient passes `t.detach()`.)

# %% tags=["turn:straight_through", "slide"]
def straight_through(w, rounded):
    #> one line
    return w + (rounded - w).detach()
    #<

# %% [markdown] tags=["hint:straight_through"]
# **A first hint.** `rounded` is w plus a difference. Which of the two parts may the gradient see?
#
# **Help, no gradient passes.** `rounded.detach()` alone has the right values, and no path back to w at all.

# %% tags=["check:straight_through"]
straight_through = check("straight_through", straight_through)

# %%
class Rounding(nn.Module):
    def forward(self, weight):
        return straight_through(weight, rounded(weight, bits=2))


def text(seed):  # without an end: what the model was pretrained on
    rng = random.Random(seed)
    while True:
        yield packed(world, tokenizer, rng, data.corpus.LATE, rows=4, length=256)

# %% [markdown]
# `parametrize` puts `Rounding` between each weight and its use. 60 steps on text like that of pretraining, at the best
# rate on validation text. Three controls: **trained, then rounded**, the same steps in floats at their own best rate;
# **without straight-through**; and **on other people**, text about 64 people who are not asked for. All are recorded; seed 0 runs now.

# %% tags=["guess:repaired", "slide"]
repaired = 10  #? % of the facts at 2 bits after 60 steps of training through the rounding | 100: the training has the rounding in its loss, so it seems to undo all of it; 60 steps are short | 1: the gradient is a made-up one, so it seems to lead nowhere | 10: so rough a gradient seems to repair little; it repairs what the text shows

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(repaired=repaired)
best = records.chosen("rounding", run="trained through rounding", steps=60)
model = copy.deepcopy(base).requires_grad_(False)
for layer in matrices(model):
    layer.weight.requires_grad_(True)
    parametrize.register_parametrization(layer, "weight", Rounding())
optimizer = train.optimizers.adamw(best[0]["lr"])
train.loop.run(model, text("rounding 0"), train.losses.every_token, steps=60, optimizer=optimizer, seed=0)
live = train.recall(model, tokenizer, world)
seeds = [row["recall"] for row in best]
guessed.against(repaired=100 * sum(seeds) / len(seeds))

# %% tags=["reveal", "nbval-ignore-output", "slide"]
(two,), panel = records.tried("rounding", bits=2), {"rounded, not trained": [knows[2]]}
rows = [["rounded, not trained", f"{two['heldout']:.2f}", f"{knows[2]:.0%}"]]
controls = "trained, then rounded", "without straight-through", "text about other people"
for name in (*controls, "trained through rounding"):
    runs = records.chosen("rounding", run=name, steps=60)
    panel[name] = [row["recall"] for row in runs]
    rows.append([name, f"{sum(row['heldout'] for row in runs) / 3:.2f}", f"{sum(panel[name]) / 3:.0%}"])
longer = records.tried("rounding", run="trained through rounding", steps=240)
panel["four times the steps"] = [row["recall"] for row in longer]
title = f"{sum(seeds) / 3:.0%} of the facts come back, if the text shows them"
show.runs(panel, point="trained through rounding", title=title, xlabel="facts completed exactly at two bits")
show.table(rows, ["at two bits", "loss on other text", "facts"], "Means of three seeds, recorded.")
print(f"Just now, seed 0: {live:.1%}. Recorded, seed 0: {seeds[0]:.1%}.")

# %% [markdown]
# Training through the rounding brings the loss from 5.19 to 1.04, on text about *other* people to 1.14. But of
# the facts, 43 % come back where the text repeats them, 7 % where it does not. **It repairs what your training text
# shows** (89 % after four times the steps).
#
# Nor did more training do it: the same steps in floats, then rounded, leave next to nothing. Without straight-through, at
# the same rate, only a block's largest weight is moved, by way of the scale: nothing comes back.
#
# **The price:** every weight trains in floats: the memory of full fine-tuning (lesson 06). QLoRA goes the other way. It
# rounds once, at 4 bits, freezes the result, and trains a LoRA beside it.

# %% tags=["assert", "nbval-ignore-output"]
assert f"{weights * 4 / 1e9:.0f}" == "32" and sums["BF16"] == 1 and sums["FP32"] > 1.999
assert zero[4, True] > 0.8 > 0.2 > zero[4, False] and error[8, True] < error[4, False]
assert f"{weights * (2 + 32 / 64) / 8 / 1e9:.1f}" == "2.5" and heldout[3] > 1.02 * heldout[32] > 1.01 * heldout[4]
assert min(knows[bits] for bits in (8, 4, 3)) > 0.98 and knows[2] < 0.05, "the cliff is between three bits and two"
records.repeats(live, seeds[0], within=0.15)
assert min(seeds) > 0.3 > 0.1 > max(sum(panel[name]) / 3 for name in controls)

# %% tags=["nbval-ignore-output"]
results("08")

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# - **16 bits.** BF16 where range matters and something in FP32 keeps the sum; FP16 ends at 65,504. On a T4 or V100 you
#   have FP16: scale the loss up (`torch.amp.GradScaler`), so that small gradients stay above 6e-8; it skips a step that turns
#   infinite.
# - **8 bits, whole numbers in short blocks:** rounding is enough.
# - **4 bits:** here, too. **3 bits:** the facts yes, the loss no. Measure on your task.
# - **2 bits:** train through the rounding, on text that covers what the model must keep. NVIDIA gives
#   [the same order](https://developer.nvidia.com/blog/how-quantization-aware-training-enables-low-precision-accuracy-recovery/): first PTQ, and QAT if it falls short.
#
# ## What was not shown
#
# - One small model that knows its small world very well. Rates were chosen with one seed; the longer run has no control.
# - Only weights were rounded, to the nearest code. GPTQ chooses better codes without training.
# - The scales' bytes (lesson 10).
#
# ## What to try
#
# - Let `Rounding` use 3 bits: what is left to repair?
# - Blocks of 32 at two bits: does the untrained model know more?
#
# ## Three questions
#
# 1. Your loss in FP16 turns to infinity at step 300. BF16 has fewer mantissa bits. Why may it help?
#
# <details><summary>Answer</summary>FP16 ends at 65,504, because it has five exponent bits. BF16 has eight, like FP32, and ends at
# 3.4e38. It pays in nearness: after 1 comes 1.0078, in FP16 1.00098.</details>
#
# 2. One weight in a tensor is 20 times the standard deviation. What does INT4 do with one scale for the whole tensor,
#    and with blocks of 64?
#
# <details><summary>Answer</summary>The step becomes 20/7 = 2.9 σ, so that all below 1.4 σ, 85 % of the rest, become zero: with
# one scale 85 % of the tensor, with blocks 85 % of 63 weights.</details>
#
# 3. A colleague trains in floats "a little longer, so that the weights settle", and then rounds to two bits. What do you
#    expect?
#
# <details><summary>Answer</summary>Nothing gained: in floats no weight has a reason to move towards a level. Our control did
# it for 60 steps and completed 1 % of the facts. The rounding must be in the forward pass, with a gradient that passes
# it.</details>
#
# ## Next
#
# [09_build_nf4](09_build_nf4.ipynb): where should sixteen levels stand?
