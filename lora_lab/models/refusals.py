"""What went wrong with a download from the hub, in one sentence with the way out."""

from collections.abc import Iterator
from json import JSONDecodeError
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from lora_lab import ranges
from lora_lab.disk.failures import FULL
from lora_lab.models.tiers import TIERS
from lora_lab.units import first_line

WITHOUT = 'name the model "embedded" instead, which comes with the course and needs no network'
"""The way out wherever a model is named: to `models.load`, to `lora-lab finetune`, to `lora-lab demo --model`."""
OPEN = TIERS["t4"].model
"""What the course uses needs no account and no licence to accept."""


def explained(error: Exception, model: str, revision: str | None, online: bool) -> OSError:
    """The error to raise instead of the client's.

    Args:
        error: the client's, whose kinds have changed with its versions; its causes are looked at too.
        model: what was asked for, and in which revision.
        online: whether the hub was asked at all.
    """
    causes = list(chain(error))
    if any(isinstance(cause, OSError) and cause.errno in FULL for cause in causes):
        return OSError(
            f"the disk is full, so that {ranges.brief(model)} cannot be downloaded into '{constants.HF_HUB_CACHE}' (No "
            f"space left on device): make room, set HF_HOME to a folder on another disk, or {WITHOUT}; files that came "
            "whole stay"
        )
    if not online:
        return _not_here(ranges.brief(model))
    if answer := _of_the_model(causes, model, revision):
        return answer
    if status := next(filter(None, map(_status, causes)), None):
        return _of_the_hub(status, ranges.brief(model))
    return _of_the_way(error, causes, ranges.brief(model))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes, the last first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _not_here(model: str) -> ConnectionError:
    if constants.HF_HUB_OFFLINE:
        return ConnectionError(f"HF_HUB_OFFLINE is set, and {model} is not on this machine: unset it, or {WITHOUT}")
    return ConnectionError(
        f"the model {model} is not on this machine and the Hugging Face hub cannot be reached: connect to the network, "
        f"or {WITHOUT}"
    )


def _of_the_model(causes: list[BaseException], model: str, revision: str | None) -> OSError | None:
    """The hub knows, or does not know, what was asked for."""
    page, model = f"https://huggingface.co/{model}", ranges.brief(model)
    if any(isinstance(cause, GatedRepoError) for cause in causes):
        return PermissionError(
            f"the model {model} is gated: accept its licence on {page} and log "
            f"in with `hf auth login` (or set HF_TOKEN), or take one that needs no account, as the course does: {OPEN}"
        )
    if any(isinstance(cause, RevisionNotFoundError) for cause in causes):
        return FileNotFoundError(
            f"the model {model} has no revision {revision or 'main'} on the hub: name one that its page lists, or "
            f"{WITHOUT}"
        )
    if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
        return FileNotFoundError(
            f"the hub has no model {model}, or a private one: correct its name, log in with `hf auth login` if it is "
            f"private, or {WITHOUT}"
        )
    return None


def _of_the_hub(status: int, model: str) -> OSError:
    """It refuses this machine, or has a fault of its own."""
    host = urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT
    if status == 429:
        return OSError(
            f"the hub asks for patience, so that {model} cannot be downloaded now (429 from {host}; a class behind one "
            f"address is one machine to it): wait some minutes, copy '{constants.HF_HUB_CACHE}' from a neighbour, or "
            f"{WITHOUT}"
        )
    if status >= 500:
        return OSError(f"the hub has a fault ({status} from {host}): load {model} again later, or {WITHOUT}")
    if status in (401, 403) and huggingface_hub.get_token():
        return PermissionError(
            f"the hub refuses the token of this machine, so that {model} cannot be downloaded: unset HF_TOKEN and run "
            f"`hf auth logout` (the course's models need no token), or log in anew with `hf auth login`"
        )
    return PermissionError(
        f"the hub, or something on the way to it, refuses {model} to this machine ({status} from {host}): a proxy or a "
        f"firewall? Try another network, or {WITHOUT}"
    )


def _of_the_way(error: Exception, causes: list[BaseException], model: str) -> OSError:
    """Nothing that a hub would answer came through."""
    if any(isinstance(cause, JSONDecodeError) or type(cause).__name__ == "JSONDecodeError" for cause in causes):
        return OSError(
            f"the model {model} cannot be downloaded: what answers is not the hub, perhaps a network's log-in page: "
            f"open a page in a browser first, or {WITHOUT}"
        )
    if broken := [cause for cause in causes if _is_transport(cause)]:
        why = first_line(broken[-1])
        return ConnectionError(
            f"the download of {model} broke off ({why}): load it again when the network is back, which "
            f"keeps the files that came whole, or {WITHOUT}"
        )
    return OSError(
        f"the model {model} cannot be downloaded ({first_line(error)}): "
        f"check the network and the free disk space, or {WITHOUT}"
    )


def _status(error: BaseException) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_transport(error: BaseException) -> bool:
    """Whether a connection failed, in whichever HTTP library the client uses."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "TimeoutError", "ProtocolError", "RequestError"})
