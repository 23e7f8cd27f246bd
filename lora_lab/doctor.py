"""Is this machine ready for the course? One line per thing that matters, each with its remedy.

lora-lab doctor                               in a shell
from lora_lab import doctor; doctor.run()     in a notebook, where it also sees what the kernel has loaded
"""

import importlib
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import Requirement

from lora_lab import installed
from lora_lab.units import GB, first_line

REINSTALL = 'pip install -c constraints.txt -e ".[lab,test]"'


@dataclass(frozen=True)
class Check:
    """One finding.

    `status` is `"ok"`, `"warn"` (the course runs, but not at its best) or `"fail"` (it will not run).
    """

    name: str
    status: str
    detail: str
    remedy: str = ""


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
    machine = (extras, device, tier, dtype, threads, memory, gpu_memory, disk, leftovers, network, hub, embedded_base)
    for probe in (python, package, requirements, *machine):
        yield from _ask(probe.__name__.replace("_", " "), probe)


def _ask(name: str, probe: Callable[[], Check | Iterable[Check] | None]) -> Iterator[Check]:
    try:
        found = probe()
        yield from [found] if isinstance(found, Check) else found or ()
    except (Exception, SystemExit) as error:  # a broken install can fail in any way, and we are asked just then
        yield Check(name, "fail", f"{type(error).__name__}: {first_line(error)}", REINSTALL)


def line(check: Check) -> str:
    """A check as it is printed; the remedy stands below, where there is something to remedy."""
    text = f"{check.status:<5} {check.name:<15} {check.detail}"
    return text + (f"\n{'':<21} -> {check.remedy}" if check.remedy else "")


def python() -> Check:
    """Is this Python one that the project supports?"""
    version, wanted = platform.python_version(), installed.python_range()
    detail = f"{version} ({sys.executable}), needs {wanted}"
    if installed.satisfied(Requirement(f"python{wanted}"), version):
        return Check("python", "ok", detail)
    return Check("python", "fail", detail, "make a new environment with a supported Python, then run the set-up again")


def package() -> Check:
    """Is the course's own package installed, so that it can be imported from any folder?"""
    version = installed.version(installed.DISTRIBUTION)
    if version is None:
        return Check(
            "lora_lab",
            "warn",
            "not installed: it is imported from the current folder, and its version ranges are unknown",
            REINSTALL,
        )
    return Check("lora_lab", "ok", f"{version} ({Path(__file__).parent})")


def requirements() -> Iterator[Check]:
    """What the project needs at run time, each in its turn."""
    for wanted in installed.requirements():
        yield from _ask(wanted.name, partial(requirement, wanted))


def requirement(wanted: Requirement) -> Check:
    """Is a requirement installed, inside its range, and loaded in the version that is installed?"""
    on_disk = installed.version(wanted.name)
    asked = f", needs {wanted.specifier}" if wanted.specifier else ""
    if on_disk is None:
        return Check(wanted.name, "fail", f"not installed{asked}", REINSTALL)
    if not installed.satisfied(wanted, on_disk):
        return Check(wanted.name, "fail", f"{on_disk} installed{asked}", REINSTALL)
    try:
        loaded = _loaded_version(wanted.name.replace("-", "_"))
    except (Exception, SystemExit) as error:  # a library that does not fit its neighbours can raise anything on import
        return Check(wanted.name, "fail", f"{on_disk} installed, importing it fails: {first_line(error)}", REINSTALL)
    if loaded is not None and not installed.same_version(on_disk, str(loaded)):
        return Check(
            wanted.name,
            "fail",
            f"{on_disk} installed, {loaded} loaded",
            "restart the kernel, so that it loads what is installed",
        )
    return Check(wanted.name, "ok", f"{on_disk} installed{' and loaded' if loaded else ''}{asked}")


def extras() -> Check | None:
    """Are the optional packages that are installed inside their ranges? Those that are not installed are only named."""
    parts, outside = [], []
    for extra in installed.EXTRAS:
        absent = []
        for wanted in installed.optional(extra):
            on_disk = installed.version(wanted.name)
            if on_disk is None:
                absent.append(wanted.name)
            elif not installed.satisfied(wanted, on_disk):
                outside.append(f"{wanted.name} {on_disk} (needs {wanted.specifier})")
        if installed.optional(extra):
            parts.append(f"{extra} without {', '.join(absent)}" if absent else f"{extra} complete")
    if outside:
        return Check("extras", "warn", f"outside their ranges: {', '.join(dict.fromkeys(outside))}", REINSTALL)
    return Check("extras", "ok", "; ".join(parts)) if parts else None


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


def tier() -> Check:
    """What `--tier auto` will run, and whether its model can be had."""
    from lora_lab.models.hub import cached, hub_reachable
    from lora_lab.models.tiers import get_tier

    chosen = get_tier("auto")
    if chosen.embedded:
        return Check("tier", "ok", f"{chosen.name}: the embedded base, nothing to download")
    if cached(chosen.model):
        return Check("tier", "ok", f"{chosen.name}: {chosen.model}, downloaded before")
    if hub_reachable():
        return Check("tier", "ok", f"{chosen.name}: {chosen.model}, will be downloaded from the hub")
    return Check(
        "tier",
        "warn",
        f"{chosen.name}: {chosen.model} is not on this machine and the hub does not answer",
        "connect to the network, or use the embedded base: --tier cpu",
    )


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
    return Check("gpu memory", "warn", detail, "stop the other processes that nvidia-smi lists, or use --tier cpu")


def disk() -> Check:
    """The space and the right to write in the current folder."""
    from lora_lab.files import writable_folder

    try:
        folder = writable_folder(Path.cwd())
    except FileNotFoundError:
        return Check("disk", "warn", "the current folder was removed", "change to a folder that exists")
    except OSError as error:
        return Check("disk", "warn", first_line(error), "change to a folder of your own")
    free = shutil.disk_usage(folder).free
    detail = f"{free / GB:.1f} GB free in {folder}; 1 GB suffices"
    return Check("disk", "ok", detail) if free >= GB else Check("disk", "warn", detail, "delete what you can spare")


def leftovers() -> Check | None:
    """What an interrupted save left in the current folder, in `out` or in a folder there."""
    from lora_lab import files

    places = [Path(), Path("out"), *sorted(place for place in Path("out").glob("*") if place.is_dir())]
    found = [str(left) for place in places for left in files.leftovers(place)]
    if not found:
        return None
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return Check(
        "left-overs",
        "warn",
        f"an interrupted save left {', '.join(found[:3])}{more}",
        "if nothing is being saved just now, look whether you need what is in it, and delete it",
    )


def network() -> Check:
    """Does the package index that pip is configured with answer? The course runs without one."""
    from lora_lab.models.hub import reachable

    index = installed.package_index()
    if index is None:
        return Check("network", "ok", "pip is configured to ask no package index; not needed once installed")
    try:
        answers, name = reachable(index), urlsplit(index).hostname or "the local package index"
    except ValueError:
        return Check("network", "warn", "pip's index-url is no address", "correct it: pip config list shows where")
    return Check(
        "network", "ok", f"{name} answers" if answers else f"{name} does not answer; not needed once installed"
    )


def hub() -> Check:
    """Does the Hugging Face hub answer? Only the GPU tiers need it, once."""
    from lora_lab.models.hub import hub_reachable

    return Check(
        "hub",
        "ok",
        "the Hugging Face hub answers"
        if hub_reachable()
        else "the Hugging Face hub does not answer; not needed for the embedded base",
    )


def embedded_base() -> Check:
    """Is every file of the embedded base there and undamaged?"""
    from lora_lab.models import checksums
    from lora_lab.models.base import EMBEDDED_FOLDER

    try:
        size = checksums.verify(EMBEDDED_FOLDER)
    except (OSError, ValueError) as error:
        problem, _, way_out = first_line(error).partition(": ")
        return Check("embedded base", "fail", problem, way_out)
    return Check("embedded base", "ok", f"whole, {size / 10**6:.1f} MB, every checksum right")


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
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def _loaded_version(module: str) -> str | None:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # bitsandbytes, which PEFT imports, recommends a package that nothing here needs
    try:
        return getattr(importlib.import_module(module), "__version__", None)
    finally:
        logging.disable(before)
