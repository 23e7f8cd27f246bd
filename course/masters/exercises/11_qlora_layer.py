# %% [markdown]
# # Exercises: a QLoRA layer
#
# You build the layer of [lesson 11](../notebooks/11_qlora_layer.ipynb) with nothing but torch: the product that reads packed
# codes, every gradient by hand, and the class that stores what a checkpoint stores. Three tasks, about 45 minutes.

# %%
import torch
from torch import nn

from lora_lab.exercises import check

# %% [markdown] tags=["task:product_from_codes"]
# ## 1. A product with a weight that lies there in codes
#
# difficulty 2 of 5 · importance 5 of 5 · 12 minutes
#
# `packed`, uint8, holds two codes of 4 bits a byte, the *high* nibble first; a code is a place in `levels` [16]. The weight of
# the shape (d_out, d_in) is read row by row, and every `block_size` neighbours share one constant of `absmax`: a weight is
# its level times its block's constant. Blocks run on over the ends of rows, and the last may be short. With an odd number
# of weights the last byte's low nibble means nothing. Return x Ŵᵀ, in the dtype of x [..., d_in].
#
# By hand: let the levels be −8/8, −7/8, …, 7/8. `packed` = [0xC4, 0xAF] are the codes 12, 4, 10, 15 and the levels 0.5, −0.5, 0.25,
# 0.875. With `block_size` 3 and `absmax` = [2, 8] the first block has three of them: the weights are 1, −1, 0.5, 7. For the shape
# (2, 2), in which that block ends in the second row, and x = [1, 1], y is [0, 7.5].

# %% tags=["turn:product_from_codes"]
def product_from_codes(x, packed, absmax, levels, shape, block_size):  # -> y [..., d_out]
    #> two codes of each byte, their levels, their constants, the product: four to six lines
    codes = torch.stack([packed >> 4, packed & 15], dim=1).flatten()
    codes = codes[: shape[0] * shape[1]].long()
    constants = absmax.repeat_interleave(block_size)[: len(codes)]
    weight = (levels[codes] * constants).view(shape)
    return x @ weight.to(x.dtype).T
    #<

# %% [markdown] tags=["hint:product_from_codes"]
# **A first hint.** `packed >> 4` is the high nibble of every byte, `packed & 15` the low one. They alternate in the result:
# stack them side by side and flatten.
#
# **A second hint.** `absmax.repeat_interleave(block_size)` writes each constant `block_size` times in a row. It may be longer
# than the weight: cut it.
#
# **Help, a shape is "invalid for input of size 26", or an index error.** The last byte may hold a code too many: cut the codes to the
# number of weights. And uint8 picks no rows, it means a mask: `codes.long()`.

# %% tags=["check:product_from_codes"]
product_from_codes = check("product_from_codes", product_from_codes)

# %%
levels = torch.arange(-8, 8) / 8
packed, absmax = torch.tensor([0xC4, 0xAF], dtype=torch.uint8), torch.tensor([2.0, 8.0])
print("y =", product_from_codes(torch.tensor([[1.0, 1.0]]), packed, absmax, levels, (2, 2), 3).tolist())

# %% [markdown] tags=["task:qlora_gradients"]
# ## 2. Every gradient, by hand
#
# difficulty 3 of 5 · importance 4 of 5 · 15 minutes
#
# The layer computes y = x Ŵᵀ + s x Aᵀ Bᵀ. From above comes g = ∂L/∂y. Return the gradients of x, A and B, each in the shape of
# its own: x [..., d_in], with one or more axes before the last, A [r, d_in], B [d_out, r]; W is Ŵ [d_out, d_in], and g is [..., d_out]. The weight gets none: it is
# frozen, and for a gradient of its size there would be no room.
#
# By hand, one token, all of size one: x = 2, g = 3, Ŵ = 5, A = 1, B = 4, s = 0.5. Then ∂L/∂x = 3·5 + 0.5·3·4·1 = 21,
# ∂L/∂A = 0.5·3·4·2 = 12 and ∂L/∂B = 0.5·3·2·1 = 3.

# %% tags=["turn:qlora_gradients"]
def qlora_gradients(x, g, W, A, B, s):  # -> the gradients of x, A and B
    #> one line for each; x has one or more axes before the last
    of_x = g @ W + s * (g @ B @ A)
    x, g = x.flatten(0, -2), g.flatten(0, -2)  # [tokens, d_in], [tokens, d_out]
    of_A = s * (g @ B).T @ x
    of_B = s * g.T @ (x @ A.T)
    return of_x, of_A, of_B
    #<

# %% [markdown] tags=["hint:qlora_gradients"]
# **A first hint.** x has two ways to y, and what comes back on them is added.
#
# **A second hint.** Make rows of everything first, `x.flatten(0, -2)`. A weight's gradient is a sum over the rows; a matrix
# product does that sum.
#
# **Help, a shape does not fit.** There is only one order of g B [tokens, r] and x [tokens, d_in] that gives [r, d_in], and one of
# g [tokens, d_out] and x Aᵀ [tokens, r] that gives [d_out, r].

# %% tags=["check:qlora_gradients"]
qlora_gradients = check("qlora_gradients", qlora_gradients)

# %%
one = [torch.tensor([[value]]) for value in (2.0, 3.0, 5.0, 1.0, 4.0)]
print("of x, A and B:", [each.item() for each in qlora_gradients(*one, 0.5)])

# %% [markdown] tags=["task:QLoRALayer"]
# ## 3. The layer, as it is saved
#
# difficulty 3 of 5 · importance 5 of 5 · 18 minutes
#
# Write the module. `lora_A` [r, d_in], drawn at random (equal rows would stay equal), and `lora_B` [d_out, r], zeros, are its only parameters that train, float32. What is
# stored goes into *buffers*: an optimizer does not see them, and `state_dict()` and `.to(device)` do. No dense weight may be
# kept anywhere: somebody who loads another layer's state must get that layer. y is x Ŵᵀ + α/r · x Aᵀ Bᵀ, for x [..., d_in], and
# gradients reach x, A and B.
#
# An example: 6 × 6 weights in blocks of 16, r = 3. `state_dict()` then has 18 bytes of codes, 3 constants, 16 levels, 18 numbers
# of A and 18 of B. (Use your `product_from_codes`.)

# %% tags=["turn:QLoRALayer"]
class QLoRALayer(nn.Module):
    def __init__(self, packed, absmax, levels, shape, block_size, r, alpha):
        super().__init__()
        #> buffers for what is stored, parameters for what learns, and what forward will need
        self.register_buffer("packed", packed)
        self.register_buffer("absmax", absmax)
        self.register_buffer("levels", levels)
        self.shape, self.block_size, self.scaling = shape, block_size, alpha / r
        self.lora_A = nn.Parameter(torch.randn(r, shape[1]) / shape[1] ** 0.5)
        self.lora_B = nn.Parameter(torch.zeros(shape[0], r))
        #<

    def forward(self, x):
        #> the frozen product and the scaled update
        frozen = product_from_codes(x, self.packed, self.absmax, self.levels, self.shape, self.block_size)
        return frozen + self.scaling * (x @ self.lora_A.T @ self.lora_B.T)
        #<

# %% [markdown] tags=["hint:QLoRALayer"]
# **A first hint.** `self.register_buffer("packed", packed)` makes `self.packed`, which is saved and moved and never trained.
#
# **A second hint.** `nn.Parameter(torch.zeros(d_out, r))` is a parameter; a plain tensor is not.
#
# **Help, "the old weight".** Restore in `forward`, each time. What `__init__` computes from the codes stays what it was.

# %% tags=["check:QLoRALayer"]
QLoRALayer = check("QLoRALayer", QLoRALayer)

# %% [markdown]
# What would a file of this layer hold? Here for a layer of 64 × 96 in blocks of 64, r = 4:

# %%
codes = torch.randint(256, (64 * 96 // 2,), dtype=torch.uint8)
layer = QLoRALayer(codes, torch.ones(64 * 96 // 64), levels, (64, 96), 64, 4, 8)
for name, stored in layer.state_dict().items():
    print(f"{name:8s} {str(stored.dtype):14s} {stored.nbytes:6,} bytes")
print(f"the weight in float32 would be {4 * 64 * 96:,} bytes")
