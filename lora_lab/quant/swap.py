"""Whether another layer can take a layer's place: what hangs on the old one would be lost without a word."""

from torch import nn
from torch.nn.utils import parametrize

from lora_lab.quant.linears import derives_from_linear


def is_made_anew(module: nn.Module) -> bool:
    """Whether a linear layer is of a class of its own only because its weight is parametrized or not there yet."""
    return derives_from_linear(module) and (parametrize.is_parametrized(module) or _is_lazy(module))


def refuse_unswappable(name: str, module: nn.Module) -> None:
    """ValueError, naming the layer and the way out, for what `refuse_unreadable` and `refuse_hooked` refuse.

    Args:
        name: of the layer in its model.
        module: a linear layer, or what stands in for one.
    """
    refuse_unreadable(name, module)
    refuse_hooked(name, module)


def refuse_unreadable(name: str, module: nn.Module) -> None:
    """ValueError for a weight that is made anew on every call, so that the one that is there may be stale, or none."""
    if parametrize.is_parametrized(module):
        part = next(name for name, _ in module.parametrizations.named_children())  # type: ignore[union-attr]
        raise ValueError(
            f"{name} is parametrized, so its {part} is made anew on every call: make it permanent with "
            f"torch.nn.utils.parametrize.remove_parametrizations(layer, {part!r}), or skip it"
        )
    if _is_lazy(module):
        raise ValueError(f"{name} is lazy and has no weight yet: run the model once, or skip it")
    for part in ("weight", "bias") if derives_from_linear(module) else ():
        if part not in module._parameters:
            raise ValueError(
                f"{name} has no parameter {part}: after pruning or weight_norm it is made anew on every call, so "
                "make it permanent (torch.nn.utils.prune.remove, remove_weight_norm), or skip it"
            )
    if derives_from_linear(module) and module.weight is None:
        raise ValueError(f"{name} has no weight: give it one, or skip it")


def refuse_hooked(name: str, module: nn.Module) -> None:
    """ValueError for hooks, and for a forward of the module's own, as accelerate's hooks are."""
    kinds = [kind for kind, hooks in vars(module).items() if kind.endswith("_hooks") and hooks]
    if kinds or "forward" in vars(module):
        what = kinds[0].strip("_").replace("_", " ") if kinds else "a forward of its own"
        raise ValueError(
            f"{name} has {what}, which the layer in its place would not have: remove them first and register "
            "them again afterwards"
        )


def _is_lazy(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params()
