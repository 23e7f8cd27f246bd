# %% [markdown]
# # Exercises: save, merge, deploy
#
# After [lesson 14](../notebooks/14_save_merge_deploy.ipynb): adapters combined without mixing them up, a file read byte by byte, the merge into codes that
# forgets, and a puzzle in which a model must fit. About 65 minutes.

# %%
import json

import torch

from lora_lab.exercises import check

# %% [markdown] tags=["task:stacked"]
# ## 1. Several adapters as one
#
# difficulty 2 of 5 · importance 4 of 5 · 10 minutes
#
# An adapter is (A [r, d_in], B [d_out, r], s), and its update is s·B·A. `adapters` is a list of them, of any ranks; `weights` has a number for each,
# which may be negative or 0. Return one A and one B with B·A = Σ weight · s · B·A, exactly. Adding all A and all B separately is not it:
# (B₁ + B₂)(A₁ + A₂) also has B₁A₂ and B₂A₁. The new rank is the sum of the ranks: A is [Σr, d_in], B is [d_out, Σr].
#
# By hand, all of size one: A = 2, B = 3, s = 1 with weight 1, and A = 5, B = 1, s = 2 with weight −0.5. The update is 6 − 5 = 1. One answer
# is A = [[2], [5]], B = [[3, −1]].

# %% tags=["turn:stacked"]
def stacked(adapters, weights):  # [(A, B, s), …], [w, …] -> A [Σr, d_in], B [d_out, Σr]
    #> rows of A below each other, columns of B beside each other, weight and scale in one of them
    rows, columns = [], []
    for (A, B, s), weight in zip(adapters, weights):
        rows.append(A)
        columns.append(weight * s * B)
    return torch.cat(rows), torch.cat(columns, dim=1)
    #<

# %% [markdown] tags=["hint:stacked"]
# **A first hint.** A product [B₁ B₂] times [A₁ below which A₂] is B₁A₁ + B₂A₂: each column of B meets its own row of A and no other.
#
# **A second hint.** `torch.cat(list)` puts tensors below each other, `torch.cat(list, dim=1)` beside each other.
#
# **Help, nan.** The root of a negative weight. Put weight and scale into B alone.

# %% tags=["check:stacked"]
stacked = check("stacked", stacked)

# %%
torch.manual_seed(0)
two = [(torch.randn(4, 96), torch.randn(64, 4), 2.0) for _ in range(2)]
A, B = stacked(two, [0.5, 0.5])
wanted = sum(0.5 * s * B_ @ A_ for A_, B_, s in two)
mixed = 2.0 * (0.5 * two[0][1] + 0.5 * two[1][1]) @ (0.5 * two[0][0] + 0.5 * two[1][0])
for name, update in {"stacked": B @ A, "A and B averaged separately": mixed}.items():
    print(f"{name}: {(update - wanted).norm() / wanted.norm():.0%} away from the mean of the two updates")

# %% [markdown] tags=["task:tensors_in"]
# ## 2. A file that runs no code
#
# difficulty 3 of 5 · importance 3 of 5 · 15 minutes
#
# A `safetensors` file is: 8 bytes, a whole number n, least byte first; n bytes of JSON (UTF-8, perhaps with spaces at its end); then the
# data. The JSON has for each tensor `{"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}`, the last being where its bytes begin and
# end, counted from the end of the JSON; and perhaps `"__metadata__"`, which is no tensor. Numbers lie row by row. `blob` is a whole file as
# `bytes`. Return a dictionary from names to tensors. The types are those of `types` below.
#
# An example: a file with one tensor [1.0, 2.0] has 8 bytes, which say n = 64 or so, the JSON with `"data_offsets": [0, 8]`, and 8 bytes of data.

# %% tags=["turn:tensors_in"]
def tensors_in(blob):  # bytes -> {name: tensor}
    types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}
    #> the length, the header, and every tensor from its own place
    n = int.from_bytes(blob[:8], "little")
    header, data = json.loads(blob[8 : 8 + n]), blob[8 + n :]
    tensors = {}
    for name, about in header.items():
        if name == "__metadata__":
            continue
        begin, end = about["data_offsets"]
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=types[about["dtype"]])
        tensors[name] = flat.view(about["shape"])
    return tensors
    #<

# %% [markdown] tags=["hint:tensors_in"]
# **A first hint.** `int.from_bytes(blob[:8], "little")` is n, and `json.loads(blob[8 : 8 + n])` the header.
#
# **A second hint.** `torch.frombuffer(bytearray(piece), dtype=…)` makes a flat tensor of bytes; `.view(shape)` folds it.
#
# **Help, the numbers are another tensor's.** The order of names in the header need not be that of the data. Go by `data_offsets`.

# %% tags=["check:tensors_in"]
tensors_in = check("tensors_in", tensors_in)

# %%
import tempfile
from pathlib import Path

from safetensors.torch import save_file

path = Path(tempfile.mkdtemp()) / "adapter_model.safetensors"
save_file({"q_proj.lora_A.weight": two[0][0], "q_proj.lora_B.weight": two[0][1].bfloat16()}, path)
for name, tensor in tensors_in(path.read_bytes()).items():
    print(f"{name}: {list(tensor.shape)}, {tensor.dtype}, {tensor.nbytes:,} of the file's {path.stat().st_size:,} bytes")

# %% [markdown] tags=["task:merged_into_codes"]
# ## 3. A merge into codes, and what arrives of it
#
# difficulty 3 of 5 · importance 5 of 5 · 16 minutes
#
# A weight lies there as `codes` [blocks, size], uint8, one for each weight; `absmax` [blocks], each block's constant; and `levels` [16], ascending
# from −1 to 1: Ŵ is level times constant. `update` [blocks, size] is ΔW. Merge into the codes: measure each block's new constant, the largest
# absolute value of Ŵ + ΔW, and take for each weight the nearest level on that scale. Return the new codes (uint8), the new constants, and the
# share of the update that arrived, a plain number: with M for what really moved, the new restored weight minus Ŵ, it is
#
# $$\frac{\sum M\,\Delta W}{\sum \Delta W^2}$$
#
# It is 1 if all arrives and 0 if nothing moves, and may be outside of these: rounding moves some weights too far.
#
# By hand, one block, the levels −1, −0.5, 0, 0.5, 1 and `absmax` 2: codes 4, 3 are the weights 2, 1. An update of 0, 0.4 makes them 2, 1.4; the
# constant stays 2, and 1.4/2 = 0.7 is nearest to 0.5. Nothing moved, and the share is 0. An update of 0, 0.8 moves 1 to 2: M is 0, 1, and the
# share 1·0.8/0.64 = 1.25.

# %% tags=["turn:merged_into_codes"]
def merged_into_codes(codes, absmax, levels, update):  # -> codes, absmax, share
    #> restore, add, measure, round, restore again, compare
    stored = levels[codes.long()] * absmax[:, None]
    merged = stored + update
    constants = merged.abs().amax(dim=1)
    distances = (merged / constants[:, None])[..., None] - levels  # [blocks, size, 16]
    again = distances.abs().argmin(dim=-1).to(torch.uint8)
    moved = levels[again.long()] * constants[:, None] - stored
    share = (moved * update).sum() / (update * update).sum()
    return again, constants, share.item()
    #<

# %% [markdown] tags=["hint:merged_into_codes"]
# **A first hint.** `levels[codes.long()] * absmax[:, None]` is Ŵ. `.abs().amax(dim=1)` is the largest absolute value of each row.
#
# **A second hint.** `values[..., None] - levels` has all 16 differences of each value; `.abs().argmin(dim=-1)` is the nearest one's place.
#
# **Help, the share is off.** M is not ΔW and not the error: restore the new codes with the *new* constants, and take the old restored weight away.

# %% tags=["check:merged_into_codes"]
merged_into_codes = check("merged_into_codes", merged_into_codes)

# %% [markdown]
# Updates of different sizes, beside weights of a typical size of 1:

# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
levels, W = torch.linspace(-1, 1, 16), torch.randn(500, 64)
absmax = W.abs().amax(dim=1)
codes = ((W / absmax[:, None])[..., None] - levels).abs().argmin(dim=-1).to(torch.uint8)
for strength in (0.02, 0.05, 0.1, 0.2, 0.5):
    share = merged_into_codes(codes, absmax, levels, strength * torch.randn(500, 64))[2]
    print(f"an update of {strength:.0%} of the weights: {share:.0%} of it arrives")

# %% [markdown] tags=["task:bits_for"]
# ## 4. A puzzle: into the budget
#
# difficulty 4 of 5 · importance 3 of 5 · 25 minutes
#
# A server has room for a model of twelve layers only if most of them are stored in few bits. For each layer there are four formats, of 2, 3, 4 and 8 bits:
# `sizes[i][j]` says what layer i takes in format j, in whole KB, `errors[i][j]` what harm that does, on a scale on which harms add. Return a list of
# twelve places j. Their sizes add up to `budget` at most, and the sum of their errors should be small.
#
# The check draws eight models, with layers of very different sizes and needs, and adds up itself. Your answer is right if it keeps to every budget and,
# over the eight, beats the best single format for all layers. Then it has a score: its error in % of the least possible one, in the model where it does
# worst. The best known is 100, always. One format for all would have some 400. The best known answer takes a fifth of a second for all eight; trying all 4¹²
# choices would take minutes for each.
#
# A small example, two layers and two formats: sizes [[2, 4], [6, 12]], errors [[5, 1], [6, 2]], budget 14. [0, 1] takes 14 and has the error 7; [1, 0] takes
# 10 and has the error 7, too; [1, 1] takes 16.

# %% tags=["turn:bits_for"]
def bits_for(sizes, errors, budget):  # -> a place for each layer
    #> layer by layer: for every number of KB the least error so far, and the choices that lead to it
    best = {0: (0.0, [])}  # KB used -> error, choices
    for of_size, of_error in zip(sizes, errors):
        longer = {}
        for used, (error, choices) in best.items():
            for j in range(len(of_size)):
                total, harm = used + of_size[j], error + of_error[j]
                if total <= budget and (total not in longer or harm < longer[total][0]):
                    longer[total] = (harm, choices + [j])
        best = longer
    return min(best.values())[1]
    #<

# %% [markdown] tags=["hint:bits_for"]
# **A first hint.** Begin with 2 bits for every layer, and ask which single change takes away most error *per KB*. Repeat while it fits. That is right, and
# not yet the best.
#
# **A second hint.** What a layer's choice leaves to the later ones is a number of KB and nothing else. Of all ways to spend the same number of KB on the
# layers so far, only the one of least error can be part of the best answer.
#
# **A third hint.** So keep a dictionary from KB to (error, choices), and make the next one layer by layer. It never has more entries than the budget
# has KB.

# %% tags=["check:bits_for"]
bits_for = check("bits_for", bits_for)

# %% [markdown]
# Four real layers, so to speak: one has outliers, one is large. Which gets the bits?

# %% tags=["nbval-ignore-output"]
def harm(W, bits):  # squared error of an even grid, a constant per row
    half = 2 ** (bits - 1) - 1
    step = W.abs().amax(dim=1, keepdim=True) / half
    return float((W - (W / step).round() * step).square().sum())


torch.manual_seed(0)
layers = {"plain": torch.randn(64, 64), "large": torch.randn(256, 64), "with outliers": torch.randn(64, 64) ** 3, "small weights": 0.1 * torch.randn(64, 64)}
sizes = [[W.numel() * bits // 8192 for bits in (2, 3, 4, 8)] for W in layers.values()]
errors = [[harm(W, bits) for bits in (2, 3, 4, 8)] for W in layers.values()]
choices = bits_for(sizes, errors, budget=15)
for name, of, j in zip(layers, sizes, choices):
    print(f"{name}: {(2, 3, 4, 8)[j]} bits, {of[j]} KB")
