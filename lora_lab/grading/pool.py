"""Many jobs at once: in processes of this machine, or on those of a Dask cluster; whatever dies, no job is lost.

Both are executors of `concurrent.futures`, and used alike. It knows nothing of what the jobs are.
"""

import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

Job = TypeVar("Job")
HUNG_SECONDS = 1800  # in which nothing ended: every judge has its own, much shorter deadlines
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Died(Exception):
    """The process that had a job ended, also when it was tried again with nothing else at work."""


def run(
    function: Callable[[Job], Any], jobs: Sequence[Job], *, workers: int, scheduler: str | None = None, same: Any = None
) -> Iterator[tuple[int, Any]]:
    """Call a function with each job.

    Args:
        function: of a module, so that another process finds it.
        jobs: what it is called with, one at a time.
        workers: how many at once, on this machine.
        scheduler: the address of a Dask scheduler, in place of this machine.
        same: a function whose result on each machine of the cluster must be that of here.

    Yields:
        A job's number, and what the function returned or the exception that it raised, as they come. `Died` for a job
        whose process died, also when it was tried again alone.

    Raises:
        OSError: if the cluster cannot be reached, or goes away.
        ValueError: if Dask is not installed, or the cluster has other software.
    """
    place = Processes(workers) if scheduler is None else _cluster(scheduler, same)
    try:
        yield from _run(function, jobs, place)
    except BaseException:
        place.stop()
        raise
    place.close()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cluster(scheduler: str, same: Any) -> Any:
    from lora_lab.grading.cluster import Cluster

    return Cluster(scheduler, same)


def _run(function: Callable[[Job], Any], jobs: Sequence[Job], place: Any) -> Iterator[tuple[int, Any]]:
    waiting, suspects = deque(range(len(jobs))), deque[int]()
    running: dict[Future[Any], int] = {}
    alone: int | None = None  # the suspect that is at work, with nothing beside it
    deaths: Counter[int] = Counter()  # alone: where several were at work, it may have been another's
    while waiting or suspects or running:
        if suspects and not running:
            alone = suspects.popleft()
            running[place.submit(function, jobs[alone])] = alone
        while waiting and not suspects and alone is None and len(running) < place.width:
            number = waiting.popleft()
            running[place.submit(function, jobs[number])] = number
        done, _ = wait(running, place.patience, FIRST_COMPLETED)
        if not done:
            place.stop()  # whoever waits for its processes is told that they are gone
            continue
        for future in done:
            number = running.pop(future)
            if future.cancelled():
                raise OSError("the scheduler went away: what was done is kept, so run the same command again")
            error = future.exception()
            if not isinstance(error, place.lost):
                yield number, future.result() if error is None else error
            else:
                deaths[number] += number == alone
                if deaths[number] < place.tries_alone:
                    suspects.append(number)
                else:
                    yield number, Died("its process died, also when it was tried again alone")
            alone = None if number == alone else alone


class Processes:
    """Processes of this machine; they are started when there is work for them, and again after one has died."""

    lost = (BrokenExecutor,)
    patience = HUNG_SECONDS
    tries_alone = 2  # it may not have begun when another's death broke the pool

    def __init__(self, width: int) -> None:
        self.width = width
        self._executor: Executor | None = None
        self._others = set(multiprocessing.active_children())

    def submit(self, function: Callable[[Job], Any], job: Job) -> "Future[Any]":
        """Start a job."""
        with _no_interruption_handed_on():
            try:
                return self._started().submit(function, job)
            except (BrokenExecutor, OSError, RuntimeError):  # it broke since the last job was submitted, or breaks now
                self.stop()
                return self._started().submit(function, job)

    def close(self) -> None:
        """Let the processes end."""
        if self._executor is not None:
            self._executor.shutdown()

    def stop(self) -> None:
        """End the processes, whatever they do."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        with suppress(OSError):  # it breaks at this very moment, and has closed its pipe
            executor.shutdown(wait=False)
        ours = [each for each in multiprocessing.active_children() if each not in self._others]
        for process in ours:
            process.terminate()
        for process in ours:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

    def _started(self) -> Executor:
        if self._executor is None:
            context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks as they stand
            self._executor = ProcessPoolExecutor(self.width, context, initializer=_begin)
        return self._executor


@contextmanager
def _no_interruption_handed_on() -> Iterator[None]:
    """What is started within hears no Ctrl-C, not even before it can say so itself; here it is heard a moment later."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # which lets Ctrl-C through again, once it has been started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_at_end: list[Callable[[], None]] = []
_begun = False


def is_ours() -> bool:
    """Whether this process was started by a pool here, which starts another when it ends."""
    return _begun


def at_end(function: Callable[[], None]) -> None:
    """Call a function when this process of a pool ends, unless it is killed."""
    _at_end.append(function)
    multiprocessing.util.Finalize(None, function, exitpriority=10)


def _begin() -> None:
    """In a new process: one thread, no Ctrl-C (its parent has it), no output, and an end together with its parent."""
    global _begun
    _begun = True
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _end())
    with open(os.devnull, "w", encoding="utf-8") as null:
        os.dup2(null.fileno(), 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Whoever waits for a job would wait for ever when its parent was killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        multiprocessing.connection.wait([parent.sentinel])
        _end()


def _end() -> None:
    for function in _at_end:
        with suppress(Exception):
            function()
    os._exit(1)
