"""Low-rank adapters: the layer, its place in a model, and its form on disk."""

from lora_lab.adapters.checkpoint import load_adapter, save_adapter
from lora_lab.adapters.counting import ParameterCount, count_parameters
from lora_lab.adapters.folding import RequantizationLoss, merge, merge_and_remove, requantization_losses, unmerge
from lora_lab.adapters.naming import passed_over, targets
from lora_lab.adapters.placing import inject, remove
from lora_lab.adapters.register import active, adapters, disabled, names, use
from lora_lab.lora.config import LoRAConfig
from lora_lab.lora.embedding import LoRAEmbedding
from lora_lab.lora.layers import LoRALinear
from lora_lab.lora.pissa import PiSSALinear

__all__ = [
    "LoRAConfig",
    "LoRAEmbedding",
    "LoRALinear",
    "ParameterCount",
    "PiSSALinear",
    "RequantizationLoss",
    "active",
    "adapters",
    "count_parameters",
    "disabled",
    "inject",
    "load_adapter",
    "merge",
    "merge_and_remove",
    "names",
    "passed_over",
    "remove",
    "requantization_losses",
    "save_adapter",
    "targets",
    "unmerge",
    "use",
]
