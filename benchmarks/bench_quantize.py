"""Quantize and dequantize a 4096 x 4096 weight: lora_lab against bitsandbytes.

python benchmarks/bench_quantize.py          # about two minutes; writes results/quantize.json and README.md
"""

from collections.abc import Iterator
from functools import partial

import bitsandbytes.functional as bnb
import torch
from side_by_side import Pair, main, readable

from lora_lab import quant
from lora_lab.quant.restoring import restore_weight


WANTED = {  # to restore: fresh memory, the same warm, into a reused buffer
    "float32": (0.9, 0.8, 5),
    "bfloat16": (0.9, 0.5, 3),
}


def pairs() -> Iterator[Pair]:
    """NF4 in blocks of 64, without double quantization."""
    torch.manual_seed(0)
    weight = torch.randn(4096, 4096)
    for dtype, (fresh, warm, reused) in WANTED.items():
        w = weight.to(getattr(torch, dtype))
        ours = quant.quantize(w)
        theirs, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4")
        assert torch.equal(ours.packed, theirs.flatten()) and torch.equal(ours.absmax, state.absmax)
        assert torch.equal(ours.dequantize(), bnb.dequantize_4bit(theirs, state))
        out = torch.empty_like(w)
        into = partial(restore_weight, ours.stored, out)
        quantize = partial(quant.quantize, w)
        yield Pair("quantize 4096²", dtype, "bitsandbytes", {"default": 20, "warm": 20}, quantize,
                   partial(bnb.quantize_4bit, w, blocksize=64, quant_type="nf4"))  # fmt: skip
        yield Pair("quantizing without kernels", dtype, "our readable path", {}, quantize, readable(quantize))
        restore = partial(bnb.dequantize_4bit, theirs, state)
        yield Pair(
            "dequantize 4096²", dtype, "bitsandbytes", {"default": fresh, "warm": warm}, ours.dequantize, restore
        )
        yield Pair("dequantize 4096² into a reused buffer", dtype, "bitsandbytes",
                   {"default": reused}, into, restore)  # fmt: skip
        copied = {"default": 1 / 1.3} if dtype == "float32" else {}
        yield Pair("the same, a copy of as many values", dtype, "a copy", copied, into, partial(out.copy_, w))


if __name__ == "__main__":
    main(__file__, pairs)
