"""What is written goes to a temporary name first, and takes the place of what stood there when it is complete.

The temporary name is `.NAME.xxxxxxxx.tmp`. Files that belong together are written in a folder and take their places
together (`exchange`). What a killed process leaves under a temporary name is found by `leftovers`.

A new file gets the mode that the umask asks for, whoever wrote it; one that is replaced keeps its mode, so that what
was private stays private.
"""

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lora_lab.disk import exchange
from lora_lab.disk.failures import FULL, errors_named
from lora_lab.disk.names import behind_links, refuse_no_name, temporary_name

MODEL_FILES = ("model.safetensors*", "model-*.safetensors")
"""The weights of a model, in one file or in shards with their index: another model's would be read in their place."""


def refuse_adapter(folder: str | Path) -> None:
    """A model's weights do not go where an adapter is.

    Raises:
        ValueError: if the folder has one: transformers would add it to the weights, once more if they hold it already.
    """
    if (Path(folder) / "adapter_config.json").is_file():
        raise ValueError(
            f"'{folder}' holds an adapter (adapter_config.json), which transformers would add to the weights that are "
            "written there, once more if it is merged into them: choose another folder"
        )


def writable_folder(path: str | Path) -> Path:
    """A folder that exists and can be written in; made, with its parents, if it is not there.

    Returns:
        `path` as a `Path`.

    Raises:
        OSError: if it cannot be made or written in, with the reason and the way out.
        ValueError: for an empty name, or one that begins with "~".
    """
    refuse_no_name(path)
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
    target = behind_links(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write the file '{path}', because a folder has that name: choose another name")
    if target.exists() and not target.is_file():
        raise OSError(f"cannot write the file '{path}', which is a device or a pipe: choose the name of a file")
    temporary = writable_folder(target.parent) / temporary_name(target)
    try:
        with errors_named(path, FULL):
            yield temporary
        with errors_named(path):
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
    target = behind_links(path)
    if target.exists():
        writable_folder(target)
    place = target if exchange.needs_staging_inside(target) else writable_folder(target.parent)
    work = place / temporary_name(target)
    new = work / "new"
    try:
        with errors_named(path, FULL):
            work.mkdir()
            new.mkdir()
            yield new
        with errors_named(path):
            for file in exchange.files_of(new):
                _set_mode(new / file, target / file)
            exchange.replace(work, target, instead_of)
    finally:
        for staged in (work, target / work.name):  # the second where it had to be moved
            with suppress(OSError):  # an interruption within rmtree can leave it with a closed descriptor
                if not exchange.files_of(staged / "old"):  # there are some if even the way back failed
                    shutil.rmtree(staged, ignore_errors=True)


def _set_mode(temporary: Path, target: Path) -> None:
    """The mode of the file that is replaced, else what the umask asks for; safetensors, for one, writes 0600.

    The umask cannot be read without setting it for all threads, so a file is made to see what it gets.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        temporary.chmod(target.stat().st_mode & 0o777)
        return
    probe = temporary.with_name(temporary_name(temporary))
    os.close(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        temporary.chmod(probe.stat().st_mode & 0o777)
    finally:
        probe.unlink()
