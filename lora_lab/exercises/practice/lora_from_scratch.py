"""Exercises 03: what an adapter costs, what a target names, and the names in its file."""

import random
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import quantities, required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task

Sizes = dict[str, int]


def _shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
    """d_in and d_out of the seven matrices of a block."""
    hidden, inner = sizes["hidden"], sizes["intermediate"]
    queries, keys = sizes["heads"] * sizes["head_dim"], sizes["kv_heads"] * sizes["head_dim"]
    return {"q_proj": (hidden, queries), "k_proj": (hidden, keys), "v_proj": (hidden, keys),
            "o_proj": (queries, hidden), "gate_proj": (hidden, inner), "up_proj": (hidden, inner),
            "down_proj": (inner, hidden)}  # fmt: skip


def _lora_numbers(sizes: Sizes, targets: list[str], r: int) -> int:
    shapes = _shapes(sizes)
    return sizes["layers"] * r * sum(sum(shapes[name]) for name in targets)


def _adapted_names(names: list[str], targets: list[str]) -> tuple[list[str], list[str]]:
    def means(target: str, name: str) -> bool:
        return name == target or name.endswith("." + target)

    adapted = [name for name in names if any(means(target, name) for target in targets)]
    return adapted, [target for target in targets if not any(means(target, name) for name in names)]


def _peft_tensors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    ours = {key: tensor for key, tensor in state.items() if key.rpartition(".")[2] in ("lora_A", "lora_B")}
    return {f"base_model.model.{key}.weight": tensor for key, tensor in ours.items()}


@task(reference=lambda: _lora_numbers)
def lora_numbers(lora_numbers: Any) -> None:
    """r (d_in + d_out) for every target in every block; keys and values have fewer heads."""
    cases: list[tuple[Sizes, list[str], int]] = []
    for _ in range(3):
        heads = 4 * _whole_between(2, 6)
        hidden, inner = random.choice((37, 41, 53, 59)), random.choice((97, 103, 127))  # primes: no slip counts right
        sizes = {"hidden": hidden, "intermediate": inner}
        sizes |= {"heads": heads, "kv_heads": heads // 4, "head_dim": _whole_between(5, 9)}
        sizes |= {"layers": _whole_between(10, 15)}
        r = _whole_between(2, 9)
        cases += [(sizes, [name], r) for name in ("up_proj", "q_proj", "k_proj", "o_proj", "down_proj")]
        cases += [(sizes, ["q_proj", "v_proj"], r), (sizes, list(_shapes(sizes)), r)]
    for sizes, targets, r in cases:
        handed = {"sizes": dict(sizes), "targets": list(targets)}
        with untouched(**handed):
            found = lora_numbers(handed["sizes"], handed["targets"], r)
        if isinstance(found, Tensor) and found.numel() == 1:
            found = found.item()
        number = quantities.number(found, f"for {', '.join(targets)}")
        wanted = sum(r * d_in + d_out * r for _ in range(sizes["layers"]) for d_in, d_out in _of(sizes, targets))
        if number != wanted:
            said = f"for {', '.join(targets)} with r = {r} in a model of {sizes}"
            raise Wrong(f"{said}: {_why_numbers(number, sizes, targets, r)}", yours=found, wanted=wanted)


def _of(sizes: Sizes, targets: list[str]) -> list[tuple[int, int]]:
    return [_shapes(sizes)[name] for name in targets]


def _why_numbers(number: float, sizes: Sizes, targets: list[str], r: int) -> str:
    layers, shapes = sizes["layers"], _of(sizes, targets)
    per_rank = sum(map(sum, shapes))
    no_groups = sum(map(sum, _of(sizes | {"kv_heads": sizes["heads"]}, targets)))
    square = sum(map(sum, _of(sizes | {"kv_heads": 1, "heads": 1, "head_dim": sizes["hidden"]}, targets)))
    one_head = sum(map(sum, _of(sizes | {"kv_heads": 1, "heads": 1}, targets)))
    kv_of_hidden = sum(map(sum, _of(sizes | {"head_dim": sizes["hidden"] // sizes["heads"]}, targets)))
    slips = {
        "that is one block: there are `layers` of them": r * per_rank,
        "that is one rank: A has r rows, and B r columns": layers * per_rank,
        "d_in · d_out counts the frozen matrix: A has r · d_in numbers and B d_out · r": (
            layers * sum(d_in * d_out for d_in, d_out in shapes)
        ),
        "d_in · d_out · r: A and B are two thin matrices, whose numbers add": (
            layers * r * sum(d_in * d_out for d_in, d_out in shapes)
        ),
        "that counts A alone: B has d_out · r numbers": layers * r * sum(d_in for d_in, _ in shapes),
        "that counts B alone: A has r · d_in numbers": layers * r * sum(d_out for _, d_out in shapes),
        "A and B are counted twice": 2 * layers * r * per_rank,
        "keys and values have kv_heads heads, fewer than queries": layers * r * no_groups,
        "attention is not square: queries have heads · head_dim numbers, whatever hidden is": layers * r * square,
        "head_dim is one head: queries have heads of them, keys and values kv_heads": layers * r * one_head,
        "use head_dim as it is given: it need not be hidden / heads": layers * r * kv_of_hidden,
        "that is all seven matrices: only the targets are adapted": (
            layers * r * sum(map(sum, _shapes(sizes).values()))
        ),
    }
    why = (words for words, slip in slips.items() if number == slip)
    return next(why, "add r · (d_in + d_out) for each target, in each block")


def _whole_between(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, ()))


_NAMES = [
    "model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj", "model.layers.1.mlp.up_proj",
    "model.layers.1.mlp.backup_proj", "model.layers.11.self_attn.q_proj", "model.layers.11.self_attn.q_proj_norm",
    "model.layers.11.mlp.up_proj", "model.vision.q_proj", "model.vision.up_proj.gate", "lm_head",
    "model.layers.1.mlp.fc", "model.layers.1.mlp_fc",
]  # fmt: skip


@task(reference=lambda: _adapted_names)
def adapted_names(adapted_names: Any) -> None:
    """The names that a target means, in the model's order, and the targets that mean none."""
    names = [_NAMES[i] for i in torch.randperm(len(_NAMES)).tolist()]
    first, other = "model.layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj"
    for targets in (
        ["q_proj"], ["up_proj"], ["v_proj", "q_proj"], ["self_attn.q_proj"], ["1.self_attn.q_proj"], ["lm_head"],
        ["q_proj", "self_attn.q_proj"], ["mlp", "v_proj", "o_proj"], ["mlp.fc"],
    ):  # fmt: skip
        handed = {"names": list(names), "targets": list(targets)}
        with untouched(**handed):
            found = adapted_names(handed["names"], handed["targets"])
        if isinstance(found, (list, tuple)) and any(isinstance(each, str) for each in found):
            raise Wrong(
                "yours gives one list of names alone, wanted two: the second has the targets that mean no layer"
            )
        lists = required.several(found, 2, "two lists: the adapted names and the targets that mean no layer")
        if not all(isinstance(each, (list, tuple)) for each in lists):
            raise Wrong(f"yours gives {' and '.join(type(each).__name__ for each in lists)}, wanted two lists")
        adapted, missed = (list(each) for each in lists)
        wanted = [name for name in names if any(f".{name}"[-len(t) - 1 :] == f".{t}" for t in targets)]
        unmatched = [t for t in targets if not any(f".{name}".endswith(f".{t}") for name in names)]
        said = f"for the targets {targets}"
        if adapted != wanted:
            why = _why_names(adapted, wanted, names)
            if targets == ["1.self_attn.q_proj"] and other in adapted and first in adapted:
                why = f"{other} ends in these letters too, but its part is 11: a target begins after a dot"
            raise Wrong(f"{said}: {why}")
        if missed != unmatched:
            why = "nothing has one of these names; give those targets, in their order, in the second list"
            if missed and not unmatched:
                why = "each of them means a layer: the second list is empty then"
            if set(missed) == set(names) - set(wanted):
                why = "the second list is of targets without a layer, not of layers without a target"
            raise Wrong(f"{said}: {why}", yours=missed, wanted=unmatched)


def _why_names(adapted: list[Any], wanted: list[str], names: list[str]) -> str:
    if len(set(map(str, adapted))) < len(adapted):
        return "a layer stands there twice: it is adapted once, whichever of the targets name it"
    if set(map(str, adapted)) == set(wanted):
        return "these are the right layers, in another order: keep that of the model"
    for name in adapted:
        if name not in names:
            return f"{name!r:.60} is no name of the model: give whole names, as they come"
    surplus = [name for name in adapted if name not in wanted]
    missing = [name for name in wanted if name not in adapted]
    if surplus and surplus[0].endswith(("q_proj_norm", "up_proj.gate")):
        return f"{surplus[0]} holds the target, but goes on after it: a target stands at the end of a name"
    if surplus and surplus[0].endswith("backup_proj"):
        return f"{surplus[0]} ends in these letters, but its last part is backup_proj: a target begins after a dot"
    if surplus and surplus[0].endswith("mlp_fc"):
        return f"the dot of the target is no dot in {surplus[0]}: in a regular expression it means any character"
    if surplus:
        return f"{surplus[0]} is none of them: a target is the whole name, or its last parts"
    if missing[0] == "lm_head":
        return "lm_head has no dot before it: a target may also be the whole name"
    return f"{missing[0]} is left out: a target may be one part or several, and means every name that ends in it"


@task(reference=lambda: _peft_tensors)
def peft_tensors(peft_tensors: Any) -> None:
    """A and B of every adapted layer, and nothing else, by the names in PEFT's file."""
    state, wanted = {}, {}
    for name, (d_out, d_in) in {
        "model.layers.0.self_attn.q_proj": (6, 4), "model.layers.0.mlp.up_proj": (5, 4), "score": (3, 4),
        "model.layers.1.self_attn.q_proj": (6, 4),
    }.items():  # fmt: skip
        state[f"{name}.base.weight"] = torch.randn(d_out, d_in)
        for factor, size in (("lora_A", (2, d_in)), ("lora_B", (d_out, 2))):
            state[f"{name}.{factor}"] = torch.randn(size)
            wanted[".".join(["base_model", "model", name, factor, "weight"])] = state[f"{name}.{factor}"]
    state |= {"model.embed.weight": torch.randn(7, 4), "model.lora_A_norm.weight": torch.randn(4),
              "model.layers.0.self_attn.q_proj.base.bias": torch.randn(6)}  # fmt: skip
    with untouched(state=state):
        found = peft_tensors(state)
    if not isinstance(found, dict):
        raise Wrong(f"yours gives {'None' if found is None else 'a ' + type(found).__name__}, wanted a dictionary")
    _require_names(list(found), list(wanted))
    for key, tensor in wanted.items():
        each = required.tensor(found[key], f"your tensor {key}", tensor.shape, tensor.dtype)
        if not torch.equal(each.detach(), tensor):
            raise Wrong(f"{key} holds other numbers than the layer's {key.split('.')[-2]}", yours=each, wanted=tensor)


def _require_names(found: list[str], wanted: list[str]) -> None:
    if set(found) == set(wanted):
        return
    if surplus := [key for key in found if "base.weight" in key or "base.bias" in key or "embed" in key]:
        raise Wrong(f"{surplus[0]} is of the base, which everybody has: A and B alone are saved")
    if any("lora_A_norm" in key for key in found):
        raise Wrong(
            "model.lora_A_norm.weight is a norm of the base: only names whose last part is lora_A or lora_B count"
        )
    for key in found:
        if "default" in key:
            raise Wrong(f"{key}: “default” stands in the names of a running PEFT model; its file leaves it out")
        if not key.startswith("base_model.model."):
            raise Wrong(f"{key}: in the file every name begins with what PEFT puts around a model, base_model.model.")
        if not key.endswith(".weight"):
            raise Wrong(f"{key}: PEFT's A and B are linear layers, whose tensor is a .weight")
    missing = [key for key in wanted if key not in found]
    if missing and missing[0].startswith("base_model.model.score") and len(missing) <= 2:
        raise Wrong("the layer score is missing: it is not below model, and is adapted all the same")
    if missing:
        raise Wrong(f"{len(missing)} of the {len(wanted)} tensors have no such name in yours; your first name is "
                    f"{found[0] if found else 'missing'!s:.80}")  # fmt: skip
    raise Wrong("there are names in yours that belong to no adapter")
