"""LoRA's own options of adapter_config.json, as PEFT writes and reads them.

init_lora_weights       a PiSSA adapter is described as the plain LoRA of rank 2r that it equals
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from lora_lab.adapters import peft_options
from lora_lab.lora.inits import Init
from lora_lab.quant.linears import is_conv1d

_INITS: dict[Any, Init] = {
    True: "kaiming",
    False: "kaiming",
    "gaussian": "gaussian",
    "orthogonal": "orthogonal",
    "pissa": "pissa",
}
_INIT_NAMES: dict[Init, Any] = {
    "kaiming": True,
    "gaussian": "gaussian",
    "orthogonal": "orthogonal",
    "pissa": True,  # as plain LoRA, whose start no longer matters
}
_READ = ("r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern")
_ONLY: dict[str, tuple[Any, ...]] = {"bias": ("none", "all", "lora_only"), "init_lora_weights": tuple(_INITS)}


def check(stored: Mapping[str, Any]) -> None:
    """ValueError for an option that we do not implement, by its name, or for one that is missing."""
    peft_options.refuse_others(stored, _READ, _ONLY, needed=("r", "lora_alpha", "target_modules"))


def read(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `LoRAConfig`."""
    return {
        "r": stored["r"],
        "alpha": stored["lora_alpha"],
        "target_modules": stored["target_modules"],
        "dropout": stored.get("lora_dropout", 0.0),
        "use_rslora": stored.get("use_rslora", False),
        "rank_pattern": stored.get("rank_pattern") or {},
        "alpha_pattern": stored.get("alpha_pattern") or {},
        "init": _INITS[stored.get("init_lora_weights", True)],
        "bias": stored.get("bias", "none"),
        "modules_to_save": stored.get("modules_to_save") or (),
    }


def describe(layers: Mapping[str, Any]) -> dict[str, Any]:
    """The options for these layers, as they are.

    Raises:
        ValueError: if they differ in what the format says once for all, or one's scaling is not its config's.
    """
    for name, layer in layers.items():
        if layer.scaling != layer.config.scaling:
            raise ValueError(
                f"{name}.scaling is {layer.scaling:g}, its config says {layer.config.scaling:g}, and a PEFT folder "
                "states the config: set it back, or inject with another alpha"
            )
    plain = {name: layer.as_plain() for name, layer in layers.items()}
    ranks = {name: rank for name, (rank, _) in plain.items()}
    alphas = {name: alpha for name, (_, alpha) in plain.items()}
    if huge := [name for name, alpha in alphas.items() if not math.isfinite(alpha)]:
        raise ValueError(f"{huge[0]}'s alpha, doubled for PiSSA as plain LoRA, is no number: choose a smaller one")
    r, alpha = _most_common(ranks), _most_common(alphas)
    configs = [layer.config for layer in layers.values()]
    shared = {(each.dropout, each.use_rslora, _INIT_NAMES[each.init], each.bias) for each in configs}
    if len(shared) > 1:
        raise ValueError("the adapters differ in dropout, use_rslora, init or bias, which a folder states once for all")
    dropout, use_rslora, init, bias = shared.pop()
    return {
        "r": r,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "use_rslora": use_rslora,
        "rank_pattern": peft_options.pattern(ranks, r),
        "alpha_pattern": peft_options.pattern(alphas, alpha),
        "bias": bias,
        "fan_in_fan_out": all(is_conv1d(layer.core) for layer in layers.values()),
        "init_lora_weights": init,
    }


def _most_common(values: Mapping[str, Any]) -> Any:
    return Counter(values.values()).most_common(1)[0][0]
