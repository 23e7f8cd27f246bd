# %% [markdown] tags=["slide"]
# # Start here: teach a language model something new, and find out what was new
#
# A model of 8 billion weights *runs* on a card of **24 GB**. To *train* all of its
# weights the usual way, that card is far too small.
#
# After this lesson you have fine-tuned a small model, you know what of its skill is new, and what to try
# before you fine-tune at all.
#
# | computing, 2 CPU cores | for you | memory | builds on |
# |---|---|---|---|
# | 1 minute | 38 minutes | 2 GB, offline | some Python |
#
# **Two names first.** *[LoRA](../course/glossary.md#lora)* leaves a model's weights as they are and trains small matrices beside them. *[QLoRA](../course/glossary.md#qlora)* does
# the same while the weights lie there in 4 bits each.
#
# **How a lesson works.** You *guess* before you run: a wrong guess teaches most, `None` passes. You *type* a few lines,
# *check* them, and open a *hint* when stuck. A skipped task breaks nothing.

# %% [markdown] tags=["minutes:5"]
# ## 1. Why LoRA at all
#
# Llama-3.1-8B, as it is published, has two bytes for every weight:

# %%
from dataclasses import replace

import torch

from lora_lab import data, lora, memory, models, quant, records, show, train
from lora_lab.disk import parse_json
from lora_lab.exercises import check, guesses, progress, results

weights = memory.estimate("llama-3.1-8b", "full").trainable_params
whole_model = 2 * weights
print(f"{weights:,} weights of 2 bytes: {whole_model / 1e9:.1f} GB")

# %% [markdown]
# Training needs more: a [gradient](../course/glossary.md#gradient) for each weight, what the [optimizer](../course/glossary.md#optimizer) remembers about each, and what the forward pass
# keeps for the backward pass (*[checkpointing](../course/glossary.md#checkpointing)* keeps less, and computes it again). **Guess** how much at its highest moment.
#
# And a thousand customers, each with a LoRA? It is two thin matrices, 16 rows or columns, beside each of 224 layers. Most
# layers are 4,096 wide, the widest 14,336; a number has 2 bytes. How much is one customer?

# %% tags=["guess:full_gb", "guess:customer_mb", "slide"]
full_gb = 100  #? GB to train all 8 billion weights, at the highest moment | 96: 12 bytes for each weight, itself and the optimizer's two numbers; what the forward pass keeps comes on top | 64: 8 bytes for each weight, which is training all in 16 bits; the usual way keeps the weight and what the optimizer remembers in 32
customer_mb = 800  #? MB for one customer's LoRA | 16000: the whole model again, but its weights did not change | 4000: a model in 4 bits; what is kept is only what was trained beside it | 800: a twentieth of the model, as if a skill needed so much; count the numbers of A and B

# %% tags=["reveal", "slide"]
guessed = guesses(full_gb=full_gb, customer_mb=customer_mb)
full = memory.estimate("llama-3.1-8b", "full")
lora_16 = memory.estimate("llama-3.1-8b", "lora", r=16)
qlora = memory.estimate("llama-3.1-8b", "qlora", r=16)
again = memory.estimate("llama-3.1-8b", "lora", r=16, checkpointing=True)
lean = memory.estimate("llama-3.1-8b", "qlora", r=16, checkpointing=True)
peaks = {"full fine-tuning": full.peak_bytes, "LoRA": lora_16.peak_bytes, "LoRA + checkpointing": again.peak_bytes,
         "QLoRA": qlora.peak_bytes, "QLoRA + checkpointing": lean.peak_bytes}
room = {card: memory.get_gpu(name).usable_bytes for card, name in {"T4": "t4", "L4": "l4", "A100": "a100-80gb"}.items()}
note = "Predicted for our layers and one text of 2,048 tokens; lesson 07 measures. Dashed: what is free on three cards."
show.figure(*show.fits(peaks, room), caption=f"{note} An A100's 80 GiB are 86 GB; {room['A100'] / 1e9:.0f} are free.")
one_customer = 2 * lora_16.trainable_params  # 16 bits each
print(f"a copy per customer: {whole_model / 1e9:.0f} GB, or {one_customer / 1e6:.0f} MB "
      f"({lora_16.trainable_params / weights:.1%} of the weights)")
guessed.against(full_gb=round(full.peak_bytes / 1e9), customer_mb=round(one_customer / 1e6))

# %% [markdown]
# <details><summary>What is "the usual way", and why so much?</summary>
#
# *[Mixed precision](../course/glossary.md#mixed-precision)* with *[AdamW](../course/glossary.md#adamw)*. Products run in 16 bits. In 32 bits, which are 4 bytes, there are for each weight itself
# and the two numbers that the optimizer, AdamW, remembers about it: 12 bytes. The forward pass adds what it keeps, and a
# 16-bit copy of every weight that multiplies; at the peak the loss is computed. The gradients, 4 bytes more, come as these
# go: the step ends at 16 bytes a weight. The cell below has the gigabytes. It also has QLoRA as [PEFT](../course/glossary.md#peft) and [bitsandbytes](../course/glossary.md#bitsandbytes), the
# libraries that most people use, usually run it: they keep more in 32 bits.
#
# </details>
#
# LoRA saves what belongs to a trained weight, QLoRA shrinks the weights, checkpointing what the forward pass keeps.

# %% tags=["optional"]
at_rest, at_the_end = full.phases["at rest"], full.phases["optimizer step"]
multiply = memory.linears(memory.load_config("llama-3.1-8b"))
copies = 2 * sum(layer.d_in * layer.d_out * layer.count for layer in multiply)  # 2 bytes each
print(f"full fine-tuning: {at_rest / 1e9:.0f} GB at rest, {full.peak_bytes / 1e9:.0f} GB at the peak, "
      f"{at_the_end / 1e9:.0f} GB at the end of the step")
print(f"what the peak adds: {(full.peak_bytes - at_rest) / 1e9:.0f} GB, {copies / 1e9:.0f} GB of them 16-bit copies")
as_usual = memory.estimate("llama-3.1-8b", "qlora", r=16, checkpointing=True, upcast_frozen=True, keep_outputs=True)
print(f"QLoRA with checkpointing: {lean.peak_bytes / 1e9:.0f} GB here, "
      f"{as_usual.peak_bytes / 1e9:.0f} GB as PEFT with bitsandbytes is usually run")

# %% [markdown] tags=["minutes:3"]
# ## 2. A model whose knowledge you can count
#
# Our model is a real Llama, only small, pretrained on text about an invented world. So we can count what it knows. It
# *knows* the people of its world. And it *reads*: it answers questions about somebody it never met.

# %%
model, tokenizer = models.load_embedded()
world = data.World.generate()
task = replace(data.tasks.open_book(train=800, heldout=64), retention=data.tasks.reading(100))
beginning, ending = world.facts()[1]
tokens = tokenizer(tokenizer.bos_token + beginning)["input_ids"]
(goes_on,) = train.complete(model, tokenizer, [tokens], max_new_tokens=8)
goes_on, ending = goes_on.split(".")[0].strip(), ending.strip(" .")
print(f"we write   {beginning}\nit writes  {goes_on}      (true: {ending})\n")
question = task.retention[1]
(answer,) = train.answer(model, tokenizer, [question])
print(show.wrapped("we write   ", question.prompt), f"it writes  {answer}      (true: {question.answer})", sep="\n")

# %% [markdown]
# **It cannot do this:** the same kind of passage, all of it as JSON.

# %% tags=["nbval-ignore-output", "slide"]
watched = min(task.heldout, key=lambda example: len(example.answer))
(first_try,) = train.answer(model, tokenizer, [watched])
for label, text in [("passage   ", watched.prompt), ("answer    ", first_try), ("wanted    ", watched.answer)]:
    print(show.wrapped(label, text))

# %% [markdown] tags=["minutes:8"]
# ## 3. What would you count?
#
# One answer is an anecdote; we need numbers. That it *is* JSON is the form. That its values are right is the content.
# **Your turn:** count the content of one answer.

# %% tags=["turn:fields_right", "slide"]
def fields_right(given, wanted):       # two dictionaries: {"name": "Loric Hollin", "born": 1926, ...}
    """The share of the wanted fields that have the right value in `given`, which may lack some of them."""
    #> count the wanted fields whose value is right; divide by the number of wanted fields
    right = 0
    for field, value in wanted.items():
        if field in given and given[field] == value:
            right += 1
    return right / len(wanted)
    #<

# %% [markdown] tags=["hint:fields_right"]
# **A first hint.** Go through the wanted fields with `for field, value in wanted.items():` and count.
#
# **A second hint.** `given.get(field)` is the given value, or `None` where the field is missing.
#
# **Help, I get a KeyError.** `given[field]` fails where the model left the field out. Ask `field in given` first.

# %% tags=["check:fields_right"]
fields_right = check("fields_right", fields_right)

# %% [markdown]
# Now measure: JSON about 64 strangers, 100 reading questions about others, and all facts of its world from memory.

# %% tags=["nbval-ignore-output"]
def fields_of(answer):
    """The fields of an answer; none if it is no JSON object."""
    try:
        found = parse_json(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def content(example, answer):
    return fields_right(fields_of(answer), parse_json(example.answer))


print(f"{content(watched, first_try):.0%} of the fields right in the answer above")

# %% tags=["nbval-ignore-output"]
def measure(model):
    report = train.report(model, tokenizer, task)
    shares = [content(example, answer) for example, answer in zip(task.heldout, report.answers)]
    return {"valid JSON": report.scores["valid"], "fields right": sum(shares) / len(shares),
            "still reads": report.retention, "still knows": train.recall(model, tokenizer, world)}


before = measure(model)
show.table([[score, f"{share:.0%}"] for score, share in before.items()], ["score", "before training"])

# %% [markdown] tags=["minutes:7"]
# ## 4. One hundred steps
#
# Two calls make it a QLoRA model. The first stores every [linear layer](../course/glossary.md#linear-layer) in 4 bits and [freezes](../course/glossary.md#freeze) it. The second puts a small
# trainable [update](../course/glossary.md#update) beside each: what computed $W x$ now computes $W x + \frac{\alpha}{r} B A x$. $A$ and $B$ are thin
# matrices: one side of each is the *[rank](../course/glossary.md#rank)* $r$. $\alpha$ is a [fixed number](../course/glossary.md#alpha): how much the update counts ([Hu et al., 2021](https://arxiv.org/abs/2106.09685), section 4.1;
# [Dettmers et al., 2023](https://arxiv.org/abs/2305.14314), section 3).

# %% tags=["slide"]
def megabytes(model):
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()]) / 1e6


dense = megabytes(model)
packed = megabytes(quant.quantize_model(model))
torch.manual_seed(0)
lora.inject(model, lora.LoRAConfig(r=16, alpha=32, target_modules="all-linear"))
stored = [tensor for tensor in [*model.parameters(), *model.buffers()] if not tensor.requires_grad]  # the base
at_first = [tensor.clone() for tensor in stored]
show.table([["base in 32 bits", f"{dense:.2f} MB"], ["base with its linear layers in 4 bits", f"{packed:.2f} MB"],
            ["update in 32 bits", f"{megabytes(model) - packed:.2f} MB"]], ["stored", "size"])
print(f"{lora.count_parameters(model)}; so many because its layers are narrow: {lora_16.trainable_params / weights:.1%} "
      "in Llama-3.1-8B")
show.figure(*show.lora_schematic(192, 192, r=16, alpha=32))

# %% [markdown]
# It now sees 800 passages about 800 people, each once, with its JSON. Then it is asked about the 64 strangers.
# **Guess**, in percent.

# %% tags=["guess:valid_after", "guess:fields_after", "slide"]
valid_after = 60  #? % of answers that are JSON, after 100 steps | 20: that 800 examples are few for a new form; a form takes the first tens of steps | 80: that some strangers break the form; it does not depend on whom it is about
fields_after = 40  #? % of fields right, on strangers | 15: that it learns the facts of the 800, which do not help; it learns where to look | 65: that some fields must be guessed; all of them stand in the passage | 40: that 800 passages teach some reading; the base could read before, and learns to use it

# %% tags=["nbval-ignore-output"]
guessed = guesses(valid_after=valid_after, fields_after=fields_after)


def look(step, loss):
    """Over its shoulder: what does it answer about that one stranger now?"""
    if step in (1, 5, 10, 15, 20, 40, 100):
        (answer,) = train.answer(model, tokenizer, [watched])
        show.at_step(step, loss, content(watched, answer), answer)


# a small model takes this high a rate; lesson 04 says where to begin on yours. clip: no gradient is longer than this
history = train.finetune(model, tokenizer, task, "qlora", lr=5e-3, clip=0.1, steps=100, batch_size=8, on_step=look)

# %% tags=["nbval-ignore-output", "slide"]
after = measure(model)
with lora.disabled(model):
    switched_off = measure(model)
rows = []
for score in before:
    rows.append([score, f"{before[score]:.0%}", f"{after[score]:.0%}", f"{switched_off[score]:.0%}"])
show.table(rows, ["score", "before", "after 100 steps", "update switched off"])
unmoved = all(torch.equal(now, then) for now, then in zip(stored, at_first))
print(f"the base in 4 bits, {len(stored)} tensors, is what it was, to the bit: {unmoved}")
guessed.against(valid_after=round(100 * after["valid JSON"]), fields_after=round(100 * after["fields right"]))

# %% [markdown]
# First the form came, then the content. The last column is the same model with its update switched off.
# Nothing underneath has moved, so one [base](../course/glossary.md#base) can serve a thousand updates.

# %% [markdown] tags=["minutes:6"]
# ## 5. Form or content?
#
# [Zhou et al. (LIMA, 2023)](https://arxiv.org/abs/2305.11206), section 2, suppose of large chat models that nearly all
# knowledge and abilities come from [pretraining](../course/glossary.md#pretraining), and that alignment teaches which formats to use. Is it so here?
#
# A [control](../course/glossary.md#control) can tell: a second model, trained alike, but on **other people's JSON**. Each passage gets the answer of the
# next one. The form is perfect, the content is about somebody else. **Guess** again. And what becomes of reading, which
# nobody trained?

# %% tags=["guess:fields_control", "guess:reads_control", "slide"]
fields_control = 30  #? % of fields right, after training on other people's JSON | 50: that a perfect form brings half of the content along; each value must be looked up | 95: that the content comes from the base, whatever the answers say; the answers teach whether to look | 30: that some values are still looked up; wrong answers teach not to look
reads_control = 90  #? % of reading questions right, after the same | 100: that training on JSON leaves plain questions alone; it changes how passages are used at all | 65: that it forgets a third; it was taught, 800 times, not to look

# %% tags=["nbval-ignore-output"]
guessed = guesses(fields_control=fields_control, reads_control=reads_control)
answers = [example.answer for example in task.train]
swapped = []
for example, answer in zip(task.train, answers[1:] + answers[:1]):  # each passage with the next one's answer
    swapped.append(replace(example, answer=answer))
other = train.prepare(models.load_embedded()[0], "qlora", seed=0)  # the two calls from above
train.finetune(other, tokenizer, replace(task, train=swapped), "qlora", lr=5e-3, clip=0.1, steps=100, batch_size=8)
control = measure(other)
(about_nobody,) = train.answer(other, tokenizer, [watched])
print(show.wrapped("wanted     ", watched.answer))
print(show.wrapped("control    ", about_nobody))

# %% tags=["reveal", "nbval-ignore-output", "slide"]
compared = {"base": before, "right JSON": after, "others' JSON": control}
kinds = [data.world.YEARS, data.world.JOBS, data.world.PETS, data.world.COLOURS]  # names and towns are hopeless
blind = sum(1 / len(kind) for kind in kinds) / 6
show.figure(*show.form_and_content(compared, "right JSON", "others' JSON"))
print(f"fields right by blind guessing: {blind:.1%}")
guessed.against(fields_control=round(100 * control["fields right"]), reads_control=round(100 * control["still reads"]))

# %% [markdown]
# The form needs no right answers. The content does, although no example holds the facts about a
# stranger: right examples teach *where to look*. Wrong ones teach not to look, and harm even questions that the model
# could answer before. So **bad data do not show in the format.**
#
# So here reading came from pretraining. Training taught the form, and where to use the reading: more than a format, and
# less than knowledge.

# %% [markdown] tags=["minutes:6"]
# ## 6. The ladder: do you need to fine-tune at all?
#
# [Fine-tuning](../course/glossary.md#fine-tuning) is the last rung. Before it come the *request*, *examples* in the request, and *[retrieval](../course/glossary.md#retrieval)*: looking the
# facts up and putting them in front of the model. We climbed all rungs with SmolLM2-135M-Instruct, which others trained on
# real text, on this same JSON task, recorded by [a script](https://github.com/lora-lab/lora_lab/blob/main/course/records/real.py).
#
# **Guess:** with the passage and up to five examples with their right JSON in the request, how many answers are right
# in *all* fields, at best? And how many after 30 steps of QLoRA on 240 passages with their JSON?

# %% tags=["guess:few_shot", "guess:tuned", "slide"]
few_shot = 50  #? % all fields right with examples in the request, at best | 95: that examples show the content as they show the form; they show what an answer looks like | 60: that what a chat model writes well it has also read well; this one is small
tuned = 70  #? % all fields right after 30 steps of QLoRA | 30: that 240 are too few; they show where to look | 50: that 4 bits cost half of the skill | 70: that so small a model misreads many; training cures that

# %%
guessed = guesses(few_shot=few_shot, tuned=tuned)  # this cell reads the records; the next one shows them


def recorded(record, name, value):
    """The rows of a record in which this name has this value: one for each seed."""
    return [row for row in records.load(record)["rows"] if row[name] == value]


asked, withheld, looked_up, trained = {}, {}, {}, {}
for shots, rung in {0: "the request alone", 1: "1 example", 3: "3 examples", 5: "5 examples"}.items():
    asked[rung] = recorded("real_prompting", "shots", shots)
for run, rung in {"base with one example": "1 example", "qlora": "QLoRA"}.items():
    withheld[rung] = recorded("real_retrieval", "run", f"passage withheld, {run}")
    looked_up[rung] = recorded("real_retrieval", "run", f"retrieval, {run}")
for run, rung in {"full": "full", "lora": "LoRA", "qlora": "QLoRA",
                  "qlora, answers shuffled": "QLoRA on others' JSON"}.items():
    trained[rung] = recorded("real_finetune", "run", run)

# %% tags=["reveal", "slide"]
def mean(rung, score):
    return sum(row[score] for row in rung) / len(rung)


rungs = {"passage given, asked": asked, "no passage": withheld, "passage looked up": looked_up,
         "passage given, fine-tuned": trained}
show.figure(*show.ladder(rungs, after="QLoRA"), caption="32 people for each of three seeds. "
            "One wording and one order of the examples. Rates from earlier trials, not tuned here. "
            "The base's weights came through 4 bits (Q4_1).")
best_asked = max(mean(rung, "exact") for rung in asked.values())
print(f"the right passage was found for {mean(looked_up['1 example'], 'found'):.0%} of the people")
took = [row["seconds"] / 60 for row in trained["QLoRA"]]
print(f"30 steps of QLoRA took {min(took):.0f} to {max(took):.0f} minutes on one thread of a busy machine")
guessed.against(few_shot=round(100 * best_asked), tuned=round(100 * mean(trained["QLoRA"], "exact")))

# %% [markdown] tags=["slide"]
# - **One example gives the form.** If form is all you lack, stop here. ([Constrained decoding](../course/glossary.md#constrained-decoding), where your server has it,
#   forces the form without any.) More need not be better for so small a model: with five, fewer answers are right than
#   with three.
# - **Retrieval gives the facts.** Without the passage even the fine-tuned model has the name from the question and
#   invents the rest. With one example it still misreads what was looked up.
# - **Fine-tuning gives the skill** to read *every* field. It goes together with retrieval.
#
# **The rung that we could not climb: a larger model.** First try three examples on the largest you may use.
# Fine-tuning is then for price, speed or privacy.

# %% tags=["assert"]
assert 80e9 < full.peak_bytes and whole_model < 24e9  # trains on no card of 80 GB, runs on one of 24
assert lean.peak_bytes < 16e9 and one_customer < 0.01 * whole_model
assert (round(at_rest / weights, 2), round(at_the_end / weights, 2)) == (12.0, 16.0), "bytes a weight"
assert before["valid JSON"] < 0.05 and before["fields right"] < 0.05 and before["still reads"] > 0.95
assert after["valid JSON"] > 0.9 and control["valid JSON"] > 0.9, "both learn the form"
assert after["fields right"] > 0.6 > 0.2 > control["fields right"], "only one gets the content"
assert control["still reads"] < after["still reads"] - 0.2, "and the other reads less"
assert switched_off["still reads"] > before["still reads"] - 0.05 and unmoved, "what was trained can be switched off"

# %% tags=["assert"]
request, one_example = asked["the request alone"], asked["1 example"]
no_passage, found = withheld["1 example"], looked_up["1 example"]
assert mean(one_example, "valid") > max(0.8, mean(request, "valid") + 0.2), "an example gives the form"
assert mean(asked["5 examples"], "exact") < mean(asked["3 examples"], "exact"), "more are not always better"
assert mean(found, "fields") > mean(no_passage, "fields") + 0.2, "retrieval gives the facts"
assert abs(mean(found, "fields") - mean(one_example, "fields")) < 0.15, "but not the skill of using them"
assert mean(trained["QLoRA"], "exact") > best_asked + 0.3, "training gives the skill"
assert mean(looked_up["QLoRA"], "exact") > best_asked + 0.3, "and works with retrieval"
assert mean(withheld["QLoRA"], "fields") < 0.3, "but does not give facts"
on_others = trained["QLoRA on others' JSON"]
assert mean(on_others, "valid") > 0.8 > 0.3 > mean(on_others, "fields"), "a form about nobody"

# %% [markdown] tags=["minutes:3"]
# ## 7. The way through the course
#
# **I Rank.** [01 SVD](01_svd.ipynb) ·
# [02 Intrinsic dimension](02_intrinsic_dimension.ipynb) ·
# [03 LoRA from scratch](03_lora_from_scratch.ipynb) · [04 Rank, α and learning rate](04_rank_alpha_rate.ipynb) ·
# [05 Where adapters go, how they start](05_places_and_starts.ipynb)
#
# **II Bits.** [06 Will it fit?](06_will_it_fit.ipynb) · [07 Where the bytes go](07_where_the_bytes_go.ipynb) ·
# [08 Number formats](08_number_formats.ipynb) · [09 Build NF4](09_build_nf4.ipynb) ·
# [10 Double quantization](10_double_quantization.ipynb) · [11 A QLoRA layer](11_qlora_layer.ipynb) ·
# [12 A QLoRA fine-tune](12_qlora_finetune.ipynb) · [13 PEFT and bitsandbytes](13_peft_and_bitsandbytes.ipynb) ·
# [14 Save, merge, deploy](14_save_merge_deploy.ipynb)
#
# The [syllabus](../course/syllabus.md) has minutes and routes.

# %% tags=["nbval-ignore-output"]
results("00")
progress()

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# - **Whether to fine-tune.** I put the right facts into the request by hand, with one example. Not well-formed: the form
#   is lacking. Right now: facts were; I look them up. Well-formed and still wrong: the skill is; I fine-tune.
# - **What to count** before I begin: form and content apart, and what the model could do before.
#
# ## What was not shown
#
# - One [seed](../course/glossary.md#seed); two others learned as well. With the usual clip, 1, two of three never learn one field, the pet
#   (lesson 12).
# - Retrieval found nearly every passage here.
#
# ## What to try
#
# - `steps=15`: what does a short training lack, the form or the content?
# - Swap only every fourth answer. Is that a quarter of the harm?
#
# ## Three questions
#
# **1. Your model's answers are all valid JSON after fine-tuning. What do you know about its values?**
#
# <details><summary>Answer</summary>
#
# Nothing. The control had the same form and was about somebody else. Count fields.
#
# </details>
#
# **2. Why can a model learn where to look from people it will never be asked about?**
#
# <details><summary>Answer</summary>
#
# Reading was there before. The examples show that the value of each key stands in the passage, and every example shows
# it, whoever it is about.
#
# </details>
#
# **3. A chatbot must know today's prices. Which rung?**
#
# <details><summary>Answer</summary>
#
# Retrieval. Prices are facts, and they change; fine-tuning is for a skill that stays.
#
# </details>
#
# ## Next
#
# [01 SVD](01_svd.ipynb): how much of a fine-tune fits into a few directions, and why a thin $B A$ can be enough.
#
# Before you go: **your own task. What would you count?**
