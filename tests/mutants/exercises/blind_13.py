"""Answers to the tasks of notebook 13, from their words alone, by somebody who had not seen the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: only the last answer carries loss
def chat_example(messages, encode):
    ids, labels = [], []
    for message in messages:
        head = encode(f"<|im_start|>{message['role']}\n")
        body = encode(f"{message['content']}<|im_end|>")
        foot = encode("\n")
        ids += head + body + foot
        labels = [-100] * (len(ids) - len(body) - len(foot)) + body + [-100] * len(foot)
    return ids, labels
#: the model has stopped by then
def chat_example(messages, encode):
    ids, labels = [], []
    for message in messages:
        head = encode(f"<|im_start|>{message['role']}\n")
        body = encode(f"{message['content']}<|im_end|>\n")
        ids += head + body
        labels += [-100] * len(head) + (body if message["role"] == "assistant" else [-100] * len(body))
    return ids, labels
#: a content goes in as it is
def chat_example(messages, encode):
    ids, labels = [], []
    for message in messages:
        head = encode(f"<|im_start|>{message['role']}\n")
        body = encode(f"{message['content'].strip()}<|im_end|>")
        foot = encode("\n")
        ids += head + body + foot
        learned = body if message["role"] == "assistant" else [-100] * len(body)
        labels += [-100] * len(head) + learned + [-100] * len(foot)
    return ids, labels
#: an answer without content carries no loss
def chat_example(messages, encode):
    ids, labels = [], []
    for message in messages:
        head = encode(f"<|im_start|>{message['role']}\n")
        body = encode(f"{message['content']}<|im_end|>")
        foot = encode("\n")
        ids += head + body + foot
        learned = body if message["role"] == "assistant" and message["content"] else [-100] * len(body)
        labels += [-100] * len(head) + learned + [-100] * len(foot)
    return ids, labels
#: not by looking for text
def chat_example(messages, encode):
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    ids = encode(text)
    labels = [-100] * len(ids)
    for message in messages:
        if message["role"] == "assistant":
            answer = encode(message["content"] + "<|im_end|>")
            for start in range(len(ids)):
                if ids[start:start + len(answer)] == answer:
                    labels[start:start + len(answer)] = answer
                    break
    return ids, labels
#: 0 · nan is nan
def accumulated(losses, counts):
    return [loss * count / sum(counts) for loss, count in zip(losses, counts)]
#: divided by the number of micro-batches as well
def accumulated(losses, counts):
    n = sum(count > 0 for count in counts)
    return [loss * count / sum(counts) / n if count else loss.new_zeros(()) for loss, count in zip(losses, counts)]
#: a label stands at the token that *is* predicted
def packed_row(examples):
    row = {"input_ids": [], "labels": [], "position_ids": [], "boundaries": [0]}
    for example in examples:
        ids = example["input_ids"]
        row["input_ids"] += ids
        row["labels"] += example["labels"][:-1] + [-100]
        row["position_ids"] += range(len(ids))
        row["boundaries"].append(len(row["input_ids"]))
    return row
#: your code changes examples
def packed_row(examples):
    row = {"input_ids": [], "labels": [], "position_ids": [], "boundaries": [0]}
    for example in examples:
        ids = example["input_ids"]
        example["labels"][0] = -100
        row["input_ids"] += ids
        row["labels"] += example["labels"]
        row["position_ids"] += range(len(ids))
        row["boundaries"].append(len(row["input_ids"]))
    return row
#: an example's own -100, on its prompt, must stay
def packed_row(examples):
    row = {"input_ids": [], "labels": [], "position_ids": [], "boundaries": [0]}
    for n, example in enumerate(examples):
        ids = example["input_ids"]
        row["input_ids"] += ids
        row["labels"] += [-100] + ids[1:]
        row["position_ids"] += range(len(ids))
        row["boundaries"].append(len(row["input_ids"]))
    return row
#: a part of a word fits
def adapter_scales(config, shapes):
    scales = {}
    for key, shape in shapes.items():
        if "lora_A" in key:
            name = key.replace("base_model.model.", "").replace(".lora_A.weight", "")
            alpha = config["lora_alpha"]
            for pattern, value in config["alpha_pattern"].items():
                if name.endswith(pattern):
                    alpha = value
                    break
            scales[name] = alpha / shape[0] ** (0.5 if config["use_rslora"] else 1)
    return scales
#: a pattern may be the whole name of a layer
def adapter_scales(config, shapes):
    scales = {}
    for key, shape in shapes.items():
        if "lora_A" in key:
            name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            alpha = config["lora_alpha"]
            for pattern, value in config["alpha_pattern"].items():
                if name.endswith("." + pattern):
                    alpha = value
                    break
            scales[name] = alpha / shape[0] ** (0.5 if config["use_rslora"] else 1)
    return scales
#: a pattern may have several parts
def adapter_scales(config, shapes):
    scales = {}
    for key, shape in shapes.items():
        if "lora_A" in key:
            name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            alpha = config["alpha_pattern"].get(name.split(".")[-1], config["lora_alpha"])
            scales[name] = alpha / shape[0] ** (0.5 if config["use_rslora"] else 1)
    return scales
#: the wrong side of B
def adapter_scales(config, shapes):
    scales = {}
    for key, shape in shapes.items():
        if "lora" in key:
            name = key.removeprefix("base_model.model.").split(".lora_")[0]
            alpha = config["lora_alpha"]
            for pattern, value in config["alpha_pattern"].items():
                if name == pattern or name.endswith("." + pattern):
                    alpha = value
                    break
            scales[name] = alpha / shape[0] ** (0.5 if config["use_rslora"] else 1)
    return scales
#: by rank_pattern
def adapter_scales(config, shapes):
    scales = {}
    for key, shape in shapes.items():
        if "lora_A" in key:
            name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            alpha = config["lora_alpha"]
            for pattern, value in config.get("alpha_pattern", {}).items():
                if name == pattern or name.endswith("." + pattern):
                    alpha = value
                    break
            r = config["r"]
            scales[name] = alpha / (math.sqrt(r) if config.get("use_rslora") else r)
    return scales
""")

RIGHT = cells(r"""
#:
def chat_example(messages, encode):
    ids, labels = [], []
    for message in messages:
        answers = message["role"] == "assistant"
        head = encode(f"<|im_start|>{message['role']}\n")
        body = encode(f"{message['content']}<|im_end|>")
        foot = encode("\n")
        ids += head + body + foot
        labels += [-100] * len(head) + (body if answers else [-100] * len(body)) + [-100] * len(foot)
    return ids, labels
#:
def accumulated(losses, counts):
    total = sum(counts)
    return [loss * count / total if count else loss.new_zeros(()) for loss, count in zip(losses, counts)]
#:
def accumulated(losses, counts):
    zero = torch.zeros((), requires_grad=True)
    return [loss * (count / sum(counts)) if count else zero * 1 for loss, count in zip(losses, counts)]
#:
def accumulated(losses, counts):
    return [torch.nan_to_num(loss) * count / sum(counts) for loss, count in zip(losses, counts)]
#:
def packed_row(examples):
    row = {"input_ids": [], "labels": [], "position_ids": [], "boundaries": [0]}
    for example in examples:
        ids = example["input_ids"]
        row["input_ids"] += ids
        row["labels"] += [-100] + example["labels"][1:]
        row["position_ids"] += range(len(ids))
        row["boundaries"].append(len(row["input_ids"]))
    return row
#:
def adapter_scales(config, shapes):
    scales = {}
    for key, shape in shapes.items():
        if ".lora_A" not in key:
            continue
        name = key.removeprefix("base_model.model.").split(".lora_A")[0]
        alpha = config["lora_alpha"]
        for pattern, value in (config.get("alpha_pattern") or {}).items():
            if name == pattern or name.endswith("." + pattern):
                alpha = value
                break
        r = shape[0]
        scales[name] = alpha / (math.sqrt(r) if config.get("use_rslora") else r)
    return scales
""")
