# %% [markdown] tags=["slide"]
# # Where the bytes go
#
# A much-copied table ([LLaMA-Factory](https://github.com/hiyouga/LLaMA-Factory#hardware-requirement), marked "estimated") gives
# QLoRA `x/2` GB for x billion parameters: 4 GB for 8B. One step on our layers, nothing done to save memory, takes **21.6 GB**.
# Where are the other 17.6?
#
# At the end you find each of them, predict a peak by hand, and hold the prediction against real steps.
#
# | computing, 2 CPU cores | for you | memory | builds on |
# |---|---|---|---|
# | about a minute; no GPU is used | 61 minutes | under 2 GB | [06](06_will_it_fit.ipynb) |

# %% [markdown] tags=["minutes:6"]
# ## 1. The missing 17.6 GB
#
# Llama-3.1-8B, [NF4](../course/glossary.md#nf4) weights, adapters of rank 16 on all linear layers, AdamW, one text of 2,048 tokens. All
# estimates here are of *this package's* layers unless a stack is named. GB means 10⁹ bytes.

# %%
import dataclasses
import logging
import warnings

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from lora_lab import memory, models, records, show
from lora_lab.exercises import check, guesses, results

warnings.simplefilter("ignore", FutureWarning)  # PEFT uses an older name in transformers
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it may complain of a kernel that we do not call
NAME, TOKENS = "llama-3.1-8b", 2048
TINY = LlamaConfig(vocab_size=32000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
                   num_key_value_heads=4)  # TinyLlama, for section 5
config = memory.load_config(NAME)
first = memory.estimate(NAME, "qlora", seq_len=TOKENS)
print(f"half a byte for each parameter: {memory.parameters(config).total / 2e9:.1f} GB; one step: {first.peak_bytes / 1e9:.1f} GB")

# %% [markdown]
# *Activations* are what the layers' forward pass makes and keeps for the backward pass. **Guess** their share of the
# 21.6 GB; logits count apart.

# %% tags=["guess:activation_share", "slide"]
activation_share = 30  #? % of the 21.6 GB that are activations
# | 5: "they are temporary": they stay until the backward pass comes, all layers' at once
# | 20: as if the weights were most of it
# | 81: all of the missing 17.6: but embeddings, logits and the optimizer are in it

# %% tags=["reveal", "slide"]
guessed = guesses(activation_share=activation_share)
theirs, rows = memory.estimate(NAME, "qlora", stack="peft", seq_len=TOKENS, checkpointing=False), []
for name, count in sorted(first.components.items(), key=lambda part: -part[1]):
    if count:
        rows.append([name, f"{count / 1e9:.2f}", f"{count / first.peak_bytes:.0%}", f"{theirs.components[name] / 1e9:.2f}"])
rows.append(["together", f"{first.peak_bytes / 1e9:.2f}", "", f"{theirs.peak_bytes / 1e9:.2f}"])
show.table(rows, [f"alive at the peak, which is in the {first.peak_phase}", "our layers, GB", "share", "PEFT, Trainer, GB"])
guessed.against(activation_share=100 * first.components["activations"] / first.peak_bytes)
stored = memory.quantized_weights(config)
print(f"Weights: four-bit codes {stored.packed / 1e9:.2f} GB, their constants {stored.constants / 1e9:.2f}, "
      f"embeddings, head and norms in 16 bits {stored.dense / 1e9:.2f}")

# %% [markdown]
# The weights, which everybody talks about, are a quarter, and not half a byte each: QLoRA quantizes linear layers;
# the embedding and the head stay in 16 bits.
#
# PEFT under the Trainer, the 32.3 GB of [06](06_will_it_fit.ipynb), takes 10.7 GB more: activations 7.3 (hidden states in fp32),
# the rest embeddings and head in fp32, one fp32 tensor of logits more, constants without double quantization.

# %% [markdown] tags=["minutes:14"]
# ## 2. Your turn: one block
#
# To find the gradient of a weight, PyTorch's *[autograd](../course/glossary.md#autograd)* needs the layer's input again, so it keeps it. The picture shows one
# block of a Llama in bf16 while all its weights train. Everything in the boxes stays until the backward pass.

# %% tags=["slide"]
show.figure(*show.kept_schematic())

# %% [markdown]
# h is the width of the hidden states, q of all query heads together, kv of all key heads, i of the MLP; there are a heads. The
# MLP multiplies two projections, *gate* and *up*, the first bent by the function *SiLU*, and projects the product down. The
# norm's arithmetic is in fp32, and rms is the size it divides by. The scores, one for each pair of tokens, are missing: this
# attention (SDPA) keeps only their sum for each token and head, and makes them again.
#
# In: the five sizes. Out: bytes that one block keeps of one token.

# %% tags=["turn:kept_per_token", "slide"]
def kept_per_token(h, q, kv, a, i):
    #> the bytes of both norms, the attention and the MLP
    norm = 4 * h + 4 + 2 * h + 2 * h
    attention = 2 * q + 2 * kv + 2 * kv + 2 * q + 4 * a
    mlp = 4 * 2 * i
    return 2 * norm + attention + mlp
    #<

# %% [markdown] tags=["hint:kept_per_token"]
# **A first hint.** fp32 is 4 bytes a number, bf16 is 2. One norm: `4 * h + 4 + 2 * h + 2 * h`.
#
# **A second hint.** The picture has two norms. Go through its four boxes line by line.

# %% tags=["check:kept_per_token"]
kept_per_token = check("kept_per_token", kept_per_token)

# %% [markdown]
# Does autograd agree? `saved_tensors_hooks` hands us every tensor that it puts aside. What grows with one layer and one token
# more is a layer's share.

# %%
SIZES = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
SHAPES = [dict(zip(SIZES, shape)) for shape in ((192, 500, 6, 2), (160, 333, 5, 5), (256, 896, 8, 1))]


def kept(model, tokens, autocast):  # bytes that autograd keeps, weights excluded, each storage once
    ids = torch.zeros(1, tokens, dtype=torch.long)
    own, found = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def on_save(tensor):
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes() * (storage.data_ptr() not in own)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(on_save, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    return sum(found.values()) * loss.requires_grad  # while the loss lives, so does what it keeps

# %%
def kept_by_a_layer(prepare, sizes, tokens=48, autocast=False):  # bytes per token; `prepare` may put adapters in
    slopes = []
    for layers in (1, 2):
        c = LlamaConfig(vocab_size=64, num_hidden_layers=layers, **sizes)
        model = prepare(AutoModelForCausalLM.from_config(c, dtype=torch.bfloat16).train())
        slopes.append((kept(model, 2 * tokens, autocast) - kept(model, tokens, autocast)) / tokens)
    return slopes[1] - slopes[0]


seen, yours = [], []
for sizes in SHAPES:
    h, i, a, key_heads = sizes.values()
    seen.append(kept_by_a_layer(lambda model: model, sizes))
    yours.append(kept_per_token(h=h, q=h, kv=h // a * key_heads, a=a, i=i))
show.table([[str(list(s.values())), f"{m:,.0f}", f"{y:,}"] for s, m, y in zip(SHAPES, seen, yours)],
           ["h, i, heads, key heads", "autograd, bytes per token", "by hand"])
show.figure(*show.kept_schematic({"h": 4096, "q": 4096, "kv": 1024, "a": 32, "i": 14336}))

# %% [markdown]
# To the byte. The figure is the 8B model's block, trained in full.
# The classic form is 34h per layer plus the scores (Korthikanti et al., 2022, [arXiv
# 2205.05198](https://arxiv.org/abs/2205.05198), equation 1), for a GPT of 2022 with dropout. A formula belongs to an
# implementation.

# %% [markdown] tags=["minutes:8"]
# ## 3. Your turn: the peak is a moment
#
# A step goes through [phases](../course/glossary.md#phase): forward, loss, backward, update. Activations pile up in the first and melt in the third;
# gradients pile up in the third.
#
# In: `moments`, a list of pairs: a phase, and a dictionary of bytes by part. Out: the phase in which most is alive, and how many bytes
# that is. For `[("forward", {"weights": 5, "activations": 3}), ("update", {"weights": 5, "gradients": 1})]` it is
# `("forward", 8)`.

# %% tags=["turn:peak_of", "slide"]
def peak_of(moments):
    #> the phase with the largest sum over its parts, and that sum
    best_phase, most = None, -1
    for phase, parts in moments:
        total = sum(parts.values())
        if total > most:
            best_phase, most = phase, total
    return best_phase, most
    #<

# %% [markdown] tags=["hint:peak_of"]
# **A first hint.** `for phase, parts in moments:` and, inside, `sum(parts.values())`: what is alive at that moment.
#
# **Help, mine is larger.** Did you take each part at its own largest? They are not alive together.

# %% tags=["check:peak_of"]
peak_of = check("peak_of", peak_of)
full = memory.estimate(NAME, "full", seq_len=TOKENS)
moments = [(moment.phase, dict(zip(memory.COMPONENTS, moment.bytes))) for moment in full.timeline]
phase, most = peak_of(moments)
each_at_most = 0
for name in memory.COMPONENTS:
    each_at_most += max(parts[name] for _, parts in moments)
print(f"Full fine-tuning, mixed precision (fp32 weights): peak {most / 1e9:.0f} GB, in the {phase}.",
      f"Each part at its largest, added up: {each_at_most / 1e9:.0f} GB.")

# %% [markdown] tags=["minutes:13"]
# ## 4. Your turn: checkpointing, and the hump
#
# *Checkpointing* (Chen et al., 2016, [arXiv 1604.06174](https://arxiv.org/abs/1604.06174)) keeps only what enters each layer.

# %% tags=["slide"]
show.figure(*show.checkpointing_schematic())

# %% [markdown]
# At the end, the *logits*, one per word of the vocabulary and token, go through the loss, and then the backward pass begins at the
# last layer. So either the loss is alive, or one repeated layer, never both.
#
# In: the number of layers; bytes that enter one, `enters`; bytes that one layer `keeps` while it is repeated; bytes of the `loss`. Out:
# the most that all of these need.

# %% tags=["turn:checkpointed", "slide"]
def checkpointed(layers, enters, keeps, loss):
    #> what lies there all the time, and the larger of the two that come and go
    return layers * enters + max(keeps, loss)
    #<

# %% [markdown] tags=["hint:checkpointed"]
# **A first hint.** Each layer's orange bar stays: that is a product. Then one of two things comes on top.
#
# **A second hint.** A peak is a maximum: `max(keeps, loss)`.

# %% tags=["check:checkpointed"]
checkpointed = check("checkpointed", checkpointed)

# %% [markdown]
# **Guess:** the peak, in the loss, held 12.2 GB of activations. How many GB with checkpointing (32 layers, h = 4,096)?

# %% tags=["guess:activations_left", "slide"]
activations_left = 3  #? GB of activations at the peak of the same step with checkpointing
# | 0: all are made again, so none seems to stay: but they are made from what enters each layer, and that stays
# | 6: half of them: but a layer keeps 186,000 bytes of a token, and what enters is 8,192
# | 1: with one repeated layer: but the peak is in the loss, and then none is repeated
# | 3.7: the logits counted as well: they are no activations here

# %% tags=["reveal", "slide"]
guessed = guesses(activations_left=activations_left)
less = memory.estimate(NAME, "qlora", seq_len=TOKENS, checkpointing=True)
there = first.peak_bytes - first.components["activations"] - first.components["logits and loss"]
one_layer = TOKENS * kept_per_token(h=4096, q=4096, kv=1024, a=32, i=14336)
loss, steps = 12 * config.vocab_size * TOKENS, {}  # three tensors of logits in fp32
by_hand = there + checkpointed(config.num_hidden_layers, 2 * config.hidden_size * TOKENS, one_layer, loss)
for row, closed in zip(records.load("timelines")["rows"], (first, less)):
    moments = [memory.Moment(phase, tuple(count)) for phase, count in row["moments"]]
    steps[row["run"]] = dataclasses.replace(closed, timeline=moments)
before, after = (row["peak_bytes"] / 1e9 for row in records.load("timelines")["rows"])
title = f"Our layers: checkpointing takes the slope, {before:.1f} to {after:.1f} GB; the loss stays"
show.figure(show.memory_timeline(steps, title), alt=f"{title}. Without it memory climbs through the forward pass and "
            f"falls through the backward pass, with a hump in the {first.peak_phase}; with it only the hump stands out.")
guessed.against(activations_left=less.components["activations"] / 1e9)
print(f"By your function {by_hand / 1e9:.2f} GB, by the library {less.peak_bytes / 1e9:.2f} (the rest: the last norm)")

# %% [markdown]
# (Widths of phases are no durations; *workspace* is what is needed for a moment. The picture is a recorded simulation, tensor by tensor: hence 21.5.) PEFT under the Trainer
# goes from 32.3 to 14.0 GB.
#
# The hump is the loss: transformers 5 holds three fp32 tensors of logits while it goes backward, 12 bytes per logit where the
# head is 16-bit; 16 after `prepare_model_for_kbit_training`. What decides its weight is the vocabulary beside layers × width, not
# the size alone:

# %%
rows = []
for name in ("llama-2-7b", NAME, "llama-3.2-1b", "smollm2-135m"):
    c = memory.load_config(name)
    width = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    layers = c.num_hidden_layers * TOKENS * kept_per_token(
        c.hidden_size, c.num_attention_heads * width, c.num_key_value_heads * width, c.num_attention_heads,
        c.intermediate_size)
    hump = 12 * c.vocab_size * TOKENS
    rows.append([name, f"{c.vocab_size:,}", f"{layers / 1e9:.2f}", f"{hump / 1e9:.2f}", f"{hump / layers:.0%}"])
show.table(rows, [f"{TOKENS:,} tokens", "vocabulary", "all layers keep, all trained, GB", "loss, GB", "loss ÷ layers"])
for run in records.load("memory_world")["rows"]:
    if run["source"] == "ml-cross-entropy":
        part = "with its gradient" if run["id"].endswith("-bw") else "the loss"
        print(f"Gemma 2 (2B), {part}: {run['measured'] / 2**20:,.0f} MiB, {run['measured'] / (256_000 * 8192):.0f} bytes a logit")

# %% [markdown]
# The last two are Apple's, of 8,192 tokens ([ml-cross-entropy](https://github.com/apple/ml-cross-entropy)).

# %% [markdown] tags=["minutes:12"]
# ## 5. What adapters keep
#
# In full fine-tuning, query, key and value share one kept input. A frozen layer keeps none; its adapter keeps its input, for the
# gradient of A. **Guess** what a layer with PEFT's adapters on all seven linear layers keeps in a plain bf16 loop, no autocast, if
# full fine-tuning counts as 100.

# %% tags=["guess:lora_keeps", "slide"]
lora_keeps = 70  #? kept per token by a layer with PEFT's LoRA as it comes, bf16, no autocast; full fine-tuning keeps 100
# | 1: "it trains 1 %": what is kept follows the inputs, not the number of weights that train
# | 90: the frozen norms keep less, and the rest is the same: true if adapters share their input
# | 112: a copy for each adapter, in 16 bits: that is what the Trainer's autocast makes of it
# | 200: as if all that is kept doubled: only adapters' inputs grow; gate, up and the attention's stay as they were

# %% tags=["nbval-ignore-output"]
import peft

guessed = guesses(lora_keeps=lora_keeps)


def with_peft(fp32, dropout=0.0):  # -> a function that puts PEFT's adapters into a model
    def prepare(model):
        c = peft.LoraConfig(r=16, target_modules="all-linear", lora_dropout=dropout)
        return peft.get_peft_model(model, c, autocast_adapter_dtype=fp32)

    return prepare


WAYS = {"full": lambda model: model, "LoRA in fp32, PEFT's default": with_peft(True), "fp32, dropout": with_peft(True, 0.05),
        "LoRA in bf16": with_peft(False), "bf16, dropout": with_peft(False, 0.05)}
ratio = {}  # to what full fine-tuning keeps: of each way, in a plain loop and under autocast
for way, prepare in WAYS.items():
    for cast in (False, True):
        counts = [kept_by_a_layer(prepare, sizes, autocast=cast) for sizes in SHAPES]
        ratio[way, cast] = sum(100 * count / of_full for count, of_full in zip(counts, seen)) / len(counts)

# %% tags=["reveal", "slide"]
FP32, BF16, DROP = {"adapter_dtype": "fp32"}, {"adapter_dtype": "bf16"}, {"dropout": 0.05}
WHOLE, peaks, rows = dict(zip(WAYS, ({}, FP32, FP32 | DROP, BF16, BF16 | DROP))), {}, []
for way, options in WHOLE.items():
    rows.append(row := [way])
    for stack, cast in (("peft-loop", False), ("peft", True)):
        row.append(f"{ratio[way, cast]:.0f}")
        for texts in (1, 16):
            step = memory.estimate(TINY, "lora" if options else "full", r=64, stack=stack, precision="bf16", seq_len=1024,
                                   batch_size=texts, **options)
            peaks[stack, texts, way] = step.peak_bytes
            row.append(f"{step.peak_bytes / 1e9:.1f}")
heads = [f"{way}: {what}" for way in ("loop", "Trainer") for what in ("a layer keeps", "1 text, GB", "16 texts, GB")]
show.table(rows, ["", *heads], "A plain bf16 loop, and the Trainer in bf16. A layer: full = 100, three shapes, r = 16. A step, "
           f"estimated: TinyLlama, 1,024 tokens a text, r = 64 ({memory.lora_parameters(TINY, 64):,} numbers).")
guessed.against(lora_keeps=ratio["LoRA in fp32, PEFT's default", False])

# %% tags=["assert"]
DEFAULT, NARROW, THINNED = "LoRA in fp32, PEFT's default", "LoRA in bf16", "bf16, dropout"
assert ratio[DEFAULT, False] > 150 and 105 < ratio[DEFAULT, True] < 120 and ratio[NARROW, False] < 100
assert ratio[THINNED, False] > 120 and ratio["fp32, dropout", True] > 180, "dropout alone is enough"
few = {way: peaks["peft-loop", 1, way] for way in WHOLE}
many = {way: peaks["peft-loop", 16, way] for way in WHOLE}
assert few[DEFAULT] < few["full"] and many[NARROW] < many["full"] < min(many[DEFAULT], many[THINNED]), "tokens turn it round"
trainer = {way: peaks["peft", 16, way] / peaks["peft", 16, "full"] for way in WHOLE}
assert 0.95 < trainer[DEFAULT] < 1 < 1.1 < trainer["fp32, dropout"], "under the Trainer dropout does"
block = config.num_hidden_layers * one_layer
assert 0.9 < first.components["activations"] / block < 0.95 and 1.4 < theirs.components["activations"] / block < 1.6
narrow = memory.estimate(NAME, "qlora", stack="peft", seq_len=TOKENS, checkpointing=False, adapter_dtype="bf16")
assert [round(step.peak_bytes / 1e9, 1) for step in (theirs, narrow)] == [32.3, 32.0]

# %% [markdown]
# "Tinyllama with Lora consumes more memory than full-finetuning", says PEFT's
# [issue 1514](https://github.com/huggingface/peft/issues/1514) of 2024.
#
# In a plain loop of 16 texts, yes. **The reason, today**: PEFT holds adapters in fp32 even on a bf16 model, so each adapter casts its input: a
# copy of its own, twice as wide, shared with nobody. The control, adapters in bf16, shares the input again and falls below 100.
# LoRA saves states, which do not grow with the tokens, and pays in activations, which do: less for one text, more for 16.
#
# Under the Trainer, autocast hands adapters a 16-bit input, and with 16 texts LoRA stays just below full. What turns
# it round there is dropout: 191 on this CPU. (A mask takes one byte on a GPU, two here.)
#
# <details><summary>The reason is another</summary>
#
# It dates from March 2024, and PEFT gave adapters the base's dtype until version 0.11
# ([PR 1706](https://github.com/huggingface/peft/pull/1706)): that is our control, which needs less. Dropout would do it; whether
# the script used it, we could not see. Its 50,462,720 trained numbers are r = 64. The maintainer could not reproduce it
# with fp16 at 1,024 tokens.
#
# </details>
#
# QLoRA in `lora_lab`, which casts the adapters instead of their inputs, keeps about 0.9 of full fine-tuning's block; as
# PEFT prepares it, 1.5 times it, since its hidden states are fp32.

# %% [markdown] tags=["minutes:8"]
# ## 6. Predicted, then measured
#
# Real steps of the course's small model on this machine. The allocator's own count, against two predictions, two rivals and
# a **control**: `simulate` runs the step on *[fake tensors](../course/glossary.md#fake-tensors)*, which have shapes and no data; `estimate` is the [closed form](../course/glossary.md#closed-form); the
# *sum* takes each part at its own largest; the rule is the table's bytes per parameter; and the control is the simulated peaks
# of other steps.

# %% tags=["nbval-ignore-output"]
SMALL, RULE = models.load_embedded()[0].config, {"full": 18, "lora": 2, "qlora": 0.5}
STEPS = [(method, {"checkpointing": less}) for method in RULE for less in (False, True)]
STEPS += [("qlora", {"batch_size": 1, "seq_len": 64})]
series = {"simulated": [], "closed form": [], "sum of the parts": [], "bytes per parameter": []}
for method, options in STEPS:
    options = {"batch_size": 4, "seq_len": 128, "precision": "fp32"} | options
    measured = memory.measure(*memory.real_step(memory.Setup(SMALL, method, **options))).peak_bytes
    simulated = memory.simulate(SMALL, method, **options)
    closed = memory.estimate(SMALL, method, device="cpu", **options)
    largest = sum(map(max, zip(*[moment.bytes for moment in simulated.timeline])))
    rule = round(RULE[method] * memory.parameters(SMALL).total)
    for name, predicted in zip(series, (simulated.peak_bytes, closed.peak_bytes, largest, rule)):
        series[name].append((measured, predicted))

# %% tags=["reveal", "nbval-ignore-output", "slide"]
truths, fakes = zip(*series["simulated"])
everything = series | {"simulated, of other steps": list(zip(truths, fakes[3:] + fakes[:3]))}
rows, worst = [], {}
for name, pairs in everything.items():
    errors = sorted(abs(predicted / truth - 1) for truth, predicted in pairs)
    worst[name] = errors[-1]
    rows.append([name, f"{errors[len(errors) // 2]:.2%}", f"{errors[-1]:.2%}"])
show.table(rows, ["prediction of seven real steps", "median error", "worst error"])
title = f"Counting tensors errs by {worst['simulated']:.1%} at most"
show.figure(show.predicted_against_measured(series, title), alt=title + "; " + "; ".join(
            f"{name} by up to {worst[name]:.1%}" for name in series))

# %% [markdown]
# Bytes per parameter know nothing of the text; sums add what is never alive together. For steps of GPUs, see lesson 06.

# %% tags=["optional"]
seven, thirteen = memory.load_config("llama-2-7b"), memory.load_config("llama-2-13b")
attention = memory.lora_parameters(seven, 16, ("q_proj", "k_proj", "v_proj", "o_proj"))
P, layer_13b = memory.parameters(seven).total, TOKENS * kept_per_token(5120, 5120, 5120, 40, 13824)
with_doors = 40 * TOKENS * 2 * 5120 + layer_13b
show.table([
    ["Llama-2-7B, r = 16 on attention, trains about 10 M", f"{attention:,}"],
    ["full fine-tuning of 7B takes 84 GB (12 bytes each)", f"16 bytes: {16 * P / 1e9:.1f} GB; bf16: {8 * P / 1e9:.1f} GB"],
    ["activations of 13B take about 5 GB", f"layers: {40 * layer_13b / 1e9:.1f} GB; checkpointed {with_doors / 1e9:.1f} GB"],
    ["8B in QLoRA takes x/2 = 4 GB", f"weights {stored.total / 1e9:.2f} GB, step {first.peak_bytes / 1e9:.1f} GB"]],
    ["one reads", "computed, 2,048 tokens"], "Optional: four numbers to check; more in the course's folklore")

# %% tags=["assert"]
assert round(first.peak_bytes / 1e9, 1) == 21.6 and round(less.peak_bytes / 1e9, 1) == 9.9
for row, closed in zip(records.load("timelines")["rows"], (first, less)):
    assert abs(closed.peak_bytes / row["peak_bytes"] - 1) < 0.01, "the recorded simulation agrees with today's closed form"
assert seen == yours and abs(by_hand / less.peak_bytes - 1) < 0.01
assert phase == "loss" and each_at_most > 1.2 * most, "a sum of parts is no peak"
assert worst["simulated"] < 0.01 and worst["closed form"] < 0.08
assert min(worst["sum of the parts"], worst["bytes per parameter"], worst["simulated, of other steps"]) > 0.2

# %% tags=["nbval-ignore-output"]
results("07")

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# - **The slope or the hump?** If activations lead, checkpoint, or shorten. If the loss leads (small model, large vocabulary), make
#   logits in parts, or fuse.
# - **PEFT and long texts**: checkpointing first. In a plain bf16 loop `autocast_adapter_dtype=False` removes the copies; with
#   `prepare_model_for_kbit_training` it hardly helps (32.3 to 32.0 GB), since the hidden states are fp32. Not with fp16 under AMP: it raises an
#   error. Dropout brings a copy back in every case.
# - **A number without a stack, a length and a batch** is no prediction.
#
# ## What was not shown
#
# A whole PEFT step: measured here is only what one of its layers keeps. A GPU's libraries and gaps between blocks; mixtures of
# experts.
#
# ## What to try
#
# - Does the loss ever stop being the peak of the 8B step, at any batch? Now `chunked_loss=128`: where does the peak go?
# - `upcast_frozen=True`, as PEFT's `prepare_model_for_kbit_training` does: which parts grow?
#
# ## Three questions
#
# <details><summary>Why is a step's peak not the sum of weights, gradients, states, activations and logits?</summary>
#
# They are not all alive together. When the logits are there, the layers' gradients are not yet; when all gradients are, the
# activations have gone. The peak is the largest moment.
#
# </details>
# <details><summary>You turned checkpointing on, and doubled the vocabulary. Where is the peak, and what helps?</summary>
#
# In the loss: 12 bytes for each logit. More checkpointing cannot help. Make the logits of some hundred tokens at a time.
#
# </details>
# <details><summary>In a plain bf16 loop, no autocast, LoRA at 16,384 tokens runs out of memory where full fine-tuning did not. Where
# do you look?</summary>
#
# At the dtype of the adapters, and at dropout. Either makes each adapter keep a copy of its input of its own. Under the Trainer:
# at dropout first, since autocast hands adapters a 16-bit input.
#
# </details>
#
# ## Next
#
# [08_number_formats](08_number_formats.ipynb): what four, eight and sixteen bits can say.
