"""What is installed on disk, and what the project asks for."""

import ast
import os
import subprocess
import sys
from importlib import metadata
from urllib.parse import urlsplit, urlunsplit

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

DISTRIBUTION = "lora_lab"
PYPI = "https://pypi.org/simple"
_NO_ADDRESS = "//["  # what stands for one that is none, of which nothing may be shown
EXTRAS = ("lab", "gpu", "test")
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
    """Whether two spellings name one release: 2.13.0+cpu is 2.13.0."""
    try:
        return Version(Version(one).public) == Version(Version(other).public)
    except InvalidVersion:
        return one == other


def package_index() -> str | None:
    """The address that pip installs from, without a name and password that may stand in it; None if it asks nowhere.

    pip itself is asked, because it knows where its configuration lies; without pip the environment is read.
    """
    settings = _pip_settings()
    for kind in (":env:", "install", "global"):  # an earlier one beats a later one
        if settings.get(f"{kind}.no-index", "").lower() in ("1", "true", "yes", "on"):
            return None
        if address := settings.get(f"{kind}.index-url"):
            return _without_credentials(address)
    return PYPI


def _pip_settings() -> dict[str, str]:
    """What `pip config list` says, by names such as "global.index-url"."""
    settings = {
        f":env:.{name.removeprefix('PIP_').lower().replace('_', '-')}": value
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    }
    try:
        asked = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "config", "list"]
        answer = subprocess.run(asked, capture_output=True, timeout=20, stdin=subprocess.DEVNULL).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return settings
    for row in answer.decode("utf-8", "replace").splitlines():
        name, _, value = row.partition("=")
        try:
            settings.setdefault(name.strip(), str(ast.literal_eval(value)))
        except (ValueError, SyntaxError):  # a warning of pip's, not a setting
            continue
    return settings


def _without_credentials(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return _NO_ADDRESS
    if parts.scheme not in ("http", "https", "file"):
        return _NO_ADDRESS
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _asked(need: Requirement, extra: str) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def _all() -> list[Requirement]:
    try:
        return [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    except metadata.PackageNotFoundError:
        return []
