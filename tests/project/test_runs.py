"""How tests are run."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from tests.run import PYTEST

DIES = """
import os, pytest
@pytest.mark.parametrize("i", range(4))
def test_a(i):
    if i == 2:
        os.abort()
"""


def test_a_test_that_ends_its_process_ends_the_run_and_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]", encoding="utf-8")
    (tmp_path / "test_dies.py").write_text(DIES, encoding="utf-8")
    others = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}  # this is a worker
    command = [sys.executable, "-m", *PYTEST, "-p", "no:nbval", "--junitxml", "report.xml"]
    done = subprocess.run(command, cwd=tmp_path, env=others, capture_output=True, timeout=60)
    assert done.returncode == 1
    # Read in the file: how much pytest prints, and in which colours, hangs on CI, FORCE_COLOR and others.
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()[0]
    wrong = [str(each.get("message")) for each in suite.findall("testcase/*")]
    assert ["crashed while running 'test_dies.py::test_a[2]'" in message for message in wrong] == [True]
    assert suite.get("tests") == "3"  # the fourth was not begun
