"""Restoring a weight from what is stored of it: by a kernel where one serves, else by table look-up."""

from torch import Tensor

from lora_lab.quant import kernels
from lora_lab.quant.double import plain
from lora_lab.quant.lookup import restore
from lora_lab.quant.stored import Stored


def restore_weight(stored: Stored, out: Tensor) -> Tensor:
    """Write codebook[code] · absmax to `out`, contiguous, of any shape and floating dtype, and return it."""
    if kernels.restore(stored, out):
        return out
    return restore(stored.packed, plain(stored.constants), stored.codebook, stored.block_size, out)
