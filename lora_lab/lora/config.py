"""What to adapt, and how: the settings of an adapter."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args

from lora_lab import ranges
from lora_lab.lora.inits import INITS, Init

_V = TypeVar("_V")

_LARGEST_RANK = 2**31 - 1  # far beyond any memory, and small enough to compute with

UpdateDtype = Literal["input", "factors"]


class FrozenMapping(Mapping[str, _V], Generic[_V]):
    """A mapping that cannot be changed, so that a configuration that holds it can be hashed and shared."""

    def __init__(self, items: Mapping[str, _V] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, key: str) -> _V:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


@dataclass(frozen=True)
class LoRAConfig:
    """What to adapt, and how. Sequences are kept as tuples and mappings read-only, so a config can be hashed.

    Attributes:
        r: rank of the update.
        alpha: the update is scaled by alpha / r.
        target_modules: see `lora_lab.lora.targets.targets`.
        dropout: probability, on the input of A, while training.
        use_rslora: scale by alpha / √r instead, so that the moments of the adapter's outputs, and of the gradients at
            its inputs, do not depend on r (Kalajdzievski, arXiv 2312.03732).
        rank_pattern: ranks of single modules, where they differ from r. Keys mean what targets mean: a last name
            part, a dotted suffix, or a regular expression for the whole name.
        alpha_pattern: likewise alphas.
        exclude_modules: names, as for targets, of modules to leave out.
        layers_to_transform: numbers of the layers to adapt, counted from 0; None adapts all. A module's layer is the
            first number behind a word in its name: 3 in "model.layers.3.mlp.experts.7.up_proj". A target that is
            given by its full name is adapted whatever its layer.
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

    def __post_init__(self) -> None:
        ranges.choice("init", self.init, INITS)
        ranges.choice("update_dtype", self.update_dtype, get_args(UpdateDtype))
        _check_rank("r", self.r, self.init)
        _check_alpha("alpha", self.alpha)
        ranges.real("dropout", self.dropout, least=0, below=1)
        ranges.switch("use_rslora", self.use_rslora)
        targets = target_names(self.target_modules)
        for key, rank in _mapping("rank_pattern", self.rank_pattern).items():
            _check_rank(f"rank_pattern[{key!r}]", rank, self.init)
        for key, alpha in _mapping("alpha_pattern", self.alpha_pattern).items():
            _check_alpha(f"alpha_pattern[{key!r}]", alpha)
        frozen = {
            "target_modules": self.target_modules if isinstance(self.target_modules, str) else targets,
            "exclude_modules": names("exclude_modules", self.exclude_modules),
            "layers_to_transform": layer_numbers(self.layers_to_transform),
            "r": int(self.r),  # a folder can state Python's numbers only, not NumPy's
            "alpha": _plain(self.alpha),
            "dropout": _plain(self.dropout),
            "rank_pattern": FrozenMapping({key: int(rank) for key, rank in self.rank_pattern.items()}),
            "alpha_pattern": FrozenMapping({key: _plain(alpha) for key, alpha in self.alpha_pattern.items()}),
        }
        for name, value in frozen.items():
            object.__setattr__(self, name, value)
        if self.scaling == 0:
            raise ValueError(f"alpha={self.alpha:g} with r={self.r} is a scaling of 0: choose an alpha nearer to r")

    @property
    def scaling(self) -> float:
        """α/r, or α/√r for rsLoRA."""
        return self.alpha / (math.sqrt(self.r) if self.use_rslora else self.r)


def _check_rank(what: str, r: Any, init: str) -> None:
    ranges.whole(what, r, most=_LARGEST_RANK)
    if init == "orthogonal" and r % 2:
        raise ValueError(f"{what}={r} is odd: init='orthogonal' gives half of the directions to A and half to B")


def _check_alpha(what: str, alpha: Any) -> None:
    ranges.real(what, alpha, above=0)


def target_names(value: Any) -> tuple[str, ...]:
    """`names` of target_modules; ValueError if there are none."""
    if isinstance(value, str) and not value or not (targets := names("target_modules", value)):
        raise ValueError(f"target_modules={value!r} names nothing: give layer names or 'all-linear'")
    return targets


def names(what: str, value: Any) -> tuple[str, ...]:
    """One name or several, as a tuple; TypeError for what is neither, ValueError for an empty name."""
    if not isinstance(value, Iterable):
        raise TypeError(f"{what} must be a name or a sequence of names, got {ranges.brief(value)}")
    several = (value,) if isinstance(value, str) else tuple(value)
    if wrong := [name for name in several if not isinstance(name, str)]:
        raise TypeError(f"{what} holds {ranges.brief(wrong[0])}: give names as strings")
    if not all(several):
        raise ValueError(f"{what}={ranges.brief(value)} holds an empty name, which names nothing: leave it out")
    return several


def _mapping(what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{what} must map names to numbers, got {ranges.brief(value)}")
    names(what, tuple(value))
    return value


def layer_numbers(value: Any) -> tuple[int, ...] | None:
    """One layer or several, as a tuple; None for all.

    Raises:
        TypeError: for a layer that is not an integer.
        ValueError: for a negative one, or none at all.
    """
    if value is None:
        return None
    layers = tuple(value) if isinstance(value, Iterable) else (value,)
    if not layers:
        raise ValueError(f"layers_to_transform={value!r} names no layer: give None for all layers")
    return tuple(ranges.whole("a layer of layers_to_transform", layer, 0) for layer in layers)


def _plain(number: float) -> float:
    return number if type(number) in (int, float) else float(number)
