"""Which kernels serve a tensor: those of its device, once they have given the numbers of the formula there.

The readable path does the work wherever none serve: without Numba or Triton, for tensors that hold no values, in a
compiled graph, for small tensors on a CPU, and after `use_kernels(False)`. A compiler that fails on a machine, or makes
other numbers there, costs one warning for each thing that it does wrong.
"""

import importlib
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import Timer
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lora_lab.quant import eager
from lora_lab.quant.codebooks import NF4, Codebook
from lora_lab.quant.double import QuantizedConstants, plain
from lora_lab.quant.kernels.interface import Kernels, Part
from lora_lab.quant.stored import Stored
from lora_lab.units import first_line

if TYPE_CHECKING:
    from lora_lab.quant.kernels import cpu, cuda

    _on_cpu: Kernels = cpu  # mypy compares both with what is asked for
    _on_cuda: Kernels = cuda

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_MODULES = {"cpu": "lora_lab.quant.kernels.cpu", "cuda": "lora_lab.quant.kernels.cuda"}
_COMPILERS = {"cpu": "Numba", "cuda": "Triton"}
_LEAST = {"cpu": 2**14}  # values: for fewer it is not worth half a second to load a compiler
_PATIENCE = 1.0  # seconds, after which a first call says what it does

_ON, _OFF = ("on", "1", "true", "yes"), ("off", "0", "false", "no")
_setting = os.environ.get("LORA_LAB_KERNELS", "").strip().lower() or "on"
if _setting not in (*_ON, *_OFF, "quiet"):
    warnings.warn(f"LORA_LAB_KERNELS={_setting!r} is none of on, off, quiet: kernels are on", stacklevel=2)
_on = _setting not in _OFF
_quiet = _setting == "quiet"  # a first call says nothing

_Trial = Callable[[Kernels, torch.device, torch.dtype], bool]

_missing: set[str] = set()  # compilers that cannot be imported
_problems: list[str] = []  # why kernels that can be imported cannot serve, each said once


def use_kernels(on: bool) -> None:
    """Let kernels work where they serve, as they do from the start, or with False leave all to the readable path.

    True also gives those another try that could not serve, or whose package was missing.

    Raises:
        TypeError: for anything but True and False.
    """
    if not isinstance(on, bool):
        raise TypeError(f"use_kernels({on!r}): say True or False")
    global _on
    _on = on
    if on and (_missing or _problems):
        _forget()


def restore(stored: Stored, out: Tensor) -> bool:
    """Whether a kernel has written the restored values to `out`; if not, nothing has happened."""
    kernels = _serving(out, stored.codebook, out.numel())
    if kernels is None or not out.is_contiguous() or not _belong(stored, out, out.numel()):
        return False
    kernels.restore(stored, out)
    return True


def restore_part(stored: Stored, out: Tensor, part: Part) -> bool:
    """The same for a part of a weight."""
    kernels = _serving(out, stored.codebook, out.numel())
    if kernels is None or kernels.restore_part is None or not out.is_contiguous():
        return False
    if not _belong(stored, out, 2 * stored.packed.numel()):
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
    if kernels is None or kernels.product is None or not _belong(stored, x, math.prod(shape)):
        return None
    if x.shape[1] != shape[0 if transposed else 1] or shape[1] % stored.block_size:
        return None
    if not _tried(x.device, x.dtype, _multiplies):
        return None
    return kernels.product(x, stored, shape, transposed)


def describe() -> str:
    """Which kernels are in use, for people."""
    devices = [device for device in _MODULES if device != "cuda" or torch.cuda.is_available()]
    if not _on:
        return "switched off by use_kernels(False) or LORA_LAB_KERNELS=off: the readable path does the work"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they would say is said here
        found = {device: _tried(torch.device(device), torch.float32, _restores) for device in devices}
    named = [f"{kernels.NAME} on {device}" for device, kernels in found.items() if kernels is not None]
    if said := [*named, *_problems]:
        return "; ".join(said)
    return f"none, because {' and '.join(sorted(_missing))} cannot be imported: the readable path does the work"


def _serving(values: Tensor, codebook: Codebook, size: int) -> Kernels | None:
    """The kernels for values on this device, if the case is theirs."""
    device = values.device.type
    if not _on or device not in _MODULES or size < _LEAST.get(device, 1):
        return None
    if values.dtype not in DTYPES or not eager.runs_on(values):
        return None
    if len(codebook) > 16 or codebook.asymmetric:
        return None
    return _tried(values.device, values.dtype, _restores)


def _belong(stored: Stored, values: Tensor, n: int) -> bool:
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
        and _is_vector(constants.scale, torch.float32, -(-blocks // 256), device)
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


@lru_cache
def _tried(device: torch.device, dtype: torch.dtype, trial: _Trial) -> Kernels | None:
    """The kernels of a device, once they have compiled there and given the numbers of the formula."""
    name = _COMPILERS[device.type]
    try:
        with _said_if_slow(f"{name} compiles kernels for this {device.type.upper()}, once: it keeps them"):
            kernels: Kernels = importlib.import_module(_MODULES[device.type])  # type: ignore[assignment]
            if kernels.INTERPRETED:
                problem = f"{name} is told to leave them to Python, which takes a thousand times as long"
            elif trial(kernels, device, dtype):
                return kernels
            else:
                problem = f"their numbers in {dtype} are not those of the formula"
    except ModuleNotFoundError:
        _missing.add(name)
        return None
    except Exception as error:  # a compiler can fail in any way: no cache to write to, a device it does not know
        problem = f"{type(error).__name__}: {first_line(error)}"
    work = "products" if trial is _multiplies else "kernels"
    said = f"{name}'s {work} cannot serve here ({problem}): the readable path does that work"
    if said not in _problems:
        _problems.append(said)
        warnings.warn(f"{said}; quant.use_kernels(True) tries again", stacklevel=2)
    return None


def _forget() -> None:
    """Try each kernel anew when it is next asked for."""
    importlib.invalidate_caches()  # a package may have been installed meanwhile
    _tried.cache_clear()
    _missing.clear()
    _problems.clear()


@contextmanager
def _said_if_slow(what: str) -> Iterator[None]:
    """Print what is done, if it has not been done after a second."""
    timer = Timer(_PATIENCE, lambda: print(f"{what} …", file=sys.stderr, flush=True))
    timer.daemon = True
    if not _quiet:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _restores(kernels: Kernels, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels quantize and restore a few blocks as the formula says, with constants of either kind."""
    values, packed, levels, absmax = _few_blocks(device, dtype)
    made, largest = kernels.quantize(values, NF4, 64)
    if not (torch.equal(made, packed) and torch.equal(largest, absmax)):
        return False
    # One of these constants is another number if table · scale + mean is rounded once, where it is to be rounded twice.
    codes = torch.arange(0, 256, 16, dtype=torch.uint8, device=device)
    double = QuantizedConstants(codes, absmax.new_full((1,), 0.7), absmax.new_tensor(1.3))
    restored = torch.empty_like(values)
    for constants in (absmax, double):
        kernels.restore(Stored(packed, constants, NF4, 64), restored)
        if not torch.equal(restored, (levels * plain(constants)[:, None]).to(dtype).flatten()):
            return False
    return True


def _multiplies(kernels: Kernels, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels multiply with these blocks, as a matrix [8, 128], to the last bits of the sum's order."""
    assert kernels.product is not None
    _, packed, levels, absmax = _few_blocks(device, dtype, huge=False)
    stored, weight = Stored(packed, absmax, NF4, 64), (levels * absmax[:, None]).to(dtype).view(8, 128)
    x, g = weight[:3].contiguous(), weight[:3, :8].contiguous()
    y, back = (kernels.product(each, stored, (8, 128), each is g) for each in (x, g))
    exact = x.double() @ weight.double().T, g.double() @ weight.double()
    return all((made - right).abs().max() < 1e-5 * right.abs().max() for made, right in zip((y, back), exact))


def _few_blocks(device: torch.device, dtype: torch.dtype, huge: bool = True) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values, their codes in NF4, the levels of these [16, 64], and absmax, by the formula."""
    values = torch.linspace(-3, 2, 1024, dtype=torch.float32, device=device).to(dtype)
    if huge:
        values[:64] *= torch.finfo(dtype).max / 4  # whose reciprocal a compiler may flush to zero, as Triton 3.5 does
    blocks = values.float().view(-1, 64)
    absmax = blocks.abs().amax(dim=1)
    codes = NF4.encode(blocks * (1 / absmax)[:, None])
    packed = (codes[:, ::2] * 16 + codes[:, 1::2]).flatten()
    return values, packed, NF4.decode(codes), absmax
