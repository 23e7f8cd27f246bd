"""What several rooms share."""

import os
import shlex
from typing import get_args

import pytest

from lora_lab.units import METHODS, Method, command_line, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError(""), "ValueError"),
        (KeyError(), "KeyError"),
        (OSError("\n  late"), "late"),
        (
            ValueError("Validation error for field 'r':\n    TypeError: expected int\n"),
            "Validation error for field 'r': TypeError: expected int",
        ),
        (ValueError("one of: \n(1) a file, \n(2) another"), "one of: (1) a file"),
        (ValueError("nothing follows:"), "nothing follows:"),
        (KeyError("metadata"), "no 'metadata'"),
    ],
)
def test_an_error_has_a_first_line_whatever_its_message(error, line):
    assert first_line(error) == line


def test_the_methods_are_those_that_the_type_names():
    assert get_args(Method) == METHODS


WORDS = ["lora-lab", "finetune", "a folder/with 'quotes'", "--lr", "0.1", "", "lora_lab[lab]"]


def test_a_command_line_is_read_back_as_the_words_that_it_is_made_of(monkeypatch):
    with monkeypatch.context() as there:
        there.setattr(os, "name", "posix")
        line = command_line(WORDS)
    assert shlex.split(line) == WORDS


def test_on_windows_a_name_with_spaces_stands_in_double_quotes(monkeypatch):
    with monkeypatch.context() as there:  # pytest itself asks for it, to say what failed
        there.setattr(os, "name", "nt")
        line = command_line(["lora-lab", "lab", r"C:\My course\x"])
    assert line == r'lora-lab lab "C:\My course\x"'
