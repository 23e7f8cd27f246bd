"""`.delivered.json`: which version of each file came into a folder, so that the next delivery knows who changed it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_lab.commands.delivery.versions import Version
from lora_lab.disk import read_json, write_json

NAME = ".delivered.json"
FORMAT = 1
_WAY_OUT = "delete it, and what differs from the course counts as changed by you and stays"


@dataclass(frozen=True)
class Beside:
    """A new version that lies beside a file which its learner has changed.

    Attributes:
        name: of the file.
        version: as the course has it.
        written: of the file itself, with what was carried over.
    """

    name: str
    version: Version
    written: Version


@dataclass(frozen=True)
class Entry:
    """What is known of one file: the version in its place, if it was ours, and the one beside it."""

    delivered: Version | None = None
    beside: Beside | None = None

    def versions(self) -> Iterator[Version]:
        """Each version that the learner may have started from."""
        if self.delivered:
            yield self.delivered
        if self.beside:
            yield self.beside.version

    def base(self, path: Path, current: Version) -> Version | None:
        """The version that the learner's file at `path` started from: the one that it has most cells of.

        They may have put the one beside in its place. Where both are as near, that is so if it is not beside any more.
        """
        versions = list(self.versions())
        if self.beside and not (path.parent / self.beside.name).exists():
            versions.reverse()
        return max(versions, key=lambda each: len({*each.cells} & {*current.cells}), default=None)


def read(folder: Path) -> dict[str, Entry]:
    """The record of a folder; empty if it has none.

    Raises:
        OSError, ValueError: if it is damaged or cannot be read, with the way out.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    stored = read_json(path, _WAY_OUT)
    if (number := stored.get("format")) != FORMAT:
        raise ValueError(
            f"{path} has the format {number!r}, and this lora_lab reads {FORMAT}: upgrade it, or {_WAY_OUT}"
        )
    try:
        return {name: _entry(each) for name, each in stored["files"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is damaged (it is not what was written): {_WAY_OUT}") from error


def write(folder: Path, record: dict[str, Entry]) -> None:
    """Keep a record for the next time. Raises OSError as `disk.write_json`."""
    files = {name: _as_json(entry) for name, entry in sorted(record.items())}
    write_json(folder / NAME, {"format": FORMAT, "files": files})


def _entry(stored: dict[str, Any]) -> Entry:
    delivered, beside = stored["delivered"], stored["beside"]
    return Entry(
        None if delivered is None else Version.read(delivered),
        None if beside is None else _beside(beside),
    )


def _beside(stored: dict[str, Any]) -> Beside:
    if not isinstance(stored["name"], str):
        raise TypeError("a name is a text")
    return Beside(stored["name"], Version.read(stored["version"]), Version.read(stored["written"]))


def _as_json(entry: Entry) -> dict[str, Any]:
    beside = entry.beside
    return {
        "delivered": entry.delivered and entry.delivered.as_json(),
        "beside": beside
        and {"name": beside.name, "version": beside.version.as_json(), "written": beside.written.as_json()},
    }
