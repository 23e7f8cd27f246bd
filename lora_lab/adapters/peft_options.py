"""The options of adapter_config.json that every method has, as PEFT writes and reads them.

What PEFT does with names differs a little from what a configuration here does, so its rules are followed to the letter:

    target_modules, exclude_modules     a list holds names or dotted suffixes, a string is one regular expression
    layers_to_transform                 holds for suffixes, not for a name that is listed in full
    patterns                            keys are regular expressions for the end of a name; ^ binds one to its start
    modules_to_save                     ends of names
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from lora_lab.adapters.adapter import Adapter
from lora_lab.adapters.config import METHODS, AdapterConfig
from lora_lab.adapters.copies import modules_to_save, with_tied
from lora_lab.adapters.naming import bare, for_module, layers_once, refuse_other_kinds, targets
from lora_lab.matching import ALL_LINEAR, by_last_parts
from lora_lab.patterns import matches
from lora_lab.ranges import brief
from lora_lab.wrappers import unwrap

# What every method has, and what says nothing about the computation. Every other option that a method does not know
# must be empty: PEFT grows new ones with each release, and one that we silently passed over would give a model that
# computes something else.
_SHARED = {"peft_type", "target_modules", "exclude_modules", "layers_to_transform", "modules_to_save"}
_NEUTRAL = {
    "peft_version",
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "task_type",
    "inference_mode",
    "megatron_core",
    "qalora_group_size",
    "fan_in_fan_out",  # whether layers are Conv1D, which a model knows by itself
}
_EMPTY: tuple[Any, ...] = (None, False, {}, [], "")
_TASKS = {
    "ForCausalLM": "CAUSAL_LM",
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
}


def method(stored: Mapping[str, Any]) -> type[AdapterConfig]:
    """The method that a folder names.

    Raises:
        ValueError: if it is none that is there, or an option that all methods have is wrong.
    """
    if (found := METHODS.get(str(stored["peft_type"]))) is None:
        raise ValueError(
            f"asks for peft_type={brief(stored['peft_type'])}, which is none of {', '.join(METHODS)}: import its "
            "module first, such as lora_lab.methods, or load this adapter with peft"
        )
    for option in ("target_modules", "exclude_modules"):
        value = stored.get(option)
        if not (value is None or isinstance(value, str) or _list_of(str, value)):
            raise ValueError(f"has {option}={brief(value)}, neither a string nor a list of strings: write it again")
    if not ((saved := stored.get("modules_to_save")) is None or _list_of(str, saved) and all(saved)):
        raise ValueError(f"has modules_to_save={brief(saved)}, which is no list of names: write it again")
    layers = stored.get("layers_to_transform")
    if not (layers is None or type(layers) is int or _list_of(int, layers)):
        raise ValueError(f"has layers_to_transform={brief(layers)}, which is no list of integers: write it again")
    found.check_stored(stored)
    return found


def refuse_others(
    stored: Mapping[str, Any], known: Collection[str], only: Mapping[str, Collection[Any]], needed: Collection[str]
) -> None:
    """ValueError for an option that is not implemented, by its name, or for one that is missing.

    Args:
        known: options that the method reads, beside those that all have.
        only: the values of others that mean nothing, or the one thing that the method does.
        needed: options without which there is no adapter.
    """
    for option, value in stored.items():
        if option not in _SHARED | _NEUTRAL | set(known) and value not in only.get(option, _EMPTY):
            raise ValueError(
                f"asks for {option}={brief(value)}, which lora_lab does not implement: load this adapter with peft"
            )
    if missing := [key for key in needed if stored.get(key) is None]:
        raise ValueError(f"lacks {', '.join(missing)}: write the adapter again")


def read(
    method: type[AdapterConfig], stored: Mapping[str, Any], model: nn.Module
) -> tuple[AdapterConfig, dict[str, AdapterConfig]]:
    """The settings, and those of each module that PEFT would adapt with them, by full name.

    Raises:
        ValueError: if the settings are wrong or mean no module, or a module that cannot take an adapter.
    """
    modules = layers_once(model)
    saved = [name for name in modules if name.endswith(tuple(stored.get("modules_to_save") or ()))]
    if not stored.get("target_modules"):
        return method.read({**stored, "modules_to_save": saved}), {}
    wanted = stored["target_modules"]
    if wanted == ALL_LINEAR:  # PEFT itself writes the names out
        wanted = targets(model, wanted)
    names = _adapted({**stored, "target_modules": wanted}, [name for name in modules if name])
    if not names:
        raise ValueError(f"target_modules={brief(wanted)} matches no module of {type(bare(model)).__name__}")
    refuse_other_kinds(model, set(names))
    config = method.read({**stored, "target_modules": wanted, "modules_to_save": saved})
    keys = [key for field in config.patterns.values() for key in getattr(config, field)]
    ends = {key: rf"(.*\.)?({key})$" for key in keys}
    matched = matches(ends.values(), names)
    meant = {key: matched[end] for key, end in ends.items()}
    configs = {name: for_module(config, name, meant) for name in names}
    for name, each in configs.items():
        try:
            each.refuse_loading(modules[name])
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return config, configs


def describe(model: nn.Module, layers: Mapping[str, Adapter], configs: Sequence[AdapterConfig]) -> dict[str, Any]:
    """The settings of an adapter of the model. Modules are listed by their full names, so nothing needs excluding.

    Raises:
        ValueError: if layers differ in what the format says once for all.
    """
    config = configs[0] if configs else next(iter(layers.values())).config
    for each in (*configs, *(layer.config for layer in layers.values())):
        if type(each) is not type(config):
            both = f"{type(config).__name__} and {type(each).__name__}"
            raise ValueError(f"the adapter is made of {both}, and a folder holds one method: give each its own name")
    model = unwrap(model)
    saved = with_tied(model, [name for each in configs for name in modules_to_save(model, each, list(layers))])
    others = [name for name in layers_once(model) if name not in saved]
    saved = [name for name in saved if not any(other.endswith(name) for other in others)]  # a reader would train those
    kind = type(bare(model)).__name__
    task = next((task for end, task in _TASKS.items() if kind.endswith(end)), None)
    return {
        "peft_type": config.peft_type,
        "task_type": task if saved or task == "CAUSAL_LM" else None,
        "target_modules": target_modules(model, list(layers)),
        "modules_to_save": sorted(saved) or None,
        "inference_mode": True,
        "base_model_name_or_path": getattr(bare(model), "name_or_path", None) or None,
        **config.describe(layers),
    }


def target_modules(model: nn.Module, adapted: list[str]) -> list[str] | str:
    """The full names; as one regular expression where one of them is also the end of another module's name."""
    inside = tuple(f"{name}." for name in adapted)
    others = [name for name in layers_once(model) if name not in adapted and not name.startswith(inside)]
    if any(other.endswith(f".{name}") for other in others for name in adapted):
        return "|".join(re.escape(name) for name in sorted(adapted))
    return sorted(adapted)


def pattern(values: Mapping[str, Any], most: Any) -> dict[str, Any]:
    """{^full name: value} for those that are not what most have."""
    return {f"^{re.escape(name)}": value for name, value in values.items() if value != most}


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


def _list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(type(each) is kind for each in value)
