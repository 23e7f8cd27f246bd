"""Which adapters a model has, and which of them is in use.

What is known of them stands in two places: each adapted layer says its adapter's name and whether that is in use, and
the module that `inject` was given holds, for each name, what the adapter is beside its layers (`Placed`).
"""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakSet

from torch import Tensor, nn

from lora_lab.adapters.adapter import Adapter
from lora_lab.adapters.config import AdapterConfig
from lora_lab.adapters.copies import Copies
from lora_lab.adapters.moved import Notes
from lora_lab.adapters.naming import walk
from lora_lab.ranges import brief

M = TypeVar("M", bound=nn.Module)

_off: "WeakSet[Adapter | Copies]" = WeakSet()
"""What is switched off by a block of `disabled` that has not ended; a copy of a model made there is in no block."""

ATTRIBUTE = "_lora_lab_adapters"
"""{name: Placed}, on the module that `inject` was given; no part of its state."""


@dataclass
class Placed:
    """What an adapter is beside its layers.

    Attributes:
        config: as it was given.
        copies: its tensors in the places of the model's.
        notes: the model's other tensors, as they were.
        used: whether it is the one in use.
    """

    config: AdapterConfig
    copies: Copies
    notes: Notes
    used: bool = False


class Register:
    """The adapters of a model, as they are at one look.

    Attributes:
        layers: (name of the layer, its name with the adapters around it, layer), outermost first.
        roots: (name, module, {adapter's name: Placed}) for each module that `inject` was given.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.layers: list[tuple[str, str, Adapter]] = []
        self.roots: list[tuple[str, nn.Module, dict[str, Placed]]] = []
        seen: set[nn.Module] = set()
        for plain, name, module in walk(model):
            if module in seen:
                continue
            seen.add(module)
            if isinstance(module, Adapter):
                self.layers.append((plain, name, module))
            elif placed := module.__dict__.get(ATTRIBUTE):
                self.roots.append((plain, module, placed))

    @property
    def placed(self) -> list[tuple[str, nn.Module, Placed]]:
        """(adapter's name, the module that `inject` was given, what the adapter is beside its layers)."""
        return [(name, root, placed) for _, root, names in self.roots for name, placed in names.items()]

    @property
    def names(self) -> list[str]:
        """Of the adapters, in the order in which they were put in; those put around layers by hand come last."""
        by_hand = (layer.name for _, _, layer in self.layers)
        return list(dict.fromkeys((*(name for name, _, _ in self.placed), *by_hand)))

    @property
    def active(self) -> str | None:
        """The name of the one in use."""
        used = [layer.name for _, _, layer in self.layers if layer.active]
        return next(iter([*used, *(name for name, _, placed in self.placed if placed.used)]), None)

    def layers_of(self, name: str | None) -> dict[str, Any]:
        """{name of the layer: layer} of an adapter."""
        return {plain: layer for plain, _, layer in self.layers if layer.name == name}

    def require(self, name: str) -> str:
        """The name; ValueError if no adapter has it."""
        if name not in self.names:
            raise ValueError(f"name={brief(name)} is no adapter's: the model has {', '.join(self.names) or 'none'}")
        return name

    def require_any(self) -> None:
        """ValueError if there is no adapter."""
        if not self.names:
            raise ValueError(f"{type(self.model).__name__} has no adapters: call lora.inject(model, config) first")

    def require_active(self) -> str:
        """The name of the adapter in use; ValueError if there is none."""
        self.require_any()
        if (name := self.active) is None:
            raise ValueError(f"no adapter is in use: call lora.use(model, name) with one of {', '.join(self.names)}")
        return name

    def require_enabled(self) -> None:
        """RuntimeError within `lora.disabled`, where what is in the model is not what is in use."""
        parts = (*(layer for _, _, layer in self.layers), *(placed.copies for _, _, placed in self.placed))
        if any(part in _off for part in parts):
            raise RuntimeError("the adapters are switched off: leave the block of lora.disabled(model) first")

    def switch(self, name: str | None) -> None:
        """Let the adapter of this name compute and train, and no other.

        Raises:
            ValueError: if the model no longer has a tensor of which an adapter has its own. Nothing has changed then.
        """
        for each, root, placed in self.placed:
            placed.copies.check(root, inside=each == name)
        for each, root, placed in sorted(self.placed, key=lambda entry: entry[0] == name):  # the last goes in
            placed.used = each == name
            placed.copies.put(root, inside=placed.used)
            _train(placed.copies.own(root).values(), placed.used)
        for _, _, layer in self.layers:
            layer.active, layer.enabled = layer.name == name, True
            _train((tensor for _, tensor in layer.own_tensors()), layer.active)

    def forget(self, chosen: Collection[str], keep: bool = False) -> None:
        """Let go of what the adapters of these names are beside their layers; `keep` leaves their tensors in the
        model's places for good, frozen.

        Raises:
            ValueError: as `switch`.
        """
        for name, root, placed in self.placed:
            if name in chosen and not keep:
                placed.copies.check(root, inside=False)
        for _, root, names in self.roots:
            for name in [each for each in names if each in chosen]:
                copies = names[name].copies
                if keep:
                    _train(copies.own(root).values(), False)
                else:
                    copies.put(root, inside=False)
                del names[name]
            if not names:
                del root.__dict__[ATTRIBUTE]


def adapters(model: nn.Module, name: str | None = None) -> dict[str, Any]:
    """The adapted layers of a model by name, the name that each has without wrappers and adapters.

    Args:
        model: any module.
        name: of an adapter; None takes the one in use, or the only one.

    Raises:
        ValueError: for a name that no adapter has.
    """
    register = Register(model)
    if name is not None:
        return register.layers_of(register.require(name))
    names = register.names
    return register.layers_of(register.active or (names[0] if len(names) == 1 else None))


def names(model: nn.Module) -> list[str]:
    """The names of all adapters of a model, in the order in which they were put in."""
    return Register(model).names


def active(model: nn.Module) -> str | None:
    """The name of the adapter in use, or None if there is none."""
    return Register(model).active


def use(model: M, name: str) -> M:
    """Let the adapter of this name compute and train, and no other; gradients of the others are cleared.

    Raises:
        RuntimeError: within `disabled`.
        ValueError: if the model has none of that name. After any error or interruption the same one is in use as
            before.
    """
    register = Register(model)
    register.require(name)
    with all_or_nothing(register):
        register.switch(name)
    return model


def require_free(model: nn.Module, name: str) -> None:
    """ValueError for what is no name of an adapter, or is one's already."""
    if not isinstance(name, str):
        raise TypeError(f"name={brief(name)} must be a string: letters, digits, '-' and '_'")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"name={brief(name)} is no name of an adapter: use letters, digits, '-' and '_'")
    if name in names(model):
        raise ValueError(
            f"the model has an adapter named {name!r} already: take it out by lora.remove(model, {name!r}), or give "
            "another name"
        )


def require_adapters(model: nn.Module) -> dict[str, Any]:
    """The layers of the adapter in use; ValueError if there is none."""
    register = Register(model)
    return register.layers_of(register.require_active())


@contextmanager
def disabled(model: M) -> Iterator[M]:
    """Within the block the model computes what its base does, merged or not.

    Putting adapters in, taking them out, and using another one wait until the block is left.
    """
    register = Register(model)
    register.require_any()
    enabled = [layer.enabled for _, _, layer in register.layers]
    inside = [(root, placed.copies) for _, root, placed in register.placed if placed.copies.inside]
    parts: set[Adapter | Copies] = {layer for _, _, layer in register.layers}
    parts = (parts | {placed.copies for _, _, placed in register.placed}) - set(_off)
    try:
        _off.update(parts)
        for root, copies in inside:
            copies.put(root, inside=False)
        for _, _, layer in register.layers:
            layer.enabled = False
        yield model
    finally:
        _off.difference_update(parts)
        for (_, _, layer), flag in zip(register.layers, enabled):
            layer.enabled = flag
        for root, copies in inside:
            copies.put(root, inside=True)


@contextmanager
def from_the_base(model: nn.Module) -> Iterator[None]:
    """Within the block no adapter is in use, so that the next one starts from the model's own tensors and not from
    what another has learnt; after any error or interruption all is as it was."""
    register = Register(model)
    with all_or_nothing(register):
        register.switch(None)
        yield


@contextmanager
def all_or_nothing(register: Register) -> Iterator[None]:
    """After any error or interruption in the block, which adapters there are beside their layers, which is in use, and
    what requires or has a gradient is what it was.

    Raises:
        RuntimeError: within `disabled`.
    """
    register.require_enabled()
    model, used = register.model, register.active
    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    before = [(root, dict(names)) for _, root, names in register.roots]
    try:
        yield
    except BaseException:
        now = Register(model)
        for _, root, placed in now.placed:
            placed.copies.put(root, inside=False)
        for _, root, _ in now.roots:
            del root.__dict__[ATTRIBUTE]
        for root, names in before:
            root.__dict__[ATTRIBUTE] = names
        Register(model).switch(used)
        for parameter, flag, gradient in flags:
            parameter.requires_grad, parameter.grad = flag, gradient
        raise


def _train(tensors: Iterable[Tensor], trains: bool) -> None:
    """Parameters only: a buffer, such as BatchNorm's statistics, moves without a gradient."""
    for tensor in tensors:
        if isinstance(tensor, nn.Parameter) and tensor.is_floating_point():
            tensor.requires_grad = trains
            if not trains:
                tensor.grad = None  # or an optimizer that has them all would move what is not in use
