"""Answers to lesson 13's tasks: wrong ones with their diagnosis, and right ones written otherwise."""

from tests.mutants.exercises.answer import Answer

_BEFORE = """
def chat_labels(tokenizer, prompt, answer):
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    before = tokenizer(text, add_special_tokens=False)["input_ids"]
    after = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
"""


def _labels(body: str, says: str = "") -> Answer:
    return Answer(task="chat_labels", code=f"{_BEFORE}    {body}\n", says=says)


def _peft(body: str, says: str = "") -> Answer:
    return Answer(task="as_peft", code=f"import peft\ndef as_peft(config):\n    {body}\n", says=says)


def _missed(body: str, says: str = "") -> Answer:
    return Answer(task="missed_targets", code=f"def missed_targets(model, targets):\n    {body}\n", says=says)


_IDS = '"input_ids": before + after'
_NUMBERS = "r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout, use_rslora=config.use_rslora"
_TARGETS = (
    "targets = config.target_modules\n    if targets != 'all-linear':\n"
    "        targets = [targets] if isinstance(targets, str) else list(targets)\n    "
)
_REST = "target_modules=targets, task_type='CAUSAL_LM'"
_NAMES = "names = [name for name, _ in model.named_modules()]\n    "


def _not(hit: str) -> str:
    return f"{_NAMES}return [t for t in targets if not any({hit} for n in names)]"


ANSWERS = [
    _labels(f'return {{{_IDS}, "labels": before + after}}', "would be learnt too"),
    _labels(f'return {{{_IDS}, "labels": [-100] * len(before + after)}}', "nothing is left to learn from"),
    _labels(f'return {{{_IDS}, "labels": [-100] * len(before) + after[:-1] + [-100]}}', "never learn to stop"),
    _labels(f'return {{{_IDS}, "labels": [0] * len(before) + after}}', "the number that the loss leaves out"),
    _labels(f'return {{{_IDS}, "labels": after}}', "one label per token"),
    _labels(f'return {{{_IDS}, "labels": [-100] * (len(before) - 1) + after + [-100]}}', "shifted by one"),
    _labels(f'return {{{_IDS}, "labels": before + [-100] * len(after)}}', "the wrong way round"),
    _labels('after = after[:-1]\n    return {"input_ids": before + after, "labels": [-100] * len(before) + after}',
            "no end token"),
    _labels('return {"input_ids": before, "labels": [-100] * len(before)}', "ends with the prompt"),
    _labels('return {"input_ids": after, "labels": after}', "holds the answer alone"),
    _labels('before = tokenizer(prompt, add_special_tokens=False)["input_ids"]\n    '
            'return {"input_ids": before + after, "labels": [-100] * len(before) + after}', "the chat template"),
    _labels(f'{{{_IDS}, "labels": [-100] * len(before) + after}}', "returns nothing"),
    _labels("return before + after, [-100] * len(before) + after", "wanted a dictionary"),
    _labels("return {'input_ids': [before, after], 'labels': [[-100], after]}", "no flat list"),
    _peft(f"{_TARGETS}return peft.LoraConfig(r=config.r, lora_alpha=config.scaling, {_REST})", "divides by r itself"),
    _peft(f"{_TARGETS}return peft.LoraConfig(r=config.r, {_REST})", "PEFT's default is 8"),
    _peft(f"{_TARGETS}return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, {_REST})", "lora_dropout"),
    _peft(f"{_TARGETS}return peft.LoraConfig(r=config.r, lora_alpha=config.alpha, lora_dropout=config.dropout, "
          f"{_REST})", "use_rslora"),
    _peft(f"return peft.LoraConfig({_NUMBERS}, target_modules=config.target_modules, task_type='CAUSAL_LM')",
          "a pattern of the whole name"),
    _peft(f"return peft.LoraConfig({_NUMBERS}, target_modules='all-linear', task_type='CAUSAL_LM')", "yours adapts"),
    _peft(f"return peft.LoraConfig({_NUMBERS}, target_modules=list(config.target_modules), task_type='CAUSAL_LM')",
          "PEFT finds no layer by"),
    _peft(f"return peft.LoraConfig({_NUMBERS}, task_type='CAUSAL_LM')", "are missing"),
    _peft(f"{_TARGETS}return peft.LoraConfig({_NUMBERS}, target_modules=targets)", 'task_type="CAUSAL_LM"'),
    _peft("return config", "wanted a peft.LoraConfig"),
    _missed(_not("t in n"), "parts of words"),
    _missed(_not("n.endswith(t)"), "must be a dot"),
    _missed(_not("n == t"), "may also be the end"),
    _missed(_not("n.endswith('.' + t)"), "a whole name"),
    _missed(_not("n.split('.')[-1] == t"), "may have dots itself"),
    _missed(f"{_NAMES}return [t for t in targets if any(n == t or n.endswith('.' + t) for n in names)]",
            "return the others"),
    _missed("return [t for n, _ in model.named_modules() for t in targets if n != t]", "each missed target once"),
    _missed(f"{_NAMES}missed = [t for t in targets if t not in names]", "returns nothing"),
    _missed(f"{_NAMES}return len(targets)", "wanted a list of names"),
]  # fmt: skip

RIGHT = [
    _labels("""both = [*messages, {"role": "assistant", "content": answer}]
    whole = tokenizer.apply_chat_template(both, tokenize=False)
    after = tokenizer(whole[len(text):], add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after, "labels": [-100] * len(before) + after}"""),
    _labels(f'labels = [-100 for _ in before]\n    labels.extend(after)\n    return {{{_IDS}, "labels": labels}}'),
    _labels('ids = torch.tensor(before + after)\n    labels = ids.clone()\n    labels[: len(before)] = -100\n    '
            'return {"input_ids": ids.tolist(), "labels": labels.tolist(), "attention_mask": [1] * len(ids)}'),
    _peft(f"{_TARGETS}return peft.LoraConfig({_NUMBERS}, {_REST})"),
    _peft("kind = config.target_modules\n    names = (kind,) if isinstance(kind, str) else kind\n    "
          f"made = peft.LoraConfig({_NUMBERS}, task_type=peft.TaskType.CAUSAL_LM)\n    "
          "made.target_modules = kind if kind == 'all-linear' else set(names)\n    return made"),
    _missed(_not("n == t or n.endswith('.' + t)")),
    _missed("missed = set(targets)\n    for name, _ in model.named_modules():\n        parts = name.split('.')\n"
            "        for i in range(len(parts)):\n            missed.discard('.'.join(parts[i:]))\n"
            "    return [t for t in targets if t in missed]"),
]  # fmt: skip
