"""The doctor's questions about what computes: GPU, dtype, threads, memory."""

import importlib.util
import os
import shutil
from typing import TYPE_CHECKING

from lora_lab.commands.finding import Check
from lora_lab.ram import free_memory
from lora_lab.units import GB

if TYPE_CHECKING:
    from lora_lab.models import Tier


def device() -> Check:
    """The GPU that torch sees, and a GPU that it does not see."""
    import torch

    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability(0)
        return Check("device", "ok", f"{torch.cuda.get_device_name(0)}, compute capability {major}.{minor}")
    if shutil.which("nvidia-smi"):
        return Check(
            "device",
            "warn",
            f"CPU, although there is an NVIDIA driver: torch {torch.__version__} "
            f"(CUDA {torch.version.cuda or 'not built in'}) cannot use it",
            "install the CUDA build of torch that fits the driver: https://pytorch.org/get-started/locally/",
        )
    return Check("device", "ok", "CPU (no GPU, and none is needed)")


def kernels() -> Check:
    """Which kernels quantize and restore 4-bit weights here; all but lesson 33 runs without any."""
    from lora_lab.quant.kernels import describe, trial

    said = describe()
    if importlib.util.find_spec("numba") is None:
        return Check("kernels", "warn", said, 'lesson 33 needs Numba: pip install "lora_lab[fast]"')
    if trial.problems:
        lost = any(problem.startswith(trial.COMPILERS["cpu"]) for problem in trial.problems)
        remedy = "results are the same, only slower" + ("; lesson 33 may not run" if lost else "")
        return Check("kernels", "warn", said, remedy)
    return Check("kernels", "ok", said)


def dtype() -> Check | None:
    """What `--tier auto` computes in, and why."""
    from lora_lab.models.tiers import choose_dtype

    if (tier := _tier()) is None:
        return None
    chosen, reason = choose_dtype(tier.device)
    return Check("dtype", "ok", f"{str(chosen).removeprefix('torch.')}: {reason}")


def threads() -> Check:
    """How many threads torch computes with, against the cores this process may use."""
    import torch

    used = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if used > cores:
        return Check(
            "threads",
            "warn",
            f"{used} threads on {cores} cores, which slows each other down",
            f"set OMP_NUM_THREADS={cores} before Python starts",
        )
    return Check("threads", "ok", f"{used} of {cores} cores")


def memory() -> Check:
    """The memory that is free for this process."""
    free = free_memory()
    if free is None:
        return Check("memory", "ok", "free memory unknown on this system; 2 GB suffice")
    detail = f"{free / GB:.1f} GB free; 2 GB suffice"
    if free >= 2 * GB:
        return Check("memory", "ok", detail)
    return Check("memory", "warn", detail, "close other programs and notebooks that are still running")


def gpu_memory() -> Check | None:
    """The GPU memory that is free against what this machine's tier needs, where there is a GPU."""
    from lora_lab.models.room import Room

    room, chosen = Room.now(), _tier()
    if room is None or chosen is None:
        return None
    if chosen.embedded:
        return Check("gpu memory", "ok", f"{room}; the embedded base needs none")
    need = chosen.needs("qlora")
    loading = " to load" if need == chosen.weight_bytes else ""
    detail = f"{room}; {chosen.model} needs {need / GB:.1f} GB{loading} with qlora"
    if need <= room.free:
        return Check("gpu memory", "ok", detail)
    ways = [*room.ways_out(need), "use the embedded base: lora-lab demo --tier cpu, in notebooks LORA_LAB_TIER=cpu"]
    return Check("gpu memory", "warn", detail, ", or ".join(ways))


def _tier() -> "Tier | None":
    """This machine's; None where the variable names none, of which `surroundings.tier` speaks."""
    from lora_lab.models.tiers import get_tier

    try:
        return get_tier("auto")
    except ValueError:
        return None
