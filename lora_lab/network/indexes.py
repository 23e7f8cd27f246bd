"""Where a file of a package lies, asked in pip's order: local folders (`find-links`), the index, further indexes.

Source: the simple repository API, https://packaging.python.org/en/latest/specifications/simple-repository-api/
"""

import html.parser
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

from lora_lab.network import web
from lora_lab.network.pip_settings import PipSettings

_KINDS = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_MOST = 10 * 2**20  # bytes of a page


def addresses(project: str, file: str, settings: PipSettings) -> list[str]:
    """Every address of a file, such as a wheel.

    Args:
        project: the package, as its index spells it: small letters, and hyphens between words.
        file: its file's whole name.
        settings: pip's.

    Raises:
        ConnectionError: if no index has it, with what each of them said.
    """
    found = [path.resolve().as_uri() for path in _in_folders(file, settings)]
    said = []
    for index in settings.indexes():
        try:
            links = list(_links(f"{index.rstrip('/')}/{project}/", settings))
            found += (here := [web.like(link, index) for link in links if _name(link) == file])
            said += [] if here else [f"{web.host(index)} has no {file}"]
        except (*web.FAILURES, ValueError, OSError) as error:
            said.append(f"{web.host(index)}: {web.reason(error)}")
    if not found:
        raise ConnectionError("; ".join(said) or "pip is configured to ask no package index")
    return list(dict.fromkeys(found))


def _in_folders(file: str, settings: PipSettings) -> Iterator[Path]:
    for place in settings.get("find-links").split():
        folder = Path(url2pathname(urlsplit(place).path) if place.startswith("file:") else place)
        if (folder / file).is_file():
            yield folder / file


def _links(page: str, settings: PipSettings) -> Iterator[str]:
    """The addresses on a page, which may be JSON or HTML; a local index is a folder with an index.html."""
    if page.startswith("file:") and Path(url2pathname(urlsplit(page).path)).is_dir():
        page += "index.html"
    with web.ask(page, settings, {"Accept": _KINDS}) as answer:
        text = answer.read(_MOST).decode("utf-8", "replace")
        base = answer.url
    if text.lstrip().startswith("{"):
        try:
            yield from [urljoin(base, file["url"]) for file in json.loads(text)["files"]]
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError("its page is no list of files") from error
        return
    reader = _Anchors()
    reader.feed(text)
    yield from (urljoin(base, link) for link in reader.links)


def _name(address: str) -> str:
    return unquote(urlsplit(address).path).rpartition("/")[2]


class _Anchors(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attributes if tag == "a" and name == "href" and value]
