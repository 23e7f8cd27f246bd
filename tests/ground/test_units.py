"""What several rooms share."""

from typing import get_args

import pytest

from lora_lab.units import METHODS, Method, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (KeyError(), "KeyError"),
        (OSError("\n  late"), "late"),
    ],
)
def test_an_error_has_a_first_line_whatever_its_message(error, line):
    assert first_line(error) == line


def test_the_methods_are_those_that_the_type_names():
    assert get_args(Method) == METHODS
