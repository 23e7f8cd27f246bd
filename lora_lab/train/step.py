"""One optimizer step: backward passes that weigh by what a loss counts, a clipped gradient, and the move along it."""

import math
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lora_lab import ranges
from lora_lab.train.losses import Loss

Batch = TypeVar("Batch")


class Step(Generic[Batch]):
    """What every step of a run has in common."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss[Batch],
        optimizers: Sequence[Optimizer],
        parameters: Sequence[nn.Parameter],
        clip: float,
    ) -> None:
        self.model, self.loss = model, loss
        self.optimizers, self.parameters, self.clip = optimizers, parameters, clip
        half = any(p.dtype == torch.float16 for p in model.parameters())
        self.scaler = torch.amp.GradScaler(parameters[0].device.type, enabled=half)

    def take(self, weighed: Sequence[tuple[Batch, float]], number: int) -> tuple[float, float]:
        """Move the parameters, which have no gradients yet.

        Args:
            weighed: batches with their weights, of which one is above 0.
            number: of the step, for an error to name.

        Returns:
            The loss, and the gradient's norm before clipping.

        Raises:
            TypeError, ValueError: for a loss that is no mean, or depends on nothing that trains.
            FloatingPointError: if loss or gradient are not finite; before the move.
        """
        loss, norm = self._gradients(weighed, number)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
        self.scaler.update()
        return loss, norm

    def _gradients(self, weighed: Sequence[tuple[Batch, float]], number: int) -> tuple[float, float]:
        """Clipped.

        Over a float16 base the loss is scaled up, so that small gradients do not vanish. Where large ones overflow,
        they are computed again at half the scale: the scale is to blame until it is 1.
        """
        while True:
            loss = self._backward(weighed)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss} at step {number}: {_remedy(number)}")
            for optimizer in self.optimizers:
                self.scaler.unscale_(optimizer)
            norm = float(nn.utils.clip_grad_norm_(self.parameters, self.clip))
            if math.isfinite(norm):
                return loss, norm
            if self.scaler.get_scale() <= 1:
                raise FloatingPointError(f"the gradient's norm is {norm} at step {number}: {_remedy(number)}")
            self.scaler.update(self.scaler.get_scale() / 2)
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)

    def _backward(self, weighed: Sequence[tuple[Batch, float]]) -> float:
        """The loss Σ weight · mean / Σ weight, one backward pass per batch."""
        total, everything = 0.0, sum(weight for _, weight in weighed)
        for batch, weight in weighed:
            if weight == 0:
                continue  # its mean over nothing is NaN
            loss = _mean(self.loss, self.model, batch) * (weight / everything)
            self.scaler.scale(loss).backward()
            total += loss.item()
        return total


def weigh(loss: Loss[Batch], model: nn.Module, batch: Batch) -> float:
    """The weight of a batch.

    Raises:
        TypeError: for anything but a number.
        ValueError: for one below 0, past what a float can count, or not finite.
    """
    weight = loss.weight(model, batch)
    ranges.real("the loss's weight of a batch", weight, least=0, most=2**53)
    return weight


def _mean(loss: Loss[Batch], model: nn.Module, batch: Batch) -> Tensor:
    mean = loss.mean(model, batch)
    if not isinstance(mean, Tensor):
        raise TypeError(f"the loss's mean over a batch is a {type(mean).__name__}: give a tensor with one number")
    if mean.numel() != 1 or not mean.is_floating_point():
        raise ValueError(
            f"the loss's mean over a batch is {mean.dtype} {list(mean.shape)}: give one floating-point number"
        )
    if not mean.requires_grad:
        raise ValueError("the loss depends on nothing that trains: are the adapters switched off?")
    return mean


def _remedy(step: int) -> str:
    if step == 1:
        return "nothing was trained yet, so look for weights or inputs that are not finite"
    return "lower lr, or look for inputs that are not finite; the weights are those before this step"
