"""The course comes into a learner's folder, again and again, and nothing that the learner wrote is ever lost.

nothing there            the file is written
the learner's is ours    untouched, whatever outputs it has: the new version takes its place
the learner changed it   it stays; a new version arrives beside it, with the guesses and turns carried over
it cannot be read        it stays, and that is said
not in the course now    it stays, and that is said
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lora_lab.commands.delivery import record
from lora_lab.commands.delivery.carrying import carry, work
from lora_lab.commands.delivery.material import Item
from lora_lab.commands.delivery.record import Beside, Entry
from lora_lab.commands.delivery.versions import Version
from lora_lab.disk import atomic_path, locked, writable_folder


@dataclass
class Delivery:
    """What a delivery did: files that are new, files that were brought up to date, and a sentence for each that needs
    the learner's eyes."""

    new: int = 0
    replaced: int = 0
    said: Sequence[str] = ()


def deliver(folder: Path, items: Sequence[Item], executed: bool = False, reset: Item | None = None) -> Delivery:
    """Bring a learner's folder up to date. Interrupted at any step it loses nothing, and the next time goes on.

    Args:
        folder: made if it is not there.
        items: all that the course has.
        executed: what has answers, too: executed lessons, an instructor's guide; what is there already is kept up to
            date anyway.
        reset: one that starts afresh; the learner's is kept beside it.

    Raises:
        OSError: if the folder cannot be written in, or the disk is full.
        ValueError: if the folder's record is damaged.
    """
    writable_folder(folder)
    with locked(folder):
        known = record.read(folder)
        before, done, said = dict(known), Delivery(), []
        try:
            if reset:
                said += _set_aside(folder / reset.name, known, reset)
            for item in items:
                if executed or not item.has_answers or item.name in known:
                    known[item.name], sentences = _bring(folder / item.name, item, known.get(item.name, Entry()), done)
                    said += sentences
            said += _gone(folder, known, items)
        finally:
            with suppress(OSError):  # where the disk is full, that is said already
                _keep(folder, before, known)
        _keep(folder, before, known)
    done.said = said
    return done


def _bring(path: Path, item: Item, known: Entry, done: Delivery) -> tuple[Entry, list[str]]:
    """One file; what is known of it afterwards, and what to say."""
    content = item.content()
    new = Version.of(item.name, content)
    if not os.path.lexists(path):
        _write(path, content)
        done.new += 1
        return Entry(new), []
    try:
        theirs = _content(path)
        current = Version.of(item.name, theirs)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        return known, [f"{item.name} cannot be read ({why}) and stays as it is: move it away, and the course's comes"]
    if current.reads_as(new) or (known.delivered and current.reads_as(known.delivered)):
        if known.delivered and known.delivered.file != new.file and theirs != content:
            _write(path, content)
            done.replaced += 1
        return Entry(new), []
    if any(each.cells == new.cells for each in known.versions()):
        return known, []  # changed by the learner only, or offered before
    return _offer(path, item, known, theirs, content)


def _offer(path: Path, item: Item, known: Entry, theirs: bytes, content: bytes) -> tuple[Entry, list[str]]:
    """A new version beside the learner's, with what they did in it."""
    new = Version.of(item.name, content)
    how_many, left = "", []
    if path.suffix == ".ipynb":
        carried = carry(theirs, known.base(path, Version.of(item.name, theirs)), content)
        content, left = carried.content, carried.left
        counts = [(carried.guesses, "guess", "guesses"), (carried.turns, "turn", "turns")]
        parts = [f"{n} {one if n == 1 else many}" for n, one, many in counts if n]
        how_many = f" with your {' and '.join(parts)}" * bool(parts)
    written = Version.of(item.name, content)
    place = next(each for each in _names(path, "new") if _is_ours(each, path, known, written))
    _write(place, content)
    said = [f"{item.name} has changed, and you have changed yours, which stays: the new one is {place.name}{how_many}"]
    said += [f"{item.name}: only in yours is {each}" for each in left]
    return Entry(known.delivered, Beside(place.name, new, written)), said


def _is_ours(place: Path, path: Path, known: Entry, written: Version) -> bool:
    """Whether a version may be written there: nothing is there, or what we wrote, and it holds nothing of the learner's
    that the learner's own file does not hold."""
    if not os.path.lexists(place):
        return True
    try:
        there = _content(place)
        current = Version.of(place.name, there)
    except (OSError, ValueError):
        return False
    if current.reads_as(written):
        return True
    if known.beside is None or known.beside.name != place.name or not current.reads_as(known.beside.written):
        return False
    if place.suffix != ".ipynb":
        return True
    base, theirs = known.beside.version, path.read_bytes()
    started = known.base(path, Version.of(path.name, theirs))
    return work(there, base, base).items() <= work(theirs, started, base).items()


def _set_aside(path: Path, known: dict[str, Entry], item: Item) -> list[str]:
    """The learner's file gets another name, so that the course's can come."""
    known.pop(item.name, None)
    if not os.path.lexists(path):
        return []
    place = next(each for each in _names(path, "before") if not os.path.lexists(each))
    os.rename(path, place)
    return [f"{item.name} starts afresh: yours is now {place.name}"]


def _gone(folder: Path, known: dict[str, Entry], items: Sequence[Item]) -> Iterator[str]:
    """What the course has no more; that is said once."""
    for name in sorted(known.keys() - {item.name for item in items}):
        del known[name]
        if os.path.lexists(folder / name):
            yield f"{name} is not part of the course any more: yours stays as it is"


def _names(path: Path, word: str) -> Iterator[Path]:
    """Names that stand beside `path` in a list: 03_x.new.ipynb, 03_x.new2.ipynb, …"""
    yield path.with_name(f"{path.stem}.{word}{path.suffix}")
    number = 2
    while True:
        yield path.with_name(f"{path.stem}.{word}{number}{path.suffix}")
        number += 1


def _keep(folder: Path, before: dict[str, Entry], known: dict[str, Entry]) -> None:
    if known != before or not (folder / record.NAME).exists():
        record.write(folder, known)


def _content(path: Path) -> bytes:
    """Of a file; a pipe would be waited for."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("it is a pipe or a device")
    return path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
