"""Answers to the bits of lesson 13, written without seeing the checks."""

from tests.mutants.exercises.answer import cells

ANSWERS = cells(r"""
#: the model would never learn to stop. Add tokenizer.eos_token to the answer
def chat_labels(tokenizer, prompt, answer):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after, "labels": [-100] * len(before) + after}
#: the 25 tokens of the prompt would be learnt too. Put -100 there
def chat_labels(tokenizer, prompt, answer):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(answer + tokenizer.eos_token)["input_ids"]
    return {"input_ids": before + after, "labels": before + after}
#: the model would never learn to stop
def chat_labels(tokenizer, prompt, answer):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after + [tokenizer.eos_token_id], "labels": [-100] * len(before) + after + [-100]}
#: the model shifts them itself, so a label stands at its own token
def chat_labels(tokenizer, prompt, answer):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after, "labels": [-100] * (len(before) - 1) + after + [-100]}
#: your labels of the prompt are 0, wanted -100, the number that the loss
def chat_labels(tokenizer, prompt, answer):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after, "labels": [0] * len(before) + after}
#: yours has 25 input_ids and 5 labels, wanted one label per token
def chat_labels(tokenizer, prompt, answer):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return {"input_ids": before, "labels": after}
#: the ids of answer + tokenizer.eos_token, without special tokens of the
def chat_labels(tokenizer, prompt, answer):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(" " + answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after, "labels": [-100] * len(before) + after}
#: the ids of answer + tokenizer.eos_token, without special tokens of the
def chat_labels(tokenizer, prompt, answer):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(answer + "</s>", add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after, "labels": [-100] * len(before) + after}
#: it takes a string (but "all-linear") as a pattern of the whole name, so
def as_peft(config):
    import peft
    return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout,
                           use_rslora=config.use_rslora, target_modules=config.target_modules, task_type="CAUSAL_LM")
#: PEFT finds no layer by ['-'
def as_peft(config):
    import peft
    return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout,
                           use_rslora=config.use_rslora, task_type="CAUSAL_LM",
                           target_modules=list(config.target_modules))
#: PEFT finds no layer by ['all-linear']
def as_peft(config):
    import peft
    targets = config.target_modules
    if isinstance(targets, str):
        targets = [targets]
    return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout,
                           use_rslora=config.use_rslora, target_modules=targets, task_type="CAUSAL_LM")
#: it is config.dropout
def as_peft(config):
    import peft
    targets = config.target_modules
    if targets != "all-linear":
        targets = [targets] if isinstance(targets, str) else list(targets)
    return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, target_modules=targets, task_type="CAUSAL_LM")
#: PEFT divides by r itself
def as_peft(config):
    import peft
    targets = config.target_modules
    if targets != "all-linear":
        targets = [targets] if isinstance(targets, str) else list(targets)
    return peft.LoraConfig(r=config.r, lora_alpha=config.alpha / config.r, lora_dropout=config.dropout,
                           use_rslora=config.use_rslora, target_modules=targets, task_type="CAUSAL_LM")
#: it chooses the wrapper, and is written into the folder
def as_peft(config):
    import peft
    targets = config.target_modules
    if targets != "all-linear":
        targets = [targets] if isinstance(targets, str) else list(targets)
    return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout,
                           use_rslora=config.use_rslora, target_modules=targets)
#: ['q_proj|down_proj']
def as_peft(config):
    import peft
    targets = config.target_modules
    if isinstance(targets, tuple):
        targets = "|".join(targets)
    elif targets != "all-linear":
        targets = [targets]
    return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout,
                           use_rslora=config.use_rslora, target_modules=targets, task_type="CAUSAL_LM")
#: q_proj ends with proj as well. What stands before the end must be a dot
def missed_targets(model, targets):
    names = [name for name, _ in model.named_modules()]
    return [t for t in targets if not any(n.endswith(t) for n in names)]
#: `in` finds parts of words. A target is the whole name, or its end after a
def missed_targets(model, targets):
    names = [name for name, _ in model.named_modules()]
    return [t for t in targets if not any(t in n for n in names)]
#: a target may have dots itself, as 1.down_proj
def missed_targets(model, targets):
    last = {name.split(".")[-1] for name, _ in model.named_modules()}
    return [t for t in targets if t not in last]
#: a target may also be the end of a name, after a dot, as q_proj in
def missed_targets(model, targets):
    return [t for t in targets if not hasattr(model, t)]
#: a target is found where a module's name is it, or ends with a dot and it
def missed_targets(model, targets):
    names = [name for name, _ in model.named_modules()]
    return [n for n in names if not any(n == t or n.endswith("." + t) for t in targets)]
#: lm_head is a whole name, with no dot before it
def missed_targets(model, targets):
    names = [name for name, _ in model.named_modules()]
    return [t for t in targets if not any(n.endswith("." + t) for n in names)]
""")

RIGHT = cells(r"""
#:
def chat_labels(tokenizer, prompt, answer):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after, "labels": [-100 for _ in before] + after}
#:
def as_peft(config):
    import peft
    targets = config.target_modules
    if targets != "all-linear":
        targets = [targets] if isinstance(targets, str) else list(targets)
    return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout,
                           use_rslora=config.use_rslora, target_modules=targets, task_type="CAUSAL_LM")
#:
def missed_targets(model, targets):
    names = [name for name, _ in model.named_modules()]
    return [t for t in targets if not any(n == t or n.endswith("." + t) for n in names)]
""")
