"""In which part of a training step are we? Hooks tell, in a fake step as in a real one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook


@contextmanager
def watch_phases(model: nn.Module, enter: Callable[[str], None]) -> Iterator[None]:
    """Within the block, `enter` is called with a phase's name (see `result.PHASES`) whenever a step comes to it.

    The loss begins where the decoder ends, and ends when the decoder's output has its gradient: so the output head
    counts as part of it, also when the loss is computed in chunks outside the model. A model without a decoder of its
    own (any `nn.Module`) is taken as a whole.
    """
    decoder = getattr(model, "base_model", model)

    def loss_begins(module: nn.Module, args: Any, output: Any) -> None:
        enter("loss")
        if (hidden := _first_with_gradient(output)) is not None:
            hidden.register_hook(lambda gradient: enter("backward"))

    handles = [
        decoder.register_forward_pre_hook(lambda *_: enter("forward")),
        decoder.register_forward_hook(loss_begins),
        register_optimizer_step_pre_hook(lambda *_: enter("optimizer step")),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_with_gradient(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output if output.requires_grad else None
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((found for part in parts if (found := _first_with_gradient(part)) is not None), None)
