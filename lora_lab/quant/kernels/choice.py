"""Which kernels serve a tensor: those of its device, once they have given the numbers of the formula there.

The readable path does the work wherever none serve: without Triton, for tensors that hold no values, in a compiled
graph, and after `use_kernels(False)`. A compiler that fails on a machine, or makes other numbers there, costs one
warning.
"""

import importlib
import warnings
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lora_lab.quant.codebooks import NF4, Codebook
from lora_lab.units import first_line

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_MODULES = {"cuda": "lora_lab.quant.kernels.cuda"}
_PLAIN = (Tensor, nn.Parameter)  # any other class of tensor, such as a fake one, may stand for no memory

_on = True


class DoubleConstants(NamedTuple):
    """The parts of `QuantizedConstants`, unchecked."""

    codes: Tensor  # uint8 [blocks]
    scale: Tensor  # float32 [ceil(blocks / 256)]
    mean: Tensor  # float32 []
    codebook: Codebook


class Kernels(Protocol):
    """What a module of kernels offers, for codebooks of at most 16 levels that are symmetric."""

    NAME: str

    @staticmethod
    def restore(
        packed: Tensor, constants: Tensor | DoubleConstants, codebook: Codebook, block_size: int, out: Tensor
    ) -> None:
        """Write codebook[code] · absmax to `out`, contiguous and of one of `DTYPES`; the last block may be short."""

    @staticmethod
    def quantize(values: Tensor, codebook: Codebook, block_size: int) -> tuple[Tensor, Tensor]:
        """The packed codes, uint8 [ceil(n / 2)], and absmax, float32 [blocks], of values [n], contiguous.

        An absmax that is not finite says that its block holds NaN or infinity, and then its codes mean nothing.
        """


def use_kernels(on: bool) -> None:
    """Let kernels work where they serve, as they do from the start, or with False leave all to the readable path.

    Raises:
        TypeError: for anything but True and False.
    """
    if not isinstance(on, bool):
        raise TypeError(f"use_kernels({on!r}): say True or False")
    global _on
    _on = on


def restore(
    packed: Tensor, constants: Tensor | DoubleConstants, codebook: Codebook, block_size: int, out: Tensor
) -> bool:
    """Whether a kernel has written the restored values to `out`; if not, nothing has happened."""
    kernels = _serving(packed, codebook, out)
    if kernels is None:
        return False
    kernels.restore(packed, constants, codebook, block_size, out)
    return True


def quantize(values: Tensor, codebook: Codebook, block_size: int) -> tuple[Tensor, Tensor] | None:
    """Packed codes and absmax of values [n] by a kernel, unchecked, or None where none serves."""
    kernels = _serving(values, codebook, values)
    return None if kernels is None else kernels.quantize(values, codebook, block_size)


def describe() -> str:
    """Which kernels are in use, for people."""
    devices = [device for device in _MODULES if device != "cuda" or torch.cuda.is_available()]
    if not devices:
        return "none for this device: the readable path does the work"
    if not _on:
        return "switched off by use_kernels(False): the readable path does the work"
    with warnings.catch_warnings(record=True) as problems:
        warnings.simplefilter("always")
        found = {device: _tried(torch.device(device), torch.float32) for device in devices}
    if problems:
        return str(problems[0].message)
    named = [f"{kernels.NAME} on {device}" for device, kernels in found.items() if kernels is not None]
    return ", ".join(named) or "none, because Triton is not installed: the readable path does the work"


def _serving(source: Tensor, codebook: Codebook, values: Tensor) -> Kernels | None:
    """The kernels for tensors on this device, if the case is theirs."""
    if not _on or values.device.type not in _MODULES or torch.compiler.is_compiling():
        return None
    if torch._C._are_functorch_transforms_active():  # a tensor may stand for a whole batch of them
        return None
    if type(source) not in _PLAIN or type(values) not in _PLAIN or values.dtype not in DTYPES:
        return None
    if len(codebook) > 16 or codebook.asymmetric or not values.numel():
        return None
    return _tried(values.device, values.dtype)


@lru_cache
def _tried(device: torch.device, dtype: torch.dtype) -> Kernels | None:
    """The kernels of a device, once they have compiled there and given the numbers of the formula."""
    try:
        kernels: Kernels = importlib.import_module(_MODULES[device.type])  # type: ignore[assignment]
    except ImportError:
        return None
    try:
        right = _right(kernels, device, dtype)
        problem = "their numbers are not those of the formula"
    except Exception as error:  # a compiler can fail in any way: no cache to write to, a device it does not know
        right, problem = False, f"{type(error).__name__}: {first_line(error)}"
    if not right:
        warnings.warn(f"{kernels.NAME} cannot serve here ({problem}): the readable path does the work", stacklevel=2)
    return kernels if right else None


def _right(kernels: Kernels, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels quantize and restore a few blocks as the formula says."""
    values = torch.linspace(-3, 2, 1024, dtype=torch.float32, device=device).to(dtype)
    values[:64] *= torch.finfo(dtype).max / 4  # whose reciprocal a compiler may flush to zero, as Triton 3.5 does
    blocks = values.float().view(-1, 64)
    absmax = blocks.abs().amax(dim=1)
    codes = NF4.encode(blocks * (1 / absmax)[:, None])
    packed = (codes[:, ::2] * 16 + codes[:, 1::2]).flatten()
    wanted = (NF4.decode(codes) * absmax[:, None]).to(dtype).flatten()
    made, largest = kernels.quantize(values, NF4, 64)
    restored = torch.empty_like(values)
    kernels.restore(packed, absmax, NF4, 64, restored)
    return torch.equal(made, packed) and torch.equal(largest, absmax) and torch.equal(restored, wanted)
