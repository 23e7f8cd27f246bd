"""Run tests against a changed library: the change is handed over by an import loader, the tree is never edited.

Each run is a forked child of a process in which the libraries are loaded already, and `lora_lab` is not, so that a
child needs little more than the test itself.
"""

import contextlib
import gc
import importlib.util
import linecache
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec, PathFinder
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from tests.mutants.library.mutation import Mutation

ROOT = Path(__file__).resolve().parents[3]
HUNG_SECONDS = 300  # no test takes a tenth of it, on a machine that does much else besides
PRELOADED = ("torch", "transformers", "transformers.models.llama.modeling_llama", "peft", "bitsandbytes", "accelerate",
             "hypothesis", "matplotlib.pyplot", "nbformat", "nbval.plugin", "coverage", "xdist.plugin",
             "anyio.pytest_plugin", "triton", "triton.language", "numba")  # fmt: skip
# A test that dies of one of these has not noticed what is wrong with the result: the change does not even run. If it
# was raised by a `raise`, though, the library said it, and not Python.
UNFAIR = (ImportError, NameError, TypeError, AttributeError, SyntaxError)

_fork = multiprocessing.get_context("fork")


@dataclass
class Run:
    """What happened to some tests under one change.

    Attributes:
        passed: ids of tests that passed.
        failed: ids of tests that failed, each with what it died of: "" if that is fair, else the name of the error.
        loaded: whether the changed file was imported.
        seconds: of the tests, without the fork.
        trouble: why there is no result, if there is none.
    """

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    loaded: bool = False
    seconds: float = 0.0
    trouble: str = ""


def preload() -> None:
    """Import what every child needs, and nothing of the library."""
    for name in PRELOADED:
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)
    if loaded := [name for name in sys.modules if name.partition(".")[0] == "lora_lab"]:
        raise RuntimeError(f"{loaded[0]} is loaded already, so no child could load another version of it")
    gc.freeze()  # pytest collects garbage when it ends, and what stands here would be looked through each time


def run_all(jobs: Sequence[tuple[Mutation | None, Sequence[str]]], workers: int = 2) -> Iterator[tuple[int, Run]]:
    """Run each job, a change (or none) and the tests to run under it, in a child of its own.

    Yields:
        The job's number and what happened, as they finish.
    """
    waiting, active = list(range(len(jobs))), dict[Connection, tuple[int, ForkProcess, float]]()
    while waiting or active:
        while waiting and len(active) < workers:
            number = waiting.pop(0)
            ours, theirs = _fork.Pipe(duplex=False)
            child = _fork.Process(target=_child, args=(theirs, *jobs[number]))
            child.start()
            theirs.close()
            active[ours] = number, child, time.monotonic() + HUNG_SECONDS
        ready = wait(list(active), timeout=1)
        late = [pipe for pipe, (_, _, deadline) in active.items() if time.monotonic() > deadline]
        for pipe in [*ready, *(pipe for pipe in late if pipe not in ready)]:
            assert isinstance(pipe, Connection)
            number, child, _ = active.pop(pipe)
            run = _received(pipe) if pipe in ready else Run(trouble=f"hung: no result within {HUNG_SECONDS} s")
            child.kill()
            child.join()
            yield number, run


def verdict(mutation: Mutation, run: Run) -> str:
    """What is wrong with a run of the named test under a mutation; empty if the test killed it, fairly."""
    if run.trouble:
        return run.trouble
    if not run.loaded:
        return f"{mutation.test} never imports {mutation.file}"
    if not run.failed:
        return "survived" if run.passed else f"there is no test {mutation.test}"
    if all(run.failed.values()):
        return f"died of {next(iter(run.failed.values()))}, not of a wrong result"
    return ""


def mutated(mutation: Mutation) -> str:
    """The changed source.

    Raises:
        ValueError: if what is to be changed does not stand exactly once in the file.
    """
    source = (ROOT / mutation.file).read_text(encoding="utf-8")
    if (count := source.count(mutation.before)) != 1:
        raise ValueError(f"{mutation.before!r} stands {count} times in {mutation.file}, and must stand there once")
    return source.replace(mutation.before, mutation.after)


def _received(pipe: Connection) -> Run:
    try:
        run: Run = pipe.recv()
    except EOFError:
        return Run(trouble="the child died without a result")
    return run


def _child(pipe: Connection, mutation: Mutation | None, tests: Sequence[str]) -> None:
    log = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(log, stream)
    os.chdir(ROOT)
    try:
        run = _run(mutation, tests)
    except Exception as error:  # the parent reports it
        run = Run(trouble=f"{type(error).__name__}: {error}")
    with contextlib.suppress(OSError):
        pipe.send(run)
    os._exit(0)


def _run(mutation: Mutation | None, tests: Sequence[str]) -> Run:
    watcher = _Watcher()
    loader = None
    if mutation is not None:
        loader = _Changed(mutation.file, mutated(mutation))
        sys.meta_path.insert(0, _Finder(mutation.file, loader))
    started = time.perf_counter()
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow and not browser"]
    status = pytest.main([*options, *tests], plugins=[watcher])
    watcher.run.seconds = time.perf_counter() - started
    if status in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR):
        watcher.run.trouble = f"pytest ended with {status!r}"
    watcher.run.loaded = loader is None or loader.used
    return watcher.run


class _Watcher:
    """A pytest plugin that notes which tests passed, and of what the others died."""

    def __init__(self) -> None:
        self.run = Run()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if report.failed and call.excinfo is not None:
            self.run.failed[item.nodeid] = _unfair(call.excinfo)
        elif report.passed and report.when == "call" and item.nodeid not in self.run.failed:
            self.run.passed.append(item.nodeid)
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Any:
        report = yield
        if report.failed:
            self.run.failed[collector.nodeid] = "an error of collection"  # whatever it was, no test has run
        return report


def _unfair(error: pytest.ExceptionInfo[BaseException]) -> str:
    """The name of an error that says nothing about the result, else ""."""
    statement = str(error.traceback[-1].statement).strip()
    return error.typename if issubclass(error.type, UNFAIR) and not statement.startswith("raise ") else ""


class _Changed(SourceLoader):
    """Loads one module from another source than the file's, and leaves no bytecode behind."""

    def __init__(self, file: str, source: str) -> None:
        self.path, self.source, self.used = str(ROOT / file), source, False

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_data(self, path: str) -> bytes:
        return self.source.encode()

    def get_code(self, fullname: str) -> CodeType:
        self.used = True
        # Triton compiles what `inspect` reads, which is this and not the file where there is no time of modification.
        linecache.cache[self.path] = len(self.source), None, self.source.splitlines(keepends=True), self.path
        return compile(self.source, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    """Hands the changed module to whoever imports it first."""

    def __init__(self, file: str, loader: Loader) -> None:
        self.name = ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")
        self.loader = loader

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        spec.loader = self.loader
        return spec
