"""Losses over independent examples, for any module that maps inputs to outputs; nothing here knows language models."""

from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.ranges import brief
from lora_lab.units import IGNORE

Examples = tuple[Tensor, Tensor]
"""Inputs [batch, ...] and targets [batch, ...]."""


class CrossEntropy:
    """Classification: the model gives logits [batch, classes], targets are classes, int64 [batch].

    A target of -100 is no example.
    """

    def weight(self, model: Any, batch: Examples) -> int:
        """Examples with a class.

        Raises:
            TypeError: for anything but a pair of tensors, with whole numbers as targets.
            ValueError: for other shapes.
        """
        targets = _pair(batch)[1]
        if targets.dtype != torch.int64:
            raise TypeError(f"the targets are {targets.dtype}: classes are int64")
        if targets.ndim != 1:
            raise ValueError(f"the targets are {list(targets.shape)}: give one class per example, [batch]")
        return int((targets != IGNORE).sum())

    def mean(self, model: Any, batch: Examples) -> Tensor:
        """Nats per example."""
        logits, targets = _outputs(model, batch)
        if logits.ndim != 2 or len(logits) != len(targets):
            raise ValueError(
                f"the model gives {list(logits.shape)} for {len(targets)} examples: logits are [batch, classes]"
            )
        wrong = targets[(targets != IGNORE) & ((targets < 0) | (targets >= logits.shape[1]))]
        if wrong.numel():
            raise ValueError(
                f"a target is the class {int(wrong[0])}, but classes count from 0 to {logits.shape[1] - 1}"
            )
        return nn.functional.cross_entropy(logits, targets, ignore_index=IGNORE)


class SquaredError:
    """Regression: the model gives what the targets are, floating-point numbers of the same shape."""

    def weight(self, model: Any, batch: Examples) -> int:
        """Numbers to be predicted.

        Raises:
            TypeError: for anything but a pair of tensors, with floating-point targets.
            ValueError: for other shapes, and targets that are not finite.
        """
        targets = _pair(batch)[1]
        if not targets.is_floating_point():
            raise TypeError(f"the targets are {targets.dtype}: give floating-point numbers")
        if not targets.isfinite().all():
            raise ValueError("a batch's targets hold NaN or infinity: leave out the examples without a number")
        return targets.numel()

    def mean(self, model: Any, batch: Examples) -> Tensor:
        """Per number."""
        outputs, targets = _outputs(model, batch)
        if outputs.shape != targets.shape:  # [batch, 1] against [batch] would be every output against every target
            raise ValueError(f"the model gives {list(outputs.shape)}, but the targets are {list(targets.shape)}")
        return nn.functional.mse_loss(outputs, targets)


cross_entropy, squared_error = CrossEntropy(), SquaredError()


def _outputs(model: Any, batch: Examples) -> tuple[Tensor, Tensor]:
    """What the model makes of the inputs, and the targets beside it."""
    device = next(model.parameters()).device
    inputs, targets = batch
    return model(inputs.to(device)), targets.to(device)


def _pair(batch: Any) -> Examples:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        raise TypeError(f"a batch is {brief(batch)}: give a pair of tensors, (inputs, targets)")
    inputs, targets = batch
    if not inputs.ndim or not targets.ndim or len(inputs) != len(targets):
        raise ValueError(
            f"a batch has inputs {list(inputs.shape)} and targets {list(targets.shape)}: the first dimension of "
            "both is the batch"
        )
    return inputs, targets
