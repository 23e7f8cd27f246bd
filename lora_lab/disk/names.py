"""Names of files: which can be written to, which are temporary, and whether there is something to read."""

import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from lora_lab.disk.failures import errors_named

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def refuse_no_name(path: str | Path) -> None:
    """ValueError for what names nothing, or would not name what it seems to.

    An empty name would be the current folder. "~" is a home to a shell only; here a folder of that name would be made.
    """
    text = os.fsdecode(path)
    if not text:
        raise ValueError("'' names no file and no folder: give a name, or '.' for the current folder")
    if "\0" in text:
        raise ValueError(f"{text!r} holds a NUL, which no name can: choose another name")
    if text == "~" or text.startswith(("~/", f"~{os.sep}")):
        raise ValueError(f"{text!r} begins with '~', which only a shell replaces: give os.path.expanduser({text!r})")


def behind_links(path: str | Path) -> Path:
    """What a link points to is replaced, not the link."""
    refuse_no_name(path)
    with errors_named(path):
        target = Path(os.path.realpath(path))
        if target.is_symlink():
            raise OSError(f"'{path}' is a link that leads back to itself: choose another name")
        with suppress(FileNotFoundError, NotADirectoryError):
            target.lstat()  # a name may be too long, or lie in a folder that is closed
    return target


def temporary_name(target: Path) -> str:
    """A name beside the target that `leftovers` knows, and that nobody else has."""
    return f".{target.name[:40]}.{secrets.token_hex(4)}.tmp"  # a long name must not become too long


def leftovers(folder: str | Path) -> list[Path]:
    """What killed processes left in a folder under temporary names; empty if it cannot be read."""
    try:
        return sorted(path for path in Path(folder).iterdir() if _TEMPORARY.fullmatch(path.name))
    except OSError:
        return []


def require_file(path: Path, way_out: str) -> None:
    """OSError for what cannot be read as a file; `way_out` ends its sentence."""
    if path.is_dir():
        raise OSError(f"{path} is a folder, where a file is expected: {way_out}")
    if not os.path.lexists(path):
        raise FileNotFoundError(f"no {path.name} in {path.parent}: {way_out}")
    if not path.is_file():
        raise OSError(f"{path} is no file that can be read (a broken link, or a device): {way_out}")
