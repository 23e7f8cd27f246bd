"""A check ends, whatever it is about."""

import contextlib
import itertools
import subprocess
import sys

import pytest

from lora_lab.grading.deadline import Hangs, within

STUCK = """
import re
from lora_lab.grading.deadline import within
with within(0.1, 0.3):
    re.match("(a+)+$", "a" * 200 + "b")
"""


def test_what_does_not_end_is_interrupted_and_no_except_of_a_check_holds_it():
    with pytest.raises(Hangs), within(0.05):
        try:
            for _ in itertools.count():
                pass
        except Exception:
            pass


def test_what_ends_is_left_alone_also_afterwards():
    for _ in range(300):
        with contextlib.suppress(Hangs), within(0.0005):
            pass
        assert sum(1 for _ in range(1000)) == 1000  # the exception would come here
    with pytest.raises(KeyError), within(1000):
        raise KeyError


def test_what_is_stuck_in_c_ends_with_its_process_and_says_nothing():
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
