"""No check takes for an answer what is no number or nothing at all: every comparison with NaN is false, and so is the
`if` that asks whether a value is too far away; and all values of an empty tensor are right."""

import inspect
from typing import Any

import pytest
from torch import Tensor

from lora_lab.exercises import tasks
from lora_lab.exercises.checks import drawn_from, judged
from lora_lab.exercises.tasks import Wrong

NAN = float("nan")


def nan(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value * NAN if value.is_floating_point() else value
    return NAN if isinstance(value, float) else value


def last_nan(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
        at_the_end = value.new_zeros(value.numel())
        at_the_end[-1] = NAN
        return value + at_the_end.reshape(value.shape)
    return value


def empty(value: Any) -> Any:
    return value[:0] if isinstance(value, Tensor) and value.dim() else value


def spoiled(spoil: Any, value: Any, done: list[bool]) -> Any:
    if type(value) in (list, tuple):
        return type(value)(spoiled(spoil, each, done) for each in value)
    if type(value) is dict:
        return {key: spoiled(spoil, each, done) for key, each in value.items()}
    found = spoil(value)
    done.append(found is not value)
    return found


def answer_of(reference: Any, spoil: Any, done: list[bool]) -> Any:
    """The library's answer, whose results are spoiled."""
    if inspect.isclass(reference):
        if not callable(getattr(reference, "forward", None)):
            return reference

        class Spoiled(reference):
            def forward(self, *args: Any, **kwargs: Any) -> Any:
                return spoiled(spoil, super().forward(*args, **kwargs), done)

        return Spoiled
    if callable(reference):
        return lambda *args, **kwargs: spoiled(spoil, reference(*args, **kwargs), done)
    return spoiled(spoil, reference, done)


def passing(names: list[str]) -> list[tuple[str, str]]:
    found = []
    for name in names:
        for spoil in (nan, last_nan, empty):
            done: list[bool] = []
            answer = answer_of(tasks.find(name).reference(), spoil, done)
            with drawn_from(5):
                verdict = judged(tasks.find(name), answer)
            if any(done) and not isinstance(verdict, Wrong):
                found.append((name, spoil.__name__))
    return found


def test_no_number_is_not_taken_for_the_six_weights():
    assert passing(["six_weights", "energy_held"]) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_check_takes_what_is_no_number_or_empty():
    assert passing(sorted(tasks.load())) == []
