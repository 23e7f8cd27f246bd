"""What the set-up needs on systems that are not here is pinned, and there is a wheel of it: nothing compiles there.

pip looks for another system's wheels but evaluates markers for the one that it runs on, so what each system needs is
walked here, through what is installed. Names that only another system needs end the walk: nothing here says what they
need in turn.
"""

import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.project.test_project import COLAB_PYTHON, pins, project

PYTHONS = ("3.11", "3.12", COLAB_PYTHON, "3.14")
SYSTEMS = {  # what pip calls it: what its Python says of itself
    "win_amd64": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
    "macosx_14_0_arm64": {
        "sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64",
    },
    "manylinux_2_28_aarch64": {
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "aarch64",
    },
}  # fmt: skip
SET_UP = ("lab", "test")
CUDA = ("nvidia-", "cuda-")  # what torch brings for a GPU, at versions that it pins itself


@cache
def needs(name: str) -> tuple[Requirement, ...]:
    """What a package asks for, under whatever condition; nothing of one that is not installed here."""
    try:
        return tuple(Requirement(text) for text in metadata.requires(name) or ())
    except metadata.PackageNotFoundError:
        return ()


@cache
def needed(system: str, python: str) -> frozenset[str]:
    """The packages that `make setup` installs there, by their names on the index."""
    said = {**SYSTEMS[system], "python_version": python, "python_full_version": f"{python}.1"}
    extras = [text for extra in SET_UP for text in project()["optional-dependencies"][extra]]
    waiting = [(Requirement(text), "") for text in [*project()["dependencies"], *extras]]
    seen: set[tuple[str, str]] = set()
    while waiting:
        need, extra = waiting.pop()
        if need.marker and not need.marker.evaluate({**said, "extra": extra}):
            continue
        name = canonicalize_name(need.name)
        new = {(name, each) for each in ("", *need.extras)} - seen
        seen |= new
        waiting += [(below, each) for _, each in new for below in needs(name)]
    return frozenset(name for name, _ in seen if not name.startswith(CUDA))


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_what_another_system_needs_is_pinned(system: str, python: str) -> None:
    assert needed(system, python) - set(pins()) == set()


@pytest.mark.parametrize(("system", "name"), [("win_amd64", "colorama"), ("macosx_14_0_arm64", "appnope")])
def test_the_walk_finds_what_only_another_system_needs(system: str, name: str) -> None:
    assert [each for each in SYSTEMS if name in needed(each, "3.12")] == [system]


# ── the package index, asked by pip; nothing is downloaded but what it says of each wheel ───────────────────────────


def is_pure(name: str) -> bool:
    """Whether a package's wheel is the same everywhere."""
    try:
        said = metadata.distribution(name).read_text("WHEEL") or ""
    except metadata.PackageNotFoundError:
        return False
    return all(line.endswith("-none-any") for line in said.splitlines() if line.startswith("Tag:"))


def without_wheel(names: Iterable[str], *where: str, target: Path) -> list[str]:
    """The pins of these names that pip finds no wheel of."""
    wanted = {name: f"{name}=={pins()[name]}" for name in sorted(names)}
    options = ["--dry-run", "--quiet", "--no-deps", "--only-binary=:all:", "--target", str(target)]
    missing: list[str] = []
    while wanted:  # pip names one at a time
        command = [sys.executable, "-m", "pip", "install", *options, *where, *wanted.values()]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            break
        absent = [name for name, pin in wanted.items() if f"No matching distribution found for {pin}\n" in done.stderr]
        assert absent, done.stderr
        missing += [wanted.pop(name) for name in absent]
    return missing


@pytest.mark.release
@pytest.mark.parametrize("python", PYTHONS)
def test_the_first_release_of_a_python_can_have_every_pin_that_is_the_same_everywhere(python: str, tmp_path) -> None:
    names = {name for system in SYSTEMS for name in needed(system, python) if is_pure(name)}
    assert without_wheel(names, "--python-version", python, target=tmp_path) == []


@pytest.mark.release
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_there_is_a_wheel_of_every_other_pin_that_the_system_needs(system: str, python: str, tmp_path) -> None:
    names = {name for name in needed(system, python) if not is_pure(name)}
    # pip reads manylinux_2_28 as itself alone, though a wheel for an older Linux serves a newer one
    tags = [system] if "manylinux" not in system else [f"manylinux_2_{minor}_aarch64" for minor in range(28, 16, -1)]
    where = [f"--platform={tag}" for tag in tags] + ["--python-version", python, "--implementation", "cp"]
    assert {"torch", "numpy", "tokenizers"} <= names
    assert without_wheel(names, *where, target=tmp_path) == []
