"""Block-wise 4-bit quantization: each block is divided by its largest magnitude, then rounded to a codebook.

    absmax_b = max |w_i| over block b,     code_i = nearest(w_i / absmax_b),     ŵ_i = codebook[code_i] · absmax_b

Source: Dettmers et al., arXiv 2110.02861 (blocks) and arXiv 2305.14314 (4-bit codebooks).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lora_lab.quant.codebooks import NF4, Codebook
from lora_lab.quant.double import QuantizedConstants, quantize_constants

BLOCK_SIZES = tuple(2**k for k in range(4, 13))


@dataclass(frozen=True)
class QuantizedTensor:
    """A tensor in four bits per value, with one constant per block.

    Attributes:
        packed: uint8 [ceil(numel / 2)], two codes a byte, the first in the high nibble.
        constants: float32 [blocks], or `QuantizedConstants` after double quantization.
        codebook: the levels.
        block_size: values per block; blocks run over the flattened tensor and the last may be short.
        shape: of the original.
        dtype: of the original.
    """

    packed: Tensor
    constants: Tensor | QuantizedConstants
    codebook: Codebook
    block_size: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def absmax(self) -> Tensor:
        """The constant of each block, float32 [blocks]; after double quantization, as restored."""
        return self.constants.dequantize() if isinstance(self.constants, QuantizedConstants) else self.constants

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is stored. The codebook, the same for all tensors, is not counted."""
        return self.packed.nbytes + self.constants.nbytes

    @property
    def bits_per_param(self) -> float:
        """8 · nbytes / numel."""
        return 8 * self.nbytes / math.prod(self.shape)

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """The restored tensor, in `dtype` or in the one that was quantized.

        The product is formed in float32 and rounded once, as bitsandbytes does.
        """
        numel = math.prod(self.shape)
        levels = self.codebook.decode(unpack(self.packed, numel))
        padded = torch.nn.functional.pad(levels, (0, -numel % self.block_size)).view(-1, self.block_size)
        return (padded * self.absmax[:, None]).flatten()[:numel].view(self.shape).to(dtype or self.dtype)


def quantize(
    tensor: Tensor, codebook: Codebook = NF4, block_size: int = 64, double_quant: bool = False
) -> QuantizedTensor:
    """Quantize a tensor of any shape to four bits per value.

    Args:
        tensor: float32, bfloat16 or float16.
        codebook: at most 16 levels.
        block_size: a power of two from 16 to 4096.
        double_quant: also quantize the constants, to 8 bits (see `lora_lab.quant.double`).

    Raises:
        TypeError: for a tensor of another dtype.
        ValueError: for a tensor that is empty or not finite, a block size that is not offered, or a codebook that
            does not fit four bits.

    >>> q = quantize(torch.tensor([0.5, -1.0]))
    >>> q.dequantize()
    tensor([ 0.4407, -1.0000])
    """
    if tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise TypeError(f"cannot quantize {tensor.dtype}: convert to float32, bfloat16 or float16 first")
    if block_size not in BLOCK_SIZES:
        raise ValueError(f"block_size {block_size} is not offered: choose one of {', '.join(map(str, BLOCK_SIZES))}")
    if len(codebook) > 16:
        raise ValueError(f"codebook {codebook.name!r} has {len(codebook)} levels: four bits hold 16")
    if tensor.numel() == 0:
        raise ValueError(f"nothing to quantize: the tensor has shape {tuple(tensor.shape)}")
    if not torch.isfinite(tensor).all():
        raise ValueError("the tensor holds NaN or infinity, which would spoil its block: repair it before quantizing")
    flat = tensor.detach().float().flatten()
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % block_size)).view(-1, block_size)
    absmax = blocks.abs().amax(dim=1)
    codes = codebook.encode(_scaled(blocks, absmax[:, None])).flatten()[: len(flat)]
    constants = quantize_constants(absmax) if double_quant else absmax
    return QuantizedTensor(pack(codes), constants, codebook, block_size, tensor.shape, tensor.dtype)


def pack(codes: Tensor) -> Tensor:
    """Codes below 16, uint8 [n], two a byte, the first in the high nibble: uint8 [ceil(n / 2)]."""
    pairs = torch.nn.functional.pad(codes, (0, len(codes) % 2)).view(-1, 2)
    return pairs[:, 0] << 4 | pairs[:, 1]


def unpack(packed: Tensor, n: int) -> Tensor:
    """The first `n` codes, uint8 [n]: `pack` undone."""
    return torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:n]


def _scaled(blocks: Tensor, absmax: Tensor) -> Tensor:
    """blocks / absmax, by way of the reciprocal where it is finite, which is what bitsandbytes computes.

    The reciprocal of a magnitude below 2^-128 overflows, and that of zero is infinite; there we divide.
    """
    inverse = 1 / absmax
    divided = blocks / torch.where(absmax > 0, absmax, 1.0)
    return torch.where(torch.isfinite(inverse), blocks * inverse, divided)
