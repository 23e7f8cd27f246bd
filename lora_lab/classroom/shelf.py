"""Where wheels come from: what the indexes have, what a wheel says of itself, and a folder in which they are kept.

Nothing is downloaded before it is known that all of it can be had and how large it is; but where an index does not give
a wheel's metadata by itself, the wheel is.

Source: https://packaging.python.org/en/latest/specifications/simple-repository-api/ (.metadata beside a wheel)
"""

import functools
import hashlib
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.metadata import RawMetadata, parse_email
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from lora_lab.classroom.targets import Target
from lora_lab.network import File, Offer, PipSettings, download, offers, web

TORCH = "torch"
_MOST = 10 * 2**20  # bytes of metadata
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")  # at the top: a package may carry others within it


class Shelf:
    """Wheels by package.

    Args:
        settings: pip's; where to look.
        cache: a folder, where what is downloaded stays.
        torch: where to look for torch for Linux, if not there too.
    """

    def __init__(self, settings: PipSettings, cache: Path, torch: PipSettings | None = None) -> None:
        self.settings, self.cache, self.torch = settings, cache, torch
        self._pages: dict[tuple[str, int], list[Offer]] = {}
        self._said: dict[str, RawMetadata] = {}

    def choose(self, need: Requirement, version: SpecifierSet, target: Target) -> Offer:
        """The wheel that a target gets: the newest that is in `version`, and of those the one that fits it best.

        Raises:
            ConnectionError: if no index has the package.
            ValueError: if there is no wheel that the target takes.
        """
        project = str(canonicalize_name(need.name))
        ranks = _ranks(target)
        there = [
            (found, -min(ranks[tag] for tag in tags & ranks.keys()), offer)
            for offer in self._offers(project, target)
            if (parts := _parts(offer.name)) and (found := parts[0]) in version and (tags := parts[1]) & ranks.keys()
        ]
        if not there:
            raise ValueError(
                f"there is no wheel of {need.name}{version} for {target} (its source at most): put one into a folder, "
                f"made there by 'pip wheel \"{need.name}{version}\"', and give --find-links FOLDER, or leave {target} "
                "out"
            )
        best = max(there, key=lambda each: each[:2])  # the first of equals: a folder's before an index's
        return self._measured(best[2], target)

    def metadata(self, offer: Offer) -> RawMetadata:
        """What a wheel says of itself.

        Raises:
            ConnectionError: if it cannot be had.
            ValueError: if it is no wheel.
        """
        if offer.address not in self._said:
            self._said[offer.address] = parse_email(self._metadata(offer))[0]
        return self._said[offer.address]

    def fetch(self, offer: Offer) -> Path:
        """The wheel, on this machine or fetched into the cache: compared with its hash, gone on with if it broke off.

        Raises:
            ConnectionError: if it cannot be had, or is another file than the index says.
            OSError: if the disk is full.
        """
        if local := _local(offer):
            return local
        assert offer.size is not None
        file = File(offer.name, offer.size, offer.sha256)
        return download(file, [offer.address], self.cache, self.settings, quiet=True)

    def has(self, offer: Offer) -> bool:
        """Whether it lies on this machine already."""
        return (_local(offer) or self.cache / offer.name).is_file()

    def _offers(self, project: str, target: Target) -> list[Offer]:
        elsewhere = project == TORCH and target.platform.startswith("linux") and self.torch
        where = elsewhere or self.settings
        key = (project, id(where))
        if key not in self._pages:
            try:
                self._pages[key] = offers(project, where)
            except ConnectionError as error:
                raise ConnectionError(
                    f"{project} cannot be had ({error}): connect to a network with an index"
                ) from error
        return self._pages[key]

    def _measured(self, offer: Offer, target: Target) -> Offer:
        """With its size and hash, where no page says them."""
        if local := _local(offer):
            with open(local, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return replace(offer, sha256=digest, size=local.stat().st_size)
        if not offer.sha256:
            raise ValueError(
                f"{web.host(offer.address)} says no SHA-256 of {offer.name}: download it, and give --find-links FOLDER"
            )
        if offer.size is not None:
            return offer
        try:
            with web.ask(offer.address, self.settings, {}) as answer:
                return replace(offer, size=int(answer.headers["Content-Length"]))
        except (*web.FAILURES, ValueError, TypeError) as error:
            why = web.reason(error)
            raise ConnectionError(f"{web.host(offer.address)} does not give {offer.name} ({why}): try again") from error

    def _metadata(self, offer: Offer) -> bytes:
        if not _local(offer):
            try:
                with web.ask(f"{offer.address.partition('#')[0]}.metadata", self.settings, {}) as answer:
                    return answer.read(_MOST)
            except (*web.FAILURES, ValueError):
                pass  # not every index has it
        return metadata_in(self.fetch(offer))


def _local(offer: Offer) -> Path | None:
    """The file, if it lies on this machine already."""
    if not offer.address.startswith("file:"):
        return None
    return Path(url2pathname(urlsplit(offer.address).path))


def metadata_in(wheel: Path) -> bytes:
    """The METADATA of a wheel. Raises ValueError for what is none."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (each for each in archive.namelist() if _METADATA.fullmatch(each))
            return archive.read(name)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"'{wheel}' is no wheel that can be read: delete it, or give another") from error


@functools.cache
def _ranks(target: Target) -> dict[Tag, int]:
    """How well a wheel with a tag fits a target, 0 being best."""
    return {tag: rank for rank, tag in enumerate(target.tags())}


@functools.cache
def _parts(name: str) -> tuple[Version, frozenset[Tag]] | None:
    """The version and the tags of a wheel; None for another file."""
    if not name.endswith(".whl"):
        return None
    try:
        _, version, _, tags = parse_wheel_filename(name)
    except (InvalidWheelFilename, ValueError):
        return None
    return version, tags
