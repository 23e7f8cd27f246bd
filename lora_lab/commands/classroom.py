"""`lora-lab classroom pack`: the course for a room without a network, as one zip."""

import hashlib
import itertools
import platform
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lora_lab.classroom import course, packing, writing
from lora_lab.classroom.contents import Pack, own_notebooks, size_of
from lora_lab.classroom.course import Course
from lora_lab.classroom.checking import SYSTEMS
from lora_lab.classroom.packing import Places
from lora_lab.classroom.selection import Selection, refuse_cuda
from lora_lab.classroom.shelf import Shelf
from lora_lab.classroom.targets import PLATFORMS, PYTHONS, Target
from lora_lab.commands.delivery import material
from lora_lab.disk import locked, writable_folder
from lora_lab.models import real
from lora_lab.network import PipSettings

MB = 1e6
EXTRAS, OF_THE_MODEL = "lab", "real"


def pack(
    out: Path | None = None,
    *,
    pythons: Sequence[str] | None = None,
    platforms: Sequence[str] | None = None,
    places: Places | None = None,
    extras: Iterable[str] = (),
    with_cuda: bool = False,
    with_model: bool = True,
    exercises: Path | None = None,
    wheel: Path | None = None,
    cache: Path = Path("out/pack"),
) -> int:
    """Make the zip.

    Args:
        out: its name; by default what is in it, in the current folder.
        pythons: as "3.12"; by default the one that runs.
        platforms: as `lora_lab.classroom.targets.PLATFORMS` has them; by default this one.
        places: where wheels come from.
        extras: of the course, beside those for JupyterLab and for the real model.
        with_cuda: take a torch for GPUs, if the index gives one.
        with_model: the real one.
        exercises: a folder of an instructor's own, built.
        wheel: the course's own; by default built from the checkout.
        cache: a folder for what is fetched.

    Returns:
        0.

    Raises:
        ConnectionError: if something cannot be fetched.
        OSError: if something cannot be read or written, or a disk is full.
        ValueError: for bad input, if there is no wheel for a target, or torch would bring CUDA.
    """
    targets = _targets(platforms, pythons)
    _require_zip(out)
    notebooks = {} if exercises is None else own_notebooks(exercises)
    settings = PipSettings.read()
    with locked(writable_folder(cache)):
        shelf = (places or Places()).shelf(settings, cache)
        itself = course.read(wheel or _built(cache))
        wanted = tuple(dict.fromkeys((EXTRAS, *([OF_THE_MODEL] if with_model else []), *extras)))
        itself.require_extras(wanted)
        chosen = []
        for each in packing.selections(itself, wanted, targets, shelf):
            chosen.append(each)
            print(f"{each.target!s:<24}{len(each.wheels):>4} wheels {each.size / MB:>7.0f} MB", flush=True)
        if not with_cuda:
            refuse_cuda(chosen)
        _tell(chosen, shelf, with_model)
        fetched = packing.fetch(packing.files_of(chosen), shelf)
        model = packing.fetch_model(shelf) if with_model else None
        packed = Pack(
            itself.version,
            wanted,
            itself.constraints,
            packing.named(chosen, fetched, itself),
            _documents(itself),
            notebooks,
            model,
        )
        place = out or Path(f"{packed.folder}-{_short(targets)}.zip")
        members = packed.members()
        writing.write(place, packed.folder, members)
    _report(place, len(members), size_of(members.values()))
    return 0


def _targets(platforms: Sequence[str] | None, pythons: Sequence[str] | None) -> list[Target]:
    """Every Python on every platform, once, in the order of names."""
    here = SYSTEMS.get((platform.system(), platform.machine()), "")
    this = "{}.{}".format(*sys.version_info[:2])
    if platforms is None and here not in PLATFORMS:
        raise ValueError(f"no pack can be made for this platform: give --platform, of {', '.join(PLATFORMS)}")
    if pythons is None and this not in PYTHONS:
        raise ValueError(f"no pack can be made for this Python {this}: give --python, of {', '.join(PYTHONS)}")
    return sorted({Target(*both) for both in itertools.product(platforms or [here], pythons or [this])})


def _require_zip(out: Path | None) -> None:
    """Before anything is fetched: what could not be written later."""
    if out is None:
        writable_folder(Path())
        return
    if out.suffix.lower() != ".zip":
        raise ValueError(f"'{out}' is not the name of a zip: end it in .zip")
    if out.is_dir():
        raise IsADirectoryError(f"'{out}' is a folder: give the name of a file in it, which ends in .zip")
    writable_folder(out.parent)


def _built(cache: Path) -> Path:
    """The course's wheel, from the checkout in which this package lies."""
    checkout = material.PACKAGE.parent
    if not ((checkout / "pyproject.toml").is_file() and (checkout / "setup.py").is_file()):
        raise ValueError(
            "this lora_lab lies in no checkout from which its wheel could be built: give --wheel FILE, the wheel from "
            "which it was installed"
        )
    return course.build(checkout, material.files(checkout), cache)


def _documents(itself: Course) -> Mapping[str, bytes]:
    """What a learner gets, without the executed lessons."""
    with tempfile.TemporaryDirectory() as folder:
        itself.unpack_material(Path(folder))
        return {item.name: item.content() for item in material.items(Path(folder)) if not item.has_answers}


def _tell(chosen: Sequence[Selection], shelf: Shelf, with_model: bool) -> None:
    """How large it will be and what is still to be fetched; refuses a disk without the room."""
    offers, model = packing.files_of(chosen), real.WHEEL
    size = sum(offer.size or 0 for offer in offers) + model.size * with_model
    missing = sum(offer.size or 0 for offer in offers if not shelf.has(offer))
    missing += model.size * (with_model and not (shelf.cache / model.name).is_file())
    also = f" and the real model ({model.size / MB:.0f} MB)" if with_model else ""
    to_fetch = f"of which {missing / MB:.0f} MB are fetched now into {shelf.cache}" if missing else "all of it here"
    print(f"{'together':<24}{len(offers):>4} wheels{also}: {size / MB:.0f} MB, {to_fetch}", flush=True)
    writing.require_room(shelf.cache, missing, "what is to be fetched")


def _short(targets: Sequence[Target]) -> str:
    """Such as "linux-windows-py3.11-3.12"."""
    platforms = sorted({target.platform for target in targets})
    pythons = sorted({target.python for target in targets})
    return f"{'-'.join(platforms)}-py{'-'.join(pythons)}"


def _report(place: Path, files: int, unpacked: int) -> None:
    size = place.stat().st_size
    with open(place, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    print(f"written: {place}, {size / MB:.0f} MB, {files} files ({unpacked / MB:.0f} MB unpacked)")
    print(f"sha256:  {digest}")
    if size > writing.STICK:
        print("No stick formatted as FAT32 holds a file of that size: format it as exFAT, or make a zip per platform.")
    print("In the room: unpack it, and start install.py in its folder; README.txt has the line.")
