"""What is installed on disk, and what the project asks for."""

import re
from importlib import metadata

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

DISTRIBUTION = "lora_lab"
EXTRAS = ("lab", "real", "gpu", "test")
# What to look at where the project is not installed, so that its own list cannot be read.
_UNINSTALLED = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy")


def version(name: str) -> str | None:
    """The version on disk, or None if the package is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def python_range() -> str:
    """The Python versions that the project supports, such as `">=3.11"`."""
    try:
        return metadata.metadata(DISTRIBUTION)["Requires-Python"] or ">=3.11"
    except metadata.PackageNotFoundError:
        return ">=3.11"


def requirements() -> list[Requirement]:
    """What the project needs at run time, with version ranges; names alone if it is not installed."""
    return [need for need in _all() if _asked(need, "")] or [Requirement(name) for name in _UNINSTALLED]


def optional(extra: str) -> list[Requirement]:
    """What an extra adds to the requirements."""
    return [need for need in _all() if _asked(need, extra) and not _asked(need, "")]


def satisfied(need: Requirement, found: str) -> bool:
    """Whether a version is inside the range; a pre-release counts like any other."""
    return need.specifier.contains(found, prereleases=True)


def same_version(one: str, other: str) -> bool:
    """Whether two spellings name one release: 2.13.0+cpu is 2.13.0, and 2026.10.19.post1 is 2026.10.19 packed anew."""
    try:
        return _release(one) == _release(other)
    except InvalidVersion:
        return one == other


def _release(version: str) -> Version:
    return Version(re.sub(r"\.post\d+", "", Version(version).public))


def _asked(need: Requirement, extra: str) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def _all() -> list[Requirement]:
    try:
        return [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return []
