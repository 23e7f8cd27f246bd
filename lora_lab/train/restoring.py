"""What a block may change and must give back, whatever ends it: an error and an interruption too."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.train.causal import inside


@contextmanager
def modes_restored(model: nn.Module) -> Iterator[None]:
    """After the block each module trains or evaluates as before it, also a part that differed from the rest."""
    before = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        model.train(before[0][1])  # for modules that do more in `train` than to set a flag
        for module, training in before:
            module.training = training


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within the block the model is in eval mode: dropout is off."""
    with modes_restored(model):
        model.eval()
        yield


@contextmanager
def left_with(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> Iterator[None]:
    """After the block the parameters have the values that were put into the list meanwhile, if any were."""
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, values):
                parameter.copy_(value)


@contextmanager
def gradients_cleared(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """The block starts without gradients, whoever left some, and leaves none behind."""
    optimizer.zero_grad(set_to_none=True)
    try:
        yield
    finally:
        optimizer.zero_grad(set_to_none=True)


@contextmanager
def checkpointed(model: Any, on: bool) -> Iterator[None]:
    """Within the block activations are recomputed in the backward pass, if `on`; a model that did so before goes on."""
    model = inside(model)
    if not on or any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        yield
        return
    try:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        yield
    finally:
        model.gradient_checkpointing_disable()


@contextmanager
def generating_by(model: nn.Module, config: Any) -> Iterator[None]:
    """Within the block `config` is the only generation config.

    Handing it to `generate` is not enough: what it leaves open is then taken from the model's own.
    """
    owners = [(module, module.generation_config) for module in model.modules() if "generation_config" in vars(module)]
    try:
        for module, _ in owners:
            module.generation_config = config
        yield
    finally:
        for module, before in owners:
            module.generation_config = before  # type: ignore[assignment]
