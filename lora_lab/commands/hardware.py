"""The doctor's questions about what computes: GPU, dtype, threads, memory."""

import os
import shutil
from pathlib import Path

from lora_lab.commands.finding import Check
from lora_lab.units import GB


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
    """Which kernels quantize and restore 4-bit weights here; the course runs without any."""
    from lora_lab.quant.kernels import describe

    return Check("kernels", "ok", describe())


def dtype() -> Check:
    """What `--tier auto` computes in, and why."""
    from lora_lab.models.tiers import choose_dtype, get_tier

    chosen, reason = choose_dtype(get_tier("auto").device)
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
    """The GPU memory that is free, where there is a GPU."""
    import torch

    from lora_lab.models.tiers import get_tier

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info(0)
    detail = f"{free / GB:.1f} of {total / GB:.1f} GB free"
    if free >= 0.9 * get_tier("auto").min_memory:
        return Check("gpu memory", "ok", detail)
    return Check(
        "gpu memory",
        "warn",
        detail,
        "stop the other processes that nvidia-smi lists, or use the embedded base: lora-lab demo --tier cpu",
    )


def free_memory() -> int | None:
    """Bytes that this process can still take, or None where the system does not say."""
    try:
        rows = dict(row.split(":", 1) for row in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
        free = int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:  # a container has less than its host
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
        rows = dict(row.split() for row in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
        files = int(rows["inactive_file"]) + int(rows["active_file"])  # that were read, and give way when it is needed
        return free if limit == "max" else min(free, int(limit) - int(used) + files)
    except (OSError, KeyError, ValueError):
        return free
