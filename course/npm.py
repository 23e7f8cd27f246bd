"""Files of a package of the npm registry, such as MathJax: what a page needs beside it when it is read offline.

No node is needed. A package is asked for once, kept under out/npm/, and held against the hash that is written here: who
changes a version takes its new hash from `npm view NAME@VERSION dist.integrity`.

    npm.take("mathjax", ["es5/tex-mml-chtml.js", "es5/output/chtml/fonts/*"], into=Path("out/book/_static/mathjax"))
"""

import base64
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lora_lab import disk
from lora_lab.network import PipSettings, web

CACHE = Path(__file__).resolve().parents[1] / "out" / "npm"
REGISTRY = "https://registry.npmjs.org"
_MOST = 64 * 2**20  # bytes of a package, and of a file in it
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Pin:
    """Which version, and the "integrity" of its tarball as npm writes it: "sha512-" and the hash in base64."""

    version: str
    integrity: str


PINS: Mapping[str, Pin] = {
    "mathjax": Pin(
        "3.2.2",
        "sha512-Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    ),
    "reveal.js": Pin(
        "5.2.1",
        "sha512-r7//6mIM5p34hFiDMvYfXgyjXqGRta+/psd9YtytsgRlrpRzFv4RbH76TXd2qD+7ZPZEbpBDhdRhJaFgfQ7zNQ==",
    ),
}


def take(package: str, patterns: Sequence[str], into: Path, cache: Path = CACHE) -> list[Path]:
    """Put files of a package into a folder, under the names that they have in it; all of them or none.

    Args:
        package: a name in `PINS`.
        patterns: which files, as "dist/reveal.js" or "dist/*"; "*" goes across folders. Each must find one at least.
        into: the folder; what else lies in it stays.
        cache: where tarballs are kept.

    Returns:
        the files' paths in the folder, sorted.

    Raises:
        ConnectionError: if the registry does not give it, or not whole.
        ValueError: for a package without a pin, a registry whose address is none, a tarball with another hash, a
            pattern that finds nothing, or a file that would lie outside the folder or cannot lie in it.
        OSError: if the folder cannot be written in.
    """
    if package not in PINS:
        raise ValueError(f"no version of {package} is pinned; course/npm.py has {', '.join(PINS)}: add it there")
    files = _unpacked(package, patterns, _tarball(package, cache))
    _refuse_missing(package, patterns, files)
    with disk.atomic_folder(into) as folder:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    return sorted(into / name for name in files)


def registry() -> str:
    """`npm_config_registry`, which npm reads too, else the public registry. No .npmrc is read.

    Raises:
        ValueError: for what is no address.
    """
    said = {name.lower(): value for name, value in os.environ.items()}
    address = (said.get("npm_config_registry") or REGISTRY).rstrip("/")
    if urlsplit(address).scheme not in ("http", "https", "file"):
        shown = address.rpartition("@")[2]  # without a password
        raise ValueError(f"npm_config_registry={shown} is no address: begin it with https://")
    return address


def _tarball(package: str, cache: Path) -> bytes:
    """The package as it is pinned, from the cache or the registry."""
    pin = PINS[package]
    kept = cache / f"{package.replace('/', '+')}-{pin.version}.tgz"
    if kept.is_file() and _integrity(content := kept.read_bytes()) == pin.integrity:
        return content
    address = f"{registry()}/{package}/-/{package.rpartition('/')[2]}-{pin.version}.tgz"
    try:
        with web.ask(address, PipSettings.read(), {}) as answer:  # by the certificates and the proxy that pip uses
            content = answer.read(_MOST)
            _refuse_part(content, answer.headers.get("Content-Length"))
    except (*web.FAILURES, OSError, ValueError) as error:
        raise ConnectionError(
            f"{package} {pin.version} could not be had ({web.host(address)}: {web.reason(error)}): it is asked for "
            "once and kept then, so try again with a network, or set npm_config_registry to a registry within reach"
        ) from error
    if (found := _integrity(content)) != pin.integrity:
        raise ValueError(
            f"what {web.host(address)} has as {package} {pin.version} is another file than the pinned one "
            f"({found[:20]}… is not {pin.integrity[:20]}…): nothing was unpacked"
        )
    with disk.atomic_path(kept) as temporary:
        temporary.write_bytes(content)
    return content


def _integrity(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def _refuse_part(content: bytes, announced: str | None) -> None:
    """ConnectionError for what a network has cut, or has sent in place of the package."""
    if announced and announced.isdigit() and len(content) < min(int(announced), _MOST):
        raise ConnectionError(f"it broke off after {len(content) / 1e3:,.0f} of {int(announced) / 1e3:,.0f} kB")
    if not content.startswith(_GZIP):
        what = "a web page, as a network does that wants a log-in" if content.lstrip()[:1] == b"<" else "no package"
        raise ConnectionError(f"it sent {what}")


def _unpacked(package: str, patterns: Sequence[str], tarball: bytes) -> dict[str, bytes]:
    """name → content of each file asked for, without the folder that all lie in, which is mostly "package"."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
            for member in archive:
                name = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                if member.name.startswith("/") or "\\" in member.name or ".." in name.parts or member.name[1:2] == ":":
                    raise ValueError(f"{package} has a file that would lie outside its folder: {member.name!r}")
                if not name.name or not any(fnmatchcase(str(name), pattern) for pattern in patterns):
                    continue
                if member.size > _MOST:
                    raise ValueError(f"{package} has a file of {member.size / 1e6:,.0f} MB: {member.name!r}")
                if stream := archive.extractfile(member) if member.isfile() else None:  # links are left out
                    files[str(name)] = stream.read()
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise ValueError(f"{package} is no tarball that can be read ({error})") from error
    return files


def _refuse_missing(package: str, patterns: Sequence[str], files: Mapping[str, bytes]) -> None:
    """ValueError if a pattern finds nothing, or if a file has the name of another one's folder."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in files):
            raise ValueError(f"{package} {PINS[package].version} has no file {pattern!r}")
    folders = {str(folder) for name in files for folder in PurePosixPath(name).parents}
    if both := sorted(folders & set(files)):
        raise ValueError(f"{package} has {both[0]!r} both as a file and as a folder")
