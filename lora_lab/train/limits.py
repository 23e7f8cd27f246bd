"""What a model can read: token ids of its vocabulary, at most as many in a row as it has positions."""

from collections.abc import Mapping, Sequence
from typing import Any

from lora_lab.data.batches import Encoded, require_example, require_ids
from lora_lab.units import IGNORE

# Kinds of rotary positions that reach `factor` times further than `max_position_embeddings` says. In the other kinds
# it says how far they reach.
_STRETCHED = ("linear", "dynamic", "yarn")


def positions(model: Any) -> int | None:
    """How many tokens in a row the model was made for; None if its configuration does not say."""
    config = _text_config(model)
    limit = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    if limit and rope.get("rope_type") in _STRETCHED:
        limit = int(limit * max(1.0, rope.get("factor") or 1.0))
    return limit


def vocabulary(model: Any) -> int | None:
    """How many token ids the model can read; None if it does not say."""
    return getattr(_text_config(model), "vocab_size", None)


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
        some_loss = some_loss or has_loss(example)
    if not some_loss:
        raise ValueError(
            f"example 0 has no token with loss, nor has any other: every label is {IGNORE}, or the only other one is "
            "the first, which nothing predicts; label the tokens to be learned with their ids"
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


def has_loss(example: Encoded) -> bool:
    """Whether a label is predicted; the first token's never is."""
    return any(label != IGNORE for label in example["labels"][1:])


def _text_config(model: Any) -> Any:
    config: Any = getattr(model, "config", None)
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
