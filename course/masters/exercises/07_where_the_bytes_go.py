# %% [markdown]
# # Exercises: where the bytes go
#
# Read an allocator's diary, choose how much checkpointing repeats, and compute a loss without ever holding all logits. They go with
# lesson [07](../notebooks/07_where_the_bytes_go.ipynb) and take about 45 minutes.

# %%
import math

import torch
from torch.nn import functional as F

from lora_lab.exercises import check

# %% [markdown] tags=["task:peak_of_diary"]
# ## 1. An allocator's diary
#
# difficulty 2 of 5 · importance 4 of 5 · 12 minutes
#
# Memory on a GPU is taken and given back in pieces. CUDA's allocator rounds each piece up to a multiple of 512 bytes.
#
# In: `diary`, a list of lines `[what, name, size]` in the order of time. `what` is `"alloc"` or `"free"`, `size` the bytes that were
# asked for (both lines of a piece give the same). A name may be used again once it is free. Out: `(most, names)`: the most bytes that
# were alive at once, after rounding, and a sorted list of the names that were alive when so much was reached for the first time.
#
# For `[["alloc", "w", 600], ["alloc", "a", 100], ["free", "a", 100], ["alloc", "g", 513]]` it is `(2048, ["g", "w"])`.

# %% tags=["turn:peak_of_diary"]
def peak_of_diary(diary):
    #> keep what is alive, and look after every line
    alive = {}
    most, names = 0, []
    for what, name, size in diary:
        if what == "alloc":
            alive[name] = math.ceil(size / 512) * 512
        else:
            del alive[name]
        total = sum(alive.values())
        if total > most:
            most, names = total, sorted(alive)
    return most, names
    #<

# %% [markdown] tags=["hint:peak_of_diary"]
# **A first hint.** A dictionary from name to rounded size holds what is alive. `alive.pop(name)` takes one out.
#
# **A second hint.** `math.ceil(size / 512) * 512` rounds up. After each line compare `sum(alive.values())` with the most so far.
#
# **Help, my names are those of the end.** `sorted(alive)` makes a new list; `alive.keys()` goes on changing with the dictionary.

# %% tags=["check:peak_of_diary"]
peak_of_diary = check("peak_of_diary", peak_of_diary)

# %%
MB = 10**6
step = [["alloc", "weights", 400 * MB]]
step += [["alloc", f"layer {n}", 60 * MB] for n in range(8)]
step += [["alloc", "logits", 300 * MB], ["alloc", "gradient of logits", 300 * MB], ["free", "logits", 300 * MB]]
for n in reversed(range(8)):
    step += [["alloc", f"gradient {n}", 50 * MB], ["free", f"layer {n}", 60 * MB]]
most, names = peak_of_diary(step)
print(f"{most / MB:,.0f} MB, with {', '.join(names)}")

# %% [markdown] tags=["task:best_segment"]
# ## 2. Where to put the checkpoints
#
# difficulty 3 of 5 · importance 3 of 5 · 18 minutes
#
# Lesson 07 checkpointed every layer. One can also take several layers together, a *segment*, and put aside only what enters the
# segment. In the backward pass a segment is run again, and then all its layers keep what they need until it is done. The *last*
# segment is not checkpointed: the backward pass begins with it, so it keeps what it needs at once, puts nothing aside, and is not run
# again.
#
# In: `layers`; bytes that `enter` a layer; bytes that one layer `keeps` while its segment is at work. Segments have `size` layers, the
# last one may be shorter. At most these bytes are alive:
#
# - what entered each segment but the last,
# - and what the layers of one segment of `size` layers keep.
#
# Out: `(size, needed, twice)`: the size from 1 to `layers` that needs the fewest bytes, of equals the largest; those bytes; and how many
# layers are run twice.
#
# For 11 layers, 6 bytes that enter, 6 that one keeps: segments of 4 are 4 + 4 + 3 layers, 2 · 6 + 4 · 6 = 36 bytes, and 8 layers run
# twice. Segments of 3 need 3 · 6 + 3 · 6 = 36 too, all others more; of these two, 4 is the larger: `(4, 36, 8)`.

# %% tags=["turn:best_segment"]
def best_segment(layers, enters, keeps):
    #> try every size
    best = None
    for size in range(1, layers + 1):
        before_last = math.ceil(layers / size) - 1
        needed = before_last * enters + size * keeps
        if best is None or needed <= best[1]:
            best = size, needed, before_last * size
    return best
    #<

# %% [markdown] tags=["hint:best_segment"]
# **A first hint.** `math.ceil(layers / size)` segments; all but one of them put something aside, and all but one run twice.
#
# **A second hint.** Going up from size 1, `<=` lets the later, larger one of two equals win.
#
# **A third hint.** All segments but the last are full, so the layers run twice are a product.

# %% tags=["check:best_segment"]
best_segment = check("best_segment", best_segment)

# %%
layers = 64
for name, enters, keeps in (("a chain that keeps what enters", 1, 1), ("a block that keeps 17 times as much", 1, 17)):
    size, needed, twice = best_segment(layers, enters, keeps)
    print(f"{name}: segments of {size}, {needed} in place of {layers * keeps}, {twice} of {layers} layers twice")

# %% [markdown]
# For the chain it is √64 = 8, the root that the [paper](https://arxiv.org/abs/1604.06174) is known for. A Llama's block keeps far more
# than what enters it, so the best segments are short. `gradient_checkpointing_enable()` takes one layer each: that needs
# 63 + 17 = 80, not much more than the best, and is simpler.

# %% [markdown] tags=["task:loss_in_chunks"]
# ## 3. A loss without the hump
#
# difficulty 3 of 5 · importance 5 of 5 · 15 minutes
#
# With 128,256 words, the logits of 8,192 tokens are 4.2 GB in fp32. The loss is a mean over tokens, so it can be made some rows at a
# time.
#
# In: `head`, a function that makes logits [rows, words] of hidden states [rows, h]; `hidden` [tokens, h]; `labels` [tokens], for each
# row the word that follows, or −100 where none counts; `chunk`, how many rows the head may be given at most. Out: the mean cross-entropy
# over all labels that are not −100, as one number. Keep no logits beyond the turn of their chunk. `chunk` need not divide the tokens, and a
# chunk may have no label at all.
#
# For losses 1, 2 in the first chunk of two, and 6 and −100 in the second, it is (1 + 2 + 6) / 3 = 3.

# %% tags=["turn:loss_in_chunks"]
def loss_in_chunks(head, hidden, labels, chunk):
    #> sums and counts, chunk by chunk
    total, count = 0.0, 0
    for start in range(0, len(hidden), chunk):
        own = labels[start : start + chunk]
        logits = head(hidden[start : start + chunk])
        total += F.cross_entropy(logits, own, reduction="sum").item()  # −100 is left out
        count += (own != -100).sum().item()
    return total / count
    #<

# %% [markdown] tags=["hint:loss_in_chunks"]
# **A first hint.** `F.cross_entropy(logits, labels)` leaves labels of −100 out, and takes the mean. With `reduction="sum"` it gives the
# sum.
#
# **A second hint.** `hidden[start : start + chunk]` is short at the end by itself.
#
# **Help, it says NaN.** The mean over no label is 0 / 0. Sums have no such trouble.

# %% tags=["check:loss_in_chunks"]
loss_in_chunks = check("loss_in_chunks", loss_in_chunks)

# %%
torch.manual_seed(0)
with torch.no_grad():
    hidden, head, labels = torch.randn(1000, 64), torch.nn.Linear(64, 5000, bias=False), torch.randint(5000, (1000,))
    labels[::3] = -100
    at_once = F.cross_entropy(head(hidden), labels).item()
    print(f"all logits, {1000 * 5000 * 4 / 1e6:.0f} MB: {at_once:.4f}; "
          f"128 rows, {128 * 5000 * 4 / 1e6:.1f} MB: {loss_in_chunks(head, hidden, labels, 128):.4f}")
