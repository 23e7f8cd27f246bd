# %% [markdown] tags=["slide"]
# # Kernels you can read
#
# Every QLoRA step restores each frozen weight twice or, with checkpointing, three times. On an H100 PyTorch's operations, slice by slice, took **1.06 ms** for
# one of 8192 × 8192, into bfloat16, where a copy of as many bytes took 0.06. How near a program of twenty lines comes, you will guess.
#
# By the end you have typed the loop that does it, know what bounds it, and have turned it into a GPU program.
#
# | for you | on 2 CPU cores | on a T4 | memory | builds on |
# |---|---|---|---|---|
# | 64 minutes | under a minute | the same: no GPU is used | about 1 GB | 09, 11 |

# %% [markdown] tags=["minutes:12"]
# ## 1. What a byte costs
#
# To restore a weight is hardly any work: a look-up and a multiplication. But numbers come from memory and go back there. A copy does nothing
# else. The *bandwidth*, the most bytes that memory moves in a second, is measured by a copy and by a sum, which only reads: the better counts.
#
# A layer's weight, [4096, 4096], as lesson 09 packs it: two codes a byte, one constant (*absmax*) for each 64 weights.

# %%
import time
from functools import partial

import numpy as np
import torch
from lora_lab import quant, records, show
from lora_lab.exercises import check, guesses, results


def best(runs, rounds=10):
    shortest = dict.fromkeys(runs, np.inf)  # milliseconds of each run when nobody disturbs it
    for _ in range(rounds):
        for name, run in runs.items():  # in turn, so that a bad moment meets all of them
            start = time.perf_counter()
            run()
            shortest[name] = min(shortest[name], 1000 * (time.perf_counter() - start))
    return shortest

# %% tags=["nbval-ignore-output"]
torch.set_num_threads(1)  # one worker, so that we know what we compare
quant.use_kernels(False)  # the library's fast loops: off until later
stored = quant.quantize(torch.randn(4096, 4096))
packed, absmax, levels = stored.packed, stored.absmax, quant.NF4.values
restored, other, n = torch.empty(4096, 4096), torch.randn(4096, 4096), 4096 * 4096
copy, read = (lambda: restored.copy_(other)), other.sum  # a sum only reads
took = best({"copy": copy, "read": read})
bandwidth = 1000 * max(2 * restored.nbytes / took["copy"], other.nbytes / took["read"])  # bytes a second
rows = [["codes", f"{packed.nbytes / 1e6:.1f} MB"], ["constants", f"{absmax.nbytes / 1e6:.1f} MB"],
        ["restored, float32", f"{restored.nbytes / 1e6:.1f} MB"], ["copying that", f"{took['copy']:.1f} ms"],
        ["bandwidth of one core", f"{bandwidth / 1e9:.0f} GB a second"]]
show.table(rows, ["4096 × 4096 weights", ""])

# %% [markdown]
# In PyTorch: unpack codes, look up levels, multiply by constants. *PyTorch's lines*, from now on:

# %%
def in_lines():
    high, low = packed >> 4, packed & 15
    both = torch.stack([high, low], dim=1)
    codes = both.flatten().int()
    values = levels.index_select(0, codes)
    return high, low, both, codes, values, values.view(-1, 64) * absmax[:, None]  # all six: a later cell writes into them

# %% [markdown]
# **Guess:** how many times as long as a copy of the restored weight do these lines take, each result's memory being there already?

# %% tags=["guess:times_copy", "slide"]
times_copy = 3  #? times the copy's time, PyTorch's lines | 3: unpack, look up, multiply: but there are six results, each written, and some lines are slower than memory | 1: "as many bytes are written at the end": and by two lines before it | 2: unpack and look up, each a pass: there are six

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(times_copy=times_copy)
high, low, both, codes, values, weight = in_lines()
lines = {"high halves": lambda: torch.bitwise_right_shift(packed, 4, out=high),  # the same, into memory that is there
         "low halves": lambda: torch.bitwise_and(packed, 15, out=low),
         "side by side": lambda: torch.stack([high, low], dim=1, out=both),
         "to 32 bits": lambda: codes.copy_(both.flatten()),
         "look up": lambda: torch.index_select(levels, 0, codes, out=values),
         "multiply": lambda: torch.mul(values.view(-1, 64), absmax[:, None], out=weight)}
each_ms = best({"a copy": copy, **lines})
copy_ms = each_ms.pop("a copy")
there_ms, new = sum(each_ms.values()), best({"a copy": lambda: torch.empty(4096, 4096).copy_(other), "lines": in_lines}, rounds=5)
guessed.against(times_copy=there_ms / copy_ms)
rows = [["a copy", new["a copy"], copy_ms], ["PyTorch's lines", new["lines"], there_ms]]
show.table([[name, f"{fresh:.0f} ms", f"{there:.1f} ms"] for name, fresh, there in rows], ["", "new memory", "memory that is there"])

# %% [markdown]
# *New memory* costs most, even for a copy: the system hands it out in small pages, each cleared when first touched. From here on memory is
# reused. Next come the *passes*: each line reads what the one before wrote.

# %% tags=["nbval-ignore-output", "slide"]
moved = {"high halves": (0.5, 0.5), "low halves": (0.5, 0.5), "side by side": (1, 1), "to 32 bits": (1, 4), "look up": (4, 4),
         "multiply": (4 + 4 / 64, 4)}  # bytes read and written, for each weight; a constant is 4 bytes for 64
one_pass, a_copy = (0.5 + 4 / 64, 4), 4 + 4
lines_bytes, pass_bytes = sum(map(sum, moved.values())), sum(one_pass)
show.figure(*show.passes_schematic(moved, one_pass))
rows = [[name, f"{copy_ms * sum(moved[name]) / a_copy:.1f} ms", f"{each:.1f} ms"] for name, each in each_ms.items()]
rows.append(["together", f"{copy_ms * lines_bytes / a_copy:.1f} ms", f"{there_ms:.1f} ms"])
show.table(rows, ["", "its bytes at a copy's speed", "measured"])

# %% [markdown]
# PyTorch's lines move 25 bytes for a weight; 4.6 would do. And bytes are only part of it: some lines (which?) are far slower than memory. Code that runs over many numbers at one call is a *[kernel](../course/glossary.md#kernel)*: each line calls at least one. To do
# several steps in one is to *[fuse](../course/glossary.md#fuse)* them.

# %% [markdown] tags=["minutes:14"]
# ## 2. Your turn: the loop
#
# In plain Python; a compiler, [Numba](https://numba.readthedocs.io/en/stable/user/5minguide.html), will make machine code of it.
#
# **Your turn.** Importance: the lesson. Difficulty: a loop of three lines. 8 minutes.
#
# `packed` [n/2] holds two codes a byte, the high half first; `absmax` a constant for each `block_size` numbers; `levels`
# the 16 levels: NumPy arrays, for Numba. Write each number to `out` [n] and return it. Number by number,
# with a `for`: a line with whole arrays would make new ones, as PyTorch's do.

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
# Plain Python restores a 64th of the weight; its time is multiplied by 64. **Guess:** how many times as fast as Python is the same loop, compiled?

# %% tags=["guess:compiled", "slide"]
compiled = 100  #? times as fast as Python is the same loop, compiled | 100: true of loops over lists; here each number becomes an object of NumPy's first | 10: the usual "Python is ten times slower"; that is for code that mostly waits for libraries

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(compiled=compiled)
from numba import njit  # pip install "lora_lab[fast]" brings it

arrays, out = (packed.numpy(), absmax.numpy(), levels.numpy()), np.empty(n, np.float32)
few, some = (arrays[0][: n // 128], arrays[1][: n // 4096], arrays[2]), out[: n // 64]  # a 64th
fast_loop = njit(restore_loop)
python, loop = (lambda: restore_loop(*few, 64, some)), (lambda: fast_loop(*arrays, 64, out))
first_ms = best({"": loop}, rounds=1)[""]  # with the compiler's work, once
loop_ms, python_ms = best({"": loop})[""], 64 * best({"": python}, rounds=1)[""]
guessed.against(compiled=python_ms / loop_ms)
ways = {"the loop in Python": python_ms, "the compiler, and the first run": first_ms, "PyTorch's lines": there_ms,
        "the loop, compiled": loop_ms}
rows = [[name, f"{each:,.1f} ms", f"{each / loop_ms:,.1f}"] for name, each in ways.items()]
show.table(rows, ["the whole weight", "time", "your loop = 1"])

# %% [markdown]
# One pass in place of six; the numbers are the library's, bit for bit. What limits the loop now? Two trials tell: on a 64th of the weight, which stays in the
# processor's *[cache](../course/glossary.md#cache)*, and with the look-up taken out: code 5 becomes the number 5, wrong, but as many bytes.
#
# <details><summary>Is all of it won by fewer passes?</summary>No. On our recorded core six loops, each compiled by itself, took 15 ms, PyTorch's lines
# 20 and your loop 4: PyTorch's stacking and looking up are slow here; passes are the rest.</details>

# %% tags=["nbval-ignore-output"]
@njit
def no_look_up(packed, absmax, block_size, out):
    half = block_size // 2
    for block in range(len(absmax)):
        constant, two = absmax[block], packed[block * half : (block + 1) * half]
        numbers = out[block * block_size : (block + 1) * block_size]
        for i in range(len(two)):
            numbers[2 * i] = np.float32(two[i] >> 4) * constant
            numbers[2 * i + 1] = np.float32(two[i] & 15) * constant


spare = restored.view(-1).numpy()  # so that out keeps the right numbers
took = best({"a copy": copy, "your loop": loop, "without look-ups": partial(no_look_up, *arrays[:2], 64, spare)}, rounds=40)
part = best({"your loop": partial(fast_loop, *few, 64, some), "without look-ups": partial(no_look_up, *few[:2], 64, spare[: n // 64])})
rows = [[name, f"{took[name]:.1f} ms", f"{64 * part[name]:.1f} ms"] for name in part]
rows.append(["a copy of as many bytes", f"{took['a copy'] * pass_bytes / a_copy:.1f} ms", ""])
show.table(rows, ["", "the whole weight", "64 times a 64th, in the cache"])

# %% [markdown]
# <details><summary>What does your loop wait for?</summary>
#
# Not for memory: its two times are close. For look-ups: without them it takes far less.
# (If not, another program had the core: run the cell again.) Where a number is looked up the compiler handles one at a time; without, several at
# once (*SIMD*): then memory is the limit.
#
# </details>

# %% [markdown] tags=["minutes:9"]
# ## 3. The roof over every kernel
#
# Code does $F$ operations and moves $Q$ bytes, and either may be the limit:
#
# $$\text{operations a second}\;\le\;\min\left(\text{peak},\;\frac{F}{Q}\cdot\text{bandwidth}\right)$$
#
# $F/Q$ is the *[arithmetic](../course/glossary.md#arithmetic-intensity)*, or operational, *intensity*; drawn over it, the bound is a roof
# ([Williams, Waterman and Patterson, 2009](https://doi.org/10.1145/1498765.1498785)). Restoring does one
# multiplication for 4.6 bytes; $x\hat W^\top$ for T tokens does 2T operations for each float32 weight of 4 bytes. The *peak* of one core: 3 to 5 billion
# steps a second, of 16 to 64 operations each (a Mac's matrix unit does more). Your bandwidth stands in the first table.
#
# **Guess:** from how many tokens on does arithmetic, no longer memory, bound a dense product here?

# %% tags=["guess:ridge_tokens", "slide"]
ridge_tokens = 40  #? tokens at which the roof turns flat, float32 on one core | 40: down from a GPU's hundreds, but not far enough: a core has less arithmetic for its memory | 300: that is an H100's, in 16 bits: its arithmetic has outgrown its memory far more | 1: "a product is arithmetic": one token does two operations for four bytes read

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(ridge_tokens=ridge_tokens)
square = torch.randn(1024, 1024)
given = {tokens: torch.randn(tokens, 4096) for tokens in (1, 16, 256)}
products = {tokens: partial(torch.matmul, each, other.T) for tokens, each in given.items()}
dense = best({"square": partial(torch.matmul, square, square), "loop": loop, **products})
loop_ms = min(loop_ms, dense["loop"])
peak = 1000 * max(2 * 1024**3 / dense["square"], 2 * 256 * n / dense[256])
bandwidth = max(bandwidth, 1000 * other.nbytes / dense[1])  # should the first measurement have had a bad moment
guessed.against(ridge_tokens=peak / bandwidth * 4 / 2)
dots = {"PyTorch's lines": (1 / lines_bytes, n / there_ms * 1000), "your loop": (1 / pass_bytes, n / loop_ms * 1000)}
for tokens, name in {1: "product, 1 token", 16: "16 tokens", 256: "256 tokens"}.items():
    dots[name] = 2 * tokens / 4, 2 * tokens * n / dense[tokens] * 1000
share = dots["your loop"][1] / (bandwidth * dots["your loop"][0])
show.figure(*show.roofline(bandwidth, peak, dots, "your loop", f"Your loop reaches {share:.0%} of what memory allows"))

# %% [markdown]
# The corner lies where 2T / 4 = peak / bandwidth. Left of it only fewer bytes lift the bound. Right of it the product takes longer with every
# token, and restoring becomes the smaller part.
#
# <details><summary>Why do dots hang under the roof?</summary>It is a limit, no promise: near the corner memory and arithmetic wait for each other. It
# counts no look-ups: they are the gap above your loop. And PyTorch's lines, needless bytes counted, stand about as near it. (256 tokens far below? Run it again: another
# program had the core.)</details>

# %% [markdown] tags=["minutes:15"]
# ## 4. One change of thought: from a loop to a GPU
#
# A GPU has thousands of workers and no order among them: it gives each the same code and a *number*. Stop thinking "for each block, do". Think:
# **"I am number `block`. What do I do?"** One run of the code, with its number, is a *program*.

# %% tags=["slide"]
show.figure(*show.program_schematic(6))

# %% [markdown]
# **Your turn.** Importance: GPU kernels are written like this. Difficulty: three lines. 6 minutes.
#
# Both loops are gone: now whole arrays, for one block's bytes, codes and numbers. No program may need another, or touch its numbers.

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

# %% [markdown]
# <details><summary>The same program in Triton, line for line (open it when yours is right)</summary>
#
# [Triton](https://triton-lang.org/main/getting-started/tutorials/01-vector-add.html) compiles Python for GPUs. Copied into a cell,
# this runs without one (on Linux).
#
# ```python
# import os
# os.environ["TRITON_INTERPRET"] = "1"                  # Python plays the GPU
# import triton
# import triton.language as tl
#
# @triton.jit
# def in_triton(packed, absmax, levels, out, SIZE: tl.constexpr):
#     block = tl.program_id(0)                              # I am number block
#     byte = block * (SIZE // 2) + tl.arange(0, SIZE // 2)  # places of my bytes
#     mine = tl.load(packed + byte).to(tl.int32)            # from memory
#     codes = tl.reshape(tl.join(mine >> 4, mine & 15), (SIZE,))
#     numbers = tl.load(levels + codes) * tl.load(absmax + block)
#     tl.store(out + block * SIZE + tl.arange(0, SIZE), numbers)
#
# played = torch.empty(512 * 64)
# in_triton[(512,)](packed, absmax, levels, played, SIZE=64)  # 512 programs
# print(torch.equal(played, stored.dequantize().flatten()[: 512 * 64]))
# ```
#
# `SIZE`, a power of two, is known when it is compiled. `packed` stands for an address, `packed + byte` for one for each of my bytes. `tl.join` puts two side by
# side. A group of threads, 128 unless told otherwise, does one program together (CUDA calls it a block, not ours);
# with 64 numbers half have nothing to do, so the [library's](https://github.com/lora-lab/lora_lab/blob/main/lora_lab/quant/kernels/cuda.py) takes several
# blocks at a time. Triton promises GPUs from compute capability 8.0 on; a T4 has 7.5.</details>
#
# **Guess:** on an H100, what share of a copy's speed does the library's own kernel, some twenty lines of Triton, reach, into bfloat16?

# %% tags=["guess:copy_share", "slide"]
copy_share = 60  #? % of the speed of a copy that moves as many bytes, H100 | 60: "a compiler of Python loses something": it makes one pass, and a pass is as fast as memory, whoever wrote it | 30: "a look-up is slower than a copy": on thousands of workers it hides behind memory | 6: that is PyTorch's own operations; each is a kernel of its own, started by itself, and passes over memory

# %% tags=["reveal", "slide"]
guessed = guesses(copy_share=copy_share)
machine, rows = records.load("kernels")["machine"], []
ways = {"readable": "PyTorch's operations", "bitsandbytes": "bitsandbytes", "kernel": "our kernel"}
shown = {("restore", 8192): "restore, 8192²", ("Linear4bit forward, 256 tokens", 4096): "256 tokens, 4096²"}
for each in records.tried("kernels", dtype="bfloat16"):
    if (case := (each["what"], each["shape"][0])) in shown:
        for way, name in ways.items():
            took, copied = each["ms"][way], each["ms"].get("copy")
            share = f"{copied / took:.0%}" if copied else ""
            rows.append([shown[case], name, str(each["launches"][way]), f"{took:.3f} ms", share])
plain = records.tried("kernels", what="restore", shape=[8192, 8192], dtype="bfloat16")[0]["ms"]
guessed.against(copy_share=100 * plain["copy"] / plain["kernel"])
caption = f"Restoring into bfloat16, and a 4-bit layer's forward pass. PyTorch's: the library without kernels, slice by slice. {machine['gpu']}, torch {machine['torch']}, triton {machine['triton']}"
show.table(rows, ["", "way", "kernels started", "time", "a copy's speed = 100%"], caption)

# %% [markdown]
# <details><summary>Does it not look up, as your loop does?</summary>It does. But a GPU has thousands of look-ups under way at once: while some wait,
# others move bytes. PyTorch's 64 kernels (21 for 4096²) are section 1's passes, slice by slice: with 256 tokens a layer takes eight times as long as with
# ours.</details>

# %% [markdown] tags=["minutes:14"]
# ## 5. Never make the weight
#
# For one token each restored weight is used once. So why write it to memory? Restore a number, multiply, forget: that reads 0.56 bytes for a
# weight. Restoring first, and then multiplying, moves 8.6.
#
# **Your turn.** Importance: bitsandbytes makes a next token this way. Difficulty: one loop. 6 minutes.
#
# One output, number `row`, of $y = x\hat W^\top$: the blocks of its row, each times its numbers of x. Single numbers again, no whole arrays.

# %% tags=["turn:dot_codes"]
def dot_codes(row, x, packed, absmax, levels, block_size):
    half, blocks, total = block_size // 2, len(x) // block_size, np.float32(0)
    for column in range(blocks):
        block, part = row * blocks + column, np.float32(0)
        two = packed[block * half : (block + 1) * half]
        some = x[column * block_size : (column + 1) * block_size]
        #> for each byte in two: its two levels, times their two numbers of some, onto part; then the constant, onto total
        for i in range(half):
            part += levels[two[i] >> 4] * some[2 * i] + levels[two[i] & 15] * some[2 * i + 1]
        total += part * absmax[block]
        #<
    return total

# %% [markdown] tags=["hint:dot_codes"]
# **A first hint.** It is your first loop; instead of writing a level, multiply it with its number of `some`, and add that to `part`. Byte i holds
# the levels for `some[2 * i]` and `some[2 * i + 1]`.
#
# **A second hint.** The constant is the same for the whole block: multiply the part by it once.

# %% tags=["check:dot_codes"]
dot_codes = check("dot_codes", dot_codes)

# %% [markdown]
# It moves a seventh of the dense product's bytes. **Guess:** how many times as fast as the dense product is it, for one token?

# %% tags=["guess:fused_speed", "slide"]
fused_speed = 4  #? times as fast as the dense product, one token, one core | 4: "a seventh of the bytes, less something for look-ups": as if bytes were the limit still | 7: "a seventh of the bytes": that holds as long as bytes are the limit, and here they are not | 1: what the bytes save, going number by number takes back: and more

# %% tags=["nbval-ignore-output"]
guessed = guesses(fused_speed=fused_speed)
inner = njit(dot_codes)


@njit
def product(x, packed, absmax, levels, block_size, y):
    for row in range(len(y)):
        y[row] = inner(row, x, packed, absmax, levels, block_size)


x, y, made = torch.randn(1, 4096), np.empty(4096, np.float32), torch.from_numpy(out).view(4096, 4096)
product(x[0].numpy(), *arrays, 64, y)
off = float(np.abs(y - (x @ made.T)[0].numpy()).max())

# %% tags=["nbval-ignore-output", "slide"]
took = best({"dense": lambda: x @ made.T, "fused": lambda: product(x[0].numpy(), *arrays, 64, y), "loop": loop}, rounds=40)
dense_ms, fused_ms, loop_ms = min(dense[1], took["dense"]), took["fused"], min(loop_ms, took["loop"])
bandwidth = max(bandwidth, 1000 * made.nbytes / dense_ms)
guessed.against(fused_speed=dense_ms / fused_ms)
ways = {"dense, float32": (dense_ms, 4), "PyTorch's lines, then dense": (there_ms + dense_ms, lines_bytes + 4),
        "your loop into out, then dense": (loop_ms + dense_ms, pass_bytes + 4), "fused": (fused_ms, 0.5625)}
rows = [[name, f"{each:.1f} ms", f"{size:.2f}", f"{n * size / each / 1e6:.1f} GB"] for name, (each, size) in ways.items()]
show.table(rows, ["one token", "time", "bytes a weight", "moved a second"])
dots["product, 1 token"], dots["fused, 1 token"] = (2 / 4, 2 * n / dense_ms * 1000), (2 / 0.5625, 2 * n / fused_ms * 1000)
share = dots["fused, 1 token"][1] / min(peak, bandwidth * dots["fused, 1 token"][0])
title = f"Fused, at {share:.0%} of its roof{': bytes are not its limit' if share < 0.5 else ''}"
show.figure(*show.roofline(bandwidth, peak, dots, "fused, 1 token", title))

# %% [markdown]
# <details><summary>What does it wait for, and is it of use?</summary>
#
# On our recorded core it is *slower* than the dense product. It does not wait for bytes, as its dot far
# under the roof says: it looks up and adds one number after the other. It is of use where the dense weight is *not there*: it beats restoring and multiplying. (Else
# run the cell again.) This loop saves memory, not time.
#
# </details>
#
# <details><summary>Are four bits faster anywhere?</summary>
#
# An H100, one token (14336 × 4096, bfloat16): dense 43 µs, restoring first 104, the library's fused kernel 45, bitsandbytes' 30.
# Where look-ups hide behind memory, or cost little: sixteen levels fit one
# register (`vpermps` looks sixteen codes up at once: the library's product takes 1.6 ms), and codes of evenly spaced levels need none. For those, on Ampere and Ada GPUs,
# [Marlin](https://github.com/IST-DASLab/marlin), an "FP16xINT4 matmul kernel", "can deliver close to ideal (4x) speedups up to batchsizes of
# 16-32 tokens".
#
# </details>

# %% [markdown] tags=["optional"]
# **Optional: the library with its kernels.** Two ideas more: a byte is *one* look-up, of a pair of levels, or eight bytes are, where a processor has
# `vpermps`; and 512 numbers are looked up before the first is used: what was just written in small pieces is slow to read in large ones. At 256 tokens the
# product's own arithmetic is the limit, with them and without.

# %% tags=["optional", "nbval-ignore-output"]
layer = quant.Linear4bit.from_linear(torch.nn.Linear(4096, 4096, bias=False))
rows = []


def step(given, on):
    with quant.use_kernels(on):
        layer(given).sum().backward()


for tokens in (1, 16, 256):
    given = torch.randn(tokens, 4096, requires_grad=True)
    took = best({on: partial(step, given, on) for on in (False, True)}, rounds=4)
    rows.append([str(tokens), f"{took[False]:.0f} ms", f"{took[True]:.0f} ms", f"{took[False] / took[True]:.1f}"])
show.table(rows, ["tokens", "forward and backward, readable", "with kernels", "times as fast"])

# %% tags=["assert"]
quant.use_kernels(True)
written = np.zeros(512 * 64, np.float32)
for block in np.random.default_rng(0).permutation(512):  # in any order, as on a GPU
    restore_program(block, *arrays, 64, written)
assert np.array_equal(written, out[: len(written)]) and off < 1e-2
assert torch.equal(made, stored.dequantize()) and torch.equal(weight.view(4096, 4096), made)
assert plain["copy"] / plain["kernel"] > 0.9 and (round(plain["readable"], 2), round(plain["copy"], 2)) == (1.06, 0.06)

# %% tags=["nbval-ignore-output"]
results("33")

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# - **Is this code worth a kernel?** Count the bytes that it moves and must move. Several passes over large tensors: yes. One product: no.
#   Try `torch.compile` first: it took section 1's lines, into new memory, from 98 ms to 40; the library's kernel needs 26,
#   most of it the new memory ([measured](https://github.com/lora-lab/lora_lab/blob/main/benchmarks/README.md)).
# - **What does training gain?** On one core nothing at 256 tokens; on the H100 a layer's forward pass (4096²) took 0.05 ms in place of 0.42.
# - **Is my kernel good?** Near a copy of as many bytes, stop. Else take one thing out, time again.
# - **Will four bits be faster?** For few tokens, fused: measure. For hundreds: no (a QLoRA step took 1.4 times LoRA's, H100). For thousands:
#   hardly slower.
#
# ## What was not shown
#
# - Several cores: each lifts the flat part, the slope only until memory is busy.
# - A GPU at work: its figures are a record. Those of one token leave out Python's time to start a kernel.
#
# ## What to try
#
# - A copy of `dot_codes` without look-ups, `njit(fastmath=True)` (sums in any order), or both: faster? Define `product` anew each time: compiled, it
#   keeps the old `inner`.
# - Run section 4's Triton program on a weight quantized with `block_size=32`; with two blocks a program.
#
# <details><summary>What we found with dot_codes</summary>On our recorded core: 4.6 ms as it is, 5.5 without look-ups, 5.3 in any order, and 1.4 with both,
# where the dense product took 2.8. Only then may the compiler handle several at once.</details>
#
# ## Three questions
#
# 1. Two lines of PyTorch, each as fast as memory allows, together take longer than they need. Why?
#
# <details><summary>Answer</summary>The first writes its result to memory and the second reads it from there. Fused, that way
# there and back is gone.</details>
#
# 2. A kernel stands on the roof's slope. A new GPU has twice the arithmetic and the same memory. What happens?
#
# <details><summary>Answer</summary>Nothing: there, bandwidth is the limit.</details>
#
# 3. Why may programs on a GPU not depend on their order?
#
# <details><summary>Answer</summary>They run at the same time, in no order to rely on; what one has written, another may
# not see yet.</details>
#
# ## Next
#
# What else is there, and what is planned: the [syllabus](../course/syllabus.md).
