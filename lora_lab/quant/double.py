"""Double quantization: the constants of the blocks are themselves quantized.

With blocks of 64 a float32 constant costs 32/64 = 0.5 bit per weight. Quantized to 8 bits in blocks of 256,
it costs 8/64 + 32/(64·256) = 0.127.

Source: Dettmers et al., "QLoRA", arXiv 2305.14314, section 3. The paper names an 8-bit float; bitsandbytes, which
we follow, uses its dynamic 8-bit map.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from lora_lab.quant.codebooks import DYNAMIC8

BLOCK_SIZE = 256


@dataclass(frozen=True)
class QuantizedConstants:
    """absmax [n], stored as one byte each.

    absmax ≈ DYNAMIC8[codes] · scale + mean

    Attributes:
        codes: uint8 [n].
        scale: float32 [ceil(n / 256)], the largest |absmax - mean| of each block of 256.
        mean: float32 [], subtracted first because constants are all positive and the map is symmetric.
    """

    codes: Tensor
    scale: Tensor
    mean: Tensor

    def dequantize(self) -> Tensor:
        """absmax, float32 [n]."""
        scale = self.scale.repeat_interleave(BLOCK_SIZE)[: len(self.codes)]
        return DYNAMIC8.decode(self.codes) * scale + self.mean

    @property
    def nbytes(self) -> int:
        """Bytes of all three tensors."""
        return self.codes.nbytes + self.scale.nbytes + self.mean.nbytes


def quantize_constants(absmax: Tensor) -> QuantizedConstants:
    """Quantize block constants to 8 bits.

    Args:
        absmax: float32 [n].
    """
    mean = absmax.mean()
    centred = absmax - mean
    blocks = torch.nn.functional.pad(centred, (0, -len(centred) % BLOCK_SIZE)).view(-1, BLOCK_SIZE)
    scale = blocks.abs().amax(dim=1)
    inverse = torch.where(scale > 0, 1 / scale, 0.0)
    codes = DYNAMIC8.encode(blocks * inverse[:, None]).flatten()[: len(absmax)]
    return QuantizedConstants(codes, scale, mean)
