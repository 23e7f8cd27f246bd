# %% [markdown] tags=["slide"]
# # PEFT and bitsandbytes, on a real model
#
# You copy ten lines from a guide to train Llama-3.1-8B in 4 bits. Its tensors peak at **13.7 GB**. One of the lines does
# three things. Leave it out, do one of the three yourself, and it is **10.0 GB**.
#
# At the end you know which line, where you built each argument, and that these libraries learn what ours learns.
#
# | computing, 2 CPU cores | for you | memory | builds on |
# |---|---|---|---|
# | about a minute | 65 minutes | up to 5 GB | [11](11_qlora_layer.ipynb), [12](12_qlora_finetune.ipynb) |

# %% [markdown] tags=["minutes:6"]
# ## 1. Ten lines
#
# *bitsandbytes* stores weights in 4 bits. *PEFT* adds adapters. *transformers* has the model and the training loop, its
# `Trainer`.

# %% tags=["nbval-ignore-output", "slide"]
import warnings

import peft
import torch
import transformers

from lora_lab import lora, memory, models, quant, records, show, train
from lora_lab.data import jsonl
from lora_lab.exercises import check, guesses, results

warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)  # PEFT asks by the old name
transformers.utils.logging.disable_progress_bar()
measured = {row["cast"]: row["peak"] / 1e9 for row in records.load("real_peft")["gpu"] if row["seq_len"] == 2048}
in_use = records.tried("gpu", section="memory")[0]["process"]["in use on the device"] / 1e9
print(f"with the line: tensors peak at {measured[True]:.1f} GB, {in_use:.1f} GB in use on the card")
print(f"without it, one thing done by hand: {measured[False]:.1f} GB")
show.figure(*show.library_calls_schematic(d_out=4096, d_in=4096, r=16))

# %% [markdown]
# Both from our benchmark: an H100, random weights, bf16, 2,048 tokens, transformers 5.17. It casts the weights by a loop of
# its own, as the line would; all else is equal.

# %% [markdown] tags=["minutes:12"]
# ## 2. Your own data: twenty lines
#
# Messages to a shop, and the queue that each belongs to: one JSON object a line, *[JSONL](../course/glossary.md#jsonl)*.

# %%
import json
import tempfile
from pathlib import Path

tickets = {
    "delivery": "My parcel never came; Tracking is stuck; It went to the wrong street; When will it come?; No note left",
    "billing": "I was charged twice; The invoice is wrong; Please send a receipt; My card was refused; Why is there a fee?",
    "returns": "The shoes are too small; It arrived broken; I want my money back; Wrong colour; Can I send it back?",
    "account": "I forgot my password; Please change my email; The login fails; Delete my profile; I cannot sign in",
}
work, lines = Path(tempfile.mkdtemp()), []
for queue, messages in tickets.items():
    for message in messages.split("; "):
        lines.append(json.dumps({"prompt": f"Which queue? {message}", "answer": queue}))
(work / "tickets.jsonl").write_text("\n".join(lines))
examples = jsonl.read(work / "tickets.jsonl").examples

# %% [markdown]
# A model reads token ids. Beside each stands a *[label](../course/glossary.md#label)*: what should have been predicted
# there. −100 means no loss.
#
# **Your turn.** Difficulty: two lines. 6 minutes. The prompt is done: the
# *[chat template](../course/glossary.md#chat-template)* puts it into the form that the model was trained on, up to where
# its answer begins. Add the answer and the *[end token](../course/glossary.md#end-token)*, which stops a model, and give
# labels: only what the model should *write* carries loss. (Here the template ends an answer with `tokenizer.eos_token`.
# Print your model's: Gemma's is `<end_of_turn>`.)

# %% tags=["turn:chat_labels", "slide"]
def chat_labels(tokenizer, prompt, answer):  # -> {"input_ids": [...], "labels": [...]}, lists of one length
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    #> the ids of the answer with its end token, and both lists
    after = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after, "labels": [-100] * len(before) + after}
    #<

# %% [markdown] tags=["hint:chat_labels"]
# **A first hint.** `tokenizer.eos_token` is a string: `answer + tokenizer.eos_token` is the text to turn into ids, just
# as `text` was.
#
# **A second hint.** `[-100] * 3` is a list of three. Lists are joined by +.
#
# **Must the labels be shifted by one?** No: the model does that itself. A label stands at its own token.

# %% tags=["check:chat_labels"]
chat_labels = check("chat_labels", chat_labels)

# %% [markdown]
# A batch is padded to one length. Many guides set `tokenizer.pad_token = tokenizer.eos_token` and leave the labels to
# `DataCollatorForLanguageModeling`. **Guess:** of the twenty end tokens that close an answer, how many carry loss then?

# %% tags=["guess:trained_ends", "slide"]
trained_ends = 20  #? of 20 answers' end tokens, how many carry loss in the guides' way | 20: padding is masked and a true end is not: but the collator goes by the id, and the two ids are one | 1: only the longest example has no padding: right about padding, but its end has the same id

# %% tags=["reveal", "slide"]
guessed = guesses(trained_ends=trained_ends)
base, tokenizer = models.load_base("smollm2")
encoded = [chat_labels(tokenizer, each.prompt, each.answer) for each in examples]
tokenizer.pad_token = tokenizer.eos_token  # as many guides have it
guides, padded = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False), transformers.DataCollatorForSeq2Seq(tokenizer)
ways = {"the guides'": guides([{"input_ids": e["input_ids"]} for e in encoded]), "yours": padded([dict(e) for e in encoded])}
rows, ends, n = [], [], len(encoded[0]["input_ids"])
for way, batch in ways.items():
    last = torch.stack([labels[seen.nonzero()[-1]] for labels, seen in zip(batch["labels"], batch["attention_mask"])])
    ends.append((last != -100).sum().item())
    one = [f"{label}" for label in batch["labels"][0, n - 3 : n].tolist()]
    rows.append([way, *one, f"{(batch['labels'] != -100).sum().item()}", f"{ends[-1]} of {len(last)}"])
guessed.against(trained_ends=ends[0])
tokens = tokenizer.convert_ids_to_tokens(encoded[0]["input_ids"][-3:])
show.table(rows, ["labels of one answer", *tokens, "tokens with loss, of all", "answers' ends among them"])

# %% [markdown]
# In the guides' way the prompts are learned and no end is: a model that does not stop
# ([transformers #23530](https://github.com/huggingface/transformers/issues/23530)). With labels of your own any
# [pad token](../course/glossary.md#pad-token) is harmless. `DataCollatorForSeq2Seq`, in spite of its name, keeps them and
# pads them with −100.

# %% [markdown] tags=["minutes:10"]
# ## 3. The base in four bits
#
# | argument | what it does | built in |
# |---|---|---|
# | `load_in_4bit=True` | every linear layer but the head becomes codes | [11](11_qlora_layer.ipynb) |
# | `bnb_4bit_quant_type="nf4"` | sixteen levels for normal weights; the default is `"fp4"` | [09](09_build_nf4.ipynb) |
# | `bnb_4bit_use_double_quant=True` | quantizes the *constants* of the blocks | [10](10_double_quantization.ipynb) |
# | `bnb_4bit_compute_dtype` | in what a layer multiplies; the default is fp32 | [08](08_number_formats.ipynb) |

# %%
base.save_pretrained(work / "base")  # in your work: the name of a model on the hub
tokenizer.save_pretrained(work / "base")
on_cpu = {"": "cpu"}  # where this lesson compares; in your work leave it out, and a GPU is used where there is one


def four_bits(dtype):
    config = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
                                             bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
    load = transformers.AutoModelForCausalLM.from_pretrained
    return load(work / "base", quantization_config=config, dtype=dtype, device_map=on_cpu)

# %% [markdown]
# Next, the line: `prepare_model_for_kbit_training(model)`.
#
# **Guess:** how many GB does it add to Llama-3.1-8B *before* the first step, loaded in bf16 with NF4 layers? (Vocabulary
# 128,256, width 4,096, embedding and head separate.) And what share of the parameters can train after it?

# %% tags=["guess:cast_gb", "guess:can_train", "slide"]
cast_gb = 0.3  #? GB that the call adds to Llama-3.1-8B at rest | 0: its name says prepare, so it seems to set flags only | 16: two bytes more for all 8 billion: but those in 4 bits stay
can_train = 1  #? % of the parameters that require a gradient after the call | 100: to prepare for training sounds like switching gradients on: it switches them off, everywhere | 1: the adapters': they come with the next call

# %% tags=["reveal", "slide"]
guessed = guesses(cast_gb=cast_gb, can_train=can_train)
model = peft.prepare_model_for_kbit_training(four_bits(torch.bfloat16), use_gradient_checkpointing=False)
trainable = 100 * sum(p.numel() for p in model.parameters() if p.requires_grad) / model.num_parameters()
ways = {"with the line": {"checkpointing": True, "upcast_frozen": True},
        "without it, checkpointing by hand": {"checkpointing": True},
        "without it, and nothing in its place": {}}  # fmt: skip
rows, at_rest = [], []
for (name, way), peak in zip(ways.items(), (f"{measured[True]:.1f}", f"{measured[False]:.1f}", "not measured")):
    each = memory.estimate("llama-3.1-8b", "qlora", r=16, seq_len=2048, **way)
    at_rest.append(each.phases["at rest"] / 1e9)
    rows.append([name, f"{at_rest[-1]:.1f}", f"{each.peak_bytes / 1e9:.1f}", peak])
guessed.against(cast_gb=at_rest[0] - at_rest[1], can_train=trainable)
show.table(rows, ["Llama-3.1-8B", "GB at rest, predicted", "GB at the peak, predicted", "measured"])

# %% [markdown]
# The call does three things:
#
# 1. It *freezes* everything (as `get_peft_model` will).
# 2. It casts all that is not in 4 bits to fp32: embedding, norms and head. What flows between the layers becomes fp32
#    too, so the peak grows by more.
# 3. It switches *checkpointing* on ([lesson 07](07_where_the_bytes_go.ipynb)). Without that, the last row is yours.
#
# So do the third yourself and leave the second out: `model.gradient_checkpointing_enable({"use_reentrant": False})`.
# (In transformers 5.23 `activation_checkpointing_enable`; the old name works until v6.)
#
# <details><summary>If you keep the line</summary>Add <code>gradient_checkpointing_kwargs={"use_reentrant": False}</code>; torch
# warns without. A user measured 63.1 GB without the line and 81.1 with it, on Ministral 8B with 4,096 tokens
# (<a href="https://github.com/bitsandbytes-foundation/bitsandbytes/issues/1569">#1569</a>).</details>

# %% [markdown] tags=["minutes:12"]
# ## 4. The adapters
#
# | argument | what it does | built in |
# |---|---|---|
# | `r`, `lora_alpha`, `use_rslora` | the rank; the scale α/r, or α/√r | [04](04_rank_alpha_rate.ipynb) |
# | `target_modules` | which layers | [05](05_places_and_starts.ipynb) |
# | `lora_dropout` | drops inputs of A at random | |
# | `task_type="CAUSAL_LM"` | chooses the wrapper, and goes into the folder | |
#
# A name in a *list* is matched with the end of a module's name, after a dot. A *string* other than "all-linear" is a
# pattern for the *whole* name.
#
# **Your turn.** Difficulty: the targets need thought. 5 minutes. `config` is a
# `lora.LoRAConfig` with `.r`, `.alpha`, `.dropout`, `.use_rslora` and `.target_modules`: "all-linear", one name such as
# "q_proj", or a tuple of names.

# %% tags=["turn:as_peft", "slide"]
def as_peft(config):  # lora.LoRAConfig -> peft.LoraConfig with the same layers and the same scale
    #> the targets as PEFT reads them, then every option
    targets = config.target_modules
    if targets != "all-linear":
        targets = [targets] if isinstance(targets, str) else list(targets)
    return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout,
                           use_rslora=config.use_rslora, target_modules=targets, task_type="CAUSAL_LM")
    #<

# %% [markdown] tags=["hint:as_peft"]
# **A first hint.** Pass every number on as it is, under the name in the table.
#
# **Help, PEFT finds no layer.** One name goes into a list: `["q_proj"]`. Only "all-linear" stays a string.

# %% tags=["check:as_peft"]
as_peft = check("as_peft", as_peft)

# %% [markdown]
# A list with one name that exists and one that does not: PEFT says nothing
# ([#1959](https://github.com/huggingface/peft/issues/1959)). **Your turn**: which targets match no module? 4 minutes.

# %% tags=["turn:missed_targets", "slide"]
def missed_targets(model, targets):  # a list of names -> those that PEFT finds nowhere in model.named_modules()
    #> a target is found where a module's name is it, or ends with a dot and it
    missed = []
    for target in targets:
        if not any(name == target or name.endswith("." + target) for name, _ in model.named_modules()):
            missed.append(target)
    return missed
    #<

# %% [markdown] tags=["hint:missed_targets"]
# **A first hint.** `for name, _ in model.named_modules():` gives names such as `model.layers.0.self_attn.q_proj`.
#
# **Why not `target in name`?** "proj" stands in many names and is none.
#
# **A second hint.** `name == target or name.endswith("." + target)`.

# %% tags=["check:missed_targets"]
missed_targets = check("missed_targets", missed_targets)

# %%
copied = ["q_proj", "k_proj", "v_proj", "out_proj"]  # the last is another family's name
plain = four_bits(torch.float32)
print("missed:", missed := missed_targets(plain, copied))  # before PEFT wraps it: its own layers have names as well
with warnings.catch_warnings(record=True) as said_by_peft:
    warnings.simplefilter("always", UserWarning)
    wrapped = peft.get_peft_model(plain, peft.LoraConfig(target_modules=copied))
kinds = [name.rpartition(".")[2] for name in wrapped.base_model.targeted_module_names]
show.table([[name, f"{kinds.count(name)}"] for name in copied], ["target", "layers that got an adapter"])
wrapped.print_trainable_parameters()
try:
    lora.inject(models.load_embedded()[0], lora.LoRAConfig(target_modules=tuple(copied)))
except ValueError as error:
    print("ours:  ", error)

# %% [markdown] tags=["minutes:8"]
# ## 5. The Trainer, and the same losses
#
# | argument | what it does | built in |
# |---|---|---|
# | `learning_rate`, `lr_scheduler_type` | the peak rate; half a cosine down to zero | [04](04_rank_alpha_rate.ipynb) |
# | `per_device_train_batch_size`, `gradient_accumulation_steps` | texts in a pass; passes before a step | [07](07_where_the_bytes_go.ipynb) |
# | `gradient_checkpointing=True` | keeps less, computes it again (5.23: `activation_checkpointing`) | [07](07_where_the_bytes_go.ipynb) |
# | `bf16=True` | products in 16 bits | [08](08_number_formats.ipynb) |
# | `optim="paged_adamw_8bit"` | AdamW's states in 8 bits, in memory that can move to the host | [10](10_double_quantization.ipynb) |
# | `eval_strategy="steps"`, `eval_dataset` | the validation loss while it trains | [12](12_qlora_finetune.ipynb) |
#
# Warm-up raises the rate over the first steps. **Guess:** with `warmup_steps=4`, what is the Trainer's rate in the *first*
# step, in % of the peak?

# %% tags=["guess:first_rate", "slide"]
first_rate = 50  #? % of the peak rate in the first of 4 warm-up steps | 25: a quarter, as in our loop: the Trainer counts from zero | 100: without warm-up it would be

# %% tags=["nbval-ignore-output"]
guessed = guesses(first_rate=first_rate)
STEPS = 12 if base.num_parameters() < 10**7 else 6  # the real model takes its time
settings = lora.LoRAConfig(r=16, alpha=32, target_modules="all-linear")
drawn, pad = [], transformers.DataCollatorForSeq2Seq(tokenizer)


def collate(batch):
    drawn.append(pad(batch))  # kept, so that ours can learn from the very same batches
    return drawn[-1]


theirs = peft.prepare_model_for_kbit_training(four_bits(torch.float32), use_gradient_checkpointing=False)
torch.manual_seed(0)
theirs = peft.get_peft_model(theirs, as_peft(settings))
start = {name: tensor.clone() for name, tensor in theirs.named_parameters() if "lora_A" in name}

# %% tags=["nbval-ignore-output", "slide"]
arguments = transformers.TrainingArguments(
    work / "trainer", max_steps=STEPS, per_device_train_batch_size=4, learning_rate=2e-3, warmup_steps=4,
    lr_scheduler_type="cosine", optim="adamw_torch", max_grad_norm=1.0, seed=0, logging_steps=1,
    save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True)  # fmt: skip
trainer = transformers.Trainer(theirs, arguments, train_dataset=encoded, data_collator=collate)
trainer.remove_callback(transformers.PrinterCallback)
_ = trainer.train()
log = [entry for entry in trainer.state.log_history if "loss" in entry]
guessed.against(first_rate=100 * log[0]["learning_rate"] / 2e-3)
theirs.save_pretrained(work / "by_peft")

# %% [markdown]
# The first step moves nothing. Now ours: the same batches, rates and start of A. And two controls, which must *not*
# agree: another start, and INT4 in place of NF4.

# %% tags=["nbval-ignore-output", "slide"]
def ours(codebook=quant.NF4, same_start=True):
    model = quant.quantize_model(models.load_base("smollm2")[0], codebook=codebook)
    lora.inject(model, settings)
    for name, layer in lora.adapters(model).items():
        if same_start:
            layer.lora_A.data.copy_(start[f"base_model.model.{name}.lora_A.default.weight"])
    how = {"optimizer": train.optimizers.adamw(2e-3), "schedule": lambda done, *_: log[done]["learning_rate"]}
    return train.loop.run(model, drawn[:STEPS], train.losses.answers, steps=STEPS, **how).losses


runs, gaps = {"ours": ours(), "another start": ours(same_start=False), "INT4": ours(quant.INT4)}, {}
for name, losses in runs.items():
    gaps[name] = [abs(loss - entry["loss"]) / entry["loss"] for loss, entry in zip(losses, log)]
row = records.tried("gpu", section="equal", dtype="bfloat16")[0]
apart = max(abs(a - b) / b for a, b in zip(row["lora_lab"], row["bitsandbytes + PEFT"]))
show.figure(*show.loss_gaps(gaps, allowed=0.01),
            caption=f"In bfloat16 on a GPU (recorded) the two libraries part by up to {apart:.0%} in {row['steps']} steps.")

# %% [markdown]
# Two libraries, one loss. (Another start shows from step 3: B is zero, and step 1's rate is 0.) The rest is rounding,
# which training magnifies: on a GPU none in fp32, some in bf16.
#
# <details><summary>The same with TRL's SFTTrainer</summary>
#
# TRL is not among this course's packages, so this was not run; we read its
# [trainer](https://github.com/huggingface/trl/blob/00313f21920d37c3876c4021b51430224c06c936/trl/trainer/sft_trainer.py) and
# [settings](https://github.com/huggingface/trl/blob/016013e88acec9257c7476fdcdb12e5479938a5f/trl/trainer/sft_config.py). It
# leaves `prepare_model_for_kbit_training` out, keeps the adapters of a 4-bit model in bf16, checkpoints, and by default
# trains at 2e-5, a rate for full fine-tuning. The change began with
# [#4335](https://github.com/huggingface/trl/pull/4335): 19.1 GB reserved with PEFT's call, 14.2 with a leaner one.
# [#4457](https://github.com/huggingface/trl/pull/4457) stopped casting the norms, too: "The results are the same and the
# memory consumption is reduced a bit when not upcasted." Look at the labels of one batch there, too.
#
# ```python
# from datasets import Dataset
# from trl import SFTConfig, SFTTrainer
#
# rows = [{"prompt": [{"role": "user", "content": e.prompt}],
#          "completion": [{"role": "assistant", "content": e.answer}]} for e in examples]
# args = SFTConfig("by_trl", learning_rate=2e-4, max_length=1024, max_steps=12)
# trainer = SFTTrainer(four_bits(torch.bfloat16), args=args, train_dataset=Dataset.from_list(rows),
#                      peft_config=as_peft(settings))
# trainer.train()
# ```
#
# </details>

# %% [markdown] tags=["minutes:7"]
# ## 6. The trap after training, and the real model
#
# You evaluate, and train on. On a CPU with AVX-512-BF16 (most recent servers), bitsandbytes repacks a layer's codes in
# the first evaluation. `train()` does not undo that
# ([`Linear4bit`](https://github.com/bitsandbytes-foundation/bitsandbytes/blob/0.50.1/bitsandbytes/nn/modules.py)): no
# gradient passes any more, and merging reads nonsense. There, **evaluate a reloaded model.** On a GPU nothing is
# repacked: evaluate while you train, and keep the step with the lowest validation loss.

# %% [markdown] tags=["optional"]
# **Optional: the trap by hand**, on one weight and whatever your CPU, with a private function of bitsandbytes.

# %% tags=["optional", "nbval-ignore-output"]
import bitsandbytes.functional as bnb

W = base.model.layers[0].self_attn.q_proj.weight.detach().float()
packed = bnb.quantize_4bit(W, quant_type="nf4", compress_statistics=True)
off = [(bnb.dequantize_4bit(*packed).float() - W).norm() / W.norm()]
if hasattr(bnb, "_convert_weight_packed_for_cpu"):  # another version may not have it
    packed = bnb._convert_weight_packed_for_cpu(*packed)
    off.append((bnb.dequantize_4bit(*packed).float() - W).norm() / W.norm())
print("the weight that is read is off by", ", repacked by ".join(f"{error:.0%}" for error in off))

# %% [markdown]
# So, reloaded, was SmolLM2-135M-Instruct measured, on lesson 00's open-book JSON, at the rate of our earlier runs.

# %% tags=["nbval-ignore-output"]
def loss_of(model, batch):  # in training mode, where nothing is repacked
    return model.train()(**batch).loss


def reload(folder):
    return peft.PeftModel.from_pretrained(four_bits(torch.float32), folder, is_trainable=True, device_map=on_cpu)


again, last = loss_of(reload(work / "by_peft"), drawn[0]).item(), loss_of(theirs, drawn[0]).item()
print(f"loss of the reloaded model: {again:.4f}, of the trained one: {last:.4f}")
tuned = records.load("real_peft")
show.two_libraries(tuned["rows"], records.load("real_finetune")["rows"], tuned["heldout"])

# %% [markdown] tags=["minutes:5"]
# ## 7. Minutes, GB, and what it costs
#
# **Guess:** 1,000 examples of 500 tokens, three passes, one example a step, Llama-3.1-8B in QLoRA on an H100: how many
# minutes?

# %% tags=["guess:h100_minutes", "slide"]
h100_minutes = 60  #? minutes for 3,000 steps of one text on an H100 | 600: "fine-tuning an 8B takes a night": a small data set does not | 1: that would be 25,000 tokens a second | 60: that is 1.2 seconds for 500 tokens; an H100 is faster

# %% tags=["reveal", "slide"]
guessed = guesses(h100_minutes=h100_minutes)
price_per_hour = 1.0  # yours: what an hour of your machine costs, in your currency
rows, minutes = [], []
for row in records.load("real_peft")["gpu"]:
    if not row["cast"]:
        step = 1000 * row["seq_len"] / row["tokens_per_s"]
        minutes.append(3 * 1000 * 500 / row["tokens_per_s"] / 60)
        cost = minutes[-1] / 60 * price_per_hour
        rows.append([f"{row['seq_len']:,}", f"{step:.0f}", f"{minutes[-1]:.1f}", f"{cost:.2f}"])
guessed.against(h100_minutes=minutes[0])
show.table(rows, ["tokens in a step", "ms a step, measured", "minutes for 1.5 million", "cost, at price_per_hour"],
           "Llama-3.1-8B, one H100, without the cast. Training steps alone: no loading, no evaluation")

# %% [markdown]
# Four times the tokens in the same time: with one short text the card waits. Fill the step, by batch size or *packing*
# (several texts in one row). How much fits:

# %% tags=["optional"]
from lora_lab.memory.gpus import FRAGMENTATION


def tokens_that_fit(gpu, cast):  # the process holds more than tensors: most of that first, then least
    found = []
    for share, context in zip(FRAGMENTATION[::-1], gpu.context_mib[::-1]):
        room = (gpu.usable_bytes - context * 2**20) / (1 + share) / 1e9
        found.append(memory.fit(room, "seq_len", "llama-3.1-8b", "qlora", r=16, checkpointing=True, upcast_frozen=cast))
    return "{:,} to {:,}".format(*found)


gpus, rows = [memory.get_gpu(name) for name in ("t4", "l4", "a100-40gb", "h100")], []
for gpu in gpus:
    rows.append([gpu.name, f"{gpu.usable_bytes / 1e9:.1f}", tokens_that_fit(gpu, True), tokens_that_fit(gpu, False)])
show.table(rows, ["card", "GB", "with the cast", "without"], "Tokens of one text that fit, from cautious to lucky")

# %% [markdown] tags=["minutes:5"]
# ## 8. Two commands, one folder
#
# Your file through `lora-lab finetune`. The embedded base knows no shops: does it learn *what* may be answered? And can
# each library read the other's folder?

# %% tags=["nbval-ignore-output"]
from contextlib import chdir

from lora_lab.commands import cli

with chdir(work):  # in a terminal: lora-lab finetune base --data ...
    status = cli.main(f"finetune base --data tickets.jsonl --steps {3 * STEPS} --batch-size 4 --out by_ours".split())
answers = json.loads((work / "by_ours" / "finetune.json").read_text())["answers"]
for when in ("before", "after"):
    print(f"{when}: {sum(each[when].strip() in tickets for each in answers)} of {len(answers)} name one of the queues")
rows, apart = [], {}
for folder in ("by_peft", "by_ours"):
    read_by_ours = quant.quantize_model(models.load_base("smollm2")[0])
    lora.load_adapter(read_by_ours, work / folder)
    losses = [loss_of(model, drawn[0]).item() for model in (reload(work / folder), read_by_ours)]
    apart[folder] = abs(losses[0] - losses[1]) / losses[0]
    rows.append([folder, *(f"{loss:.5f}" for loss in losses)])
show.table(rows, ["folder", "loss, read by PEFT", "loss, read by ours"])

# %% tags=["assert"]
assert ends == [0, 20], "the guides' labels teach no end"
assert trainable == 0 and 2.0 < at_rest[0] - at_rest[1] < 2.2
assert [round(measured[cast], 1) for cast in (True, False)] == [13.7, 10.0]
assert missed == ["out_proj"] and not any("out_proj" in str(w.message) for w in said_by_peft)
assert log[0]["learning_rate"] == 0
assert max(gaps["ours"]) < 0.01, "the same"
for control in list(gaps)[1:]:
    assert max(gaps[control]) > 5 * max(gaps["ours"]), "the comparison can fail"
assert abs(again - last) < 1e-3 * last, "what was saved is what was trained"
assert status == 0 and max(apart.values()) < 0.01, "each folder means the same to both libraries"
assert all(row["exact"] > 0.8 for row in tuned["rows"])

# %% tags=["nbval-ignore-output"]
results("13")

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# - **Labels** of my own, with the end token.
# - **prepare_model_for_kbit_training**: in bf16, leave it out and switch checkpointing on, as TRL does.
# - **Targets**: "all-linear", or a list that `missed_targets` finds empty.
# - **Evaluate** while training on a GPU; on a server's CPU, what was saved and loaded again.
#
# ## What was not shown
#
# One small real model whose published weights came through Q4_1; one GPU: no T4, L4 or A100 was timed. fp16, which a T4
# needs (it has no bf16 in hardware). Dropout: with it, two libraries draw different masks and part.
#
# ## What to try
#
# - Your own twenty lines: which of the four held-out ones does `lora-lab finetune` get right?
# - `bnb_4bit_quant_type="fp4"`, the default.
#
# ## Three questions
#
# <details><summary>A colleague's fine-tuned model never stops. Where do you look first?</summary>
#
# At the labels of one batch: does the answer's end token carry its id, or −100? With pad = end and a
# [collator](../course/glossary.md#collator) that goes by the id, it was masked in all 20 of our answers.
#
# </details>
# <details><summary>An 8B QLoRA run peaks at 13.7 GB instead of 10. What do you check?</summary>
#
# Whether embedding, norms and head are fp32. `prepare_model_for_kbit_training` casts them: 2 × 128,256 × 4,096 numbers by
# 2 more bytes are 2.1 GB at rest, and it is more at the peak.
#
# </details>
# <details><summary>"Call prepare_model_for_kbit_training, or 4-bit weights get no gradient." True?</summary>
#
# No. It freezes everything. The 4-bit weights never get a gradient, with it or without; the adapters train because
# `get_peft_model` adds them, and the gradient passes *through* the frozen weights (lesson 11).
#
# </details>
#
# ## Next
#
# Your adapter lies in a folder. [Lesson 14](14_save_merge_deploy.ipynb) saves, merges and deploys it.
