"""What an adapter of a matrix product shares with every other, whatever its method."""

from torch import nn

from lora_lab.adapters import bases
from lora_lab.adapters.adapter import Adapter
from lora_lab.quant.swap import refuse_unreadable


class LinearAdapter(Adapter):
    """An adapter of `nn.Linear`, `Linear4bit` or transformers' `Conv1D`, with the attributes of an `nn.Linear`.

    Raises:
        TypeError: for any other kind of base.
        ValueError: for a weight that is made anew on every call, as by weight_norm or pruning.
    """

    def __init__(self, base: nn.Module) -> None:
        if not self.takes(base):
            raise TypeError(f"cannot adapt {bases.described(base)}: only {bases.LINEAR} take {type(self).__name__}")
        refuse_unreadable("the layer to adapt", base)
        super().__init__(base)

    @classmethod
    def takes(cls, base: nn.Module) -> bool:
        """Whether the layer is a matrix product."""
        return bases.is_linear(base)

    @property
    def in_features(self) -> int:
        """d_in."""
        return self.kind.sizes(self.core)[0]

    @property
    def out_features(self) -> int:
        """d_out."""
        return self.kind.sizes(self.core)[1]
