# %% [markdown]
# # Exercises: double quantization
#
# The bytes of constants exactly, the bits of a whole model, constants by their range, and a block size for an error. They go with lesson
# [10](../notebooks/10_double_quantization.ipynb) and take about 50 minutes.

# %%
import math

import torch

from lora_lab.exercises import check

# %% [markdown] tags=["task:bytes_of_constants"]
# ## 1. To the byte
#
# difficulty 2 of 5 · importance 4 of 5 · 8 minutes
#
# Lesson 10 counted bits per weight, as if all blocks were full. A file has whole ones.
#
# In: `numel` weights of one tensor, in blocks of `block`; `group`, None or how many constants make a group. The last block and the last
# group may be short, and have their constant and their scale all the same. Out: bytes of
#
# - without groups: a float32 for each block;
# - with groups: one byte for each block, a float32 scale for each group, and one float32 mean.
#
# For 1,000 weights in blocks of 64: 16 blocks, so 64 bytes; in groups of 10, 16 + 2 · 4 + 4 = 28.

# %% tags=["turn:bytes_of_constants"]
def bytes_of_constants(numel, block, group):
    #> blocks, groups, the mean
    blocks = math.ceil(numel / block)
    if group is None:
        return 4 * blocks
    return blocks + 4 * math.ceil(blocks / group) + 4
    #<

# %% [markdown] tags=["hint:bytes_of_constants"]
# **A first hint.** `math.ceil(numel / block)` rounds up.
#
# **A second hint.** A group is made of constants, so round up again: the blocks by `group`.

# %% tags=["check:bytes_of_constants"]
bytes_of_constants = check("bytes_of_constants", bytes_of_constants)

# %%
for numel in (4096 * 14336, 64 * 64, 40):
    plain, double = (bytes_of_constants(numel, 64, group) for group in (None, 256))
    print(f"{numel:,} weights: {plain:,} bytes of constants, with double quantization {double:,}")

# %% [markdown]
# For a very small tensor the scale and the mean cost more than they save.

# %% [markdown] tags=["task:model_bits"]
# ## 2. A whole model's bits
#
# difficulty 3 of 5 · importance 4 of 5 · 15 minutes
#
# "4-bit" says how the linear layers are stored. What is it over the whole model?
#
# In: `tensors`, a dictionary from names such as `"model.layers.0.mlp.up_proj.weight"` to shapes; `skipped`, a list of module names such
# as `"lm_head"`; `block`. A tensor is stored in four bits if it is a matrix (two sides, not three) and its module is not skipped. The module's
# name is the part before the last: `up_proj` above. It must be equal to a skipped name, not just contain it. In four bits means: two numbers in a
# byte, rounded up, and a float32 for each block of the tensor, the last may be short. All else has 16 bits a number. Out: bits per number,
# over all tensors.
#
# For `{"a.weight": [10, 10], "norm.weight": [10]}` in blocks of 64: 50 + 2 · 4 + 20 = 78 bytes for 110 numbers, 5.67 bits.

# %% tags=["turn:model_bits"]
def model_bits(tensors, skipped, block):
    #> all bytes, in bits, over all numbers
    stored = numbers = 0
    for name, shape in tensors.items():
        count = math.prod(shape)
        numbers += count
        module = name.split(".")[-2]
        if len(shape) == 2 and module not in skipped:
            stored += math.ceil(count / 2) + 4 * math.ceil(count / block)
        else:
            stored += 2 * count
    return 8 * stored / numbers
    #<

# %% [markdown] tags=["hint:model_bits"]
# **A first hint.** Two sums in one loop: bytes stored, and numbers. Divide once, at the end.
#
# **A second hint.** `name.split(".")[-2]` is the part before the last. `module in skipped` asks whether a list holds just that name.

# %% tags=["check:model_bits"]
model_bits = check("model_bits", model_bits)

# %%
def decoder(words, h, i, layers):  # shapes of a small Llama, keys and values as wide as queries
    tensors = {"model.embed_tokens.weight": [words, h], "model.norm.weight": [h], "lm_head.weight": [words, h]}
    for n in range(layers):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            tensors[f"model.layers.{n}.self_attn.{name}.weight"] = [h, h]
        for name, shape in (("gate_proj", [i, h]), ("up_proj", [i, h]), ("down_proj", [h, i])):
            tensors[f"model.layers.{n}.mlp.{name}.weight"] = shape
    return tensors


for name, sizes in {"7B, 32,000 words": (32_000, 4096, 11008, 32), "1B, 128,256 words": (128_256, 2048, 8192, 16)}.items():
    print(f"{name}: {model_bits(decoder(*sizes), ['embed_tokens', 'lm_head'], 64):.2f} bits per number")

# %% [markdown] tags=["task:range_constants"]
# ## 3. Constants by their range
#
# difficulty 3 of 5 · importance 3 of 5 · 15 minutes
#
# Constants are never negative, so that a symmetric map would leave half of its levels idle. bitsandbytes subtracts the mean. Here is
# another way, that of llama.cpp's k-quants and of every *zero point*: let the codes count from the least of a group to its largest.
#
# In: `absmax`, float32 [n], and `group`; the last group may be short. For each group, `low` is its least constant and `step` its largest
# minus its least, over 255. Out: `codes`, uint8 [n], round((constant − low) / step); `low` and `step`, float32, one for each group. Where
# all constants of a group are equal, its step and its codes are 0. (Back: low + code · step.)
#
# For 2, 4.55, 3 in one group: low 2, step 0.01, codes 0, 255, 100.

# %% tags=["turn:range_constants"]
def range_constants(absmax, group):
    #> group by group
    codes, lows, steps = [], [], []
    for own in absmax.split(group):
        low, step = own.min(), (own.max() - own.min()) / 255
        codes.append(((own - low) / step).round() if step > 0 else torch.zeros_like(own))
        lows.append(low)
        steps.append(step)
    return torch.cat(codes).to(torch.uint8), torch.stack(lows), torch.stack(steps)
    #<

# %% [markdown] tags=["hint:range_constants"]
# **A first hint.** `absmax.split(group)` gives the groups, the last one as short as it must be.
#
# **A second hint.** Collect codes, lows and steps in lists; `torch.cat` joins tensors, `torch.stack` single numbers.
#
# **A third hint.** Where all constants of a group are equal, 0 / 0 is NaN, and what uint8 makes of NaN differs from machine to machine.
# Where the step is 0, take zeros.

# %% tags=["check:range_constants"]
range_constants = check("range_constants", range_constants)

# %%
weights = torch.randn(4096, 64, generator=torch.Generator().manual_seed(0)) * 0.02
absmax = weights.abs().amax(dim=1)
codes, low, step = range_constants(absmax, 256)
by_range = low.repeat_interleave(256) + codes * step.repeat_interleave(256)
groups, mean = absmax.view(-1, 256), absmax.mean()
symmetric = {}
for name, shift in {"127 levels each side, no mean": 0.0, "127 levels each side, the mean subtracted": mean}.items():
    scale = (groups - shift).abs().amax(dim=1, keepdim=True) / 127
    symmetric[name] = (((groups - shift) / scale).round() * scale + shift).flatten()
for name, restored in {**symmetric, "by its range": by_range}.items():
    print(f"{name}: {(restored - absmax).norm() / absmax.norm():.3%} error")

# %% [markdown] tags=["task:largest_block"]
# ## 4. A block size for an error
#
# difficulty 3 of 5 · importance 4 of 5 · 14 minutes
#
# Larger blocks have fewer constants, and more error. How large may they be?
#
# In: `weight`, float32 of any shape; `levels` [k], from −1 to 1; `sizes`, a list in no order; `limit`. For a block size, the weight is
# flattened and cut into blocks (the last may be short; a block may be all zero and stays so); each is divided by its absmax, put on its
# nearest levels, and multiplied again. The error is √(Σ (ŵ − w)² / Σ w²). Out: the largest of the sizes whose error is `limit` or less;
# None if there is none.
#
# With levels −1, 0, 1 and the weight 4, 3, 1, 1: blocks of 4 restore 4, 4, 0, 0, error √(3/27) = 0.33. Blocks of 2 restore 4, 4, 1, 1,
# error √(1/27) = 0.19.

# %% tags=["turn:largest_block"]
def largest_block(weight, levels, sizes, limit):
    #> from the largest size down: the error, and whether it is within the limit
    for size in sorted(sizes, reverse=True):
        missed = 0.0
        for block in weight.flatten().split(size):
            absmax = block.abs().max()
            if absmax > 0:
                nearest = levels[(block[:, None] / absmax - levels).abs().argmin(dim=1)]
                missed += (nearest * absmax - block).square().sum().item()
        if math.sqrt(missed / weight.square().sum().item()) <= limit:
            return size
    return None
    #<

# %% [markdown] tags=["hint:largest_block"]
# **A first hint.** Write a function that gives the error for one size, and look at what it says for the example. Then choose.
#
# **A second hint.** `(block[:, None] / absmax - levels).abs().argmin(dim=1)` is the place of the nearest level for each weight.
#
# **Help, it always gives None.** A NaN is never within a limit. Is a block of zeros divided by its absmax?

# %% tags=["check:largest_block"]
largest_block = check("largest_block", largest_block)

# %%
INT4 = torch.arange(-7, 8) / 7
plain = torch.randn(256, 192, generator=torch.Generator().manual_seed(1))
spiked = plain.clone()
spiked.view(-1)[::2048] = 12
for name, each in {"normal weights": plain, "an outlier in every 2,048": spiked}.items():
    print(f"{name}: at most 12 % error in blocks of {largest_block(each, INT4, [16, 32, 64, 128, 256, 512], 0.12)}")
