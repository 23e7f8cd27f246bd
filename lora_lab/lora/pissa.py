"""PiSSA: A and B start at the strongest part of W₀ instead of at zero.

PEFT takes that part out of the base's weight. Here the layer keeps a frozen copy A₀, B₀ of the start and subtracts it,

    h = W₀ x + (α/r) · (B A x − B₀ A₀ x)        ΔW = (α/r) · (B A − B₀ A₀)

which is the same function and the same gradients. In 16 bits two products as large as W₀ x would leave little of their
difference, so it is computed from what has changed, ΔW = (α/r) · ((B − B₀) A + B₀ (A − A₀)), which is exactly zero at
the start.

Source: Meng et al., "PiSSA", arXiv 2404.02948, section 3.
"""

import math

import torch
from torch import Tensor, nn

from lora_lab.lora.config import LoRAConfig
from lora_lab.lora.layers import LoRALinear, plus_product


class PiSSALinear(LoRALinear, init="pissa"):
    """LoRA whose update is counted from where its factors started.

    Only dropout, while training, thins out the first product alone, as in PEFT. Over a 4-bit base the start is the
    strongest part of the dequantized weight. QPiSSA's smaller quantization error, which comes from quantizing what the
    start leaves of W₀, is not what this does: the base stays as it was quantized.

    Attributes:
        start_A, start_B: buffers like lora_A and lora_B, frozen at the start.
    """

    start_A: Tensor
    start_B: Tensor

    def __init__(self, base: nn.Module, config: LoRAConfig) -> None:
        super().__init__(base, config)
        self.register_buffer("start_A", self.lora_A.detach().clone())
        self.register_buffer("start_B", self.lora_B.detach().clone())

    def factors(self) -> tuple[Tensor, Tensor]:
        """[B − B₀, B₀] [d_out, 2r] and [A; A − A₀] [2r, d_in]."""
        B, A = self.lora_B, self.lora_A
        return torch.cat([B - self.start_B, self.start_B], dim=1), torch.cat([A, A - self.start_A])

    def as_plain(self) -> tuple[int, float]:
        """Twice the rank, and alpha so that the scaling is the same: α/r, or α/√r."""
        config = self.config
        return 2 * config.r, config.alpha * (math.sqrt(2) if config.use_rslora else 2)

    def plus_update(self, h: Tensor, x: Tensor, thinned: Tensor) -> Tensor:
        """h + scaling · (B A x − B₀ A₀ x), where dropout thins the x of the first product."""
        h = super().plus_update(h, x, thinned)
        if self.training and self.dropout.p:
            h = plus_product(h, self.scaling, self.start_B, self.start_A, thinned - x)
        return h

    def _parts(self) -> dict[str, Tensor]:
        return super()._parts() | {"start_A": self.start_A, "start_B": self.start_B}

    def meaning(self) -> str:
        """Kind, rank and scaling."""
        return f"PiSSA of rank {len(self.lora_A)} with scaling {self.scaling:.9g}"
