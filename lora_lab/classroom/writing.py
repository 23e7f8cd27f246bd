"""A pack as one zip: the same members give the same bytes, and it is there when it is whole."""

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from lora_lab.classroom.contents import Member, size_of
from lora_lab.disk import atomic_path, writable_folder
from lora_lab.units import GB

STICK = 2**32 - 1  # the largest file of FAT32, as which many sticks are formatted
_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX, _MODE = 3, 0o100644 << 16
_PACKED = (".whl", ".zip", ".png")


def write(out: Path, folder: str, members: Mapping[str, Member]) -> None:
    """Write the zip, and read it once.

    Args:
        out: its name; what stood there stays until it is whole.
        folder: in which the members lie.
        members: by their names.

    Raises:
        OSError: if the disk is full, it cannot be written there, or what is read is not what was written.
    """
    require_room(out.parent, size_of(members.values()), "the zip")
    with atomic_path(out) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, member in sorted(members.items()):
                _add(archive, f"{folder}/{name}", member)
        with zipfile.ZipFile(temporary) as archive:
            if damaged := archive.testzip():
                raise OSError(f"'{out}' could not be read as it was written ({damaged}): choose another disk")


def require_room(folder: Path, size: int, what: str) -> None:
    """Raises OSError if so many bytes are not free in a folder, which is made."""
    free = shutil.disk_usage(writable_folder(folder)).free
    if free < size:
        raise OSError(
            f"{free / GB:.1f} GB are free in '{folder}', and {what} needs {size / GB:.1f} GB: make room, or choose "
            "another disk"
        )


def _add(archive: zipfile.ZipFile, name: str, member: Member) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    info.create_system, info.external_attr = _UNIX, _MODE
    info.compress_type = zipfile.ZIP_STORED if name.endswith(_PACKED) else zipfile.ZIP_DEFLATED
    info.file_size = size_of([member])
    with archive.open(info, "w") as target:
        _copy(member, target)


def _copy(member: Member, target: IO[bytes]) -> None:
    if isinstance(member, bytes):
        target.write(member)
        return
    with open(member, "rb") as source:
        shutil.copyfileobj(source, target, 2**20)
