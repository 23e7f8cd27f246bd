"""(IA)³: each layer's output, or a feed-forward layer's input, is scaled by a learnt vector that starts at one.

    keys and values         h = l ⊙ (W x + b)
    feed-forward layers     h = W (l ⊙ x) + b       the second matrix: between it and the activation stands l

Source: Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", arXiv
2205.05638. Their code (r-three/t-few, configs/ia3.json and src/models/lora.py) scales W₁ x in a T5 that computes
W₂ (γ(W₀ x) ⊙ W₁ x), which is the same as scaling what W₂ gets. The form on disk is PEFT's.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lora_lab import ranges
from lora_lab.adapters import bases, peft_options
from lora_lab.adapters.config import AdapterConfig, FrozenMapping
from lora_lab.adapters.linear import LinearAdapter
from lora_lab.matching import names
from lora_lab.quant.linears import is_conv1d


@dataclass(frozen=True)
class IA3Config(AdapterConfig):
    """Which layers' activations to scale.

    Attributes:
        target_modules, exclude_modules, layers_to_transform, modules_to_save: as every `AdapterConfig` has them. The
            default targets are PEFT's for Llama and its like.
        feedforward_modules: those of the targets whose input is scaled instead of their output, in the same terms; each
            must match one. None, the default, takes those that are called down_proj, if there are any.
        feedforward: the same of all targets.
    """

    peft_type: ClassVar[str] = "IA3"
    patterns: ClassVar[Mapping[str, str]] = {"feedforward": "feedforward_modules"}

    target_modules: str | Sequence[str] = ("k_proj", "v_proj", "down_proj")
    feedforward_modules: str | Collection[str] | None = None
    exclude_modules: str | Sequence[str] = ()
    layers_to_transform: int | Sequence[int] | None = None
    modules_to_save: str | Sequence[str] | None = None
    feedforward: bool = False

    def __post_init__(self) -> None:
        ranges.switch("feedforward", self.feedforward)
        self.check_names()
        if self.feedforward_modules is not None:
            scaled_before = names("feedforward_modules", self.feedforward_modules)
            self.settle(feedforward_modules=FrozenMapping(dict.fromkeys(scaled_before, True)))  # as `patterns` are read

    def for_targets(self, targets: Collection[str]) -> Self:
        """The default becomes those of the targets that it means."""
        meant = [name for name in targets if name.split(".")[-1] == "down_proj"]
        return replace(self, feedforward_modules=meant) if self.feedforward_modules is None else self

    def shapes(self, base: nn.Module) -> dict[str, tuple[int, ...]]:
        """l is [1, d_in] in a feed-forward layer, else [d_out, 1]."""
        d_in, d_out = bases.require_kind(base).sizes(base)
        return {"ia3_l": (1, d_in) if self.feedforward else (d_out, 1)}

    @classmethod
    def check_stored(cls, stored: Mapping[str, Any]) -> None:
        """PEFT's start does not matter to what was trained."""
        only = {"init_ia3_weights": (True, False)}
        peft_options.refuse_others(stored, ("feedforward_modules",), only, ("target_modules", "feedforward_modules"))

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """In PEFT a string is one expression for whole names, and a list holds ends of them, also within a word."""
        scaled_before = [f"^(?:{stored['feedforward_modules']})"]
        if not isinstance(listed := stored["feedforward_modules"], str):
            scaled_before = [f".*{re.escape(end)}" for end in names("feedforward_modules", listed)]
        return cls(stored["target_modules"], scaled_before, modules_to_save=stored.get("modules_to_save") or ())

    def describe(self, layers: Mapping[str, "IA3Linear"]) -> dict[str, Any]:
        """Full names; as one expression where one of them is also the end of a name that is none of them."""
        before = sorted(name for name, layer in layers.items() if layer.config.feedforward)
        ambiguous = any(name.endswith(tuple(before)) for name in layers.keys() - set(before))
        return {
            "feedforward_modules": "|".join(map(re.escape, before)) if ambiguous else before,
            "fan_in_fan_out": all(is_conv1d(layer.core) for layer in layers.values()),
            "init_ia3_weights": True,
        }


class IA3Linear(LinearAdapter, method=IA3Config):
    """A frozen linear layer whose output, or input, is scaled: h = l ⊙ (W x + b), or h = W (l ⊙ x) + b.

    Attributes:
        ia3_l: Parameter [d_out, 1], or [1, d_in], ones at first; float32 even over a 16-bit base.
    """

    config: IA3Config
    stored_as: ClassVar[Mapping[str, str]] = {"ia3_l": "ia3_l"}

    def __init__(self, base: nn.Module, config: IA3Config) -> None:
        super().__init__(base)
        self.config = config
        self.ia3_l = nn.Parameter(torch.ones(config.shapes(base)["ia3_l"], dtype=self.own_dtype, device=self.device))

    def adapted(self, x: Tensor) -> Tensor:
        """x [..., d_in] -> h [..., d_out]."""
        l = self.ia3_l.flatten()  # noqa: E741  # the paper's name
        if self.config.feedforward:
            return self.base((l * x).to(x.dtype))  # type: ignore[no-any-return]
        h = self.base(x)
        return (l * h).to(h.dtype)

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """l ⊙ W [d_out, d_in], by rows or columns, and l ⊙ b, or b where the input is scaled."""
        bias = getattr(self.core, "bias", None)
        if bias is not None and not self.config.feedforward:
            bias = self.ia3_l.flatten() * bias
        return self.ia3_l * self.kind.weight(self.core), bias
