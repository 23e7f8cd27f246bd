"""The doctor's questions about Python and the packages: are they there, in their ranges, and loaded as installed?"""

import importlib
import logging
import platform
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from packaging.requirements import Requirement

from lora_lab.commands import installed
from lora_lab.commands.finding import REINSTALL, Check, ask
from lora_lab.units import first_line


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
    return Check("lora_lab", "ok", f"{version} ({Path(__file__).parents[1]})")


def requirements() -> Iterator[Check]:
    """What the project needs at run time, each in its turn."""
    for wanted in installed.requirements():
        yield from ask(wanted.name, partial(requirement, wanted))


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


def _loaded_version(module: str) -> str | None:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # bitsandbytes, which PEFT imports, recommends a package that nothing here needs
    try:
        return getattr(importlib.import_module(module), "__version__", None)
    finally:
        logging.disable(before)
