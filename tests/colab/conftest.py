"""Colab's environment and the course's repository, or a skip that says what is missing; a failure where
LORA_LAB_REQUIRE asks for it."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from tests.colab import emulated
from tests.colab.emulated import Environment

OLDER = {
    "pyproject.toml": '[project]\nname = "lora_lab"\nversion = "0.0.1"\n',
    "lora_lab/__init__.py": '__version__ = "0.0.1"\n',
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only `-m colab` runs them: they make environments, and take a minute or two."""
    own = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in own:
        item.add_marker("colab")
    if "colab" not in config.option.markexpr:
        items[:] = [item for item in items if item not in own]
        config.hook.pytest_deselected(items=own)


def missing(what: str) -> NoReturn:
    if "colab" in os.environ.get("LORA_LAB_REQUIRE", "").split(","):
        pytest.fail(f"LORA_LAB_REQUIRE asks for Colab's packages: {what}")
    pytest.skip(what)


def made(name: str, requirements: Sequence[str], interpreter: str | None = None) -> Environment:
    """The environment without the course and what its cells install. Skips where git or the packages are missing."""
    if shutil.which("git") is None:
        missing("git is not installed")
    try:
        environment = Environment(name, requirements, *([interpreter] if interpreter else []))
    except RuntimeError as error:
        missing(f"Colab's packages could not be installed: {error}")
    environment.pip("uninstall", "--yes", "--quiet", "lora_lab", "bitsandbytes")
    return environment


@pytest.fixture(scope="module")
def colab() -> Environment:
    return made("colab", emulated.SHIPPED)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its address: this working tree at the ref that notebooks install, and a small older release."""
    bare = tmp_path_factory.mktemp("github") / "course.git"
    emulated.commit(bare, emulated.REPOSITORY["ref"])
    emulated.commit(bare, "older", OLDER)
    return bare.as_uri()
