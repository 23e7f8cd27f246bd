"""What pip is configured with: which indexes it asks, and by which way.

pip itself is asked, because it knows where its configuration lies; without pip the environment is read.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

PYPI = "https://pypi.org/simple"
_NO_ADDRESS = "//["  # what stands for one that is none, of which nothing may be shown
_TRUE = ("1", "true", "yes", "on")


@dataclass(frozen=True)
class PipSettings:
    """What `pip config list` says, by names such as "global.index-url"."""

    said: Mapping[str, str]

    @classmethod
    def read(cls) -> "PipSettings":
        """As pip finds them on this machine."""
        said = {
            f":env:.{name.removeprefix('PIP_').lower().replace('_', '-')}": value
            for name, value in os.environ.items()
            if name.startswith("PIP_")
        }
        try:
            asked = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "config", "list"]
            answer = subprocess.run(asked, capture_output=True, timeout=20, stdin=subprocess.DEVNULL).stdout
        except (OSError, ValueError, subprocess.SubprocessError):
            return cls(said)
        for row in answer.decode("utf-8", "replace").splitlines():
            name, _, value = row.partition("=")
            try:
                said.setdefault(name.strip(), str(ast.literal_eval(value)))
            except (ValueError, SyntaxError):  # a warning of pip's, not a setting
                continue
        return cls(said)

    def get(self, name: str) -> str:
        """A setting, or ""; the environment beats the section for installing, which beats the general one."""
        return next(filter(None, (self.said.get(f"{kind}.{name}") for kind in (":env:", "install", "global"))), "")

    def indexes(self) -> list[str]:
        """The addresses of all package indexes, the first one first; with a name and password that may stand there."""
        if any(self.said.get(f"{kind}.no-index", "").lower() in _TRUE for kind in (":env:", "install", "global")):
            return []
        return [self.get("index-url") or PYPI, *self.get("extra-index-url").split()]


def package_index() -> str | None:
    """The address that pip installs from, without a name and password that may stand in it; None if it asks nowhere."""
    indexes = PipSettings.read().indexes()
    return _without_credentials(indexes[0]) if indexes else None


def _without_credentials(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return _NO_ADDRESS
    if parts.scheme not in ("http", "https", "file"):
        return _NO_ADDRESS
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
