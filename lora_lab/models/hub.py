"""The Hugging Face hub: is it there, and a model's files from it."""

import http.client
import re
import shutil
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import constants

from lora_lab import ranges
from lora_lab.disk.shards import shards
from lora_lab.models import answers
from lora_lab.models.refusals import WITHOUT, explained
from lora_lab.units import GB

# Weights in safetensors and plain text only: nothing that could hold code (.py, .bin, .pt, .pkl) is ever fetched.
SMALL = ["*.json", "*.txt", "*.jinja"]
PATTERNS = ["*.safetensors", *SMALL]


def reachable(url: str, timeout: float = 2.0) -> bool:
    """Whether a server answers at `url`, whatever it answers, within `timeout` seconds.

    The request runs in a thread, because looking up a name can take far longer than any timeout of the socket.
    """
    answers: list[bool] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout).close()
            answers.append(True)
        except urllib.error.HTTPError:
            answers.append(True)  # a refusal is an answer
        except urllib.error.URLError as error:
            answers.append(isinstance(error.reason, ssl.SSLError))  # someone was there to present a certificate
        except (OSError, ValueError, http.client.HTTPException):
            answers.append(False)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return bool(answers and answers[0])


def hub_reachable(timeout: float = 2.0) -> bool:
    """Whether the hub (or the mirror that `HF_ENDPOINT` names) answers; False if `HF_HUB_OFFLINE` is set."""
    return not constants.HF_HUB_OFFLINE and reachable(constants.ENDPOINT, timeout)


def silence() -> str:
    """Why `hub_reachable` is False."""
    return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hugging Face hub does not answer"


def cached(model: str, revision: str | None = None) -> bool:
    """Whether an earlier download of `model` lies on this machine."""
    return cached_folder(model, revision) is not None


def cached_folder(model: str, revision: str | None = None) -> Path | None:
    """Where an earlier download of `model` lies on this machine; None if there is none, or it is not whole."""
    try:
        folder = Path(
            huggingface_hub.snapshot_download(model, revision=revision, allow_patterns=PATTERNS, local_files_only=True)
        )
        return folder if _whole(folder) else None
    except (OSError, ValueError, RuntimeError):  # missing, a damaged index, a home folder that nobody knows
        return None


def _whole(folder: Path) -> bool:
    """One that broke off has a folder too, in which what was not downloaded is missing."""
    if not all(any(folder.glob(name)) for name in ("config.json", "tokenizer*.json")):
        return False
    return bool(shards(folder))  # or it raises, where one is missing


def snapshot(
    model: str,
    revision: str | None = None,
    size: int = 0,
    timeout: float = 3.0,
    admit: Callable[[int], object] = lambda _: None,
) -> Path:
    """A folder with the model's files: downloaded, or from the cache if the hub cannot be reached.

    With a revision, which never changes, the cache is enough. Without, the hub is tried first, with a short timeout,
    because its own client waits for minutes where packets are dropped. The client itself goes on with a file whose
    connection broke, a few times; files that came whole stay for the next call.

    Args:
        model: its name on the hub, such as `"Qwen/Qwen2.5-1.5B-Instruct"`.
        revision: a commit of its repository; by default the newest.
        size: bytes that will be downloaded, if that is known; else the hub is asked. Refused where the disk has less.
        timeout: seconds to wait for the hub's first answer.
        admit: called with the number of parameters that the hub announces, at least, before a file comes; what it
            raises is raised.

    Raises:
        ConnectionError: if the hub cannot be reached and the cache does not hold the model, or the connection breaks.
        PermissionError: if the model is gated, or a token is refused.
        FileNotFoundError: if there is no such model, or no such revision of it.
        OSError: if the disk is full, what answers is no hub, or the download fails for another reason.
    """
    if revision and (folder := cached_folder(model, revision)):
        return folder
    online, place = hub_reachable(timeout), home(model)
    if online:
        size, parameters = (size, 0) if size else _announced(model, revision)
        admit(parameters)
        _require_disk(model, place, size)
    return _downloaded(model, revision, PATTERNS, online)


def small_files(model: str, timeout: float = 3.0) -> Path:
    """A folder with the files of a model but its weights, as `snapshot` has them.

    Raises:
        OSError: as `snapshot`.
    """
    return _downloaded(model, None, SMALL, hub_reachable(timeout))


def _downloaded(model: str, revision: str | None, patterns: list[str], online: bool) -> Path:
    place = home(model)
    answers.watch()
    try:
        folder = Path(
            huggingface_hub.snapshot_download(
                model, revision=revision, allow_patterns=patterns, local_files_only=not online
            )
        )
    except answers.NoHub:
        raise
    except Exception as error:  # the hub's client has changed its own HTTP library, and so its exceptions, twice
        raise explained(error, model, revision, online) from error
    _require_inside(place, folder)
    return folder


def _announced(model: str, revision: str | None) -> tuple[int, int]:
    """Bytes of what would be downloaded, and parameters, at least; 0 for what the hub does not say.

    Parameters are those that the hub counted, or a quarter of the bytes of weights: no dtype takes more. Why it does
    not answer is said by the download, which may find all it needs in the cache.
    """
    answers.watch()
    try:
        found = huggingface_hub.HfApi().model_info(model, revision=revision, files_metadata=True)
        sizes = {file.rfilename: _count(file.size) for file in found.siblings or ()}
        counted = _count(found.safetensors.total) if found.safetensors else 0
    except Exception:  # of a dozen types, as below
        return 0, 0
    files = sum(size for name, size in sizes.items() if any(fnmatch(name, pattern) for pattern in PATTERNS))
    weights = sum(size for name, size in sizes.items() if _WEIGHTS.fullmatch(name))
    return files, counted or weights // 4


_WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors")  # that are loaded; others may hold the same once more


def _count(given: Any) -> int:
    """What a server calls a number of bytes or parameters, if it can be one."""
    return given if isinstance(given, int) and 0 < given < 2**60 else 0


def home(model: str) -> Path:
    """Where the cache keeps a model: its files in `blobs`, and for each revision a snapshot of links to them.

    Raises:
        OSError: if that is in a home folder that nobody knows.
    """
    try:
        cache = Path(constants.HF_HUB_CACHE).expanduser().absolute()
    except RuntimeError as error:
        raise OSError("HF_HOME names a home folder that is not known here: set it to a folder") from error
    return cache / f"models--{model.replace('/', '--')}"


def _require_inside(place: Path, folder: Path) -> None:
    """Refuse files outside of the model's place in the cache: the client names them as whatever answers tells it to."""
    inside = place.resolve()
    for path in (folder, *folder.rglob("*")):
        if not path.resolve().is_relative_to(inside):
            raise OSError(
                f"what answers at HF_ENDPOINT ({constants.ENDPOINT}) is not a hub: it had a file written to "
                f"'{path.resolve()}', outside of '{place}': unset HF_ENDPOINT, and look at what was written"
            )


def _require_disk(model: str, place: Path, size: int) -> None:
    there = next(folder for folder in place.parents if folder.is_dir())
    begun = (place / "blobs").glob("*")
    needed = size - sum(file.stat().st_size for file in begun)
    free = shutil.disk_usage(there).free
    if needed > free:
        raise OSError(
            f"{ranges.brief(model)} takes {needed / GB:.1f} GB of the disk, and {free / GB:.1f} GB are free in "
            f"'{there}': make room, set HF_HOME to a folder on another disk, or {WITHOUT}"
        )
