"""Low-rank adapters: the layer, its place in a model, and its form on disk."""

from lora_lab.lora.checkpoint import load_adapter, save_adapter
from lora_lab.lora.config import LoRAConfig
from lora_lab.lora.inject import ParameterCount, adapters, count_parameters, disabled, inject, remove
from lora_lab.lora.layers import LoRALinear
from lora_lab.lora.merging import RequantizationLoss, merge, merge_and_remove, requantization_losses, unmerge
from lora_lab.lora.targets import targets

__all__ = [
    "LoRAConfig",
    "LoRALinear",
    "ParameterCount",
    "RequantizationLoss",
    "adapters",
    "count_parameters",
    "disabled",
    "inject",
    "load_adapter",
    "merge",
    "merge_and_remove",
    "remove",
    "requantization_losses",
    "save_adapter",
    "targets",
    "unmerge",
]
