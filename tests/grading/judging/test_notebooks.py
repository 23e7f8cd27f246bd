"""Cells and tasks are found whatever an editor did to a notebook."""

import json

import pytest

from lora_lab.grading import notebooks
from lora_lab.grading.notebooks import Malformed


def book(*cells):
    return json.dumps({"cells": cells, "nbformat": 4}).encode()


def code(source, **more):
    return {"cell_type": "code", "source": source, **more}


def test_tasks_are_found_by_tags_and_by_calls():
    found = notebooks.read(
        book(
            {"cell_type": "markdown", "source": 'check("text", text)'},
            code(["def a(x):\n", "    ..."], metadata={"tags": ["turn:a", 3, "optional"]}),
            code("b = check( 'b' , b)\nc = check(\"c\", c)"),
            code("a = 1", metadata={"tags": "check:a"}, id=7),
            code("pass", metadata={"tags": ["check:a"]}),
        )
    )
    assert found.cells[0] == "def a(x):\n    ..." and len(found.cells) == 4
    assert found.places == {"a": (0, 3), "b": (1,), "c": (1,)}


def test_a_mark_that_an_editor_puts_before_the_text_is_read_over():
    assert notebooks.read(b"\xef\xbb\xbf" + book(code("x"))).cells == ("x",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b"3", "no cells"),
        (b'{"worksheets": []}', "old format"),
        (book(3), "none"),
        (book(code(3)), "no text"),
        (book(*[code("")] * 2001), "2,001 cells"),
        (book(code("x" * (notebooks.CODE + 1))), "characters of code"),
        (b" " * (notebooks.BYTES + 1), "clear its outputs"),
    ],
)
def test_what_is_no_notebook_is_refused_in_a_sentence(content, says):
    with pytest.raises(Malformed, match=says):
        notebooks.read(content)
