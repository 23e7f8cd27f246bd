# %% [markdown] tags=["slide"]
# # Kernels you can read
#
# Every QLoRA step restores each frozen weight twice, and with checkpointing three times. With PyTorch's own operations, on an H100,
# that took this library **17 times as long as a copy** of the bytes that must move (8192 × 8192, into bfloat16). How near to the copy a program
# of twenty lines comes, you will guess.
#
# By the end you have typed the loop that does it, know what bounds it, and have turned it into a GPU program.
#
# | for you | on 2 CPU cores | on a T4 | memory | builds on |
# |---|---|---|---|---|
# | 66 minutes | under a minute | not measured | about 1 GB | 09, 11 |

# %% [markdown] tags=["minutes:12"]
# ## 1. What a byte costs
#
# To restore a weight is hardly any work: a look-up and a multiplication. But numbers come from memory and go back there. A copy does
# nothing else.
#
# The weight of a layer, [4096, 4096], as lesson 09 packs it: two codes a byte, one constant (*absmax*) for each 64 weights.

# %%
import time

import numpy as np
import torch
from lora_lab import quant, records, show
from lora_lab.exercises import check, guesses, results
from numba import njit  # brought by pip install "lora_lab[fast]"


def ms(run, *given, times=5):
    taken = []  # the shortest of a few runs: what the machine can do when nobody disturbs it
    for _ in range(times):
        start = time.perf_counter()
        run(*given)
        taken.append(time.perf_counter() - start)
    return 1000 * min(taken)

# %% tags=["nbval-ignore-output"]
torch.set_num_threads(1)  # one worker, so that we know what we compare
quant.use_kernels(False)  # the library has kernels of this kind: later
stored = quant.quantize(torch.randn(4096, 4096))
packed, absmax, levels = stored.packed, stored.absmax, quant.NF4.values
restored, other, n = torch.empty(4096, 4096), torch.randn(4096, 4096), 4096 * 4096
copy_ms = ms(restored.copy_, other)  # reads as many bytes as it writes
read_ms = ms(torch.mv, other, other[0])  # a product with one vector only reads
bandwidth = 1000 * max(2 * restored.nbytes / copy_ms, other.nbytes / read_ms)  # bytes a second
rows = [["codes", f"{packed.nbytes / 1e6:.1f} MB"], ["constants", f"{absmax.nbytes / 1e6:.1f} MB"],
        ["restored, float32", f"{restored.nbytes / 1e6:.1f} MB"], ["copying that", f"{copy_ms:.1f} ms"],
        ["the fastest that one core moves", f"{bandwidth / 1e9:.0f} GB a second"]]
show.table(rows, ["4096 × 4096 weights", ""])

# %% [markdown]
# The usual way, in PyTorch: unpack the codes, look up their levels, multiply by the constants. (`index_select` wants 32-bit codes.)

# %%
def in_lines():
    high, low = packed >> 4, packed & 15
    both = torch.stack([high, low], dim=1)
    codes = both.flatten().int()
    values = levels.index_select(0, codes)
    return high, low, both, codes, values, values.view(-1, 64) * absmax[:, None]

# %% [markdown]
# **Guess:** how many times as long as copying the restored weight do these lines take, into memory already there?

# %% tags=["guess:times_copy", "slide"]
times_copy = 3  #? times the copy's time, PyTorch's lines | 0.6: "they read a seventh of the bytes and write as many": but each line reads what the one before wrote | 1: "as many bytes are written at the end": and by every line before it

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(times_copy=times_copy)
high, low, both, codes, values, weight = in_lines()


def again():  # the same lines, into memory that is there already
    torch.bitwise_right_shift(packed, 4, out=high), torch.bitwise_and(packed, 15, out=low)
    torch.stack([high, low], dim=1, out=both)
    codes.copy_(both.flatten())
    torch.index_select(levels, 0, codes, out=values)
    torch.mul(values.view(-1, 64), absmax[:, None], out=weight)


new_ms, there_ms = ms(in_lines), ms(again)
copy_new_ms = ms(lambda: torch.empty(4096, 4096).copy_(other))
guessed.against(times_copy=there_ms / copy_ms)
rows = [["PyTorch's lines", f"{new_ms:.0f} ms", f"{there_ms:.0f} ms"], ["a copy", f"{copy_new_ms:.0f} ms", f"{copy_ms:.0f} ms"]]
show.table(rows, ["", "into new memory", "into memory that is there"])

# %% [markdown]
# Two things cost. *New memory*: the system hands it out page by page at the first touch, and a copy pays, too. So write into memory
# that is there. And the *passes*: each line reads what the one before wrote. In bytes:

# %% tags=["slide"]
moved = {"high halves": (0.5, 0.5), "low halves": (0.5, 0.5), "side by side": (1, 1), "to 32 bits": (1, 4), "look up": (4, 4),
         "multiply": (4.0625, 4)}  # read and written, for each weight
one_pass = (0.5625, 4.0)
lines_bytes, pass_bytes = sum(map(sum, moved.values())), sum(one_pass)
show.figure(*show.passes_schematic(moved, one_pass))

# %% [markdown]
# For each weight PyTorch's lines move 25 bytes, three times a copy's; 4.6 would do. Code that works on many numbers at one
# call is a *[kernel](../course/glossary.md#kernel)*: each of PyTorch's operations is one. To do several steps in one is to
# *[fuse](../course/glossary.md#fuse)* them.

# %% [markdown] tags=["minutes:16"]
# ## 2. Your turn: the loop
#
# We write it in plain Python, number by number, and let a compiler,
# [Numba](https://numba.readthedocs.io/en/stable/user/5minguide.html), make machine code of it.
#
# **Your turn.** Importance: the lesson. Difficulty: a loop of three lines. 8 minutes.
#
# `packed` [n/2] holds two codes a byte, the high half first; `absmax` a constant for each `block_size` numbers; `levels`
# the 16 levels. They are NumPy arrays, for Numba. Write each number to `out` [n], which is there already, and return it.

# %% tags=["turn:restore_loop", "slide"]
def restore_loop(packed, absmax, levels, block_size, out):
    half = block_size // 2  # bytes of a block
    for block in range(len(absmax)):
        constant, two = absmax[block], packed[block * half : (block + 1) * half]
        numbers = out[block * block_size : (block + 1) * block_size]  # a view: what is written there is in out
        #> for each byte in two: its two codes, their levels times the constant, into numbers
        for i in range(len(two)):
            numbers[2 * i] = levels[two[i] >> 4] * constant
            numbers[2 * i + 1] = levels[two[i] & 15] * constant
        #<
    return out

# %% [markdown] tags=["hint:restore_loop"]
# **A first hint.** Byte i of `two` holds the numbers 2i and 2i + 1 of the block.
#
# **A second hint.** `two[i] >> 4` is the high half of a byte, `two[i] & 15` the low one. A code is a place in `levels`.
#
# **Help, Numba cannot compile it.** It wants plain loops over numbers: no lists, no `@`, no `a if … else b` between codes, one type
# for each name.

# %% tags=["check:restore_loop"]
restore_loop = check("restore_loop", restore_loop)

# %% [markdown]
# Python first runs a 64th of it. **Guess:** compiled, how many times as fast will the same loop be?

# %% tags=["guess:compiled", "slide"]
compiled = 30  #? times as fast as Python is the same loop, compiled | 1: "the same loop takes the same steps": over NumPy's arrays, Python spends hundreds of instructions on each | 10: the usual "Python is ten times slower"; that is for code that mostly waits for libraries

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(compiled=compiled)
arrays = packed.numpy(), absmax.numpy(), levels.numpy()
out = np.empty(n, np.float32)
part = n // 64
few = packed.numpy()[: part // 2], absmax.numpy()[: part // 64], levels.numpy()
python_ms = 64 * ms(restore_loop, *few, 64, out, times=1)
fast_loop = njit(restore_loop)
first_ms = ms(fast_loop, *arrays, 64, out, times=1)  # with the compiler's work, once
loop_ms, in_cache_ms = ms(fast_loop, *arrays, 64, out), 64 * ms(fast_loop, *few, 64, out[:part])
as_many_ms = copy_ms * pass_bytes / 8  # a copy moves eight bytes for a number: four in, four out
guessed.against(compiled=python_ms / loop_ms)
ways = {"the loop in Python": python_ms, "the compiler, and the first run": first_ms, "PyTorch's lines, new memory": new_ms,
        "PyTorch's lines, memory that is there": there_ms, "the loop, compiled": loop_ms,
        "the same, all of it in the cache": in_cache_ms, "a copy of as many bytes": as_many_ms}
show.table([[name, f"{each:,.1f} ms"] for name, each in ways.items()], ["", "time for the whole weight"])

# %% [markdown]
# The loop's numbers are the library's, bit for bit. Its limit? The row before the last is the same work on a piece that stays in the
# processor's *[cache](../course/glossary.md#cache)*. Hardly faster? Then look-ups are the limit, no longer memory.

# %% [markdown] tags=["minutes:10"]
# ## 3. The roof over every kernel
#
# How fast can code be at all? It does $F$ operations and moves $Q$ bytes, and either may be the limit:
#
# $$\text{operations a second}\;\le\;\min\left(\text{peak},\;\frac{F}{Q}\cdot\text{bandwidth}\right)$$
#
# $F/Q$ is the *[arithmetic intensity](../course/glossary.md#arithmetic-intensity)*; drawn over it, the bound is a roof
# ([Williams, Waterman and Patterson, 2009](https://doi.org/10.1145/1498765.1498785)). Restoring does one
# multiplication for 4.6 bytes. A product of T tokens does 2T operations for each float32 weight, of 4 bytes. One core does
# some 20 to 250 billion operations a second.
#
# **Guess:** from how many tokens on is a dense product bound by arithmetic here, no longer by memory?

# %% tags=["guess:ridge_tokens", "slide"]
ridge_tokens = 40  #? tokens at which the roof turns flat, float32 on one core | 1: "a product is arithmetic": one token does two operations for four bytes read | 300: that is an H100's, in 16 bits: its arithmetic has outgrown its memory far more

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(ridge_tokens=ridge_tokens)
square = torch.randn(1024, 1024)
peak = 2 * 1024**3 / ms(torch.matmul, square, square) * 1000
dense = {tokens: ms(torch.matmul, torch.randn(tokens, 4096), other.T, times=3) for tokens in (1, 16, 256)}
bandwidth = max(bandwidth, 1000 * other.nbytes / dense[1])  # should the first measurement have had a bad moment
guessed.against(ridge_tokens=peak / bandwidth * 4 / 2)
dots = {"lines": (1 / lines_bytes, n / there_ms * 1000), "your loop": (1 / pass_bytes, n / loop_ms * 1000)}
for tokens, name in {1: "1 token", 16: "16 tokens", 256: "256 tokens"}.items():
    dots[name] = 2 * tokens / 4, 2 * tokens * n / dense[tokens] * 1000
share = dots["your loop"][1] / (bandwidth * dots["your loop"][0])
show.figure(*show.roofline(bandwidth, peak, dots, "your loop", f"Your loop reaches {share:.0%} of what memory allows"))

# %% [markdown]
# Under the slope only fewer bytes lift the bound. PyTorch's lines may stand nearer to their roof than your loop; theirs is lower. What is
# missing to it is uncounted work: a look-up is no operation of this roof.

# %% [markdown] tags=["minutes:12"]
# ## 4. One change of thought: from a loop to a GPU
#
# A GPU has thousands of workers, and a loop has an order. So it gives each worker the same code and a *number*. Stop thinking
# "for each block, do". Think: **"I am number `block`. What do I do?"** One worker's run is a *program*.

# %% tags=["slide"]
show.figure(*show.program_schematic(6))

# %% [markdown]
# **Your turn.** Importance: GPU kernels are written like this. Difficulty: three lines. 6 minutes.
#
# Both loops are gone: a block is handled as a whole. Take its bytes, make its codes, write its numbers to their place in `out`. No
# program may need another, or touch another's numbers.

# %% tags=["turn:restore_program", "slide"]
def restore_program(block, packed, absmax, levels, block_size, out):
    half = block_size // 2
    #> my bytes; their codes, high and low in turn; their levels times my constant
    mine = packed[block * half : block * half + half]
    codes = np.stack([mine >> 4, mine & 15], axis=1).reshape(-1)
    out[block * block_size : (block + 1) * block_size] = levels[codes] * absmax[block]
    #<
    return out

# %% [markdown] tags=["hint:restore_program"]
# **A first hint.** `packed[block * half : block * half + half]` are my bytes, all at once.
#
# **A second hint.** `np.stack([high, low], axis=1).reshape(-1)` puts them side by side: high, low, high, low.

# %% tags=["check:restore_program"]
restore_program = check("restore_program", restore_program)

# %%
written = np.zeros(512 * 64, np.float32)
for block in np.random.default_rng(0).permutation(512):  # in any order, as on a GPU
    restore_program(block, *arrays, 64, written)
different = int((written != out[: len(written)]).sum())
print(f"{different} of {len(written):,} numbers differ from the loop's")

# %% [markdown]
# In [Triton](https://triton-lang.org/main/getting-started/tutorials/01-vector-add.html), which compiles Python for GPUs, the solution above is line for line:
#
# ```python
# @triton.jit
# def restore_program(packed, absmax, levels, out, SIZE: tl.constexpr):  # SIZE: known when it is compiled
#     block = tl.program_id(0)                                        # I am number block
#     byte = block * (SIZE // 2) + tl.arange(0, SIZE // 2)            # places of my bytes
#     mine = tl.load(packed + byte).to(tl.int32)                      # from memory
#     codes = tl.reshape(tl.join(mine >> 4, mine & 15), (SIZE,))      # high, low in turn
#     numbers = tl.load(levels + codes) * tl.load(absmax + block)
#     tl.store(out + block * SIZE + tl.arange(0, SIZE), numbers)      # to memory
# ```
#
# <details><summary>How to read it</summary>A name such as `packed` stands for an address, and `packed + byte` for one address for each of my
# bytes. `tl.join` puts two side by side, as `np.stack` does. What CUDA calls a block is a group of threads, not our block of weights.</details>
#
# The [library's own](https://github.com/lora-lab/lora_lab/blob/main/lora_lab/quant/kernels/cuda.py) takes several blocks at a time and stops at the end.
#
# **Guess:** on an H100, what share of a copy's speed does it reach, into bfloat16?

# %% tags=["guess:copy_share", "slide"]
copy_share = 60  #? % of the speed of a copy that moves as many bytes, H100 | 6: that is PyTorch's own operations; each is a kernel of its own, started by itself, and passes over memory | 30: "a look-up is slower than a copy": on thousands of workers it hides behind memory

# %% tags=["reveal", "slide"]
guessed = guesses(copy_share=copy_share)
machine, rows = records.load("kernels")["machine"], []
for each in records.tried("kernels", shape=[8192, 8192], dtype="bfloat16"):
    if each["what"].startswith("restore"):
        times = each["ms"]
        for way, name in {"readable": "PyTorch's operations", "bitsandbytes": "bitsandbytes", "kernel": "our kernel"}.items():
            share = times["copy"] / times[way]
            rows.append([each["what"], name, str(each["launches"][way]), f"{times[way]:.3f} ms", f"{share:.0%}"])
plain = records.tried("kernels", what="restore", shape=[8192, 8192], dtype="bfloat16")[0]["ms"]
guessed.against(copy_share=100 * plain["copy"] / plain["kernel"])
caption = f"PyTorch's: the library's path without kernels, on slices. 8192 × 8192 into bfloat16; {machine['gpu']}, torch {machine['torch']}, triton {machine['triton']}"
show.table(rows, ["", "way", "kernels started", "time", "speed, a copy of as many bytes = 100%"], caption)

# %% [markdown]
# On a GPU thousands of look-ups are under way side by side, so that memory stays busy.

# %% [markdown] tags=["minutes:16"]
# ## 5. Never make the weight
#
# For one token a restored weight is multiplied once. Do not write it: restore a block into 64 numbers that stay in the cache,
# multiply, forget. That reads 0.56 bytes for a weight; restoring first, and then multiplying, moves 8.6.
#
# **Your turn.** Importance: a 4-bit model writes text so. Difficulty: two short loops. 8 minutes.
#
# One output, number `row`, of $y = x\hat W^\top$. `values` [block_size] is the room for one block. Two loops, not one: the second has no
# look-ups, and so the compiler can do several numbers at once.

# %% tags=["turn:dot_codes"]
def dot_codes(row, x, packed, absmax, levels, block_size, values):
    half, blocks, total = block_size // 2, len(x) // block_size, np.float32(0)
    for column in range(blocks):
        block, part = row * blocks + column, np.float32(0)
        two = packed[block * half : (block + 1) * half]
        some = x[column * block_size : (column + 1) * block_size]
        #> restore the levels of the bytes in two into values; add up values times some; times the constant
        for i in range(half):
            values[2 * i] = levels[two[i] >> 4]
            values[2 * i + 1] = levels[two[i] & 15]
        for i in range(block_size):
            part += values[i] * some[i]
        total += part * absmax[block]
        #<
    return total

# %% [markdown] tags=["hint:dot_codes"]
# **A first hint.** The inner part is your first loop without the constant, into `values`. Then a second short loop adds
# `values[i] * some[i]` to `part`.
#
# **A second hint.** The constant is the same for the whole block: multiply the part by it once.

# %% tags=["check:dot_codes"]
dot_codes = check("dot_codes", dot_codes)

# %% [markdown]
# It moves a seventh of the dense product's bytes. **Guess:** how many times as fast as the dense product is it, for one token?

# %% tags=["guess:fused_speed", "slide"]
fused_speed = 4  #? times as fast as the dense product, one token, one core | 7: "a seventh of the bytes": that holds as long as bytes are the limit, and then look-ups are | 1: not far: what the bytes save, the look-ups take back, and more

# %% tags=["nbval-ignore-output"]
guessed = guesses(fused_speed=fused_speed)
inner = njit(inline="always")(dot_codes)  # into its caller, so that what the caller permits holds for it


@njit(fastmath={"reassoc", "contract"})  # a sum may take its terms in any order: so several go at once
def product(x, packed, absmax, levels, block_size, y):
    values = np.empty(block_size, np.float32)
    for row in range(len(y)):
        y[row] = inner(row, x, packed, absmax, levels, block_size, values)


x, y, made = torch.randn(1, 4096), np.empty(4096, np.float32), torch.from_numpy(out).view(4096, 4096)
product(x[0].numpy(), *arrays, 64, y)
off = float(np.abs(y - (x @ made.T)[0].numpy()).max())

# %% tags=["nbval-ignore-output", "slide"]
fused_ms, dense_ms = ms(product, x[0].numpy(), *arrays, 64, y), ms(torch.matmul, x, made.T)
bandwidth = max(bandwidth, 1000 * made.nbytes / dense_ms)
guessed.against(fused_speed=dense_ms / fused_ms)
ways = {"dense, float32": (dense_ms, 4), "PyTorch's lines, then dense": (there_ms + dense_ms, lines_bytes + 4),
        "your loop into out, then dense": (loop_ms + dense_ms, pass_bytes + 4), "fused": (fused_ms, 0.5625)}
rows = [[name, f"{each:.1f} ms", f"{size:.2f}", f"{n * size / each / 1e6:.1f} GB"] for name, (each, size) in ways.items()]
show.table(rows, ["one token", "time", "bytes a weight", "moved a second"])
dots["fused, 1 token"] = 2 / 0.5625, 2 * n / fused_ms * 1000
share = dots["fused, 1 token"][1] / min(peak, bandwidth * dots["fused, 1 token"][0])
title = f"Fused, at {share:.0%} of its roof{': bytes are not its limit' if share < 0.5 else ''}"
show.figure(*show.roofline(bandwidth, peak, dots, "fused, 1 token", title))

# %% [markdown]
# Fused beats PyTorch's lines several times over, your loop and a dense product by little, and a dense product alone only where memory is
# slow. With a seventh of the bytes the roof is high, and uncounted work holds the dot down: look-ups, and sums that wait for what was just
# written. Four bits save memory first, and would save time where memory is scarcer than instructions.

# %% [markdown] tags=["optional"]
# **Optional: the library with its kernels.** They are these loops and two ideas more. A table holds the 256 pairs of levels, each pair as one
# number of 64 bits, so that a byte is *one* look-up. And 512 numbers are looked up before the first of them is used, for what has just been
# written in small pieces is slow to read in large ones. They are on from the start; only this lesson switched them off. At 256 tokens the
# product's own arithmetic is the limit, with them and without.

# %% tags=["optional", "nbval-ignore-output"]
layer = quant.Linear4bit.from_linear(torch.nn.Linear(4096, 4096, bias=False))
rows = []


def step(x):
    layer(x).sum().backward()


for tokens in (1, 16, 256):
    x, pair = torch.randn(tokens, 4096, requires_grad=True), []
    for on in (False, True):
        quant.use_kernels(on)
        step(x)
        pair.append(ms(step, x, times=3))
    rows.append([str(tokens), *(f"{each:.0f} ms" for each in pair), f"{pair[0] / pair[1]:.1f}"])
show.table(rows, ["tokens", "forward and backward, readable", "with kernels", "times as fast"])

# %% tags=["assert"]
quant.use_kernels(True)
assert torch.equal(made, stored.dequantize()) and torch.equal(weight.view(4096, 4096), made)
assert different == 0 and off < 1e-2
assert plain["copy"] / plain["kernel"] > 0.9 and round(plain["readable"] / plain["copy"]) == 17

# %% tags=["nbval-ignore-output"]
results("33")

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# - **Is this code worth a kernel?** Count the bytes that it moves and those that it must move. Several passes over large tensors
#   with little arithmetic: yes. A product of thousands of tokens: no. Try `torch.compile` first: it makes one or two kernels of such lines.
# - **Is my kernel good?** Compare it with a copy of as many bytes, in one run. Near it, stop.
# - **Will four bits be faster?** Where memory is the limit and look-ups are not: measure.
#
# ## What was not shown
#
# - Several cores at one memory: the roof's flat part rises with each, its slope until the memory itself is the limit.
# - A GPU at work: the figures are a record. For one token (4096 × 4096) bitsandbytes' one fused kernel takes two thirds of the time of
#   our layer's three.
#
# ## What to try
#
# - A table of the pairs of levels in `dot_codes`: as float32 [256, 2], then as `pairs.view(np.int64)` through a view
#   of `values`, made once before the loops. Which is faster, and why?
# - `njit(parallel=True)` and `prange` over the blocks: what brings a second core?
#
# ## Three questions
#
# 1. Two lines of PyTorch, each as fast as the memory allows, take together longer than they need. Why?
#
# <details><summary>Answer</summary>The first writes its result to memory and the second reads it from there. Fused, that way
# there and back is gone.</details>
#
# 2. A kernel stands on the roof's slope. The GPU is replaced by one with twice the arithmetic and the same memory. What happens?
#
# <details><summary>Answer</summary>Nothing: there, bandwidth is the limit.</details>
#
# 3. Why may programs on a GPU not depend on their order?
#
# <details><summary>Answer</summary>They run at the same time, as many as there is room for, in no order that one could rely
# on. What one writes, another may not have yet.</details>
#
# ## Next
#
# What else is there, and what is planned: the [syllabus](../course/syllabus.md).
