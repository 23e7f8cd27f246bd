"""Copy bandwidth, and quantizing and restoring weights against it and against bitsandbytes."""

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from on_gpu.common import DTYPES, Run, Skip, name_of, ours
from torch import Tensor

from lora_lab import quant

Row = dict[str, Any]


def bandwidth(run: Run) -> Iterator[Row]:
    """GB/s of a copy within the device's memory, bytes read and bytes written."""
    for mib in (1,) if run.toy else (64, 128, 256, 512, 1024):
        times, rate = copied(run, mib)
        yield {"what": "copy", "mib": mib, **times, "gb_s": rate}


def copied(run: Run, mib: int) -> tuple[Row, float]:
    """Times of a copy of so many MiB, and GB/s, bytes read and bytes written."""
    source = torch.ones(mib * 2**20, dtype=torch.uint8, device=run.device)
    target = torch.empty_like(source)
    times = run.times({"copy": lambda: target.copy_(source)}, 0.4)["copy"]
    return times, round(2 * source.nbytes / times["ms"] / 1e6, 1)


def quantize(run: Run) -> Iterator[Row]:
    """NF4 in blocks of 64: times, and codes and constants that differ from bitsandbytes'."""
    from bitsandbytes import functional

    for row, weight, double in _cases(run, "quantize"):
        options = _options(double)
        ways = {"bitsandbytes": partial(functional.quantize_4bit, weight, **options)} | ours(
            partial(quant.quantize, weight, double_quant=double)
        )
        packed, state = functional.quantize_4bit(weight, **options)
        mine = quant.quantize(weight, double_quant=double)
        theirs = packed.flatten()
        row["codes_that_differ"] = sum(
            int((part(mine.packed) != part(theirs)).sum()) for part in (lambda b: b >> 4, lambda b: b & 15)
        )
        row["constants_that_differ"] = int((_stored(mine) != state.absmax.flatten()).sum())
        yield row | _with_rates(run.times(ways, _share(run)), weight.nbytes + mine.nbytes, row["copy_gb_s"])


def dequantize(run: Run) -> Iterator[Row]:
    """The same weights restored: times, and values that differ from bitsandbytes'."""
    from bitsandbytes import functional

    for row, weight, double in _cases(run, "dequantize"):
        packed, state = functional.quantize_4bit(weight, **_options(double))
        mine = quant.quantize(weight, double_quant=double)
        ways = {"bitsandbytes": partial(functional.dequantize_4bit, packed, state)} | ours(mine.dequantize)
        restored, theirs = mine.dequantize(), functional.dequantize_4bit(packed, state)
        row["values_that_differ"] = int((restored != theirs).sum())
        row["largest_difference"] = float((restored.float() - theirs.float()).abs().max())
        row["largest_value"] = float(theirs.abs().max())
        yield row | _with_rates(run.times(ways, _share(run)), weight.nbytes + mine.nbytes, row["copy_gb_s"])


def kernels(run: Run) -> Iterator[Row]:
    """The kernels against the readable path bit for bit, and a 4-bit layer with 16 tokens and more."""
    if find_spec("lora_lab.quant.kernels") is None or not hasattr(quant, "use_kernels"):
        raise Skip("this version of lora_lab has no kernels")
    yield from _bit_for_bit(run)
    from on_gpu.stacks import bitsandbytes_linear

    d_in, d_out = (128, 64) if run.toy else (4096, 14336)
    for dtype in (torch.bfloat16,) if run.toy else DTYPES[:2]:
        weight = torch.randn(d_out, d_in, device=run.device, dtype=dtype) * 0.02
        layers = {"bitsandbytes": bitsandbytes_linear(weight), "lora_lab": quant.Linear4bit(
            quant.quantize(weight, double_quant=True))}  # fmt: skip
        for tokens in (16,) if run.toy else (16, 256, 2048):
            x = torch.randn(tokens, d_in, device=run.device, dtype=dtype, requires_grad=True)
            seed = torch.randn(tokens, d_out, device=run.device, dtype=dtype)

            def both(layer: Any, x: Tensor = x, seed: Tensor = seed) -> Tensor:
                return torch.autograd.grad(layer(x), x, seed)[0]

            ways = {"bitsandbytes": partial(both, layers["bitsandbytes"])} | ours(partial(both, layers["lora_lab"]))
            yield {"what": "Linear4bit, forward and backward", "shape": [d_out, d_in], "dtype": name_of(dtype),
                   "tokens": tokens, "ways": run.times(ways, 0.5)}  # fmt: skip


def _bit_for_bit(run: Run) -> Iterator[Row]:
    for shape in ((7, 64), (33, 100)) if run.toy else ((1, 1), (33, 100), (1000, 1001), (4096, 4096)):
        for dtype in DTYPES:
            for double in (False, True):
                weight = torch.randn(shape, device=run.device, dtype=dtype)
                made = []
                for on in (False, True):
                    with quant.use_kernels(on):
                        q = quant.quantize(weight, double_quant=double)
                        made.append((q.packed, _stored(q), q.dequantize(), q.dequantize(torch.float32)))
                equal = all(torch.equal(a, b) for a, b in zip(*made))
                yield {"what": "kernels equal the readable path", "shape": list(shape), "dtype": name_of(dtype),
                       "double_quant": double, "equal": equal}  # fmt: skip


def _cases(run: Run, what: str) -> Iterator[tuple[Row, Tensor, bool]]:
    copy = copied(run, 1 if run.toy else 512)[1]
    for shape in ((64, 128),) if run.toy else ((4096, 4096), (11008, 4096)):
        for dtype in DTYPES:
            torch.manual_seed(0)
            weight = (torch.randn(shape, device=run.device) * 0.02).to(dtype)
            for double in (False, True):
                yield {"what": what, "shape": list(shape), "dtype": name_of(dtype), "double_quant": double,
                       "copy_gb_s": copy}, weight, double  # fmt: skip


def _options(double: bool) -> dict[str, Any]:
    return {"blocksize": 64, "compress_statistics": double, "quant_type": "nf4"}


def _share(run: Run) -> float:
    return min(0.7, (run.seconds or 60) / 40)


def _with_rates(ways: dict[str, Row], touched: int, copy: float) -> Row:
    """Bytes read and written, each once, per second, and what share of a copy's rate that is."""
    for times in ways.values():
        times["gb_s"] = round(touched / times["ms"] / 1e6, 1)
        times["of_copy"] = round(times["gb_s"] / copy, 3)
    return {"bytes": touched, "ways": ways}


def _stored(q: quant.QuantizedTensor) -> Tensor:
    return q.constants.codes if isinstance(q.constants, quant.QuantizedConstants) else q.constants
