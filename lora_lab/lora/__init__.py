"""Low-rank adapters: the layer, its place in a model, and its form on disk."""

from lora_lab.lora.checkpoint import load_adapter, save_adapter
from lora_lab.lora.inject import (
    ParameterCount,
    adapters,
    count_parameters,
    disabled,
    inject,
    merge,
    merge_and_remove,
    remove,
    targets,
    unmerge,
)
from lora_lab.lora.layers import LoRAConfig, LoRALinear

__all__ = [
    "LoRAConfig",
    "LoRALinear",
    "ParameterCount",
    "adapters",
    "count_parameters",
    "disabled",
    "inject",
    "load_adapter",
    "merge",
    "merge_and_remove",
    "remove",
    "save_adapter",
    "targets",
    "unmerge",
]
