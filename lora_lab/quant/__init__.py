"""Codebooks of four and eight bits, block-wise and double quantization, and a linear layer over a 4-bit weight."""

from lora_lab.quant.blockwise import QuantizedTensor, pack, quantize, unpack
from lora_lab.quant.bnb_checkpoint import load_bitsandbytes, save_bitsandbytes
from lora_lab.quant.choice import PassedOver, passed_over
from lora_lab.quant.codebooks import (
    CODEBOOKS,
    DYNAMIC8,
    FP4_BNB,
    FP4_E2M1,
    FP4_E3M0,
    FP8_E4M3,
    INT4,
    INT4_ASYMMETRIC,
    INT8,
    INT8_ASYMMETRIC,
    NF4,
    Codebook,
    asymmetric_integers,
    dynamic_map,
    get_codebook,
    normal_float,
)
from lora_lab.quant.double import QuantizedConstants, quantize_constants
from lora_lab.quant.fitted import lloyd
from lora_lab.quant.kernels import use_kernels
from lora_lab.quant.linear4bit import Linear4bit
from lora_lab.quant.model import dequantize_model, quantize_model
from lora_lab.quant.report import ErrorReport, LayerError, snr_db
from lora_lab.units import BLOCK_SIZES

__all__ = [
    "BLOCK_SIZES",
    "CODEBOOKS",
    "DYNAMIC8",
    "FP4_BNB",
    "FP4_E2M1",
    "FP4_E3M0",
    "FP8_E4M3",
    "INT4",
    "INT4_ASYMMETRIC",
    "INT8",
    "INT8_ASYMMETRIC",
    "NF4",
    "Codebook",
    "ErrorReport",
    "LayerError",
    "Linear4bit",
    "PassedOver",
    "QuantizedConstants",
    "QuantizedTensor",
    "asymmetric_integers",
    "dequantize_model",
    "dynamic_map",
    "get_codebook",
    "lloyd",
    "load_bitsandbytes",
    "normal_float",
    "pack",
    "passed_over",
    "quantize",
    "quantize_constants",
    "quantize_model",
    "save_bitsandbytes",
    "snr_db",
    "unpack",
    "use_kernels",
]
