"""A kernel that dies as it starts is started again."""

from pathlib import Path

import pytest
from nbval import kernel

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def starts(monkeypatch, request):
    """What each start does, in turn: an error, or a kernel."""
    conftest = request.config.pluginmanager.get_plugin(str(ROOT / "conftest.py"))
    outcomes: list = []

    def start(*args, **options):
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(conftest, "_start_once", start)
    monkeypatch.setattr(kernel, "start_new_kernel", conftest._start_new_kernel)
    return outcomes


def test_a_kernel_that_dies_as_it_starts_is_started_again(starts):
    starts += [RuntimeError("Kernel died before replying"), "a kernel"]
    assert kernel.start_new_kernel() == "a kernel" and starts == []


def test_one_that_never_starts_is_an_error(starts):
    starts += [RuntimeError("died")] * 4
    with pytest.raises(RuntimeError, match="died"):
        kernel.start_new_kernel()
    assert len(starts) == 1
