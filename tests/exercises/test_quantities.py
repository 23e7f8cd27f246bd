"""Numbers and codes that an answer gave are of the right kind before they are compared."""

import pytest
import torch

from lora_lab.exercises import quantities
from lora_lab.exercises.tasks import Wrong


def test_a_number_is_whole_where_it_can_be():
    assert quantities.number(3.0, "here") == 3 and isinstance(quantities.number(3.0, "here"), int)
    assert quantities.number(0.5, "here") == 0.5


@pytest.mark.parametrize("found", [None, True, "3", torch.tensor(3), float("nan"), float("inf"), 10**400, -(10**31)])
def test_what_is_no_number_is_said_in_a_short_sentence(found):
    with pytest.raises(Wrong) as said:
        quantities.number(found, "for 5 tokens")
    assert "for 5 tokens" in str(said.value) and len(str(said.value)) < 120


def test_codes_are_whole_numbers_of_the_shape_and_the_dtype():
    held = torch.tensor([1, 2], dtype=torch.int16)
    assert quantities.codes(held, "your codes", [2]) is held
    for found, dtype in ((held.float(), None), (held, torch.uint8), (held.view(1, 2), None), (held.bool(), None)):
        with pytest.raises(Wrong, match="your codes"):
            quantities.codes(found, "your codes", [2], dtype)


def test_the_first_slip_that_gives_the_number_speaks():
    slips = ((1.0, "one"), (2.0, "two"), (2.0, "again"))
    assert quantities.slip(2, slips) == ": two" and quantities.slip(3, slips) == ""
