"""What a hub answers, looked at before the client makes paths of it.

A server names the commit that it serves, and each content by a tag. huggingface_hub refuses names of files that lead
out of its cache, but takes these two as they come, and writes to `../` and to `/` at their word: contents and locks
(its file_download.py) and, over what is there, the list of a commit's files (its _tree_cache.py).
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.utils import _http

from lora_lab import ranges
from lora_lab.models.refusals import WITHOUT

_HEADERS = ("ETag", "X-Linked-Etag", "X-Repo-Commit")
_LISTS = "/api/models/"  # files of a model come from elsewhere, from /api/resolve-cache/ too, and are not read here
_KEYS = ("sha", "oid", "sha256")
_NAME = re.compile(r'(?:W/)?"?[\w=+-]([\w.=+-]{0,126}[\w=+-])?"?', re.ASCII)  # a hash is one, `..` and `a/b` are not


class NoHub(OSError):
    """What answers would have files written where none belong."""


def watch() -> None:
    """Look at each answer that huggingface_hub gets in this process, from now on.

    It stays so: downloads in other threads share the client, and all that is refused are names that lead elsewhere.
    """
    made_by = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)  # there is no public name for it
    if not isinstance(made_by, _Watched):
        huggingface_hub.set_client_factory(_Watched(made_by))


@dataclass(frozen=True)
class _Watched:
    """Makes clients as they were made before. The library makes a new one after each connection that failed."""

    make: Callable[[], Any]

    def __call__(self) -> Any:
        client = self.make()
        client.event_hooks["response"].append(_look)
        return client


def _look(response: Any) -> None:
    """Raise NoHub for an answer, of whichever HTTP library, that names what leads elsewhere."""
    if response.request.method == "HEAD":  # on which files are named
        for header in _HEADERS:
            _require_name(response.headers.get(header))
    if _LISTS in response.url.path:
        for onward in (response.headers.get("Location"), response.links.get("next", {}).get("url")):
            if onward is not None and _LISTS not in urlsplit(onward).path:
                raise _no_hub(onward, "a page of its interface")
        response.read()
        try:
            json.loads(response.content, object_hook=_look_into)
        except (ValueError, RecursionError):  # which the client will say
            return


def _look_into(entry: dict[str, Any]) -> None:
    for key in _KEYS:
        _require_name(entry.get(key))


def _require_name(given: object) -> None:
    if isinstance(given, str) and not _NAME.fullmatch(given):
        raise _no_hub(given, "the hash of a commit or a content")


def _no_hub(given: str, place: str) -> NoHub:
    return NoHub(
        f"what answers at HF_ENDPOINT ({constants.ENDPOINT}) is not a hub: it gives {ranges.brief(given)} for {place}, "
        f"so that files would be written outside of the cache: unset HF_ENDPOINT, or {WITHOUT}"
    )
