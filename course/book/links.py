"""Links of the repository as links of the book.

A page of the book lies where its file lies in the repository, so most links hold as they are. A workbook's becomes its
lesson's, one to a file that is no page becomes the file's address, and one that leads nowhere is refused; so is a form
of link that is not followed, such as HTML's, an image that the book does not hold, and a scheme that no page needs.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from os.path import normpath, relpath
from pathlib import Path, PurePosixPath

EDITIONS = {"course/workbook": "notebooks", "solutions": "exercises"}
"""Folders whose notebooks are pages under another edition's name."""

SCHEMES = ("https", "http", "mailto")
BESIDE = "beside"
"""The scheme, of conf.py, of a link to a file that lies beside a page and is none of Sphinx's."""

_LINK = re.compile(
    r"(?P<code>^ *(?P<fence>```+|~~~+).*?(?:^ *(?P=fence)|\Z)|(?P<ticks>`+).*?(?P=ticks))"
    r"|(?<=\]\()(?P<target>[^)\s<]+)(?=\)|\s+[\"'(])"
    r"|(?P<other>(?<=\]\()<[^>\n]*>|<[a-z][^>]*\b(?:href|src)\s*=[^>]*>|^ {0,3}\[[^\]^][^\]]*\]:\s*\S+)",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_ELSEWHERE = re.compile(r"<a [^>]*href\s*=\s*[\"']?https?:[^>]*>", re.IGNORECASE)
_ANCHOR = re.compile(r'^<a id="([\w-]+)"></a>', re.MULTILINE)


@dataclass(frozen=True)
class Links:
    """What is needed to follow a link.

    Attributes:
        root: the repository.
        pages: the book's files, relative to it.
        files: what lies beside the pages as it is: HTML that prints.
        address: of the repository on the web.
        ref: the tag or branch of it that links lead to.
    """

    root: Path
    pages: Collection[PurePosixPath]
    address: str
    ref: str
    files: Collection[PurePosixPath] = ()

    def rewritten(self, text: str, page: PurePosixPath) -> str:
        """The Markdown of a page with each of its links as one of the book; what is code stays.

        Raises:
            ValueError: for a link that leads nowhere, or is of a form that is not followed.
        """
        own = frozenset(_ANCHOR.findall(text))

        def link(found: re.Match[str]) -> str:
            if found["code"]:
                return found["code"]
            if found["other"]:
                return _as_it_is(found["other"], page)
            if _is_image(found):
                return self._image(found["target"], page)
            return self._link(found["target"], page, own)

        return _LINK.sub(link, self._with_labels(text, page))

    def _link(self, target: str, page: PurePosixPath, own: Collection[str]) -> str:
        path, _, fragment = target.partition("#")
        if not path:
            return f"#{page.stem}-{fragment}" if fragment in own else target
        if ":" in path:
            if path.partition(":")[0].lower() not in SCHEMES:
                raise ValueError(f"{page} links to '{target}': begin it with one of {', '.join(SCHEMES)}, or with none")
            return target
        file = PurePosixPath(normpath(page.parent / path))
        edition = PurePosixPath(EDITIONS.get(str(file.parent), file.parent), file.name)
        if edition in self.pages:
            if fragment and edition.suffix == ".md":
                return self._to_label(edition, fragment, f"{page} links to '{target}'")
            return _from(page, edition) + (f"#{fragment}" if fragment else "")
        if file in self.files:
            return f"{BESIDE}:{_from(page, file)}"
        if file.is_absolute() or ".." in file.parts or not (self.root / file).exists():
            raise ValueError(f"{page} links to '{target}', and there is no such file: correct the link")
        kind = "tree" if (self.root / file).is_dir() else "blob"
        return f"{self.address}/{kind}/{self.ref}/{file}" + (f"#{fragment}" if fragment else "")

    def _image(self, target: str, page: PurePosixPath) -> str:
        file = PurePosixPath(normpath(page.parent / target))
        if target.startswith(("data:", "attachment:")):
            return target
        if file not in self.pages:
            raise ValueError(f"{page} shows '{target}', and the book holds no such image: correct it, or add the file")
        return _from(page, file)

    def _to_label(self, document: PurePosixPath, fragment: str, who: str) -> str:
        """A link to an anchor of a document, as `#glossary-rank`: Sphinx finds a label on whatever page it is."""
        if fragment not in _ANCHOR.findall((self.root / document).read_text(encoding="utf-8")):
            raise ValueError(f"{who}, and {document} has no such anchor: correct one of the two")
        return f"#{document.stem}-{fragment}"

    def _with_labels(self, text: str, page: PurePosixPath) -> str:
        """Anchors as labels: Sphinx knows nothing of `<a id="rank"></a>`."""
        return _ANCHOR.sub(lambda found: f"({page.stem}-{found[1]})=\n", text)


def _from(page: PurePosixPath, file: PurePosixPath) -> str:
    return relpath(file, page.parent).replace("\\", "/")


def _is_image(found: re.Match[str]) -> bool:
    """Whether `](` closes what `![` has opened."""
    text, end = found.string, found.start() - len("](")
    start = text.rfind("[", 0, end)
    return text[start - 1 : start] == "!" and "]" not in text[start:end]


def _as_it_is(link: str, page: PurePosixPath) -> str:
    """A form that is followed by nobody may lead to another server, where it is no image."""
    if not _ELSEWHERE.fullmatch(link):
        raise ValueError(f"{page} has {link!r}, a form of link that the book does not follow: write [words](file)")
    return link
