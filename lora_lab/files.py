"""Writing so that a half-written file never replaces a whole one, and reading so that a damaged one is named.

What is written goes to a temporary name first, `.NAME.xxxxxxxx.tmp`; only when it is complete does it take the place of
what stood there. Files that belong together are written in a folder and take their places together. What a killed
process leaves under a temporary name is found by `leftovers`.

A new file gets the mode that the umask asks for, whoever wrote it; one that is replaced keeps its mode, so that what
was private stays private.
"""

import errno
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_lab import replacing

if TYPE_CHECKING:
    from torch import Tensor

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
MODEL_FILES = ("model.safetensors*", "model-*.safetensors")
"""The weights of a model, in one file or in shards with their index: another model's would be read in their place."""

_MOST_JSON = 100 * 10**6  # bytes; a large model's index has one of them


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
    except FileExistsError as error:
        raise OSError(f"cannot write in '{folder}', which is no folder: choose another name") from error
    except OSError as error:
        raise OSError(
            f"cannot write in the folder '{folder}' ({error.strerror}): choose another folder, "
            "or make this one writable"
        ) from error
    return folder


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path to write a file to; it becomes `path` when the block ends without an error.

    After an error whatever stood at `path` is untouched, and the temporary file is gone. A device or a pipe is never
    replaced: it would be gone.

        with atomic_path("scores.json") as temporary:
            temporary.write_text(text, encoding="utf-8")

    Raises:
        OSError: if the folder cannot be written in, the disk is full, or `path` is a folder, a device or a pipe.
        ValueError: for a name that no file can have.
    """
    target = _behind_links(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write the file '{path}', because a folder has that name: choose another name")
    if target.exists() and not target.is_file():
        raise OSError(f"cannot write the file '{path}', which is a device or a pipe: choose the name of a file")
    temporary = writable_folder(target.parent) / _temporary_name(target)
    try:
        with _errors_named(path, _FULL):
            yield temporary
        with _errors_named(path):
            _set_mode(temporary, target)
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path, instead_of: Collection[str] = ()) -> Iterator[Path]:
    """A temporary folder to write files in; they become the files of `path` when the block ends without an error.

    They do so together: whenever the process is killed, `path` holds the files of one save. Where the system can swap
    two folders in one step it is the old save or the new one; elsewhere, for an instant, files are missing. Files that
    were not written again stay: a folder named by mistake loses nothing else.

    Args:
        path: a folder, or a name that is free.
        instead_of: patterns of names, such as `MODEL_FILES`, that go even if they were not written again: a reader
            would take a single file of weights for the shards that replaced it.

    Raises:
        OSError: if the folder cannot be written in, the disk is full, or `path` is a file. The old files are then
            still whole.
        ValueError: for a name that no folder can have.
    """
    target = _behind_links(path)
    if target.exists():
        writable_folder(target)
    place = target if replacing.needs_staging_inside(target) else writable_folder(target.parent)
    work = place / _temporary_name(target)
    new = work / "new"
    try:
        with _errors_named(path, _FULL):
            work.mkdir()
            new.mkdir()
            yield new
        with _errors_named(path):
            for file in replacing.files_of(new):
                _set_mode(new / file, target / file)
            replacing.replace(work, target, instead_of)
    finally:
        for staged in (work, target / work.name):  # the second where it had to be moved
            with suppress(OSError):  # an interruption within rmtree can leave it with a closed descriptor
                if not replacing.files_of(staged / "old"):  # there are some if even the way back failed
                    shutil.rmtree(staged, ignore_errors=True)


def read_safetensors(path: Path, way_out: str) -> dict[str, "Tensor"]:
    """All tensors of a file, on the CPU.

    Args:
        path: the file.
        way_out: what to do about a file that is missing or damaged; it ends the error's sentence.

    Raises:
        FileNotFoundError, OSError: if there is no such file, or it cannot be read.
        ValueError: if it is damaged.
    """
    from safetensors.torch import load_file

    _require_file(path, way_out)
    try:
        return load_file(path)
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror or error}): {way_out}") from error
    except Exception as error:  # SafetensorError, and a KeyError for a dtype that torch does not know
        raise ValueError(f"{path} is damaged ({error}): {way_out}") from error


def read_json(path: Path, way_out: str, finite: bool = True) -> dict[str, Any]:
    """A JSON file that holds one object, in UTF-8, with or without a byte order mark.

    A key that stands twice is refused, because readers differ in which of the two they take.

    Args:
        path: the file.
        way_out: what to do about a file that is missing or damaged; it ends the error's sentence.
        finite: refuse NaN and Infinity too, which JSON does not have; Python writes them all the same.

    Raises:
        FileNotFoundError, OSError: if there is no such file, or it cannot be read.
        ValueError: if it is damaged, or holds something else.
    """
    _require_file(path, way_out)
    try:
        if path.stat().st_size > _MOST_JSON:
            raise ValueError(f"{path.stat().st_size:,} bytes are too many")
        content = parse_json(path.read_text(encoding="utf-8-sig"), finite)
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror}): {way_out}") from error
    except ValueError as error:  # bad JSON, bad UTF-8, a number of thousands of digits
        raise ValueError(f"{path} is damaged ({error}): {way_out}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (an object is expected, not a {type(content).__name__}): {way_out}")
    return content


def parse_json(text: str, finite: bool = True) -> Any:
    """What a text says in JSON.

    Raises:
        ValueError: for anything else: a key that stands twice, nesting that is too deep, and, if `finite`, NaN and
            Infinity.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_number if finite else float)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def leftovers(folder: str | Path) -> list[Path]:
    """What killed processes left in a folder under temporary names; empty if it cannot be read."""
    try:
        return sorted(path for path in Path(folder).iterdir() if _TEMPORARY.fullmatch(path.name))
    except OSError:
        return []


def _behind_links(path: str | Path) -> Path:
    """What a link points to is replaced, not the link."""
    if "\0" in os.fsdecode(path):
        raise ValueError(f"{os.fsdecode(path)!r} holds a NUL, which no name can: choose another name")
    with _errors_named(path):
        target = Path(os.path.realpath(path))
        if target.is_symlink():
            raise OSError(f"'{path}' is a link that leads back to itself: choose another name")
        with suppress(FileNotFoundError, NotADirectoryError):
            target.lstat()  # a name may be too long, or lie in a folder that is closed
    return target


def _temporary_name(target: Path) -> str:
    return f".{target.name[:40]}.{secrets.token_hex(4)}.tmp"  # a long name must not become too long


def _set_mode(temporary: Path, target: Path) -> None:
    """The mode of the file that is replaced, else what the umask asks for; safetensors, for one, writes 0600.

    The umask cannot be read without setting it for all threads, so a file is made to see what it gets.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        temporary.chmod(target.stat().st_mode & 0o777)
        return
    probe = temporary.with_name(_temporary_name(temporary))
    os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        temporary.chmod(probe.stat().st_mode & 0o777)
    finally:
        probe.unlink()


@contextmanager
def _errors_named(path: str | Path, numbers: Collection[int] = errno.errorcode) -> Iterator[None]:
    """Errors of the system with these numbers, as a sentence; errors that are sentences already have no number."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _hidden_number(error)
        if number not in numbers:
            raise
        raise _cannot_write(path, number) from error


def _hidden_number(error: Exception) -> int | None:
    """The system's number in an error of safetensors, which is no OSError and has it in its text."""
    number = re.search(r"(?:os error|code:) (\d+)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(number[1]) if number else None


def _cannot_write(path: str | Path, number: int | None) -> OSError:
    way_out = "free some space, or" if number in _FULL else "close what uses it, or"
    return OSError(f"cannot write '{path}' ({os.strerror(number or 0)}): {way_out} choose another place")


def _require_file(path: Path, way_out: str) -> None:
    if path.is_dir():
        raise OSError(f"{path} is a folder, where a file is expected: {way_out}")
    if not os.path.lexists(path):
        raise FileNotFoundError(f"no {path.name} in {path.parent}: {way_out}")
    if not path.is_file():
        raise OSError(f"{path} is no file that can be read (a broken link, or a device): {way_out}")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands there twice")
    return content


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON")
