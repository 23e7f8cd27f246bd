"""The files of one folder take the place of another's, together: the mechanism under `disk.atomic_folder`.

A staging folder `work` holds the complete new files in `work/new`. Then either

    the swap    what stays is linked into `work/new`, and the names of `work/new` and the target are exchanged in one
                step of the system: whoever opens the target, at any time, finds the old folder or the new one
    in place    all files that will be replaced are moved out to `work/old`, then all new ones are moved in: an
                interruption leaves files missing, which every reader notices, but never files of two saves

The swap needs Linux or macOS and a target that nobody would miss as this very folder: not a mount point, not the
current directory (which would then be a folder without a name), no subfolders, the same owner.
"""

import ctypes
import os
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

try:
    import fcntl

    HAS_LOCKS = True
except ImportError:  # Windows, where moving a file onto another's name is an error by itself
    HAS_LOCKS = False

_HERE = -100  # AT_FDCWD: names are relative to the current directory, as everywhere
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux's renameat2, and RENAME_SWAP of macOS' renamex_np


def replace(work: Path, target: Path, instead_of: Collection[str] = ()) -> None:
    """Make the files of `work/new` those of `target`. What is not needed any more is left in `work`.

    Args:
        work: the staging folder.
        target: a folder, or a name that is free.
        instead_of: patterns of names in the target that go, even if they were not written again.

    Raises:
        OSError: if it cannot be done; the old files are then in their places.
    """
    new = work / "new"
    if not os.path.lexists(target):
        with suppress(OSError):  # somebody else has made it in this instant
            os.rename(new, target)
            return
    for file in files_of(new):
        if (target / file).is_dir():
            raise IsADirectoryError(f"cannot write '{target / file}', because a folder has that name: remove it first")
    with locked(target):
        if not (_is_plain(target, new) and _swap(new, target, instead_of)):
            _replace_in_place(work, target, instead_of)


def needs_staging_inside(target: Path) -> bool:
    """Whether what is written must be staged in the target itself, because names beside it are out of reach or use."""
    if not target.is_dir():
        return False
    here = _current_directory()
    in_use = here is not None and (here == target or target in here.parents)
    return in_use or os.path.ismount(target) or not os.access(target.parent, os.W_OK | os.X_OK)


def files_of(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders, relative to it."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def _is_plain(target: Path, new: Path) -> bool:
    ours, theirs = new.stat(), target.stat()
    return (
        new.parent.parent == target.parent
        and (ours.st_dev, ours.st_uid, ours.st_gid) == (theirs.st_dev, theirs.st_uid, theirs.st_gid)
        and not any(entry.is_dir(follow_symlinks=False) for entry in (*os.scandir(target), *os.scandir(new)))
    )


def _swap(new: Path, target: Path, instead_of: Collection[str]) -> bool:
    """Exchange the two folders; False, with nothing changed in the target, if that cannot be done here."""
    try:
        shutil.copystat(target, new)
        os.utime(new)
        old = set(os.listdir(target))
        for entry in old - _gone(old, instead_of):  # files that were not written again stay
            with suppress(FileExistsError, FileNotFoundError):
                os.link(target / entry, new / entry, follow_symlinks=False)
        if not _exchange(new, target):
            return False
    except (OSError, NotImplementedError):  # a file system without links
        return False
    for entry in set(os.listdir(new)) - old:  # now the old folder: what others put there in the meantime
        if not os.path.lexists(target / entry):
            os.rename(new / entry, target / entry)
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system or the file system cannot."""
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "win32":
        return False
    system = ctypes.CDLL(None)
    if hasattr(system, "renameat2"):
        return system.renameat2(_HERE, names[0], _HERE, names[1], ctypes.c_uint(_EXCHANGE)) == 0
    if hasattr(system, "renamex_np"):
        return system.renamex_np(*names, ctypes.c_uint(_EXCHANGE)) == 0
    return False


def _replace_in_place(work: Path, target: Path, instead_of: Collection[str]) -> None:
    """All old files out, then all new ones in; after an error, back again.

    The largest, which will be the weights, goes out first and comes in last, so that what can be read is whole.
    """
    if work.parent != target:  # the target may be on another disk, as a mount point that does not look like one
        work = Path(shutil.move(work, target / work.name))
    new, old = work / "new", work / "old"
    files = [file for file in files_of(new) if not _is_linked(new / file, target / file)]
    files.sort(key=lambda file: (new / file).stat().st_size)
    gone = sorted(map(Path, _gone(os.listdir(target), instead_of) - set(map(str, files))))
    moves = [(target / file, old / file) for file in (*reversed(files), *gone) if os.path.lexists(target / file)]
    moves += [(new / file, target / file) for file in files]
    moved: list[tuple[Path, Path]] = []
    try:
        for source, place in moves:
            place.parent.mkdir(parents=True, exist_ok=True)
            moved.append((source, place))
            os.rename(source, place)
    except BaseException:
        for source, place in reversed(moved):
            with suppress(FileNotFoundError):  # the last one may not have moved
                os.rename(place, source)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _gone(names: Iterable[str], patterns: Collection[str]) -> set[str]:
    return {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}


def _is_linked(one: Path, other: Path) -> bool:
    """Whether a swap that failed has linked the old file into the new folder."""
    return other.exists() and one.samefile(other)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time is in the block; the system drops the lock of one that ends, however it ends."""
    if not HAS_LOCKS:
        yield
        return
    while True:
        handle = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if not os.path.samestat(os.fstat(handle), os.stat(folder)):
                continue  # it was swapped while we waited
            yield
            return
        finally:
            os.close(handle)


def _current_directory() -> Path | None:
    try:
        return Path(os.path.realpath(os.getcwd()))
    except OSError:  # it was removed
        return None
