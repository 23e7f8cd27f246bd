"""What a pack must know before it is installed: is it whole, is it for this machine, and is there room?

Runs before anything is installed, beside install.py in the pack: nothing but Python is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(os.path.abspath(__file__)).parent
SYSTEMS = {
    ("Linux", "x86_64"): "linux",
    ("Linux", "aarch64"): "linux-arm",
    ("Windows", "AMD64"): "windows",
    ("Darwin", "arm64"): "mac-arm",
}
GB = 10**9
AGAIN = "copy the pack again, and unpack the whole zip"
LONGEST_ON_WINDOWS = 259  # characters of a path, unless long ones are switched on


class Refused(Exception):
    """One sentence that says what is wrong and what to do."""


def read_pack() -> dict:
    """What the pack says of itself."""
    try:
        pack = json.loads((HERE / "pack.json").read_text(encoding="utf-8"))
    except OSError:
        raise Refused("pack.json is not beside install.py: unpack the whole zip, and start install.py there") from None
    except ValueError:
        raise Refused(f"pack.json is damaged: {AGAIN}") from None
    if not isinstance(pack, dict) or pack.get("format") != 1:
        raise Refused(f"pack.json is not what this install.py reads: {AGAIN}")
    return pack


def this_system() -> str:
    """The name of this platform in a pack; of one that no pack has, as the system says it."""
    system, machine = platform.system(), platform.machine()
    if sys.maxsize < 2**32:
        return f"{system} {machine} with a Python of 32 bits"
    if system == "Linux" and platform.libc_ver()[0] not in ("glibc", "libc"):
        return f"Linux {machine} without glibc"
    machine = {"arm64": "aarch64"}.get(machine, machine) if system == "Linux" else machine
    return SYSTEMS.get((system, machine), f"{system} {machine}")


def this_python() -> str:
    """Such as "3.12"; of one that wheels are not for, with what it is."""
    name = "{}.{}".format(*sys.version_info[:2])
    if platform.python_implementation() != "CPython":
        return f"{name} of {platform.python_implementation()}"
    return name + (" without a GIL" if sysconfig.get_config_var("Py_GIL_DISABLED") else "")


def find_target(pack: dict, system: str, python: str) -> dict:
    """What the pack has for this Python on this platform; refuses any other, and says which there are."""
    there = sorted(pack["targets"].values(), key=lambda each: (each["platform"], int(each["python"].split(".")[1])))
    here = [each for each in there if each["platform"] == system]
    if not here:
        names = ", ".join(sorted({each["platform"] for each in there}))
        raise Refused(f"this pack is for {names}, and this is {system}: ask for one with this platform")
    for each in here:
        if each["python"] == python:
            refuse_old_system(each)
            return each
    names = " or ".join(each["python"] for each in here)
    last = here[-1]["python"]
    start = f"py -{last} install.py" if os.name == "nt" else f"python{last} install.py"
    raise Refused(
        f"this pack is for Python {names}, and this is Python {python} ({sys.executable}): start it with another one, "
        f"as '{start}', which python.org has if it is not on this machine"
    )


def refuse_old_system(target: dict) -> None:
    """torch's wheels need a glibc or a macOS that is not too old."""
    if target["platform"].startswith("linux"):
        name, version = platform.libc_ver()
        if name == "glibc" and older(version, (2, target["least"])):
            raise Refused(
                "this Linux has glibc {}, and 2.{} is needed: use a newer one".format(version, target["least"])
            )
    if target["platform"].startswith("mac"):
        version = platform.mac_ver()[0]
        if older(version, (target["least"],)) and not version.startswith(
            "10.16"
        ):  # what an old build says of a new one
            raise Refused("this is macOS {}, and {} is needed: update it".format(version, target["least"]))


def older(version: str, least: tuple) -> bool:
    """Whether a version such as "2.17" comes before another."""
    numbers = version.split(".")[: len(least)]
    return all(each.isdigit() for each in numbers) and tuple(map(int, numbers)) < least


def own_folder(where: str | None) -> Path:
    """The user's folder, made and tried."""
    try:
        folder = Path(os.path.abspath(os.path.expanduser(where))) if where else Path.home() / "lora_course"
    except RuntimeError:
        raise Refused("your home is not known here: name a folder behind install.py") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(folder)):
            pass
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"cannot write in '{folder}' ({why}): name another folder behind install.py") from None
    return folder


def require_short_paths(folder: Path, longest: int, windows: bool = os.name == "nt") -> None:
    """Windows opens no file whose path is longer, unless that is switched on."""
    length = len(str(folder / ".venv" / "Lib" / "site-packages")) + 1 + longest
    if windows and length > LONGEST_ON_WINDOWS and not long_paths_are_on():
        raise Refused(
            f"paths in '{folder}' would have {length} characters, and Windows allows {LONGEST_ON_WINDOWS}: name a "
            "folder with a shorter path behind install.py, such as C:\\lora_course"
        )


def long_paths_are_on() -> bool:
    """Whether this Windows was told to allow them."""
    try:
        import winreg

        registry: Any = winreg
        with registry.OpenKey(registry.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            return bool(registry.QueryValueEx(key, "LongPathsEnabled")[0])
    except (ImportError, OSError):
        return False


def require_room(folder: Path, needed: int) -> None:
    """What is installed once already counts again, which does no harm."""
    free = shutil.disk_usage(str(folder)).free
    if free < needed:
        raise Refused(
            f"{free / GB:.1f} GB are free in '{folder}', and {needed / GB:.1f} GB are needed: make room, or name a "
            "folder on another disk behind install.py"
        )


def sums() -> dict:
    """Name -> SHA-256, of every file of the pack."""
    try:
        lines = (HERE / "SHA256SUMS").read_text(encoding="ascii").splitlines()
        found = dict(line.split("  ", 1)[::-1] for line in lines)
    except (OSError, ValueError):
        raise Refused(f"SHA256SUMS is missing or damaged: {AGAIN}") from None
    return found


def compare(known: dict, names: list[str] | None = None) -> int:
    """Refuses what is not as it was packed; the number of files that are."""
    wanted = sorted(known if names is None else names)
    bad = [name for name in wanted if sha256(HERE / name) != known.get(name)]
    if bad:
        raise Refused(f"{len(bad)} of {len(wanted)} files are missing or damaged, the first of them {bad[0]}: {AGAIN}")
    return len(wanted)


def sha256(path: Path) -> str:
    """Of a file; "" of one that cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(str(path), "rb") as stream:
            for chunk in iter(lambda: stream.read(2**20), b""):
                digest.update(chunk)
    except OSError:
        return ""
    return digest.hexdigest()
