"""Answers to exercises 13: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer

_CHAT = """def chat_example(messages, encode):
    ids, labels = [], []
    for message in messages:
        head = encode(f"<|im_start|>{message['role']}\\n")
        body = encode(message["content"] + "<|im_end|>")
        tail = encode("\\n")
        ids += head + body + tail
        learned = body if message["role"] == "assistant" else [-100] * len(body)
        labels += [-100] * len(head) + learned + [-100] * len(tail)
    return ids, labels
"""
_ACCUMULATED = """def accumulated(losses, counts):
    total = sum(counts)
    return [loss * n / total if n else torch.zeros(()) for loss, n in zip(losses, counts)]
"""
_ROW = """def packed_row(examples):
    row = {"input_ids": [], "labels": [], "position_ids": [], "boundaries": [0]}
    for example in examples:
        row["input_ids"] += example["input_ids"]
        row["labels"] += [-100] + example["labels"][1:]
        row["position_ids"] += range(len(example["input_ids"]))
        row["boundaries"].append(len(row["input_ids"]))
    return row
"""
_SCALES = """def adapter_scales(config, shapes):
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
"""
_OF = {"chat_example": _CHAT, "accumulated": _ACCUMULATED, "packed_row": _ROW, "adapter_scales": _SCALES}


def _changed(task: str, *changes: tuple[str, str], says: str) -> Answer:
    code = _OF[task]
    for before, after in changes:
        assert code.count(before) == 1, before
        code = code.replace(before, after)
    return Answer(task=task, code=code, says=says)


def _chat(*changes: tuple[str, str], says: str) -> Answer:
    return _changed("chat_example", *changes, says=says)


def _parts(expression: str, says: str) -> Answer:
    return _changed("accumulated", ("loss * n / total if n else torch.zeros(())", expression), says=says)


def _row(*changes: tuple[str, str], says: str) -> Answer:
    return _changed("packed_row", *changes, says=says)


def _scales(*changes: tuple[str, str], says: str) -> Answer:
    return _changed("adapter_scales", *changes, says=says)


_LEARNED = 'body if message["role"] == "assistant" else [-100] * len(body)'

ANSWERS = [
    _chat(("learned = " + _LEARNED, "learned = body"), says="a user's too"),
    _chat(("labels += [-100] * len(head) + learned + [-100] * len(tail)", "labels += head + body + tail"),
          says="everything carries loss"),
    _chat(("[-100] * len(head) + learned",
            '(head if message["role"] == "assistant" else [-100] * len(head)) + learned'),
          says="the head of an answer"),
    _chat(("learned + [-100] * len(tail)", 'learned + (tail if message["role"] == "assistant" else [-100])'),
          says="the model has stopped by then"),
    _chat(("learned = " + _LEARNED, "learned = " + _LEARNED.replace("body if", "body[:-1] + [-100] if")),
          says="never learn to stop"),
    _chat(('message["role"] == "assistant"', 'message is messages[-1] and message["role"] == "assistant"'),
             says="only the last answer"),
    _chat(('message["role"] == "assistant"', 'message["role"] == "user"'), says="the other way round"),
    _chat(('message["role"] == "assistant"', 'message["role"] != "user"'), says="the system's message"),
    _chat(('message["content"] + "<|im_end|>"', 'message["content"]'), says="<|im_end|>"),
    _chat(('tail = encode("\\n")', "tail = []"), says="line break"),
    _chat(("    return ids, labels", '    ids += encode("<|im_start|>assistant\\n")\n'
           '    labels += [-100] * len(encode("<|im_start|>assistant\\n"))\n    return ids, labels'),
          says="for asking a model"),
    _chat(("    return ids, labels", "    return ids, labels[1:] + [-100]"), says="one place early"),
    _chat(("return ids, labels", "return ids"), says="yours gives"),
    _chat(("learned = body if", "learned = [1] * len(body) if"), says="their labels are not their ids"),
    _parts("loss / len(losses) if n else torch.zeros(())", "the mean of the micro-batches' means"),
    _parts("loss if n else torch.zeros(())", "the sum of the micro-batches' means"),
    _parts("loss * n if n else torch.zeros(())", "the sum over all answer tokens: divide"),
    _parts("loss * n / total / len(losses) if n else torch.zeros(())", "as well"),
    _parts("loss / total if n else torch.zeros(())", "multiply it by its own count first"),
    _parts("loss * n / max(counts) if n else torch.zeros(())", "by the sum of the counts"),
    _parts("loss * n / total", "0 · nan is nan"),
    _parts("loss.item() * n / total if n else 0.0", "no gradient flows back"),
    _parts("loss.detach() * n / total if n else torch.zeros(())", "no way back"),
    _changed("accumulated", ("return [", "return sum("), ("counts)]", "counts))"), says="one tensor, wanted a list"),
    _row(("range(len(example[\"input_ids\"]))",
            "range(row['boundaries'][-1], row['boundaries'][-1] + len(example['labels']))"),
         says="they run on"),
    _row(("range(len(example[\"input_ids\"]))", "range(1, len(example['labels']) + 1)"), says="they begin at 1"),
    _row(('[-100] + example["labels"][1:]', 'example["labels"]'), says="would learn to predict the first of the next"),
    _row(('[-100] + example["labels"][1:]', 'example["labels"][:-1] + [-100]'), says="at each example's last token"),
    _row(('[-100] + example["labels"][1:]', '[-100] + example["input_ids"][1:]'), ('"labels": []', '"labels": []'),
         says="on its prompt, must stay"),
    _row(('row["boundaries"].append(len(row["input_ids"]))', 'row["boundaries"].append(len(example["input_ids"]))'),
         says="lengths after a 0"),
    _row(('"boundaries": [0]', '"boundaries": []'), says="the first is missing"),
    _row(("    return row", "    row['boundaries'].pop()\n    return row"), says="the last is missing"),
    _row(("    return row", "    return row['input_ids'], row['labels']"), says="wanted a dictionary"),
    _row(("    return row", "    row['labels'] = row['labels'][1:] + [-100]\n    return row"),
             says="moved by one place"),
    _row(('row = {"input_ids": [], "labels": [], "position_ids": [], "boundaries": [0]}\n    for example in examples:',
          'row = {**examples[0], "position_ids": list(range(len(examples[0]["labels"]))), '
          '"boundaries": [0, len(examples[0]["labels"])]}\n    for example in examples[1:]:'), says="changes examples"),
    _scales((' if config["use_rslora"] else alpha / r', ""), says="yours has the other one"),
    _scales(('alpha / math.sqrt(r) if config["use_rslora"] else ', ""), says="yours has the other one"),
    _scales(("r = shape[0]", 'r = config["r"]'), says="a rank of its own"),
    _scales(("alpha = other", "pass"), says="an α of its own"),
    _scales(('name == pattern or name.endswith("." + pattern)', "pattern in name"), says="a part of a word"),
    _scales(('name == pattern or name.endswith("." + pattern)', "name.endswith(pattern)"), says="a part of a word"),
    _scales(("                break\n", ""), says="the first of them"),
    _scales(('.removeprefix("base_model.model.")', ""), says="PEFT's wrapper"),
    _scales(('.removeprefix("base_model.model.")', '.replace("base_model.", "").replace("model.", "")'),
            says="the model's own beginning"),
    _scales(('.removesuffix(".lora_A.weight")', '.removesuffix(".weight")'), says="the factor's ending"),
    _scales(("r = shape[0]", "r = shape[1]"), says="the wrong side of A"),
]  # fmt: skip

RIGHT = [
    Answer("chat_example", '''def chat_example(messages, encode):
    both = []
    for message in messages:
        mine = message["role"] == "assistant"
        pieces = {"<|im_start|>" + message["role"] + "\\n": False, message["content"]: mine, "<|im_end|>": mine}
        both += [(each, learn) for text, learn in [*pieces.items(), ("\\n", False)] for each in encode(text)]
    return [each for each, _ in both], torch.tensor([each if learn else -100 for each, learn in both])
'''),
    Answer("chat_example", '''def chat_example(messages, encode):
    text, spans = "", []
    for message in messages:
        text += "<|im_start|>" + message["role"] + "\\n"
        start = len(encode(text))
        text += message["content"] + "<|im_end|>"
        if message["role"] == "assistant":
            spans.append((start, len(encode(text))))
        text += "\\n"
    ids = encode(text)
    return ids, [each if any(a <= i < b for a, b in spans) else -100 for i, each in enumerate(ids)]
'''),
    _changed("accumulated", ("loss * n / total if n else torch.zeros(())",
            "loss * (n / total) if n else loss.new_zeros(())"),
             says=""),
    Answer("accumulated", '''def accumulated(losses, counts):
    parts = []
    for i in range(len(counts)):
        parts += [losses[i].mul(counts[i]).div(sum(counts))] if counts[i] > 0 else [0.0]
    return tuple(parts)
'''),
    Answer("packed_row", '''def packed_row(examples):
    ids, labels, positions, bounds = [], [], [], [0]
    for e in examples:
        for i, (token, label) in enumerate(zip(e["input_ids"], e["labels"])):
            ids, labels, positions = ids + [token], labels + [label if i > 0 else -100], positions + [i]
        bounds += [len(ids)]
    return dict(input_ids=torch.tensor(ids), labels=labels, position_ids=tuple(positions), boundaries=bounds)
'''),
    Answer("packed_row", '''def packed_row(examples):
    ends = torch.tensor([0] + [len(e["labels"]) for e in examples]).cumsum(0)
    labels = torch.tensor(sum((e["labels"] for e in examples), []))
    labels[ends[:-1]] = -100
    places = torch.cat([torch.arange(len(e["labels"])) for e in examples])
    return {"input_ids": sum((e["input_ids"] for e in examples), []), "labels": labels, "position_ids": places,
            "boundaries": ends}
'''),
    Answer("adapter_scales", '''import re


def adapter_scales(config, shapes):
    found = {}
    for key in shapes:
        if match := re.fullmatch(r"base_model\\.model\\.(.*)\\.lora_B\\.weight", key):
            name, r = match[1], shapes[key][1]
            hits = [a for p, a in config["alpha_pattern"].items() if ("." + name).endswith("." + p)]
            found[name] = (hits + [config["lora_alpha"]])[0] / r ** (0.5 if config["use_rslora"] else 1)
    return found
'''),
    Answer("adapter_scales", '''def adapter_scales(config, shapes):
    def alpha(name):
        parts = name.split(".")
        for pattern, value in config["alpha_pattern"].items():
            wanted = pattern.split(".")
            if parts[-len(wanted):] == wanted:
                return value
        return config["lora_alpha"]

    names = [key[len("base_model.model."):-len(".lora_A.weight")] for key in shapes if "lora_A" in key]
    ranks = {name: shapes["base_model.model." + name + ".lora_A.weight"][0] for name in names}
    return {name: alpha(name) * (r ** -0.5 if config["use_rslora"] else 1 / r) for name, r in ranks.items()}
'''),
]  # fmt: skip
