# %% [markdown]
# # Exercises: PEFT and bitsandbytes
#
# After [lesson 13](../notebooks/13_peft_and_bitsandbytes.ipynb), four things that the libraries do between your file and the model, each of which
# fails without an error: labels of a chat, accumulated gradients, packed rows, the scale of an adapter. About 50 minutes.

# %%
import math

import torch
from torch.nn import functional as F

from lora_lab.exercises import check

# %% [markdown] tags=["task:chat_example"]
# ## 1. A chat of several turns
#
# difficulty 2 of 5 · importance 5 of 5 · 12 minutes
#
# Many models write a chat in the format *ChatML*: each message is `<|im_start|>`, its role, a line break, its content,
# `<|im_end|>`, a line break. `messages` is a list of `{"role": …, "content": …}` with the roles system, user and assistant, and `encode`
# turns a text into a list of ids (here you may encode pieces and join them). Return two lists of one length: the ids of the whole chat, and
# labels. A content goes in as it is, and may be empty. Loss is on what the model itself will have to write, in *every* answer of the chat: its content and the
# `<|im_end|>` that stops it. All else has the label −100, also the head `<|im_start|>assistant` and the line break after
# `<|im_end|>`.
#
# By hand, with · for −100: the chat "Hi", "Yo" becomes
#
# ```
# <|im_start|>user⏎Hi<|im_end|>⏎<|im_start|>assistant⏎Yo<|im_end|>⏎
# ····················································Yo<|im_end|>·
# ```

# %% tags=["turn:chat_example"]
def chat_example(messages, encode):  # -> ids, labels: two lists of one length
    #> a message is a head, what its author writes, and a line break
    ids, labels = [], []
    for message in messages:
        head = encode(f"<|im_start|>{message['role']}\n")
        written = encode(message["content"] + "<|im_end|>")
        after = encode("\n")
        ids += head + written + after
        learned = written if message["role"] == "assistant" else [-100] * len(written)
        labels += [-100] * len(head) + learned + [-100] * len(after)
    return ids, labels
    #<

# %% [markdown] tags=["hint:chat_example"]
# **A first hint.** Go message by message, and cut each into three pieces: its head, what its author writes, the line break. Only
# one of them can carry loss.
#
# **A second hint.** `[-100] * len(piece)` are the labels of a piece without loss.
#
# **Why not look for "assistant" in the text?** A user may write that word as well.

# %% tags=["check:chat_example"]
chat_example = check("chat_example", chat_example)

# %%
def by_letters(text):  # a toy tokenizer: a letter is a token, and a special word too
    for number, word in enumerate(("<|im_start|>", "<|im_end|>")):
        text = text.replace(word, chr(number))
    return [ord(letter) for letter in text]


chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
ids, labels = chat_example(chat, by_letters)
print(f"{len(ids)} tokens, {sum(label != -100 for label in labels)} of them carry loss")

# %% [markdown] tags=["task:accumulated"]
# ## 2. A large batch in small pieces
#
# difficulty 3 of 5 · importance 5 of 5 · 14 minutes
#
# A batch that does not fit is cut into micro-batches, whose gradients add up before one step. `losses` are their losses, tensors without axes,
# each the mean over its *own* answer tokens; `counts` says how many those are. Return a list with a tensor for each micro-batch, its part of the
# *whole* batch's loss, which is the mean over *all* answer tokens: a training loop calls `backward()` on each part that requires a gradient, and
# the gradients must add up to the whole loss's. A micro-batch without any answer token has the loss nan, as `cross_entropy` gives it; it must not
# spoil the others. Its part is a zero (a plain one requires no gradient, so that the loop passes over it).
#
# By hand: one answer token costs 4; in the other micro-batch three cost 2 each. The whole batch's loss is (4 + 3·2)/4 = 2.5, and
# the parts are 1 and 1.5. The mean of the means would be 3.

# %% tags=["turn:accumulated"]
def accumulated(losses, counts):  # -> a list of tensors, one for each micro-batch
    #> each loss with its share of all answer tokens
    total = sum(counts)
    parts = []
    for loss, count in zip(losses, counts):
        parts.append(loss * (count / total) if count > 0 else torch.zeros(()))
    return parts
    #<

# %% [markdown] tags=["hint:accumulated"]
# **A first hint.** A mean times its count is a sum. What must the sum of these sums be divided by?
#
# **Help, it is nan.** 0 · nan is nan. Put another zero in its place, `torch.zeros(())`: no way leads from it to the loss.

# %% tags=["check:accumulated"]
accumulated = check("accumulated", accumulated)

# %% [markdown]
# transformers' Trainer once took the mean of the means. An issue of July 2023 says so
# ([#24725](https://github.com/huggingface/transformers/issues/24725)); in October 2024, after others had seen losses differ with and without
# accumulation, a pull request began to mend it ([#34191](https://github.com/huggingface/transformers/pull/34191)). How wrong was it?

# %% tags=["nbval-ignore-output"]
torch.manual_seed(0)
head, texts, answers, counts = torch.randn(50, 16, requires_grad=True), [], [], [2, 3, 5, 90]
for count in counts:
    texts.append(torch.randn(count, 16))
    answers.append(torch.randint(50, (count,)))
losses = [F.cross_entropy(text @ head.T, answer) for text, answer in zip(texts, answers)]
whole = F.cross_entropy(torch.cat(texts) @ head.T, torch.cat(answers))
(wanted,) = torch.autograd.grad(whole, head, retain_graph=True)
for name, parts in {"yours": accumulated(losses, counts), "mean of means": [loss / 4 for loss in losses]}.items():
    (found,) = torch.autograd.grad(sum(parts), head, retain_graph=True)
    print(f"{name}: the gradient is {(found - wanted).norm() / wanted.norm():.1%} away from the whole batch's")

# %% [markdown] tags=["task:packed_row"]
# ## 3. No padding: several examples in a row
#
# difficulty 3 of 5 · importance 4 of 5 · 14 minutes
#
# Padding is work for nothing. *Packing* puts examples one after the other into one row. Each example is a dictionary with the lists
# `input_ids` and `labels`, of one length, one token at least. Return a dictionary of four lists:
#
# - `input_ids`, one example after the other;
# - `position_ids`, the place of each token in *its own* example;
# - `boundaries`: 0, then for each example the place after its last token (kernels call them `cu_seqlens`);
# - `labels`. The model compares its scores at place t with the label at t + 1. No example may learn to predict the beginning of the next.
#
# By hand, examples of 2 and 3 tokens, all labels being ids: [5, 6] and [7, 8, 9] become `input_ids` [5, 6, 7, 8, 9], `position_ids` [0, 1, 0, 1, 2]
# and `boundaries` [0, 2, 5]. Which labels must go?

# %% tags=["turn:packed_row"]
def packed_row(examples):  # -> {"input_ids": …, "labels": …, "position_ids": …, "boundaries": …}
    #> four lists that grow example by example
    row = {"input_ids": [], "labels": [], "position_ids": [], "boundaries": [0]}
    for example in examples:
        row["input_ids"] += example["input_ids"]
        row["labels"] += [-100] + example["labels"][1:]
        row["position_ids"] += range(len(example["input_ids"]))
        row["boundaries"].append(len(row["input_ids"]))
    return row
    #<

# %% [markdown] tags=["hint:packed_row"]
# **A first hint.** Which token is predicted by the last one of the example before? Its label must be −100. (In an example that stands alone, no token
# predicts the first one, so nothing is lost.)
#
# **A second hint.** `range(n)` can be added to a list with +=.
#
# **Help, it says "changes examples".** `row["labels"] = example["labels"]` and then += writes into the caller's list.

# %% tags=["check:packed_row"]
packed_row = check("packed_row", packed_row)

# %% [markdown]
# Does a model keep the examples apart? A small random one, read alone and in a row: how far do the scores of the second example
# move? (Their standard deviation is about 0.2. The import of transformers takes some seconds, on a slow machine twenty.)

# %% tags=["nbval-ignore-output"]
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(vocab_size=50, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
model, second = LlamaForCausalLM(config).eval(), [9, 4, 30, 2, 7]
row = packed_row([{"input_ids": ids, "labels": ids} for ids in ([3, 1, 41, 5], second)])
row_ids, positions = torch.tensor([row["input_ids"]]), torch.tensor([row["position_ids"]])
ways = {"nothing but the ids": {"use_cache": False},
        "position_ids, no mask, no cache (as in training)": {"position_ids": positions, "use_cache": False},
        "position_ids, and a cache (the default of eval)": {"position_ids": positions},
        "position_ids, and a mask of ones": {"position_ids": positions, "use_cache": False, "attention_mask": torch.ones_like(row_ids)}}  # fmt: skip
with torch.no_grad():
    alone = model(torch.tensor([second])).logits[0]
    for way, options in ways.items():
        packed = model(row_ids, **options).logits[0, row["boundaries"][1] :]
        print(f"{(packed - alone).abs().max():.7f} {way}")

# %% [markdown]
# transformers (5.23) finds the boundaries where `position_ids` begin anew, but only if it is given no mask and no cache
# (`masking_utils.py`). Otherwise the second example reads the first, and no error is raised.

# %% [markdown] tags=["task:adapter_scales"]
# ## 4. What does this adapter do to each layer?
#
# difficulty 3 of 5 · importance 3 of 5 · 12 minutes
#
# Somebody hands you an adapter in PEFT's format. `config` is its `adapter_config.json` as a dictionary; `shapes` has the keys of its file with
# their shapes, such as `base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight`: [r, d_in], and the same with `lora_B`: [d_out, r].
# Return for each adapted layer, by its name in the *model* (`model.layers.0.self_attn.v_proj`), the number by which B·A is multiplied there.
#
# - It is α/r; with `config["use_rslora"]` it is α/√r.
# - r is what the shapes say. (`config["r"]` holds for layers that are not in `rank_pattern`.)
# - α is `config["lora_alpha"]`, unless `config["alpha_pattern"]`, a dictionary, has the layer: a pattern is the whole name, or its end after a
#   dot, and the first that fits holds.
#
# An example: `lora_alpha` 16, `alpha_pattern` {"v_proj": 4}, shape [8, 64] everywhere. The layers `….v_proj` have 0.5, all others 2, `….qkv_proj`
# too.

# %% tags=["turn:adapter_scales"]
def adapter_scales(config, shapes):  # -> {"model.layers.0.self_attn.v_proj": 0.5, …}
    #> for each lora_A: the name, its α, its rank
    scales = {}
    for key, shape in shapes.items():
        if not key.endswith(".lora_A.weight"):
            continue
        name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        alpha = config["lora_alpha"]
        for pattern, other in config["alpha_pattern"].items():
            if name == pattern or name.endswith("." + pattern):
                alpha = other
                break
        r = shape[0]
        scales[name] = alpha / math.sqrt(r) if config["use_rslora"] else alpha / r
    return scales
    #<

# %% [markdown] tags=["hint:adapter_scales"]
# **A first hint.** Look at the keys that end with `.lora_A.weight` alone: their shape begins with the rank.
#
# **A second hint.** `key.removeprefix("base_model.model.")` takes PEFT's wrapper away, once; `.removesuffix(".lora_A.weight")` the rest.
#
# **Help, "parts of words".** `name == pattern or name.endswith("." + pattern)`; and `break` at the first that fits.

# %% tags=["check:adapter_scales"]
adapter_scales = check("adapter_scales", adapter_scales)

# %%
shapes = {}
for layer in ("self_attn.q_proj", "self_attn.v_proj"):
    shapes[f"base_model.model.model.layers.0.{layer}.lora_A.weight"] = [16, 64]
    shapes[f"base_model.model.model.layers.0.{layer}.lora_B.weight"] = [64, 16]
config = {"r": 16, "lora_alpha": 32, "use_rslora": True, "rank_pattern": {}, "alpha_pattern": {"v_proj": 8}}
for name, scale in adapter_scales(config, shapes).items():
    print(f"{name}: {scale:g} · B·A")
