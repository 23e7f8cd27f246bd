"""Which modules a configuration means: names, exclusions, layer numbers, and patterns of rank and alpha."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from torch import nn

from lora_lab.lora.bases import ADAPTABLE
from lora_lab.lora.config import LoRAConfig, layer_numbers, names, target_names
from lora_lab.naming import named_modules, unwrap
from lora_lab.lora.patterns import matches
from lora_lab.quant.heads import heads
from lora_lab.quant.swap import is_made_anew, refuse_unreadable

_V = TypeVar("_V", int, float)


def targets(
    model: nn.Module,
    target_modules: str | Sequence[str],
    exclude_modules: str | Sequence[str] = (),
    layers_to_transform: int | Sequence[int] | None = None,
) -> list[str]:
    """Full names of the modules that a choice of targets means, in the model's order.

    Args:
        model: any module. Names are those that it has without `torch.compile` or another wrapper around it.
        target_modules: one of these, or a sequence that mixes the first three:
            "q_proj"              the last part of a name, exactly (never a substring)
            "self_attn.q_proj"    the last parts of a name
            r".*\\.[01]\\..*proj"   a regular expression for the whole name
            "all-linear"          every linear layer except heads, see `lora_lab.quant.heads`
        exclude_modules: which of them to leave out, in the same terms.
        layers_to_transform: numbers of the layers to keep; None keeps all. See `LoRAConfig`. A target that is given
            by its full name, such as "lm_head", is kept whatever its layer, as in PEFT.

    Raises:
        TypeError: for a model that is none, a name that is no string, or a layer that is no integer.
        ValueError: for a target, an exclusion or a layer number that matches nothing, even when others matched, a
            regular expression that is none or takes too long, a choice that leaves nothing, or one of a module that
            cannot take an adapter.
    """
    model = unwrap(model)
    wanted, excluded = target_names(target_modules), names("exclude_modules", exclude_modules)
    layers = layer_numbers(layers_to_transform)
    there = [name for name, _ in named_modules(model) if name]
    if target_modules == "all-linear":
        linear = {model.get_submodule(name) for name in _all_linear(model)}
        chosen = {name for name, module in named_modules(model) if module in linear}
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


def configs_by_module(model: nn.Module, config: LoRAConfig) -> dict[str, LoRAConfig]:
    """What `config` means for each module that it targets, by full name: patterns are resolved to one r and alpha.

    Raises:
        ValueError: as `targets`; also for a pattern's key that matches none of the modules, or two keys that give
            the same module different values.
    """
    chosen = targets(model, config.target_modules, config.exclude_modules, config.layers_to_transform)
    meant = meanings((*config.rank_pattern, *config.alpha_pattern), chosen)
    for option, pattern in (("rank_pattern", config.rank_pattern), ("alpha_pattern", config.alpha_pattern)):
        for key in pattern:
            if not meant[key]:
                raise ValueError(f"{option} names {key!r}, which matches none of the adapted modules: {_advice(model)}")
    return {name: for_module(config, name, meant) for name in chosen}


def for_module(config: LoRAConfig, name: str, meant: Mapping[str, Collection[str]]) -> LoRAConfig:
    """`config` for one module: its patterns, whose keys mean the modules in `meant`, become one r and one alpha.

    Raises:
        ValueError: if two keys match the module with different values.
    """
    if not meant:
        return config
    r = _pattern_value("rank_pattern", config.rank_pattern, meant, name, config.r)
    alpha = _pattern_value("alpha_pattern", config.alpha_pattern, meant, name, config.alpha)
    return replace(config, r=r, alpha=alpha, rank_pattern={}, alpha_pattern={})


def meanings(wanted: Iterable[str], names: Sequence[str]) -> dict[str, set[str]]:
    """For each entry the names that it means: as their last part or parts, or as a regular expression for them.

    Raises:
        ValueError: for an entry that is neither, or takes too long.
    """
    wanted = dict.fromkeys(wanted)
    plain = [each for each in wanted if re.fullmatch(r"[\w.]+", each)]
    by_end = by_last_parts(names)
    return {each: by_end.get(each, set()) for each in plain} | matches(wanted.keys() - set(plain), names)


def by_last_parts(names: Iterable[str]) -> dict[str, set[str]]:
    """Names by each of their ends: "a.b.c" by "a.b.c", "b.c" and "c"."""
    ends = defaultdict(set)
    for name in names:
        end = name
        while end:
            ends[end].add(name)
            end = end.partition(".")[2]
    return dict(ends)


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
    modules = dict(named_modules(model))
    for name in sorted(names):
        module = modules[name]
        if isinstance(module, nn.Linear):
            refuse_unreadable(name, module)
        if type(module) not in ADAPTABLE:
            raise ValueError(
                f"target {name!r} is a {type(module).__module__}.{type(module).__name__}: only torch.nn.Linear "
                f"and lora_lab's Linear4bit take adapters; {_advice(model)}"
            )


def _pattern_value(
    option: str, pattern: Mapping[str, _V], meant: Mapping[str, Collection[str]], name: str, default: _V
) -> _V:
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


def _all_linear(model: nn.Module) -> set[str]:
    passed_over = heads(model)
    linear = {n: m for n, m in model.named_modules() if n and (type(m) in ADAPTABLE or is_made_anew(m))}
    chosen = {name for name, module in linear.items() if module not in passed_over}
    if not chosen:
        raise ValueError(f"'all-linear' found no nn.Linear or Linear4bit in {type(model).__name__}")
    return chosen


def _matching(model: nn.Module, there: list[str], what: str, wanted: Sequence[str]) -> set[str]:
    chosen: set[str] = set()
    for target, matched in meanings(wanted, there).items():
        if not matched:
            raise ValueError(f"{what} {target!r} matches no module of {type(model).__name__}: {_advice(model)}")
        chosen |= matched
    return chosen


def _of_layers(names: set[str], layers: Sequence[int]) -> set[str]:
    found = {name: layer_number(name) for name in names}
    for layer in layers:
        if layer not in found.values():
            there = ", ".join(map(str, sorted({number for number in found.values() if number is not None})))
            raise ValueError(f"layers_to_transform names layer {layer}, but targets are in layers {there or 'none'}")
    return {name for name in names if found[name] in layers}


def _advice(model: nn.Module) -> str:
    last_parts = Counter(n.rpartition(".")[2] for n, m in named_modules(model) if n and type(m) in ADAPTABLE)
    if type(model) in ADAPTABLE:
        return "a layer cannot be replaced in itself, so wrap it with LoRALinear(layer, config)"
    return f"its linear layers are called {', '.join(last_parts)}" if last_parts else "it has no linear layers"
