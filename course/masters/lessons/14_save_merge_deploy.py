# %% [markdown] tags=["slide"]
# # Save, merge, deploy
#
# **28 % or 8 %.** An adapter, trained on a 4-bit model, answers 28 % of the questions. One library call folds it into that
# model. Then 8 % are left, with no error raised.
#
# At the end you can say *before* you deploy whether that will happen, and hand over a model in four formats.
#
# | for a person | on 2 CPU cores | on a T4 | memory | builds on |
# |---|---|---|---|---|
# | 70 minutes | about half a minute | the same, without GPU | about 1 GB | 03, 04, 09, 10, 11 |

# %% [markdown] tags=["minutes:12"]
# ## 1. What is there to ship?
#
# The base in NF4 learns lesson 04's sixty facts. We save the adapter three times on the way.

# %% tags=["nbval-ignore-output"]
import copy
import tempfile
import time
import warnings
from pathlib import Path

import peft
import torch
from transformers import AutoModelForCausalLM, logging
from lora_lab import data, lora, memory, models, quant, records, show, train
from lora_lab.exercises import check, guesses, results

torch.set_num_threads(1)  # one core, as in the record
logging.disable_progress_bar()
warnings.filterwarnings("ignore", category=FutureWarning)  # transformers' own, about an old name
base, tokenizer = models.load_embedded()  # this lesson uses the small model on every machine

# %%
folder = Path(tempfile.mkdtemp())
task = data.tasks.new_facts(people=12, seed=0)
four_bit = quant.quantize_model(copy.deepcopy(base))
learner = copy.deepcopy(four_bit)
_ = torch.manual_seed(0)
lora.inject(learner, lora.LoRAConfig(r=16, alpha=32, target_modules="all-linear"))


def keep(step, loss):
    if step in (5, 20, 80):
        lora.save_adapter(learner, folder / f"after_{step}")


_ = train.finetune(learner, tokenizer, task, "qlora", lr=0.01, steps=80, batch_size=8, seed=0, on_step=keep)

# %% [markdown]
# **Your turn.** Importance: it decides how many customers fit on a disk. Difficulty: two lines. 4 minutes.
#
# In: `layers`, a list of shapes (d_out, d_in); `r`; `bytes_per_number`. Out: the bytes of A [r, d_in] and B [d_out, r] of
# all layers. For `([(5, 3)], 2, 4)` it is 64.

# %% tags=["turn:adapter_bytes"]
def adapter_bytes(layers, r, bytes_per_number):
    #> the bytes of all numbers in A and B
    numbers = 0
    for d_out, d_in in layers:
        numbers += r * d_in + d_out * r
    return bytes_per_number * numbers
    #<

# %% [markdown] tags=["hint:adapter_bytes"]
# **A first hint.** A has r · d_in numbers. How many has B? Add over all layers, then multiply by the bytes of a number.
#
# **Help, mine is far too large.** d_out · d_in would be the weight itself.

# %% tags=["check:adapter_bytes"]
adapter_bytes = check("adapter_bytes", adapter_bytes)

# %% [markdown]
# At work: LoRA of rank 16 around all seven linear layers of each block of Llama-3.1-8B. PEFT, like us, trains
# and saves A and B in float32, four bytes a number.

# %% tags=["guess:llama_mb", "slide"]
llama_mb = 60  #? MB in the adapter's file, Llama-3.1-8B, rank 16, seven layers a block, float32 | 30: that fits the four attention layers alone, in 16 bits | 84: two bytes a number: right for bfloat16, but what trains is float32

# %% tags=["slide"]
guessed = guesses(llama_mb=llama_mb)
ours = [(layer.out_features, layer.in_features) for layer in lora.adapters(learner).values()]
attention = [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096)]  # q, k, v, o
llama = 32 * (attention + [(14336, 4096), (14336, 4096), (4096, 14336)])  # and gate, up, down
counted = adapter_bytes(ours, 16, 4)
file = (folder / "after_80" / "adapter_model.safetensors").stat().st_size
llama_bytes = adapter_bytes(llama, 16, 4)
rows = [["ours", f"{counted / 1e3:,.0f} KB", f"{file / 1e3:,.0f} KB", f"{2 * base.num_parameters() / 1e3:,.0f} KB"],
        ["Llama-3.1-8B", f"{llama_bytes / 1e6:,.0f} MB", "not here", f"{2 * 8_030_261_248 / 1e6:,.0f} MB"]]
show.table(rows, ["", "A and B, counted", "the file, with a header", "a copy of the model, 16 bit"])
guessed.against(llama_mb=llama_bytes / 1e6)

# %% [markdown] tags=["minutes:12"]
# ## 2. Four places for an update
#
# *[Merging](../course/glossary.md#merge)* writes the update into a weight: no second path is needed. With a 4-bit base there is a choice:

# %% tags=["slide"]
show.figure(*show.merge_schematic(d_out=192, d_in=192, r=16))

# %% [markdown]
# $$W' = W + s\,B\,A$$
#
# with s = α/r. Q rounds to NF4, Ŵ is what that makes of W. Below, "place 2" or "merge 4" are the figure's numbers. The sum
# has a trap: W is in bfloat16, which has 8 significant bits, A and B are in float32.
#
# **Your turn.** Importance: it is the line that every merge script has. Difficulty: one line, and care. 5 minutes.
#
# In: W [d_out, d_in], often bfloat16; A [r, d_in] and B [d_out, r], float32; the number s. Out: the merged weight, in
# W's dtype, each number rounded only once. W must stay as it is.

# %% tags=["turn:merged_weight", "slide"]
def merged_weight(W, A, B, s):  # -> [d_out, d_in], in the dtype of W
    #> add in float32, round once
    total = W.float() + s * (B @ A)
    return total.to(W.dtype)
    #<

# %% [markdown] tags=["hint:merged_weight"]
# **A first hint.** `.float()` gives a float32 copy, `.to(dtype)` rounds. Where does each belong?
#
# **Help, "rounded before the sum".** `(B @ A).to(W.dtype) + W` rounds the update, and then the sum.
#
# **Help, "changes W".** `W += …` writes into the caller's weight. Make a new one.

# %% tags=["check:merged_weight"]
merged_weight = check("merged_weight", merged_weight)

# %% [markdown]
# To switch customers one may *[unmerge](../course/glossary.md#unmerge)*: subtract what was added. **Guess:** in bfloat16, we add and subtract the same
# update a hundred times.

# %% tags=["guess:drift", "slide"]
drift = 10  #? times as far from W after 100 cycles as after 1 | 100: every cycle seems to add an error of the same size | 10: errors seem to walk at random, and grow like the root of the number

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(drift=drift)
mine = lora.load_adapter(copy.deepcopy(base).bfloat16(), folder / "after_80").eval()
theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base).bfloat16(), folder / "after_80")
ours_at, theirs_at = mine.model.layers[0].mlp.down_proj, theirs.base_model.model.model.layers[0].mlp.down_proj
A, B, W0 = ours_at.lora_A.detach(), ours_at.lora_B.detach(), ours_at.base.weight.detach().clone()
naive, far = W0, {"add, then subtract": [], "PEFT": [], "ours, which keeps W": []}
for _ in range(100):
    naive = merged_weight(merged_weight(naive, A, B, 2.0), A, B, -2.0)
    theirs.merge_adapter(), theirs.unmerge_adapter()
    lora.unmerge(lora.merge(mine))
    for away, weight in zip(far.values(), (naive, theirs_at.base_layer.weight, ours_at.base.weight)):
        away.append(float((weight.float() - W0.float()).norm() / W0.float().norm()))
rows = [[way, f"{away[0]:.2%}", f"{away[9]:.2%}", f"{away[99]:.2%}"] for way, away in far.items()]
show.table(rows, ["one layer, bfloat16: ‖W − W₀‖ / ‖W₀‖", "after 1 cycle", "after 10", "after 100"])
guessed.against(drift=far["add, then subtract"][99] / far["add, then subtract"][0])

# %% [markdown]
# After the first cycle nothing moves: the same sum rounds to the same number. PEFT 0.21 by default adds in
# float32 and subtracts the update rounded to bfloat16, so its weights walk on. **Keep W**, and forget the sum.

# %% [markdown] tags=["minutes:14"]
# ## 3. Sixteen weights by hand
#
# A coarse [grid](../course/glossary.md#grid): −1, −0.5, 0, 0.5, 1. Sixteen weights get an update of +0.125, a quarter of a step, and are
# rounded to the nearest level. **How many** end on another level than without the update, when all stood *on* levels? And
# when they lay *anywhere between*, evenly spread?

# %% tags=["guess:on_grid", "guess:between", "slide"]
on_grid = 4  #? of 16 weights move that stood on a level | 4: a quarter of a step seems to move a quarter of them | 16: an update is an update
between = 0  #? of 16 weights move that lay anywhere between two levels | 0: below half a step nothing seems to move | 16: they are not on the grid, so every push seems to count

# %% tags=["reveal", "slide"]
guessed = guesses(on_grid=on_grid, between=between)


def to_grid(weights):
    return (2 * weights).round() / 2


standing = torch.tensor([[-1, -0.5, 0, 0.5], [0, 0.5, -0.5, -1], [0.5, 0, -1, -0.5], [-0.5, 0, 0.5, 0]])
lying = standing + (torch.arange(16).view(4, 4) * 7 % 16 - 7.5) / 32  # evenly spread over a step
panels, moved = {}, {}
for name, weights in {"on levels before": standing, "anywhere before": lying}.items():
    before, after = to_grid(weights), to_grid(weights + 0.125)
    panels[name] = (before.tolist(), after.tolist(), weights.tolist(), (weights + 0.125).tolist())
    moved[name] = int((before != after).sum())
show.figure(*show.moved_weights(panels), caption="As stored, before and after +0.125; small: before rounding.")
guessed.against(on_grid=moved["on levels before"], between=moved["anywhere before"])

# %% [markdown]
# On the right few move, but by a whole 0.5, so that *on average* the update arrives in full. On the left it vanishes. And
# Ŵ stands on levels: it **is** what rounding made. NF4's steps are uneven, so the threshold differs from weight to weight.
#
# **Your turn.** Importance: it tells what a merge will lose before you do it. Difficulty: three lines. 8 minutes.
#
# In: `levels`, ascending; `code`, for each weight the number of the level that it stands on, uint8 of any shape (torch
# wants `code.long()` for an index);
# `update`, of the same shape, on the levels' scale. Out: bool, True where the nearest level is now another one. For
# levels −1, 0, 1, code 1 and an update of 0.6 it is True.

# %% tags=["turn:survives", "slide"]
def survives(levels, code, update):
    #> which weights end nearest to another level than their own
    moved = levels[code.long()] + update
    nearest = (moved.unsqueeze(-1) - levels).abs().argmin(-1)
    return nearest != code
    #<

# %% [markdown] tags=["hint:survives"]
# **A first hint.** `levels[code.long()]` is where each weight stands. Add the update. Which level is nearest now?
#
# **A second hint.** With `unsqueeze(-1)` the weights get a last axis, along which all levels can be subtracted at once;
# `argmin(-1)` finds the nearest.
#
# **Or by thresholds.** Half the step to the next level, in the direction of the update. At the last level there is none.

# %% tags=["check:survives", "nbval-ignore-output"]
survives = check("survives", survives)
loaded, foretold, changed = lora.load_adapter(copy.deepcopy(four_bit), folder / "after_20"), [], []
for layer in lora.adapters(loaded).values():
    hat, update = layer.base.dequantize(), layer.delta_weight().detach()
    code = quant.unpack(layer.base.packed, hat.numel())
    constants = hat.view(-1, 64).abs().amax(1, keepdim=True)  # a block's largest |Ŵ|: NF4's last level is 1
    foretold.append(survives(quant.NF4.values, code, (update.view(-1, 64) / constants).flatten()))
    again = quant.quantize(hat + update, quant.NF4, 64, double_quant=True)  # merge 4: Q(Ŵ + ΔW)
    changed.append(quant.unpack(again.packed, hat.numel()) != code)
foretold, changed = (float(torch.cat(flags).float().mean()) for flags in (foretold, changed))
print(f"codes that merge 4 changes after 20 steps: {changed:.1%}; foretold, with the old constants: {foretold:.1%}")

# %% [markdown] tags=["minutes:14"]
# ## 4. What each merge loses
#
# How far does the rounded weight go along ΔW? "Arrives" is 100 % if all of it does, 0 if none. `lora.requantization_losses`
# tells it layer by layer; in the sum large updates count more.

# %% tags=["nbval-ignore-output"]
table, told = [], {}
for step in (5, 20, 80):
    loaded = lora.load_adapter(copy.deepcopy(four_bit), folder / f"after_{step}")
    losses = lora.requantization_losses(loaded).values()
    energy = sum(each.update**2 for each in losses)  # each.update is ‖ΔW‖ of a layer
    told[step] = sum(each.kept * each.update**2 for each in losses) / energy, min(each.kept for each in losses)
    table.append([f"{step} steps", *(f"{share:.1%}" for share in told[step])])
show.table(table, ["the adapter after", "of ΔW arrives in merge 4", "in the least layer"])

# %% [markdown]
# Layers with large updates rule the sum; elsewhere less arrives.

# %% [markdown] tags=["optional"]
# **Optional: another grid.** Merge 4 of the youngest adapter, live; and its Ŵ + ΔW rounded to levels that are not NF4's:
# Q4_0, one of llama.cpp's formats, 16 even steps in blocks of 32.

# %% tags=["optional", "nbval-ignore-output"]
def q4_0(weight):
    blocks = weight.view(-1, 32)
    step = blocks.gather(1, blocks.abs().argmax(1, keepdim=True)) / -8
    return ((blocks / step).round().clamp(-8, 7) * step).view_as(weight)


dense = lora.merge_and_remove(lora.load_adapter(copy.deepcopy(four_bit), folder / "after_5"))  # place 2, Ŵ + ΔW
other = copy.deepcopy(dense)
for name in lora.adapters(learner):
    other.get_submodule(name).weight.data = q4_0(dense.get_submodule(name).weight.data)
tried = {"Ŵ": four_bit, "Ŵ + ΔW": dense, "to NF4: merge 4": quant.quantize_model(copy.deepcopy(dense)), "to Q4_0": other}
live = {way: train.answer_loss(model, tokenizer, task.heldout) for way, model in tried.items()}
gain = live["Ŵ"] - live["Ŵ + ΔW"]
rows = [[way, f"{loss:.2f}", f"{(loss - live['Ŵ + ΔW']) / gain:.0%}"] for way, loss in live.items()]
show.table(rows, ["5 steps", "loss held out", "gain lost"])

# %% [markdown] tags=["optional"]
# The trap is rounding on the *same* grid.

# %% [markdown]
# Does what arrives decide the loss? The record (`course/records/merging.py`) has 18 adapters for the same facts: three seeds, the
# rate 0.01 as here and 0.001, each merged after three numbers of steps. The share lost is
#
# $$\frac{L_\text{merged} - L_\text{adapter}}{L_\text{base} - L_\text{adapter}}$$
#
# with losses L on held-out questions. The control is **noise**: the very rounding errors of merge 4, shuffled within each
# layer, so that their size stays and their place is lost, added to Ŵ + ΔW.

# %% tags=["guess:lost_back", "guess:lost_noise", "slide"]
lost_back = 10  #? % of the gain lost by merge 4, rate 0.001, 320 steps, mean of three seeds | 5: the rounding error is small beside the weight | 90: as for a very young adapter; this one is five times as large
lost_noise = 10  #? % of the gain lost by the noise of the same size | 50: an error of the same size seems to do harm of the same kind | 100: noise in every layer seems to destroy what was learned | 10: any error seems to cost a little; shuffled, it points nowhere in particular

# %% tags=["reveal", "slide"]
guessed = guesses(lost_back=lost_back, lost_noise=lost_noise)


def lost(row, way):
    loss = row["loss"]
    return (loss[way] - loss["Ŵ + ΔW"]) / (loss["Ŵ"] - loss["Ŵ + ΔW"])


facts, points, mean = records.tried("merging", run="facts"), {}, {}
finished = records.tried("merging", run="facts", lr=0.001, step=320)
for way in ("Q(Ŵ + ΔW)", "Q(W + ΔW)", "W + ΔW", "Ŵ + ΔW + noise"):
    points[way] = {row["size"]: lost(row, way) for row in facts}
    mean[way] = sum(lost(row, way) for row in finished) / 3
show.figure(*show.lost_by_size(points),
            caption="The six adapters at the left have learned how an answer looks, and hardly a fact.")
guessed.against(lost_back=100 * mean["Q(Ŵ + ΔW)"], lost_noise=100 * mean["Ŵ + ΔW + noise"])

# %%
preferred = records.tried("merging", run="facts", lr=0.01, step=80)  # of least loss on validation
rows = []
for way in ("Ŵ", "Ŵ + ΔW", "W + ΔW", "Q(W + ΔW)", "Q(Ŵ + ΔW)", "Ŵ + ΔW + noise", "Ŵ + shuffled ΔW"):
    losses = ", ".join(f"{row['loss'][way]:.2f}" for row in finished)
    share = sum(lost(row, way) for row in finished) / 3
    right = [sum(row["exact"][way] for row in finished) / 3, sum(row["exact"][way] for row in preferred) / 3]
    rows.append([way, losses, f"{share:.0%}", f"{right[0]:.0%}", f"{right[1]:.0%}"])
show.table(rows, ["0.001, 320 steps", "loss held out, three seeds", "gain lost", "questions right", "right at 0.01, 80 steps"])

# %% [markdown]
# - **For a small update the loss is not noise.** The same errors, shuffled, cost nothing; in their places most of them point
#   against the update. **For a large one it is noise**, and costs about 1 %.
# - In loss a third is lost, in right answers four fifths: a fact is right only if each of its tokens is.
# - **The size of the update decides.** A low rate, few steps and large weights make it small. We show the low rate because
#   rates at work are low. At the one that validation prefers here, merge 4 costs 1 point of 37.
# - Merging into the **original** W is safe here, though the adapter was trained on Ŵ. So is rounding that sum: W lies
#   between the levels.
#
# <details><summary>Does it matter whether 2 or 3?</summary>
#
# Ŵ + ΔW is what was trained, exactly. W + ΔW loses nothing on
# average over the 18 adapters, but −5 to 7 % on single ones. Measure yours on validation. PEFT, whose merge into a 4-bit layer
# is merge 4, warns of "different generations due to rounding errors" (`tuners/lora/bnb.py`).
#
# </details>

# %% [markdown] tags=["minutes:5"]
# ## 5. What not merging costs
#
# "LoRA adds no latency" is true of a merged one. **Guess**, for a dense base and one token at a time:

# %% tags=["guess:beside", "slide"]
beside = 1.1  #? times as long a token takes with the adapter beside the weight as merged | 1: A and B are thin, so their multiplications seem free | 3: three products in place of one; but two are thin

# %% tags=["nbval-ignore-output", "slide"]
guessed = guesses(beside=beside)
with_adapter = lora.load_adapter(copy.deepcopy(base), folder / "after_80").eval()
merged = lora.merge_and_remove(copy.deepcopy(with_adapter)).eval()  # place 3: W + ΔW
servers, times, rows = {"merged": merged, "adapter beside": with_adapter, "4 bit, adapter beside": learner.eval()}, {}, []
for name, tokens in 40 * [(name, tokens) for name in servers for tokens in (1, 256)]:  # in turns
    start = time.process_time()  # of the processor alone: other programs do not count
    with torch.no_grad():
        servers[name](torch.full((1, tokens), 5))
    took = time.process_time() - start
    times[name, tokens] = min(took, times.get((name, tokens), took))
for name in servers:
    ratios = [times[name, tokens] / times["merged", tokens] for tokens in (1, 256)]
    rows.append([name, f"{ratios[0]:.1f}", f"{ratios[1]:.1f}"])
show.table(rows, ["times as long as merged, on one core", "one token", "256 tokens"])
guessed.against(beside=times["adapter beside", 1] / times["merged", 1])

# %% [markdown]
# 4 bits cost the unpacking of every weight, which many tokens share. In return one base serves a hundred adapters.

# %% [markdown] tags=["minutes:13"]
# ## 6. Hand it over
#
# One rule: **load back what you wrote, and compare**. `merged` is place 3, W + ΔW: somebody may round it to 4 bits later,
# and W lies between the levels. Had we written place 2, that would be merge 4.

# %% tags=["nbval-ignore-output"]
models.save_merged(merged, tokenizer, folder / "merged", torch.bfloat16)
rounded = quant.quantize_model(copy.deepcopy(merged))  # Q(W + ΔW)
quant.save_bitsandbytes(rounded, folder / "four_bits")
tokenizer.save_pretrained(folder / "four_bits")
hat, read = quant.dequantize_model(copy.deepcopy(four_bit)), AutoModelForCausalLM.from_pretrained
sent = {"after_80": learner, "merged": merged, "four_bits": rounded}
back = {"after_80": peft.PeftModel.from_pretrained(hat, folder / "after_80"),
        "merged": read(folder / "merged", dtype=torch.float32),
        "four_bits": quant.load_bitsandbytes(copy.deepcopy(base), folder / "four_bits")}
if models.from_gguf.available():  # else: pip install gguf
    models.save_gguf(merged, tokenizer, folder / "merged.gguf", "f16")
    sent["merged.gguf"], back["merged.gguf"] = merged, read(folder, gguf_file="merged.gguf", dtype=torch.float32)

# %% tags=["nbval-ignore-output"]
readers = {"after_80": "adapter, by peft", "merged": "the hub's folder, by transformers",
           "four_bits": "bitsandbytes' format, by us", "merged.gguf": "GGUF, by transformers"}
prompts = [torch.tensor([data.batches.encode_prompt(tokenizer, each.prompt)]) for each in task.heldout[:20]]
rows, gaps = [], dict.fromkeys(back, 0.0)
for name in back:
    for prompt in prompts:
        with torch.no_grad():
            before, after = sent[name].eval()(prompt).logits, back[name].eval()(prompt).logits
        gaps[name] += float((before - after).abs().max() / before.std()) / len(prompts)
    files = [folder / name] if name.endswith("gguf") else (folder / name).glob("*.safetensors")
    rows.append([readers[name], f"{sum(file.stat().st_size for file in files) / 1e3:,.0f} KB", f"{gaps[name]:.1e}"])
show.table(rows, ["what, and read back by", "on disk", "largest change of a score (in σ of the scores), mean of 20 prompts"])

# %% [markdown]
# bfloat16 keeps 8 significant bits, f16 keeps 11.
#
# <details><summary>A trap of GGUF</summary>
#
# Positions are encoded by turning the numbers that W_q and W_k produce, in pairs.
# [GGUF](../course/glossary.md#gguf) keeps the two rows of a pair side by side, transformers half a head apart. Whoever forgets to reorder them gets
# nonsense.
#
# </details>
#
# What servers want, by their documentation ([vLLM](https://github.com/vllm-project/vllm/blob/main/docs/features/lora.md)
# and its [4 bits](https://docs.vllm.ai/en/latest/features/quantization/bnb/),
# [SGLang](https://docs.sglang.io/advanced_features/lora.html),
# [llama.cpp](https://github.com/ggml-org/llama.cpp/blob/master/tools/quantize/README.md)):
#
# ```bash
# # BASE in 16 bits: W beside B, A, as place 3; with --quantization bitsandbytes: place 1
# vllm serve BASE --enable-lora --max-lora-rank 16 --lora-modules facts=after_80   # at least r
# vllm serve merged                                  # or four_bits: config.json says how it is quantized
# vllm serve merged --quantization bitsandbytes      # NF4 on loading: only if merged is W + ΔW
# python3 -m sglang.launch_server --model-path BASE --enable-lora --lora-paths facts=after_80
# llama-quantize merged.gguf merged-q4.gguf Q4_K_M
# llama-cli -m merged-q4.gguf
# ```
#
# <details><summary>Does any of them warn?</summary>
#
# llama.cpp, of a file that is quantized already: `--allow-requantize` "can
# severely reduce quality compared to quantizing from 16bit or 32bit". A dense file that stands on levels looks like any other.
#
# </details>

# %% tags=["assert"]
numbers = memory.estimate("llama-3.1-8b", "lora", r=16).trainable_params
assert counted < file < 1.02 * counted and llama_bytes == 4 * numbers
assert len(set(far["add, then subtract"])) == 1, "one jump, then no further move"
assert max(far["ours, which keeps W"]) == 0 < far["PEFT"][0] < far["PEFT"][99]
assert abs(foretold - changed) < 0.05 < changed
assert told[20][1] < 0.9 < told[20][0], "a layer may be below the sum"
assert told[5][0] < 0.1 < 0.8 < told[20][0] < told[80][0]
assert all(gaps[name] < 1e-3 for name in ("after_80", "four_bits")) and gaps.get("merged.gguf", 0) < gaps["merged"] < 0.2

# %% tags=["assert", "nbval-ignore-output"]
place_2 = lora.merge_and_remove(copy.deepcopy(learner)).eval()
with torch.no_grad():
    assert torch.allclose(place_2(prompts[0]).logits, learner(prompts[0]).logits, atol=1e-3), "places 1 and 2 agree"
average = {way: sum(each.values()) / len(facts) for way, each in points.items()}
assert 0 < average["W + ΔW"] < average["Q(W + ΔW)"] < 0.05 < 0.4 < average["Q(Ŵ + ΔW)"], "the order of the merges"
assert max(abs(mean[way]) for way in ("Q(W + ΔW)", "W + ΔW", "Ŵ + ΔW + noise")) < 0.05 < 0.25 < mean["Q(Ŵ + ΔW)"]
young = lora.merge_and_remove(lora.load_adapter(copy.deepcopy(four_bit), folder / "after_5"))
live = {(5, "Ŵ + ΔW"): young, (5, "Q(Ŵ + ΔW)"): quant.quantize_model(copy.deepcopy(young)),
        (80, "Ŵ + ΔW"): place_2, (80, "W + ΔW"): merged}
for (step, way), model in live.items():
    (row,) = records.tried("merging", run="facts", lr=0.01, step=step, seed=0)
    records.repeats(train.answer_loss(model, tokenizer, task.heldout), row["loss"][way], within=0.1)

# %% [markdown] tags=["slide"]
# ## What I can now decide
#
# | I want to deploy | do this |
# |---|---|
# | many customers | do not merge: one base, and the adapters' folders |
# | one model, in 16 bits | merge into the original: it may be rounded later |
# | one model, in 4 bits | merge into the **original**, then round, once |
# | the same, without the original | if under 90 % of ΔW arrive (section 4), do not merge |
# | for llama.cpp | merge, `models.save_gguf` in f16, `llama-quantize` |
#
# <details><summary>Why 90 %?</summary>Where 92 % arrived, at most 4 % of the gain was lost; where 71 % did, 28 % and more. A
# single layer may be below: the rule is about the sum.</details>
#
# ## What was not shown
#
# - One small base and task. Updates at work have other sizes: measure what arrives.
# - Nothing ran in vLLM, SGLang or llama.cpp. `save_gguf` writes Llamas only; others go by llama.cpp's
#   `convert_hf_to_gguf.py`.
#
# ## What to try
#
# - Merge 4 with blocks of 32: finer steps. Does more arrive?
# - Cast the adapter to bfloat16. Does an answer change?
#
# ## Three questions
#
# 1. The merged model answers like the base, and no error was raised. What do you look at first?
#
# <details><summary>Answer</summary>
#
# Into what it was merged. If into 4-bit layers, `lora.requantization_losses` says what
# arrives of the update; merge anew into the [dequantized](../course/glossary.md#dequantized) or the original weight. Then: is it the right base, was α/r applied,
# is the chat template the one of training?
#
# </details>
#
# 2. Q(W + ΔW) and Q(Ŵ + ΔW) end on the same sixteen levels. Why does the first keep 99 % of a small update and the second 2 %?
#
# <details><summary>Answer</summary>Ŵ stands on levels, so a push below half a step is undone every time. W lies anywhere, so a
# push of a quarter of a step carries a quarter of the weights over a midpoint, each by a whole step: on average all of it
# arrives.</details>
#
# 3. A hundred customers, Llama-3.1-8B, rank 16. Merge?
#
# <details><summary>Answer</summary>Merged in 16 bits that is 100 × 16.06 = 1,606 GB; one base and a hundred adapters are
# 16.06 + 100 × 0.168 = 33 GB in float32, 24 in bfloat16. No, unless one customer's latency is worth a copy.</details>
#
# ## Next
#
# Act III: what fine-tuning changes in behaviour, beginning with data and masks.

# %% tags=["nbval-ignore-output"]
results("14")
