"""What a grader is here, and the environments of the two that are installed for it."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Protocol

import torch

from graders.world import Ran


class Grader(Protocol):
    """One grader, with the exercise in its own form.

    Attributes:
        package, version: what is installed; without a version, this repository.
        command: what grades, in words.
        conditions: what it was protected with, and what was left out.
        pages: of its documentation.
        one_command: whether one command grades a class.
    """

    package: str
    version: str
    command: str
    conditions: str
    pages: tuple[str, ...]
    one_command: bool

    def prepare(self) -> Path:
        """Make the assignment, and say where the students' notebook is."""

    def place(self, student: str) -> Path:
        """Where a student's notebook has to be."""

    def grade(self, students: list[str]) -> Ran:
        """Grade one student, or all that have handed in."""

    def finish(self) -> None:
        """Make of it what students read, and the table of marks."""

    def mark(self, student: str) -> float | None:
        """What the grader wrote; None if it wrote nothing."""

    def seen(self, student: str) -> str:
        """All that the student gets to read."""


def binaries(cache: Path, package: str, version: str) -> Path:
    """Where the commands of a package are, in an environment of its own, made once; torch is this one's."""
    if not version:
        return Path(sys.executable).parent
    folder = cache / f"{package}-{version}"
    if not (folder / "ready").exists():
        print(f"installing {package}=={version} into {folder}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", f"{package}=={version}"], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "torch.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")  # looked into last
        (folder / "ready").touch()
    return folder / "bin"
