"""A judge in its sandbox, the same for all tests of a process; without one a skip, or a failure where it is due."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lora_lab.grading.isolation import Limits
from lora_lab.grading.judge import Judge
from lora_lab.grading.remote import Session
from lora_lab.grading.sandbox import NoSandbox

ALLOW = frozenset({"lowrank"})


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    with Judge(seed=7) as judge:
        try:
            with judge.host.session(ALLOW, Limits()):
                pass
        except NoSandbox as error:
            if "bwrap" in os.environ.get("LORA_LAB_REQUIRE", "").split(","):
                pytest.fail(f"LORA_LAB_REQUIRE asks for a sandbox: {error}")
            pytest.skip(str(error))
        yield judge


@pytest.fixture
def given(judge: Judge) -> Iterator[Callable[[str, str], Any]]:
    """What a cell defines under a name, in the sandbox."""
    with judge.host.session(ALLOW, Limits()) as session:

        def given(code: str, name: str = "answer") -> Any:
            stopped = session.run(["import torch\nfrom torch import nn", code], [])
            assert not stopped, stopped
            return session.answer(name)[0]

        given.session = session  # type: ignore[attr-defined]
        yield given


@pytest.fixture
def session(given: Any) -> Session:
    return given.session
