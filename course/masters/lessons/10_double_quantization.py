# %% [markdown] tags=["slide"]
# # Double quantization
#
# Load Llama-2-70B in four bits, and **4.28 GB** of what lies on the card are no weights. They are constants, one for each
# block of 64 weights. You will write the step that makes them smaller, measure what it costs, and see what a *paged*
# optimizer does.
#
# | computing, 2 CPU cores | for you | memory | builds on |
# |---|---|---|---|
# | under a minute; no GPU is used | 55 minutes | about 1 GB | [09](09_build_nf4.ipynb) |

# %% [markdown] tags=["minutes:10"]
# ## 1. Bytes that are no weights
#
# In lesson 09 a block of 64 weights was divided by its largest magnitude and rounded to sixteen levels. What has to be
# stored is the upper floor of this picture. *Double quantization* adds the lower one: it treats the constants as if they
# were weights.

# %% tags=["slide"]
import copy
import os
import random
import statistics
import tempfile

import torch
from lora_lab import data, memory, models, quant, records, show
from lora_lab.exercises import check, guesses, results

show.figure(*show.double_quantization_schematic(block=64, group=256))

# %% [markdown]
# **Your turn:** how many *[bits per parameter](../course/glossary.md#bits-per-parameter)* is that: all bits stored, over the number of weights? A code has 4 bits, a float32 constant
# 32. `group` is None without the lower floor. Leave the one mean out. For `(32, None)` the answer is 5.

# %% tags=["turn:bits_per_parameter", "slide"]
def bits_per_parameter(block, group):
    #> the code, and each weight's share of the constants: without groups, and with them
    if group is None:
        return 4 + 32 / block
    return 4 + 8 / block + 32 / (block * group)
    #<

# %% [markdown] tags=["hint:bits_per_parameter"]
# **A first hint.** A block's constant serves `block` weights, so each weight pays for 1/block of it.
#
# **With groups.** The constant now has 8 bits. The constant of the constants has 32, and serves block · group weights.

# %% tags=["check:bits_per_parameter"]
bits_per_parameter = check("bits_per_parameter", bits_per_parameter)

# %% [markdown]
# **Guess:** 4.28 GB of constants. How many are left on Llama-2-70B, in blocks of 64 and groups of 256?

# %% tags=["guess:constants_left", "slide"]
constants_left = 2  #? GB of constants are left of 4.28
# | 0.53: an eighth: from 32 bits to 4, but constants get 8 bits
# | 2.14: half: from 32 bits to 16, but constants get 8

# %% tags=["slide"]
guessed = guesses(constants_left=constants_left)
rows, left = [], {}
for name in ("llama-2-7b", "llama-3.1-8b", "llama-2-70b"):
    plain, double = (memory.quantized_weights(memory.load_config(name), double_quant=each) for each in (False, True))
    left[name] = plain.constants / 1e9, double.constants / 1e9
    four_bits, dense = 2 * double.packed / 1e9, double.dense / 2e9  # billions of weights: two in a byte, two bytes each
    rows.append([name, f"{four_bits + dense:.2f}", f"{dense:.2f}", *(f"{size:.2f} GB" for size in left[name])])
for billions in (70, 65):
    left[billions] = [billions * (bits_per_parameter(64, group) - 4) / 8 for group in (None, 256)]
    rows.append([f"all of {billions} billion", str(billions), "0", *(f"{size:.2f} GB" for size in left[billions])])
show.table(rows, ["", "weights, billions", "of them dense", "plain constants", "quantized"])
guessed.against(constants_left=left["llama-2-70b"][1])

# %% [markdown]
# 0.5 bits per weight become 0.127. "70B" is 68.98 billion, of which embeddings and head, 0.53, stay dense. The QLoRA paper
# ([section 1](https://arxiv.org/abs/2305.14314)) says "approximately 3 GB for a 65B model"; the last row's difference is that.

# %% [markdown] tags=["minutes:15"]
# ## 2. Your turn: quantize the constants
#
# Let $c$ be the constants of a matrix and $\mu$ their mean. For each group of 256, with $q$ the levels of an 8-bit map:
#
# $$t=\max|c-\mu|,\qquad k=\text{number of the level nearest to } \frac{c-\mu}{t},\qquad c\approx t\,q_k+\mu$$
#
# In: `absmax` [n], n a multiple of 256; `levels` [up to 256], from −1 to 1. Out: the codes k, uint8 [n]; the scales t,
# [n / 256]; μ.

# %% tags=["turn:double_quantize", "slide"]
def double_quantize(absmax, levels):  # -> codes uint8 [n], scale [n / 256], mean
    #> subtract the mean; one scale for each 256; the nearest level's number
    mean = absmax.mean()
    groups = (absmax - mean).view(-1, 256)  # [n / 256, 256]
    scale = groups.abs().amax(dim=1)
    scaled = groups / scale[:, None]
    codes = (scaled[:, :, None] - levels).abs().argmin(dim=-1)
    return codes.flatten().to(torch.uint8), scale, mean
    #<

# %% [markdown] tags=["hint:double_quantize"]
# **A first hint.** `.view(-1, 256)` puts each group into a row. `.amax(dim=1)` takes the largest of each row.
#
# **The nearest level.** `scaled[:, :, None] - levels` holds the distance of every constant to every level. `.argmin(dim=-1)`
# of its magnitude is the number of the nearest.
#
# **Help, the shapes do not fit.** To divide each row by its own number, write `scale[:, None]`.

# %% tags=["check:double_quantize"]
double_quantize = check("double_quantize", double_quantize)

# %% [markdown]
# And back: c ≈ t · q[k] + μ, float32 [n].

# %% tags=["turn:restore_constants"]
def restore_constants(codes, scale, mean, levels):
    #> the level of each code, times the scale of its group, plus the mean
    return levels[codes.int()] * scale.repeat_interleave(256) + mean
    #<

# %% [markdown] tags=["hint:restore_constants"]
# **A first hint.** `scale.repeat_interleave(256)` writes each scale 256 times in a row.
#
# **Help, the index is strange.** torch reads uint8 in brackets as a mask. `levels[codes.int()]` looks levels up.

# %% tags=["check:restore_constants"]
restore_constants = check("restore_constants", restore_constants)

# %% [markdown]
# bitsandbytes does the same step inside `quantize_4bit`. Does it get the same?

# %% tags=["nbval-ignore-output"]
from bitsandbytes.functional import quantize_4bit

model, tokenizer = models.load_embedded()
weight = model.model.layers[0].mlp.down_proj.weight.detach()
absmax, dynamic = quant.quantize(weight).absmax, quant.DYNAMIC8.values
codes, scale, mean = double_quantize(absmax, dynamic)
_, theirs = quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
their_codes = theirs.absmax.flatten()
rows = [["mean", f"{mean:.7f}", f"{theirs.offset:.7f}"]]
rows.append(["first scale", f"{scale[0]:.7f}", f"{theirs.state2.absmax[0]:.7f}"])
rows.append(["first codes", *(", ".join(map(str, each[:4].tolist())) for each in (codes, their_codes))])
show.table(rows, ["", "yours", "bitsandbytes'"])
same = int((codes == their_codes).sum())
print(f"equal: {same} of {len(codes)} codes, {int((scale == theirs.state2.absmax).sum())} of {len(scale)} scales")
stored = quant.quantize(weight, double_quant=True)

# %% [markdown]
# Why subtract the mean? A constant is a largest *magnitude*: never negative. The paper: "we subtract the mean from $c_2$"
# (their name for the constants) "before quantization to center the values around zero and make use of symmetric
# quantization" (section 3). **Guess** what that is worth.

# %% tags=["guess:uncentred", "slide"]
uncentred = 2  #? squared error of constants without subtracting the mean, divided by that with it
# | 1: "a shift changes nothing": but the scale then reaches from zero to the largest constant
# | 4: half of the levels are negative and lie idle: true, but this map is also coarsest far from zero

# %% tags=["slide"]
guessed = guesses(uncentred=uncentred)
peaks = absmax.view(-1, 256).amax(dim=1)
at = (absmax / peaks.repeat_interleave(256))[:, None] - dynamic  # without the mean
uncentred_back = dynamic[at.abs().argmin(dim=1)] * peaks.repeat_interleave(256)
back = restore_constants(codes, scale, mean, dynamic)
with_mean, without_mean = ((each - absmax).square().sum() for each in (back, uncentred_back))
guessed.against(uncentred=without_mean / with_mean)
print(f"constants from {absmax.min():.2f} to {absmax.max():.2f}, mean {mean:.2f}")

# %% [markdown] tags=["minutes:9"]
# ## 3. Which eight bits?
#
# The paper says "8-bit Floats" and does not say which. bitsandbytes uses a *[dynamic map](../course/glossary.md#dynamic-map)*, made for optimizer states: levels
# crowd around zero. Two others could serve: *INT8*, 255 even steps, and *FP8 E4M3* of lesson 08.

# %% tags=["slide"]
maps = {"dynamic": quant.DYNAMIC8.values, "INT8": quant.INT8.values, "FP8 E4M3": quant.FP8_E4M3.values}
scaled = (absmax - mean) / scale.repeat_interleave(256)
inside = [float((each.abs() < 0.1).float().mean()) for each in (scaled, *maps.values())]
title = f"Near zero: {inside[0]:.0%} of constants, {min(inside[1:]):.0%} to {max(inside[1:]):.0%} of the levels"
show.figure(*show.levels_over_constants(scaled, maps, title), caption=f"The first block's down projection: {len(scaled):,} constants.")

# %% [markdown]
# Now the cost, on the embedded base with all 28 matrices in NF4. *Loss* is what rounding adds, in thousandths of a nat (the
# unit of ln) per token. It depends on which words happened to come. The *[divergence](../course/glossary.md#divergence)* does not: how far the predictions move,
# the mean of ln p/p′ under the base's own p (Kullback and Leibler's). Eight texts that no choice was made on. The control replaces every constant by
# the mean.

# %%
def row(constants, block=64, p_max=0.9677083):  # NF4's own p_max, see lesson 09
    return records.tried("constants", constants=constants, block=block, p_max=p_max)[0]


def average(values):
    return sum(values) / len(values)


NAMES = {"float32": "float32", "dynamic8": "dynamic map", "INT8": "INT8", "FP8_E4M3": "FP8 E4M3", "one mean": "control: one for all"}
plain, rows, added = row("float32"), [], {}
for kind, name in NAMES.items():
    at = row(kind)
    added[kind] = [a - b for a, b in zip(at["test divergence"], plain["test divergence"], strict=True)]
    shift = [f"{average(added[kind]):+.3f} ({min(added[kind]):+.3f} to {max(added[kind]):+.3f})"]
    shift.append(f"{sum(each > 0 for each in added[kind])} of 8")
    errors = [f"{at[each] ** 0.5:.2%}" for each in ("error_of_constants", "error")]
    rows.append([name, *errors, f"{average(at['test']):.2f}", f"{average(at['test divergence']):.2f}", *(shift if rows else ["", ""])])
headers = ["constants in", "error of constants", "error of weights", "loss", "divergence", "more than float32", "on texts"]
show.table(rows, headers, "Errors: root of the squared error, relative. Loss and divergence: thousandths of a nat per token")

# %% [markdown]
# Four bits move the predictions by 2.0 thousandths. Eight-bit constants add 0.02 or less: a hundredth of it. The control adds
# far more, so constants do matter; their last 24 bits do not.
#
# The dynamic map adds a little on all eight texts, 0.020 on average; INT8
# on 5 of 8, 0.001. E4M3 spreads most, −0.06 to +0.08.

# %% [markdown] tags=["minutes:10"]
# ## 4. What else a bit buys
#
# Two ways to 4.13 bits: blocks of 64 with quantized constants, or blocks of 256 with plain ones. **Guess**
# the divergence of the second on a typical text (the median of eight), if that of the first counts as 100.

# %% tags=["guess:same_bits", "slide"]
same_bits = 150  #? divergence of plain blocks of 256, if double quantization in blocks of 64 counts as 100
# | 100: "equal bits are equally good": the last bits of a constant buy next to nothing, shorter blocks do
# | 170: "a longer block must hurt a lot": the block's largest weight grows only slowly with its length

# %% tags=["reveal", "slide"]
guessed = guesses(same_bits=same_bits)
curves, ratios, worse = {}, {}, []
for way, kind in {"plain constants": "float32", "quantized constants": "dynamic8"}.items():
    curves[way] = {block: (row(kind, block)["bits"], row(kind, block)["test divergence"]) for block in quant.BLOCK_SIZES}
for part in ("test divergence", "validation divergence"):
    ratios[part] = [a / b for a, b in zip(row("float32", 256)[part], row("dynamic8", 64)[part], strict=True)]
    worse.append(f"{sum(each > 1 for each in ratios[part])} of {len(ratios[part])}")
at_45 = [a / b for a, b in zip(row("dynamic8", 16)["test divergence"], plain["test divergence"], strict=True)]
title = f"At 4.5 bits quantized constants win on {sum(each < 1 for each in at_45)} of 8 texts"
show.figure(*show.cost_of_bits(curves, 4, title, "divergence, thousandths of a nat"),
            caption="Numbers are block sizes, small dots the eight texts. One tick to the right: the constants take four times the bits.")
guessed.against(same_bits=100 * statistics.median(ratios["test divergence"]))
print(f"at 4.13 bits plain blocks of 256 are worse on {worse[0]} texts, and on {worse[1]} validation texts")
print(f"at 4.5 bits, quantized blocks of 16 over plain ones of 64: typically {statistics.median(at_45):.2f}")

# %% [markdown]
# Plain blocks of 256 move the predictions more on 9 of 11 texts, typically by 15 %. The mean of these eight hides it: two texts
# go the other way. At 4.5 bits, quantized constants allow blocks of 16 where plain ones allow 64,
# and the divergence falls by a third. One base settles no single point: the grey curve has 64 above 128.
#
# One knob costs no bit: $p_{max}$ of lesson 09, how far out NF4's levels reach.

# %%
knob = [each for each in records.load("constants")["rows"] if each["constants"] == "float32" and each["block"] == 64]
picked = {"NF4's own": plain, "with least error": min(knob, key=lambda each: each["error"]),
          "the validation texts' choice": min(knob, key=lambda each: average(each["validation divergence"]))}
rows = []
for name, each in picked.items():
    moved_by = [f"{average(each[part]):.2f}" for part in ("validation divergence", "test divergence")]
    rows.append([name, f"{each['p_max']:.3f}", f"{each['error'] ** 0.5:.2%}", *moved_by])
show.table(rows, [f"of {len(knob)} p_max", "p_max", "error of weights", "divergence, 3 validation texts", "8 other texts"])

# %% [markdown]
# Chosen by error or by three texts, it gains on the eight others. But no library would read your format.

# %% [markdown] tags=["optional"]
# The tables were recorded on one core. One point again, now:

# %% tags=["optional", "nbval-ignore-output"]
from lora_lab.data import corpus
from lora_lab.train import pretrain

dice = random.Random("constants test 0")
batch = pretrain.packed(data.World.generate(), tokenizer, dice, corpus.LATE, 24, 160)
rounded = quant.quantize_model(copy.deepcopy(model), double_quant=True)
with torch.no_grad():
    there = batch["labels"][:, 1:] != -100
    before, after = (each.eval()(input_ids=batch["input_ids"]).logits[:, :-1][there].log_softmax(-1) for each in (model, rounded))
live = 1e3 * (before.exp() * (before - after)).sum(-1).mean().item()
loss = -before.gather(-1, batch["labels"][:, 1:][there][:, None]).mean()
print(f"the base's own loss here: {loss:.2f} nats, a thousand times the unit of the tables")
print(f"divergence now {live:.3f}, recorded {row('dynamic8')['test divergence'][0]:.3f}")

# %% [markdown] tags=["minutes:11"]
# ## 5. Pages
#
# QLoRA's third idea saves no byte, it moves some. AdamW keeps two numbers, m and v, for each weight that trains, touched once a
# step. When a long text fills the card, *paged* states may be pushed out to the computer's memory, page by page, and come back
# when needed.
#
# Here a file plays the computer's memory, mapped so that it reads like a tensor. A window of `room` pages plays the card. When
# it is full, the page used longest ago goes.

# %%
class PagedStates:
    def __init__(self, file, pages, numbers, room):
        self.file = torch.from_file(file, shared=True, size=pages * numbers).view(pages, 2, -1)
        self.here, self.room, self.fetched = {}, room, 0  # page -> m and v, in the order of their last use

    def evict(self):
        oldest = next(iter(self.here))
        self.file[oldest] = self.here.pop(oldest)

    def page(self, number):
        if number not in self.here:
            if len(self.here) == self.room:
                self.evict()
            self.here[number] = self.file[number].clone()
            self.fetched += 1
        self.here[number] = self.here.pop(number)  # now the last one used
        return self.here[number]

# %%
PAGES, NUMBERS = 64, 2**16  # pages of 64 Ki numbers: 16 MiB of states


def adam_step(states, weights, gradients, step):
    """A step of Adam for weights [pages, numbers of a page], page after page."""
    for number in range(PAGES):
        m, v = states.page(number)
        g = gradients[number]
        m.lerp_(g, 0.1)  # in place: m + 0.1 (g − m)
        v.lerp_(g * g, 0.001)
        weights[number] -= 1e-3 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)

# %% [markdown]
# **Guess:** the window holds 58 of the 64 pages. How many are fetched in a step?

# %% tags=["guess:fetched", "slide"]
fetched = 6  #? pages of 64 are fetched in each step, when 58 fit
# | 6: "those that are missing": but to make room for one, another goes, and that is the next one to be needed
# | 12: "six out, six in": the window is always one page behind

# %% tags=["slide"]
guessed = guesses(fetched=fetched)
gradients = torch.randn(10, PAGES, NUMBERS // 2, generator=torch.Generator().manual_seed(0))
folder, found, rows = tempfile.TemporaryDirectory(), {}, []
for room, pushed in ((64, 0), (64, 16), (64, 32), (64, 64), (58, 0)):
    states = PagedStates(os.path.join(folder.name, f"{room} {pushed}"), PAGES, NUMBERS, room)
    weights = torch.zeros(PAGES, NUMBERS // 2)
    for step, gradient in enumerate(gradients, start=1):
        for _ in range(pushed if step > 1 else 0):  # what a long text pushes out before the step
            states.evict()
        states.fetched = 0
        adam_step(states, weights, gradient, step)
    found[room, pushed] = states.fetched, weights
    rows.append([f"{room} of 64", str(pushed), str(states.fetched)])
show.table(rows, ["pages that fit", "pushed out before each step", "fetched in a step"])
guessed.against(fetched=found[58, 0][0])

# %% [markdown]
# A spike fetches what it pushed out, once. A window that is *always* too small fetches everything, in every step: each page
# pushes out the one that is needed next. (A driver may evict by another rule.) The weights stay bit for bit the same.
#
# On a GPU: full fine-tuning of a model of SmolLM2-360M's sizes, a text of 2,048 tokens among short ones. The limit holds for
# torch's allocator; paged states lie outside it. So this shows that they are not counted, not that the driver evicts in time.

# %% tags=["slide"]
record, rows, moved = records.load("gpu"), [], {}
paged = {(each["optimizer"], each["what"]): each for each in record["rows"] if each["section"] == "paged"}
for name in ("AdamW", "AdamW8bit", "PagedAdamW", "PagedAdamW8bit"):
    under, host = paged[name, "under a limit"], paged.get((name, "states on the host before each step"))
    again = f"{host['ms']:.0f} ms" if host else ""
    rows.append([name, f"{under['states'] / 1e9:.2f} GB", under["long_step"], f"{under['ms']['ms']:.0f} ms", again])
limit = paged["AdamW", "under a limit"]["limit"] / 1e9
show.table(rows, ["optimizer", "states", "the long text", "a short step", "… its states coming back"],
           f"{record['machine']['gpu']}, torch held to {limit:.1f} GB. AdamW is torch's fused one.")
for name, r in (("llama-3.1-8b", 16), ("llama-2-70b", 64)):
    moved[name, r] = 8 * memory.estimate(name, "qlora", r=r).trainable_params / 1e9  # m and v, four bytes each
    print(f"{name}, QLoRA, r = {r}: {moved[name, r]:.1f} GB of states that paging could move")

# %% [markdown]
# The plain one dies, the paged one lives. The 8-bit one lives *without* pages: small states can be the simpler cure. And its
# step is longer with pages even when nothing moves: 132 ms beside 117. The documentation says zero.
#
# Under QLoRA there is little to move: 6.6 GB at 70B, r = 64; a third of one at 8B, r = 16.
#
# <details><summary>What the paper and bitsandbytes say of paged optimizers</summary>
#
# The paper, section 4: "While paged optimizers are critical to do 33B/65B QLoRA tuning on a single 24/48GB GPU, we do not
# provide hard measurements for Paged Optimizers since the paging only occurs when processing mini-batches with long sequence
# lengths, which is rare." For 65B on 48 GB the authors "find that with a batch size of 16, paged optimizers provide the same
# training speed as regular optimizers".
#
# bitsandbytes' [documentation](https://huggingface.co/docs/bitsandbytes/explanations/optimizers): paging "only becomes active if you run
# out of GPU memory" and "has zero overhead if all the memory fits onto the device". A GB evicted in each step costs about 125 ms over PCIe 3.0 with 16 lanes, "in the best case". Its author
# adds ([issue 962](https://github.com/bitsandbytes-foundation/bitsandbytes/issues/962)) that a page "is usually a couple of
# kilobytes", 2 MB with prefetching, and that for large amounts of data "offloading would be faster (but very difficult to
# program)".
#
# </details>

# %% tags=["assert", "nbval-ignore-output"]
assert [bits_per_parameter(64, group) for group in (None, 256)] == [4.5, 4.126953125]
assert [round(each, 3) for each in left[70]] == [4.375, 1.111]
assert round(left[65][0] - left[65][1], 1) == 3.0
assert torch.equal(back, stored.absmax), "your constants are the library's, bit for bit"
assert same > 0.98 * len(codes) and without_mean > 4 * with_mean
for kind in ("dynamic8", "INT8", "FP8_E4M3"):
    assert abs(average(added[kind])) < 0.02 * average(plain["test divergence"]) < average(added["one mean"]) / 10
assert row("FP8_E4M3")["error_of_constants"] > 5 * row("INT8")["error_of_constants"]
assert worse == ["6 of 8", "3 of 3"] and sum(each < 1 for each in at_45) == 7
records.repeats(live, row("dynamic8")["test divergence"][0], within=0.05)
assert [count for count, _ in found.values()] == [0, 16, 32, 64, 64]
assert all(torch.equal(weights, found[64, 0][1]) for _, weights in found.values())
short = [round(paged[name, "under a limit"]["ms"]["ms"]) for name in ("AdamW8bit", "PagedAdamW8bit")]
assert short == [117, 132] and all(average(each["test divergence"]) < average(plain["test divergence"]) for each in list(picked.values())[1:])
assert round(moved["llama-2-70b", 64], 1) == 6.6 and round(moved["llama-3.1-8b", 16], 1) == 0.3

# %% tags=["nbval-ignore-output"]
results("10")

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# - **Switch it on** (`bnb_4bit_use_double_quant=True`): 0.373 bits per weight of the linear layers, for a hundredth of what
#   the four bits cost here. It is off by default in transformers.
# - **Bits left?** Smaller blocks buy more than plain constants. But bitsandbytes 0.50.2 takes them from 32 on, and
#   `BitsAndBytesConfig` has no setting.
# - **Formats of constants**: errors drown in the weights'.
# - **Paged optimizer** (`optim="paged_adamw_8bit"`): for rare long texts where there are GB of states. If memory is short in
#   every step, take smaller states or a smaller batch.
#
# ## What was not shown
#
# - A large model: here is one base of 1.8 million weights, which rounding hardly harms.
# - Its cost in time; lesson 11 times restoring as a whole.
# - A full card, and the way out to the host.
#
# ## What to try
#
# - Groups of 64 or 4,096 in place of 256: which of bits and error moves?
# - Give `evict` the page used *last* in place of the oldest. How many pages does the small window fetch now?
#
# ## Three questions
#
# 1. A page says that double quantization saves "0.5 GB for a 7B model". What do you answer?
#
# <details><summary>Answer</summary>0.373 bits times 7 billion, over 8, is 0.33 GB; Llama-2-7B saves 0.30: it has
# 6.74 billion weights, and 0.26 of them stay dense. 0.44 GB is all that a 7B's constants weigh, so 0.5 cannot be saved
# (<a href="https://docs.rs/crate/aprender-train/latest/source/src/quant/double_quant.rs">the page</a>).</details>
#
# 2. Why subtract the mean, when a scale for each group adapts anyway?
#
# <details><summary>Answer</summary>The scale sets the reach, from −t to t. Constants without negative values use half of the
# levels, and those where the dynamic map is coarsest: nine times the squared error here.</details>
#
# 3. PagedAdamW is 60 % slower than in the last run, in every step. What has changed?
#
# <details><summary>Answer</summary>The states no longer fit beside the rest, so that they travel in every step. On the H100 a
# step took 209 ms when they had to come back and 130 when they were there. Make room, or take 8-bit states.</details>
#
# ## Next
#
# [11 A QLoRA layer](11_qlora_layer.ipynb) learns through this storage without unpacking the model.
