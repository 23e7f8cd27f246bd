# %% [markdown] tags=["allow:lowrank"]
# # Exercises: build NF4
#
# Codes, a table for any number of bits, the way back from bytes to weights; and a puzzle: the same outputs from as few bytes as you can.
# They go with lesson [09](../notebooks/09_build_nf4.ipynb) and take about 35 minutes, and the puzzle as long as you like.

# %%
import math

import torch

from lora_lab.exercises import check

# %% [markdown] tags=["task:nearest_codes"]
# ## 1. The nearest level
#
# difficulty 1 of 5 · importance 5 of 5 · 6 minutes
#
# In: `values` of any shape, float32; `levels` [k], ascending, any number of them. Out: the place of the level that is nearest to each
# value, whole numbers (any such dtype) of the shape of `values`. A value exactly between two levels takes the lower one. A value beyond
# the ends takes the end.
#
# For the levels −1, −0.5, 0.25, 1: −0.75 lies in the middle and gets 0; 0.3 gets 2; 7 gets 3.

# %% tags=["turn:nearest_codes"]
def nearest_codes(values, levels):
    #> how many midpoints lie below
    midpoints = (levels[1:] + levels[:-1]) / 2
    return torch.bucketize(values, midpoints)
    #<

# %% [markdown] tags=["hint:nearest_codes"]
# **A first hint.** The distance of every value to every level is `(values[..., None] - levels).abs()`, and `.argmin(dim=-1)` finds the
# place of the least. Of equals it takes the first.
#
# **A second hint.** Faster: count the midpoints between neighbours that lie below the value. `torch.bucketize(values, midpoints)` counts.

# %% tags=["check:nearest_codes"]
nearest_codes = check("nearest_codes", nearest_codes)

# %% [markdown] tags=["task:normal_levels"]
# ## 2. A table of any width
#
# difficulty 3 of 5 · importance 3 of 5 · 15 minutes
#
# In lesson 09 you made NF4. What would NF2, NF3 and NF8 be? The recipe is the same; only p_max follows the number of bits.
#
# With n = 2^bits:
#
# 1. p_max is the mean of 1 − 1 / (2 (n − 1)) and 1 − 1 / (2 n).
# 2. Above zero stand n / 2 levels, Φ⁻¹(p) for p evenly spaced from p_max down to ½, the ½ itself left out.
# 3. Below zero stand n / 2 − 1, made in the same way with one fewer, and with minus signs.
# 4. One exact zero. Ascending, and all divided by the largest.
#
# In: `bits`, 2 to 8. Out: float32 [2^bits]. (Only 0.00001 matters here, no last bits.) For 2 bits: p_max is the mean of 5/6 and 7/8,
# 0.854; the levels are −1, 0, 0.44 and 1.

# %% tags=["turn:normal_levels"]
def normal_levels(bits):
    #> p_max, two halves, a zero
    n = 2**bits
    p_max = (1 - 1 / (2 * (n - 1)) + 1 - 1 / (2 * n)) / 2

    def half(count):
        p = torch.linspace(p_max, 0.5, count + 1)[:-1]
        return torch.special.ndtri(p)

    levels = torch.cat([-half(n // 2 - 1), torch.zeros(1), half(n // 2)]).sort().values
    return levels / levels.max()
    #<

# %% [markdown] tags=["hint:normal_levels"]
# **A first hint.** `torch.special.ndtri` is Φ⁻¹. `torch.linspace(p_max, 0.5, count + 1)[:-1]` has `count` numbers.
#
# **A second hint.** A small function `half(count)` serves both sides, with n // 2 and with n // 2 − 1.

# %% tags=["check:normal_levels"]
normal_levels = check("normal_levels", normal_levels)

# %%
weights = torch.randn(512, 64, generator=torch.Generator().manual_seed(0))
absmax = weights.abs().amax(dim=1, keepdim=True)
for bits in (2, 3, 4, 6, 8):
    levels = normal_levels(bits)
    restored = levels[nearest_codes(weights / absmax, levels)] * absmax
    print(f"NF{bits}: {(restored - weights).norm() / weights.norm():.1%} error in blocks of 64")

# %% [markdown] tags=["task:restore_packed"]
# ## 3. From bytes to a weight
#
# difficulty 3 of 5 · importance 5 of 5 · 12 minutes
#
# This is what a 4-bit layer does before each product.
#
# In: `packed`, uint8, two codes in each byte, the first in the high half, and an unused low half at the end if their number is odd;
# `absmax`, float32, one for each block; `levels` [16]; `shape`, a list; `size`, how many weights a block has (the last may be short).
# Out: the weight, float32 of that shape: the level of each code, times the absmax of its block.
#
# With `packed` = 0x0f, 0x30, `absmax` 2 and 5, `size` 2 and `shape` [3]: the codes are 0, 15 and 3, so the weight is 2 · levels[0],
# 2 · levels[15], 5 · levels[3].

# %% tags=["turn:restore_packed"]
def restore_packed(packed, absmax, levels, shape, size):
    #> codes; their levels; times the absmax of each one's block
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()[: math.prod(shape)]
    scale = absmax.repeat_interleave(size)[: len(codes)]
    return (levels[codes.int()] * scale).view(shape)
    #<

# %% [markdown] tags=["hint:restore_packed"]
# **A first hint.** `packed >> 4` are the high halves, `packed & 15` the low ones. `torch.stack([high, low], dim=1).flatten()` puts them
# back in order.
#
# **A second hint.** `absmax.repeat_interleave(size)` repeats each constant `size` times. It may be too long at the end: cut it off.
#
# **Help, the index is strange.** torch reads uint8 in brackets as a mask. `levels[codes.int()]` looks levels up.

# %% tags=["check:restore_packed"]
restore_packed = check("restore_packed", restore_packed)

# %% [markdown] tags=["task:fewest_bytes"]
# ## 4. A puzzle: the same outputs, fewer bytes
#
# difficulty 5 of 5 · importance 4 of 5 · 45 minutes
#
# A weight W [160, 96] multiplies inputs x [tokens, 96]. You get both, and hand back pieces that the weight can be made of again. On *new*
# inputs of the same kind, ‖x Ŵᵀ − x Wᵀ‖ may be at most **12 %** of ‖x Wᵀ‖, and the pieces at most 10,000 bytes. **Fewer bytes is
# better**: the check tells your number and the best known.
#
# What is known: W has a few strong directions, noise, and three columns with large weights. The inputs' features are of very different
# size. Both are drawn anew for each check, three times; the largest of three counts.
#
# In: `weight`, float32 [160, 96]; `inputs`, float32 [256, 96]. Out: a list of pieces, which are added up. A piece is a dictionary of
# tensors, of one of three kinds:
#
# - `B` [160, r], `A` [r, 96]: B A, added to the whole weight;
# - `columns` [k], `values` [160, k]: values added to these columns;
# - `columns` [k], `codes`, `levels` [2^b], `scale` [g, k]: levels[code] · scale, added to these columns. There are 160 · k codes of b bits,
#   row by row, packed by `pack` below, for b from 1 to 8; 160 / g rows of a column share a scale.
#
# `columns` are whole numbers, such as uint8; `codes` uint8; all others floats, also of 16 bits, or of 8 (`torch.float8_e4m3fn`, which
# ends at 448). Every byte of every tensor counts, and nothing else reaches the weight: the check has its own `restore`. Its check takes
# about half a second.

# %%
def pack(codes, bits):  # codes of so many bits each, the first one in the highest bits -> uint8
    places = torch.arange(bits - 1, -1, -1)
    stream = ((codes.reshape(-1, 1).long() >> places) & 1).flatten()
    stream = torch.cat([stream, stream.new_zeros(-len(stream) % 8)]).view(-1, 8)
    return (stream << torch.arange(7, -1, -1)).sum(dim=1).to(torch.uint8)


def restore(pieces, shape):  # what the check does with your pieces
    weight = torch.zeros(shape)
    for piece in pieces:
        if "B" in piece:
            weight += piece["B"].float() @ piece["A"].float()
        elif "values" in piece:
            weight[:, piece["columns"].long()] += piece["values"].float()
        else:
            bits, k = int(math.log2(len(piece["levels"]))), len(piece["columns"])
            stream = ((piece["codes"].long()[:, None] >> torch.arange(7, -1, -1)) & 1).flatten()
            codes = stream[: shape[0] * k * bits].view(-1, bits) << torch.arange(bits - 1, -1, -1)
            scale = piece["scale"].float().repeat_interleave(shape[0] // len(piece["scale"]), dim=0)
            weight[:, piece["columns"].long()] += piece["levels"].float()[codes.sum(dim=1).view(-1, k)] * scale
    return weight

# %% tags=["turn:fewest_bytes"]
def fewest_bytes(weight, inputs):
    #> a list of pieces; begin with something simple, and let the check measure it
    def coded(part, columns, bits):
        bell = torch.special.ndtri((torch.arange(2048) + 0.5) / 2048)
        levels = torch.quantile(bell, (torch.arange(2**bits) + 0.5) / 2**bits)
        for _ in range(60):  # Lloyd's steps, for a bell
            codes = nearest_codes(bell, levels)
            levels = torch.bincount(codes, bell) / torch.bincount(codes)
        codes = nearest_codes(part / part.square().mean(dim=0).sqrt(), levels)
        scale = (part * levels[codes]).sum(dim=0) / levels[codes].square().sum(dim=0)  # of least error
        return {"columns": columns.byte(), "codes": pack(codes, bits), "levels": levels.half(), "scale": scale[None].half()}

    size, pieces = inputs.square().mean(dim=0).sqrt(), []
    for _ in range(6):  # directions and codes, each fitted to what the other leaves
        U, S, Vh = torch.linalg.svd((weight - restore(pieces, weight.shape)) * size, full_matrices=False)
        B, A = U[:, :4] * S[:4].sqrt(), S[:4].sqrt()[:, None] * Vh[:4] / size
        directions = {"B": B.to(torch.float8_e4m3fn), "A": A.to(torch.float8_e4m3fn)}
        rest = weight - restore([directions], weight.shape)
        order = (rest.square().mean(dim=0).sqrt() * size).argsort(descending=True)
        plan = ((order[:3], 4), (order[3:11], 2), (order[11:15], 1))
        pieces = [coded(rest[:, columns], columns, bits) for columns, bits in plan]
    return [directions, *pieces]
    #<

# %% [markdown] tags=["hint:fewest_bytes"]
# **A first hint.** Begin with all columns in four bits: `columns` is `torch.arange(96).byte()`, `scale` the absmax of each column in blocks of
# 32 rows, `levels` your `normal_levels(4)`. That is 9,760 bytes, and passes. Now, what do 16-bit scales save? Three bits?
#
# **A second hint.** A feature that is small in the inputs can be wrong without harm: `inputs.square().mean(dim=0).sqrt()` is how much a
# column's error counts. Give columns bits by that, some of them none.
#
# **A third hint.** Take the strong directions out first: a truncated SVD of `weight * size`, with the second factor divided by `size`
# again. Directions alone, as many as it takes and in 16 bits, come to about 6,700 bytes. With only the strong ones, what is left is small,
# and two bits or one are enough for most of it: that goes far below.

# %% tags=["check:fewest_bytes"]
fewest_bytes = check("fewest_bytes", fewest_bytes)
