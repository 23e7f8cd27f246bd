# %% [markdown] tags=["slide"]
# # A QLoRA layer
#
# A 7B model in four bits takes 3.9 GB. Without activation checkpointing, one innocent line in the layer makes it **16.8 GB**
# before the backward pass begins, more than the model takes in 16 bits. You will write the layer that needs no such line, prove that its gradients are the
# dense layer's, and know what it costs in time.
#
# | for you | on 2 CPU cores | on a T4 | memory | builds on |
# |---|---|---|---|---|
# | 55 minutes | under a minute | not measured | about 1 GB | 03, 09; 10 helps |

# %% [markdown] tags=["minutes:10"]
# ## 1. Both passes
#
# QLoRA keeps a layer's weight as codes (lesson 09: each names a level), frozen, and trains LoRA's A and B beside it. A
# product needs numbers, not their names, so the weight has to be *[restored](../course/glossary.md#restored)* for every product: looked up, scaled, used. Call it Ŵ. It is not the
# original W; it is the nearest that the levels allow.

# %% tags=["slide"]
import copy
import math
import time

import torch
from lora_lab import data, memory, models, quant, records, show, train
from lora_lab.exercises import check, guesses, results
from torch import nn

show.figure(*show.qlora_schematic(d_out=192, d_in=512, r=8))

# %% [markdown] tags=["slide"]
# As equations, for x in rows, with $g=\partial L/\partial y$ coming from above:
#
# $$y=x\hat W^\top+s\,x A^\top B^\top,\qquad \frac{\partial L}{\partial x}=g\,\hat W+s\,g\,B\,A$$
#
# This is the paper's [equation 5](https://arxiv.org/abs/2305.14314), with the scale s of its equation 3, which 5 leaves out.
# A and B get the gradients of lesson 03. The codes get none: nobody will change them. But x needs one, through Ŵ, or little
# would reach the adapters of the layers below.
#
# **By hand, in two bits.** Two outputs, four inputs, the four levels of NF2, one constant per row:

# %%
levels = quant.normal_float(2).values
W = torch.tensor([[0.8, -0.2, 0.3, -0.7], [-0.4, 0.1, 0.5, 0.2]])
constants = W.abs().amax(dim=1, keepdim=True)
codes = ((W / constants)[:, :, None] - levels).abs().argmin(dim=-1)
W_hat = levels[codes] * constants
x, g = torch.tensor([[1.0, 2.0, -1.0, 0.0]], requires_grad=True), torch.tensor([[1.0, -1.0]])
y = x @ W_hat.T
y.backward(g)  # autograd's way back, into x.grad
shown = {"levels": levels[None], "W": W, "codes": codes, "Ŵ": W_hat, "y = x Ŵᵀ": y,
         "∂L/∂x = g Ŵ": g @ W_hat, "∂L/∂x by autograd": x.grad, "g W": g @ W}
rows = []
for name, value in shown.items():
    for number, each in enumerate(value.tolist()):
        rows.append([name if number == 0 else "", "   ".join(f"{entry:.3g}" for entry in each)])
show.table(rows, ["", "row by row"])

# %% [markdown]
# −0.2 became zero, −0.7 and −0.4 the largest of their rows: NF2 has one negative level, at the very end. Yet g Ŵ is what
# autograd finds: the gradient is exact, for the rounded layer. For W it would be the last row, and W is gone.

# %% [markdown] tags=["minutes:14"]
# ## 2. Your turn: a product with its own backward pass
#
# `torch.autograd.Function` lets you write both passes yourself. `forward` may put what `backward` will need on `ctx`.
#
# **Your turn.** Importance: these lines are why QLoRA fits. Difficulty: two lines each. 8 minutes.
#
# `layer.dequantize(dtype)` restores Ŵ [d_out, d_in]. Forward: put the layer on `ctx` as `ctx.layer`, **nothing else**, and
# return x Ŵᵀ, in x's dtype.

# %% tags=["turn:frozen_forward", "slide"]
def frozen_forward(ctx, x, layer):  # x [..., d_in] -> y [..., d_out]
    #> keep the layer, not Ŵ; the product
    ctx.layer = layer
    return x @ layer.dequantize(x.dtype).T
    #<

# %% [markdown] tags=["hint:frozen_forward"]
# **A first hint.** `ctx.layer = layer` stores a reference, not a copy.
#
# **Help, a dtype error.** `layer.dequantize(x.dtype)` gives Ŵ in the dtype of x.

# %% tags=["check:frozen_forward"]
frozen_forward = check("frozen_forward", frozen_forward)

# %% [markdown]
# Backward: g arrives. Return one thing for each input of forward: ∂L/∂x, and `None` for the layer.

# %% tags=["turn:frozen_backward", "slide"]
def frozen_backward(ctx, g):  # g [..., d_out] -> ∂L/∂x [..., d_in], None
    #> restore once more: g Ŵ, and nothing for the layer
    return g @ ctx.layer.dequantize(g.dtype), None
    #<

# %% [markdown] tags=["hint:frozen_backward"]
# **A first hint.** y = x Ŵᵀ, so ∂L/∂x = g Ŵ, without a transpose. The layer waits in `ctx.layer`.
#
# **Two things.** `return first, None`.

# %% tags=["check:frozen_backward"]
frozen_backward = check("frozen_backward", frozen_backward)

# %%
class FrozenProduct(torch.autograd.Function):
    forward = staticmethod(frozen_forward)
    backward = staticmethod(frozen_backward)


class QLoRALinear(nn.Module):
    def __init__(self, linear, product, r=8, alpha=16):
        super().__init__()
        d_out, d_in = linear.weight.shape
        self.dequantize = quant.quantize(linear.weight.detach(), double_quant=True).dequantize
        self.product, self.scaling = product, alpha / r
        self.A = nn.Parameter(torch.empty(r, d_in).uniform_(-1, 1) / math.sqrt(d_in))
        self.B = nn.Parameter(torch.zeros(d_out, r))

    def forward(self, x):
        return self.product(x, self) + self.scaling * (x @ self.A.T @ self.B.T)

# %% [markdown] tags=["minutes:8"]
# ## 3. What is kept
#
# The layer could be shorter: restore, multiply, and let autograd do the rest. That is the innocent line, `keeps_dense`. Your
# rule is `frozen`:

# %%
def keeps_dense(x, layer):
    return x @ layer.dequantize(x.dtype).T


frozen = FrozenProduct.apply


def bytes_kept(product, layers, x):
    kept = {}

    def on_save(tensor):  # autograd calls it for every tensor that it puts aside for the backward pass
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(on_save, lambda tensor: tensor):
        for layer in layers:
            x = product(x, layer)
    return sum(kept.values())

# %% [markdown]
# **Guess:** eight layers of 512 × 512 in a row, 64 rows of x, all in float32, A and B left out. How many MB does autograd
# keep for the backward pass with `keeps_dense`?

# %% tags=["guess:kept_dense", "slide"]
kept_dense = 4  #? MB (10⁶ bytes) kept for the backward pass by the one line
# | 0: "frozen weights need no gradient, so nothing is kept": for x's gradient the weight itself is needed
# | 1.05: "the inputs of the layers": those serve the gradient of a weight, and no weight has one here
# | 4.2: "two bytes a weight": in 16 bits, yes; here all is in float32

# %% tags=["slide"]
guessed = guesses(kept_dense=kept_dense)
layers = [QLoRALinear(nn.Linear(512, 512, bias=False), None) for _ in range(8)]
batch = torch.randn(64, 512, requires_grad=True)
kept = {name: bytes_kept(product, layers, batch) for name, product in {"keeps_dense": keeps_dense, "frozen": frozen}.items()}
guessed.against(kept_dense=kept["keeps_dense"] / 1e6)
codes_of_7b = memory.quantized_weights(memory.load_config("llama-2-7b"))
copies = 2 * 2 * codes_of_7b.packed  # two weights in a byte of codes, two bytes each in bfloat16
rows = [[f"kept by {name}", f"{number:,} bytes"] for name, number in kept.items()]
in_bf16 = codes_of_7b.dense + copies
rows.append(["Llama-2-7B in bf16", f"{in_bf16 / 1e9:.1f} GB"])
rows.append(["Llama-2-7B in four bits", f"{codes_of_7b.total / 1e9:.1f} GB"])
rows.append(["… with a dense bf16 copy of each linear layer", f"{(codes_of_7b.total + copies) / 1e9:.1f} GB"])
show.table(rows, ["", "size"])

# %% [markdown]
# The line keeps a dense copy of every layer until its turn in the backward pass: the model lies there unpacked. (With
# activation checkpointing, which forgets a block's numbers and computes them again, one block's copies at a time.) Your rule keeps nothing,
# because the codes are there anyway. Its price: Ŵ is made twice, and one dense layer is there at a time. bitsandbytes'
# `MatMul4Bit` also keeps codes only.
#
# The hooks do not see what a rule puts on `ctx` itself; there, count the tensors that are still alive, or the card's bytes
# after the forward pass. Embeddings and head stay dense in all of this, as transformers leaves them.

# %% [markdown] tags=["minutes:14"]
# ## 4. Is it the right gradient, and does it matter?
#
# All 28 matrices of the embedded base become your layers. The [oracle](../course/glossary.md#oracle) is autograd itself, with a dense Ŵ. The control gives
# x no gradient through Ŵ. Something still gets down: each block adds to its input, and this *[residual](../course/glossary.md#residual)* path needs no weight.
#
# **Guess:** in the first block, how far from the right ones are the control's gradients for A and B?

# %% tags=["guess:cut_off", "slide"]
cut_off = 20  #? % of the right gradient's norm: how far off the control is, in the first block
# | 0: "the codes are frozen, so they have no part in the gradient": they carry it to everything below
# | 10: "the residual path carries it": only the part that no later layer has changed

# %%
base, tokenizer = models.load_embedded()
matrices = [name for name, module in base.named_modules() if isinstance(module, nn.Linear) and name != "lm_head"]
examples = data.tasks.sailor(train=8, heldout=1, seed=0).train
encoded = [data.batches.encode_example(tokenizer, each.prompt, each.answer) for each in examples]
batch = data.batches.collate(encoded, tokenizer.pad_token_id)


def cut(x, layer):
    return x.detach() @ layer.dequantize(x.dtype).T

# %%
def gradients(product):  # name of a matrix -> its gradients for A and B, in one row
    torch.manual_seed(0)
    model = copy.deepcopy(base).requires_grad_(False)
    for name in matrices:
        layer = QLoRALinear(model.get_submodule(name), product)
        nn.init.normal_(layer.B, std=0.02)  # as after some steps
        model.set_submodule(name, layer)
    model(**batch).loss.backward()
    layers = {name: model.get_submodule(name) for name in matrices}
    return {name: torch.cat([layer.A.grad.flatten(), layer.B.grad.flatten()]) for name, layer in layers.items()}


def of_block(found, block):
    return torch.cat([each for name, each in found.items() if f"layers.{block}." in name])

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(cut_off=cut_off)
right, mine, control = (gradients(product) for product in (keeps_dense, frozen, cut))
off, off_mine, rows = [], [], []
for block in range(4):
    wanted, ours, theirs = (of_block(found, block) for found in (right, mine, control))
    off_mine.append(float((ours - wanted).norm() / wanted.norm()))
    off.append(float((theirs - wanted).norm() / wanted.norm()))
    length, cosine = theirs.norm() / wanted.norm(), torch.cosine_similarity(theirs, wanted, dim=0)
    rows.append([str(block + 1), f"{off_mine[-1]:.1e}", f"{off[-1]:.1%}", f"{length:.0%}", f"{cosine:.2f}"])
guessed.against(cut_off=100 * off[0])
headers = ["block", "your rule: distance from the oracle", "control: distance", "its length, right = 100%", "cosine with the right one"]
show.table(rows, headers, "Gradients of A and B together")

# %% [markdown]
# Your rule agrees, here to the last bit. With the control hardly anything arrives: 4 % of the length in the first block, and
# nearly at a right angle to what should. Even in the last block, matrices learn through those behind them.
#
# Does training feel it? The sailor's task of lesson 02, 60 steps, three ways back through the frozen layers: Ŵ, nothing, and
# Ŵ with its numbers *shuffled*. Each way has its own best rate on validation. Recorded; scores on held-out examples.

# %% tags=["slide"]
WAYS = {"restored": "g Ŵ", "nothing": "nothing", "shuffled": "g times a shuffled Ŵ"}
untrained, exact = records.tried("frozen_gradient", way="not trained"), {}
rows = [["not trained", "", ", ".join(f"{each['validation']:.2f}" for each in untrained), ", ".join(f"{each['exact']:.0%}" for each in untrained)]]
for way, words in WAYS.items():
    chosen = records.chosen("frozen_gradient", way=way)
    exact[way] = [each["exact"] for each in chosen]
    losses = ", ".join(f"{each['validation']:.2f}" for each in chosen)
    rows.append([words, f"{chosen[0]['lr']:g}", losses, ", ".join(f"{each:.0%}" for each in exact[way])])
show.table(rows, ["backward through the frozen layers", "best rate", "validation loss, seeds 0 to 2", "answers right"])

# %% [markdown]
# Only Ŵ teaches the task in 60 steps. With nothing the adapters halve the loss, by the residual path and through each other,
# and answer nothing. A wrong matrix is worse than none. The forward layers were the same in all nine runs.

# %% [markdown] tags=["optional"]
# **Optional: two bits.** The gradient is right for any Ŵ. Is every Ŵ worth training on? Can the base still answer questions
# about a passage, and is it the *bits* that break it, or NF2's levels? "By hand" are four levels without a zero.

# %% tags=["optional", "nbval-ignore-output"]
by_hand = quant.Codebook("four levels by hand", torch.tensor([-0.65, -0.2, 0.2, 0.65]))
questions, reads = data.tasks.reading(40), {"not rounded": train.reading(base, tokenizer, data.tasks.reading(40))}
for book in (quant.NF4, quant.normal_float(3), quant.normal_float(2), by_hand):
    rounded = quant.dequantize_model(quant.quantize_model(copy.deepcopy(base), codebook=book))
    reads[book.name] = train.reading(rounded, tokenizer, questions)
show.table([[name, f"{share:.0%}"] for name, share in reads.items()], ["weights in", "questions answered"])

# %% [markdown] tags=["minutes:9"]
# ## 5. What restoring costs
#
# Restoring takes the same time whether 1 token passes or 10,000. So the question is not "how much slower is QLoRA?" but "at
# how many tokens?" First here, one layer of 1024 × 1024, both passes:

# %% tags=["nbval-ignore-output"]
def seconds(layer, tokens, runs=5):
    x, taken = torch.randn(tokens, 1024, requires_grad=True), []
    for _ in range(runs):
        start = time.perf_counter()
        layer(x).sum().backward()
        taken.append(time.perf_counter() - start)
    return min(taken)


linear = nn.Linear(1024, 1024, bias=False).requires_grad_(False)
four_bits, rows = QLoRALinear(linear, frozen), []
for tokens in (1, 16, 256, 2048):
    dense, mine = seconds(linear, tokens), seconds(lambda x: frozen(x, four_bits), tokens)
    rows.append([str(tokens), f"{mine / dense:.1f}"])
show.table(rows, ["tokens in a pass", "time, frozen four bits over dense"], "This machine, now; it varies")

# %% [markdown]
# Now a GPU: two layers of Llama-3.1-8B on an H100, whole training steps. At 16 tokens QLoRA takes 42 % longer than LoRA.
# **Guess** for 4,096 tokens:

# %% tags=["guess:longer_step", "slide"]
longer_step = 30  #? % by which QLoRA's step is longer than 16-bit LoRA's, 4,096 tokens, our layers, H100
# | 42: "slower by a constant factor": the cost per pass is fixed, so more tokens share it
# | 30: "a little less than 42": the cost per pass is fixed, and the step grows with its tokens
# | 100: "everything is restored twice, so twice the time": restoring is a small part of a long product

# %% tags=["reveal", "slide"]
guessed = guesses(longer_step=longer_step)
ours, rows, machine = {}, [], records.load("gpu")["machine"]
for each in records.tried("gpu", section="amortise"):
    ours[each["tokens"]] = each["slowdown"]["lora_lab"]
    lora, qlora = (each["ways"][f"{method} lora_lab"]["ms"] for method in ("lora", "qlora"))
    tools = each["ways"]["qlora bitsandbytes + PEFT"]["ms"]
    rows.append([f"{each['tokens']:,}", f"{lora:.2f} ms", f"{qlora:.2f} ms", f"{qlora - lora:.2f} ms", f"{tools:.2f} ms"])
guessed.against(longer_step=100 * (ours[4096] - 1))
title = f"QLoRA over LoRA: {ours[16]:.2f} at 16 tokens, {ours[16384]:.2f} at 16,384"
where = f"{machine['gpu']}, torch {machine['torch']}: two layers of Llama-3.1-8B, without checkpointing, a head of 512 words."
show.figure(*show.slowdown_by_tokens({"our layers": ours}, title), caption=where)
show.table(rows, ["tokens in a step", "LoRA", "QLoRA", "more", "QLoRA, bitsandbytes + PEFT"])

# %% [markdown]
# Up to 1,024 tokens LoRA takes 8.6 to 8.8 ms whatever passes: the time of asking the GPU for one operation (one
# [kernel](../course/glossary.md#kernel)) after another. QLoRA asks for more of them, 3.6 to 3.8 ms. Where products dominate, about 1 ms is left. The
# tools that you will use at work (last column, run under autocast) are within a tenth of ours. A percentage for QLoRA
# without the tokens in a pass lacks its most important number.

# %% tags=["assert"]
assert kept == {"keeps_dense": 8 * 512 * 512 * 4, "frozen": 0}
assert round(codes_of_7b.total / 1e9, 1) == 3.9 and round((codes_of_7b.total + copies) / 1e9, 1) == 16.8
assert in_bf16 < codes_of_7b.total + copies
assert max(off_mine) < 1e-4 < 0.05 < min(off)
assert W_hat.eq(0).sum() == 2 and torch.allclose(x.grad, g @ W_hat)
assert reads["NF2"] < 0.2 < 0.6 < reads[by_hand.name] and reads["NF3"] > 0.8
assert min(exact["restored"]) > 0.2 and max(exact["nothing"] + exact["shuffled"]) < 0.05
assert ours[16] > 1.3 and ours[4096] < 1.1

# %% tags=["nbval-ignore-output"]
results("11")

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# - **Own layers over frozen, packed weights**: never let autograd see the dense weight. Before you buy memory, compare the
#   card's bytes after the forward pass with the codes; hooks alone miss what lies on `ctx`.
# - **Is training broken?** Compare one batch's gradients with a dense oracle. Far off in the first blocks: something cuts the
#   way down.
# - **Speed**: fill the pass. Thousands of tokens make four bits nearly free; a batch of one short text pays in full.
#
# ## What was not shown
#
# - The base's own loss from rounding: the gradient is right for Ŵ, not for W. Lesson 12 trains against LoRA on W.
# - Other cards. A slower product hides restoring sooner, a slower memory later.
# - Products with codes, without restoring: bitsandbytes 0.50.2 forms them in the forward pass for few rows (how many depends
#   on the card); its backward pass always restores.
#
# ## What to try
#
# - Two levels of your own in the toy of section 1: which four numbers lose least?
# - Put activation checkpointing around a block. How often is Ŵ restored in a step then?
#
# ## Three questions
#
# 1. Why does a frozen weight appear in the backward pass at all?
#
# <details><summary>Answer</summary>Not for its own gradient, but for that of its input: ∂L/∂x = g Ŵ. The adapters below
# learn from it. Cut it, and 4 % of the first block's gradient arrives, pointing elsewhere (section 4).</details>
#
# 2. A 4-bit model trains with more memory than the 16-bit one. What do you look for?
#
# <details><summary>Answer</summary>
#
# A dense weight that autograd keeps: `F.linear(x, dequantize(...))` without a rule of its
# own. Eight layers of 512 × 512 then keep 8.4 MB, with the rule 0. For Llama-2-7B that is 12.95 GB on top of 3.87. With PEFT look first for embeddings and head cast to fp32
# (<code>prepare_model_for_kbit_training</code>) and for missing checkpointing.
#
# </details>
#
# 3. Somebody measured that QLoRA trains 40 % slower. When is that true?
#
# <details><summary>Answer</summary>When few tokens share a pass. On an H100, two layers of an 8B model: 42 % at 16 tokens,
# 6 % at 4,096, 1 % at 16,384.</details>
#
# ## Next
#
# [12 QLoRA fine-tune](12_qlora_finetune.ipynb): a whole model, against LoRA and full fine-tuning.
