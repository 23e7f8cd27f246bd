"""Every attack, once on a right answer and once on a wrong one: `python tests/hostile/run.py [words of names]`."""

import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from lora_lab.grading.judge import Judge
from lora_lab.grading.verdict import Verdict
from tests.hostile.attack import CHECKS, LIMITS, PORTS, RIGHT, SECRET, WRONG, Attack, Paper, notebook, submission
from tests.hostile.breaking import BREAKING
from tests.hostile.files import FILES
from tests.hostile.forging import FORGING
from tests.hostile.looking import LOOKING
from tests.hostile.second import SECOND
from tests.hostile.speaking import SPEAKING

ATTACKS = [*FORGING, *LOOKING, *BREAKING, *SPEAKING, *FILES, *SECOND]
HONEST = notebook(*RIGHT, CHECKS)
PAPER = Paper()


def harms(judge: Judge, attack: Attack) -> list[str]:
    """What an attack achieves; empty if nothing."""
    before = processes(judge)
    judge.limits = replace(LIMITS, wall=attack.wall)
    on_right = judge.grade(submission(attack, RIGHT), PAPER)
    on_wrong = judge.grade(submission(attack, WRONG), PAPER)
    left = processes(judge) - before
    judge.limits = LIMITS
    afterwards = judge.grade(HONEST, PAPER)
    found = [f"{each.task} earns {each.points} for a wrong answer" for each in on_wrong if each.points]
    for each in on_right:
        if each.status != "right" and (attack.keeps or not each.why):
            found.append(f"{each.task} is right, and is {each.status}: {each.why}")
    found += [
        f"{each.task} leaks: {each.why}" for each in (*on_right, *on_wrong) if SECRET in each.why or not fit(each)
    ]
    found += [
        f"the next submission's {each.task} is {each.status}: {each.why}" for each in afterwards if not each.points
    ]
    return found + [f"{len(left)} processes are left" for _ in range(bool(left))]


def fit(verdict: Verdict) -> bool:
    """Whether a sentence can be shown: one printable line, not endless."""
    return verdict.why.isprintable() and len(verdict.why) < 1500


def processes(judge: Judge) -> set[int]:
    """What runs below the judge's server, which is one process more, or none, while it is the same server."""
    server = judge.host.process
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parents[int(entry)] = int(
                Path(f"/proc/{entry}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
            )
    below = {server.pid} if server else set()
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return below


@contextlib.contextmanager
def surroundings() -> Iterator[None]:
    """What a submission would like to reach: a port, a socket of the judge's, a file, a variable."""
    with _port() as port, socket.socket(socket.AF_UNIX) as local:
        with contextlib.suppress(OSError):  # another run has it
            local.bind("\0sentinel")
            local.listen()
        with tempfile.TemporaryDirectory(prefix=SECRET, dir="/var/tmp") as folder:
            Path(folder, "secret").write_text(SECRET, encoding="utf-8")
            os.environ["HOSTILE_SECRET"] = SECRET
            yield
            port.settimeout(0)
            local.settimeout(0)
            for each in (port, local):
                with contextlib.suppress(OSError):
                    each.accept()
                    raise AssertionError(f"a submission reached {each}")


def _port() -> socket.socket:
    for number in PORTS:
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", number))
    raise OSError(f"no port of {PORTS} is free")


def main(words: list[str]) -> int:
    """Run the attacks; 0 only if all of them are harmless."""
    attacks = [attack for attack in ATTACKS if not words or any(word in attack.name for word in words)]
    harmless = 0
    with surroundings(), Judge() as judge:
        judge.limits = LIMITS
        assert all(each.points for each in judge.grade(HONEST, PAPER))
        for attack in attacks:
            start = time.perf_counter()
            found = harms(judge, attack)
            harmless += not found
            print(f"{time.perf_counter() - start:5.1f} s  {attack.name}", *found, sep="\n        ", flush=True)
    print(f"harmless {harmless} of {len(attacks)}")
    return int(harmless < len(attacks))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
