"""Exercises 13, the fourth: what a PEFT folder says about the scale of each layer."""

import math
import random
import re
from collections.abc import Mapping
from typing import Any

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong, task


def _adapter_scales(config: dict[str, Any], shapes: dict[str, list[int]]) -> dict[str, float]:
    scales = {}
    for key, shape in shapes.items():
        if not key.endswith(".lora_A.weight"):
            continue
        name, alpha = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight"), config["lora_alpha"]
        for pattern, other in config["alpha_pattern"].items():
            if f".{name}".endswith(f".{pattern}"):
                alpha = other
                break
        scales[name] = alpha / (math.sqrt(shape[0]) if config["use_rslora"] else shape[0])
    return scales


@task(reference=lambda: _adapter_scales)
def adapter_scales(adapter_scales: Any) -> None:
    """The factor before B·A for each adapted layer, from adapter_config.json and the shapes in the file."""
    for rslora, pattern in (
        (False, {}),
        (True, {}),
        (False, {"v_proj": 3}),
        (False, {"mlp.up_proj": 5}),
        (False, {"model.layers.1.self_attn.v_proj": 6}),
        (True, {"1.mlp.up_proj": 5, "up_proj": 7}),
    ):
        r, others = random.choice((4, 8, 16)), {"v_proj": random.choice((2, 5))}
        config = {"peft_type": "LORA", "r": r, "lora_alpha": r * random.choice((2, 3)), "use_rslora": rslora,
                  "rank_pattern": others, "alpha_pattern": pattern}  # fmt: skip
        shapes, ranks = _shapes(r, others)
        handed = {"config": {**config, "alpha_pattern": dict(pattern)}, "shapes": dict(shapes)}
        with untouched(**handed):
            found = adapter_scales(*handed.values())
        if found is None:
            raise Wrong("yours gives None, wanted a dictionary: is a return missing?")
        if not isinstance(found, Mapping):
            raise Wrong(f"yours gives a {type(found).__name__}, wanted a dictionary from a layer's name to its factor")
        _compare_names([str(each) for each in found], list(ranks))
        for name, rank in ranks.items():
            scale = plain_number(found[name], f"for {name}")
            alpha = _alpha_of(name, config)
            wanted = alpha / (rank**0.5 if rslora else rank)
            if not math.isclose(scale, wanted, rel_tol=1e-6):
                why = _why_scale(scale, name, rank, config)
                said = f"r = {r}, lora_alpha = {config['lora_alpha']}, use_rslora = {rslora}, alpha_pattern = {pattern}"
                raise Wrong(f"for {name}, {said}: {why}", yours=scale, wanted=wanted)


_D_OUT, _D_IN = 29, 37  # no rank has them for a factor, so that each slip has a result of its own


def _shapes(r: int, others: dict[str, int]) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Keys and shapes of the file, in the order that safetensors gives them, and each layer's rank."""
    shapes, ranks = {}, {}
    for block in range(2):
        for kind in ("self_attn.qkv_proj", "self_attn.v_proj", "mlp.up_proj"):
            name = f"model.layers.{block}.{kind}"
            ranks[name] = others.get(kind.split(".")[-1], r)
            shapes[f"base_model.model.{name}.lora_A.weight"] = [ranks[name], _D_IN]
            shapes[f"base_model.model.{name}.lora_B.weight"] = [_D_OUT, ranks[name]]
    return shapes, ranks


def _alpha_of(name: str, config: dict[str, Any], hit: Any = None) -> float:
    hit = hit or (lambda name, key: re.match(rf"(.*\.)?({key})$", name))  # as PEFT matches them
    return next((alpha for key, alpha in config["alpha_pattern"].items() if hit(name, key)), config["lora_alpha"])


def _compare_names(found: list[str], wanted: list[str]) -> None:
    if sorted(found) == sorted(wanted):
        return
    first = found[0] if found else "nothing"
    if any("lora_A" in each or "lora_B" in each for each in found):
        raise Wrong(f"your names still have the factor's ending, as {first!r}: wanted is the layer's")
    if any(each.startswith("base_model") for each in found):
        raise Wrong(f"your names begin as in the file, {first!r}: base_model.model. is PEFT's wrapper, not the model's")
    if any(f"model.{each}" in wanted for each in found):
        raise Wrong(f"your names lack the model's own beginning, as {first!r}: take away base_model.model. once")
    if {each.split(".")[-1] for each in wanted} >= set(found):
        raise Wrong("your names are the last parts, and the two blocks fall together: wanted is the whole name")
    raise Wrong(f"your names are not the adapted layers', the first is {first!r}: one for each pair of A and B")


def _why_scale(found: float, name: str, rank: int, config: dict[str, Any]) -> str:
    r, general, rslora = config["r"], config["lora_alpha"], config["use_rslora"]
    alpha = _alpha_of(name, config)
    substring = _alpha_of(name, config, lambda name, key: key in name)
    later = next((a for key, a in reversed(config["alpha_pattern"].items()) if f".{name}".endswith(f".{key}")), general)

    def scale(alpha: float, rank: float, rslora: bool = rslora) -> float:
        return float(alpha / (math.sqrt(rank) if rslora else rank))

    own = {}
    if pattern := next(
        (key for key in config["alpha_pattern"] if "." in key and len(config["alpha_pattern"]) == 1), ""
    ):
        kind = "be the whole name of a layer" if pattern == name else "have several parts"
        own = {f"a pattern may {kind}, and yours does not find this one": scale(general, rank)}
    slips = {
        "without use_rslora it is α/r, with it α/√r; yours has the other one": scale(alpha, rank, not rslora),
        "this layer has a rank of its own, by rank_pattern; the shapes in the file show it": scale(alpha, r),
        **own,
        "alpha_pattern has an α of its own for this layer": scale(general, rank),
        "alpha_pattern has an α of its own for this layer, and the shapes show a rank of its own": scale(general, r),
        "a part of a word fits, as v_proj in qkv_proj: a pattern is the whole name, or its end after a dot": scale(
            substring, rank
        ),
        "two patterns fit, and PEFT takes the first of them": scale(later, rank),
        "that is r/α: the other way round": 1 / scale(alpha, rank),
        "that is α; divide it": alpha,
        "it is divided by the wrong side of A, which is [r, d_in]": scale(alpha, _D_IN),
        "it is divided by the wrong side of B, which is [d_out, r]": scale(alpha, _D_OUT),
    }
    for words, value in slips.items():
        if math.isclose(found, value, rel_tol=1e-6):
            return words
    return "α over the rank, or over its root where use_rslora is on"
