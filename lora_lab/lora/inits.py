"""How A and B start. Whatever the start, the adapter's first output is exactly nothing.

    kaiming, gaussian       A random, B = 0
    orthogonal              A and B random, in rank directions that do not meet: B A = 0
    pissa                   B A = the strongest part of W₀, and the layer subtracts it again

Each function fills A [r, d_in] and B [d_out, r], which arrive as zeros, in place.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from lora_lab import lowrank
from lora_lab.adapters.bases import require_kind

Init = Literal["kaiming", "gaussian", "pissa", "orthogonal"]


def kaiming(lora_A: Tensor, lora_B: Tensor, base: nn.Module, scaling: float) -> None:
    """A uniform in ±1/√d_in, as `nn.Linear` starts; B = 0. PEFT's default."""
    nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5))


def gaussian(lora_A: Tensor, lora_B: Tensor, base: nn.Module, scaling: float) -> None:
    """A normal with standard deviation 1/r, as in PEFT; B = 0.

    Source: Hu et al., arXiv 2106.09685, section 4.1, which leaves the deviation open.
    """
    nn.init.normal_(lora_A, std=1 / len(lora_A))


def orthogonal(lora_A: Tensor, lora_B: Tensor, base: nn.Module, scaling: float) -> None:
    """A and B both random with entries of 1/10, and B A = 0 because no rank direction is used by both.

    PEFT also turns the r directions by a random rotation Q, (B Qᵀ)(Q A): the same update and the same subspaces, but
    then B A = 0 holds only up to rounding, and in bfloat16 the output moves visibly before the first step. Here
    Q = I, and it does not move at all.

    Source: https://datta0.github.io/posts/rethink-lora-init/, which PEFT names for init_lora_weights="orthogonal".
    """
    B, A = lowrank.zero_product(len(lora_B), lora_A.shape[1], len(lora_A), dtype=lora_A.dtype, device=lora_A.device)
    lora_A.copy_(A / 10)
    lora_B.copy_(B / 10)


def pissa(lora_A: Tensor, lora_B: Tensor, base: nn.Module, scaling: float) -> None:
    """scaling · B A = the best approximation of W₀ with rank r, its singular values shared evenly by A and B.

    Raises:
        ValueError: for r > min(d_out, d_in) or a weight that is not finite.

    Source: Meng et al., "PiSSA", arXiv 2404.02948, section 3.
    """
    weight = require_kind(base).weight(base).double()  # in float64 until A and B round
    B, A = lowrank.truncated_svd(weight, len(lora_A))
    lora_A.copy_(A / math.sqrt(scaling))
    lora_B.copy_(B / math.sqrt(scaling))


INITS: dict[Init, Callable[[Tensor, Tensor, nn.Module, float], None]] = {
    "kaiming": kaiming,
    "gaussian": gaussian,
    "pissa": pissa,
    "orthogonal": orthogonal,
}


@torch.no_grad()
def start(init: Init, lora_A: Tensor, lora_B: Tensor, base: nn.Module, scaling: float) -> None:
    """Fill A and B, given as zeros, by the init of that name."""
    INITS[init](lora_A, lora_B, base, scaling)
