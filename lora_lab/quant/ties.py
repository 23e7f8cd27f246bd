"""Tensors that a model has under several names, such as an embedding that is its output layer too."""

from collections.abc import Iterable

from torch import Tensor, nn

from lora_lab.wrappers import named_tensors
from lora_lab.ranges import first

_WEIGHTS = ("weight", "packed")  # of a dense layer, of a 4-bit one


def tied_groups(model: nn.Module) -> list[tuple[list[str], Tensor]]:
    """Every parameter and persistent buffer once, with all its names, in the model's order."""
    groups: dict[int, tuple[list[str], Tensor]] = {}
    for name, tensor in named_tensors(model):
        groups.setdefault(id(tensor), ([], tensor))[0].append(name)
    return list(groups.values())


def refuse_tied(model: nn.Module, layers: Iterable[str], way_out: str) -> None:
    """ValueError if one of the named layers shares its weight with another: what changes one would not be the other's.

    Args:
        model: that holds the layers.
        layers: their names, as `lora_lab.wrappers.named_modules` gives them.
        way_out: the end of the sentence.
    """
    weights = {f"{name}.{part}" for name in layers for part in _WEIGHTS}
    for names, _ in tied_groups(model):
        owner = next((name for name in names if name in weights), None)
        if owner and len(names) > 1:
            others = first([name for name in names if name != owner])
            raise ValueError(f"{owner} is tied: the same tensor is also {others}; {way_out}")


def tie(model: nn.Module) -> None:
    """Restore the ties of a transformers model on `meta`: `accelerate.init_empty_weights` makes two of one tensor."""
    tie_weights = getattr(model, "tie_weights", None)
    if callable(tie_weights) and any(parameter.is_meta for parameter in model.parameters()):
        tie_weights()
