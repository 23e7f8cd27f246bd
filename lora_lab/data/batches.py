"""From text to tensors: the chat template, the loss mask, padding and packing.

Token ids are int64. A label of -100 is ignored by the loss (the convention of `torch.nn.functional.cross_entropy`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from lora_lab import ranges
from lora_lab.units import IGNORE

# The same text as `lora_lab.data.corpus.conversation`, in the form `tokenizer.apply_chat_template` wants.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

Encoded = dict[str, list[int]]


def encode(tokenizer: Any, text: str) -> list[int]:
    """A text as token ids, as it stands: special tokens are those that it spells out."""
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def encode_prompt(tokenizer: Any, prompt: str) -> list[int]:
    """A user's message as token ids, up to where the assistant's answer begins."""
    messages = [{"role": "user", "content": prompt}]
    return encode(tokenizer, tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def encode_example(tokenizer: Any, prompt: str, answer: str) -> Encoded:
    """A prompt and its answer as `input_ids` and `labels`; only the answer and its end token carry loss.

    Raises:
        ValueError: if the tokenizer has no end token.
    """
    if tokenizer.eos_token is None:
        raise ValueError("the tokenizer has no end token, so no answer would ever end: set tokenizer.eos_token")
    before = encode_prompt(tokenizer, prompt)
    after = encode(tokenizer, answer + tokenizer.eos_token)
    return {"input_ids": before + after, "labels": [IGNORE] * len(before) + after}


def tokens_with_loss(labels: Tensor | Sequence[int]) -> int:
    """How many labels are predicted, of one sequence or of several, [..., tokens]; the first token's never is."""
    if isinstance(labels, Tensor):
        return int((labels[..., 1:] != IGNORE).sum())
    return sum(label != IGNORE for label in labels[1:])


def require_example(example: Any, name: str) -> None:
    """Refuse, by `name`, what is not a list of token ids with a label for each.

    Raises:
        TypeError: for anything but a mapping of lists of whole numbers.
        ValueError: for a missing or an unknown key, no tokens, another number of labels than of tokens, a label that is
            neither an id nor -100, padding, or an attention_mask that is not one 1 per token.
    """
    if not isinstance(example, Mapping):
        raise TypeError(f"{name} is a {type(example).__name__}: give a dict, as data.batches.encode_example makes it")
    for key in ("input_ids", "labels"):
        if key not in example:
            raise ValueError(f"{name} has no {key!r}: give input_ids and labels, as data.batches.encode_example does")
    if unknown := [key for key in example if key not in ("input_ids", "labels", "attention_mask")]:
        raise ValueError(f"{name} has {ranges.brief(unknown[0])}, which no batch carries to the model: leave it out")
    ids, labels = example["input_ids"], example["labels"]
    require_ids(ids, name)
    _require_whole(labels, f"{name}'s labels")
    if len(labels) != len(ids):
        raise ValueError(f"{name} has {len(ids)} input_ids but {len(labels)} labels: give one label per token")
    if any(label < 0 and label != IGNORE for label in labels):
        raise ValueError(f"{name} has the label {min(labels)}: give a token's id, or {IGNORE} for no loss")
    mask = example.get("attention_mask", [1] * len(ids))
    _require_whole(mask, f"{name}'s attention_mask")
    if 0 in mask:
        raise ValueError(f"{name} is padded already: leave the padding away, a batch is padded to its longest example")
    if len(mask) != len(ids) or set(mask) != {1}:
        raise ValueError(f"{name} has the attention_mask {ranges.brief(mask)}: leave it out, or give a 1 per token")


def require_ids(ids: Any, name: str) -> None:
    """Refuse, by `name`, what is not a list of token ids.

    Raises:
        TypeError: for anything but a list of whole numbers.
        ValueError: for an empty list or a negative id.
    """
    _require_whole(ids, f"{name}'s token ids")
    if not ids:
        raise ValueError(f"{name} has no tokens: leave it out")
    if min(ids) < 0:
        raise ValueError(f"{name} has the token id {min(ids)}: ids count from 0")


def require_pad_id(pad_id: int | None) -> int:
    """The id for padding.

    Raises:
        TypeError: for anything but a whole number.
        ValueError: if there is none, or a negative one.
    """
    if pad_id is None:
        raise ValueError(
            "there is no pad token: set tokenizer.pad_token = tokenizer.eos_token (padding is masked, so any token "
            "will do), or where pad_id is an argument give pad_id=tokenizer.eos_token_id"
        )
    return ranges.whole("pad_id", pad_id, 0)


def collate(examples: Iterable[Encoded], pad_id: int) -> dict[str, Tensor]:
    """Pad on the right to the longest example.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each int64 [batch, longest].

    Raises:
        TypeError: for examples that are no lists of whole numbers.
        ValueError: for no examples, one that `encode_example` could not have made, or no pad token.
    """
    examples, pad_id = list(examples), require_pad_id(pad_id)
    if not examples:
        raise ValueError("there are no examples to make a batch of: give at least one")
    for i, example in enumerate(examples):
        require_example(example, f"example {i} of the batch")
    longest = max(len(example["input_ids"]) for example in examples)

    def padded(key: str, fill: int) -> Tensor:
        return torch.tensor([[*example[key], *[fill] * (longest - len(example[key]))] for example in examples])

    lengths = torch.tensor([len(example["input_ids"]) for example in examples])
    mask = (torch.arange(longest) < lengths[:, None]).long()
    return {"input_ids": padded("input_ids", pad_id), "attention_mask": mask, "labels": padded("labels", IGNORE)}


def pack(next_document: Callable[[], list[int]], rows: int, length: int, pad_id: int) -> dict[str, Tensor]:
    """Fill `rows` windows with whole documents; what is left of a window is padding without loss.

    A document that does not fit opens the next window, so none is cut.

    Returns:
        `input_ids` and `labels`, each int64 [rows, length].

    Raises:
        TypeError: for numbers that are not whole.
        ValueError: for no rows, windows without length, or a document without tokens or longer than a window.
    """
    ranges.whole("rows", rows)
    ranges.whole("length", length)
    require_pad_id(pad_id)
    windows: list[list[int]] = [[]]
    while True:
        document = next_document()
        if not document:
            raise ValueError("a document has no tokens, and any number of those would fit: leave it out")
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


def _require_whole(values: Any, name: str) -> None:
    if not isinstance(values, (list, tuple)):  # a tensor would be added to the padding, number by number
        raise TypeError(f"{name} are a {type(values).__name__}: give a list of whole numbers, such as ids.tolist()")
    for kind in set(map(type, values)):
        if kind is bool or not issubclass(kind, Integral):
            raise TypeError(f"{name} hold a {kind.__name__}: give whole numbers")
