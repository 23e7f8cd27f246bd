"""Opening an address by the way that pip is configured for: its certificates, its proxy, a name and a password.

What comes back is compared with a known hash, or leads to something that is; so nothing here needs to be trusted.
"""

import base64
import functools
import http.client
import netrc
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import certifi

from lora_lab.network.pip_settings import PipSettings
from lora_lab.units import first_line

FAILURES = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError)
"""What asking a server may raise; beside it ValueError, for an address that is none."""


def ask(address: str, settings: PipSettings, headers: Mapping[str, str], timeout: float = 30.0) -> Any:
    """The server's answer, open for reading.

    Raises:
        URLError and the others of `FAILURES`: if there is none.
        ValueError: for what is no address, or one that is neither http, https nor a file.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https", "file"):
        raise ValueError("it is no address of a server or a file")
    request = urllib.request.Request(_bare(parts), headers={"User-Agent": "lora_lab", **headers})
    if secret := _secret(parts):  # which no server that it redirects to may see
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(secret.encode()).decode()}")
    handlers: list[urllib.request.BaseHandler] = [_Https(settings)]
    if proxy := settings.get("proxy"):
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    return urllib.request.build_opener(*handlers).open(request, timeout=timeout)


def host(address: str) -> str:
    """Whom an address asks, as it may be shown."""
    with suppress(ValueError):
        return urlsplit(address).hostname or "the local package index"
    return "an index whose address is none"


def reason(error: Exception) -> str:
    """Why there was no answer, in a few words."""
    cause = error.reason if isinstance(error, urllib.error.URLError) and error.reason else error
    return first_line(cause if isinstance(cause, BaseException) else Exception(cause))


def like(address: str, index: str) -> str:
    """An address that stands on the page of an index, with the index's name and password if it lies on its server."""
    parts, of_index = urlsplit(address), urlsplit(index)
    same = (parts.scheme, parts.hostname, parts.port) == (of_index.scheme, of_index.hostname, of_index.port)
    if not same or "@" in parts.netloc:
        return address
    return urlunsplit(parts._replace(netloc=of_index.netloc))


def _bare(parts: SplitResult) -> str:
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _secret(parts: SplitResult) -> str | None:
    """ "name:password", from the address or from the user's netrc."""
    if "@" in parts.netloc:
        return unquote(parts.netloc.rpartition("@")[0])
    with suppress(OSError, netrc.NetrcParseError):
        known = netrc.netrc(os.environ.get("NETRC")).authenticators(parts.hostname or "")
        return f"{known[0]}:{known[2]}" if known and parts.scheme != "file" else None
    return None


class _Https(urllib.request.HTTPSHandler):
    """Asks each server by what pip trusts it with, also one that another server redirects to."""

    def __init__(self, settings: PipSettings) -> None:
        super().__init__()
        self._settings = settings

    def https_open(self, request: urllib.request.Request) -> Any:
        context = _context(urlsplit(request.full_url), self._settings)
        return self.do_open(http.client.HTTPSConnection, request, context=context)  # type: ignore[arg-type]


def _context(parts: SplitResult, settings: PipSettings) -> ssl.SSLContext:
    """The system's certificates, those of `certifi` for systems that have none, and the ones that the user names."""
    trusted = settings.get("trusted-host").split()
    if parts.hostname in trusted or parts.netloc.rpartition("@")[2] in trusted:
        return ssl._create_unverified_context()
    named = (settings.get("cert"), os.environ.get("REQUESTS_CA_BUNDLE"), os.environ.get("CURL_CA_BUNDLE"))
    return _trusting(tuple(path for path in named if path and os.path.exists(path)))


@functools.cache
def _trusting(named: tuple[str, ...]) -> ssl.SSLContext:
    """Made once: reading all certificates takes longer than asking for a page."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    for path in named:
        with suppress(OSError):  # ssl.SSLError is one
            context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})
    return context
