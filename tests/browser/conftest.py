"""The browser that every test in this folder drives."""

import importlib
import importlib.util
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def driver() -> ModuleType:
    """The driver module; without a browser its tests are skipped, or fail where LORA_LAB_REQUIRE asks for one."""
    if importlib.util.find_spec("playwright") is None:
        _do_without("playwright: pip install playwright")
    driver = importlib.import_module("lab_driver")  # beside this file
    if driver.find_chromium() is None:
        _do_without("chromium: apt-get install chromium fonts-liberation")
    return driver


@pytest.fixture(scope="module")
def server(driver: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One for all tests; the first of them is the first to open it."""
    with driver.serve(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def page(driver: ModuleType) -> Iterator[Any]:
    with driver.browse() as page:
        yield page


def _do_without(what: str) -> None:
    if "chromium" in os.environ.get("LORA_LAB_REQUIRE", "").split(","):
        pytest.fail(f"LORA_LAB_REQUIRE asks for a browser, and this machine lacks {what}")
    pytest.skip(f"this machine lacks {what}")
