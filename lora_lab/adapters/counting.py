"""How many parameters train, of how many."""

from dataclasses import dataclass

from torch import nn
from torch.nn.parameter import is_lazy

from lora_lab.quant.linear4bit import Linear4bit
from lora_lab.wrappers import require_module


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters; a 4-bit weight counts as the d_out · d_in values it stands for."""

    trainable: int
    total: int

    def __str__(self) -> str:
        return f"{self.trainable:,} of {self.total:,} parameters train ({self.trainable / max(1, self.total):.2%})"


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count each parameter once, also when it is tied; those that a lazy layer has yet to make count nothing."""
    require_module(model)
    packed = {id(m.packed): m.in_features * m.out_features for m in model.modules() if isinstance(m, Linear4bit)}
    parameters = [parameter for parameter in model.parameters() if not is_lazy(parameter)]
    return ParameterCount(
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        total=sum(packed.get(id(p), p.numel()) for p in parameters),
    )
