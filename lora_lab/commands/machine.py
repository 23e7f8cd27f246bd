"""Which machine measured something: every recorded figure names it."""

import os
import platform
from pathlib import Path

import torch

from lora_lab.commands import installed


def describe() -> dict[str, str | int]:
    """Processor, cores, threads and the versions that decide speed and last digits."""
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "gpu": device,
        "python": platform.python_version(),
        **{name: installed.version(name) or "not installed" for name in ("torch", "transformers", "peft")},
    }


def _processor() -> str:
    """The processor's own name where the system tells it (Linux), else the kind of processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
