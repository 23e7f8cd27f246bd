"""A layer around a layer: what every kind of adapter shares.

Several may stand around one layer, one inside the other, each with its name. One is in use at a time; the others hand
the input on. The layer at the core is never written to, so whatever is taken off leaves it as it was.
"""

from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lora_lab.adapters import bases
from lora_lab.quant.state import Formatted
from lora_lab.quant.swap import refuse_unswappable

DEFAULT = "default"
"""The name of an adapter whose name does not matter; PEFT's."""


class Adapter(Formatted):
    """A frozen layer and what a method adds to it.

    A method is a subclass, declared with its configuration, `class LoRALinear(Adapter, method=LoRAConfig)`: its
    parameters, made in `__init__`; `adapted`, its equation; and, if its update can be written as another weight of the
    layer, `folded`.

    Attributes:
        base: the layer that is adapted, or the next adapter around it.
        config: the method's settings for this layer.
        name: of the adapter that it is a part of; see `lora.use`.
        active: whether that one is in use.
        enabled: False, within `lora.disabled`, lets the base compute alone.
        merged_weight, merged_bias: what `merge` folded; None before it, and for a bias that stays the layer's own.
        stored_as: {own parameter: its key in a folder}, behind the layer's name.

    A `state_dict` holds, beside the tensors, what they mean and the adapter's name, as uint8 in `_extra_state`; a state
    that means something else is refused, and one that does not say is believed.
    """

    stored_as: ClassVar[Mapping[str, str]] = {}
    exact = False
    config: Any  # of the method's class, which a subclass names
    merged_weight: Tensor | None
    merged_bias: Tensor | None

    def __init_subclass__(cls, method: Any = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if method is not None:
            name = cls.__module__, cls.__qualname__  # a notebook's cell that is run again defines it again
            others = [each for each in method.layers if (each.__module__, each.__qualname__) != name]
            method.layers[:] = [*others, cls]

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        bases.require_kind(base)
        self.base = base
        self.name = DEFAULT
        self.active = self.enabled = True
        self.register_buffer("merged_weight", None, persistent=False)
        self.register_buffer("merged_bias", None, persistent=False)
        self._merged_from: tuple[nn.Module, ...] = ()  # a tuple, or the base would have a second name in the model
        base.requires_grad_(False)

    @classmethod
    def takes(cls, base: nn.Module) -> bool:
        """Whether this class goes around such a layer."""
        return bases.kind(base) is not None

    def adapted(self, x: Tensor) -> Tensor:
        """The method's equation, of the input of `self.base`."""
        raise NotImplementedError

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias with which the plain layer computes what `adapted` does, before they are rounded.

        Raises:
            ValueError: if there are none, saying why.
        """
        raise ValueError(f"a {type(self).__name__} is not the layer with another weight, so it cannot be merged")

    def delta_weight(self) -> Tensor:
        """ΔW: the folded weight less the layer's own, in float32 at least."""
        weight, _ = self.folded()
        return weight - self.kind.weight(self.core).to(weight.dtype)

    def forward(self, input: Tensor) -> Tensor:  # the name that torch's layers give it
        """The adapted layer's output, the base's if the adapter is off, or the merged layer's."""
        if not (self.active and self.enabled):
            return self.base(input)
        if self.merged_weight is None:
            return self.adapted(input)
        if self.training and torch.is_grad_enabled():
            raise RuntimeError("the adapter is merged, so training would not reach it: call lora.unmerge(model) first")
        if self._merged_from != (core := self.core,):
            raise RuntimeError("the base was replaced after the merge, which is void: call lora.unmerge(model)")
        return bases.require_kind(core).apply(core, input, self.merged_weight, self._merged_bias())

    @property
    def core(self) -> nn.Module:
        """The layer itself, within all adapters around it."""
        return self.base.core if isinstance(self.base, Adapter) else self.base

    @property
    def kind(self) -> bases.Kind:
        """What the layer at the core does with its weight."""
        return bases.require_kind(self.core)

    @property
    def weight(self) -> Tensor:
        """The dense weight that the layer applies now, made anew each time: for whoever reads it instead of calling
        the layer, as T5 and `nn.TransformerEncoder` do. The adapter's gradient passes through it."""
        if not (self.active and self.enabled):
            return self.base.weight if isinstance(self.base, Adapter) else self.kind.weight(self.core)
        return self._folded()[0].to(self.dtype) if self.merged_weight is None else self.merged_weight

    @property
    def bias(self) -> Tensor | None:
        """The bias that the layer applies now, [d_out] or None."""
        if not (self.active and self.enabled):
            return self.base.bias if isinstance(self.base, Adapter) else getattr(self.core, "bias", None)
        return self._bias_as_stored(self._folded()[1]) if self.merged_weight is None else self._merged_bias()

    def _folded(self) -> tuple[Tensor, Tensor | None]:
        """For attributes, which a method that cannot be folded does not have."""
        try:
            return self.folded()
        except ValueError as error:
            raise AttributeError(str(error)) from error

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the dense weight, told without restoring a 4-bit one."""
        return self.kind.dtype(self.core)

    @property
    def own_dtype(self) -> torch.dtype:
        """What a method's parameters are in: float32 even over a 16-bit base, float64 over float64.

        An update of AdamW is about 1e-4, which bfloat16 with its 8 bits would round away.
        """
        return torch.float64 if self.dtype == torch.float64 else torch.float32

    @property
    def device(self) -> torch.device:
        """Where the layer at the core is."""
        return next(self.core.parameters()).device

    def own_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters and buffers that the method added, by their names in this layer."""
        for name, tensor in (*self._parameters.items(), *self._buffers.items()):
            if tensor is not None:
                yield name, tensor
        for child, module in self.named_children():
            if child != "base":
                yield from module.state_dict(prefix=f"{child}.", keep_vars=True).items()

    def stored(self) -> dict[str, Tensor]:
        """What a folder holds of this layer, by key."""
        return {key: tensor.detach() for key, tensor in self.by_key().items()}

    def by_key(self) -> dict[str, Tensor]:
        """The method's own tensors by their keys in a folder."""
        return {key: attrgetter(name)(self) for name, key in self.stored_as.items()}

    def merge(self) -> None:
        """Fold the adapter into one dense weight, in the base's dtype; a 4-bit base is dequantized for it.

        Raises:
            RuntimeError: if it is merged already, or holds a value that is not finite.
            ValueError: if the method cannot be folded, the base has hooks, which a merged layer would not call, or a
                weight that is made anew on every call, or the weights are not in memory.
        """
        if self.merged_weight is not None:
            raise RuntimeError("the adapter is merged already: call lora.unmerge(model) before merging again")
        refuse_unswappable("its base", self.core)
        self.merged_weight, bias = self._rounded()
        self.merged_bias = None if bias is getattr(self.core, "bias", None) else bias
        self._merged_from = (self.core,)

    def unmerge(self) -> None:
        """Drop the merged weight; the base was never changed.

        Raises:
            RuntimeError: if it is not merged.
        """
        if self.merged_weight is None:
            raise RuntimeError("the adapter is not merged: there is nothing to undo")
        self.merged_weight = self.merged_bias = None
        self._merged_from = ()

    def merged_layer(self) -> nn.Module:
        """A plain layer of the base's kind with the folded weight in its dtype; dense, also for a 4-bit base."""
        weight, bias = self._rounded() if self.merged_weight is None else (self.merged_weight, self._merged_bias())
        own = getattr(self.core, "bias", None)
        if bias is not None and bias is not own:
            bias = nn.Parameter(bias, requires_grad=False)
        return self.kind.rebuilt(self.core, weight, bias)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Let `.to(dtype)` and `.half()` cast the base and what is merged, but nothing of the method's own to less than
        float32."""

        def but_not_to_16_bits(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            if moved.dtype == tensor.dtype or tensor is self.merged_weight or tensor is self.merged_bias:
                return moved
            return tensor.to(moved.device, torch.promote_types(moved.dtype, torch.float32))

        if recurse:
            for name, child in self.named_children():
                child._apply(fn if name == "base" else but_not_to_16_bits)
        super()._apply(but_not_to_16_bits, recurse=False)
        return self

    def _format(self) -> str:
        return self.meaning() + ("" if self.name == DEFAULT else f", named {self.name}")

    def meaning(self) -> str:
        """What the tensors mean, in words that differ wherever they would compute something else."""
        return type(self).__name__

    def _parts(self) -> dict[str, Tensor]:
        return {name: attrgetter(name)(self) for name in self.stored_as}

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Mapping[str, Any], *others: Any
    ) -> None:
        """With assign=True the stored tensors would become the parameters as they are, so they are cast before."""
        if self.merged_weight is not None:
            raise RuntimeError("loading weights would not reach a merged adapter: call lora.unmerge(model) first")
        for part, own in self._parts().items():
            if isinstance(stored := state_dict.get(prefix + part), Tensor):
                state_dict[prefix + part] = stored.to(own.dtype)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)

    @torch.no_grad()
    def dense_sum(self) -> tuple[Tensor, Tensor | None]:
        """`folded`, checked for values that are not finite, before it is rounded.

        Raises:
            RuntimeError: if it holds a value that is not finite in the dtype of the base.
            ValueError: if the method cannot be folded, or the weights are on the meta device.
        """
        if any(tensor.is_meta for tensor in (*self.parameters(), *self.buffers())):
            raise ValueError(
                "it has no values to merge, they are on the meta device, because the model was built without weights "
                "or is offloaded by accelerate: load the weights into memory first"
            )
        weight, bias = self.folded()
        if not all(torch.isfinite(each.to(self.dtype)).all() for each in (weight, bias) if each is not None):
            raise RuntimeError("merging would give NaN or infinity: the adapter or its base is damaged")
        return weight, bias

    def _merged_bias(self) -> Tensor | None:
        """The folded bias, or the layer's own where the method leaves that as it is."""
        return getattr(self.core, "bias", None) if self.merged_bias is None else self.merged_bias

    def _rounded(self) -> tuple[Tensor, Tensor | None]:
        weight, bias = self.dense_sum()
        return weight.to(self.dtype), self._bias_as_stored(bias)

    def _bias_as_stored(self, bias: Tensor | None) -> Tensor | None:
        """In the dtype of the layer's own, or of its weight where the layer has none."""
        own = getattr(self.core, "bias", None)
        return bias if bias is None or bias is own else bias.to(self.dtype if own is None else own.dtype)
