"""What to adapt, and how: the settings of an adapter."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, get_args

from torch import nn

from lora_lab import ranges
from lora_lab.adapters import bases
from lora_lab.adapters.config import AdapterConfig, FrozenMapping, names_to_values
from lora_lab.lora import peft_format
from lora_lab.lora.inits import INITS, Init
from lora_lab.quant.linear4bit import Linear4bit

_LARGEST_RANK = 2**31 - 1  # far beyond any memory, and small enough to compute with

UpdateDtype = Literal["input", "factors"]
Bias = Literal["none", "all", "lora_only"]

LINEAR_KEYS = ("lora_A.weight", "lora_B.weight")
EMBEDDING_KEYS = ("lora_embedding_A", "lora_embedding_B")


@dataclass(frozen=True)
class LoRAConfig(AdapterConfig):
    """What to adapt, and how. Sequences are kept as tuples and mappings read-only, so a config can be hashed.

    Attributes:
        r: rank of the update.
        alpha: the update is scaled by alpha / r.
        target_modules: see `lora_lab.adapters.naming.targets`.
        dropout: probability, on the input of A, while training.
        use_rslora: scale by alpha / √r instead, so that the moments of the adapter's outputs, and of the gradients at
            its inputs, do not depend on r (Kalajdzievski, arXiv 2312.03732).
        rank_pattern: ranks of single modules, where they differ from r. Keys mean what targets mean: a last name
            part, a dotted suffix, or a regular expression for the whole name.
        alpha_pattern: likewise alphas.
        exclude_modules, layers_to_transform, modules_to_save: as every `AdapterConfig` has them.
        bias: which biases train too, as copies that are saved with the adapter: "none", "all", or with "lora_only"
            those of the adapted layers; PEFT's words.
        init: how A and B start: "kaiming" (PEFT's default), "gaussian", "pissa" or "orthogonal"; see
            `lora_lab.lora.inits`. None of them moves the output.
        update_dtype: what B A x is computed in: the dtype of the "input", or that of the "factors", float32, as PEFT
            does over a 16-bit base; see `LoRALinear` for what the two cost. A choice for this run: no file keeps it.

    Raises:
        TypeError: for a rank or a layer that is not an integer, an alpha or a dropout that is not a number, a
            use_rslora that is not a truth value, or a name that is not a string.
        ValueError: for r < 1, an alpha that is not a positive number, a scaling that a float cannot hold, dropout
            outside [0, 1), no targets, an empty or negative choice of layers, an unknown init or update_dtype, or an
            odd rank with init="orthogonal".
    """

    peft_type: ClassVar[str] = "LORA"
    patterns: ClassVar[Mapping[str, str]] = {"r": "rank_pattern", "alpha": "alpha_pattern"}

    r: int = 8
    alpha: float = 16
    target_modules: str | Sequence[str] = ("q_proj", "v_proj")
    dropout: float = 0.0
    use_rslora: bool = False
    rank_pattern: Mapping[str, int] = FrozenMapping()
    alpha_pattern: Mapping[str, float] = FrozenMapping()
    exclude_modules: str | Sequence[str] = ()
    layers_to_transform: int | Sequence[int] | None = None
    init: Init = "kaiming"
    update_dtype: UpdateDtype = "input"
    modules_to_save: str | Sequence[str] | None = None
    bias: Bias = "none"

    def __post_init__(self) -> None:
        ranges.choice("init", self.init, INITS)
        ranges.choice("update_dtype", self.update_dtype, get_args(UpdateDtype))
        _check_rank("r", self.r, self.init)
        _check_alpha("alpha", self.alpha)
        ranges.real("dropout", self.dropout, least=0, below=1)
        ranges.switch("use_rslora", self.use_rslora)
        for key, rank in names_to_values("rank_pattern", self.rank_pattern).items():
            _check_rank(f"rank_pattern[{key!r}]", rank, self.init)
        for key, alpha in names_to_values("alpha_pattern", self.alpha_pattern).items():
            _check_alpha(f"alpha_pattern[{key!r}]", alpha)
        ranges.choice("bias", self.bias, get_args(Bias))
        self.check_names()
        self.settle(
            r=int(self.r),  # a folder can state Python's numbers only, not NumPy's
            alpha=_plain(self.alpha),
            dropout=_plain(self.dropout),
            rank_pattern=FrozenMapping({key: int(rank) for key, rank in self.rank_pattern.items()}),
            alpha_pattern=FrozenMapping({key: _plain(alpha) for key, alpha in self.alpha_pattern.items()}),
        )
        if self.scaling == 0:
            raise ValueError(f"alpha={self.alpha:g} with r={self.r} is a scaling of 0: choose an alpha nearer to r")

    @property
    def scaling(self) -> float:
        """α/r, or α/√r for rsLoRA."""
        return self.alpha / (math.sqrt(self.r) if self.use_rslora else self.r)

    def shapes(self, base: nn.Module) -> dict[str, tuple[int, ...]]:
        """A [r, d_in] and B [d_out, r]; an embedding's r-th row of A has a value for each id."""
        d_in, d_out = bases.require_kind(base).sizes(base)
        a, b = EMBEDDING_KEYS if isinstance(base, nn.Embedding) else LINEAR_KEYS
        return {a: (self.r, d_in), b: (d_out, self.r)}

    def trained_in_place(self, tensors: Collection[str], adapted: Collection[str]) -> set[str]:
        """The biases that `bias` names."""
        if self.bias == "all":
            return {name for name in tensors if "bias" in name.rpartition(".")[2]}
        return {f"{name}.bias" for name in adapted}.intersection(tensors) if self.bias == "lora_only" else set()

    def refuse_loading(self, base: nn.Module) -> None:
        """A PiSSA adapter of PEFT's is a difference from a start that is computed again, from the dense weight."""
        if self.init == "pissa" and isinstance(base, Linear4bit):
            raise ValueError(
                "init_lora_weights='pissa' starts from the dense weight, and this is a Linear4bit: load the adapter on "
                "the dense model, save it with lora.save_adapter as plain LoRA, and load that"
            )

    @classmethod
    def check_stored(cls, stored: Mapping[str, Any]) -> None:
        """See `lora_lab.lora.peft_format`."""
        peft_format.check(stored)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """As PEFT writes it; see `lora_lab.lora.peft_format`."""
        return cls(**peft_format.read(stored))

    def describe(self, layers: Mapping[str, Any]) -> dict[str, Any]:
        """As PEFT reads it; see `lora_lab.lora.peft_format`."""
        return peft_format.describe(layers)


def _check_rank(what: str, r: Any, init: str) -> None:
    ranges.whole(what, r, most=_LARGEST_RANK)
    if init == "orthogonal" and r % 2:
        raise ValueError(f"{what}={r} is odd: init='orthogonal' gives half of the directions to A and half to B")


def _check_alpha(what: str, alpha: Any) -> None:
    ranges.real(what, alpha, above=0)


def _plain(number: float) -> float:
    return number if type(number) in (int, float) else float(number)
