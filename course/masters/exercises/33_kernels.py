# %% [markdown]
# # Exercises: kernels
#
# Two programs for a GPU, after [lesson 33](../notebooks/33_kernels.ipynb), in the order of thought that Triton asks for: a number, a part of the
# work, what lies behind the end. They run on any machine: a program here is a function, and torch's operations stand for
# the GPU's. Two tasks, about 35 minutes.

# %%
import torch

from lora_lab import quant
from lora_lab.exercises import check

# %% [markdown] tags=["task:quantize_program"]
# ## 1. A program that quantizes
#
# difficulty 3 of 5 · importance 4 of 5 · 18 minutes
#
# `values` [n] is flat, n is even, and its blocks of `block_size` follow one another; the last may be short. Program `p` takes `count` blocks, from
# number p · count on, or fewer, if there are no more. Return what it stores: `packed`, uint8, two codes a byte, the high nibble first, and
# `absmax`, one constant for each of its blocks: the largest magnitude there. A code counts those of `midpoints`, ascending, that are
# smaller than value / absmax; one that is equal does not count. In a block of zeros each code is that of 0.
#
# By hand: `midpoints` = [−0.5, 0, 0.5], `block_size` = 4, `count` = 1, `values` = [2, −4, 0, 1, 8, −8]. Program 0 stores absmax [4] and the
# codes of 0.5, −1, 0, 0.25: 2, 0, 1, 2, as bytes 32 and 18. Program 1 has a short block: absmax [8], codes 3 and 0, byte 48.

# %% tags=["turn:quantize_program"]
def quantize_program(p, values, midpoints, block_size, count):  # -> packed, absmax
    #> my part of values; the constants of its blocks; scaled numbers; codes; two to a byte
    mine = values[p * count * block_size : (p + 1) * count * block_size]
    blocks = -(-len(mine) // block_size)
    padded = torch.zeros(blocks * block_size)
    padded[: len(mine)] = mine  # as a mask puts zeros behind the end
    tile = padded.view(blocks, block_size)
    absmax = tile.abs().amax(dim=1)
    scaled = tile / torch.where(absmax > 0, absmax, 1.0)[:, None]
    codes = (scaled.flatten()[: len(mine), None] > midpoints).sum(dim=1)
    return (16 * codes[0::2] + codes[1::2]).to(torch.uint8), absmax
    #<

# %% [markdown] tags=["hint:quantize_program"]
# **A first hint.** My part is a slice of `values`, and slicing stops at the end by itself. Write it into a tile of zeros [blocks, block_size]: zeros
# change no maximum.
#
# **A second hint.** `(scaled[:, None] > midpoints).sum(dim=1)` counts, for each number, the midpoints below it.
#
# **Help, a block of zeros gives nan.** 0 / 0. Divide by 1 where absmax is 0.

# %% tags=["check:quantize_program"]
quantize_program = check("quantize_program", quantize_program)

# %%
midpoints = torch.tensor([-0.5, 0.0, 0.5])
values = torch.tensor([2.0, -4.0, 0.0, 1.0, 8.0, -8.0])
for p in (0, 1):
    packed, absmax = quantize_program(p, values, midpoints, 4, 1)
    print(f"program {p}: bytes {packed.tolist()}, absmax {absmax.tolist()}")

# %% [markdown]
# A real weight, by 512 of your programs, in no order:

# %%
_ = torch.manual_seed(0)
weight, stored = torch.randn(1024 * 1024), {}
for p in torch.randperm(512).tolist():
    stored[p] = quantize_program(p, weight, quant.NF4.midpoints, 64, 32)
library = quant.quantize(weight)
mine = [torch.cat([stored[p][each] for p in range(512)]) for each in (0, 1)]
differ = int((mine[0] != library.packed).sum()), int((mine[1] != library.absmax).sum())
print(f"{differ[0]} of {len(mine[0]):,} bytes and {differ[1]} of {len(mine[1]):,} constants differ from the library's")

# %% [markdown] tags=["task:product_program"]
# ## 2. A program that multiplies without making the weight
#
# difficulty 3 of 5 · importance 4 of 5 · 17 minutes
#
# Program `p` computes `rows` outputs of y = x Ŵᵀ, from number p · rows on, or fewer at the end. Ŵ is [d_out, d_in]; `packed` [d_out, d_in / 2] holds its
# codes, the high nibble first, `absmax` [d_out, d_in / block_size] its constants, `levels` the 16 levels. A GPU's program has little room: go through the
# columns block by block, restore the tile [rows, block_size] of levels, multiply it with x's part [tokens, block_size], times the tile's constants, and add up.
# Return [tokens, rows]. (The check sees what comes back, not how much room it took: that a tile is enough is up to you.)
#
# By hand: levels are −8 to 7, `block_size` = 2, packed = [[0x97, 0x8A]], absmax = [[2, 10]]. The weights are 1·2, −1·2, 0, 2·10. For x = [[1, 1, 1, 1]],
# program 0 returns [[20]].

# %% tags=["turn:product_program"]
def product_program(p, x, packed, absmax, levels, block_size, rows):  # -> [tokens, rows]
    #> my rows of codes and constants; for each block of columns: a tile, a small product, times the constants
    mine, constants = packed[p * rows : (p + 1) * rows], absmax[p * rows : (p + 1) * rows]
    total = torch.zeros(len(x), len(mine))
    for block in range(constants.shape[1]):
        first = block * block_size
        bytes_here = mine[:, first // 2 : (first + block_size) // 2]
        codes = torch.stack([bytes_here >> 4, bytes_here & 15], dim=2).flatten(1).long()
        part = x[:, first : first + block_size] @ levels[codes].T
        total += part * constants[:, block]
    return total
    #<

# %% [markdown] tags=["hint:product_program"]
# **A first hint.** Block number `block` has the columns from `block * block_size` on, and half as many bytes.
#
# **A second hint.** A small product [tokens, block_size] @ [block_size, rows] is [tokens, rows], and the constants of that block of columns, one
# for each row, are `absmax[my rows, block]`.
#
# **Help, IndexError: too many indices.** torch takes a uint8 index for a mask, one truth for each level. Make the codes whole numbers first:
# `.long()`.

# %% tags=["check:product_program"]
product_program = check("product_program", product_program)

# %%
packed = torch.tensor([[0x97, 0x8A]], dtype=torch.uint8)
levels = torch.arange(-8, 8).float()
print("y =", product_program(0, torch.ones(1, 4), packed, torch.tensor([[2.0, 10.0]]), levels, 2, 1).tolist())

# %% [markdown]
# ## What to try
#
# - `absmax` after double quantization: which two more look-ups does a program do, and how many bytes fewer does it read?
# - The tile's width is free. Why does a GPU's program take whole blocks, and 1,024 numbers at a time?
