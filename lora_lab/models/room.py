"""Memory, of the GPU or of the machine: what is free, who holds the rest, and does a model fit, before it is loaded."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lora_lab import ram
from lora_lab.models.tiers import EMBEDDED, REAL, SMOLLM2, TIERS, VARIABLE, Device, Tier, too_large_without_gpu
from lora_lab.units import GB, METHODS, Method

CONTEXT = GB
"""Bytes that a process holds besides its tensors, at most: CUDA's context and the libraries that it loads."""


@dataclass(frozen=True)
class Room:
    """The memory of one GPU, or of this machine, in bytes.

    Attributes:
        total: as CUDA, or the system, reports it.
        free: what this process could still take.
        ours: what this process holds: of a GPU, for tensors.
        listed_by: the program that lists who holds it.
    """

    total: int
    free: int
    ours: int
    listed_by: str = "nvidia-smi"

    @classmethod
    def now(cls) -> "Room | None":
        """Of the first GPU, after giving back what nobody holds; None without one."""
        if not torch.cuda.is_available():
            return None
        free()
        left, total = torch.cuda.mem_get_info(0)
        return cls(total, left, torch.cuda.memory_reserved(0))

    @classmethod
    def of_machine(cls) -> "Room | None":
        """Of this machine, or its container, after giving back what nobody holds; None where the system is silent."""
        free()
        memory = ram.Memory.now()
        return None if memory is None else cls(memory.total, memory.free, memory.own, "top")

    @property
    def others(self) -> int:
        """What other processes hold; 0 if it may be our own context."""
        held = self.total - self.free - self.ours
        return held if held > CONTEXT else 0

    def __str__(self) -> str:
        said = f"{_gb(self.free)} of {_gb(self.total)} GB are free"
        holders = [(self.others, "other notebooks and programs hold"), (self.ours, "this one holds")]
        held = [f"{who} {_gb(size)} GB" for size, who in holders if size >= GB // 10]
        return f"{said} ({', '.join(held)})" if held else said

    def ways_out(self, need: int) -> Iterator[str]:
        """How to free what is held, where that would be enough."""
        others = "shut down the kernels of other notebooks (each keeps its own models; "
        others += f"{self.listed_by} lists the processes)"
        ours = "delete this notebook's models and call models.free() (or restart its kernel)"
        enough = [way for way, size in ((others, self.others), (ours, self.ours)) if self.free + size >= need]
        if enough:
            yield from enough
        elif self.free + self.others + self.ours >= need:
            yield f"{others} and {ours}"


def free() -> None:
    """Give back the GPU memory of models that no variable holds any more; what one still holds stays.

    A notebook's kernel keeps its memory until it is shut down, even after the last cell: `del model` first, or restart
    the kernel. Loading a model calls this.
    """
    gc.collect()  # a model and its hooks refer to one another in circles
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def require(tier: Tier, method: Method = "qlora") -> None:
    """Refuse a tier whose model does not fit into what is free on this GPU, or without one into this machine's memory.

    What is compared are the tensors alone (without a GPU those of the weights), so that what is refused could not run;
    a process holds some more.

    Raises:
        ValueError: with the need, what is free, who holds the rest, and what would fit.
    """
    if lacks := too_large_without_gpu(tier):
        raise ValueError(lacks)
    need = tier.needs(method)
    room = Room.now() if tier.device == "cuda" else None
    if room is None or need <= room.free:
        return
    ways = [*room.ways_out(need), *_smaller(tier, method, room.free)]
    raise ValueError(
        f"{tier.model} needs {_gb(need)} GB of GPU memory for {method} in the tier {tier.name}, and {room}: "
        + ", or ".join(ways)
    )


def require_weights(name: str, parameters: int, dtype: torch.dtype, device: Device) -> None:
    """Refuse a model whose weights alone, as they are loaded, do not fit into what is free on this device.

    Raises:
        ValueError: as `require`.
    """
    room = Room.now() if device == "cuda" else Room.of_machine()
    need = parameters * dtype.itemsize
    if room is None or need <= room.free:
        return
    ways = list(room.ways_out(need))
    if parameters // 2 <= room.free:  # in four bits, the head and the embedding too
        ways.append("quantize it while it is loaded (the checkpoint= of quant.quantize_model)")
    ways.append(_named(room.free // dtype.itemsize, parameters, dtype))
    where = "the GPU's memory" if device == "cuda" else "this machine's memory"
    raise ValueError(f"the weights of {name} are {_gb(need)} GB, and of {where} {room}: " + ", or ".join(ways))


def _smaller(tier: Tier, method: Method, room: int) -> Iterator[str]:
    """A method of the same tier that fits, and the largest tier that does."""
    for other in METHODS:
        if tier.needs(other) < tier.needs(method) and tier.needs(other) <= room:
            yield f"choose {other}, which needs {_gb(tier.needs(other))} GB"
            break
    below = list(TIERS.values())[: list(TIERS).index(tier.name)]
    chosen = next(t for t in reversed(below) if t.needs("qlora") <= room)
    model = f"{chosen.model}, {_gb(chosen.needs('qlora'))} GB with qlora"
    what = "the embedded base, which needs no GPU" if chosen.embedded else model
    yield f"take the tier {chosen.name} ({what}; {VARIABLE}={chosen.name} chooses it everywhere)"


def _named(room: int, below: int, dtype: torch.dtype) -> str:
    """The largest of the course's models that has so few parameters, and fewer than another one."""
    for tier in (*reversed(TIERS.values()), SMOLLM2):
        if not tier.embedded and tier.parameters <= room and tier.parameters < below:
            model = REAL if tier is SMOLLM2 else tier.model
            return f"name {model} ({_gb(tier.parameters * dtype.itemsize)} GB)"
    return f"name {EMBEDDED}, which comes with the course"


def _gb(size: int) -> str:
    return f"{size / GB:.1f}"
