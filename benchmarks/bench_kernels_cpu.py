"""The kernels for a CPU beyond single calls: generating text, the first call, and where the time of a step goes.

python benchmarks/bench_kernels_cpu.py       # about three minutes; writes results/kernels_cpu.json and README.md

Restoring, quantizing and single products are in `bench_quantize.py` and `bench_linear4bit.py`.

On CPUs that multiply in bf16 (AVX512-BF16) a bitsandbytes layer in eval mode answers inputs without gradients with a
C++ kernel that rounds what it multiplies to bf16, whatever its compute dtype; it is compared with that and without.
Through the package `kernels`, which fetches from the hub, it can multiply faster still; where that is not installed, it
is compared as it is.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import bitsandbytes as bnb
import torch
from bench_qlora_step import both, real, stepper
from side_by_side import Pair, main, readable
from torch.profiler import ProfilerActivity, profile

TOKENS = 8

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")

FIRST = """
import time, torch
from lora_lab import quant
torch.ones(3).sum()
start = time.perf_counter()
import numba
imported = time.perf_counter() - start
layer = quant.Linear4bit(quant.quantize(torch.ones(256, 256)))
layer.dequantize()
restored = time.perf_counter() - start
layer(torch.ones(1, 256))
print(imported, restored, time.perf_counter() - start)
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


def without_bf16(model: Any) -> Any:
    """A model of bitsandbytes without its kernel for CPUs that multiply in bf16."""
    for layer in model.modules():
        if isinstance(layer, bnb.nn.Linear4bit):
            layer.support_avx512bf16_for_cpu = False
    return model


def pairs() -> Iterator[Pair]:
    """The real model in NF4 with double quantization and LoRA of rank 16 on all its linear layers."""
    ours, theirs = both(*real())
    ours, theirs = generating(ours), generating(without_bf16(theirs))
    what, wanted = f"generate {TOKENS} tokens with the real model", {"default": 1.5}
    yield Pair(what, "float32", "bitsandbytes + PEFT", wanted, ours, theirs)
    if bnb.functional.has_avx512bf16():
        rounding = generating(both(*real())[1])
        yield Pair("generating, which it does in bf16 here", "float32", "bitsandbytes + PEFT", wanted, ours, rounding)
    yield Pair("generating without kernels", "float32", "our readable path", wanted, ours, readable(ours))


def errors() -> dict[str, float]:
    """How far logits are off, in the norm, from those with the restored weights in float32."""
    ours, theirs = both(*real())
    torch.manual_seed(0)
    tokens = torch.randint(0, 500, (1, 4))
    found = {}
    with torch.inference_mode():
        exact = readable(lambda: ours.eval()(input_ids=tokens).logits)()
        for name, model in (("lora_lab", ours), ("bitsandbytes", theirs)):
            logits = model.eval()(input_ids=tokens).logits
            found[name] = float((logits - exact).norm() / exact.norm())
    return found


def first_calls() -> dict[str, list[float]]:
    """Seconds until Numba is imported, a weight quantized and restored, a product made: compiled, and in later runs."""
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

    taken = []
    with mock.patch.multiple(cpu, restore=timed(cpu.restore), product=timed(cpu.product)):
        step()
        for _ in range(5):
            spent, start = 0.0, time.perf_counter()
            step()
            taken.append((time.perf_counter() - start, spent))
    whole, kernels = sorted(taken)[2]
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    own = {event.key: event.self_cpu_time_total / 1e6 for event in seen.key_averages()}
    products = sum(own.get(name, 0.0) for name in PRODUCTS)
    attention = sum(seconds for name, seconds in own.items() if "attention" in name)
    parts = {"step": whole, "dense products": products, "attention": attention, "kernels": kernels}
    parts["all else"] = whole - products - attention - kernels
    return {name: round(seconds, 3) for name, seconds in parts.items()}


def more() -> dict[str, object]:
    """What is no ratio, on one thread but for the logits and the first calls."""
    torch.set_num_threads(1)
    return {
        "first_call_seconds": first_calls(),
        "step_seconds": shares(),
        "logits_error": errors(),
        **_lesson_33(),
    }


def _lesson_33() -> dict[str, object]:
    program = [sys.executable, str(Path(__file__).with_name("lesson_33.py"))]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main(__file__, pairs, more)
