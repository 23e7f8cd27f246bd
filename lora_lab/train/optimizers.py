"""Which optimizer moves which weights.

A loop hands over the weights that train, by name, and takes back one optimizer or several: `adamw` for all of them, or
a function of one's own that gives the factors A and B two rates, or matrices and vectors two optimizers.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from lora_lab import ranges

Named = Sequence[tuple[str, nn.Parameter]]
MakeOptimizer = Callable[[Named], Optimizer | Sequence[Optimizer]]


LR = 2e-4  # the peak rate where none is given


def adamw(lr: float = LR, weight_decay: float = 0.0) -> MakeOptimizer:
    """AdamW for all weights; only matrices decay, so that norms and biases are not drawn to zero.

    A step moves a weight by about `lr`, after shrinking it by the factor 1 − lr · weight_decay.

    Args:
        lr: above 0 and at most 1.
        weight_decay: at least 0 and below 1 / lr.

    Raises:
        TypeError: for anything but a number.
        ValueError: outside its range.
    """
    ranges.real("lr", lr, above=0, most=1)
    ranges.real("weight_decay", weight_decay, least=0, below=1 / lr)

    def make(named: Named) -> torch.optim.AdamW:
        matrices = [p for _, p in named if p.ndim >= 2]
        others = [p for _, p in named if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW([group for group in groups if group["params"]], lr=lr)

    return make


def made(make: MakeOptimizer, named: Named) -> list[Optimizer]:
    """The optimizers that `make` gives, which together move every weight, each once.

    Raises:
        TypeError: if they are no optimizers.
        ValueError: if they leave out a weight that trains, move one twice, or move one that does not train.
    """
    given = make(named)
    optimizers = [given] if isinstance(given, Optimizer) else given
    if not isinstance(optimizers, Sequence) or not all(isinstance(one, Optimizer) for one in optimizers):
        raise TypeError(f"optimizer gave {ranges.brief(given)}: give a torch.optim.Optimizer, or a list of them")
    moved = [id(p) for one in optimizers for group in one.param_groups for p in group["params"]]
    for name, parameter in named:
        if moved.count(id(parameter)) != 1:
            how = "twice" if id(parameter) in moved else "not at all"
            raise ValueError(f"optimizer moves {name} {how}: give each weight that trains to one of its groups")
    if len(moved) > len(named):
        raise ValueError(
            f"optimizer moves {len(moved)} weights, but {len(named)} of the model train: give it only those"
        )
    return list(optimizers)
