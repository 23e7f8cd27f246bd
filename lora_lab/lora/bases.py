"""The layers that an adapter can be put around."""

import torch
from torch import Tensor, nn

from lora_lab.quant.linear4bit import Linear4bit

ADAPTABLE = (nn.Linear, Linear4bit)


def dense_weight(base: nn.Linear | Linear4bit) -> Tensor:
    """W₀ [d_out, d_in] in its own dtype; a 4-bit weight is dequantized."""
    return base.dequantize() if isinstance(base, Linear4bit) else base.weight


def dense_dtype(base: nn.Linear | Linear4bit) -> torch.dtype:
    """The dtype of W₀, which a 4-bit weight does not have to be restored for."""
    return base.weight_dtype if isinstance(base, Linear4bit) else base.weight.dtype
