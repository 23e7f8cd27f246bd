"""Is this machine ready for the course? One line per thing that matters, each with its remedy.

lora-lab doctor                                        in a shell
from lora_lab.commands import doctor; doctor.run()     in a notebook, where it also sees what the kernel has loaded
"""

import sys
from collections.abc import Iterator

from lora_lab.commands import hardware, software, surroundings
from lora_lab.commands.finding import Check, ask

PROBES = (
    software.python,
    software.package,
    software.requirements,
    software.extras,
    hardware.device,
    hardware.kernels,
    surroundings.tier,
    hardware.dtype,
    hardware.threads,
    hardware.memory,
    hardware.gpu_memory,
    surroundings.disk,
    surroundings.leftovers,
    surroundings.network,
    surroundings.hub,
    surroundings.embedded_base,
    surroundings.real_model,
)
"""In the order in which they are asked and printed."""


def run() -> int:
    """Print every check; 1 if one of them failed, else 0."""
    found = []
    for check in checks():
        _print(line(check))
        found.append(check.status)
    warnings, failures = found.count("warn"), found.count("fail")
    _print(f"\n{'not ready' if failures else 'ready'}: {failures} failed, {warnings} warned, {found.count('ok')} ok")
    return int(failures > 0)


def _print(text: str) -> None:
    """A path or a system's message may hold what the output cannot encode."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def checks() -> Iterator[Check]:
    """Every check in turn; one that itself breaks is a failed check, never a traceback."""
    for probe in PROBES:
        yield from ask(probe.__name__.replace("_", " "), probe)


def line(check: Check) -> str:
    """A check as it is printed; the remedy stands below, where there is something to remedy."""
    text = f"{check.status:<5} {check.name:<15} {check.detail}"
    return text + (f"\n{'':<21} -> {check.remedy}" if check.remedy else "")
