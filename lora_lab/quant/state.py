"""What a `state_dict` says of its format, in a tensor of its own, so that no way of storing it can drop it.

    <layer>._extra_state        uint8: the format as text, such as "[64, 48] in NF4, blocks of 64, …"

safetensors keeps tensors and nothing else, and the metadata of a `state_dict` only survives `torch.save`. A state of an
older version, which has only that or neither, still loads.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.units import first_line

KEY = "_extra_state"
"""Torch's own name for it: what `get_extra_state` returns."""


class Formatted(nn.Module):
    """A module whose `state_dict` says its format, and that loads no other's.

    A subclass answers `_format` and `_parts`; both are asked whenever a state is stored or loaded.

    Attributes:
        exact: whether its parts are loaded in their own dtypes only, because torch would cast them.
    """

    exact = True

    def _format(self) -> str:
        """What its parts mean, in words that differ wherever they would mean something else."""
        raise NotImplementedError

    def _parts(self) -> dict[str, Tensor]:
        """Its tensors by name that mean something together only: all of them are loaded, or none."""
        raise NotImplementedError

    def _damage(self, state_dict: Mapping[str, Any], prefix: str) -> str | None:
        """What is wrong with the values of parts in its own format, in a sentence, or None."""
        return None

    def get_extra_state(self) -> Tensor:
        """The format, for `state_dict`: uint8 [bytes]."""
        return as_tensor(self._format())

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Mapping[str, Any], *others: Any
    ) -> None:
        """Refuse parts of another format, which would fit by their shapes and mean something else, and damaged ones."""
        reason = refusal(state_dict, prefix, local_metadata, self._format(), self._parts(), self.exact)
        if reason := reason or self._damage(state_dict, prefix):
            others[-1].append(reason)
            return
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)


def as_tensor(text: str) -> Tensor:
    """Text as uint8 [bytes], on the CPU."""
    return torch.tensor(list(text.encode()), dtype=torch.uint8, device="cpu")


def refusal(
    state_dict: dict[str, Any],
    prefix: str,
    metadata: Mapping[str, Any],
    wanted: str,
    parts: Mapping[str, Tensor],
    exact: bool = True,
) -> str | None:
    """Why a layer cannot load what `state_dict` holds for it, in a sentence, or None. Takes the format out of it.

    Args:
        state_dict, prefix, metadata: as `_load_from_state_dict` gets them.
        wanted: the layer's own format.
        parts: its tensors that mean something together only: all of them are loaded, or none.
        exact: whether they must have been stored in their own dtypes, because torch would cast them.
    """
    name = prefix.rstrip(".") or "the layer"
    try:
        said = _text(state_dict.pop(prefix + KEY)) if prefix + KEY in state_dict else metadata.get("format")
    except (AttributeError, TypeError, ValueError) as error:
        return f"{name}: its format ({KEY}) cannot be read ({first_line(error)}): save the state again"
    there = [part for part in parts if prefix + part in state_dict]
    if not there:
        return None
    if said is not None and said != wanted:
        return f"{name} was stored as {said}, and this layer is {wanted}: load it into a layer of its own format"
    if lacking := [part for part in parts if part not in there]:
        return f"{name} was stored without {', '.join(lacking)}, without which the rest means nothing: save it whole"
    found = {part: getattr(state_dict[prefix + part], "dtype", None) for part in parts}
    if cast := [part for part in parts if exact and found[part] != parts[part].dtype]:
        needed = parts[cast[0]].dtype
        return f"{name}.{cast[0]} was stored as {found[cast[0]]}, and {needed} is needed: save the state as it is"
    return None


def _text(state: Any) -> str | None:
    return None if state.is_meta else bytes(state.tolist()).decode()
