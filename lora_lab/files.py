"""Writing so that a half-written file never replaces a whole one.

What is written goes to a temporary name in the same folder first; only when it is complete does it take the place
of what stood there, by `os.replace`, which is atomic within one file system.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def writable_folder(path: str | Path) -> Path:
    """A folder that exists and can be written in; made, with its parents, if it is not there.

    Returns:
        `path` as a `Path`.

    Raises:
        OSError: if it cannot be made or written in, with the reason and the way out.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # asking for permission bits would not see a read-only or full disk
            pass
    except OSError as error:
        raise OSError(
            f"cannot write in the folder '{folder}' ({error.strerror}): choose another folder, "
            "or make this one writable"
        ) from error
    return folder


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path to write a file to; it becomes `path` when the block ends without an error.

    After an error whatever stood at `path` is untouched, and the temporary file is gone.

        with atomic_path("scores.json") as temporary:
            temporary.write_text(text, encoding="utf-8")

    Raises:
        OSError: if the folder cannot be written in, or `path` is a folder.
    """
    target = Path(os.path.realpath(path))  # replace what a link points to, not the link
    if target.is_dir():
        raise IsADirectoryError(f"cannot write the file '{path}', because a folder has that name: choose another name")
    temporary = writable_folder(target.parent) / _temporary_name(target)
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder to write files in; they become the files of `path` when the block ends without an error.

    A new folder appears at once. In a folder that already stands, file after file is replaced by a whole one,
    and files that were not written again stay: a folder named by mistake loses nothing else.

    Raises:
        OSError: if the folder cannot be written in, or `path` is a file.
    """
    target = Path(os.path.realpath(path))
    if target.exists():
        writable_folder(target)
    temporary = writable_folder(target.parent) / _temporary_name(target)
    temporary.mkdir()
    try:
        yield temporary
        if not target.exists():
            os.replace(temporary, target)
        else:
            _move_files(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_files(source: Path, target: Path) -> None:
    for file in sorted(file for file in source.rglob("*") if file.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)


def _temporary_name(target: Path) -> str:
    return f".{target.name}.{secrets.token_hex(4)}.tmp"
