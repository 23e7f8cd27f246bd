"""Is there room? The memory of a training step against what this machine has left, before a weight is loaded."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from lora_lab import memory
from lora_lab.commands.finetune_base import Base
from lora_lab.commands.finetune_plan import Settings
from lora_lab.commands.hardware import free_memory
from lora_lab.memory.sizes import FAMILIES
from lora_lab.units import GB

# On the CPU: what Python, torch and the allocator take beside tensors, as benchmarks/bench_finetune_memory.py measured
# it on two cores. On the embedded base 0.03 to 0.06 GB. On SmolLM2-135M the mapping of the file of weights, 0.54 GB,
# stays beside the step to the end, and with it 0.2 GB (LoRA) to 0.4 GB (QLoRA).
_BESIDE = (0.03 * GB, 0.5 * GB)


@dataclass(frozen=True)
class Room:
    """A verdict.

    Attributes:
        needed: least and most bytes that will be taken; None for an architecture that cannot be counted.
        free: bytes that are free; None where the system does not say.
        where: in words.
        trainable: parameters that train; None if they cannot be counted.
    """

    needed: tuple[int, int] | None
    free: int | None
    where: str
    trainable: int | None

    @property
    def fits(self) -> bool:
        """False only if even the least is too much."""
        return self.needed is None or self.free is None or self.needed[0] <= self.free

    def __str__(self) -> str:
        if self.needed is None:
            return f"the need of this architecture cannot be counted beforehand; {_gb(self.free)} {self.where} free"
        low, high = self.needed
        need = f"{low / GB:.2f} to {high / GB:.2f} GB"
        if self.free is None:
            return f"{need} needed; how much is free this system does not say"
        tight = "fits" if high <= self.free else "tight" if self.fits else "does not fit"
        return f"{need} needed, {_gb(self.free)} {self.where} free: {tight}"


def room(base: Base, settings: Settings, longest: int) -> Room:
    """The verdict for a run.

    Raises:
        ValueError: for targets that match nothing, and what else `memory.estimate` refuses.
    """
    on_gpu = base.device == "cuda"
    free = torch.cuda.mem_get_info()[0] if on_gpu else free_memory()
    where = f"of {torch.cuda.get_device_name(0)}'s memory" if on_gpu else "of RAM"
    estimate = _estimate(base, settings, longest)
    if estimate is None:
        return Room(None, free, where, None)
    peak = _tensors(base, estimate)
    if on_gpu:
        return Room(memory.process_bytes(peak), free, where, estimate.trainable_params)
    file = base.dtype.itemsize * base.parameters
    low, high = round(peak + _BESIDE[0]), round(peak + file + _BESIDE[1])
    return Room((low, high), free, where, estimate.trainable_params)


def tensors(base: Base, settings: Settings, longest: int) -> int | None:
    """Bytes of all tensors at the fullest moment; None for an architecture that cannot be counted."""
    estimate = _estimate(base, settings, longest)
    return None if estimate is None else _tensors(base, estimate)


def _tensors(base: Base, estimate: memory.MemoryEstimate) -> int:
    step = estimate.peak_bytes + estimate.components["trainable weights"]  # of which the best ones are kept beside
    if base.device == "cuda":
        return step
    return max(step, base.dtype.itemsize * base.parameters)  # all weights, before the first is quantized


def way_out(base: Base, settings: Settings, longest: int) -> str:
    """The first change that would fit, in flags."""
    whole = settings.batch_size * settings.accumulate
    changes: list[tuple[str, dict[str, Any]]] = [("--checkpointing", {"checkpointing": True})]
    if settings.batch_size > 1:
        one = {"batch_size": 1, "accumulate": whole}
        changes += [(f"--batch-size 1 --accumulate {whole}", one)]
        changes += [(f"--batch-size 1 --accumulate {whole} --checkpointing", {**one, "checkpointing": True})]
    if settings.method != "qlora":
        also = [("", {}), *changes]
        changes += [(f"--method qlora {words}", {**change, "method": "qlora"}) for words, change in also]
    for words, change in changes:
        if room(base, replace(settings, **change), longest).fits:
            return f"give {words.strip()}, a smaller model, or --force to try all the same"
    return (
        "no batch size, no --checkpointing and no --method qlora helps: give a smaller model or --r, or --force to try"
    )


def _estimate(base: Base, settings: Settings, longest: int) -> memory.MemoryEstimate | None:
    options: dict[str, Any] = {
        "r": settings.r,
        "target_modules": settings.target_modules,
        "batch_size": settings.batch_size,
        "accumulation": settings.accumulate,
        "seq_len": longest,
        "precision": _precision(base, settings.method),
        "checkpointing": settings.checkpointing,
    }
    if getattr(base.config, "attn_logit_softcapping", None):
        options["attention"] = "eager"
    if base.config.model_type in FAMILIES:
        return memory.estimate(base.config, settings.method, **options)
    try:
        return memory.simulate(base.config, settings.method, **options)
    except Exception:  # an architecture that only transformers knows
        return None


def _precision(base: Base, method: str) -> str:
    """As `models.load` and `train` compute: adapters are float32 always."""
    if base.dtype == torch.float32 or (method == "full" and base.dtype == torch.float16):
        return "fp32"
    return "bf16" if method == "full" else "mixed"


def _gb(size: int | None) -> str:
    return "an unknown amount" if size is None else f"{size / GB:.2f} GB"
