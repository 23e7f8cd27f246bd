"""What a training step needs: predicted in closed form, simulated, measured."""

from lora_lab.memory.budget import Choice, cheapest_method, fit
from lora_lab.memory.closed_form import estimate
from lora_lab.memory.gpus import (
    GPU,
    GPUS,
    UTILISATION,
    Fit,
    flops_per_token,
    get_gpu,
    gpus_that_fit,
    process_bytes,
    tokens_per_second,
)
from lora_lab.memory.measurement import measure
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
from lora_lab.memory.simulation import simulate
from lora_lab.memory.step import real_step
from lora_lab.units import METHODS

__all__ = [
    "COMPONENTS",
    "GPU",
    "GPUS",
    "METHODS",
    "OPTIMIZERS",
    "PHASES",
    "PRECISIONS",
    "PRESETS",
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
    "cheapest_method",
    "constant_bytes",
    "estimate",
    "fit",
    "flops_per_token",
    "get_gpu",
    "gpus_that_fit",
    "linears",
    "load_config",
    "lora_parameters",
    "measure",
    "packed_bytes",
    "parameters",
    "process_bytes",
    "quantized_weights",
    "real_step",
    "simulate",
    "tokens_per_second",
]
