"""A pack of this very course goes into a room without a network: packed, unpacked, installed, opened.

In `make test` what the course needs is made up, with nothing in it, so that only the doctor finds it wanting. In
`make release` all of it is real, the network is cut off, and two lessons are run.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lora_lab.classroom import course, selection
from lora_lab.classroom.targets import Target
from lora_lab.commands.classroom import EXTRAS, _targets
from lora_lab.commands.delivery import material
from tests.helpers.wheels import wheel

ROOT = material.PACKAGE.parent
LESSONS = ("00_start_here", "03_lora_from_scratch")


def pack(folder: Path, *words: str, **environment: str) -> Path:
    """A zip, made by the command, and unpacked by the system's tool or Python's; the folder in it."""
    command = [sys.executable, "-P", "-m", "lora_lab.commands.cli", "classroom", "pack", "room.zip", *words]
    given = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]
    stick = folder / "a stick ü"
    if unzip := shutil.which("unzip"):
        subprocess.run([unzip, "-q", "room.zip", "-d", stick], cwd=folder, check=True)
    else:
        zipfile.ZipFile(folder / "room.zip").extractall(stick)
    (unpacked,) = stick.iterdir()
    if tool := shutil.which("sha256sum"):
        subprocess.run([tool, "--quiet", "-c", "SHA256SUMS"], cwd=unpacked, check=True)
    return unpacked


def install(unpacked: Path, folder: Path, before: Sequence[str] = (), *words: str) -> subprocess.CompletedProcess:
    """In a home of its own, by a Python that knows nothing of this environment."""
    (home := folder.parent / "home").mkdir(parents=True, exist_ok=True)
    given = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    command = [*before, sys._base_executable, str(unpacked / "install.py"), str(folder), *words]  # type: ignore[attr-defined]
    return subprocess.run(command, cwd=home, env=given, capture_output=True, text=True)


REAL = ("pip", "packaging", "certifi", "tqdm")  # what installs it, and what the doctor cannot speak without


def made_up_index(folder: Path, target: Target) -> None:
    """A wheel for all that the course needs, in the versions that were tested, most of them with nothing in them."""
    known = selection.pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    needs = [Requirement(text) for text in ("pip", *(metadata.requires("lora_lab") or ()))]
    for need in needs:
        if target.needs(need.marker, frozenset({EXTRAS})):
            files = contents_of(need.name) if need.name in REAL else {}
            wheel(folder, need.name, str(known[selection.canonicalize_name(need.name)]), files=files)


def contents_of(package: str) -> dict[str, bytes]:
    """The files of a package that is installed here, which is not looked up as an import would be.

    With pip asked for, setuptools gives distutils back to Python for the rest of the process, and cannot be imported.
    """
    place = Path(str(metadata.distribution(package).locate_file(package)))
    kept = [path for path in place.rglob("*") if path.is_file() and path.suffix not in (".pyc", ".exe")]
    return {f"{package}/{path.relative_to(place).as_posix()}": path.read_bytes() for path in kept}


@pytest.mark.slow
def test_a_pack_of_the_course_with_made_up_needs_is_installed_without_an_index(tmp_path):
    (target,) = _targets(None, None)
    made_up_index(tmp_path / "index", target)
    asks_nobody = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (tmp_path / "index").as_uri(), "PIP_CONFIG_FILE": os.devnull}
    unpacked = pack(tmp_path, "--without-model", **asks_nobody)
    mine = tmp_path / "room 1" / "my course"

    done = install(unpacked, mine)
    assert done.returncode == 1 and "not ready" in done.stdout, done.stderr  # torch has nothing in it
    assert (
        "comparing" in done.stdout and f"cd '{mine}'\n    .venv/bin/lora-lab lab ." in done.stdout and not done.stderr
    )
    brought = {path.relative_to(mine).as_posix() for path in mine.rglob("*") if ".venv" not in path.parts}
    items = material.items(ROOT)
    assert {item.name for item in items if not item.has_answers} <= brought
    assert not {item.name for item in items if item.has_answers} & brought  # what an instructor knows
    lesson = mine / "workbook" / "00_start_here.ipynb"
    assert lesson.read_bytes() == (ROOT / "course/workbook/00_start_here.ipynb").read_bytes()

    written = json.loads(lesson.read_text(encoding="utf-8"))
    written["cells"][0]["source"] = "mine"
    lesson.write_text(json.dumps(written), encoding="utf-8")
    (mine / ".venv" / "bin" / "lora-lab").unlink()  # as if it had been interrupted
    shutil.rmtree(next((mine / ".venv" / "lib").glob("python*/site-packages/lora_lab-*")))
    again = install(unpacked, mine)
    assert again.returncode == 1 and not again.stderr
    assert (mine / ".venv" / "bin" / "lora-lab").exists() and json.loads(lesson.read_text()) == written

    broken = next(unpacked.glob("wheels/torch-*"))
    broken.write_bytes(broken.read_bytes()[:-100])
    half = install(unpacked, tmp_path / "room 2")
    assert half.returncode == 2 and f"the first of them wheels/{broken.name}" in half.stderr


@pytest.mark.slow
def test_the_courses_wheel_is_the_same_each_time_and_leaves_nothing_in_the_checkout(tmp_path):
    before = set(ROOT.iterdir())
    one, two = tmp_path / "one", tmp_path / "two"
    built = []
    for folder in (one, two):
        folder.mkdir()
        built.append(course.build(ROOT, material.files(ROOT), folder))
    assert built[0].read_bytes() == built[1].read_bytes()
    assert set(ROOT.iterdir()) == before
    assert course.read(built[0]).constraints == (ROOT / "constraints.txt").read_text(encoding="utf-8")


# In full, for `make release`


def cut_off() -> list[str]:
    """What runs a command without a network but this machine's own; skips where the system has none."""
    ways = (
        ["bwrap", "--dev-bind", "/", "/", "--unshare-net", "--"],
        ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"'],
    )
    for words in ways:
        try:
            if subprocess.run([*words, "true"], capture_output=True, timeout=20).returncode == 0:
                return words
        except (OSError, subprocess.SubprocessError):
            continue
    if "bwrap" in os.environ.get("LORA_LAB_REQUIRE", "").split(","):
        pytest.fail("LORA_LAB_REQUIRE asks for bwrap, and it makes no network namespace here")
    pytest.skip("no network namespace can be made here: neither bwrap nor unshare works")


def _torch() -> list[str]:
    """Where a torch without CUDA comes from, if pip is not told of one: LORA_LAB_TORCH_INDEX says it."""
    index = os.environ.get("LORA_LAB_TORCH_INDEX")
    return ["--torch-index", index] if index else []


RUN = """
import sys, nbformat
from nbclient import NotebookClient
for name in sys.argv[1:]:
    notebook = nbformat.read(f"notebooks/{name}.ipynb", 4)
    place = {"metadata": {"path": "notebooks"}}
    NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=place).execute()
    print("ran", name, len(notebook.cells), "cells")
"""
MODEL = """
import socket
from lora_lab.models import load_base
model, tokenizer = load_base("smollm2")
print(sum(p.numel() for p in model.parameters()), "parameters")
try:
    socket.create_connection(("1.1.1.1", 53), 3)
except OSError:
    print("no network")
"""


@pytest.mark.real
@pytest.mark.release
def test_a_room_without_a_network_gets_all_of_it_and_runs_lessons(tmp_path):
    alone = cut_off()
    unpacked = pack(tmp_path, "--cache", str(ROOT / "out" / "pack"), *_torch())
    mine = tmp_path / "room 1" / "my course"
    done = install(unpacked, mine, alone)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "ready: 0 failed" in done.stdout

    home = {
        "HOME": str(mine.parent / "home"),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "LORA_LAB_PROGRESS": "off",
    }
    python = str(mine / ".venv" / "bin" / "python")

    def there(*words: str, **more: str) -> str:
        ran = subprocess.run([*alone, *words], cwd=mine, env={**home, **more}, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
        return ran.stdout

    loaded = there(python, "-c", MODEL)
    assert "134515008 parameters" in loaded and "no network" in loaded
    there(python, "-m", "lora_lab.commands.cli", "lab", "--no-open", "--solutions", ".")
    assert there(python, "-c", RUN, *LESSONS, LORA_LAB_MODEL="embedded", OMP_NUM_THREADS="1").count("ran ") == len(
        LESSONS
    )
