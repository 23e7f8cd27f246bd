"""Put adapters into a model, switch them off, merge them, take them out."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from lora_lab.lora.layers import ADAPTABLE, LoRAConfig, LoRALinear
from lora_lab.quant.linear4bit import Linear4bit


def targets(model: nn.Module, target_modules: str | Sequence[str]) -> list[str]:
    """Full names of the modules that `target_modules` means, in the model's order.

    Args:
        model: any module.
        target_modules: one of these, or a sequence that mixes the first three:
            "q_proj"              the last part of a name, exactly (never a substring)
            "self_attn.q_proj"    the last parts of a name
            r".*\\.[01]\\..*proj"   a regular expression for the whole name
            "all-linear"          every linear layer except the output head

    Raises:
        ValueError: for a target that matches nothing, even when others matched, or matches a module that cannot take
            an adapter.
    """
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    if target_modules == "all-linear":
        head = _output_head(model)
        chosen = {
            name for name, module in model.named_modules() if name and type(module) in ADAPTABLE and module is not head
        }
        if not chosen:
            raise ValueError(f"'all-linear' found no nn.Linear or Linear4bit in {type(model).__name__}")
        return [name for name in names if name in chosen]
    chosen = set()
    for target in [target_modules] if isinstance(target_modules, str) else target_modules:
        matched = {name for name in names if _matches(target, name)}
        if not matched:
            raise ValueError(f"target {target!r} matches no module of {type(model).__name__}: {_advice(model)}")
        chosen |= matched
    for name in chosen:
        module = model.get_submodule(name)
        if type(module) not in ADAPTABLE:
            raise ValueError(
                f"target {name!r} is a {type(module).__module__}.{type(module).__name__}: only torch.nn.Linear "
                f"and lora_lab's Linear4bit take adapters; {_advice(model)}"
            )
    return [name for name in names if name in chosen]


def inject(model: nn.Module, config: LoRAConfig) -> nn.Module:
    """Replace every targeted layer by a `LoRALinear` around it, in place, and freeze all else.

    The model's output does not move by a bit until something is trained.

    Raises:
        ValueError: if a target matches nothing, the model has adapters already, or a target's weight is tied to
            another module. The model is then unchanged.
    """
    if adapters(model):
        raise ValueError("the model has adapters already: call lora.remove(model) before injecting others")
    names = targets(model, config.target_modules)
    _refuse_tied(model, names)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name in names:
        base = model.get_submodule(name)
        assert isinstance(base, ADAPTABLE)  # `targets` has seen to it
        model.set_submodule(name, LoRALinear(base, config).train(base.training))
    return model


def adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """The adapted layers of a model by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def require_adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """`adapters(model)`, or ValueError if there are none."""
    if not (layers := adapters(model)):
        raise ValueError(f"{type(model).__name__} has no adapters: call lora.inject(model, config) first")
    return layers


def merge(model: nn.Module) -> nn.Module:
    """Let every adapted layer compute with one dense weight W₀ + ΔW, so that the adapter costs nothing per call.

    The original weights stay, so this also costs the memory of a second copy; `merge_and_remove` frees it.
    """
    done: list[LoRALinear] = []
    try:
        for layer in require_adapters(model).values():
            layer.merge()
            done.append(layer)
    except RuntimeError:  # all layers or none
        for layer in done:
            layer.unmerge()
        raise
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Undo `merge`, bit for bit."""
    for layer in require_adapters(model).values():
        layer.unmerge()
    return model


def remove(model: nn.Module) -> nn.Module:
    """Take all adapters out: modules, weights and `state_dict` are again what they were before `inject`.

    The base stays frozen; `model.requires_grad_(True)` makes it trainable again.
    """
    for name, layer in require_adapters(model).items():
        model.set_submodule(name, layer.base)
    return model


def merge_and_remove(model: nn.Module) -> nn.Module:
    """Replace every adapted layer by a plain `nn.Linear` with weight W₀ + ΔW, for deployment. There is no way back."""
    for name, layer in require_adapters(model).items():
        model.set_submodule(name, layer.merged_linear().train(layer.training))
    return model


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Within the block the model computes what its base does, merged or not."""
    layers = require_adapters(model).values()
    before = [layer.enabled for layer in layers]
    try:
        for layer in layers:
            layer.enabled = False
        yield model
    finally:
        for layer, enabled in zip(layers, before):
            layer.enabled = enabled


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters; a 4-bit weight counts as the d_out · d_in values it stands for."""

    trainable: int
    total: int

    def __str__(self) -> str:
        return f"{self.trainable:,} of {self.total:,} parameters train ({self.trainable / self.total:.2%})"


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count each parameter once, also when it is tied."""
    packed = {id(m.packed): m.in_features * m.out_features for m in model.modules() if isinstance(m, Linear4bit)}
    parameters = list(model.parameters())
    return ParameterCount(
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        total=sum(packed.get(id(p), p.numel()) for p in parameters),
    )


def _matches(target: str, name: str) -> bool:
    if re.fullmatch(r"[\w.]+", target):
        return f".{name}".endswith(f".{target}")
    return re.fullmatch(target, name) is not None


def _output_head(model: Any) -> nn.Module | None:
    return model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None


def _advice(model: nn.Module) -> str:
    last_parts = Counter(n.rpartition(".")[2] for n, m in model.named_modules() if n and type(m) in ADAPTABLE)
    return f"its linear layers are called {', '.join(last_parts)}" if last_parts else "it has no linear layers"


def _refuse_tied(model: nn.Module, names: list[str]) -> None:
    """An update of one of two modules that share a weight would be lost, or doubled, on merging."""
    owners: dict[int, list[str]] = {}
    for parameter_name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(parameter_name)
    chosen = set(names)
    for shared in owners.values():
        owner = next((name for name in shared if name.rpartition(".")[0] in chosen), None)
        if len(shared) > 1 and owner:
            raise ValueError(
                f"{owner} is tied: the same tensor is also {', '.join(n for n in shared if n != owner)}; "
                "leave this layer out of target_modules, or untie it first"
            )
