"""What a class handed in, file by file, read and never executed: a folder, a zip, or one notebook.

Nothing is followed (no link, no archive within an archive), nothing is unpacked to the disk, and nothing is lost: what
is not read comes with the reason.
"""

import os
import stat
from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath

from lora_lab.disk.names import refuse_no_name
from lora_lab.grading import archives
from lora_lab.grading.files import (
    MOST_BYTES,
    MOST_DEPTH,
    MOST_FILES,
    MOST_TOTAL,
    File,
    is_notebook,
    no_content,
    of_bytes,
    reason_by_name,
    shown,
)


def read(source: str | Path, leave: Collection[Path] = ()) -> Iterator[File]:
    """Every file of a folder or a zip, in the order of their names; of a notebook, itself.

    Args:
        source: the folder, zip or notebook.
        leave: files and folders that are not part of it, such as an earlier run's results.

    Raises:
        OSError: if there is nothing of that name, or it cannot be read.
        ValueError: for a name that names nothing, a file of another kind, or more files or bytes than a class has.
    """
    refuse_no_name(source)
    path = Path(source)
    if path.is_dir():
        files = _of_folder(path, {os.path.realpath(each) for each in leave}, PurePosixPath())
    elif path.is_file() and is_notebook(path.name):
        files = iter([_of_disk(path, path.name)])
    elif path.is_file() and path.suffix.casefold() == ".zip":
        files = archives.read(path)
    elif path.exists():
        raise ValueError(f"'{source}' is no folder, no .zip and no .ipynb: give what was handed in as one of these")
    else:
        raise FileNotFoundError(f"there is no '{source}': give the folder or the zip of what was handed in")
    return _bounded(files, source)


def _bounded(files: Iterator[File], source: str | Path) -> Iterator[File]:
    total = 0
    for number, file in enumerate(files):
        total += len(file.content or b"")
        if number >= MOST_FILES:
            raise ValueError(f"'{source}' holds over {MOST_FILES:,} files: give the folder of one class, or of a part")
        if total > MOST_TOTAL:
            raise ValueError(f"the notebooks in '{source}' are over {MOST_TOTAL:,} bytes: give a part at a time")
        yield file


def _of_folder(root: Path, leave: Collection[str], inside: PurePosixPath) -> Iterator[File]:
    folder = root / inside
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        if not inside.parts:
            raise OSError(f"the folder '{root}' cannot be read ({error.strerror}): make it readable") from error
        yield File(shown(str(inside)), why=f"is a folder that cannot be read ({error.strerror})", is_notebook=True)
        return
    for entry in entries:
        path = inside / entry.name
        name = shown(str(path))
        if os.path.realpath(folder) + os.sep + entry.name in leave:
            continue
        if entry.is_symlink():
            yield no_content(name, "is a link, and links are not followed: hand in the file itself")
        elif entry.is_dir(follow_symlinks=False):
            if len(path.parts) > MOST_DEPTH:
                yield File(name, why=f"is a folder more than {MOST_DEPTH} deep, and not read", is_notebook=True)
            else:
                yield from _of_folder(root, leave, path)
        elif why := reason_by_name(str(path)):
            yield no_content(name, why)
        else:
            yield _of_disk(folder / entry.name, name)


def _of_disk(path: Path, name: str) -> File:
    """A notebook of the disk; opened so that neither a link nor a pipe that took its place is read."""
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        return no_content(name, f"cannot be read ({error.strerror})")
    with os.fdopen(number, "rb") as opened:
        status = os.fstat(number)
        modified = datetime.fromtimestamp(status.st_mtime).astimezone() if status.st_mtime > 0 else None
        if not stat.S_ISREG(status.st_mode):
            return no_content(name, "is a device or a pipe, and no file")
        try:
            return of_bytes(name, opened.read(MOST_BYTES + 1), modified)
        except OSError as error:
            return no_content(name, f"cannot be read ({error.strerror})", modified)
