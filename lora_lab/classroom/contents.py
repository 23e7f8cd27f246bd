"""What is in a pack, and what its texts say.

    README.txt        one line to install
    install.py        that line's; needs nothing but Python, and checking.py
    pack.json         what install.py must know: for each target its wheels and the room that they need
    constraints.txt   the versions that were tested
    SHA256SUMS        of every file but itself: sha256sum -c SHA256SUMS
    course/           workbook, exercises and documents, to be read; installing brings a learner's own copy
    class/            notebooks of the instructor's own
    model/            the real model, packed as on the package index
    wheels/           of the course and all that it needs

A member is a file on the disk or bytes. Its name is ASCII and short, so that any system's tool can unpack it.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_lab.classroom.targets import PLATFORMS, Target

Member = Path | bytes
SCRIPTS = tuple(Path(__file__).with_name(name) for name in ("install.py", "checking.py"))
SUMS = "SHA256SUMS"
LONGEST = 100  # characters of a name
FORMAT = 1


@dataclass(frozen=True)
class Pack:
    """All that is needed to write one.

    Attributes:
        version: of the course.
        extras: of the course, which are installed.
        constraints: the versions that were tested.
        wheels: of each target, all its wheels by the names that they have in the pack.
        documents: by name, relative to `course/`.
        notebooks: of the instructor's own, by name.
        model: the real model's file, or None.
    """

    version: str
    extras: tuple[str, ...]
    constraints: str
    wheels: Mapping[Target, Mapping[str, Path]]
    documents: Mapping[str, bytes]
    notebooks: Mapping[str, Path]
    model: Path | None

    @property
    def folder(self) -> str:
        """In which everything lies, so that it is not strewn about."""
        return f"lora_lab-{self.version}"

    def members(self) -> dict[str, Member]:
        """Every file by its name in the folder.

        Raises:
            ValueError: for a name that not every system can unpack.
        """
        found: dict[str, Member] = {
            "README.txt": self._readme().encode(),
            **{script.name: script for script in SCRIPTS},
            "pack.json": (json.dumps(self._description(), indent=1, sort_keys=True) + "\n").encode(),
            "constraints.txt": self.constraints.encode(),
            **{f"course/{name}": content for name, content in self.documents.items()},
            **{f"class/{name}": path for name, path in self.notebooks.items()},
            **{f"wheels/{name}": path for wheels in self.wheels.values() for name, path in wheels.items()},
        }
        if self.model:
            found[f"model/{self.model.name}"] = self.model
        found[SUMS] = _sums(found).encode()
        for name in found:
            _refuse_hard_to_unpack(f"{self.folder}/{name}")
        return dict(sorted(found.items()))

    def _description(self) -> dict[str, Any]:
        """What install.py reads."""
        return {
            "format": FORMAT,
            "version": self.version,
            "extras": sorted(self.extras),
            "model": f"model/{self.model.name}" if self.model else None,
            "class": sorted(f"class/{name}" for name in self.notebooks),
            "targets": {target.key: _target(target, wheels) for target, wheels in self.wheels.items()},
        }

    def _readme(self) -> str:
        pythons = {
            platform: [t.python for t in sorted(self.wheels) if t.platform == platform] for platform in PLATFORMS
        }
        there = "\n".join(f"    {name:<10} Python {', '.join(them)}" for name, them in pythons.items() if them)
        return _README.format(version=self.version, there=there, files=SUMS)


_README = """\
lora_lab {version}: LoRA, quantization and QLoRA, as a course that can be executed.
Everything that it needs is in this folder; no network is needed.

Unpack the whole zip first. Then, in this folder, one line:

    Windows              py install.py
    macOS and Linux      python3 install.py

It is for

{there}

and py -3.12 or python3.12 chooses one where there are several. The course comes into the folder lora_course
in your home; another one is named behind install.py. At the end it says how to start. To install again, or
after an interruption, type the same line: what you have written stays.

    py install.py --check        compares every file here with {files}
"""


def own_notebooks(folder: Path) -> dict[str, Path]:
    """An instructor's own, as students get them, by name.

    Args:
        folder: what `lora-lab exercises build` was given, or a folder of notebooks.

    Raises:
        FileNotFoundError: if there are none, or they are not built yet.
        ValueError: if those are the solutions.
    """
    if folder.resolve().name == "solutions":
        raise ValueError(f"'{folder}' holds the solutions: give the folder with the exercises, which students get")
    if (folder / "masters").is_dir() and not (folder / "built").is_dir():
        raise FileNotFoundError(f"'{folder}' is not built yet: lora-lab exercises build {folder}")
    place = folder / "built" / "exercises" if (folder / "built").is_dir() else folder
    found = {path.name: path for path in sorted(place.glob("*.ipynb"))}
    if not found:
        raise FileNotFoundError(f"no notebook in '{place}': give a folder that 'lora-lab exercises build' has built")
    return found


def packed_name(wheel: str, target: Target) -> str:
    """A wheel's name with one platform tag, the one for the oldest systems: "…-manylinux2014_x86_64.whl".

    Of several, all but one only repeat what it says, and some names are too long with them.
    """
    stem, _, platforms = wheel.removesuffix(".whl").rpartition("-")
    if "." not in platforms:
        return wheel
    order = {tag.platform: number for number, tag in enumerate(target.tags())}
    oldest = max(platforms.split("."), key=lambda each: order.get(each, -1))
    return f"{stem}-{oldest}.whl"


def _target(target: Target, wheels: Mapping[str, Path]) -> dict[str, Any]:
    platform = PLATFORMS[target.platform]
    sizes = [(info.file_size, len(info.filename)) for path in wheels.values() for info in _listed(path)]
    return {
        "platform": target.platform,
        "python": target.python,
        "least": platform.least,
        "wheels": sorted(wheels),
        "bytes": sum(size for size, _ in sizes),
        "longest": max((length for _, length in sizes), default=0),
    }


def _listed(wheel: Path) -> Sequence[zipfile.ZipInfo]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.infolist()


def _sums(members: Mapping[str, Member]) -> str:
    return "".join(f"{_sha256(member)}  {name}\n" for name, member in sorted(members.items()))


def _sha256(member: Member) -> str:
    if isinstance(member, bytes):
        return hashlib.sha256(member).hexdigest()
    with open(member, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse_hard_to_unpack(name: str) -> None:
    if not name.isascii() or len(name) > LONGEST:
        why = f"has {len(name)} characters" if name.isascii() else "has others than ASCII's"
        raise ValueError(f"'{name}' {why}, and not every system could unpack that: give it a shorter, plain name")


def size_of(members: Iterable[Member]) -> int:
    """Bytes of members, before any is packed."""
    return sum(len(member) if isinstance(member, bytes) else member.stat().st_size for member in members)
