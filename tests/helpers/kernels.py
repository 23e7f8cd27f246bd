"""Both kinds of kernels for the tests: where each serves, what it is compared with, and which of it was called."""

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from lora_lab import quant
from lora_lab.quant.kernels import dispatch, trial

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BOOKS = (quant.NF4, quant.FP4_E2M1, quant.FP4_BNB, quant.FP4_E3M0, quant.INT4, quant.normal_float(2))
BLOCKS = (16, 64, 256, 4096)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Kind:
    """Kernels of one compiler.

    Attributes:
        compiler: as people call it.
        name: of its module in `lora_lab.quant.kernels`.
        device: that they are tested on.
    """

    compiler: str
    name: str
    device: str

    @property
    def path(self) -> str:
        return f"lora_lab.quant.kernels.{self.name}"

    @property
    def module(self) -> ModuleType:
        return importlib.import_module(self.path)

    @property
    def missing(self) -> str | None:
        """Why they cannot be tested here, if they cannot."""
        if importlib.util.find_spec(self.compiler.lower()) is None:
            return f"{self.compiler} is not installed, so there are no kernels of its to test"
        if self.name == "cuda" and not INTERPRETED and not torch.cuda.is_available():
            return "there is no GPU, and TRITON_INTERPRET=1 is not set"
        return None

    def serving(self, monkeypatch: pytest.MonkeyPatch) -> Iterator["Kind"]:
        """These kernels for tensors of any size on their device, and everything as it was afterwards."""
        if self.missing:
            pytest.skip(self.missing)
        monkeypatch.setattr(trial, "MODULES", {self.device: self.path})
        monkeypatch.setattr(trial, "COMPILERS", {self.device: self.compiler})
        monkeypatch.setattr(dispatch, "_LEAST", {})
        monkeypatch.setattr(dispatch, "_on", True)
        monkeypatch.setattr(self.module, "INTERPRETED", False)  # as they are here without a GPU, or where mutants run
        if self.name == "cuda" and INTERPRETED:
            _convert_as_a_gpu_does(monkeypatch)
        trial.forget()
        yield self
        trial.forget()

    def called(self, monkeypatch: pytest.MonkeyPatch, *kernels: str) -> list[str]:
        """Which of these kernels are called, in order, after all have been tried."""
        names: list[str] = []
        device = torch.empty(0, device=self.device).device
        for dtype in DTYPES:
            trial.passed(device, dtype, trial.restores)
            if "product" in kernels:
                trial.passed(device, dtype, trial.multiplies)
        for name in kernels:
            kernel = getattr(self.module, name)
            monkeypatch.setattr(self.module, name, lambda *args, n=name, k=kernel: names.append(n) or k(*args))
        return names

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
        return normal(*shape, dtype=dtype, seed=seed).to(self.device)


NUMBA = Kind("Numba", "cpu", "cpu")
TRITON = Kind("Triton", "cuda", "cpu" if INTERPRETED else "cuda")


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def layer_of(d_in: int, d_out: int, dtype: torch.dtype, double: bool, device: str = "cpu") -> quant.Linear4bit:
    linear = torch.nn.Linear(d_in, d_out).to(dtype)
    with torch.no_grad():
        linear.weight.copy_(normal(d_out, d_in, dtype=dtype))
        assert linear.bias is not None
        linear.bias.copy_(normal(d_out, dtype=dtype))
    return quant.Linear4bit.from_linear(linear.to(device), double_quant=double)


def step(layer: quant.Linear4bit, x: Tensor, grad_y: Tensor) -> tuple[Tensor, Tensor]:
    """y, and the gradient of x."""
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(grad_y)
    assert x.grad is not None
    return y.detach(), x.grad


def readable(call: Callable[[], Result]) -> Result:
    """What `call` returns on the readable path."""
    with quant.use_kernels(False):
        return call()


def same(a: Tensor, b: Tensor) -> bool:
    """Bit for bit: 0 is not -0, which `torch.equal` takes for the same number."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().resolve_neg().contiguous().view(-1).view(torch.uint8)


def _convert_as_a_gpu_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter cuts bits off where the language rounds to nearest even, and loses the smallest bf16 numbers."""
    from triton import language as tl
    from triton.runtime import interpreter

    others = interpreter._convert_float

    def convert(data: np.ndarray, source: object, target: object, rounding: object) -> np.ndarray:
        if (source, target) == (tl.float32, tl.bfloat16):
            return torch.tensor(data).bfloat16().view(torch.int16).numpy().view(np.uint16)
        if (source, target) == (tl.bfloat16, tl.float32):
            return data.astype(np.uint32) << 16
        converted: np.ndarray = others(data, source, target, rounding)
        return converted

    monkeypatch.setattr(interpreter, "_convert_float", convert)
