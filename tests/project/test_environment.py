"""The conda route from environment.yml: what pip brings, in a plain environment; all of it, where conda is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.release
CONDA = shutil.which("conda") or shutil.which("mamba")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What a clone would hold, at a place whose name has a space."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    place = tmp_path / "a checkout"
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, place / name)
    return place


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, in an environment that knows nothing of this one."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def works(python: Path, tmp_path: Path, checkout: Path) -> None:
    """The library is the checkout's, and the doctor finds nothing that fails."""
    said = run(python, "-c", "from lora_lab import lora, quant, show; print(lora.__file__)", cwd=tmp_path)
    assert Path(said.strip()).is_relative_to(checkout)
    assert "No broken requirements" in run(python, "-m", "pip", "check", cwd=tmp_path)
    assert "ready: 0 failed" in run(python, "-m", "lora_lab.commands.cli", "doctor", cwd=tmp_path)


def test_what_pip_brings_works_in_a_plain_environment(tmp_path: Path, checkout: Path) -> None:
    """As conda hands it to pip: a file of requirements beside environment.yml, and nothing said on the command line."""
    *_, from_pip = yaml.safe_load((checkout / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    (checkout / "requirements.txt").write_text("\n".join(from_pip["pip"]) + "\n", encoding="utf-8")
    run(sys.executable, "-m", "venv", tmp_path / "plain", cwd=tmp_path)
    python = tmp_path / "plain" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(python, "-m", "pip", "install", "--quiet", "--upgrade", "--requirement", "requirements.txt", cwd=checkout)
    works(python, tmp_path, checkout)


@pytest.mark.skipif(CONDA is None, reason="conda is not installed: what it would hand to pip is tested without it")
def test_conda_makes_the_environment(tmp_path: Path, checkout: Path) -> None:
    assert CONDA is not None
    run(CONDA, "env", "create", "--quiet", "--yes", "--prefix", tmp_path / "conda", cwd=checkout)
    python = tmp_path / "conda" / ("python.exe" if os.name == "nt" else "bin/python")
    works(python, tmp_path, checkout)
