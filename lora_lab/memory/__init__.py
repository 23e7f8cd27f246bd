"""What a training step needs: predicted in closed form, simulated, measured.

Closed forms load neither torch nor transformers; what runs a step is imported when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lora_lab.memory.budget import Choice, cheapest_method, fit
from lora_lab.memory.cards import GPU, GPUS, get_gpu
from lora_lab.memory.closed_form import estimate
from lora_lab.memory.gpus import (
    UTILISATION,
    Fit,
    flops_per_token,
    gpus_that_fit,
    process_bytes,
    tokens_per_second,
)
from lora_lab.memory.generation import cache_bytes, fit_inference, inference, weight_bytes
from lora_lab.memory.checkpoints import loading
from lora_lab.memory.parallel import SHARDINGS, estimate_rank
from lora_lab.memory.pairs import preference
from lora_lab.memory.presets import PRESETS, Preset, load_config
from lora_lab.memory.reach import (
    StoredWeights,
    adapted,
    constant_bytes,
    lora_parameters,
    packed_bytes,
    quantized_weights,
)
from lora_lab.memory.result import COMPONENTS, PHASES, MemoryEstimate, Moment
from lora_lab.memory.settings import OPTIMIZERS, PRECISIONS, Setup
from lora_lab.memory.shapes import LinearShape, ParameterGroups, active_parameters, linears, parameters
from lora_lab.units import METHODS

if TYPE_CHECKING:
    from lora_lab.memory.measurement import measure
    from lora_lab.memory.simulation import simulate
    from lora_lab.memory.step import real_step

_RUN = {"measure": "measurement", "simulate": "simulation", "real_step": "step"}


def __getattr__(name: str) -> Any:
    if name in _RUN:
        return getattr(importlib.import_module(f"lora_lab.memory.{_RUN[name]}"), name)
    raise AttributeError(f"module 'lora_lab.memory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "COMPONENTS",
    "GPU",
    "GPUS",
    "METHODS",
    "OPTIMIZERS",
    "PHASES",
    "PRECISIONS",
    "PRESETS",
    "SHARDINGS",
    "UTILISATION",
    "Choice",
    "Fit",
    "LinearShape",
    "MemoryEstimate",
    "Moment",
    "ParameterGroups",
    "Preset",
    "Setup",
    "StoredWeights",
    "active_parameters",
    "adapted",
    "cache_bytes",
    "cheapest_method",
    "constant_bytes",
    "estimate",
    "estimate_rank",
    "fit",
    "fit_inference",
    "flops_per_token",
    "get_gpu",
    "gpus_that_fit",
    "inference",
    "linears",
    "load_config",
    "loading",
    "lora_parameters",
    "measure",
    "packed_bytes",
    "parameters",
    "preference",
    "process_bytes",
    "quantized_weights",
    "real_step",
    "simulate",
    "tokens_per_second",
    "weight_bytes",
]
