"""Double quantization: the constants of the blocks are themselves quantized.

With blocks of 64 a float32 constant costs 32/64 = 0.5 bit per weight. Quantized to 8 bits in blocks of 256,
it costs 8/64 + 32/(64·256) = 0.127.

    absmax ≈ codebook[code] · scale + mean

The mean is subtracted first, because the constants are all positive and the codebooks symmetric. Three codebooks serve:

    DYNAMIC8    bitsandbytes', and the default
    FP8_E4M3    one reading of the paper's "8-bit Floats"; it does not say which
    INT8        evenly spaced, the simplest

Source: Dettmers et al., "QLoRA", arXiv 2305.14314, section 3, "Double Quantization".
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_lab.quant.codebooks import DYNAMIC8, Codebook
from lora_lab.quant.lookup import divide, encode, restore

BLOCK_SIZE = 256


@dataclass(frozen=True, eq=False)
class QuantizedConstants:
    """absmax [n], stored as one byte each.

    Attributes:
        codes: uint8 [n].
        scale: float32 [ceil(n / 256)], the largest |absmax - mean| of each block of 256.
        mean: float32 [].
        codebook: the levels, more than 16.

    Raises:
        ValueError: for parts that do not belong together.
    """

    codes: Tensor
    scale: Tensor
    mean: Tensor
    codebook: Codebook = DYNAMIC8

    def __post_init__(self) -> None:
        codes, scale, mean = self.codes, self.scale, self.mean
        if codes.dtype != torch.uint8 or scale.dtype != torch.float32 or mean.dtype != torch.float32:
            raise ValueError(
                f"constants are uint8 codes with float32 scale and mean, not {codes.dtype}, {scale.dtype}, {mean.dtype}"
            )
        blocks = -(-codes.numel() // BLOCK_SIZE)
        if codes.dim() != 1 or scale.dim() != 1 or scale.numel() != blocks or mean.dim():
            raise ValueError(
                f"constants of shape {tuple(codes.shape)} need one scale for each {BLOCK_SIZE} of them and one mean, "
                f"got scales of {tuple(scale.shape)} and a mean of {tuple(mean.shape)}"
            )

    def dequantize(self) -> Tensor:
        """absmax, float32 [n]."""
        if torch.compiler.is_compiling():
            scale = self.scale.repeat_interleave(BLOCK_SIZE)[: len(self.codes)]
            return self.codebook.decode(self.codes) * scale + self.mean
        return restore_constants(self.codes, self.scale, self.mean, self.codebook)

    @property
    def nbytes(self) -> int:
        """Bytes of all three tensors."""
        return self.codes.nbytes + self.scale.nbytes + self.mean.nbytes


def quantize_constants(absmax: Tensor, codebook: Codebook = DYNAMIC8) -> QuantizedConstants:
    """Quantize block constants to 8 bits.

    Args:
        absmax: float32 [n].
        codebook: symmetric, of 17 to 256 levels.

    Raises:
        TypeError: for constants that are not a float32 tensor, or a codebook that is none.
        ValueError: for another codebook, or constants that are no finite vector or further apart than float32 reaches.
    """
    if not isinstance(absmax, Tensor) or absmax.dtype != torch.float32:
        raise TypeError(f"constants are a float32 tensor, not {getattr(absmax, 'dtype', type(absmax).__name__)}")
    if not isinstance(codebook, Codebook):
        raise TypeError(f"codebook={codebook!r} is no Codebook: give one, such as quant.INT8")
    if absmax.ndim != 1 or len(absmax) == 0 or not torch.isfinite(absmax).all():
        raise ValueError(f"constants are one finite number for each block, got shape {tuple(absmax.shape)}")
    if len(codebook) <= 16 or codebook.asymmetric:
        raise ValueError(
            f"codebook {codebook.name!r} does not serve for constants: choose a symmetric 8-bit one, DYNAMIC8, "
            "FP8_E4M3 or INT8"
        )
    mean = absmax.mean()
    if not torch.isfinite(mean):  # the sum of huge constants overflows
        mean = absmax.double().mean().float()
    centred = absmax - mean
    blocks = F.pad(centred, (0, -len(centred) % BLOCK_SIZE)).view(-1, BLOCK_SIZE)
    scale = blocks.abs().amax(dim=1)
    if not torch.isfinite(scale).all():  # offsets of both signs near the end of float32
        raise ValueError("the constants lie further apart than float32 reaches: quantize without double_quant")
    codes = encode(divide(blocks, scale[:, None]), codebook).flatten()[: len(absmax)].clone()  # without the padding
    return QuantizedConstants(codes, scale, mean, codebook)


def restore_constants(codes: Tensor, scale: Tensor, mean: Tensor, codebook: Codebook) -> Tensor:
    """absmax, float32 [n], of the parts of `QuantizedConstants`, which are not checked."""
    out = torch.empty(codes.shape, dtype=torch.float32, device=codes.device)
    return restore(codes, scale, codebook, BLOCK_SIZE, out).add_(mean)


def plain(constants: Tensor | QuantizedConstants) -> Tensor:
    """Constants of either kind as they are used, float32 [n]."""
    return constants.dequantize() if isinstance(constants, QuantizedConstants) else constants


def toward_zero(stored: QuantizedConstants, where: Tensor) -> QuantizedConstants:
    """The next smaller constant, in magnitude, `where` bool [n] says so."""
    codes = stored.codes - where * stored.dequantize().sign()
    return replace(stored, codes=codes.clamp(0, len(stored.codebook) - 1).to(torch.uint8))
