"""The bubblewrap sandbox in which the worker lives: what it sees, and as whom it runs.

It sees the interpreter, torch and what torch needs, the pipe's two ends' code and the rooms that the exercise allows,
each at a path that says nothing about this machine, all read-only. There is no shell, no home, no network.
"""

import ast
import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import lora_lab

USER = 20001  # whom the worker runs as if the judge is root: root's processes are not counted by RLIMIT_NPROC
_LIBRARY = Path(lora_lab.__file__).parent
_NEEDED = ("torch", "numpy", "safetensors")
_OWN = ("__init__", "cells", "frames", "isolation", "server", "syscalls", "values", "worker")  # modules of this room
_INSTALL = "install bubblewrap, as `apt-get install bubblewrap` does on Debian and Ubuntu"
_APPARMOR = (
    "On Ubuntu 23.10 and newer AppArmor keeps users from making sandboxes: `sysctl "
    "kernel.apparmor_restrict_unprivileged_userns=0`, or a profile for bwrap that has `userns,`, lets them"
)


class NoSandbox(Exception):
    """Students' code cannot be kept from this machine; the sentence says what to install."""


def command(allow: Iterable[str], descriptor: int, nest: bool = True) -> list[str]:
    """What starts the server within the sandbox.

    Args:
        allow: rooms of the library that answers may import.
        descriptor: of the pipe to the judge, which the server inherits.
        nest: whether to try for namespaces of each submission's own.

    Raises:
        NoSandbox: there is no bubblewrap on this machine.
    """
    bwrap = shutil.which("bwrap")
    if not bwrap:
        raise NoSandbox(f"bwrap is not there, and nothing that students wrote runs without it: {_INSTALL}")
    root = os.getuid() == 0
    found = [bwrap, "--die-with-parent", "--new-session", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    found += ["--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"]
    # Only root can mount what lies under its private home; it then becomes somebody else, within.
    found += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if root else ["--unshare-user"]
    for folder in ("/usr/bin", "/etc", "/python/bin", "/python/lib", "/packages", "/course/lora_lab/grading"):
        found += ["--dir", folder]  # that another user may enter: what bwrap makes on its way is root's alone
    found += [*_environment(), *_system(root), *_mounts(allow), "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    found += ["--dev-bind", "/dev/null", "/dev/zero"]  # which maps as memory that no process is charged for
    found += ["--remount-ro", "/", "--chdir", "/", "--"]
    if root:
        who = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
        found += ["/usr/bin/setpriv", *who]
    paths = ["/packages", "/course"]
    return [*found, f"/python/bin/{_python().name}", *_start(paths, sorted(rooms(allow)), descriptor, True, nest)]


def without(allow: Iterable[str], descriptor: int) -> list[str]:
    """The same without a sandbox: what students wrote can then do all that whoever runs it can do."""
    paths = [str(_LIBRARY.parent), *(path for path in sys.path if path)]
    return [sys.executable, *_start(paths, sorted(rooms(allow)), descriptor, False, False)]


def explained(errors: str) -> str:
    """Why a sandbox did not start, from what bwrap wrote."""
    last = (errors.strip().splitlines() or ["it said nothing"])[-1]
    hint = f" {_APPARMOR}." if "uid map" in errors or "Operation not permitted" in errors else ""
    return f"the sandbox does not start ({last}), and nothing that students wrote runs without it.{hint}"


def rooms(allow: Iterable[str]) -> set[str]:
    """The rooms that are there when an exercise allows these: they, and what they import."""
    there: set[str] = set()
    waiting = list(allow)
    while waiting:
        room = waiting.pop()
        if room not in there:
            there.add(room)
            waiting += {each for file in _files(room) for each in _imported(file)}
    return there


def _start(paths: list[str], allow: list[str], descriptor: int, sandboxed: bool, nest: bool) -> list[str]:
    run = f"import sys; sys.path[:0] = {paths!r}; from lora_lab.grading.server import main"
    options = json.dumps({"allow": allow, "sandboxed": sandboxed, "nest": nest})
    return ["-I", "-S", "-c", f"{run}; main({descriptor}, {options!r})"]


def _environment() -> list[str]:
    """Nothing of the judge's: it may hold secrets. One thread, so that the server can fork."""
    known = {"HOME": "/tmp", "LANG": "C.UTF-8", "LD_LIBRARY_PATH": "/python/lib"}
    known["LORA_LAB_KERNELS"] = "off"  # a compiler's second would be spent anew in each sandbox
    known |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return ["--clearenv", *(part for name, value in known.items() for part in ("--setenv", name, value))]


def _python() -> Path:
    """The interpreter itself, of which a virtual environment has only a link."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _system(root: bool) -> Iterator[str]:
    """The system's libraries, and the interpreter's without what is installed beside it."""
    for name in ("lib", "lib64", "lib32"):
        if os.path.isdir(f"/usr/{name}"):
            yield from ("--ro-bind", f"/usr/{name}", f"/usr/{name}")
        if os.path.islink(f"/{name}"):
            yield from ("--symlink", f"usr/{name}", f"/{name}")
        elif os.path.isdir(f"/{name}"):
            yield from ("--ro-bind", f"/{name}", f"/{name}")
    if root:
        yield from ("--ro-bind", str(shutil.which("setpriv")), "/usr/bin/setpriv")
    yield from ("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache")
    yield from ("--ro-bind", str(_python()), f"/python/bin/{_python().name}")
    modules = Path(os.__file__).parent
    within = f"/python/{sys.platlibdir}/{modules.name}"
    yield from ("--ro-bind", str(modules), within)
    if sys.base_prefix != "/usr":  # it may bring libraries of its own
        for library in Path(sys.base_prefix, "lib").glob("lib*.so*"):
            yield from ("--ro-bind", str(library), f"/python/lib/{library.name}")
    for place in ("/usr/lib/python3", f"/usr/lib/{modules.name}", within):  # packages, and this course among them
        source = place if place != within else str(modules)
        for name in ("dist-packages", "site-packages"):
            if os.path.isdir(f"{source}/{name}"):
                yield from ("--tmpfs", f"{place}/{name}", "--remount-ro", f"{place}/{name}")


def _mounts(allow: Iterable[str]) -> Iterator[str]:
    for path in _packages():
        yield from ("--ro-bind", str(path), f"/packages/{path.name}")
    ground = ("__init__", "moved", *(f"grading/{name}" for name in _OWN))
    for place in (*(_LIBRARY / f"{name}.py" for name in ground), *map(_place, sorted(rooms(allow)))):
        yield from ("--ro-bind", str(place), f"/course/lora_lab/{place.relative_to(_LIBRARY)}")


@lru_cache
def _packages() -> tuple[Path, ...]:
    """The files and folders, beside one another in some site-packages, of torch and of all that it needs."""
    found: dict[str, Path] = {}
    waiting, seen = list(_NEEDED), set()
    while waiting:
        name = waiting.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:  # needed on other systems only
            continue
        if distribution.metadata["Name"] in seen:
            continue
        seen.add(distribution.metadata["Name"])
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            found[top] = Path(str(distribution.locate_file(top)))
        needs = [need for need in distribution.requires or () if "extra ==" not in need]
        waiting += [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in needs]
    if "torch" not in found:
        raise NoSandbox("torch's files are not listed where it is installed: install it with pip")
    return tuple(path for path in found.values() if path.exists())


def _place(room: str) -> Path:
    folder = _LIBRARY / room
    if not re.fullmatch(r"[a-z_0-9]+", room) or not (folder.is_dir() or folder.with_suffix(".py").is_file()):
        raise ValueError(f"an exercise allows {room!r}, which is no room of lora_lab")
    return folder if folder.is_dir() else folder.with_suffix(".py")


def _files(room: str) -> list[Path]:
    place = _place(room)
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


@lru_cache
def _imported(file: Path) -> frozenset[str]:
    """Rooms that a file imports when it is imported, or when something in it is called."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    typing = {id(node) for block in blocks for child in block.body for node in ast.walk(child)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "lora_lab":
            found |= {alias.name for alias in node.names if not alias.name.startswith("_")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lora_lab."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lora_lab.")}
    return frozenset(found)
