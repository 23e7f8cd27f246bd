"""The optimizer's states in bytes, tensor by tensor."""

import math
from collections.abc import Iterable

from lora_lab.memory.dtypes import Dtype
from lora_lab.memory.settings import Setup
from lora_lab.memory.shapes import Weight

# bitsandbytes: blocks of 256 with an fp32 constant each; tensors under 4,096 values keep fp32 states; states from
# 100,000 values on are paged.
BLOCK_SIZE, MIN_8BIT, MIN_PAGED = 256, 4096, 100_000
STEP = 4  # torch counts the steps in an fp32 scalar per tensor


def state_bytes(setup: Setup, trained: Iterable[Weight], dtype: Dtype | None = None) -> int:
    """Bytes of the states of trained tensors, on the device; `dtype` is theirs, if not that of adapters.

    adamw              two moments in the dtype of the weights
    adamw8bit          two moments of one byte, with constants (bitsandbytes)
    paged_adamw8bit    the same, but those of large tensors lie in unified memory, which moves to the host when the
                       device fills up and is not the allocator's: not counted
    paged_adamw        two fp32 moments, paged the same way
    adafactor          for a matrix one value per row and one per column, else one per value
    sgd                none

    Source: torch.optim; Dettmers et al., arXiv 2110.02861; Shazeer and Stern, arXiv 1804.04235.
    """
    if setup.offload == "optimizer":
        return 0
    width = (dtype or setup.trainable_dtype).itemsize
    one = {
        "adamw": lambda w: 2 * width * w.numel + STEP,
        "adamw8bit": lambda w: _blockwise(w.numel),
        "paged_adamw8bit": lambda w: 0 if w.numel >= MIN_PAGED else _blockwise(w.numel),
        "paged_adamw": lambda w: 0 if w.numel >= MIN_PAGED else 8 * w.numel,
        "adafactor": lambda w: width * _factored(w.shape) + STEP,
        "sgd": lambda w: 0,
    }[setup.optimizer]
    return sum(weight.count * one(weight) for weight in trained)


def update_bytes(setup: Setup, trained: Iterable[Weight]) -> int:
    """Bytes that the update takes for a moment: Adafactor restores the second moment of one tensor at a time."""
    if setup.optimizer != "adafactor":
        return 0
    return setup.trainable_dtype.itemsize * max(weight.numel for weight in trained)


def _blockwise(numel: int) -> int:
    return 8 * numel if numel < MIN_8BIT else 2 * (numel + 4 * math.ceil(numel / BLOCK_SIZE))


def _factored(shape: tuple[int, ...]) -> int:
    if len(shape) < 2:
        return math.prod(shape)
    return math.prod(shape[:-1]) + math.prod(shape[:-2]) * shape[-1]
