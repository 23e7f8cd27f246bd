"""Small wrong changes to the library, each with the test that must notice it.

python tests/mutants/library/run.py               each change with the one test that it names
python tests/mutants/library/run.py --whole       each change with all fast tests of its room (`make mutants`)
python tests/mutants/library/run.py quant train   some rooms only
"""

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # a forked child cannot use its parent's threads
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported, before the children's conftest
sys.path[0] = str(Path(__file__).resolve().parents[3])  # this folder would hide packages named like its rooms

from tests.mutants import library  # noqa: E402
from tests.mutants.library import harness  # noqa: E402
from tests.mutants.library.mutation import Mutation  # noqa: E402

NOT_ROOMS = ("harness", "mutation", "run")


def rooms() -> list[str]:
    """The modules beside this one that hold mutations."""
    return [module.name for module in pkgutil.iter_modules(library.__path__) if module.name not in NOT_ROOMS]


def main() -> int:
    """Run the mutations of the rooms that are named, or of all."""
    parser = argparse.ArgumentParser(description="Does each small wrong change to the library make its test fail?")
    parser.add_argument("rooms", nargs="*", help=f"some of {', '.join(rooms())}")
    parser.add_argument("--whole", action="store_true", help="run all fast tests of the room")
    options = parser.parse_args()
    if unknown := [name for name in options.rooms if name not in rooms()]:
        parser.error(f"no room {unknown[0]!r}: choose from {', '.join(rooms())}")
    chosen = {name: importlib.import_module(f"tests.mutants.library.{name}") for name in options.rooms or rooms()}
    mutations = [(name, mutation) for name, room in chosen.items() for mutation in room.MUTATIONS]
    os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # its cache would keep wrong kernels, and compiling takes long
    harness.preload()

    problems = _control([mutation for _, mutation in mutations])
    others: list[str] = []
    jobs = [(mutation, _tests(mutation, chosen[name].TESTS if options.whole else ())) for name, mutation in mutations]
    for number, run in harness.run_all(jobs):
        room, mutation = mutations[number]
        wrong = _wrong(mutation, run, options.whole)
        print(f"{room:<12} {'KILLED' if not wrong else 'FAILED':<7} {run.seconds:5.1f} s  {mutation.wrong}", flush=True)
        if wrong:
            problems.append(f"{mutation.file}: {mutation.wrong}: {wrong}")
        if more := [test for test in run.failed if not _is(test, mutation.test)]:
            others.append(f"{mutation.file}: {mutation.wrong}: also {', '.join(more[:3])}{' …' if more[3:] else ''}")
    if options.whole:
        print(f"\nthe named test is not the only killer of {len(others)}:", *others, sep="\n  ")
    print("\nkilled", len(mutations) - len([p for p in problems if not p.startswith("control")]), "of", len(mutations))
    print(*problems, sep="\n")
    return int(bool(problems))


def _tests(mutation: Mutation, room: Sequence[str]) -> list[str]:
    """The tests of a room, and the named one if it stands elsewhere."""
    return [*room] if mutation.test.partition("::")[0] in room else [*room, mutation.test]


def _control(mutations: list[Mutation]) -> list[str]:
    """Without a change every named test must pass, or its failing says nothing."""
    tests = sorted({mutation.test for mutation in mutations})
    [(_, run)] = harness.run_all([(None, tests)])
    failed = [f"control: {test} fails on the library as it is" for test in run.failed]
    return failed + [f"control: {run.trouble}"] * bool(run.trouble)


def _wrong(mutation: Mutation, run: harness.Run, whole: bool) -> str:
    """The verdict on the named test, taken out of its room's run if the whole room was run."""
    if not whole or run.trouble:
        return harness.verdict(mutation, run)
    named = {test: classes for test, classes in run.failed.items() if _is(test, mutation.test)}
    passed = [test for test in run.passed if _is(test, mutation.test)]
    return harness.verdict(mutation, harness.Run(passed, named, run.loaded))


def _is(test: str, named: str) -> bool:
    """Whether a test is the named one, or one of its parametrised cases."""
    return test == named or test.startswith(f"{named}[")


if __name__ == "__main__":
    sys.exit(main())
