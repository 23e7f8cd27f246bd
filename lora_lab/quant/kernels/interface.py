"""What a module of kernels offers: `dispatch` asks for it, `cpu` and `cuda` have it."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from lora_lab.quant.codebooks import Codebook
from lora_lab.quant.stored import Stored


class Part(NamedTuple):
    """Some rows of a weight, or some columns: runs of whole blocks, one behind the other in the result.

    Whole rows are one run, columns one for each row.
    """

    first: int  # block of the weight
    runs: int
    stride: int  # blocks of the weight from one run to the next


class Kernels(Protocol):
    """A module of kernels, for symmetric codebooks of at most 16 levels; the last is None where it has none.

    Values are of one of `dispatch.DTYPES` and lie side by side; the last block may be short.
    """

    @property
    def NAME(self) -> str:
        """Of the compiler, with its version."""

    @property
    def INTERPRETED(self) -> bool:
        """Whether they would run as Python, which takes a thousand times as long."""

    def restore(self, stored: Stored, out: Tensor) -> None:
        """Write codebook[code] · absmax to `out`."""

    def quantize(self, values: Tensor, codebook: Codebook, block_size: int) -> tuple[Tensor, Tensor]:
        """The packed codes, uint8 [ceil(n / 2)], and absmax, float32 [blocks], of values [n].

        An absmax that is not finite says that its block holds NaN or infinity, and then its codes mean nothing.
        """

    def product(self, x: Tensor, stored: Stored, shape: tuple[int, int], transposed: bool) -> Tensor:
        """x · Ŵᵀ, or, transposed, x · Ŵ, in float32: from x, what is stored of Ŵ, its shape, and whether transposed."""

    @property
    def restore_part(self) -> Callable[[Stored, Tensor, Part], None] | None:
        """`restore` for a part of a weight, in whole blocks."""
