"""What every section needs: where it runs, how long it may take, and times that mean something on a GPU."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lora_lab import quant

BEYOND_CACHE = 2**30
"""Bytes that are written before each call: more than any cache holds, and long enough to queue the call meanwhile."""


class Skip(Exception):
    """Why a section cannot be measured here, in a sentence."""


@dataclass(frozen=True)
class Run:
    """One run of one section.

    Attributes:
        device: "cuda" or "cpu".
        toy: small sizes, few repetitions.
        seconds: after which the section will be stopped, if at all.
        real: folder of the real model.
    """

    device: str
    toy: bool
    seconds: float | None = None
    real: Path | None = None
    started: float = field(default_factory=time.perf_counter)

    def synchronize(self) -> None:
        """Wait until the device has done all that it was asked."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def free(self) -> None:
        """Give back what nobody holds any more."""
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def left(self) -> float:
        """Seconds until the section is stopped."""
        return (self.seconds or 1e9) - (time.perf_counter() - self.started)

    def times(self, ways: Mapping[str, Callable[[], object]], seconds: float, at_least: int = 3) -> dict[str, Any]:
        """Milliseconds of each way, taken in turn until `seconds` are over: {name: {"ms", "low", "high", "runs"}}.

        On a GPU events measure its own time, with its cache cold. While the cache is overwritten the host queues the
        call, so that the time of Python counts only where it is longer than that.
        """
        if self.toy:
            seconds, at_least = 0.0, 1
        flush = None if self.toy else torch.empty(BEYOND_CACHE, dtype=torch.uint8, device=self.device)
        for way in ways.values():  # tables, workspaces, compiled code
            way()
        self.synchronize()
        taken: dict[str, list[float]] = {name: [] for name in ways}
        end, turn = time.perf_counter() + seconds, 0
        while turn < at_least or time.perf_counter() < end:
            for name in ways if turn % 2 else reversed(list(ways)):
                taken[name].append(self.once(ways[name], flush))
            turn += 1
        return {name: spread(of) for name, of in taken.items()}

    def once(self, way: Callable[[], object], flush: torch.Tensor | None = None) -> float:
        """Milliseconds of one call; `flush` is overwritten before."""
        if self.device != "cuda":
            start = time.perf_counter()
            way()
            return 1e3 * (time.perf_counter() - start)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        if flush is not None:
            flush.zero_()
        begin.record()
        way()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)


def spread(milliseconds: list[float]) -> dict[str, Any]:
    """Median, quartiles, and how many."""
    low, median, high = np.quantile(milliseconds, [0.25, 0.5, 0.75])
    return {"ms": round(float(median), 5), "low": round(float(low), 5), "high": round(float(high), 5),
            "runs": len(milliseconds)}  # fmt: skip


def ours(way: Callable[[], object]) -> dict[str, Callable[[], object]]:
    """Our way of doing something, by name: readable, and with kernels where the library has any."""
    if not hasattr(quant, "use_kernels"):
        return {"lora_lab": way}

    def switched(on: bool) -> Callable[[], object]:
        def call() -> object:
            quant.use_kernels(on)
            return way()

        return call

    return {"lora_lab": switched(False), "lora_lab kernels": switched(True)}


def name_of(dtype: torch.dtype) -> str:
    """Such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")


DTYPES = (torch.float32, torch.bfloat16, torch.float16)
