# %% [markdown]
# # Exercises: number formats
#
# Two codes in a byte, blocks with a short end, bfloat16 by its bits, and what one does about an outlier. They go with lesson
# [08](../notebooks/08_number_formats.ipynb) and take about 55 minutes.

# %%
import torch

from lora_lab.exercises import check

# %% [markdown] tags=["task:pack_nibbles"]
# ## 1. Two codes in a byte
#
# difficulty 2 of 5 · importance 4 of 5 · 8 minutes
#
# No tensor has four-bit numbers, so two of them share a byte: the first in the high half, the second in the low half.
#
# In: `codes`, uint8 [n], each from 0 to 15. Out: uint8 [⌈n / 2⌉]. If n is odd, the last code stands in the high half of its byte, and
# the low half is 0.
#
# In hexadecimal one sees it: the codes 3, 10, 7 become the bytes 3a and 70, which are 58 and 112.

# %% tags=["turn:pack_nibbles"]
def pack_nibbles(codes):
    #> a filler if the number is odd; then two by two
    if len(codes) % 2:
        codes = torch.cat([codes, torch.zeros(1, dtype=torch.uint8)])
    return codes[0::2] * 16 + codes[1::2]
    #<

# %% [markdown] tags=["hint:pack_nibbles"]
# **A first hint.** `codes[0::2]` are the first, third, … codes, `codes[1::2]` the others.
#
# **A second hint.** A half byte has four bits: to move a code up by four bits, multiply by 16, or write `<< 4`.
#
# **Help, my result is int64.** `torch.zeros(1)` is a float, and what it is joined with becomes one: give it
# `dtype=torch.uint8`.

# %% tags=["check:pack_nibbles"]
pack_nibbles = check("pack_nibbles", pack_nibbles)

# %%
print([f"{byte:02x}" for byte in pack_nibbles(torch.tensor([3, 10, 7], dtype=torch.uint8)).tolist()])

# %% [markdown] tags=["task:quantize_flat"]
# ## 2. Blocks with a short end
#
# difficulty 2 of 5 · importance 5 of 5 · 12 minutes
#
# In lesson 08 the weights came in whole blocks. Real weights do not: 33 · 61 is no multiple of 64. So a tensor of any shape is
# flattened and cut into blocks, and the last one may be short.
#
# In: `weight`, float32 of any shape, and `size`. Out: `codes`, int8 [numel], flat, and `scales`, float32, one for each block. As in the
# lesson, a block's scale makes its largest magnitude 127: code = round(weight / scale). A block may be all zero: its scale is 0, and so
# are its codes.
#
# For `[[2.54, -1.0, 0.0], [0.0, 0.0, 0.0]]` in blocks of 2: codes 127, −50, 0, 0, 0, 0, and scales 0.02, 0, 0.

# %% tags=["turn:quantize_flat"]
def quantize_flat(weight, size):
    #> block by block
    codes, scales = [], []
    for block in weight.flatten().split(size):
        scale = block.abs().max() / 127
        codes.append((block / scale).round() if scale > 0 else torch.zeros_like(block))
        scales.append(scale)
    return torch.cat(codes).to(torch.int8), torch.stack(scales)
    #<

# %% [markdown] tags=["hint:quantize_flat"]
# **A first hint.** `weight.flatten().split(size)` gives the blocks, the last one as short as it must be.
#
# **A second hint.** Collect the pieces in lists. `torch.cat` joins tensors, `torch.stack` makes a tensor of single numbers.
#
# **A third hint.** In a block of zeros 0 / 0 is NaN, and what int8 makes of NaN differs from machine to machine. Where the scale is 0,
# take zeros.

# %% tags=["check:quantize_flat"]
quantize_flat = check("quantize_flat", quantize_flat)

# %%
weight = torch.randn(33, 61)
for size in (16, 64, 2048):
    codes, scales = quantize_flat(weight, size)
    print(f"blocks of {size}, scales: {len(scales)}; {(len(codes) + 4 * len(scales)) * 8 / weight.numel():.2f} bits a weight")

# %% [markdown] tags=["task:to_bfloat16"]
# ## 3. bfloat16 by its bits
#
# difficulty 3 of 5 · importance 3 of 5 · 15 minutes
#
# bfloat16 is the upper half of a float32: the lower sixteen bits go. But cutting them off would always round towards zero. The nearest
# is wanted; and where a number lies exactly between two, the one whose last kept bit is 0 (*ties to even*), so that errors do not all go
# the same way.
#
# In: `x`, float32 of any shape; no NaN. Out: float32 of the same shape, rounded to bfloat16: its lower sixteen bits are zero. Use the
# bits (`x.view(torch.int32)` reads them as whole numbers, and back), not `x.bfloat16()`. (The check sees only what comes out, and cannot
# tell; you can.) What is beyond the largest number becomes infinity; you need not treat it.
#
# In hexadecimal, with a bar where bfloat16 ends: 3f80|8001 is just above the middle and becomes 3f81|0000. 3f80|8000 is the middle and
# becomes 3f80|0000, since 0 is even; 3f81|8000 becomes 3f82|0000.

# %% tags=["turn:to_bfloat16"]
def to_bfloat16(x):
    #> add so much that the carry rounds, then clear the lower bits
    bits = x.view(torch.int32)
    last_kept = (bits >> 16) & 1
    rounded = bits + 0x7FFF + last_kept
    return (rounded & ~0xFFFF).view(torch.float32)
    #<

# %% [markdown] tags=["hint:to_bfloat16"]
# **A first hint.** If half of the last kept place is added before the lower bits are cleared, the carry rounds up what lies above the
# middle. Half is 0x8000. `bits & ~0xFFFF` clears.
#
# **A second hint.** To send the middle down where the last kept bit is 0, add 0x7FFF there, one less, and 0x8000 where it is 1.
# `(bits >> 16) & 1` is that bit.

# %% tags=["check:to_bfloat16"]
to_bfloat16 = check("to_bfloat16", to_bfloat16)

# %%
one = torch.tensor(1.0)
nearest, cut = one.clone(), one.clone()
for _ in range(1000):
    nearest = to_bfloat16(nearest + 0.006)
    cut = ((cut + 0.006).view(torch.int32) & ~0xFFFF).view(torch.float32)
print(f"1 + 1000 · 0.006 = 7, rounded to the nearest {nearest:.3f}, cut off {cut:.3f}")
print("From 1 on the steps are 0.0078 wide, from 2 on 0.0156, and 0.006 is less than half of that.")

# %% [markdown] tags=["task:mixed_product"]
# ## 4. Outliers stay in floats
#
# difficulty 4 of 5 · importance 4 of 5 · 20 minutes
#
# One outlier makes a scale so large that everything beside it becomes zero. In large models a few *features*, columns of the
# activations x, have them. LLM.int8() ([arXiv 2208.07339](https://arxiv.org/abs/2208.07339)) multiplies those columns in floats and all
# others as 8-bit codes.
#
# In: `x` [tokens, d_in] and `weight` [d_out, d_in], float32; `threshold`. Out: about x Wᵀ, [tokens, d_out], so:
#
# 1. A feature is *far* if any token's magnitude in it is `threshold` or more. Its products are made in floats: x[:, far] W[:, far]ᵀ.
# 2. Of all other features, each row of x and each row of W gets a scale, its largest magnitude (of those features) / 127, and codes
#    round(value / scale).
# 3. The product of the codes, times the scale of its row of x, times the scale of its row of W, is added. (Codes may stay floats that hold
#    whole numbers.)
#
# No row is all zero. With x = [[1.27, 0.6, 10]], W = [[2.54, 0.4, 3]] and threshold 6: column 2 is far and gives 30. The codes are 127
# and 60, and 127 and 20; their product 17,329 times 0.01 times 0.02 is 3.4658. Together 33.4658; in floats it is 33.4658 too.

# %% tags=["turn:mixed_product"]
def mixed_product(x, weight, threshold):
    #> far features in floats, the others by codes
    far = (x.abs() >= threshold).any(dim=0)
    in_floats = x[:, far] @ weight[:, far].T
    near, own = x[:, ~far], weight[:, ~far]
    scale_x = near.abs().amax(dim=1, keepdim=True) / 127
    scale_w = own.abs().amax(dim=1, keepdim=True) / 127
    products = (near / scale_x).round() @ (own / scale_w).round().T
    return in_floats + products * scale_x * scale_w.T
    #<

# %% [markdown] tags=["hint:mixed_product"]
# **A first hint.** `(x.abs() >= threshold).any(dim=0)` is True for each far column. `x[:, far]` takes those, `x[:, ~far]` the others.
#
# **A second hint.** With `keepdim=True` the scales are columns: [tokens, 1] and [d_out, 1]. The products are [tokens, d_out], so the
# second must lie down: `.T`.

# %% tags=["check:mixed_product"]
mixed_product = check("mixed_product", mixed_product)

# %%
torch.manual_seed(0)
x, weight = torch.randn(64, 512), torch.randn(256, 512)
exact = x @ weight.T
print(f"no outlier: off by {(mixed_product(x, weight, 6.0) - exact).norm() / exact.norm():.2%}")
x[:, [7, 99]] *= 30
exact = x @ weight.T
for threshold in (1e9, 6.0):
    print(f"two far features, threshold {threshold:g}: off by {(mixed_product(x, weight, threshold) - exact).norm() / exact.norm():.2%}")
