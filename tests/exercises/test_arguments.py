"""What an answer is given is looked at again after it has run."""

import pytest
import torch
from torch import nn

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong

CHANGES = {
    "a tensor written into": (torch.ones(3), lambda tensor: tensor.mul_(2)),
    "a tensor given another shape": (torch.ones(3), lambda tensor: tensor.unsqueeze_(0)),
    "a list emptied": ([1.0, 2.0], lambda values: values.clear()),
    "a number in a list replaced": ([1.0, 2.0], lambda values: values.__setitem__(1, 3.0)),
    "a key taken out": ({"name": "Ada", "pet": "swan"}, lambda fields: fields.pop("pet")),
    "a key put in": ({"name": "Ada"}, lambda fields: fields.setdefault("pet")),
    "a parameter among pairs": ([("lora_A", nn.Parameter(torch.ones(2)))], lambda named: named[0][1].data.zero_()),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_argument_is_named(what):
    given, change = CHANGES[what]
    with pytest.raises(Wrong, match="your code changes given"), untouched(given=given, other=1):
        change(given)


@pytest.mark.parametrize("given", [torch.ones(3), [(1, 2)], {"a": [1]}, nn.Parameter(torch.ones(2)), 3, None], ids=str)
def test_what_is_only_read_goes_through(given):
    with untouched(given=given):
        str(given)


def test_an_error_inside_is_not_hidden():
    with pytest.raises(ZeroDivisionError), untouched(given=[1]):
        1 / 0  # noqa: B018
