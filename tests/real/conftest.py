"""The real model, or a skip that says what is missing; a failure where LORA_LAB_REQUIRE asks for it."""

import os
from pathlib import Path

import pytest

from lora_lab.models import real


@pytest.fixture(scope="module")
def fetched() -> Path:
    try:
        return real.fetched()
    except OSError as error:
        if "real" in os.environ.get("LORA_LAB_REQUIRE", "").split(","):
            pytest.fail(f"LORA_LAB_REQUIRE asks for the real model: {error}")
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def no_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORA_LAB_MODEL", raising=False)
