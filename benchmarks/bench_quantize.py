"""Quantize and dequantize a 4096 x 4096 weight: lora_lab against bitsandbytes.

python benchmarks/bench_quantize.py          # about a minute; writes results/quantize.json and README.md
"""

from collections.abc import Iterator

import bitsandbytes.functional as bnb
import torch
from side_by_side import Pair, main

from lora_lab import quant


def pairs() -> Iterator[Pair]:
    """NF4 in blocks of 64, without double quantization."""
    torch.manual_seed(0)
    weight = torch.randn(4096, 4096)
    for dtype, quantize, dequantize in (("float32", 8, 3), ("bfloat16", 5, 1.6)):
        w = weight.to(getattr(torch, dtype))
        ours = quant.quantize(w)
        theirs, state = bnb.quantize_4bit(w, blocksize=64, quant_type="nf4")
        assert torch.equal(ours.packed, theirs.flatten()) and torch.equal(ours.absmax, state.absmax)
        assert torch.equal(ours.dequantize(), bnb.dequantize_4bit(theirs, state))
        yield Pair("quantize 4096²", dtype, "bitsandbytes", {"default": quantize, "warm": quantize},
                   lambda w=w: quant.quantize(w),
                   lambda w=w: bnb.quantize_4bit(w, blocksize=64, quant_type="nf4"))  # fmt: skip
        yield Pair("dequantize 4096²", dtype, "bitsandbytes", {"default": dequantize},
                   ours.dequantize, lambda q=theirs, s=state: bnb.dequantize_4bit(q, s))  # fmt: skip


if __name__ == "__main__":
    main(__file__, pairs)
