"""The set-up cell on Colab's Python, with real pip and git, and a torch that is no more than its name."""

from pathlib import Path

import pytest

from tests.colab import emulated
from tests.colab.conftest import made
from tests.colab.emulated import Environment, cell, in_colab

PYTHON = "3.13"


@pytest.fixture(scope="module")
def python() -> Environment:
    """Colab's Python, or this one where it is not."""
    return made("colab-python", ["packaging", "tqdm"], emulated.interpreter(PYTHON))


def test_what_cannot_be_installed_ends_in_one_sentence(python: Environment, repository: str) -> None:
    begins = "Installing the course, once: about half a minute\nlora_lab @ git+"

    told = python.run_cell(cell(ref="v9.9"), in_colab(repository))
    assert told.startswith(begins)
    assert "@v9.9 could not be installed. There is no release v9.9 any more: open the lesson anew from https://" in told
    assert told.endswith("(pip: error: pathspec 'v9.9' did not match any file(s) known to git)\n")

    told = python.run_cell(cell(), in_colab("https://127.0.0.1:1/course"))  # where nobody listens
    assert told.startswith(begins) and "Is there a network? Wait a minute, then run this again. (pip: fatal: " in told

    told = python.run_cell(cell(), {**in_colab(repository), "PATH": ""})
    assert told.startswith(begins) and "(pip: ERROR: Cannot find command 'git'" in told

    assert "lora_lab" not in python.packages()


def test_a_full_disk_ends_in_one_sentence(python: Environment, repository: str, tmp_path: Path) -> None:
    git = tmp_path / "git"
    git.write_text("#!/bin/sh\necho 'fatal: cannot create directory: No space left on device' >&2\nexit 128\n")
    git.chmod(0o755)
    told = python.run_cell(cell(), {**in_colab(repository), "PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert "Runtime > Disconnect and delete runtime, then run this again." in told and "No space left on device" in told
    assert len(told.splitlines()) == 2


def test_it_installs_on_colabs_python_and_names_what_is_missing(python: Environment, repository: str) -> None:
    before = python.packages()
    first, *told, tier = python.run_cell(cell(), in_colab(repository)).splitlines()
    assert first.startswith("Installing the course") and tier.startswith("No GPU here")
    assert any(line.startswith("The course needs peft") for line in told)
    assert not any("torch" in line or "packaging" in line or "tqdm" in line for line in told)
    now = python.packages()
    assert {name: now.get(name) for name in before} == before and set(now) - set(before) == {"lora_lab"}
