"""The settings of an adapter as PEFT writes them in adapter_config.json, both ways.

What PEFT does with names differs a little from what `LoRAConfig` does, so here its rules are followed to the letter:

    target_modules, exclude_modules     a list holds names or dotted suffixes, a string is one regular expression
    layers_to_transform                 holds for suffixes, not for a name that is listed in full
    rank_pattern, alpha_pattern         keys are regular expressions for the end of a name; ^ binds one to its start
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from lora_lab.lora.config import LoRAConfig
from lora_lab.lora.inits import Init
from lora_lab.lora.inject import adapters
from lora_lab.lora.layers import LoRALinear
from lora_lab.naming import named_modules, unwrap
from lora_lab.lora.patterns import matches
from lora_lab.lora.targets import by_last_parts, for_module, refuse_other_kinds, targets
from lora_lab.quant.linear4bit import Linear4bit

# What we read, and what says nothing about the computation. Every other option must be empty: PEFT grows new ones with
# each release, and one that we silently passed over would give a model that computes something else.
_READ = {
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "rank_pattern",
    "alpha_pattern",
}
_NEUTRAL = {
    "peft_version",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "task_type",
    "inference_mode",
    "megatron_core",
    "qalora_group_size",
}
_INITS: dict[Any, Init] = {
    True: "kaiming",
    False: "kaiming",
    "gaussian": "gaussian",
    "orthogonal": "orthogonal",
    "pissa": "pissa",
}
_ONLY: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "init_lora_weights": tuple(_INITS),
}
_EMPTY: tuple[Any, ...] = (None, False, {}, [], "")


def to_peft(model: nn.Module) -> dict[str, Any]:
    """The settings of the model's adapters. Modules are listed by their full names, so nothing needs excluding.

    A PiSSA adapter is described as the plain LoRA of rank 2r that it equals.

    Raises:
        ValueError: if layers differ in what the format says once for all, or one's scaling is not its config's.
    """
    model = unwrap(model)
    layers = adapters(model)
    for name, layer in layers.items():
        if layer.scaling != layer.config.scaling:
            raise ValueError(
                f"{name}.scaling is {layer.scaling:g}, its config says {layer.config.scaling:g}, and a PEFT folder "
                "states the config: set it back, or inject with another alpha"
            )
    plain = {name: _plain(layer) for name, layer in layers.items()}
    if huge := [name for name, (_, alpha) in plain.items() if not math.isfinite(alpha)]:
        raise ValueError(f"{huge[0]}'s alpha, doubled for PiSSA as plain LoRA, is no number: choose a smaller one")
    r = Counter(rank for rank, _ in plain.values()).most_common(1)[0][0]
    alpha = Counter(alpha for _, alpha in plain.values()).most_common(1)[0][0]
    shared = {(layer.config.dropout, layer.config.use_rslora, _init_name(layer)) for layer in layers.values()}
    if len(shared) > 1:
        raise ValueError("the adapters differ in dropout, use_rslora or init, which a PEFT folder states once for all")
    dropout, use_rslora, init = shared.pop()
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if type(model).__name__.endswith("ForCausalLM") else None,
        "r": r,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "use_rslora": use_rslora,
        "target_modules": _target_modules(model, list(layers)),
        "rank_pattern": {f"^{re.escape(name)}": rank for name, (rank, _) in plain.items() if rank != r},
        "alpha_pattern": {f"^{re.escape(name)}": value for name, (_, value) in plain.items() if value != alpha},
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": init,
        "inference_mode": True,
        "base_model_name_or_path": getattr(model, "name_or_path", None) or None,
    }


def refuse_what_we_lack(stored: Mapping[str, Any]) -> None:
    """ValueError for an option that we do not implement, by its name, or for one that is missing."""
    for option, value in stored.items():
        if option not in _READ | _NEUTRAL and value not in _ONLY.get(option, _EMPTY):
            raise ValueError(
                f"asks for {option}={_short(value)}, which lora_lab does not implement: load this adapter with peft"
            )
    if missing := [key for key in ("r", "lora_alpha", "target_modules") if stored.get(key) is None]:
        raise ValueError(f"lacks {', '.join(missing)}: write the adapter again")
    for option in ("target_modules", "exclude_modules"):
        _refuse_other_than_names(option, stored.get(option))
    layers = stored.get("layers_to_transform")
    if not (
        layers is None
        or type(layers) is int
        or (isinstance(layers, list) and all(type(each) is int for each in layers))
    ):
        raise ValueError(f"has layers_to_transform={_short(layers)}, which is no list of integers: write it again")


def from_peft(stored: Mapping[str, Any], model: nn.Module) -> dict[str, LoRAConfig]:
    """The configuration of each module that PEFT would adapt with these settings, by full name.

    Raises:
        ValueError: if the settings are wrong or mean no module, a module that cannot take an adapter, or, for PiSSA,
            one whose dense weight is not there.
    """
    wanted = stored["target_modules"]
    if wanted == "all-linear":  # PEFT itself writes the names out
        wanted = targets(model, wanted)
    modules = _modules_once(model)
    names = _adapted({**stored, "target_modules": wanted}, [name for name in modules if name])
    if not names:
        raise ValueError(f"target_modules={_short(wanted)} matches no module of {type(unwrap(model)).__name__}")
    refuse_other_kinds(model, set(names))
    config = LoRAConfig(
        r=stored["r"],
        alpha=stored["lora_alpha"],
        target_modules=wanted,
        dropout=stored.get("lora_dropout", 0.0),
        use_rslora=stored.get("use_rslora", False),
        rank_pattern=stored.get("rank_pattern") or {},
        alpha_pattern=stored.get("alpha_pattern") or {},
        init=_INITS[stored.get("init_lora_weights", True)],
    )
    for name in names:
        if config.init == "pissa" and isinstance(modules[name], Linear4bit):
            raise ValueError(
                f"init_lora_weights='pissa' starts from the dense weight, and {name} is a Linear4bit: load the adapter "
                "on the dense model, save it with lora.save_adapter as plain LoRA, and load that"
            )
    ends = {key: rf"(.*\.)?({key})$" for key in (*config.rank_pattern, *config.alpha_pattern)}
    matched = matches(ends.values(), names)
    meant = {key: matched[end] for key, end in ends.items()}
    return {name: for_module(config, name, meant) for name in names}


def _modules_once(model: nn.Module) -> dict[str, nn.Module]:
    """Every module under the first of its names."""
    names: dict[nn.Module, str] = {}
    for name, module in named_modules(model):
        names.setdefault(module, name)
    return {name: module for module, name in names.items()}


def _adapted(stored: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    wanted = stored["target_modules"]
    chosen = _listed(wanted, names) - _listed(stored.get("exclude_modules") or [], names)
    layers = stored.get("layers_to_transform")
    if layers is None or layers == [] or isinstance(wanted, str):
        return [name for name in names if name in chosen]
    layers, in_full = [layers] if isinstance(layers, int) else layers, set(wanted)
    return [name for name in names if name in chosen and (name in in_full or _number(name) in layers)]


def _number(name: str) -> int | None:
    return next((int(part) for part in name.split(".")[2:-1] if part.isdecimal()), None)


def _listed(entries: str | Sequence[str], names: Sequence[str]) -> set[str]:
    if isinstance(entries, str):
        return matches([entries], names)[entries]
    by_end = by_last_parts(names)
    return {name for entry in entries for name in by_end.get(entry, ())}


def _refuse_other_than_names(option: str, value: Any) -> None:
    if isinstance(value, str) or value is None:
        return
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"has {option}={_short(value)}, neither a string nor a list of strings: write it again")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _target_modules(model: nn.Module, adapted: list[str]) -> list[str] | str:
    """The full names; as one regular expression where one of them is also the end of another module's name."""
    inside = tuple(f"{name}." for name in adapted)
    others = [name for name in _modules_once(model) if name not in adapted and not name.startswith(inside)]
    if any(other.endswith(f".{name}") for other in others for name in adapted):
        return "|".join(re.escape(name) for name in sorted(adapted))
    return sorted(adapted)


def _plain(layer: LoRALinear) -> tuple[int, float]:
    """Rank and alpha of the plain LoRA with the same scaling as `layer`, whose rank is doubled for PiSSA."""
    config = layer.config
    if config.init != "pissa":
        return config.r, config.alpha
    return 2 * config.r, config.alpha * (math.sqrt(2) if config.use_rslora else 2)


def _init_name(layer: LoRALinear) -> bool | str:
    return True if layer.config.init in ("kaiming", "pissa") else layer.config.init
