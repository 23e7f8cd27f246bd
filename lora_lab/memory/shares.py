"""The weights of which each of several ranks keeps a share, by rows."""

import math
from dataclasses import dataclass

from lora_lab.memory.closed_form import trained
from lora_lab.memory.reach import packed_bytes
from lora_lab.memory.settings import Setup
from lora_lab.memory.shapes import Weight, linears, weights


@dataclass(frozen=True)
class Tensors:
    """Some tensors of one shape.

    Attributes:
        part: "embeddings", "layers" or "tail", which are gathered apart.
        trains: whether they do.
        rows: of one.
        stored, gathered: bytes of a row, as a rank keeps it and for the product.
        count: how many there are.
    """

    part: str
    trains: bool
    rows: int
    stored: int
    gathered: int
    count: int

    def share(self, ranks: int) -> int:
        """Bytes that a rank stores."""
        return self.count * self.stored * math.ceil(self.rows / ranks)

    def whole(self, ranks: int) -> int:
        """Bytes of all of them when they are gathered, from shares of equal size."""
        return self.count * self.gathered * math.ceil(self.rows / ranks) * ranks


def tensors(setup: Setup, stored: int, gathered: int, frozen: int, wide: int, packed: bool) -> list[Tensors]:
    """The weights that are shared, by rows.

    Args:
        setup: the step.
        stored, gathered: bytes of a value that trains, as a rank keeps it and for the product.
        frozen: bytes of a value that does not, for the product; 4-bit weights are stored as such numbers.
        wide: bytes of the same as a rank keeps it, where it is not 4-bit.
        packed: whether quantized weights are shared too.
    """

    def of(weight: Weight, trains: bool, kept: int, come: int) -> Tensors:
        row = weight.numel // weight.shape[0]
        return Tensors(_part(weight), trains, weight.shape[0], kept * row, come * row, weight.count)

    if not setup.adapted:
        return [of(weight, True, stored, gathered) for weight in weights(setup.sizes)]
    found = [of(weight, True, stored, gathered) for weight in trained(setup)]
    if setup.method == "lora":
        return found + [of(weight, False, wide, frozen) for weight in weights(setup.sizes)]
    for shape in linears(setup.sizes)[:-1] * packed:
        words = math.ceil(packed_bytes(shape.numel) / frozen)
        found.append(Tensors("layers", False, words, frozen, frozen, shape.count))
    dense = [w for w in weights(setup.sizes) if w.group not in ("attention", "mlp") or len(w.shape) == 1]
    return found + [of(weight, False, wide, frozen) for weight in dense]


def _part(weight: Weight) -> str:
    return {"embeddings": "embeddings", "head": "tail"}.get(weight.group, "layers")
