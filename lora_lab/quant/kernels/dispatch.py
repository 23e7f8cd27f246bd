"""Which kernels serve a tensor: those of its device, where they have passed their trial.

The readable path does the work wherever none serve: without Numba or Triton, for tensors that hold no values, in a
compiled graph, for small tensors on a CPU, and after `use_kernels(False)`.
"""

import math
import os
import warnings

import torch
from torch import Tensor

from lora_lab.quant import eager
from lora_lab.quant.codebooks import Codebook
from lora_lab.quant.double import BLOCK_SIZE, QuantizedConstants
from lora_lab.quant.kernels import trial
from lora_lab.quant.kernels.interface import Kernels, Part
from lora_lab.quant.stored import Stored

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_LEAST = {"cpu": 2**14}  # values: for fewer it is not worth half a second to load a compiler

_ON, _OFF = ("on", "1", "true", "yes"), ("off", "0", "false", "no")
_setting = os.environ.get("LORA_LAB_KERNELS", "").strip().lower() or "on"
if _setting not in (*_ON, *_OFF, "quiet"):
    warnings.warn(f"LORA_LAB_KERNELS={_setting!r} is none of on, off, quiet: kernels are on", stacklevel=2)
_on = _setting not in _OFF
trial.quiet = _setting == "quiet"


class use_kernels:
    """Let kernels work where they serve, as they do from the start, or with False leave all to the readable path.

        quant.use_kernels(False)                from here on
        with quant.use_kernels(False): ...      until its end; then as before the call

    For all threads: of two such blocks at once the last to end decides. True also gives those another try that could
    not serve, or whose package was missing. The environment variable LORA_LAB_KERNELS=off has them off from the start,
    and with =quiet no first call says what it does.

    Raises:
        TypeError: for anything but True and False.
    """

    def __init__(self, on: bool) -> None:
        if not isinstance(on, bool):
            raise TypeError(f"use_kernels({on!r}): say True or False")
        self._wanted, self._before = on, _on
        _switch(on)
        if on and (trial.missing or trial.problems):
            trial.forget()

    def __enter__(self) -> None:
        _switch(self._wanted)  # again, where it was kept for later

    def __exit__(self, *error: object) -> None:
        _switch(self._before)  # without another try, which would cost another warning

    def __repr__(self) -> str:
        return f"kernels are {'on' if _on else 'off'}"  # what a cell that ends with the call shows


def _switch(on: bool) -> None:
    global _on
    _on = on


def restore(stored: Stored, out: Tensor) -> bool:
    """Whether a kernel has written the restored values to `out`; if not, nothing has happened."""
    kernels = _serving(out, stored.codebook, out.numel())
    if kernels is None or not out.is_contiguous() or not _fits(stored, out, out.numel()):
        return False
    kernels.restore(stored, out)
    return True


def restore_part(stored: Stored, out: Tensor, part: Part) -> bool:
    """The same for a part of a weight."""
    kernels = _serving(out, stored.codebook, out.numel())
    if kernels is None or kernels.restore_part is None or not out.is_contiguous():
        return False
    if not _fits(stored, out, 2 * stored.packed.numel()):
        return False
    kernels.restore_part(stored, out, part)
    return True


def quantize(values: Tensor, codebook: Codebook, block_size: int) -> tuple[Tensor, Tensor] | None:
    """Packed codes and absmax of values [n] by a kernel, unchecked, or None where none serves."""
    kernels = _serving(values, codebook, len(values))
    if kernels is None or not values.is_contiguous():
        return None
    return kernels.quantize(values, codebook, block_size)


def product(x: Tensor, stored: Stored, shape: tuple[int, int], transposed: bool) -> Tensor | None:
    """x · Ŵᵀ, or, transposed, x · Ŵ, in float32 by a kernel that never makes Ŵ, or None where none serves.

    Args:
        x: [tokens, d_in], or [tokens, d_out] if transposed.
        shape: d_out and d_in; where this is no whole number of blocks, or x is not as wide, none serves.
    """
    kernels = _serving(x, stored.codebook, 2 * stored.packed.numel())
    if kernels is None or not _fits(stored, x, math.prod(shape)):
        return None
    if x.shape[1] != shape[0 if transposed else 1] or shape[1] % stored.block_size:
        return None
    if not trial.passed(x.device, x.dtype, trial.multiplies):
        return None
    return kernels.product(x, stored, shape, transposed)


def describe() -> str:
    """Which kernels are in use, for people."""
    devices = [device for device in trial.MODULES if device != "cuda" or torch.cuda.is_available()]
    if not _on:
        return "switched off by use_kernels(False) or LORA_LAB_KERNELS=off: the readable path does the work"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they would say is said here
        found = {device: trial.passed(torch.device(device), torch.float32, trial.restores) for device in devices}
    named = [f"{kernels.NAME} on {device}" for device, kernels in found.items() if kernels is not None]
    missing = f"{' and '.join(sorted(trial.missing))} cannot be imported"
    if said := [*named, *trial.problems]:
        return "; ".join([*said, missing] if trial.missing else said)
    return f"none, because {missing}: the readable path does the work"


def _serving(values: Tensor, codebook: Codebook, size: int) -> Kernels | None:
    """The kernels for values on this device, if the case is theirs."""
    device = values.device.type
    if not _on or device not in trial.MODULES or size < _LEAST.get(device, 1):
        return None
    if values.dtype not in DTYPES or not eager.runs_on(values):
        return None
    if len(codebook) > 16 or codebook.asymmetric:
        return None
    return trial.passed(values.device, values.dtype, trial.restores)


def _fits(stored: Stored, values: Tensor, n: int) -> bool:
    """Whether the parts are those of n values, and lie where `values` do: a kernel believes it.

    Where they are not, the readable path says what is wrong.
    """
    packed, constants, _, block_size = stored
    blocks, device = -(-n // block_size), values.device
    if not _is_vector(packed, torch.uint8, -(-n // 2), device):
        return False
    if not isinstance(constants, QuantizedConstants):
        return _is_vector(constants, torch.float32, blocks, device)
    return (
        _is_vector(constants.codes, torch.uint8, blocks, device)
        and _is_vector(constants.scale, torch.float32, -(-blocks // BLOCK_SIZE), device)
        and _is_vector(constants.mean, torch.float32, 1, device)
    )


def _is_vector(part: Tensor, dtype: torch.dtype, count: int, device: torch.device) -> bool:
    """Whether so many numbers of this dtype lie side by side there, a single one perhaps as a scalar."""
    return (
        eager.is_plain(part)
        and part.dtype == dtype
        and part.numel() == count
        and part.is_contiguous()
        and part.dim() <= 1
        and part.device == device
    )
