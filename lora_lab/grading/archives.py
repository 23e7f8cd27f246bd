"""A zip of notebooks, read from where it lies: what could harm whoever unpacks it is refused by name.

An entry is held to what it declares and to what comes out of it: its name, its kind, its size, the ratio of the two
sizes, its checksum. Nothing is unpacked, so that a name such as "../../.bashrc" does nothing here; it is refused all
the same, since nobody hands in such a name by accident.
"""

import stat
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from lora_lab.grading import files
from lora_lab.grading.files import File, no_content, shown

MOST_RATIO = 250  # of an entry's size to what it takes in the zip: deflate reaches 1032, an honest notebook 20
SMALL = 5_000_000  # bytes, up to which no ratio harms, such as that of a line that is printed a thousand times
_LONGEST_NAME = 1_000
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # others come out in pieces of any size
_ENCRYPTED = 0x1
_UTF8 = 0x800
_EXTENDED_TIME = 0x5455


def read(path: Path) -> Iterator[File]:
    """Every file of a zip, in the order of their names.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged as a whole, or has more files than a class hands in.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, struct.error, EOFError) as error:
        raise ValueError(f"'{path}' is no zip that can be read ({error}): download it again") from error
    except OSError as error:
        raise OSError(f"'{path}' cannot be read ({error.strerror or error}): make it readable") from error
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(entries) > files.MOST_FILES:
            raise ValueError(f"'{path}' holds over {files.MOST_FILES:,} files: give a class, or a part of it")
        names = {id(entry): _name(entry) for entry in entries}
        often = Counter(_target(name) for name in names.values())
        for entry in sorted(entries, key=lambda entry: names[id(entry)]):
            name = names[id(entry)]
            why = _reason(entry, name) or (often[_target(name)] > 1 and "stands in the zip twice under this name")
            yield no_content(shown(name), why, _modified(entry)) if why else _content(archive, entry, shown(name))


def _reason(entry: zipfile.ZipInfo, name: str) -> str:
    """Why an entry is not read; empty if it is."""
    mode = entry.external_attr >> 16 if entry.create_system == 3 else 0
    kind = stat.S_IFMT(mode)
    if "\0" in entry.orig_filename or not name.strip() or len(name) > _LONGEST_NAME:
        return "has a name that no file can have"
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        return "has an absolute name, which would leave the folder"
    if ".." in name.replace("\\", "/").split("/"):
        return "has a name with '..', which would leave the folder"
    if stat.S_ISLNK(mode):
        return "is a link, and links are not followed: hand in the file itself"
    if kind and not stat.S_ISREG(mode):
        return "is a device or a pipe, and no file"
    if why := files.reason_by_name(name.replace("\\", "/")):
        return why
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted: hand it in without a password"
    if entry.compress_type not in _METHODS:
        return "is compressed in a way other than zip's usual one (deflate)"
    if entry.file_size > files.MOST_BYTES:
        return f"is larger than {files.MOST_BYTES:,} bytes: clear its outputs"
    if entry.file_size > max(SMALL, MOST_RATIO * entry.compress_size):
        return f"grows to more than {MOST_RATIO} times its size, as a zip bomb does"
    return ""


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> File:
    """What comes out, which the library stops at the declared size and holds against the checksum."""
    try:
        with archive.open(entry) as opened:
            return files.of_bytes(name, opened.read(files.MOST_BYTES + 1), _modified(entry))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError, ValueError) as error:
        return no_content(name, f"is damaged in the zip ({shown(str(error))})", _modified(entry))


def _name(entry: zipfile.ZipInfo) -> str:
    """The name; many programs write UTF-8 and do not say so, and zipfile then reads it as if it were DOS's code."""
    if entry.flag_bits & _UTF8:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


def _target(name: str) -> str:
    """What a system would unpack it to: names that differ in nothing but this would be one file."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _modified(entry: zipfile.ZipInfo) -> datetime | None:
    """When an entry was changed: exactly where the zip says so, else in whole seconds of this machine's zone."""
    seconds = _extended_time(entry.extra)
    try:
        if seconds is not None:
            return datetime.fromtimestamp(seconds).astimezone()
        if entry.date_time[:3] == (1980, 1, 1):  # what stands there when nobody has set it
            return None
        return datetime(*entry.date_time).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


def _extended_time(extra: bytes) -> int | None:
    """Seconds since 1970 from a zip's "extended timestamp", which many programs add because DOS's time has no zone."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        body, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _EXTENDED_TIME and len(body) >= 5 and body[0] & 1:
            return struct.unpack_from("<i", body, 1)[0]
    return None
