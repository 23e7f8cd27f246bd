"""Made-up wheels, with little or nothing in them, and a folder of them as pip would look into it."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lora_lab.network import PipSettings


def wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    needs: Sequence[str] = (),
    *,
    tag: str = "py3-none-any",
    python: str = "",
    extras: Sequence[str] = (),
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """A wheel that pip installs.

    Args:
        folder: where it is put.
        name: of the package.
        version: of it.
        needs: its Requires-Dist.
        tag: of its file's name.
        python: its Requires-Python.
        extras: its Provides-Extra.
        files: what is in it beside its metadata.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    lines = [f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}"]
    lines += [f"Requires-Python: {python}"] if python else []
    lines += [f"Provides-Extra: {extra}" for extra in extras] + [f"Requires-Dist: {need}" for need in needs]
    path = folder / f"{stem}-{tag}.whl"
    info = f"{stem.partition('+')[0]}.dist-info" if "+" not in stem else f"{stem}.dist-info"
    contents = {
        **(files or {}),
        f"{info}/METADATA": "\n".join([*lines, ""]).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*contents, f"{info}/RECORD"]).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in contents.items():
            archive.writestr(each, content)
    return path


def course_wheel(folder: Path, needs: Sequence[str] = (), constraints: str | None = None, version: str = "9.9") -> Path:
    """A wheel of the course with a lesson, an executed one, a document, and the versions that it was tested with."""
    material = "lora_lab/material"
    files = {
        "lora_lab/__init__.py": b"",
        f"{material}/course/workbook/00_first.ipynb": b'{"cells": []}',
        f"{material}/notebooks/00_first.ipynb": b'{"cells": []}',
        f"{material}/course/syllabus.md": b"[1](../notebooks/00_first.ipynb)\n",
        f"{material}/course/repository.toml": b'ref = "main"\n',
    }
    if constraints is not None:
        files[f"{material}/constraints.txt"] = constraints.encode()
    return wheel(folder, "lora_lab", version, needs, extras=["lab", "real", "cluster"], files=files)


def looking_into(*folders: Path) -> PipSettings:
    """Settings by which pip asks no index."""
    return PipSettings({":env:.no-index": "1", ":env:.find-links": " ".join(folder.as_uri() for folder in folders)})
