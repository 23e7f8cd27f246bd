"""What was counted, as `lora-lab memory` says it of a training step: the settings, and what the stack sets of them."""

from collections.abc import Mapping
from typing import Any

from lora_lab import memory
from lora_lab.commands.memory_settings import flag
from lora_lab.memory.stacks import get_stack, own_settings

_UNDER_DEEPSPEED = {
    "precision": "DeepSpeed's optimizer keeps fp32 copies of what trains",
    "upcast_frozen": "until DeepSpeed undoes it",
}
_WHY = dict.fromkeys(("zero1", "zero2", "zero3"), _UNDER_DEEPSPEED) | {
    "fsdp2": {"precision": "accelerate casts what trains to fp32 before it is shared: utils/fsdp_utils.py:815"}
}


def step_line(model: str, typed: Mapping[str, Any], setup: memory.Setup) -> str:
    """Model, method, batch and settings, with all flags that were typed."""
    targets = setup.target_modules if isinstance(setup.target_modules, str) else ",".join(setup.target_modules)
    adapters = f" r={setup.r} on {targets}" if setup.adapted else ""
    shown = {"method", "stack", "r", "target_modules", "batch_size", "seq_len", "optimizer", "precision", "attention"}
    others = "".join(f" {flag(name, value)}" for name, value in typed.items() if name not in shown)
    sequences = f"{setup.batch_size} pair{'s' * (setup.batch_size > 1)} of 2" if typed.get("dpo") else setup.batch_size
    return (
        f"{model}, {setup.method}{adapters}, {sequences} × {setup.seq_len:,} tokens, "
        f"{setup.optimizer}, {setup.precision}, {setup.attention}{',' * bool(others)}{others}"
    )


def stack_line(setup: memory.Setup, typed: Mapping[str, Any]) -> str:
    """The stack and the flags that it sets, with the reason where a sharding is one."""
    stack, sharding = get_stack(setup.stack), typed.get("sharding", "")
    own = own_settings(stack, setup.method, sharding)
    why = _WHY.get(sharding, {})
    sets = [
        flag(name, value) + (f" ({why[name]})" if name in why else "")
        for name, value in own.items()
        if getattr(setup, name) == value
    ]
    return f"{stack.name}, {stack.what}; it sets {' '.join(sets) or 'nothing else'}"
