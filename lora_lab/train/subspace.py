"""Train inside a random subspace: θ = θ₀ + P z, where only the d numbers of z train.

P [D, d] is drawn once and fixed. Every weight listens to one number of z, with a random sign:

    θᵢ = θ₀ᵢ + sᵢ z[cᵢ]        column cᵢ dealt out evenly at random, sign sᵢ = ±1

No weight listens to two numbers, so the columns of P are perpendicular, and it takes D indices and D signs where a
dense P would take D · d numbers. A step of Adam moves every weight by the rate, as in full fine-tuning, whatever d is.

Source: Li et al., "Measuring the Intrinsic Dimension of Objective Landscapes", arXiv 1804.08838. Their P is dense,
sparse or a Fastfood transform, with columns of length 1; here they are about √(D/d) long, which is the same subspace in
another unit of z. One number for many weights is the hashing of Chen et al., arXiv 1504.04788.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lora_lab import ranges
from lora_lab.adapters import naming

M = TypeVar("M", bound=nn.Module)


class Projection:
    """P [D, d], one ±1 in each row.

    Attributes:
        column: [D] int64, the number of z that each weight listens to; each number has ⌊D/d⌋ or ⌈D/d⌉ listeners.
        sign: [D] float32, ±1.

    Raises:
        TypeError: for a size or seed that is not a whole number.
        ValueError: for d outside 1 to D, or a negative seed.
    """

    def __init__(self, D: int, d: int, seed: int = 0) -> None:
        D = ranges.whole("D", D)
        self.d = ranges.whole("d", d, 1, D)
        dice = torch.Generator().manual_seed(ranges.seed(seed))
        self.column = torch.randperm(D, generator=dice).remainder(self.d)
        self.sign = torch.randint(0, 2, (D,), generator=dice).mul(2.0).sub(1.0)

    def __call__(self, z: Tensor) -> Tensor:
        """P z: [d] -> [D]."""
        return self.sign * z.index_select(0, self.column)

    def written_out(self) -> Tensor:
        """P itself, float32 [D, d]: for small ones."""
        P = torch.zeros(len(self.column), self.d)
        P[torch.arange(len(self.column)), self.column] = self.sign
        return P

    def nearest(self, theta: Tensor) -> Tensor:
        """The z [d] whose P z is nearest to θ [D]: of each number's listeners, the mean of sᵢ θᵢ."""
        sums = torch.zeros(self.d, dtype=theta.dtype).index_add(0, self.column, self.sign * theta)
        return sums / torch.bincount(self.column, minlength=self.d)


class _Moved(nn.Module):
    """A weight [d_out, d_in], moved by its rows of P z."""

    column: Tensor
    sign: Tensor

    def __init__(self, z: nn.Parameter, column: Tensor, sign: Tensor) -> None:
        super().__init__()
        self.z = z
        self.register_buffer("column", column)
        self.register_buffer("sign", sign)

    def forward(self, weight: Tensor) -> Tensor:
        move = self.sign * self.z.index_select(0, self.column)
        return weight + move.view_as(weight)


def enter(model: nn.Module, d: int, seed: int = 0, target_modules: str = "all-linear") -> nn.Parameter:
    """Let a model's matrices move inside a random subspace of d dimensions, together; nothing else trains.

    The model starts where it was, at z = 0, and its own weights are not written to.

    Args:
        model: a model with plain linear layers, changed in place.
        d: dimensions, from 1 to the number D of weights in the matrices.
        seed: of the subspace.
        target_modules: which matrices; see `lora_lab.adapters.naming.targets`.

    Returns:
        z [d], zeros, the one parameter that trains.

    Raises:
        TypeError, ValueError: as `Projection` and `naming.targets`; also for a model that is in a subspace already.
    """
    if _moved(model):
        raise ValueError("the model is in a subspace already: call subspace.leave(model) first")
    layers = [model.get_submodule(name) for name in naming.targets(model, target_modules)]
    sizes = [layer.weight.numel() for layer in layers]  # type: ignore[union-attr, operator]
    P = Projection(sum(sizes), d, seed)
    model.requires_grad_(False)
    z = nn.Parameter(torch.zeros(d, device=next(model.parameters()).device))
    for layer, column, sign in zip(layers, P.column.split(sizes), P.sign.split(sizes)):
        parametrize.register_parametrization(layer, "weight", _Moved(z, column, sign).to(z.device))
    return z


def leave(model: M) -> M:
    """Write θ₀ + P z into the model's own weights, and take the subspace away; frozen, as `enter` left them.

    Raises:
        ValueError: for a model that is in no subspace.
    """
    layers = _moved(model)
    if not layers:
        raise ValueError("the model is in no subspace: call subspace.enter(model, d) first")
    for layer in layers:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        layer.weight.requires_grad_(False)  # type: ignore[union-attr, operator]
    return model


def _moved(model: nn.Module) -> list[nn.Module]:
    """The layers whose weight is moved by P z."""
    made_anew = [module for module in model.modules() if parametrize.is_parametrized(module, "weight")]
    return [module for module in made_anew if isinstance(module.parametrizations["weight"][0], _Moved)]  # type: ignore[index, union-attr]
