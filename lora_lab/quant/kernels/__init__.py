"""Kernels that one can read: quantizing and restoring in one pass over memory.

    dispatch  which kernels serve a tensor, if any
    trial     whether they can: they compile, and give the numbers of the formula
    interface what a module of kernels offers
    cpu       those for a CPU, in Numba (extra `fast`); its loops are in `loops`, what no loop can say in `registers`
    cuda      those for a GPU, in Triton, which comes with torch where there is CUDA

They quantize and restore to the numbers of `lookup` and `blockwise`, bit for bit, and those two stay the reference; a
product adds up in another order.
"""

from lora_lab.quant.kernels.dispatch import (
    describe,
    product,
    quantize,
    restore,
    restore_part,
    use_kernels,
)

from lora_lab.quant.kernels.interface import Kernels, Part

__all__ = [
    "Kernels",
    "Part",
    "describe",
    "product",
    "quantize",
    "restore",
    "restore_part",
    "use_kernels",
]
