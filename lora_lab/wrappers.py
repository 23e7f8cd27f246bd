"""Names that do not depend on what a model is wrapped in.

`torch.compile`, DataParallel, DistributedDataParallel, activation checkpointing and weight averaging put a module
around another and a part such as "_orig_mod" or "module" into every name below. Here a wrapper is looked through, so
that a model has the same names with and without it, and what is saved from one loads into the other.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lora_lab.ranges import brief

_INNER = ("_orig_mod", "_checkpoint_wrapped_module")  # of torch.compile, of activation checkpointing
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def require_module(model: object) -> None:
    """TypeError for what is no module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{brief(model)} is no model: give a torch.nn.Module")


def unwrap(module: nn.Module) -> nn.Module:
    """The module that is wrapped, however often, or the module itself.

    Raises:
        TypeError: for what is no module.
        ValueError: for FSDP, which cuts the weights into shards, so that no process holds a whole one.
    """
    require_module(module)
    if _is_sharded(module):
        raise ValueError(
            "the model's weights are sharded (FSDP), and here layers are replaced, saved and loaded whole: "
            "do that before it is sharded, or gather its weights first"
        )
    if children := module._modules:
        for name in _INNER:
            if isinstance(inner := children.get(name), nn.Module):
                return unwrap(inner)
        if isinstance(module, _WRAPPERS):
            return unwrap(module.module)
    return module


def named_modules(
    model: nn.Module, within: Callable[[nn.Module], nn.Module] = unwrap
) -> Iterator[tuple[str, nn.Module]]:
    """Every module under every name that it has, without wrappers; the model itself is "" and comes first.

    Args:
        model: any module.
        within: looks through what is around a module; wrappers, unless another function looks through more.
    """
    model = within(model)
    yield "", model
    for name, child in model._modules.items():
        if child is not None:
            for below, module in named_modules(child, within):
                yield f"{name}.{below}" if below else name, module


@contextmanager
def put_all(model: nn.Module, modules: Mapping[str, nn.Module]) -> Iterator[None]:
    """Put each module in the place of the one with its name; a wrapper around that one goes with it.

    After any error or interruption, here or in the block, all old ones are in their places again.
    """
    places = {name: _place(model, name) for name in modules}
    before = {name: parent._modules[last] for name, (parent, last) in places.items()}
    try:
        for name, (parent, last) in places.items():
            setattr(parent, last, modules[name])
        yield
    except BaseException:
        for name, (parent, last) in places.items():
            setattr(parent, last, before[name])
        raise


def _place(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that holds the one with that name, and what it calls it."""
    if not name:
        raise ValueError("a layer cannot be replaced in itself: take its base, or merged_layer()")
    parent = unwrap(model)
    *path, last = name.split(".")
    for part in path:
        child = parent._modules[part]
        assert child is not None  # the name is one that `named_modules` gave
        parent = unwrap(child)
    return parent, last


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and the buffers that belong to the state, under every name that they have, without wrappers."""
    for prefix, module in named_modules(model):
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and name not in module._non_persistent_buffers_set:
                yield f"{prefix}.{name}" if prefix else name, tensor


def _is_sharded(module: nn.Module) -> bool:
    for parameter in module._parameters.values():
        if type(parameter).__name__ == "DTensor":
            return True
    return type(module).__name__ == "FullyShardedDataParallel"
