"""One adapted layer and the algebra of its update.

    h = W₀ x + (α/r) · B A x        A [r, d_in] random, B [d_out, r] zero, W₀ frozen

Source: Hu et al., "LoRA", arXiv 2106.09685, section 4.1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_lab.quant.linear4bit import Linear4bit

ADAPTABLE = (nn.Linear, Linear4bit)


@dataclass(frozen=True)
class LoRAConfig:
    """What to adapt, and how.

    Attributes:
        r: rank of the update.
        alpha: the update is scaled by alpha / r.
        target_modules: see `lora_lab.lora.inject.targets`.
        dropout: probability, on the input of A, while training.
        use_rslora: scale by alpha / √r instead, which keeps the size of the update's gradient independent of r
            (Kalajdzievski, arXiv 2312.03732).

    Raises:
        TypeError: for a rank that is not an integer.
        ValueError: for r < 1, an alpha that is not a positive number, dropout outside [0, 1), or no targets.
    """

    r: int = 8
    alpha: float = 16
    target_modules: str | Sequence[str] = ("q_proj", "v_proj")
    dropout: float = 0.0
    use_rslora: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.r, bool) or not isinstance(self.r, int):
            raise TypeError(f"r must be an integer, got {self.r!r}")
        if self.r < 1:
            raise ValueError(f"r={self.r} gives no update: choose a rank of at least 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"alpha={self.alpha} is not a positive number: alpha = r scales the update by 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} is outside [0, 1): 0 switches it off")
        if not self.target_modules or not all(self.target_modules):
            raise ValueError(f"target_modules={self.target_modules!r} names nothing: give layer names or 'all-linear'")

    @property
    def scaling(self) -> float:
        """α/r, or α/√r for rsLoRA."""
        return self.alpha / (math.sqrt(self.r) if self.use_rslora else self.r)


class LoRALinear(nn.Module):
    """A frozen linear layer plus a trainable update of rank r.

    At the start B = 0, so the layer computes exactly what its base does. The base's own weight is never written to:
    merging keeps the sum W₀ + scaling · B A beside it, so unmerging cannot drift.

    Args:
        base: `nn.Linear` or `Linear4bit`; its parameters are frozen.
        config: rank, scaling and dropout.

    Attributes:
        lora_A: Parameter [r, d_in].
        lora_B: Parameter [d_out, r].
        merged_weight: [d_out, d_in] after `merge`, else None.
        enabled: False computes the base alone.

    Both factors are float32 even over a 16-bit base (float64 over float64): an update of AdamW is about 1e-4, which
    bfloat16 with its 8 bits would round away. They enter the product in the dtype of the input.

    Raises:
        TypeError: for any other kind of base; subclasses of `nn.Linear` are not trusted to compute W x + b.
    """

    merged_weight: Tensor | None

    def __init__(self, base: nn.Linear | Linear4bit, config: LoRAConfig) -> None:
        super().__init__()
        if type(base) not in ADAPTABLE:
            raise TypeError(
                f"cannot adapt a {type(base).__module__}.{type(base).__name__}: "
                "only torch.nn.Linear and lora_lab's Linear4bit take adapters"
            )
        self.base = base.requires_grad_(False)
        self.config = config
        self.scaling = config.scaling
        like = next(base.parameters())
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self.lora_A = nn.Parameter(torch.empty(config.r, base.in_features, dtype=dtype, device=like.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, config.r, dtype=dtype, device=like.device))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # uniform in ±1/√d_in, as PEFT's default
        self.dropout = nn.Dropout(config.dropout)
        self.enabled = True
        self.register_buffer("merged_weight", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., d_in] -> h [..., d_out]."""
        if not self.enabled:
            return self.base(x)
        if self.merged_weight is not None:
            if self.training and torch.is_grad_enabled():
                raise RuntimeError(
                    "the adapter is merged, so training would not reach it: call lora.unmerge(model) first"
                )
            bias = self.base.bias
            return F.linear(x, self.merged_weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        down = F.linear(self.dropout(x), self.lora_A.to(x.dtype))  # [..., r]
        return self.base(x) + self.scaling * F.linear(down, self.lora_B.to(x.dtype))

    def delta_weight(self) -> Tensor:
        """ΔW = scaling · B A, [d_out, d_in], in the dtype of the factors."""
        return self.scaling * (self.lora_B @ self.lora_A)

    def merge(self) -> None:
        """Fold the update into one dense weight: W₀ + ΔW, in the base's dtype; a 4-bit base is dequantized for it.

        Raises:
            RuntimeError: if it is merged already, or holds a value that is not finite.
        """
        if self.merged_weight is not None:
            raise RuntimeError("the adapter is merged already: call lora.unmerge(model) before merging again")
        self.merged_weight = self._sum()

    def unmerge(self) -> None:
        """Drop the merged weight; the base was never changed.

        Raises:
            RuntimeError: if it is not merged.
        """
        if self.merged_weight is None:
            raise RuntimeError("the adapter is not merged: there is nothing to undo")
        self.merged_weight = None

    def merged_linear(self) -> nn.Linear:
        """A plain `nn.Linear` with weight W₀ + ΔW and the base's bias."""
        weight = self._sum() if self.merged_weight is None else self.merged_weight
        linear = nn.Linear(self.base.in_features, self.base.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(weight, requires_grad=False)
        linear.register_parameter("bias", self.base.bias)
        return linear

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        merged = self.merged_weight is not None
        return f"r={self.config.r}, alpha={self.config.alpha}, scaling={self.scaling:g}, merged={merged}"

    @torch.no_grad()
    def _sum(self) -> Tensor:
        weight = self.base.dequantize() if isinstance(self.base, Linear4bit) else self.base.weight
        delta = self.delta_weight()
        merged = (weight.to(delta.dtype) + delta).to(weight.dtype)
        if not torch.isfinite(merged).all():
            raise RuntimeError("merging would give NaN or infinity: the adapter or its base is damaged")
        return merged
