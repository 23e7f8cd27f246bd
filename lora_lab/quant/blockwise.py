"""Block-wise quantization: each block is divided by its largest magnitude, then rounded to a codebook.

    absmax_b = max |w_i| over block b,     code_i = nearest(w_i / absmax_b),     ŵ_i = codebook[code_i] · absmax_b

An asymmetric codebook maps the range of the block, not its largest magnitude, onto [-1, 1]:

    offset_b = (max + min) / 2,     absmax_b = (max - min) / 2,     ŵ_i = codebook[code_i] · absmax_b + offset_b

Source: Dettmers et al., arXiv 2110.02861 (blocks) and arXiv 2305.14314 (4-bit codebooks).
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lora_lab import ranges
from lora_lab.quant import kernels
from lora_lab.quant.codebooks import DYNAMIC8, NF4, Codebook
from lora_lab.quant.double import QuantizedConstants, plain, quantize_constants, toward_zero
from lora_lab.quant.lookup import chunk_size, codes_per_byte, divide, encode
from lora_lab.quant.restoring import restore_weight
from lora_lab.quant.stored import Stored
from lora_lab.units import BLOCK_SIZES


QUANTIZABLE = (torch.float32, torch.bfloat16, torch.float16)

_EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
RESTORABLE = (*QUANTIZABLE, torch.float64, *_EIGHT_BITS)

Constants = Tensor | QuantizedConstants


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A tensor in four or eight bits per value, with one constant per block, or two for an asymmetric codebook.

    Attributes:
        packed: uint8 [ceil(numel / 2)], two codes a byte, the first in the high nibble; uint8 [numel], one a byte, for
            codebooks of more than 16 levels.
        constants: float32 [blocks], or `QuantizedConstants` after double quantization.
        codebook: the levels.
        block_size: values per block; blocks run over the flattened tensor and the last may be short.
        shape: of the original.
        dtype: of the original.
        offsets: like `constants`, for asymmetric codebooks; else None.

    Raises:
        TypeError: for a block size that is no integer.
        ValueError: for parts that do not belong together, or a block size that is not offered.
    """

    packed: Tensor
    constants: Constants
    codebook: Codebook
    block_size: int
    shape: torch.Size
    dtype: torch.dtype
    offsets: Constants | None = None

    def __post_init__(self) -> None:
        numel = math.prod(self.shape)
        object.__setattr__(self, "block_size", _offered(self.block_size))
        blocks = -(-numel // self.block_size)
        packed = -(-numel // codes_per_byte(self.codebook))
        if self.packed.dtype != torch.uint8 or self.packed.dim() != 1 or self.packed.numel() != packed:
            raise ValueError(
                f"{numel} values in {self.codebook.name} are {packed} bytes (uint8), "
                f"not {self.packed.dtype} of shape {tuple(self.packed.shape)}"
            )
        if (self.offsets is not None) != self.codebook.asymmetric:
            raise ValueError(
                f"{self.codebook.name} has {'' if self.codebook.asymmetric else 'no '}offsets: use `quantize`"
            )
        for constants in (self.constants,) if self.offsets is None else (self.constants, self.offsets):
            each = constants.codes if isinstance(constants, QuantizedConstants) else constants
            if each.shape != (blocks,) or not (each is not constants or each.dtype == torch.float32):
                raise ValueError(
                    f"{numel} values in blocks of {self.block_size} have {blocks} constants (float32), "
                    f"not {each.dtype} of shape {tuple(each.shape)}"
                )

    @property
    def stored(self) -> Stored:
        """What lies in memory, but for offsets."""
        return Stored(self.packed, self.constants, self.codebook, self.block_size)

    @property
    def absmax(self) -> Tensor:
        """The constant of each block, float32 [blocks]; after double quantization, as restored."""
        return plain(self.constants)

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is stored. The codebook, the same for all tensors, is not counted."""
        return self.packed.nbytes + self.constants.nbytes + (0 if self.offsets is None else self.offsets.nbytes)

    @property
    def bits_per_param(self) -> float:
        """8 · nbytes / numel."""
        return 8 * self.nbytes / math.prod(self.shape)

    def dequantize(self, dtype: torch.dtype | None = None) -> Tensor:
        """The restored tensor, in `dtype` or in the one that was quantized.

        The product is formed in float32 and rounded once, as bitsandbytes does. In the dtype that was quantized it is
        finite. A dtype of 16 bits with a smaller range makes infinities of what lies beyond, as `.to` does.

        Raises:
            TypeError: for a dtype that is not floating, or not of 8 bits at least.
            ValueError: for a dtype of 8 bits whose range is too small, where `.to` would give NaN.
        """
        dtype = self.dtype if dtype is None else dtype
        if dtype not in RESTORABLE:
            raise TypeError(f"cannot restore weights as {dtype!r}: choose a floating dtype such as torch.bfloat16")
        if dtype in _EIGHT_BITS and self._beyond(dtype).any():
            reach = float(self._reach().max())
            raise ValueError(f"the weights reach {reach:g}, and {dtype} ends at {torch.finfo(dtype).max:g}: scale them")
        if self.offsets is not None or torch.compiler.is_compiling():  # a compiler fuses the formula by itself
            return self._by_formula().to(dtype)
        out = torch.empty(self.shape, dtype=dtype, device=self.packed.device)
        return restore_weight(self.stored, out)

    def _reach(self) -> Tensor:
        """The largest magnitude that each block can restore, float32 [blocks]."""
        return self.absmax.abs() if self.offsets is None else self.absmax.abs() + plain(self.offsets).abs()

    def _beyond(self, dtype: torch.dtype) -> Tensor:
        """Which blocks `dtype` does not hold, bool [blocks]; past the end of one of 8 bits lies NaN."""
        reach = self._reach()
        return reach > torch.finfo(dtype).max if dtype in _EIGHT_BITS else ~torch.isfinite(reach.to(dtype))

    def _by_formula(self) -> Tensor:
        """ŵ = codebook[code] · absmax (+ offset), float32."""
        numel = math.prod(self.shape)
        codes = unpack(self.packed, numel) if codes_per_byte(self.codebook) == 2 else self.packed
        levels = self.codebook.decode(codes)
        blocks = F.pad(levels, (0, -numel % self.block_size)).view(-1, self.block_size) * self.absmax[:, None]
        if self.offsets is not None:
            blocks = blocks + plain(self.offsets)[:, None]
        return blocks.flatten()[:numel].view(self.shape)


def quantize(
    tensor: Tensor,
    codebook: Codebook = NF4,
    block_size: int = 64,
    double_quant: bool | Codebook = False,
    *,
    dtype: torch.dtype | None = None,
) -> QuantizedTensor:
    """Quantize a tensor of any shape to four bits per value, or to eight if the codebook has more than 16 levels.

    Args:
        tensor: float32, bfloat16 or float16.
        codebook: the levels.
        block_size: a power of two from 16 to 4096.
        double_quant: also quantize the constants, to 8 bits: True for bitsandbytes' dynamic map, or one of the
            codebooks that `lora_lab.quant.double` names.
        dtype: what `dequantize` restores by default; None is that of the tensor.

    Raises:
        TypeError: for a tensor of another dtype or a sparse one, a block size that is no integer, a codebook or
            `double_quant` that is none, or a `dtype` to restore that is not floating.
        ValueError: for a tensor that is empty, not finite or on the meta device, or a block size that is not offered.

    >>> q = quantize(torch.tensor([0.5, -1.0]))
    >>> q.dequantize()
    tensor([ 0.4407, -1.0000])
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"cannot quantize a {type(tensor).__name__}: give a tensor")
    if tensor.layout != torch.strided or tensor.is_nested:
        raise TypeError(f"cannot quantize a tensor of layout {tensor.layout}: make it dense first, with .to_dense()")
    if not isinstance(codebook, Codebook):
        raise TypeError(f"codebook={codebook!r} is no Codebook: give one, such as quant.NF4 or get_codebook('NF4')")
    if not isinstance(double_quant, (bool, Codebook)):
        raise TypeError(f"double_quant={double_quant!r} is neither True nor False nor a Codebook: choose one of them")
    if tensor.dtype not in QUANTIZABLE:
        raise TypeError(f"cannot quantize {tensor.dtype}: convert to float32, bfloat16 or float16 first")
    if dtype is not None and dtype not in RESTORABLE:
        raise TypeError(f"cannot restore weights as {dtype!r}: choose a floating dtype such as torch.bfloat16")
    block_size = _offered(block_size)
    if tensor.is_meta:
        raise ValueError("the tensor is on the meta device and has no values: load it before quantizing")
    if tensor.numel() == 0:
        raise ValueError(f"nothing to quantize: the tensor has shape {tuple(tensor.shape)}")
    codes, absmax, offset = _quantize_values(tensor.detach().reshape(-1).contiguous(), codebook, block_size)
    offsets = offset if codebook.asymmetric else None
    single = QuantizedTensor(codes, absmax, codebook, block_size, tensor.shape, dtype or tensor.dtype, offsets)
    if double_quant is False:
        return single
    return _doubly_quantized(single, DYNAMIC8 if double_quant is True else double_quant, tensor.dtype)


def _doubly_quantized(q: QuantizedTensor, second: Codebook, source: torch.dtype) -> QuantizedTensor:
    """`q` with 8-bit constants; their rounding never takes a block beyond the range of the dtype to restore.

    A block that lies there anyway, because that dtype has a smaller range than `source`, which was quantized, stays.
    """
    constants = quantize_constants(q.absmax, second)
    offsets = None if q.offsets is None else quantize_constants(plain(q.offsets), second)
    stored = replace(q, constants=constants, offsets=offsets)
    for step in range(2 * len(second)):  # hardly ever more than none, and then one
        beyond = stored._beyond(q.dtype)
        if q.dtype != source:
            beyond &= ~q._beyond(q.dtype)
        if not beyond.any():
            break
        if offsets is not None and step % 2:
            offsets = toward_zero(offsets, beyond)
        else:
            constants = toward_zero(constants, beyond)
        stored = replace(q, constants=constants, offsets=offsets)
    return stored


def pack(codes: Tensor) -> Tensor:
    """Codes below 16, uint8 [n], two a byte, the first in the high nibble: uint8 [ceil(n / 2)].

    Raises:
        ValueError: for codes of another dtype or shape, or above 15, which would spoil their neighbours.
    """
    if codes.dtype != torch.uint8 or codes.ndim != 1 or (codes > 15).any():
        raise ValueError(f"codes are uint8 [n] from 0 to 15, not {codes.dtype} of shape {tuple(codes.shape)}")
    return _pack(codes)


def _pack(codes: Tensor) -> Tensor:
    pairs = F.pad(codes, (0, len(codes) % 2)).view(-1, 2)
    return torch.add(pairs[:, 1], pairs[:, 0], alpha=16)


def unpack(packed: Tensor, n: int) -> Tensor:
    """The first `n` codes, uint8 [n]: `pack` undone.

    Raises:
        ValueError: for bytes of another dtype or shape, or too few of them.
    """
    if packed.dtype != torch.uint8 or packed.ndim != 1 or not 0 <= n <= 2 * len(packed):
        raise ValueError(f"cannot take {n} codes from {packed.dtype} of shape {tuple(packed.shape)}: two are in a byte")
    return torch.stack([packed >> 4, packed & 15], dim=1).flatten()[:n]


def _quantize_values(values: Tensor, codebook: Codebook, block_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """`_quantize_blocks` in chunks, or by a kernel where one serves."""
    if made := kernels.quantize(values, codebook, block_size):
        _refuse_unless_finite(made[1])
        return *made, values.new_empty(0)
    parts = [_quantize_blocks(chunk, codebook, block_size) for chunk in values.split(chunk_size(values.device))]
    codes, absmax, offset = (torch.cat(part) for part in zip(*parts))
    return codes, absmax, offset


def _quantize_blocks(values: Tensor, codebook: Codebook, block_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Packed codes, absmax and offset (empty for a symmetric codebook) of a run of blocks, the last perhaps short."""
    padding = -len(values) % block_size
    # A short block is filled up with its last value, which changes neither its largest magnitude nor its range.
    filled = values if padding == 0 else torch.cat([values, values[-1:].expand(padding)])
    blocks = filled.view(-1, block_size).float()
    offset = blocks.new_empty(0)
    if codebook.asymmetric:
        low, high = blocks.aminmax(dim=1)
        offset = low / 2 + high / 2  # halved first, because the sum of two large values may overflow
        blocks = blocks - offset[:, None]
    absmax = blocks.abs().amax(dim=1)
    _refuse_unless_finite(absmax)
    codes = encode(divide(blocks, absmax[:, None]), codebook).view(-1)[: len(values)]
    return _pack(codes) if codes_per_byte(codebook) == 2 else codes, absmax, offset


def _refuse_unless_finite(absmax: Tensor) -> None:
    if not torch.isfinite(absmax).all():
        raise ValueError("the tensor holds NaN or infinity, which would spoil its block: repair it before quantizing")


def _offered(block_size: object) -> int:
    size = ranges.whole("block_size", block_size)
    if size not in BLOCK_SIZES:
        raise ValueError(f"block_size {size} is not offered: choose one of {', '.join(map(str, BLOCK_SIZES))}")
    return size
