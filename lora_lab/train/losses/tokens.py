"""The cross-entropy of the next token, for causal language models."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lora_lab.data.batches import tokens_with_loss
from lora_lab.train.limits import require_batch

Tokens = Mapping[str, Tensor]

_TRAINING = {"use_cache": False}  # a cache is for generating


class Answers:
    """The mean over the tokens that have a label; with `data.batches.collate`, over the answers.

    A batch holds `input_ids` and `labels`, each int64 [batch, tokens], and `attention_mask` where it is padded.

    Args:
        checked: the batches are of a dataset that was looked at as a whole; again, batch by batch, would be 2 % of a
            small step.
    """

    def __init__(self, checked: bool = False) -> None:
        self._checked = checked

    def weight(self, model: Any, batch: Tokens) -> int:
        """Tokens with loss.

        Raises:
            TypeError, ValueError: as `train.mean_loss`, for a batch that the model cannot read.
        """
        if not self._checked:
            require_batch(model, batch, "a batch")
        return tokens_with_loss(batch["labels"])

    def mean(self, model: Any, batch: Tokens) -> Tensor:
        """Nats per token with loss."""
        return next_token_loss(model, batch, **_TRAINING)


class EveryToken:
    """The mean over every token, as in pretraining: the ids are the labels.

    A batch holds `input_ids`, int64 [batch, tokens]; where windows are padded, as `data.batches.pack` leaves them, it
    holds `labels` too, which are -100 at the padding.
    """

    def weight(self, model: Any, batch: Tokens) -> int:
        """Tokens that are predicted.

        Raises:
            TypeError, ValueError: as for `Answers`.
        """
        batch = _labelled(batch)
        require_batch(model, batch, "a batch")
        return tokens_with_loss(batch["labels"])

    def mean(self, model: Any, batch: Tokens) -> Tensor:
        """Nats per token."""
        return next_token_loss(model, _labelled(batch), **_TRAINING)


answers, every_token = Answers(), EveryToken()


def next_token_loss(model: Any, batch: Tokens, **options: Any) -> Tensor:
    """The mean cross-entropy of the next token over the labels that are not -100; NaN if none is.

    The model computes it, and is handed `options` as well.
    """
    device = next(model.parameters()).device
    return model(**{key: value.to(device) for key, value in batch.items()}, **options).loss


def _labelled(batch: Tokens) -> Tokens:
    has_only_ids = isinstance(batch, Mapping) and "input_ids" in batch and "labels" not in batch
    return {**batch, "labels": batch["input_ids"]} if has_only_ids else batch
