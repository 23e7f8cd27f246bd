"""A folder for one grader's run: its environment, and how its commands are run and timed."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from graders.submissions import SECRET

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


@dataclass(frozen=True)
class Ran:
    """What a command took.

    Attributes:
        cpu, wall: seconds; CPU is that of all processes that it started.
        ended: whether it ended by itself within the limit.
        left: how many processes of its were still running when it had ended, and were then stopped.
        output: what it printed.
    """

    cpu: float
    wall: float
    ended: bool
    left: int
    output: str


@dataclass(frozen=True)
class World:
    """Where a grader runs.

    Attributes:
        folder: the instructor's, in which commands run.
        variables: of the environment, beside those that are set already.
        limit: the seconds after which a command is stopped.
    """

    folder: Path
    variables: dict[str, str]
    limit: float

    def run(self, *command: str | Path) -> Ran:
        """Run a command as an instructor would in a shell, with a secret in the environment."""
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "OLDPWD")}
        environment |= {"PWD": str(self.folder), "OMP_NUM_THREADS": "1", "GRADING_TOKEN": SECRET} | self.variables
        others = set(_descendants(os.getpid()))
        ctypes.CDLL(None).prctl(_SUBREAPER, 1)  # what outlives its parent is then ours to wait for, and to count
        before, start = _cpu(), time.perf_counter()
        log = self.folder / "output.txt"
        with log.open("w") as output:
            child = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            ended = True
            try:
                child.wait(self.limit)
            except subprocess.TimeoutExpired:
                ended = False
        wall = time.perf_counter() - start
        left = _stop(others)
        child.wait()
        ctypes.CDLL(None).prctl(_SUBREAPER, 0)
        return Ran(_cpu() - before, wall, ended, left if ended else 0, log.read_text(errors="replace"))

    def must(self, *command: str | Path) -> Ran:
        """Run a command that has to succeed. Raises SystemExit with its output if it does not end."""
        ran = replace(self, limit=600).run(*command)
        if not ran.ended:
            sys.exit(f"{command} did not end:\n{ran.output[-2000:]}")
        return ran


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _stop(others: set[int]) -> int:
    """End our descendants but others, after a moment to end by themselves, and wait for them: how many there were."""
    stopped: set[int] = set()
    patience = time.perf_counter() + 2
    while running := set(_descendants(os.getpid())) - others:
        late = time.perf_counter() > patience
        for process in running:
            try:
                if os.waitpid(process, os.WNOHANG) == (0, 0) and late:
                    _kill(process)
                    stopped.add(process)
            except ChildProcessError:  # a child's child: it is ours when its parent has ended
                if late:
                    _kill(process)
                    stopped.add(process)
        time.sleep(0.05)
    return len(stopped)


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _descendants(root: int) -> Iterator[int]:
    """The processes below one, as /proc says."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    found = {root}
    for _ in range(16):
        found |= {process for process, parent in parents.items() if parent in found}
    yield from found - {root}
