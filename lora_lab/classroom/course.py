"""The course's own wheel, from which a pack learns what it needs, which versions were tested, and what it teaches."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata as installed
from pathlib import Path, PurePosixPath

from packaging.metadata import RawMetadata, parse_email
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from lora_lab.classroom.shelf import metadata_in
from lora_lab.ranges import choice

NAME = "lora-lab"
MATERIAL = "lora_lab/material"  # the wheel's folder of lessons and documents
CONSTRAINTS = "constraints.txt"
_BUILDER = Version("77")  # the setuptools that pyproject.toml asks for
_TIMES = "315532800"  # of the files in a wheel: 1980, the first that a zip can hold, so that a second one is the same


@dataclass(frozen=True)
class Course:
    """A wheel of the course.

    Attributes:
        wheel: the file.
        metadata: what it says of itself.
        constraints: the versions that it was tested with, as constraints.txt.
    """

    wheel: Path
    metadata: RawMetadata
    constraints: str

    @property
    def version(self) -> str:
        """Its own."""
        return self.metadata["version"]

    def require_extras(self, extras: Iterable[str]) -> None:
        """Raises ValueError for an extra that it has not."""
        for extra in extras:
            choice("extra", extra, self.metadata.get("provides_extra", []))

    def unpack_material(self, folder: Path) -> None:
        """Lessons and documents, in a folder, as they lie in a checkout."""
        with zipfile.ZipFile(self.wheel) as archive:
            for name in archive.namelist():
                place = PurePosixPath(name)
                if place.is_relative_to(MATERIAL) and ".." not in place.parts and not name.endswith("/"):
                    target = folder / place.relative_to(MATERIAL)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(archive.read(name))


def read(wheel: Path) -> Course:
    """A wheel of the course.

    Raises:
        OSError: if it is not there.
        ValueError: if it is another file, or was built before wheels carried constraints.txt.
    """
    if not wheel.is_file():
        raise FileNotFoundError(f"no file '{wheel}': give a wheel of the course, lora_lab-VERSION-py3-none-any.whl")
    metadata = parse_email(metadata_in(wheel))[0]
    if canonicalize_name(metadata.get("name", "")) != NAME or not wheel.name.endswith("-py3-none-any.whl"):
        raise ValueError(f"'{wheel}' is no wheel of the course: give lora_lab-VERSION-py3-none-any.whl")
    try:
        with zipfile.ZipFile(wheel) as archive:
            constraints = archive.read(f"{MATERIAL}/{CONSTRAINTS}").decode("utf-8")
    except KeyError:
        raise ValueError(
            f"'{wheel}' does not say which versions it was tested with ({CONSTRAINTS}): take one of a newer release, "
            "or build it in a checkout: pip wheel --no-deps ."
        ) from None
    return Course(wheel, metadata, constraints)


def build(checkout: Path, material: Iterable[PurePosixPath], folder: Path) -> Path:
    """Build a checkout's wheel, from a copy: nothing is left in it, and nothing of an earlier build gets in.

    Args:
        checkout: where pyproject.toml lies.
        material: what lies outside of the package and belongs to it.
        folder: where the wheel is put.

    Raises:
        OSError: if it cannot be built.
    """
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place)
        shutil.copytree(checkout / "lora_lab", copy / "lora_lab", ignore=shutil.ignore_patterns("__pycache__"))
        for file in (*map(PurePosixPath, ("pyproject.toml", "setup.py", "README.md", "LICENSE")), *material):
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkout / file, copy / file)
        words = [
            sys.executable,
            "-P",
            "-m",
            "pip",
            "--disable-pip-version-check",
            "wheel",
            "--no-deps",
            "--no-cache-dir",
        ]
        words += [
            "--quiet",
            *(["--no-build-isolation"] if _can_build() else []),
            "--wheel-dir",
            str(copy / "out"),
            place,
        ]
        environment = os.environ | {"SOURCE_DATE_EPOCH": _TIMES}
        done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, env=environment, cwd=place)
        made = list((copy / "out").glob("*.whl"))
        if done.returncode or not made:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise OSError(f"the course's wheel cannot be built ({said[-1][:200]}): build it yourself, and give --wheel")
        return Path(shutil.copy(made[0], folder / made[0].name))


def _can_build() -> bool:
    """Whether this environment's setuptools will do; else pip fetches one."""
    try:
        return Version(installed.version("setuptools")) >= _BUILDER
    except (installed.PackageNotFoundError, InvalidVersion):
        return False
