"""Which files a package has and where they lie, asked in pip's order: local folders (`find-links`), the index, others.

Source: the simple repository API, https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

import html.parser
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

from lora_lab.network import web
from lora_lab.network.pip_settings import PipSettings

_KINDS = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_MOST = 10 * 2**20  # bytes of a page


@dataclass(frozen=True)
class Offer:
    """A file that somebody has.

    Attributes:
        address: where.
        sha256: hexadecimal, or "" where that is not said.
        size: in bytes, or None where that is not said.
    """

    address: str
    sha256: str = ""
    size: int | None = None

    @property
    def name(self) -> str:
        """The file's."""
        return unquote(urlsplit(self.address).path).rpartition("/")[2]


def addresses(project: str, file: str, settings: PipSettings) -> list[str]:
    """Every address of a file, such as a wheel.

    Args:
        project: the package, as its index spells it: small letters, and hyphens between words.
        file: its file's whole name.
        settings: pip's.

    Raises:
        ConnectionError: if no index has it, with what each of them said.
    """
    found = [path.resolve().as_uri() for path in _in_folders(settings) if path.name == file]
    there, said = _asked(project, settings)
    for index, offers in there.items():
        found += (here := [offer.address for offer in offers if offer.name == file])
        said += [] if here else [f"{web.host(index)} has no {file}"]
    if not found:
        raise ConnectionError("; ".join(said) or "pip is configured to ask no package index")
    return list(dict.fromkeys(found))


def offers(project: str, settings: PipSettings) -> list[Offer]:
    """Every file of a package, those in local folders first.

    Args:
        project: the package, as its index spells it.
        settings: pip's.

    Raises:
        ConnectionError: if there is none, with what each index said.
    """
    local = [path for path in _in_folders(settings) if _project(path.name) == project]
    found = [Offer(path.resolve().as_uri()) for path in local]
    there, said = _asked(project, settings)
    found += [offer for offers in there.values() for offer in offers]
    if not found:
        raise ConnectionError("; ".join(said) or f"nobody has {project}")
    return found


def _asked(project: str, settings: PipSettings) -> tuple[dict[str, list[Offer]], list[str]]:
    """What each index that answered has, and what is to be said of the others."""
    there, said = {}, []
    for index in settings.indexes():
        try:
            found = list(_offers(f"{index.rstrip('/')}/{project}/", settings))
            there[index] = [replace(each, address=web.like(each.address, index)) for each in found]
        except (*web.FAILURES, ValueError, OSError) as error:
            said.append(f"{web.host(index)}: {web.reason(error)}")
    return there, said


def _in_folders(settings: PipSettings) -> Iterator[Path]:
    for place in settings.get("find-links").split():
        folder = Path(url2pathname(urlsplit(place).path) if place.startswith("file:") else place)
        yield from (path for path in sorted(folder.glob("*")) if path.is_file())


def _project(file: str) -> str:
    """The package that a file's name names, as its index spells it."""
    return re.sub(r"[-_.]+", "-", file.partition("-")[0]).lower()


def _offers(page: str, settings: PipSettings) -> Iterator[Offer]:
    """What stands on a page, which may be JSON or HTML; a local index is a folder with an index.html."""
    if page.startswith("file:") and Path(url2pathname(urlsplit(page).path)).is_dir():
        page += "index.html"
    with web.ask(page, settings, {"Accept": _KINDS}) as answer:
        text = answer.read(_MOST).decode("utf-8", "replace")
        base = answer.url
    if text.lstrip().startswith("{"):
        try:
            yield from [_described(base, file) for file in json.loads(text)["files"]]
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("its page is no list of files") from error
        return
    reader = _Anchors()
    reader.feed(text)
    for link in reader.links:
        address = urljoin(base, link)
        kind, _, value = urlsplit(address).fragment.partition("=")
        yield Offer(address, value if kind == "sha256" else "")


def _described(base: str, file: dict[str, Any]) -> Offer:
    size = file.get("size")
    return Offer(
        urljoin(base, file["url"]),
        str(file.get("hashes", {}).get("sha256", "")),
        size if isinstance(size, int) else None,
    )


class _Anchors(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attributes if tag == "a" and name == "href" and value]
