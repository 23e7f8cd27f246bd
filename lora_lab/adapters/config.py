"""What the settings of every method share: which layers it goes to, what else it trains, and its form on disk."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar

from torch import nn

from lora_lab import ranges
from lora_lab.adapters import bases
from lora_lab.adapters.adapter import Adapter
from lora_lab.matching import names, target_names

_V = TypeVar("_V")


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


_ON_DISK = "give it check_stored, read, describe and shapes"

METHODS: dict[str, type["AdapterConfig"]] = {}
"""The methods that are there, by what a folder calls them: those whose modules were imported."""


class AdapterConfig:
    """The settings of a method: a subclass is a frozen dataclass with the fields that it wants.

    The fields that methods share have their meaning here; a method that lacks one leaves it as it is here.

    Attributes:
        target_modules: see `lora_lab.adapters.naming.targets`; () for a method that goes around no layer.
        exclude_modules: names, as for targets, of modules to leave out.
        layers_to_transform: numbers of the layers to adapt, counted from 0; None adapts all. A module's layer is the
            first number behind a word in its name: 3 in "model.layers.3.mlp.experts.7.up_proj". A target that is
            given by its full name is adapted whatever its layer.
        modules_to_save: names, as for targets, of modules that are trained in full and saved with the adapter (PEFT's
            word). None trains a classifier's head, which is fresh, and nothing else; () nothing.

    What a method says of itself:
        peft_type: what a folder calls it; PEFT's word where PEFT has it.
        patterns: {setting: the field with other values of it for single modules}, such as {"r": "rank_pattern"}.
        layers: the classes of adapter that it has; each adds itself.
    """

    peft_type: ClassVar[str] = ""
    patterns: ClassVar[Mapping[str, str]] = {}
    layers: ClassVar[list[type[Any]]] = []

    target_modules: str | Sequence[str] = ()
    exclude_modules: str | Sequence[str] = ()
    layers_to_transform: int | Sequence[int] | None = None
    modules_to_save: str | Sequence[str] | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "peft_type" in vars(cls):  # a subclass that says nothing new is read as its parent, and has its layers
            METHODS[cls.peft_type] = cls
            cls.layers = []

    def around(self, base: nn.Module) -> Adapter:
        """The adapter around a layer, which does not move its output.

        Raises:
            TypeError: for a kind of layer that the method does not adapt.
            ValueError: for settings that do not fit this layer.
        """
        for layer in self.layers:
            if layer.takes(base):
                return layer(base, self)  # type: ignore[no-any-return]
        raise TypeError(f"cannot adapt {bases.described(base)}: no layer of {type(self).__name__} goes around it")

    def for_targets(self, targets: Collection[str]) -> Self:
        """The same for a model in which the modules of these full names are targeted: a default may depend on them."""
        return self

    def shapes(self, base: nn.Module) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors that a folder holds for this layer, by key."""
        return {}

    def trained_in_place(self, tensors: Collection[str], adapted: Collection[str]) -> set[str]:
        """Which of the model's own tensors train too, as a copy in their place.

        Args:
            tensors: the names of all that a gradient can train.
            adapted: the names of the layers that are adapted.
        """
        return set()

    def refuse_loading(self, base: nn.Module) -> None:
        """ValueError for a layer on which a folder's tensors would not mean what they meant."""

    @classmethod
    def check_stored(cls, stored: Mapping[str, Any]) -> None:
        """ValueError for an option in a folder that is missing, wrong, or not implemented here."""
        raise NotImplementedError(f"{cls.__name__} does not say how a folder states it: {_ON_DISK}")

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        """The settings in a folder that was checked.

        Raises:
            ValueError: for values that are out of range.
        """
        raise NotImplementedError(f"{cls.__name__} does not say how a folder states it: {_ON_DISK}")

    def describe(self, layers: Mapping[str, Any]) -> dict[str, Any]:
        """The method's own options in a folder, where `self` is the configuration of one of the layers, if there are
        any.

        Raises:
            ValueError: if the layers differ in what the format says once for all.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how a folder states it: {_ON_DISK}")

    def check_names(self) -> None:
        """Within `__post_init__`: check the fields that methods share, and make them hashable."""
        save, targets = self.modules_to_save, target_names(self.target_modules)
        self.settle(
            target_modules=self.target_modules if isinstance(self.target_modules, str) else targets,
            exclude_modules=names("exclude_modules", self.exclude_modules),
            layers_to_transform=layer_numbers(self.layers_to_transform),
            modules_to_save=None if save is None else names("modules_to_save", save),
        )

    def settle(self, **fields: Any) -> None:
        """Within `__post_init__` of a frozen dataclass: fields as they are kept."""
        for name, value in fields.items():
            object.__setattr__(self, name, value)


def names_to_values(what: str, value: Any) -> Mapping[str, Any]:
    """A pattern over a setting: TypeError for what maps no names."""
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
