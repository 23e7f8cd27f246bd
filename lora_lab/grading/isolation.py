"""Walls around one submission, within the sandbox: namespaces of its own, limits, no privileges.

The sandbox keeps all submissions from the machine; these keep each from the next and from the server that forks them.
"""

import ctypes
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

_PR_SET_DUMPABLE = 4
_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_REC, _PRIVATE, _NOSUID, _NODEV, _RDONLY = 0x4000, 1 << 18, 2, 4, 1
_KEYCTL = {"x86_64": 250, "aarch64": 219}
_CAPABILITIES = 0x20080522  # version 3 of the header

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        cpu: seconds of processor time, each process; all of them together may take twice as much.
        wall: seconds for everything; generous, since the machine may be busy.
        call: seconds for a single answer of its code.
        check: seconds for one check, with the answers that it asks for.
        memory: bytes of all its processes together, and the address space of each.
        processes: and threads, at most.
        file: bytes of its files, which lie in memory.
        open_files: at most.
    """

    cpu: int = 30
    wall: float = 150
    call: float = 60
    check: float = 180
    memory: int = 4 * 2**30
    processes: int = 16
    file: int = 64 * 2**20
    open_files: int = 128


def hide() -> None:
    """Nobody but root may read or trace this process: not its memory, not its open files."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _show() -> None:
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def enter_namespaces() -> None:
    """The next child of this process will be process 1 of its own world: when it goes, the kernel kills all others.

    Raises:
        OSError: the kernel does not allow it.
    """
    user, group = os.getuid(), os.getgid()
    _call("unshare", _NEWUSER | _NEWPID | _NEWNS | _NEWIPC | _NEWNET)
    _show()  # else what lies in /proc/self belongs to root, and cannot be written
    for file, line in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        Path(f"/proc/self/{file}").write_text(line, encoding="utf-8")
    hide()


def furnish(limits: Limits) -> None:
    """Empty places to write in, no sight of other processes, no way back to privileges: in process 1, as it starts."""
    _show()
    nested = Path("/proc/sys/user/max_user_namespaces")
    nested.write_text("0", encoding="utf-8")  # or it would be root of one, and mount what it likes
    _call("mount", b"none", b"/", None, _REC | _PRIVATE, None)
    room = f"size={limits.file},nr_inodes=4096,mode=1777".encode()
    for place in (b"/tmp", b"/dev/shm"):
        _call("mount", b"tmpfs", place, b"tmpfs", _NOSUID | _NODEV, room)
    _call("mount", b"tmpfs", b"/proc", b"tmpfs", _NOSUID | _NODEV | _RDONLY, b"size=4k")
    _call("capset", (ctypes.c_uint32 * 2)(_CAPABILITIES, 0), (ctypes.c_uint32 * 6)())


def forget_keys() -> None:
    """A keyring of its own: that of the judge's session is handed down to every process, whoever runs it."""
    if number := _KEYCTL.get(os.uname().machine):
        _libc.syscall(number, 1, None)


def limit(limits: Limits) -> None:
    """What this process and its children may use, which they cannot raise again."""
    for what, most in (
        (resource.RLIMIT_CPU, limits.cpu),
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_FSIZE, limits.file),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def silence() -> None:
    """What it prints goes nowhere, however much; what it reads is empty."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)


def used(processes: int, own: set[str]) -> tuple[float, int]:
    """Seconds and bytes that the sandbox's processes take together: a limit of each is none for who starts many.

    Args:
        processes: /proc, opened before something else was mounted there.
        own: those that do not count.
    """
    ticks = pages = 0
    for entry in set(filter(str.isdigit, os.listdir(processes))) - own:
        try:
            times = _text(processes, f"{entry}/stat").rpartition(")")[2].split()[11:15]
            resident, shared = _text(processes, f"{entry}/statm").split()[1:3]
        except (OSError, ValueError):  # it has just ended
            continue
        ticks += sum(map(int, times))
        pages += int(resident) - int(shared)
    return ticks / os.sysconf("SC_CLK_TCK"), pages * resource.getpagesize()


def _text(folder: int, name: str) -> str:
    descriptor = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        return os.read(descriptor, 4096).decode(errors="replace")
    finally:
        os.close(descriptor)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
