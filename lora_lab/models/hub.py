"""The Hugging Face hub: is it there, and a model's files from it."""

import http.client
import ssl
import threading
import urllib.error
import urllib.request
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

from lora_lab import ranges
from lora_lab.units import first_line

# Weights in safetensors and plain text only: nothing that could hold code (.py, .bin, .pt, .pkl) is ever fetched.
PATTERNS = ["*.safetensors", "*.json", "*.txt", "*.jinja"]
WITHOUT = 'name the model "embedded" instead, which comes with the course and needs no network'
"""The way out wherever a model is named: to `models.load`, to `lora-lab finetune`, to `lora-lab demo --model`."""


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


def cached(model: str) -> bool:
    """Whether an earlier download of `model` lies on this machine."""
    return cached_folder(model) is not None


def cached_folder(model: str) -> Path | None:
    """Where an earlier download of `model` lies on this machine; None if there is none, or it is not whole."""
    try:
        folder = Path(huggingface_hub.snapshot_download(model, allow_patterns=PATTERNS, local_files_only=True))
    except OSError:
        return None
    # One that broke off has a folder too, in which what was not downloaded is missing.
    whole = all(any(folder.glob(name)) for name in ("config.json", "tokenizer*.json", "*.safetensors"))
    return folder if whole else None


def snapshot(model: str, timeout: float = 3.0) -> Path:
    """A folder with the model's files: downloaded, or from the cache if the hub cannot be reached.

    The hub is tried first with a short timeout, because its own client waits for minutes where packets are dropped.

    Args:
        model: its name on the hub, such as `"Qwen/Qwen2.5-1.5B-Instruct"`.
        timeout: seconds to wait for the hub's first answer.

    Raises:
        ConnectionError: if the hub cannot be reached and the cache does not hold the model.
        OSError: if the download fails for another reason, such as a full disk.
    """
    online = hub_reachable(timeout)
    try:
        return Path(huggingface_hub.snapshot_download(model, allow_patterns=PATTERNS, local_files_only=not online))
    except Exception as error:  # the hub's client has changed its own HTTP library, and so its exceptions, twice
        if not online:
            raise ConnectionError(
                f"the model {ranges.brief(model)} is not on this machine and the Hugging Face hub cannot be "
                f"reached: connect to the network, or {WITHOUT}"
            ) from error
        raise OSError(
            f"the model {ranges.brief(model)} cannot be downloaded ({first_line(error)}): "
            f"check the network and the free disk space, or {WITHOUT}"
        ) from error
