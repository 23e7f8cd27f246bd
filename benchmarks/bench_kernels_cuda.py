"""Restore and quantize on a GPU: the Triton kernels against the readable path, bitsandbytes and a plain copy.

python benchmarks/bench_kernels_cuda.py            # under a minute; writes results/kernels_cuda.json
python benchmarks/bench_kernels_cuda.py --sweep    # other tiles too: the constants of `kernels/cuda.py`

First every number is compared with the readable path's, on the GPU and on the CPU. Then each way is timed by CUDA
events, one call at a time, after a write that is larger than the GPU's cache. A kernel's share is the time of a copy
that reads and writes as many bytes, over the kernel's.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lora_lab import quant
from lora_lab.commands import machine
from lora_lab.disk import atomic_path

OUT = Path(__file__).parent / "results" / "kernels_cuda.json"
SIZES = ((4096, 4096), (8192, 8192))
BLOCK = 64
FLUSH = 256 * 2**20  # bytes
RUNS = 40

Way = Callable[[], object]


def main() -> int:
    """Check, measure, write; 1 if a number is not the readable path's."""
    parser = argparse.ArgumentParser(description="Triton kernels against bitsandbytes and a copy")
    parser.add_argument("--sweep", action="store_true", help="time other tiles and cuts, too")
    parser.add_argument("--out", type=Path, default=OUT, help="the file to write")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no CUDA device here, so there is nothing to measure")
        return 0
    try:
        from lora_lab.quant.kernels import cuda
    except ImportError:
        print("Triton is not installed, so there are no kernels to measure")
        return 0
    start = time.perf_counter()
    wrong, compared = differences()
    print(json.dumps({"compared": compared, "wrong": wrong, "seconds": round(time.perf_counter() - start, 1)}))
    if wrong:
        return 1
    rows = []
    parts = [restoring(), quantizing(), layers(), *([sweep(), sweep_of_products()] if options.sweep else [])]
    for row in itertools.chain(*parts):
        rows.append(row)
        print(json.dumps(row), flush=True)
    versions = {"triton": cuda.NAME.split()[-1], "bitsandbytes": getattr(_bitsandbytes(), "__version__", "none")}
    record = {"machine": machine.describe() | versions, "compared": compared, "rows": rows}
    options.out.parent.mkdir(exist_ok=True)
    with atomic_path(options.out) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({"seconds": round(time.perf_counter() - start, 1), "file": str(options.out)}))
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# The numbers


def differences() -> tuple[list[str], int]:
    """What a kernel computes otherwise than the readable path, by name, and how many cases were compared."""
    wrong, compared = [], 0
    books = (quant.NF4, quant.INT4, quant.FP4_BNB, quant.normal_float(3))
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    cases = itertools.product((16, 64, 4096), ((256, 192), (101, 77)), dtypes, (False, True))
    for (block, shape, dtype, double), book in zip(cases, itertools.cycle(books)):
        on_cpu = _awkward(shape, dtype)
        tensor = on_cpu.cuda()
        fast = quant.quantize(tensor, book, block, double)
        restored = fast.dequantize()
        with quant.use_kernels(False):
            slow, same = quant.quantize(tensor, book, block, double), fast.dequantize()
        there = quant.quantize(on_cpu, book, block)
        compared += 1
        equal = torch.equal(fast.packed, slow.packed) and torch.equal(fast.absmax, slow.absmax)
        equal &= torch.equal(restored, same) and torch.equal(fast.packed.cpu(), there.packed)
        if not equal:
            wrong.append(f"{book.name}, blocks of {block}, {shape}, {dtype}, double_quant={double}")
    for bad in (float("nan"), float("inf")):
        tensor = torch.ones(1000, device="cuda")
        tensor[777] = bad
        try:
            quant.quantize(tensor)
            wrong.append(f"{bad} is not refused")
        except ValueError:
            compared += 1
    return wrong, compared


def _awkward(shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
    """Normal weights with zeros, the smallest and the largest magnitudes, and values on midpoints."""
    torch.manual_seed(0)
    weight = torch.randn(shape)
    weight[:30] *= torch.logspace(-45, 3, 30)[:, None]
    weight[30:60] = 0
    weight[60:90, :15] = quant.NF4.midpoints
    weight[60:90, 15:] = 1
    return weight.to(dtype)


# ---------------------------------------------------------------------------------------------------------------------
# The times


def restoring() -> Iterator[dict[str, Any]]:
    """A whole weight, with plain constants and with double quantization."""
    bnb = _bitsandbytes()
    for shape, dtype, double in itertools.product(SIZES, (torch.bfloat16, torch.float32), (False, True)):
        weight = torch.randn(shape, device="cuda", dtype=dtype)
        q = quant.quantize(weight, block_size=BLOCK, double_quant=double)
        ways: dict[str, Way] = {"kernel": q.dequantize, "readable": _readable(q.dequantize)}
        if bnb:
            codes, state = bnb.functional.quantize_4bit(
                weight, blocksize=BLOCK, quant_type="nf4", compress_statistics=double
            )
            ways["bitsandbytes"] = partial(bnb.functional.dequantize_4bit, codes, state)
        moved = q.nbytes + weight.nbytes
        yield _row("restore, double quantization" if double else "restore", shape, dtype, moved, ways)


def quantizing() -> Iterator[dict[str, Any]]:
    """A whole weight; "kernel" is the launch alone, "whole" is `quant.quantize`, which looks for NaN afterwards."""
    from lora_lab.quant.kernels import cuda

    bnb = _bitsandbytes()
    for shape, dtype in itertools.product(SIZES, (torch.bfloat16, torch.float32)):
        weight = torch.randn(shape, device="cuda", dtype=dtype)
        ways: dict[str, Way] = {
            "kernel": partial(cuda.quantize, weight.view(-1), quant.NF4, BLOCK),
            "whole": partial(quant.quantize, weight, block_size=BLOCK),
            "readable": _readable(partial(quant.quantize, weight, block_size=BLOCK)),
        }
        if bnb:
            ways["bitsandbytes"] = partial(bnb.functional.quantize_4bit, weight, blocksize=BLOCK, quant_type="nf4")
        yield _row("quantize", shape, dtype, quant.quantize(weight).nbytes + weight.nbytes, ways)


def layers() -> Iterator[dict[str, Any]]:
    """`Linear4bit` forward, double quantization; one token, which starting kernels would time, is `gpu.py`'s."""
    bnb = _bitsandbytes()
    size, across = SIZES[0]
    linear = torch.nn.Linear(across, size, bias=False, device="cuda", dtype=torch.bfloat16)
    ours = quant.Linear4bit.from_linear(linear)
    theirs = None
    if bnb:
        theirs = bnb.nn.Linear4bit(across, size, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
        theirs.weight = bnb.nn.Params4bit(linear.weight.data.cpu(), requires_grad=False, quant_type="nf4")
        theirs.cuda()
    for tokens in (16, 256):
        x = torch.randn(tokens, across, device="cuda", dtype=torch.bfloat16)
        ways: dict[str, Way] = {"kernel": partial(ours, x), "readable": _readable(partial(ours, x))}
        if theirs is not None:
            ways["bitsandbytes"] = partial(theirs, x)
        with torch.no_grad():
            yield _row(f"Linear4bit forward, {tokens} tokens", SIZES[0], x.dtype, None, ways)


def sweep() -> Iterator[dict[str, Any]]:
    """The kernels with other tiles: 4 to 32 values a thread, 1 to 8 warps a program."""
    from lora_lab.quant.kernels import cuda

    for dtype in (torch.bfloat16, torch.float32):
        weight = torch.randn(SIZES[-1], device="cuda", dtype=dtype)
        plain, double = (quant.quantize(weight, block_size=BLOCK, double_quant=d) for d in (False, True))
        out = torch.empty_like(weight)
        ways = {
            "restore": partial(cuda.restore, plain.stored, out),
            "restore, double": partial(cuda.restore, double.stored, out),
            "quantize": partial(cuda.quantize, weight.view(-1), quant.NF4, BLOCK),
        }
        for each, warps in itertools.product((4, 8, 16, 32), (1, 2, 4, 8)):
            tile = cuda.Tile(32 * warps * each, warps)
            times = {name: timed(partial(way, tile=tile), runs=12)[1] for name, way in ways.items()}
            yield {"what": "sweep", "dtype": str(dtype)[6:], "values": tile.values, "warps": warps, "ms": times}


def sweep_of_products() -> Iterator[dict[str, Any]]:
    """One token, with other cuts: 16 to 64 values a thread, and for sums over rows other numbers of parts."""
    from lora_lab.quant.kernels import cuda

    for shape in ((1024, 4096), (4096, 4096), (14336, 4096)):
        stored = quant.quantize(torch.randn(shape, device="cuda", dtype=torch.bfloat16), double_quant=True).stored
        for transposed in (False, True):
            x = torch.randn(1, shape[0 if transposed else 1], device="cuda", dtype=torch.bfloat16)
            rows, columns = ((16, 32, 64), (64, 128, 256)) if transposed else ((1, 2, 4, 8), (512, 1024, 2048))
            splits = (4, 8, 16) if transposed else (1, 2)
            for cut in map(cuda.Slices._make, itertools.product(rows, columns, (1, 2, 4, 8), splits)):
                if 16 <= cut.rows * cut.columns / cut.warps / 32 <= 64:
                    ms = timed(partial(cuda.product, x, stored, shape, transposed, cut), runs=12)[1]
                    yield {"what": "sweep of products", "shape": list(shape), "transposed": transposed,
                           **cut._asdict(), "ms": ms}  # fmt: skip


def timed(way: Way, runs: int = RUNS) -> list[float]:
    """Lower quartile, median and upper quartile of the time of a call on the GPU, milliseconds."""
    way(), way()
    flush = torch.empty(FLUSH, dtype=torch.uint8, device="cuda")
    starts, ends = ([torch.cuda.Event(enable_timing=True) for _ in range(runs)] for _ in range(2))
    for start, end in zip(starts, ends):
        flush.zero_()
        start.record()
        way()
        end.record()
    torch.cuda.synchronize()
    times = torch.tensor([start.elapsed_time(end) for start, end in zip(starts, ends)])
    return [round(t, 4) for t in times.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()]


def launches(way: Way) -> int | None:
    """How many kernels a call launches, copies and fills included; None where the profiler does not work."""
    way()
    torch.cuda.synchronize()
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            way()
            torch.cuda.synchronize()
        device = torch.autograd.DeviceType.CUDA
        return sum(event.device_type == device for event in profile.events()) or None
    except (RuntimeError, AssertionError, AttributeError):
        return None


def _row(
    what: str, shape: tuple[int, int], dtype: torch.dtype, moved: int | None, ways: dict[str, Way]
) -> dict[str, Any]:
    """One line of the results: of each way the quartiles in ms and the launches, and what the kernel makes of it."""
    row: dict[str, Any] = {"what": what, "shape": list(shape), "dtype": str(dtype)[6:]}
    row["ms"], row["launches"] = {}, {}
    for name, way in ways.items():
        try:
            row["ms"][name], row["launches"][name] = timed(way), launches(way)
        except Exception as error:
            if name != "bitsandbytes":  # a peer that fails on this machine has no time, and the rest goes on
                raise
            row["failed"] = f"bitsandbytes: {type(error).__name__}: {error}"
    kernel = row["ms"]["kernel"][1]
    row["times"] = {name: round(ms[1] / kernel, 2) for name, ms in row["ms"].items() if name != "kernel"}
    if moved is not None:
        source = torch.empty(moved // 2, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        row["ms"]["copy"] = timed(lambda: target.copy_(source))
        row["share_of_copy"] = round(row["ms"]["copy"][1] / kernel, 3)
        row["gb_per_s"] = round(moved / kernel / 1e6)
    return row


def _readable(way: Way) -> Way:
    def without() -> object:
        with quant.use_kernels(False):
            return way()

    return without


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError:
        return None
    return bitsandbytes


if __name__ == "__main__":
    sys.exit(main())
