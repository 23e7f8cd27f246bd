"""What is stored of a weight: all that it takes to restore it."""

from typing import NamedTuple

from torch import Tensor

from lora_lab.quant.codebooks import Codebook
from lora_lab.quant.double import QuantizedConstants


class Stored(NamedTuple):
    """Codes and constants of n values, block for block, with a symmetric codebook; unchecked.

    `blockwise.QuantizedTensor` begins with the same four, checks them, and knows the shape too.
    """

    packed: Tensor
    """uint8 [ceil(n / 2)], two codes a byte, the first in the high nibble; one a byte for more than 16 levels."""

    constants: Tensor | QuantizedConstants
    """absmax, float32 [blocks], or what double quantization made of it."""

    codebook: Codebook

    block_size: int
    """Values per block; the last block may be short."""
