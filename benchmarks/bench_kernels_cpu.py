"""The kernels for a CPU beyond single calls: generating text, the first call, and where the time of a step goes.

python benchmarks/bench_kernels_cpu.py       # about three minutes; writes results/kernels_cpu.json and README.md

Restoring, quantizing and single products are in `bench_quantize.py` and `bench_linear4bit.py`. bitsandbytes can
multiply 4-bit weights faster on CPUs through the package `kernels`, which fetches from the hub; where that is not
installed, it is compared as it is.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from bench_qlora_step import both, real, stepper
from side_by_side import Pair, main
from torch.profiler import ProfilerActivity, profile

from lora_lab import quant

TOKENS = 8

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")

FIRST = """
import time, torch
from lora_lab import quant
layer = quant.Linear4bit(quant.quantize(torch.ones(16, 64)))
torch.ones(3).sum()
start = time.perf_counter()
quant.quantize(torch.ones(256, 256)).dequantize()
restored = time.perf_counter() - start
layer = quant.Linear4bit(quant.quantize(torch.ones(256, 256)))
layer(torch.ones(1, 256))
print(restored, time.perf_counter() - start)
"""


def generating(model: Any) -> Callable[[], object]:
    """A function that generates eight tokens, one after the other, from four."""
    model.eval()
    prompt = torch.tensor([[1, 2, 3, 4]])
    mask = torch.ones_like(prompt)

    def generate() -> object:
        with torch.inference_mode():
            return model.generate(input_ids=prompt, attention_mask=mask, max_new_tokens=TOKENS, min_new_tokens=TOKENS,
                                  do_sample=False, pad_token_id=0)  # fmt: skip

    return generate


def readable(way: Callable[[], object]) -> Callable[[], object]:
    """The same without kernels."""

    def without() -> object:
        quant.use_kernels(False)
        try:
            return way()
        finally:
            quant.use_kernels(True)

    return without


def pairs() -> Iterator[Pair]:
    """The real model in NF4 with double quantization and LoRA of rank 16 on all its linear layers."""
    ours, theirs = map(generating, both(*real()))
    what = f"generate {TOKENS} tokens with the real model"
    yield Pair(what, "float32", "bitsandbytes + PEFT", {"default": 1.5}, ours, theirs)
    yield Pair(f"{what}, kernels", "float32", "our readable path", {"default": 1.5}, ours, readable(ours))


def first_calls() -> dict[str, list[float]]:
    """Seconds of the first quantize and dequantize in a process, and with a product besides: to compile, and later."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        for name in ("compiled", "cached", "cached again"):
            done = subprocess.run(
                [sys.executable, "-c", FIRST], env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            found[name] = [round(float(part), 2) for part in done.stdout.split()]
    return found


def shares() -> dict[str, float]:
    """Where the time of one QLoRA step of the real model goes, on one thread: seconds."""
    from lora_lab.quant.kernels import cpu

    torch.set_num_threads(1)
    step = stepper(both(*real())[0], torch.randint(0, 500, (4, 128)))
    spent = 0.0

    def timed(kernel: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            nonlocal spent
            start = time.perf_counter()
            try:
                return kernel(*args)
            finally:
                spent += time.perf_counter() - start

        return call

    for name in ("restore", "product"):
        setattr(cpu, name, timed(getattr(cpu, name)))
    step()
    spent, start = 0.0, time.perf_counter()
    step()
    whole = time.perf_counter() - start
    kernels = spent
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    own = {event.key: event.self_cpu_time_total / 1e6 for event in seen.key_averages()}
    products = sum(own.get(name, 0.0) for name in PRODUCTS)
    attention = sum(seconds for name, seconds in own.items() if "attention" in name)
    parts = {"step": whole, "dense products": products, "attention": attention, "kernels": kernels}
    parts["all else"] = whole - products - attention - kernels
    return {name: round(seconds, 3) for name, seconds in parts.items()}


def more() -> dict[str, object]:
    """What is no ratio."""
    return {"first_call_seconds": first_calls(), "step_seconds": shares()}


if __name__ == "__main__":
    main(__file__, pairs, more)
