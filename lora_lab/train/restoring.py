"""What a block may change and must give back, whatever ends it: an error and an interruption too."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.train.modules import inside


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


def moved(model: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[Tensor]:
    """What a step can move: the parameters that train, and buffers of the state, such as BatchNorm's running means."""
    yield from parameters
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and name not in module._non_persistent_buffers_set:
                yield buffer


@contextmanager
def left_with(model: nn.Module, parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> Iterator[None]:
    """After the block `moved` has the values that were put into the list meanwhile, if any were."""
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(moved(model, parameters), values):
                if not torch.equal(tensor, value):  # a frozen one is not written to
                    tensor.copy_(value)


@contextmanager
def gradients_cleared(model: nn.Module, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """The block starts without gradients, whoever left some, and leaves none behind.

    They are those of `parameters`, and of whatever the model holds besides: between two steps other adapters may have
    been switched on, and get gradients that no optimizer knows.
    """
    _clear(model, parameters)
    try:
        yield
    finally:
        _clear(model, parameters)


def _clear(model: nn.Module, parameters: Sequence[nn.Parameter]) -> None:
    for parameter in chain(parameters, model.parameters()):
        parameter.grad = None


@contextmanager
def checkpointed(model: Any, on: bool) -> Iterator[None]:
    """Within the block activations are recomputed in the backward pass, if `on`; a model that did so before goes on.

    Raises:
        ValueError: for a model that cannot.
    """
    model = inside(model)
    if not on or any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        yield
        return
    if not hasattr(model, "gradient_checkpointing_enable"):
        raise ValueError(
            f"checkpointing=True: {type(model).__name__} has no gradient_checkpointing_enable, as models of "
            "transformers have: leave it out, or recompute in the model's own forward"
        )
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"  # the older name warns
    try:
        getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
        yield
    finally:
        getattr(model, f"{kind}_checkpointing_disable")()


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
