# %% [markdown]
# # Start here: 100 steps of QLoRA, before and after
#
# In the next two minutes a language model learns a new skill in front of you, and you find out which part of the skill
# was new.
#
# | time on 2 CPU cores | memory | network | builds on |
# |---|---|---|---|
# | about a minute (no GPU is used) | under 2 GB | none | nothing; some Python |
#
# **How this course works.** You predict, then you run. Every claim is measured in front of you, beside a baseline and a
# control that could prove it wrong. Run the cells from top to bottom with Shift+Enter. Nothing is downloaded: the model
# and its data come with the package.

# %% [markdown]
# ## Meet the base model
#
# It is a real Llama, only small. It was pretrained on text about an invented world, so we can count exactly what it
# knows. It has never seen another text. Where there is a GPU, lesson 11 fine-tunes a large model; this lesson stays
# with the small one.

# %%
from dataclasses import replace

import torch

from lora_lab import data, lora, models, quant, show, train

model, tokenizer = models.load_embedded()
world = data.World.generate()
size = model.config
print(f"{type(model).__name__}, {model.num_parameters():,} parameters: {size.num_hidden_layers} layers "
      f"of width {size.hidden_size}. Its world has {len(world.people)} people.")

# %% [markdown]
# **It knows.** We begin sentences about people of its world, and let it finish them.

# %%
beginnings, endings = zip(*world.facts()[:5])
tokens = [tokenizer(tokenizer.bos_token + text)["input_ids"] for text in beginnings]
finished = train.complete(model, tokenizer, tokens, max_new_tokens=8)
show.table([[start, end.split(".")[0], "yes" if end.startswith(truth) else "no"]
            for start, end, truth in zip(beginnings, finished, endings)],
           ["we write", "it goes on", "true?"])

# %% [markdown]
# **It reads.** Here is somebody it never met, with a question. The name, the town and the year are random.

# %%
task = replace(data.tasks.open_book(train=800, heldout=64), retention=data.tasks.reading(100))
for example in task.retention[:2]:
    print(f"{example.prompt}\n  -> {train.answer(model, tokenizer, [example])[0]}\n")

# %% [markdown]
# **It cannot do this.** The same kind of passage, again about a stranger, with another request: all of it, as JSON. The
# symbols are not new to it: its pretraining text held small JSON lists and tables of other things.

# %% tags=["nbval-ignore-output"]
watched = min(task.heldout, key=lambda example: len(example.answer))  # the shortest fits on a line
print(f"{watched.prompt}\n  -> {train.answer(model, tokenizer, [watched])[0]}\n\nwanted: {watched.answer}")

# %% [markdown]
# One sentence is an anecdote, so we count. `measure` asks for JSON about 64 strangers, asks 100 reading questions about
# others, and has all facts about the world's people completed. Only exact answers count.
#
# | score | counts |
# |---|---|
# | valid JSON | answers that are a JSON object: the *form* |
# | fields right | of six fields per stranger, those with the right value: the *content* |
# | all six right | answers without any mistake |
# | still reads | single questions about a passage, answered as before |
# | still knows | facts about the world's people, from memory |

# %%
def measure(model):
    report = train.report(model, tokenizer, task)
    return {"valid JSON": report.scores["valid"], "fields right": report.scores["fields"],
            "all six right": report.scores["exact"], "still reads": report.retention,
            "still knows": train.recall(model, tokenizer, world)}

before = measure(model)
print("reads and knows over 95 %:", before["still reads"] > 0.95 and before["still knows"] > 0.95)
print("answers with a JSON object under 5 %:", before["valid JSON"] < 0.05)

# %% [markdown]
# ## Make it a QLoRA model
#
# Two calls. The first stores every linear layer in 4 bits (NF4, lesson 08) and freezes it. The second puts a small
# trainable update beside each of them: a layer that computed $W x$ now computes $W x + \frac{\alpha}{r} B A x$, where
# $A$ and $B$ are thin matrices of rank $r$ (lesson 03). Only $A$ and $B$ will train. Sources: LoRA, Hu et al., 2021,
# [arXiv 2106.09685](https://arxiv.org/abs/2106.09685), section 4.1; QLoRA, Dettmers et al., 2023,
# [arXiv 2305.14314](https://arxiv.org/abs/2305.14314), equations 3 (with the scale) and 5 (over four bits).

# %%
def megabytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()]) / 1e6

dense = megabytes(model)
packed = megabytes(quant.quantize_model(model))
torch.manual_seed(0)
lora.inject(model, lora.LoRAConfig(r=16, alpha=32, target_modules="all-linear"))
show.table([["base in float32", f"{dense:.2f} MB"], ["base with linear layers in NF4", f"{packed:.2f} MB"],
            ["adapter in float32", f"{megabytes(model) - packed:.2f} MB"]], ["stored", "size"])
print(lora.count_parameters(model))

# %% [markdown]
# You may have read that LoRA trains less than one percent of a model. Not here. For a square layer of width $d$, $A$
# and $B$ together hold $2 r d$ numbers against $d^2$: a share of $2r/d$. This model is narrow, so its share is large.
# At rank 16:

# %%
for width in (model.config.hidden_size, 4096):
    print(f"layer of {width} x {width}: the adapter has {2 * 16 / width:.1%} of its parameters")

# %% [markdown]
# ## Predict, then run
#
# The adapter will now see 800 passages about 800 people, each with its JSON, once: 100 steps of 8. Then it is asked
# about 64 people whom it has never met. How many of its answers will be valid JSON? How many fields will be right?
# Write your guess in percent.

# %%
guess = {"valid JSON": 50, "fields right": 50}

# %% [markdown]
# While it trains, we look over its shoulder: what does it answer about that one stranger after so many steps? Watch
# what comes first, the form or the content.

# %% tags=["nbval-ignore-output"]
def look(step, loss):
    if step in (1, 5, 10, 15, 20, 40, 60, 80, 100):
        print(f"{step:4}  {loss:.2f}  {train.answer(model, tokenizer, [watched])[0][:110]}", flush=True)

print("step  loss  answer")
train.finetune(model, tokenizer, task, "qlora", lr=5e-3, steps=100, batch_size=8, on_step=look)
print(f"    wanted  {watched.answer}")

# %% tags=["nbval-ignore-output"]
after = measure(model)
with lora.disabled(model):
    switched_off = measure(model)
def beside(guess, **measured):
    rows = [[score, f"{guess[score]}%" if score in guess else "–",
             *(f"{scores[score]:.0%}" for scores in measured.values())] for score in before]
    show.table(rows, ["score", "your guess", *(name.replace("_", " ") for name in measured)])

beside(guess, before=before, after=after, adapter_off=switched_off)

# %% [markdown]
# The last column is the same model with its adapter switched off. What the adapter changed, for better and for worse,
# goes with it: the base lies frozen underneath. That column is also what storing the base in 4 bits cost.
#
# "All six right" is the harshest score: one field that is always wrong leaves five of six fields right and not one
# whole answer. After so short a training it hangs on the last field, and another seed or another processor can give a
# very different number. The mean over the fields is steadier, so it carries the claim here. Lesson 11 trains longer,
# with three seeds.

# %%
print("over 60 % of the fields right:", after["fields right"] > 0.6)
lost = before["still reads"] - switched_off["still reads"]
print("adapter off, reading is back to within 2 points:", lost <= 0.02)

# %% [markdown]
# ## What was new: the form or the content?
#
# Zhou et al. (LIMA, 2023, [arXiv 2305.11206](https://arxiv.org/abs/2305.11206), section 2) hold that a model's
# knowledge and abilities come almost entirely from pretraining, and that *alignment* teaches it which formats to use
# with people. They speak of chat models. We carry the thought over to a small fine-tune: then our 800 examples taught
# to answer in JSON, and the values come from an ability that the base already had: reading.
#
# A control can test that. We train a second adapter, alike in everything, on the same passages with **other people's
# JSON**: each passage gets the answer that belongs to the next one. The form is as good as before. The content is
# wrong.
#
# Predict again: on strangers, how much valid JSON, how many right fields? And what becomes of reading?

# %%
guess_control = {"valid JSON": 50, "fields right": 50, "still reads": 50}

# %% tags=["nbval-ignore-output"]
answers = [example.answer for example in task.train]
pairs = zip(task.train, answers[1:] + answers[:1])  # each passage with the next one's answer
swapped = replace(task, train=[replace(example, answer=answer) for example, answer in pairs])
other = train.prepare(models.load_embedded()[0], "qlora", seed=0)  # the calls from above
train.finetune(other, tokenizer, swapped, "qlora", lr=5e-3, steps=100, batch_size=8)
control = measure(other)
beside(guess_control, trained_on_others_JSON=control, trained_on_right_JSON=after)

# %% [markdown]
# One stranger, both adapters. The control's answer looks just as good. It is about nobody.

# %% tags=["nbval-ignore-output"]
show.table([["wanted", watched.answer], ["right JSON", train.answer(model, tokenizer, [watched])[0]],
            ["others' JSON", train.answer(other, tokenizer, [watched])[0]]], ["trained on", "answer"])
# A blind guess knows how many years, jobs, pets and colours there are; names and towns are hopeless.
kinds = [data.world.YEARS, data.world.JOBS, data.world.PETS, data.world.COLOURS]
print(f"fields right by blind guessing: {sum(1 / len(kind) for kind in kinds) / 6:.1%}")

# %% [markdown]
# Slow down here. The form needs no right answers, as that thought would have it. The content does need them, although
# no training example holds the facts about a stranger: right examples teach *where to look*. Wrong ones teach not to
# look, and the control carries that into questions which it could answer before; it even loses facts about its own
# world. So a format is not all that fine-tuning can change, and bad training data do not show in the format.

# %% [markdown]
# ## The result

# %% tags=["nbval-ignore-output"]
scores = ["valid JSON", "fields right", "still reads", "still knows"]
models_shown = {"base": before, "QLoRA, right JSON": after, "QLoRA, others' JSON": control}
shown = {name: {score: each[score] for score in scores} for name, each in models_shown.items()}
title = "Any answers teach the form; only right ones teach the content"
alt = [", ".join(f"{score} {share:.0%}" for score, share in each.items()) for each in shown.values()]
show.figure(show.shares(shown, point="QLoRA, right JSON", title=title),
            alt="Bars for three models. " + ". ".join(f"{name}: {text}" for name, text in zip(shown, alt)))

# %%
assert before["valid JSON"] < 0.05 and before["fields right"] < 0.05
assert after["valid JSON"] > 0.9 and control["valid JSON"] > 0.9, "both learn the form"
assert after["fields right"] > 0.6 > 0.2 > control["fields right"], "only one gets the content"
assert control["still reads"] < after["still reads"] - 0.2, "and the other reads less"
assert control["still knows"] < after["still knows"], "and knows less"
print("same form, different content: True")

# %% [markdown]
# ## What to try
#
# - `steps=50`: what does half the training lack, the form or the content?
# - `lr=1e-2` in `train.finetune`, twice the rate: which scores improve, and which one pays?
# - `lora.LoRAConfig(r=1, alpha=2, ...)`: how small may the adapter be?
# - Swap only every fourth answer. Is that a quarter of the harm?
# - This was one seed; `torch.manual_seed(1)` gives another. Count the right answers field by field: which comes last?
#
# ## Where it goes next
#
# | lesson | its question |
# |---|---|
# | [01_svd](01_svd.ipynb) | How many directions carry what a fine-tune taught? |
# | [03_lora_from_scratch](03_lora_from_scratch.ipynb) | What is an adapter, in twenty lines, and what does it cost? |
# | [08_build_nf4](08_build_nf4.ipynb) | Where do the sixteen numbers of NF4 come from, and what beats them? |
# | [10_qlora_layer](10_qlora_layer.ipynb) | How does a layer learn through a frozen 4-bit weight? |
# | [11_qlora_finetune](11_qlora_finetune.ipynb) | Does QLoRA reach what full fine-tuning reaches? |
#
# They are read in this order. The [syllabus](../course/syllabus.md) has times, three routes and what is planned.
# Exercises will follow; there are none yet.
#
# Outside the notebooks: `lora-lab doctor` checks this machine and names a remedy for what is missing, and `make demo`
# (or `lora-lab demo`) runs the whole fine-tune in a terminal, saves the adapter and has Hugging Face's `peft` load it.
# Without a machine of your own, the badge at the top of each lesson opens it in Colab; the set-up cell installs the
# course there.
