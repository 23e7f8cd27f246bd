"""The harness that changes the library by small wrong steps: a change that nobody notices must not pass for killed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

NAMED = "tests/lowrank/test_lowrank.py::test_full_rank_restores_the_weight_and_keeps_its_dtype"
CHANGES = {
    "killed": ("root = s[:r].sqrt()", "root = s[:r]", NAMED),
    "survived": ("root = s[:r].sqrt()", "root = s[:r].sqrt() + 0", NAMED),
    "unfair": ("root = s[:r].sqrt()", "root = s[:r].sqrt() + nowhere", NAMED),
    "no test": ("root = s[:r].sqrt()", "root = s[:r]", "tests/lowrank/test_lowrank.py::test_of_nothing"),
    "not loaded": ("root = s[:r].sqrt()", "root = s[:r]", "tests/ground/test_units.py"),
    "not there": ("root = s[:r].no_such_code()", "root = s[:r]", NAMED),
    "hung": ("root = s[:r].sqrt()", "root = __import__('time').sleep(60) or s", NAMED),
    "crashed": ("root = s[:r].sqrt()", "root = __import__('os')._exit(1)", NAMED),
}
SCRIPT = """
import json, sys
from tests.mutants.library import harness
from tests.mutants.library.mutation import Mutation
harness.PRELOADED = ("torch",)
harness.preload()
changes = {name: Mutation("lora_lab/lowrank.py", *change, "") for name, change in json.load(sys.stdin).items()}
verdicts = {}
for names, seconds in ([name for name in changes if name != "hung"], harness.HUNG_SECONDS), (["hung"], 3):
    harness.HUNG_SECONDS = seconds
    jobs = [(changes[name], [changes[name].test]) for name in names]
    verdicts |= {names[number]: harness.verdict(jobs[number][0], run) for number, run in harness.run_all(jobs)}
print(json.dumps(verdicts))
"""


@pytest.mark.slow
def test_only_a_fair_kill_by_the_named_test_counts():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, input=json.dumps(CHANGES), capture_output=True, text=True, cwd=ROOT, check=True)
    verdicts = json.loads(done.stdout)
    assert verdicts["killed"] == ""
    assert verdicts["survived"] == "survived"
    assert "NameError" in verdicts["unfair"]
    assert "no test" in verdicts["no test"]
    assert "never imports" in verdicts["not loaded"]
    assert "stands 0 times" in verdicts["not there"]
    assert "hung" in verdicts["hung"]
    assert "without a result" in verdicts["crashed"]
