"""Whether the kernels of a device can serve there: they compile, and give the numbers of the formula.

Each is tried once for a device and a dtype. A compiler that fails on a machine, or makes other numbers there, costs one
warning for each thing that it does wrong.
"""

import importlib
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from threading import Timer
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lora_lab.quant.codebooks import NF4
from lora_lab.quant.double import QuantizedConstants, plain
from lora_lab.quant.kernels.interface import Kernels
from lora_lab.quant.stored import Stored
from lora_lab.units import first_line

if TYPE_CHECKING:
    from lora_lab.quant.kernels import cpu, cuda

    _on_cpu: Kernels = cpu  # mypy compares both with what is asked for
    _on_cuda: Kernels = cuda

MODULES = {"cpu": "lora_lab.quant.kernels.cpu", "cuda": "lora_lab.quant.kernels.cuda"}
COMPILERS = {"cpu": "Numba", "cuda": "Triton"}
_CACHES = {"cpu": "NUMBA_CACHE_DIR", "cuda": "TRITON_CACHE_DIR"}
PATIENCE = 1.0  # seconds, after which a first call says what it does

Trial = Callable[[Kernels, torch.device, torch.dtype], bool]

quiet = False  # a first call says nothing
missing: set[str] = set()  # compilers that cannot be imported
problems: list[str] = []  # why kernels that can be imported cannot serve, each said once


@lru_cache
def passed(device: torch.device, dtype: torch.dtype, trial: Trial) -> Kernels | None:
    """The kernels of a device, once they have compiled there and given the numbers of the formula.

    Raises:
        RuntimeError: while a CUDA graph is captured, which no trial can be part of; it is held when next asked for.
    """
    if device.type == "cuda" and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            f"a CUDA graph is being captured, and kernels in {dtype} have not been tried: call the model once before, "
            "with as many tokens"
        )
    name, work = COMPILERS[device.type], "products" if trial is multiplies else "kernels"
    cache = ""
    try:
        with _said_if_slow(f"{name} prepares {work} in {dtype} for this {device.type.upper()}, once"):
            if (kernels := _module(device, name)) is None:
                return None
            if kernels.INTERPRETED:
                problem = f"{name} is told to leave them to Python, which takes a thousand times as long"
            elif trial(kernels, device, dtype):
                return kernels
            else:
                problem = f"their numbers in {dtype} are not those of the formula"
    except Exception as error:  # a compiler can fail in any way: no cache to write to, a device it does not know
        problem = f"{type(error).__name__}: {first_line(error)}"
        if isinstance(error, OSError | EOFError | pickle.UnpicklingError) or "cannot cache" in problem:
            cache = f"; a folder that you may write to, as {_CACHES[device.type]} before Python starts, may help"
    said = f"{name}'s {work} cannot serve here ({problem}): the readable path does that work"
    if said not in problems:
        problems.append(said)
        warnings.warn(f"{said}{cache}; quant.use_kernels(True) tries again", stacklevel=2)
    return None


def _module(device: torch.device, name: str) -> Kernels | None:
    """The kernels of a device, if its compiler is installed."""
    try:
        module: Kernels = importlib.import_module(MODULES[device.type])  # type: ignore[assignment]
    except ModuleNotFoundError:
        missing.add(name)
        return None
    return module


def forget() -> None:
    """Try each anew when it is next asked for."""
    importlib.invalidate_caches()  # a package may have been installed meanwhile
    passed.cache_clear()
    missing.clear()
    problems.clear()


@contextmanager
def _said_if_slow(what: str) -> Iterator[None]:
    """Print what is done, if it has not been done after a second."""
    timer = Timer(PATIENCE, lambda: print(f"{what} …", file=sys.stderr, flush=True))
    timer.daemon = True
    if not quiet:
        with suppress(RuntimeError):  # no thread can be had: then nothing is said
            timer.start()
    try:
        yield
    finally:
        timer.cancel()


def restores(kernels: Kernels, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels quantize and restore a few blocks as the formula says, with constants of either kind."""
    values, packed, levels, absmax = _few_blocks(device, dtype)
    made, largest = kernels.quantize(values, NF4, 64)
    if not (torch.equal(made, packed) and torch.equal(largest, absmax)):
        return False
    restored = torch.empty_like(values)
    for constants in _of_either_kind(absmax):
        kernels.restore(Stored(packed, constants, NF4, 64), restored)
        if not torch.equal(restored, (levels * plain(constants)[:, None]).to(dtype).flatten()):
            return False
    return True


def multiplies(kernels: Kernels, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels multiply with these blocks, as a matrix [8, 128], to the last bits of the sum's order."""
    _, packed, levels, absmax = _few_blocks(device, dtype, huge=False)
    for constants in _of_either_kind(absmax):
        stored, weight = Stored(packed, constants, NF4, 64), (levels * plain(constants)[:, None]).to(dtype).view(8, 128)
        for x, turned in ((weight[:3].contiguous(), False), (weight[:3, :8].contiguous(), True)):
            made = kernels.product(x, stored, (8, 128), turned)
            right = x.double() @ (weight if turned else weight.T).double()
            if not (made - right).abs().max() < 1e-5 * right.abs().max():
                return False
    return True


def _of_either_kind(absmax: Tensor) -> tuple[Tensor, QuantizedConstants]:
    """These constants, and sixteen of double quantization.

    One of them is another number if table · scale + mean is rounded once, where it is to be rounded twice.
    """
    codes = torch.arange(0, 256, 16, dtype=torch.uint8, device=absmax.device)
    return absmax, QuantizedConstants(codes, absmax.new_full((1,), 0.7), absmax.new_tensor(1.3))


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
