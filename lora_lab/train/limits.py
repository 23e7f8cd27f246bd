"""What a model can read: token ids of its vocabulary, at most as many in a row as it has positions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lora_lab.data.batches import Encoded, require_example, require_ids, tokens_with_loss
from lora_lab.train.modules import inside
from lora_lab.units import IGNORE


def positions(model: Any) -> int | None:
    """How many tokens in a row the model was made for; None if its configuration does not say."""
    from lora_lab.models import limits  # here, because that room brings transformers along

    return limits.positions(_config(model))


def vocabulary(model: Any) -> int | None:
    """How many token ids the model can read; None if it does not say."""
    from lora_lab.models import limits

    return limits.vocabulary(_config(model))


def require_readable(model: Any, ids: Sequence[int], name: str) -> None:
    """Refuse, by `name`, token ids that the model cannot read.

    Raises:
        ValueError: for more of them than positions, or one beyond the vocabulary.
    """
    limit, size = positions(model), vocabulary(model)
    if limit is not None and len(ids) > limit:
        raise ValueError(
            f"{name} has {len(ids)} tokens, but the model has {limit} positions: shorten it or leave it out"
        )
    if size is not None and max(ids) >= size:
        raise ValueError(
            f"{name} has the token id {max(ids)}, but the model's vocabulary ends at {size - 1}: "
            "encode it with the model's own tokenizer"
        )


def require_dataset(model: Any, dataset: Sequence[Encoded]) -> None:
    """Refuse, naming the example, a dataset that the model cannot learn from.

    Raises:
        TypeError: if it is no sequence, or as `data.batches.require_example`.
        ValueError: if it is empty, has an example that is damaged or that the model cannot read, or no token with loss.
    """
    if isinstance(dataset, Mapping) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(f"the dataset is a {type(dataset).__name__}: give a list of examples")
    if not len(dataset):
        raise ValueError("the dataset is empty: there is nothing to learn from")
    some_loss = False
    for i in range(len(dataset)):
        example, name = dataset[i], f"example {i}"
        require_example(example, name)
        require_readable(model, example["input_ids"], name)
        require_readable(model, example["labels"], f"{name}'s labels")
        some_loss = some_loss or tokens_with_loss(example["labels"]) > 0
    if not some_loss:
        raise ValueError(
            f"example 0 has no token with loss, nor has any other: every label is {IGNORE}, or the only other one is "
            "the first, which nothing predicts; label the tokens to be learned with their ids"
        )


def require_batch(model: Any, batch: Any, name: str) -> None:
    """Refuse, by `name`, a batch whose loss the model cannot compute.

    Raises:
        TypeError: for anything but a mapping of tensors of whole numbers.
        ValueError: for no ids or labels, other shapes than [batch, tokens], more tokens than positions, or one beyond
            the vocabulary.
    """
    if not isinstance(batch, Mapping):
        raise TypeError(f"{name} is a {type(batch).__name__}: give a dict, as data.batches.collate makes it")
    for key in ("input_ids", "labels"):
        if key not in batch:
            raise ValueError(f"{name} has no {key}: make it with data.batches.collate")
    ids, labels = batch["input_ids"], batch["labels"]
    if not all(isinstance(values, Tensor) and values.dtype in (torch.int64, torch.int32) for values in (ids, labels)):
        raise TypeError(f"{name}'s input_ids and labels must be tensors of int64: make it with data.batches.collate")
    if ids.ndim != 2 or ids.shape != labels.shape or not ids.numel():
        raise ValueError(
            f"{name} has input_ids {list(ids.shape)} and labels {list(labels.shape)}: both are [batch, tokens]"
        )
    limit, size = positions(model), vocabulary(model)
    if limit is not None and ids.shape[1] > limit:
        raise ValueError(f"{name} has {ids.shape[1]} tokens in a row, but the model has {limit} positions")
    for key, values in (("token id", ids), ("label", labels[labels != IGNORE])):
        most = size - 1 if size else 2**63 - 1
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) <= most:
            wrong = values[(values < 0) | (values > most)]
            raise ValueError(
                f"{name} has the {key} {int(wrong[0])}, but ids count from 0{f' to {size - 1}' if size else ''}: "
                "encode it with the model's own tokenizer"
            )


def require_prompt(model: Any, ids: Any, name: str, max_new_tokens: int) -> None:
    """Refuse, by `name`, a prompt that the model cannot read, or not finish.

    Raises:
        TypeError: for anything but a list of whole numbers.
        ValueError: for an empty prompt, an id beyond the vocabulary, or if the answer would pass the last position.
    """
    if isinstance(ids, str):
        raise TypeError(f"{name} is text: give token ids, as data.batches.encode_prompt makes them")
    require_ids(ids, name)
    require_readable(model, ids, name)
    limit = positions(model)
    if limit is not None and len(ids) + max_new_tokens > limit:
        left = limit - len(ids)
        way_out = f"choose max_new_tokens={left} or less, or shorten the prompt" if left else "shorten the prompt"
        raise ValueError(
            f"{name} has {len(ids)} tokens, and max_new_tokens={max_new_tokens} more would pass the model's {limit} "
            f"positions: {way_out}"
        )


def _config(model: Any) -> Any:
    return getattr(inside(model), "config", None)
