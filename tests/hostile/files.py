"""Attacks by the file itself: what is called a notebook, and is none. Those by zips are in tests/grading."""

import json

from tests.hostile.attack import RIGHT, Attack, notebook

_BOOK = json.loads(notebook(*RIGHT))


def _cells(*cells: object) -> bytes:
    return json.dumps({**_BOOK, "cells": [*cells]}).encode()


FILES = [
    Attack("an empty file", file=b"", keeps=False),
    Attack("no JSON", file=b"PK\x03\x04" + bytes(1000), keeps=False),
    Attack("half a notebook", file=notebook(*RIGHT)[:-40], keeps=False),
    Attack("another encoding", file=notebook(*RIGHT).decode().encode("utf-16"), keeps=False),
    Attack("a notebook of brackets", file=b'{"cells": ' + b"[" * 10**6 + b"]" * 10**6 + b"}", keeps=False),
    Attack(
        "a number of a million digits in a notebook",
        file=b'{"cells": [], "nbformat": ' + b"9" * 10**6 + b"}",
        keeps=False,
    ),
    Attack("a list for a notebook", file=b"[1, 2]", keeps=False),
    Attack("cells that are none", file=_cells(1, None, "code", []), keeps=False),
    Attack("cells without a kind", file=_cells({"source": "x"}), keeps=False),
    Attack("a source that is no text", file=_cells({"cell_type": "code", "source": {"a": 1}}), keeps=False),
    Attack("a source of no texts", file=_cells({"cell_type": "code", "source": ["a", 1]}), keeps=False),
    Attack(
        "tags that are none",
        file=_cells({"cell_type": "code", "source": "", "metadata": {"tags": [1, {}, "turn:"]}}),
        keeps=False,
    ),
    Attack("a hundred thousand cells", file=_cells(*[{"cell_type": "code", "source": "1"}] * 10**5), keeps=False),
    Attack("33 MB of notebook", file=_cells({"cell_type": "markdown", "source": "x" * 33 * 2**20}), keeps=False),
    Attack("3 MB of code", file=_cells({"cell_type": "code", "source": "1\n" * 2**21}), keeps=False),
    Attack("an old notebook", file=json.dumps({"worksheets": [{"cells": []}], "nbformat": 3}).encode(), keeps=False),
    Attack("code that no parser ends with", "(" * 10**5, last="-" * 10**5 + "1"),
    Attack("half a character", "x = '\ud800'\n# \ud800", last="'\\ud800'"),
    Attack("bytes that are zero", "x = 1\0y = 2"),
]
