"""Which storages are alive, and what they are for.

A storage is what an allocator hands out: views, reshapes and in-place results share one, so that counting storages,
not tensors, counts each byte once.
"""

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lora_lab.quant import Linear4bit


def weights_by_component(model: nn.Module) -> dict[str, list[Tensor]]:
    """All parameters and buffers of a model, under the names of `result.COMPONENTS`."""
    constants = [b for m in model.modules() if isinstance(m, Linear4bit) for b in m.buffers()]
    known = set(map(id, constants))
    parameters = list(model.parameters())
    return {
        "frozen weights": [p for p in parameters if not p.requires_grad]
        + [b for b in model.buffers() if id(b) not in known],
        "quantization constants": constants,
        "trainable weights": [p for p in parameters if p.requires_grad],
    }


def states(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All tensors of an optimizer's state."""
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


class Storages(TorchDispatchMode):
    """Within the block, every storage that an operator makes is counted from its birth to its death.

    It sees what operators return, not what kernels allocate and free inside.

    Attributes:
        bytes: alive, by component.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[str, int] = {}
        self._alive: dict[int, tuple[weakref.ref, int, str]] = {}  # by the address of the C++ object

    def hold(self, tensors: Iterable[Tensor], component: str) -> None:
        """Book the storages of `tensors` under `component`, whatever they were booked under before."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            self._forget(storage._cdata)
            self._book(storage, component)

    def __contains__(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._alive

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator, and book what it made."""
        result = func(*args, **(kwargs or {}))
        if new := [tensor for tensor in tensors_in(result) if tensor not in self]:
            self.hold(new, self.component())
            self.note()
        return result

    def component(self) -> str:
        """What a storage that is born now is for."""
        return "all"

    def note(self) -> None:
        """Called after each operator that made a storage."""

    def _book(self, storage: torch.UntypedStorage, component: str) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._alive[key] = weakref.ref(storage, lambda _: self._forget(key)), size, component
        self.bytes[component] = self.bytes.get(component, 0) + size

    def _forget(self, key: int) -> None:
        if key in self._alive:
            _, size, component = self._alive.pop(key)
            self.bytes[component] -= size


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors among an operator's arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
