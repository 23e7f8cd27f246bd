"""Whether what Sphinx wrote is whole: it does not look into HTML that a text holds, and a browser would.

A page loads nothing from another server, each file that it loads or leads to is there, and its folds are closed.
"""

import html.parser
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LED_TO = ("https", "http", "mailto")


def refuse_broken(book: Path) -> None:
    """Look at each page of a folder.

    Raises:
        ValueError: with the first of what is wrong, and how much more there is.
    """
    paths = (path for path in sorted(book.rglob("*.html")) if "_static" not in path.relative_to(book).parts)
    found = [wrong for path in paths for wrong in _wrongs(book, path)]  # the theme's templates are no pages
    if found:
        more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
        raise ValueError(f"the book is not made: {'; '.join(found[:3])}{more}")


class _Page(html.parser.HTMLParser):
    """What a page leads to, what it loads, and how many folds are open at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.folds = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.folds += tag == "details"
        for name, value in attributes:
            if value and name in ("src", "href"):
                (self.links if tag in ("a", "area") else self.loaded).append(value)

    def handle_endtag(self, tag: str) -> None:
        self.folds -= tag == "details"


def _wrongs(book: Path, path: Path) -> Iterator[str]:
    page, name = _Page(path.read_text(encoding="utf-8")), path.relative_to(book).as_posix()
    if page.folds:
        yield f"{name} has a <details> that is {'not closed' if page.folds > 0 else 'closed twice'}"
    for link in page.links:
        scheme = urlsplit(link).scheme
        if scheme and scheme not in _LED_TO:
            yield f"{name} leads to {link[:90]!r}, and not to a page"
        elif not scheme and not _is_there(book, path, link):
            yield f"{name} leads to {link!r}, which is no file of it"
    for link in page.loaded:
        parts = urlsplit(link)
        if parts.netloc or parts.scheme not in ("", "data"):
            yield f"{name} asks another server for {link[:90]!r}"
        elif not parts.scheme and not _is_there(book, path, link):
            yield f"{name} loads {link!r}, which is no file of it"


def _is_there(book: Path, page: Path, link: str) -> bool:
    parts = urlsplit(link)
    if parts.netloc:  # as in "//server/page"
        return False
    file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return file.is_file() and file.is_relative_to(book.resolve())
