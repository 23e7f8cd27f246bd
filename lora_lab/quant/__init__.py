"""Four-bit codebooks, block-wise and double quantization, and a linear layer over a 4-bit weight."""

from lora_lab.quant.blockwise import BLOCK_SIZES, QuantizedTensor, pack, quantize, unpack
from lora_lab.quant.codebooks import (
    CODEBOOKS,
    DYNAMIC8,
    FP4_BNB,
    FP4_E2M1,
    FP4_E3M0,
    INT4,
    NF4,
    Codebook,
    dynamic_map,
    get_codebook,
    normal_float,
)
from lora_lab.quant.double import QuantizedConstants, quantize_constants
from lora_lab.quant.linear4bit import Linear4bit
from lora_lab.quant.model import dequantize_model, quantize_model

__all__ = [
    "BLOCK_SIZES",
    "CODEBOOKS",
    "DYNAMIC8",
    "FP4_BNB",
    "FP4_E2M1",
    "FP4_E3M0",
    "INT4",
    "NF4",
    "Codebook",
    "Linear4bit",
    "QuantizedConstants",
    "QuantizedTensor",
    "dequantize_model",
    "dynamic_map",
    "get_codebook",
    "normal_float",
    "pack",
    "quantize",
    "quantize_constants",
    "quantize_model",
    "unpack",
]
