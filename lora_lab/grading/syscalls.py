"""Calls of the kernel that no answer needs: a filter that a process puts on itself and cannot take off again.

Foremost those that take memory which belongs to no process, so that no limit of a process bounds it and nobody's size
shows it: memfd, System V's segments, and what is mapped as shared and anonymous. The others ask for what the walls
refuse already.

Source: Linux, Documentation/userspace-api/seccomp_filter.rst; the numbers are those of arch/*/syscall tables.
"""

import contextlib
import ctypes
import errno
import os
import struct

_NUMBERS = {  # on x86_64, on aarch64
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265), "mount": (165, 40), "unshare": (272, 97), "setns": (308, 268),
    "fsopen": (430, 430), "open_tree": (428, 428), "move_mount": (429, 429), "pidfd_getfd": (438, 438),
}  # fmt: skip
_MMAP = (9, 222)
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # the column above, and the kernel's name
_SHARED_AND_NOBODYS = 0x21  # MAP_SHARED | MAP_ANONYMOUS
_OTHER_ABI = 0x40000000  # x86_64's x32, where the same calls have other numbers
_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER, _ARCHITECTURE, _FLAGS = 0, 4, 40  # places in `struct seccomp_data`
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | errno.EPERM
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2


def program(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter, as the kernel's (code, jump if true, jump if false, value).

    Raises:
        KeyError: for a machine whose calls are not listed here.
    """
    column, architecture = _MACHINES[machine]
    denied = [numbers[column] for numbers in _NUMBERS.values()]
    end = 3 + len(denied) + 5  # where it says no; one after that, it says yes
    found = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 0, end - 2, architecture), (_LOAD, 0, 0, _NUMBER)]
    for code, number in [(_AT_LEAST, _OTHER_ABI), *((_EQUAL, each) for each in denied)]:
        found.append((code, end - len(found) - 1, 0, number))
    found.append((_EQUAL, 0, end - len(found), _MMAP[column]))
    found += [(_LOAD, 0, 0, _FLAGS), (_AND, 0, 0, _SHARED_AND_NOBODYS), (_EQUAL, 0, 1, _SHARED_AND_NOBODYS)]
    return [*found, (_RETURN, 0, 0, _DENY), (_RETURN, 0, 0, _ALLOW)]


def forbid() -> None:
    """From now on these calls fail, here and in all children; where the kernel has no filters, nothing happens."""
    with contextlib.suppress(KeyError):
        steps = b"".join(struct.pack("<HBBI", *step) for step in program(os.uname().machine))
        libc, held = ctypes.CDLL(None), ctypes.create_string_buffer(steps)
        whole = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(steps) // 8, ctypes.addressof(held)))
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.prctl(_PR_SET_SECCOMP, _FILTER, whole, 0, 0)
