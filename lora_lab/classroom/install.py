"""Installs the course from the folder in which this file lies, without a network: python install.py [FOLDER]

Nothing but Python is needed, and no file of the course: this one lies in a pack, and runs before anything is installed.
What can be known to fail is asked before anything is written. Interrupted at any step, the same line goes on.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

try:
    if __package__:
        from lora_lab.classroom import checking
    else:  # in a pack
        sys.dont_write_bytecode = True
        checking = importlib.import_module("checking")
except ImportError:  # a zip was looked into, and this file alone was opened
    sys.exit("install.py: checking.py is not beside it: unpack the whole zip, and start install.py there")

MODEL_NEEDS = 10**9  # bytes while the real model is put in place
NO_VENV = (
    "if it has no module venv, install it (on Debian and Ubuntu the package python3-venv), or a Python of python.org"
)


def main(words: list[str] | None = None) -> int:
    """Check, then install; 0 done, 1 installed but not ready, 2 refused, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="install.py", description="Install the course, without a network.")
    parser.add_argument("folder", nargs="?", help="where to; default: lora_course in your home")
    parser.add_argument("--check", action="store_true", help="only compare every file of the pack with SHA256SUMS")
    parser.add_argument("--without-model", action="store_true", help="leave the real model out (1 GB of your disk)")
    options = parser.parse_args(words)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a path may hold what a console cannot show
    try:
        if options.check:
            print(f"{checking.compare(checking.sums())} files, every one as it was packed")
            return 0
        return install(options.folder, not options.without_model)
    except checking.Refused as refused:
        said, status = str(refused), 2
    except OSError as error:
        said, status = "{} ({})".format(error.strerror or error, error.filename or "the system"), 2
    except KeyboardInterrupt:
        said, status = "interrupted: the same line goes on from there", 130
    print("install.py: " + " ".join(said.split()), file=sys.stderr)
    return status


def install(where: str | None, with_model: bool) -> int:
    """All steps, each with a line; 1 if the doctor finds something, or the model is not in place."""
    pack = checking.read_pack()
    target = checking.find_target(pack, checking.this_system(), checking.this_python())
    folder = checking.own_folder(where)
    checking.require_short_paths(folder, target["longest"])
    model = pack["model"] if with_model else None
    checking.require_room(folder, target["bytes"] + (MODEL_NEEDS if model else 0))
    needed = ["wheels/" + name for name in target["wheels"]] + pack["class"] + ["constraints.txt"]
    say(f"comparing {len(needed) + bool(model)} files with their checksums")
    checking.compare(checking.sums(), needed + ([model] if model else []))
    python = environment(folder / ".venv")
    say("installing {} packages: a few minutes".format(len(target["wheels"])))
    install_wheels(python, pack, target)
    say(f"bringing the course into {folder}")
    run([python, "-P", "-m", "lora_lab.commands.cli", "lab", "--no-open", str(folder)], "the course did not come")
    bring_notebooks(pack["class"], folder)
    ready = not model or put_model(python, model)
    say("asking the doctor")
    ready = show([python, "-P", "-m", "lora_lab.commands.cli", "doctor"], folder) and ready
    print(f"\nTo start, in a terminal:\n\n    cd {quoted(folder)}\n    {start()}")
    return 0 if ready else 1


# What is done


def environment(place: Path) -> str:
    """A virtual environment, made if it is not there; its Python. It has no pip yet: the pack brings one."""
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (place / "pyvenv.cfg").is_file() and python.exists():
        words = [str(python), "-c", "import sys; print('{}.{}'.format(*sys.version_info[:2]))"]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=surroundings())
        if done.stdout.decode("ascii", "replace").strip() == checking.this_python():
            return str(python)
    if place.exists() and any(place.iterdir()):
        if not (place / "pyvenv.cfg").is_file():
            raise checking.Refused(f"'{place}' is there and was not made here: name another folder behind install.py")
        say(f"making the environment anew: that in {place} is of another Python")
    run(
        [sys.executable, "-I", "-m", "venv", "--without-pip", "--clear", str(place)],
        "no environment can be made",
        NO_VENV,
    )
    return str(python)


def install_wheels(python: str, pack: dict, target: dict) -> None:
    """The course and what it needs, by the pip in the pack, which asks nobody and reads nobody's settings."""
    pip = next(name for name in target["wheels"] if name.startswith("pip-"))
    course = "lora_lab[{}]=={}".format(",".join(pack["extras"]), pack["version"])
    words = [python, str(checking.HERE / "wheels" / pip / "pip"), "install", "--quiet", "--no-index", "--no-cache-dir"]
    words += ["--find-links", str(checking.HERE / "wheels"), "--constraint", str(checking.HERE / "constraints.txt")]
    run(words + ["--no-warn-script-location", "pip", course], "pip cannot install the course")


def bring_notebooks(names: list, folder: Path) -> None:
    """The instructor's own; one that was changed stays."""
    for name in names:
        source, target = checking.HERE / name, folder / name
        target.parent.mkdir(exist_ok=True)
        if target.exists() and checking.sha256(target) != checking.sha256(source):
            print(f"{target} is yours and stays as it is")
        elif not target.exists():
            shutil.copyfile(str(source), str(target))


def put_model(python: str, model: str) -> bool:
    """The real model into the user's cache, as if it had been fetched; its hash is compared there once more."""
    say("putting the real model in place")
    code = (
        "import sys\nfrom lora_lab.models import real\n"
        "try:\n    real.fetched()\nexcept (OSError, ValueError) as error:\n    sys.exit(str(error))"
    )
    given = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": (checking.HERE / model).parent.as_uri(), "HF_HUB_OFFLINE": "1"}
    try:
        run([python, "-P", "-c", code], "the real model is not in place, and all else is", more=given)
    except checking.Refused as refused:
        print(f"install.py: {refused}", file=sys.stderr)
        return False
    return True


def run(words: list, trouble: str, way_out: str = "", more: Mapping[str, str] | None = None) -> None:
    """A step; what it says is shown only if it fails, its last line in a sentence."""
    done = subprocess.run(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=surroundings(more)
    )
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace")
        lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it said nothing"]
        told = [line for line in lines if line.startswith(("ERROR", "Error"))] or lines
        if "No space left" in said or "WinError 112" in said:
            way_out = "the disk is full: make room, and start the same line again"
        raise checking.Refused("{} ({}){}".format(trouble, told[-1][:300], ": " + way_out if way_out else ""))


def show(words: list, folder: Path) -> bool:
    """A step whose words are for the user, in their folder."""
    sys.stdout.flush()
    return subprocess.run(words, stdin=subprocess.DEVNULL, env=surroundings(), cwd=str(folder)).returncode == 0


def surroundings(more: Mapping[str, str] | None = None) -> dict:
    """The environment without what another Python or pip was told."""
    others = ("PIP_", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(others)}
    own = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONNOUSERSITE": "1"}
    return {**kept, **own, **(more or {})}


# What is said


def say(text: str) -> None:
    """One line for a step."""
    print("-- " + text, flush=True)


def start() -> str:
    """What starts the course, in its folder."""
    return r".venv\Scripts\lora-lab lab ." if os.name == "nt" else ".venv/bin/lora-lab lab ."


def quoted(folder: Path) -> str:
    """As a terminal needs it."""
    return f'"{folder}"' if os.name == "nt" else shlex.quote(str(folder))


if __name__ == "__main__":
    sys.exit(main())
