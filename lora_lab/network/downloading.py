"""A large file, of which the hash is known, from one of several addresses; what broke off is gone on with.

pip would find the file as well (`pip download`), but it begins again after an interruption, it is not there in every
environment, and it would unpack what it got.
"""

import hashlib
import os
import urllib.error
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from tqdm import tqdm

from lora_lab.disk.failures import FULL, errors_named
from lora_lab.network import web
from lora_lab.network.pip_settings import PipSettings

TRIES = 5  # at one address, each from where the last one broke off
_CHUNK = 2**18  # bytes


@dataclass(frozen=True)
class File:
    """What is wanted: a name, its bytes, and their SHA-256, hexadecimal."""

    name: str
    size: int
    sha256: str

    def is_at(self, path: Path) -> bool:
        """Whether a file is this one, to the byte."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == self.sha256


def download(file: File, addresses: Iterable[str], folder: Path, settings: PipSettings, *, quiet: bool = False) -> Path:
    """The file in a folder; one that lies there already, whole, is not asked for again.

    Until it is whole it lies beside it as NAME.part, which stays when the download is interrupted or breaks off.

    Args:
        file: which file.
        addresses: where it may be had; they are tried in turn.
        folder: where it is put; it must exist.
        settings: pip's.
        quiet: without a bar, where there is one for many files.

    Raises:
        ConnectionError: if no address gives it whole, with what each of them said.
        OSError: if the disk is full.
        KeyboardInterrupt: if it is interrupted, with what is there so far.
    """
    target, part = folder / file.name, folder / f"{file.name}.part"
    if file.is_at(target):
        return target
    said = []
    for address in addresses:
        try:
            _from(address, file, part, settings, quiet)
        except (*web.FAILURES, ValueError) as error:
            said.append(f"{web.host(address)}: {web.reason(error)}")
            continue
        except KeyboardInterrupt as stop:
            stop.args = (f"interrupted: {_so_far(part, file)}",)
            raise
        with errors_named(target):
            os.replace(part, target)
        return target
    if _size(part):
        said.append(_so_far(part, file))
    raise ConnectionError("; ".join(said) or f"nobody has {file.name}")


def _from(address: str, file: File, part: Path, settings: PipSettings, quiet: bool) -> None:
    """The whole file from one address, in the part."""
    for _ in range(TRIES):
        before = _size(part)
        try:
            _go_on(address, file, part, settings, quiet)
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            part.unlink(missing_ok=True)
        except web.FAILURES:
            if _size(part) <= before:
                raise
        if file.is_at(part):
            return
        if _size(part) == file.size:
            part.unlink()
            if not before:  # else perhaps what was there before was not of this file
                raise ConnectionError(f"what it has under the name {file.name} is another file (another SHA-256)")
    raise ConnectionError(f"it broke off {TRIES} times")


def _go_on(address: str, file: File, part: Path, settings: PipSettings, quiet: bool) -> None:
    """Add to the part what the server sends; it begins anew if the server, or a local file, cannot go on."""
    if _size(part) > file.size:
        part.unlink()
    start = _size(part)
    if start == file.size:
        return
    asked = {"Range": f"bytes={start}-"} if start else {}
    with web.ask(address, settings, asked) as answer:
        goes_on = str(answer.headers.get("Content-Range", "")).startswith(f"bytes {start}-")
        start = start if goes_on and answer.status == 206 else 0
        bar = tqdm(total=file.size, initial=start, desc=file.name[:24], unit="B", unit_scale=True, disable=quiet)
        with bar, errors_named(part, FULL), open(part, "ab" if start else "wb") as stream:
            while chunk := _read(answer, min(_CHUNK, file.size - start)):
                stream.write(chunk)
                start += len(chunk)
                bar.update(len(chunk))


def _read(answer: object, most: int) -> bytes:
    """Bytes of an answer. The system's errors become those of a connection, which those of the disk are not."""
    try:
        return answer.read(most) if most else b""  # type: ignore[attr-defined]
    except OSError as error:
        raise ConnectionError(str(error)) from error


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _so_far(part: Path, file: File) -> str:
    return f"{_size(part) / 1e6:.0f} of {file.size / 1e6:.0f} MB are there, and the next time it goes on from them"
