"""From text to tensors: the chat template, the loss mask, padding and packing.

Token ids are int64. A label of -100 is ignored by the loss (the convention of `torch.nn.functional.cross_entropy`).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

IGNORE = -100

# The same text as `lora_lab.data.corpus.conversation`, in the form `tokenizer.apply_chat_template` wants.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

Encoded = dict[str, list[int]]


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """A user's message as token ids, up to where the assistant's answer begins."""
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def encode_example(tokenizer: Any, prompt: str, answer: str) -> Encoded:
    """A prompt and its answer as `input_ids` and `labels`; only the answer and its end token carry loss."""
    before = encode_prompt(tokenizer, prompt)
    after = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return {"input_ids": before + after, "labels": [IGNORE] * len(before) + after}


def collate(examples: Iterable[Encoded], pad_id: int) -> dict[str, Tensor]:
    """Pad on the right to the longest example.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each int64 [batch, longest].
    """
    examples = list(examples)
    longest = max(len(example["input_ids"]) for example in examples)

    def padded(key: str, fill: int) -> Tensor:
        return torch.tensor([example[key] + [fill] * (longest - len(example[key])) for example in examples])

    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    mask = (torch.arange(longest) < lengths[:, None]).long()
    return {"input_ids": padded("input_ids", pad_id), "attention_mask": mask, "labels": padded("labels", IGNORE)}


def pack(next_document: Callable[[], list[int]], rows: int, length: int, pad_id: int) -> dict[str, Tensor]:
    """Fill `rows` windows with whole documents; what is left of a window is padding without loss.

    A document that does not fit opens the next window, so none is cut.

    Returns:
        `input_ids` and `labels`, each int64 [rows, length].

    Raises:
        ValueError: if a document is longer than a window.
    """
    windows: list[list[int]] = [[]]
    while True:
        document = next_document()
        if len(document) > length:
            raise ValueError(
                f"a document of {len(document)} tokens does not fit a window of {length}: use longer windows"
            )
        if len(windows[-1]) + len(document) > length:
            if len(windows) == rows:
                break
            windows.append([])
        windows[-1] += document
    input_ids = torch.tensor([window + [pad_id] * (length - len(window)) for window in windows])
    labels = torch.tensor([window + [IGNORE] * (length - len(window)) for window in windows])
    return {"input_ids": input_ids, "labels": labels}
