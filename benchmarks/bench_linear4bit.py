"""Forward and backward through a frozen 4-bit layer of 4096 x 4096: lora_lab against bitsandbytes.

python benchmarks/bench_linear4bit.py        # about two minutes; writes results/linear4bit.json and README.md
"""

from collections.abc import Iterator

import bitsandbytes as bnb
import torch
from side_by_side import Pair, main
from torch import nn

from lora_lab import quant

WANTED = {
    ("float32", 1): (3, 1.5), ("float32", 16): (2, 1), ("float32", 256): (1.15, 0.95),
    ("bfloat16", 1): (1.5, 0.5), ("bfloat16", 16): (1.5, 0.5), ("bfloat16", 256): (1.1, 0.6),
}  # fmt: skip


def step(layer: nn.Module, x: torch.Tensor, grad_y: torch.Tensor) -> torch.Tensor:
    """One forward and one backward pass; the gradient of x."""
    x = x.detach().requires_grad_()
    layer(x).backward(grad_y)
    assert x.grad is not None
    return x.grad


def pairs() -> Iterator[Pair]:
    """NF4 in blocks of 64, without double quantization, in training mode."""
    torch.manual_seed(0)
    dense = nn.Linear(4096, 4096, bias=False)
    for (dtype, tokens), (default, warm) in WANTED.items():
        weight = dense.weight.detach().to(getattr(torch, dtype))
        ours = quant.Linear4bit(quant.quantize(weight))
        theirs = bnb.nn.Linear4bit(4096, 4096, bias=False, quant_type="nf4", compress_statistics=False,
                                   compute_dtype=weight.dtype)  # fmt: skip
        theirs.load_state_dict({"weight": weight})
        theirs = theirs.to("cpu")
        x, grad_y = torch.randn(2, tokens, 4096).to(weight.dtype)
        gap = (step(ours, x, grad_y) - step(theirs, x, grad_y)).norm() / step(ours, x, grad_y).norm()
        assert gap < 1e-2, f"the two layers differ by {gap}"
        yield Pair(f"Linear4bit 4096², {tokens} token{'s' * (tokens > 1)}", dtype, "bitsandbytes",
                   {"default": default, "warm": warm},
                   lambda layer=ours, x=x, g=grad_y: step(layer, x, g),
                   lambda layer=theirs, x=x, g=grad_y: step(layer, x, g))  # fmt: skip


if __name__ == "__main__":
    main(__file__, pairs)
