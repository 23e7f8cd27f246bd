"""One adapted layer and the algebra of its update.

    h = W₀ x + (α/r) · B A x        A [r, d_in] and B [d_out, r] trained, W₀ frozen

Source: Hu et al., "LoRA", arXiv 2106.09685, section 4.1: equation 3, and α/r in the text after it.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_lab.adapters.linear import LinearAdapter
from lora_lab.lora.config import LINEAR_KEYS, LoRAConfig
from lora_lab.lora.inits import Init, start
from lora_lab.ranges import brief


class LoRALinear(LinearAdapter, method=LoRAConfig):
    """A frozen linear layer plus a trainable update of rank r.

    At the start the update is zero, so the layer computes exactly what its base does. The base's own weight is never
    written to: merging keeps the sum W₀ + ΔW beside it, so unmerging cannot drift.

    Args:
        base: `nn.Linear`, `Linear4bit` or transformers' `Conv1D`; its parameters are frozen.
        config: rank, scaling, dropout and init. Which modules, and patterns over their names, are up to `inject`.

    Attributes:
        lora_A: Parameter [r, d_in].
        lora_B: Parameter [d_out, r].
        scaling: α/r, or α/√r.
        in_features, out_features, weight, bias: as of an `nn.Linear`; the last two as the layer applies them now.
        merged_weight: [d_out, d_in] after `merge`, else None.

    A config with init="pissa" makes a `lora_lab.lora.pissa.PiSSALinear`.

    Both factors are float32 even over a 16-bit base (float64 over float64). Neither `.bfloat16()`, `.half()` or
    `.to(dtype)` nor loading a 16-bit state changes that, and `.double()` makes them float64; whoever wants them in 16
    bits assigns `lora_A.data`. With update_dtype="input" they enter the product in the dtype
    of the input; with "factors" the input enters it in theirs, as in PEFT. Over a bfloat16 base of 1024² (on a CPU,
    rank 16; `benchmarks/bench_update_dtype.py`) that means

        error against float64       3e-7 instead of 3.4e-3 in the gradients of A and B, 2.3e-3 instead of 2.4e-3 in h
        kept for the backward pass  4 (d_in + r) bytes a token and layer instead of 2 r, beside the 16-bit input
        time                        the same

    A gradient that is off by 0.3 % is far below what the choice of a batch changes, so "input" is the default. Within
    autocast both products are in 16 bits either way, in PEFT too; here their sum is rounded once, there twice, so the
    two may differ in the last bit.

    Raises:
        TypeError: for any other kind of base; subclasses of `nn.Linear` are not trusted to compute W x + b.
        ValueError: for PiSSA with r > min(d_out, d_in) or a weight that is not finite; for a scaling that the dtype of
            the factors cannot hold; for a weight that is made anew on every call, as by weight_norm or pruning.
    """

    config: LoRAConfig
    stored_as: ClassVar[Mapping[str, str]] = dict(zip(("lora_A", "lora_B"), LINEAR_KEYS))
    variants: ClassVar[dict[Init, type["LoRALinear"]]] = {}

    def __new__(cls, base: nn.Module | None = None, config: LoRAConfig | None = None) -> "LoRALinear":
        """The variant that the start asks for; a copy, which is made without arguments, is of the class it was."""
        chooses = cls is LoRALinear and isinstance(config, LoRAConfig)
        return super().__new__(cls.variants.get(config.init, cls) if chooses else cls)  # type: ignore[union-attr]

    def __init_subclass__(cls, init: Init | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if init is not None:
            cls.variants[init] = cls

    def __init__(self, base: nn.Module, config: LoRAConfig) -> None:
        super().__init__(base)
        if not isinstance(config, LoRAConfig):
            raise TypeError(f"config={brief(config)} is no configuration: give a lora.LoRAConfig")
        self.config = config
        self.scaling = config.scaling
        require_holds(self.own_dtype, self.scaling)
        r, d_in, d_out = config.r, self.in_features, self.out_features
        self.lora_A = nn.Parameter(torch.zeros(r, d_in, dtype=self.own_dtype, device=self.device))
        self.lora_B = nn.Parameter(torch.zeros(d_out, r, dtype=self.own_dtype, device=self.device))
        start(config.init, self.lora_A, self.lora_B, base, self.scaling)
        self.dropout = nn.Dropout(config.dropout)

    def adapted(self, x: Tensor) -> Tensor:
        """x [..., d_in] -> h [..., d_out]."""
        h = self.base(x)
        if self.config.update_dtype == "factors":
            x = x.to(self.lora_A.dtype)
        return self.plus_update(h, x, self.dropout(x))

    def plus_update(self, h: Tensor, x: Tensor, thinned: Tensor) -> Tensor:
        """h + scaling · B A x, where x is thinned by dropout."""
        B, A = self.factors()
        return plus_product(h, self.scaling, B, A, thinned)

    def factors(self) -> tuple[Tensor, Tensor]:
        """B and A with ΔW = scaling · B A."""
        return self.lora_B, self.lora_A

    def delta_weight(self) -> Tensor:
        """ΔW = scaling · B A, [d_out, d_in], in the dtype of the factors."""
        return self._delta().to(self.lora_B.dtype)

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """W₀ + ΔW [d_out, d_in] in float32 at least, and the base's bias."""
        weight, delta = self.kind.weight(self.core), self._delta()
        total = weight.to(torch.promote_types(weight.dtype, delta.dtype)) + delta
        return total, getattr(self.core, "bias", None)

    def as_plain(self) -> tuple[int, float]:
        """r and alpha of the plain LoRA that `stored` describes."""
        return self.config.r, self.config.alpha

    def stored(self) -> dict[str, Tensor]:
        """A and B of the plain LoRA with the same scaling and the same ΔW: `factors`, detached."""
        B, A = self.factors()
        return {key: factor.detach() for key, factor in zip(self.stored_as.values(), (A, B))}

    def merged_linear(self) -> nn.Module:
        """A plain layer of the base's kind with weight W₀ + ΔW, in the dtype of W₀, and the base's bias."""
        return self.merged_layer()

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        config, merged = self.config, self.merged_weight is not None
        return f"r={config.r}, alpha={config.alpha}, scaling={self.scaling:g}, init={config.init}, merged={merged}"

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Mapping[str, Any], *others: Any
    ) -> None:
        """A state of an older version says what it is by the start that it holds, or does not."""
        if f"{prefix}start_A" in state_dict and "start_A" not in self._parts() and "format" not in local_metadata:
            local_metadata = {**local_metadata, "format": "PiSSA"}
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)

    def meaning(self) -> str:
        """Kind, rank and scaling."""
        return f"LoRA of rank {len(self.lora_A)} with scaling {self.scaling:.9g}"

    def _delta(self) -> Tensor:
        """ΔW, in float32 at least: it is rounded where it is used."""
        return full_product(self.scaling, *self.factors())


def require_holds(dtype: torch.dtype, scaling: float) -> None:
    """ValueError for a scaling that the factors' dtype cannot hold."""
    if not torch.finfo(dtype).tiny <= scaling <= torch.finfo(dtype).max:
        raise ValueError(f"{dtype} cannot hold a scaling of {scaling:.3g}: choose an alpha nearer to r")


def full_product(scaling: float, B: Tensor, A: Tensor) -> Tensor:
    """scaling · B A, in float32 at least, also within autocast."""
    dtype, device = torch.promote_types(B.dtype, torch.float32), B.device.type
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        return scaling * (B.to(dtype) @ A.to(dtype))


def plus_product(h: Tensor, scaling: float, B: Tensor, A: Tensor, x: Tensor) -> Tensor:
    """h + scaling · B A x, in the dtype of h; B A is never formed: x [..., d_in] -> [..., r] -> [..., d_out].

    In 16 bits the second product is added to h before it is rounded, as a layer's bias is.
    """
    u = F.linear(x, A.to(x.dtype))
    B = B.to(x.dtype)
    if u.dtype == h.dtype and h.dtype.itemsize == 2:
        rows = torch.addmm(h.reshape(-1, len(B)), u.reshape(-1, B.shape[1]), B.T, alpha=scaling)
        return rows.view(h.shape)
    return (h + scaling * F.linear(u, B)).to(h.dtype)
