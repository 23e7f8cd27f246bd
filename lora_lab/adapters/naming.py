"""Names in a model as it is without wrappers and adapters, and which of them a configuration means.

Adapters and wrappers are looked through, so that a layer has the same name before and after it is adapted, and a second
adapter finds the layers of the first.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize

from lora_lab.adapters import bases
from lora_lab.adapters.adapter import Adapter
from lora_lab.adapters.config import AdapterConfig, layer_numbers
from lora_lab.matching import ALL_LINEAR, meanings, names, target_names
from lora_lab.wrappers import named_modules, unwrap
from lora_lab.quant.heads import heads
from lora_lab.quant.swap import is_made_anew, refuse_unreadable

C = TypeVar("C", bound=AdapterConfig)


def named_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module under every name that it has, without wrappers and adapters; the model itself is "" and first."""
    return named_modules(model, bare)


def layers_once(model: nn.Module) -> dict[str, nn.Module]:
    """`named_layers`, each under the first of its names."""
    first: dict[nn.Module, str] = {}
    for name, module in named_layers(model):
        first.setdefault(module, name)
    return {name: module for module, name in first.items()}


def named_places(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """(name, the module that holds it, its name there) of every tensor of the state, as the model is without wrappers
    and adapters."""
    for prefix, module in named_layers(model):
        for part, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and part not in module._non_persistent_buffers_set:
                yield f"{prefix}.{part}" if prefix else part, module, part


def plain_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state under every name that it has, as the model is without wrappers and adapters."""
    for name, module, part in named_places(model):
        yield name, getattr(module, part)


def tied_names(model: nn.Module) -> list[list[str]]:
    """The names of each tensor of the state, as `plain_tensors` has them."""
    groups: dict[int, list[str]] = {}
    for name, tensor in plain_tensors(model):
        groups.setdefault(id(tensor), []).append(name)
    return list(groups.values())


def walk(model: nn.Module) -> Iterator[tuple[str, str, nn.Module]]:
    """(name without adapters, name with them, module) of every module, outermost first, without wrappers."""
    return _walk(model, "", "")


def _walk(module: nn.Module, plain: str, name: str) -> Iterator[tuple[str, str, nn.Module]]:
    module = unwrap(module)
    yield plain, name, module
    around = isinstance(module, Adapter)
    for part, child in module._modules.items():
        if child is not None:
            same = around and part == "base"
            below = plain if same else f"{plain}.{part}" if plain else part
            yield from _walk(child, below, f"{name}.{part}" if name else part)


def bare(module: nn.Module) -> nn.Module:
    """The module within all wrappers and adapters around it."""
    module = unwrap(module)
    return bare(module.core) if isinstance(module, Adapter) else module


def targets(
    model: nn.Module,
    target_modules: str | Sequence[str],
    exclude_modules: str | Sequence[str] = (),
    layers_to_transform: int | Sequence[int] | None = None,
) -> list[str]:
    """Full names of the modules that a choice of targets means, in the model's order.

    Args:
        model: any module. Names are those that it has without `torch.compile` or another wrapper around it.
        target_modules: one of these, or a sequence that mixes the first three::

                "q_proj"              the last part of a name, exactly (never a substring)
                "self_attn.q_proj"    the last parts of a name
                r".*\\.[01]\\..*proj"   a regular expression for the whole name
                "all-linear"          every linear layer except heads, see `lora_lab.quant.heads`; `passed_over` says
                                      what else with a matrix in it is left

        exclude_modules: which of them to leave out, in the same terms.
        layers_to_transform: numbers of the layers to keep; None keeps all. See `AdapterConfig`. A target that is given
            by its full name, such as "lm_head", is kept whatever its layer, as in PEFT.

    Raises:
        TypeError: for a model that is none, a name that is no string, or a layer that is no integer.
        ValueError: for a target, an exclusion or a layer number that matches nothing, even when others matched, a
            regular expression that is none or takes too long, a choice that leaves nothing, or one of a module that
            cannot take an adapter.
    """
    model = bare(model)
    wanted, excluded = target_names(target_modules), names("exclude_modules", exclude_modules)
    layers = layer_numbers(layers_to_transform)
    there = [name for name, _ in named_layers(model) if name]
    if target_modules == ALL_LINEAR:
        linear = _all_linear(model)
        chosen = {name for name, module in named_layers(model) if module in linear}
    else:
        chosen = _matching(model, there, "target", wanted)
    chosen -= _matching(model, there, "excluded module", excluded)
    if not chosen:
        raise ValueError(f"exclude_modules={exclude_modules!r} leaves no target: exclude less, or target more")
    if layers is not None:
        in_full = chosen.intersection(wanted)
        chosen = in_full | _of_layers(chosen - in_full, layers)
    refuse_other_kinds(model, chosen)
    return [name for name in there if name in chosen]


def configs_by_module(model: nn.Module, config: C) -> dict[str, C]:
    """What `config` means for each module that it targets, by full name: patterns are resolved to one value each.

    Raises:
        ValueError: as `targets`; also for a pattern's key that matches none of the modules, or two keys that give
            the same module different values.
    """
    if not config.target_modules:
        return {}
    chosen = targets(model, config.target_modules, config.exclude_modules, config.layers_to_transform)
    config = config.for_targets(chosen)
    patterns: dict[str, Mapping[str, Any]] = {field: getattr(config, field) for field in config.patterns.values()}
    meant = meanings([key for pattern in patterns.values() for key in pattern], chosen)
    for option, pattern in patterns.items():
        for key in pattern:
            if not meant[key]:
                raise ValueError(f"{option} names {key!r}, which matches none of the adapted modules: {_advice(model)}")
    return {name: for_module(config, name, meant) for name in chosen}


def for_module(config: C, name: str, meant: Mapping[str, Collection[str]]) -> C:
    """`config` for one module: its patterns, whose keys mean the modules in `meant`, become one value for each setting.

    Raises:
        ValueError: if two keys match the module with different values.
    """
    if not meant:
        return config
    values: dict[str, Any] = {field: {} for field in config.patterns.values()}
    for setting, field in config.patterns.items():
        values[setting] = _pattern_value(field, getattr(config, field), meant, name, getattr(config, setting))
    return replace(config, **values)  # type: ignore[type-var]  # every method's configuration is a dataclass


def passed_over(model: nn.Module) -> dict[str, nn.Module]:
    """The modules with a matrix of their own, by name, that "all-linear" neither adapts nor leaves out on purpose, as
    it does heads and embeddings: a mixture's experts, convolutions, attention with its projections in one tensor."""
    left_out = heads(bare(model))
    return {
        name: module
        for name, module in layers_once(model).items()
        if bases.kind(module) is None
        and not isinstance(module, parametrize.ParametrizationList)
        and module not in left_out
        and not isinstance(module, nn.Embedding)
        and any(p is not None and p.dim() > 1 for p in module._parameters.values())
    }


def layer_number(name: str) -> int | None:
    """The first number behind a word in a dotted name: 3 in "model.layers.3.mlp.experts.7.up_proj".

    PEFT asks for two parts before the number, so it finds no layers in "layers.3.mlp" and takes an expert's number
    for the layer's in "layers.3.experts.7.up_proj". Elsewhere the two agree.
    """
    parts = name.split(".")
    numbers = (int(part) for word, part in zip(parts, parts[1:-1]) if part.isdecimal() and not word.isdecimal())
    return next(numbers, None)


def refuse_other_kinds(model: nn.Module, names: set[str]) -> None:
    """ValueError if one of the named modules cannot take an adapter."""
    modules = dict(named_layers(model))
    for name in sorted(names):
        module = modules[name]
        if isinstance(module, nn.Linear):
            refuse_unreadable(name, module)
        if bases.kind(module) is None:
            raise ValueError(
                f"target {name!r} is {bases.described(module)}: only {bases.TAKES} take adapters; {_advice(model)}"
            )


def _pattern_value(
    option: str, pattern: Mapping[str, Any], meant: Mapping[str, Collection[str]], name: str, default: Any
) -> Any:
    """The value of the keys that match `name`, or `default`.

    PEFT takes the first key that matches, but sorts the keys when it saves them, so that the first may be another one
    after loading. Here keys may overlap only where they agree.
    """
    matched = {key: value for key, value in pattern.items() if name in meant[key]}
    if len(set(matched.values())) > 1:
        raise ValueError(
            f"{option} gives {name} several values, {matched}: write keys that do not overlap, such as full names"
        )
    return next(iter(matched.values()), default)


def _all_linear(model: nn.Module) -> set[nn.Module]:
    left_out = heads(model)
    linear = {m for name, m in named_layers(model) if name and (bases.is_linear(m) or is_made_anew(m))}
    if not (chosen := linear - left_out):
        raise ValueError(f"'all-linear' found no linear layer in {type(model).__name__}: {bases.LINEAR} are")
    return chosen


def _matching(model: nn.Module, there: list[str], what: str, wanted: Sequence[str]) -> set[str]:
    chosen: set[str] = set()
    for target, matched in meanings(wanted, there).items():
        if not matched:
            raise ValueError(f"{what} {target!r} matches no module of {type(model).__name__}: {_hint(model, target)}")
        chosen |= matched
    return chosen


def _hint(model: nn.Module, target: str) -> str:
    """A mixture's experts, and projections that are one tensor, are no modules, though they have names like one."""
    for name, module, part in named_places(model):
        if part == target or name == target:
            where = f"{name.rpartition('.')[0] or 'the model'}, {bases.described(module)}"
            return f"it is a tensor of {where}, and only {bases.TAKES} take adapters"
    return _advice(model)


def _of_layers(names: set[str], layers: Sequence[int]) -> set[str]:
    found = {name: layer_number(name) for name in names}
    for layer in layers:
        if layer not in found.values():
            there = ", ".join(map(str, sorted({number for number in found.values() if number is not None})))
            raise ValueError(f"layers_to_transform names layer {layer}, but targets are in layers {there or 'none'}")
    return {name for name in names if found[name] in layers}


def _advice(model: nn.Module) -> str:
    if bases.kind(bare(model)) is not None:
        return (
            "a layer cannot be replaced in itself, so put the adapter around it by hand, as LoRALinear(layer, config)"
        )
    last_parts = Counter(name.rpartition(".")[2] for name, m in named_layers(model) if name and bases.is_linear(m))
    return f"its linear layers are called {', '.join(last_parts)}" if last_parts else "it has no linear layers"
