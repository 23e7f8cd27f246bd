"""One adapted layer and the algebra of its update.

    h = W₀ x + (α/r) · B A x        A [r, d_in] and B [d_out, r] trained, W₀ frozen

Source: Hu et al., "LoRA", arXiv 2106.09685, section 4.1: equation 3, and α/r in the text after it.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lora_lab.lora.bases import ADAPTABLE, dense_dtype, dense_weight
from lora_lab.lora.config import LoRAConfig
from lora_lab.lora.inits import start
from lora_lab.quant import state
from lora_lab.quant.linear4bit import Linear4bit
from lora_lab.quant.swap import refuse_unreadable, refuse_unswappable
from lora_lab.ranges import brief


class LoRALinear(nn.Module):
    """A frozen linear layer plus a trainable update of rank r.

    At the start the update is zero, so the layer computes exactly what its base does. The base's own weight is never
    written to: merging keeps the sum W₀ + ΔW beside it, so unmerging cannot drift.

    PiSSA (init="pissa") starts A and B at the strongest part of W₀ instead of at zero. PEFT takes that part out of
    the base's weight; here the layer keeps a frozen copy A₀, B₀ of the start and subtracts its product,

        h = W₀ x + (α/r) · (B A x − B₀ A₀ x)        ΔW = (α/r) · (B A − B₀ A₀)

    which is the same function and the same gradients. In 16 bits two products as large as W₀ x would leave little of
    their difference, so it is computed from what has changed, ΔW = (α/r) · ((B − B₀) A + B₀ (A − A₀)), which is exactly
    zero at the start. Only dropout, while training, thins out the first product alone, as in PEFT. Over a 4-bit base
    the start is the strongest part of the dequantized weight. QPiSSA's smaller quantization error, which comes from
    quantizing what the start leaves of W₀, is not what this does: the base stays as it was quantized.

    Args:
        base: `nn.Linear` or `Linear4bit`; its parameters are frozen.
        config: rank, scaling, dropout and init. Which modules, and patterns over their names, are up to `inject`.

    Attributes:
        lora_A: Parameter [r, d_in].
        lora_B: Parameter [d_out, r].
        start_A, start_B: buffers like these, frozen at the start, for PiSSA; else None.
        merged_weight: [d_out, d_in] after `merge`, else None.
        enabled: False computes the base alone.

    Both factors are float32 even over a 16-bit base (float64 over float64): an update of AdamW is about 1e-4, which
    bfloat16 with its 8 bits would round away. They stay so when the model is cast, by `.bfloat16()`, `.half()` or
    `.to(dtype)`, only `.double()` makes them float64, and when a 16-bit state is loaded; whoever wants them in 16 bits
    assigns `lora_A.data`. With update_dtype="input" they enter the product in the dtype of the
    input; with "factors" the input enters it in theirs, as in PEFT. Over a bfloat16 base of 1024² (on a CPU, rank 16;
    `benchmarks/bench_update_dtype.py`) that means

        error against float64       3e-7 instead of 3.4e-3 in the gradients of A and B, 2.3e-3 instead of 2.4e-3 in h
        kept for the backward pass  4 (d_in + r) bytes a token and layer instead of 2 r, beside the 16-bit input
        time                        the same

    A gradient that is off by 0.3 % is far below what the choice of a batch changes, so "input" is the default. Within
    autocast both products are in 16 bits either way, in PEFT too; here their sum is rounded once, there twice, so the
    two may differ in the last bit.

    A `state_dict` holds, beside the tensors, what they mean: kind, rank and scaling, as uint8 in `_extra_state`; a
    state that means something else is refused, and one that does not say is believed.

    Raises:
        TypeError: for any other kind of base; subclasses of `nn.Linear` are not trusted to compute W x + b.
        ValueError: for PiSSA with r > min(d_out, d_in) or a weight that is not finite; for a scaling that the dtype of
            the factors cannot hold; for a weight that is made anew on every call, as by weight_norm or pruning.
    """

    merged_weight: Tensor | None
    start_A: Tensor | None
    start_B: Tensor | None

    def __init__(self, base: nn.Linear | Linear4bit, config: LoRAConfig) -> None:
        super().__init__()
        if type(base) not in ADAPTABLE:
            raise TypeError(
                f"cannot adapt a {type(base).__module__}.{type(base).__name__}: "
                "only torch.nn.Linear and lora_lab's Linear4bit take adapters"
            )
        if not isinstance(config, LoRAConfig):
            raise TypeError(f"config={brief(config)} is no configuration: give a lora.LoRAConfig")
        refuse_unreadable("the layer to adapt", base)
        self.base = base
        self.config = config
        self.scaling = config.scaling
        like = next(base.parameters())
        dtype = torch.float64 if dense_dtype(base) == torch.float64 else torch.float32
        if not torch.finfo(dtype).tiny <= self.scaling <= torch.finfo(dtype).max:
            raise ValueError(f"{dtype} cannot hold a scaling of {self.scaling:.3g}: choose an alpha nearer to r")
        self.lora_A = nn.Parameter(torch.zeros(config.r, base.in_features, dtype=dtype, device=like.device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, config.r, dtype=dtype, device=like.device))
        start(config.init, self.lora_A, self.lora_B, base, self.scaling)
        keep = config.init == "pissa"
        self.register_buffer("start_A", self.lora_A.detach().clone() if keep else None)
        self.register_buffer("start_B", self.lora_B.detach().clone() if keep else None)
        self.dropout = nn.Dropout(config.dropout)
        self.enabled = True
        self.register_buffer("merged_weight", None, persistent=False)
        self._merged_from: tuple[nn.Module, ...] = ()  # a tuple, or the base would have a second name in the model
        base.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., d_in] -> h [..., d_out]."""
        if not self.enabled:
            return self.base(x)
        if self.merged_weight is not None:
            if self.training and torch.is_grad_enabled():
                raise RuntimeError(
                    "the adapter is merged, so training would not reach it: call lora.unmerge(model) first"
                )
            if self._merged_from != (self.base,):
                raise RuntimeError("the base was replaced after the merge, which is void: call lora.unmerge(model)")
            bias = self.base.bias
            return F.linear(x, self.merged_weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        h = self.base(x)
        if self.config.update_dtype == "factors":
            x = x.to(self.lora_A.dtype)
        thinned = self.dropout(x)
        B, A = self.factors()
        h = _plus_product(h, self.scaling, B, A, thinned)
        if self.start_A is not None and self.start_B is not None and self.training and self.config.dropout:
            h = _plus_product(h, self.scaling, self.start_B, self.start_A, thinned - x)
        return h

    def factors(self) -> tuple[Tensor, Tensor]:
        """B [d_out, r] and A [r, d_in] with ΔW = scaling · B A; for PiSSA [B − B₀, B₀] and [A; A − A₀], rank 2r."""
        B, A = self.lora_B, self.lora_A
        if self.start_A is None or self.start_B is None:
            return B, A
        return torch.cat([B - self.start_B, self.start_B], dim=1), torch.cat([A, A - self.start_A])

    @property
    def weight(self) -> Tensor:
        """The dense weight that the layer applies now, made anew each time: for models that look at it, as T5 does."""
        if not self.enabled:
            return dense_weight(self.base)
        return self._sum().to(dense_dtype(self.base)) if self.merged_weight is None else self.merged_weight

    def delta_weight(self) -> Tensor:
        """ΔW = scaling · B A, for PiSSA scaling · (B A − B₀ A₀); [d_out, d_in], in the dtype of the factors."""
        return self._delta().to(self.lora_B.dtype)

    def plain_factors(self) -> tuple[Tensor, Tensor]:
        """B and A of the plain LoRA with the same scaling and the same ΔW: `factors`, detached."""
        B, A = self.factors()
        return B.detach(), A.detach()

    def merge(self) -> None:
        """Fold the update into one dense weight: W₀ + ΔW, in the base's dtype; a 4-bit base is dequantized for it.

        Raises:
            RuntimeError: if it is merged already, or holds a value that is not finite.
            ValueError: if the base has hooks, which a merged layer would not call, or a weight that is made anew on
                every call, or the weights are not in memory.
        """
        if self.merged_weight is not None:
            raise RuntimeError("the adapter is merged already: call lora.unmerge(model) before merging again")
        refuse_unswappable("its base", self.base)
        self.merged_weight, self._merged_from = self._merged(), (self.base,)

    def unmerge(self) -> None:
        """Drop the merged weight; the base was never changed.

        Raises:
            RuntimeError: if it is not merged.
        """
        if self.merged_weight is None:
            raise RuntimeError("the adapter is not merged: there is nothing to undo")
        self.merged_weight, self._merged_from = None, ()

    def merged_linear(self) -> nn.Linear:
        """A plain `nn.Linear` with weight W₀ + ΔW, in the dtype of W₀, and the base's bias."""
        weight = self._merged() if self.merged_weight is None else self.merged_weight
        linear = nn.Linear(self.base.in_features, self.base.out_features, bias=False, device="meta")
        linear.weight = nn.Parameter(weight, requires_grad=False)
        linear.register_parameter("bias", self.base.bias)
        return linear

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        config, merged = self.config, self.merged_weight is not None
        return f"r={config.r}, alpha={config.alpha}, scaling={self.scaling:g}, init={config.init}, merged={merged}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LoRALinear":
        """Let `.to(dtype)` and `.half()` cast the base and the merged weight, but no factor to less than float32."""

        def but_not_to_16_bits(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.dtype == tensor.dtype or tensor is self.merged_weight:
                return moved
            return tensor.to(moved.device, torch.promote_types(moved.dtype, torch.float32))

        if recurse:
            for child in self.children():
                child._apply(fn)
        super()._apply(but_not_to_16_bits, recurse=False)
        return self

    def get_extra_state(self) -> Tensor:
        """What A and B mean, for `state_dict`, as `lora_lab.quant.state` stores it."""
        return state.as_tensor(self._format())

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *others: Any
    ) -> None:
        """Refuse factors that were trained with another scaling or another start, or one of them without the other."""
        if self.merged_weight is not None:
            raise RuntimeError("loading weights would not reach a merged adapter: call lora.unmerge(model) first")
        parts: dict[str, Tensor] = {"lora_A": self.lora_A, "lora_B": self.lora_B}
        if self.start_A is not None and self.start_B is not None:
            parts |= {"start_A": self.start_A, "start_B": self.start_B}
        elif f"{prefix}start_A" in state_dict and "format" not in local_metadata:
            local_metadata = local_metadata | {"format": "PiSSA"}
        if reason := state.refusal(state_dict, prefix, local_metadata, self._format(), parts, exact=False):
            others[-1].append(reason)
            return
        for part, own in parts.items():  # with assign=True the stored tensor would become the factor as it is
            if isinstance(stored := state_dict.get(prefix + part), Tensor):
                state_dict[prefix + part] = stored.to(own.dtype)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)

    def _format(self) -> str:
        kind = "LoRA" if self.start_A is None else "PiSSA"
        return f"{kind} of rank {len(self.lora_A)} with scaling {self.scaling:.9g}"

    def _delta(self) -> Tensor:
        """ΔW, in float32 at least: it is rounded where it is used."""
        dtype = torch.promote_types(self.lora_B.dtype, torch.float32)
        B, A = (factor.to(dtype) for factor in self.factors())
        device = B.device.type
        with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
            return self.scaling * (B @ A)

    @torch.no_grad()
    def _sum(self) -> Tensor:
        weight, delta = dense_weight(self.base), self._delta()
        return weight.to(torch.promote_types(weight.dtype, delta.dtype)) + delta

    def dense_sum(self) -> Tensor:
        """W₀ + ΔW [d_out, d_in] before it is rounded to the dtype of W₀: float32, or float64 over float64.

        Raises:
            RuntimeError: if it holds a value that is not finite in the dtype of W₀.
            ValueError: if the weights are on the meta device.
        """
        if any(tensor.is_meta for tensor in (*self.parameters(), *self.buffers())):
            raise ValueError(
                "it has no values to merge, they are on the meta device, because the model was built without weights "
                "or is offloaded by accelerate: load the weights into memory first"
            )
        total = self._sum()
        if not torch.isfinite(total.to(dense_dtype(self.base))).all():
            raise RuntimeError("merging would give NaN or infinity: the adapter or its base is damaged")
        return total

    def _merged(self) -> Tensor:
        return self.dense_sum().to(dense_dtype(self.base))


def _plus_product(h: Tensor, scaling: float, B: Tensor, A: Tensor, x: Tensor) -> Tensor:
    """h + scaling · B A x, in the dtype of h; B A is never formed: x [..., d_in] -> [..., r] -> [..., d_out].

    In 16 bits the second product is added to h before it is rounded, as a layer's bias is.
    """
    u = F.linear(x, A.to(x.dtype))
    B = B.to(x.dtype)
    if u.dtype == h.dtype and h.dtype.itemsize == 2:
        rows = torch.addmm(h.reshape(-1, len(B)), u.reshape(-1, B.shape[1]), B.T, alpha=scaling)
        return rows.view(h.shape)
    return (h + scaling * F.linear(u, B)).to(h.dtype)
