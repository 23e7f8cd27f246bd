"""What a pack is for: a Python on a platform, the wheels that it takes, and what a requirement's marker says there.

pip asks markers of the machine that it runs on, also where it downloads for another: a pack for Windows that is made on
Linux would lack what only Windows needs. So they are evaluated here, for the target.

Source: https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/
"""

from collections.abc import Iterator
from dataclasses import dataclass

from packaging import tags
from packaging.markers import Marker
from packaging.tags import Tag

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_OLD_NAMES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True)
class Platform:
    """A kind of machine.

    Attributes:
        system: as `platform.system` and the marker platform_system call it.
        machine: as `platform.machine` calls it.
        least: the oldest glibc (2.x) or macOS that torch's wheels run on.
        markers: sys_platform and os_name.
    """

    system: str
    machine: str
    least: int | None
    markers: tuple[str, str]


PLATFORMS = {
    "linux": Platform("Linux", "x86_64", 28, ("linux", "posix")),
    "linux-arm": Platform("Linux", "aarch64", 28, ("linux", "posix")),
    "windows": Platform("Windows", "AMD64", None, ("win32", "nt")),
    "mac-arm": Platform("Darwin", "arm64", 14, ("darwin", "posix")),
}
"""No Macs with Intel's processors: torch has had no wheels for them since 2.3."""


@dataclass(frozen=True, order=True)
class Target:
    """One Python on one platform, as `Target("windows", "3.12")`."""

    platform: str
    python: str

    def __str__(self) -> str:
        return f"{self.platform}, Python {self.python}"

    @property
    def key(self) -> str:
        """As it is called in a pack."""
        return f"{self.platform}-py{self.python}"

    def tags(self) -> list[Tag]:
        """Those of the wheels that run there, the best first."""
        version = tuple(map(int, self.python.split(".")))
        abi = f"cp{version[0]}{version[1]}"
        names = list(_names(PLATFORMS[self.platform]))
        return [
            *tags.cpython_tags(version, abis=[abi], platforms=names),
            *tags.compatible_tags(version, abi, names),
        ]

    def needs(self, marker: Marker | None, extras: frozenset[str]) -> bool:
        """Whether a requirement with this marker holds there, for what is asked with these extras.

        A marker may ask for a Python's patch release, which is not known: both its first and a late one are tried,
        because a wheel too many does no harm.
        """
        if marker is None:
            return True
        places = (self._environment(patch) for patch in ("0", "99"))
        return any(marker.evaluate({**place, "extra": extra}) for place in places for extra in ("", *extras))

    def _environment(self, patch: str) -> dict[str, str]:
        platform = PLATFORMS[self.platform]
        full = f"{self.python}.{patch}"
        return {
            "implementation_name": "cpython",
            "implementation_version": full,
            "os_name": platform.markers[1],
            "platform_machine": platform.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": platform.system,
            "platform_version": "",
            "python_full_version": full,
            "python_version": self.python,
            "sys_platform": platform.markers[0],
        }


def _names(platform: Platform) -> Iterator[str]:
    """Of the platform in wheels, the newest system first."""
    if platform.least is None:
        yield "win_amd64"
    elif platform.system == "Darwin":
        yield from tags.mac_platforms((platform.least, 0), platform.machine)
    else:
        for minor in range(platform.least, 4, -1):
            yield f"manylinux_2_{minor}_{platform.machine}"
            if minor in _OLD_NAMES:
                yield f"{_OLD_NAMES[minor]}_{platform.machine}"
