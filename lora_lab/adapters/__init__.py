"""What every adapter shares, whatever its method: where it goes, how it is used, folded, saved and loaded."""

from lora_lab.adapters.adapter import Adapter
from lora_lab.adapters.checkpoint import load_adapter, save_adapter
from lora_lab.adapters.config import AdapterConfig
from lora_lab.adapters.counting import ParameterCount, count_parameters
from lora_lab.adapters.folding import RequantizationLoss, merge, merge_and_remove, requantization_losses, unmerge
from lora_lab.adapters.naming import passed_over, targets
from lora_lab.adapters.placing import inject, remove
from lora_lab.adapters.register import active, adapters, disabled, names, use

__all__ = [
    "Adapter",
    "AdapterConfig",
    "ParameterCount",
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
