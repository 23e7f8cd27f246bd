"""The test run in its parts, with the time of each: `python tests/run.py [check | all | release | part ...]`.

Every part runs even when one before it failed, so that one run tells everything. Works the same with and without make.
`release` runs every part there is, on a committed tree, and writes down which tree passed: course/tested.py says where.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Two at a time; a file's tests stay together, in order. A process that dies is named and ends the run: where another
# takes its place, pytest-xdist (3.6 to 3.8) often waits for good.
PYTEST = ["pytest", "--quiet", "-n", "2", "--dist", "loadfile", "--max-worker-restart", "0"]
ELSEWHERE = "not browser and not real and not colab and not release"  # what has a part of its own
# A test that hangs is named, with the line, and ends its part: a run that is stopped from outside says nothing.
# None takes a quarter of this, so that a busy machine ends none. (pytest 8 says where, and waits on.)
PATIENCE = ["-o", "faulthandler_timeout=1800", "-o", "faulthandler_exit_on_timeout=true"]
PARTS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "--quiet", "."],
    "types": ["mypy"],
    "unit": [*PYTEST, "--doctest-modules", "lora_lab", "tests", "-m", f"not slow and {ELSEWHERE}"],
    "slow": [*PYTEST, "tests", "-m", f"slow and {ELSEWHERE}"],
    "drift": ["course/build.py", "--check"],
    "notebooks": [*PYTEST, "--nbval", *[folder for folder in ("notebooks", "solutions") if (ROOT / folder).is_dir()]],
    "mutants": ["tests/mutants/library/run.py"],
    "answers": ["tests/mutants/exercises/run.py"],
    "hostile": ["tests/hostile/run.py"],
    "real": ["pytest", "--quiet", "-s", "tests/real/test_end_to_end.py", "-m", "real", "-rs"],  # minutes to be watched
    "real_lessons": ["pytest", "--quiet", "-s", "tests/real/test_lessons.py", "-m", "real", "-rs"],
    "browser": ["pytest", "--quiet", "tests/browser", "-m", "browser and not release", "-rs"],
    "exercises_in_browser": ["pytest", "--quiet", "tests/browser/test_exercises.py", "-m", "release", "-rs"],
    "slides": ["pytest", "--quiet", "tests/browser/test_slides.py", "-rs"],
    "colab": [*PYTEST, "tests/colab", "-m", "colab and not release", "-rs"],
    "colab_lessons": ["pytest", "--quiet", "tests/colab", "-m", "colab and release", "-rs"],
    "lower_bounds": ["tests/colab/lower_bounds.py"],
    "book": ["pytest", "--quiet", "tests/book", "-m", "browser and release", "-rs"],
    "pack": ["pytest", "--quiet", "-s", "tests/classroom/test_in_a_room.py", "-m", "real", "-rs"],
    "students": ["tests/course/run_workbooks.py", "exercises"],
    "skipped": ["tests/course/run_workbooks.py", "lessons"],
    "whole_mutants": ["tests/mutants/library/run.py", "--whole"],
    "many_answers": ["tests/mutants/exercises/run.py", "--seeds", "10"],
    "environment": ["pytest", "--quiet", "tests/project/test_environment.py", "-m", "release", "-rs"],
    "wheels": ["pytest", "--quiet", "tests/project/test_wheels.py", "-m", "release", "-rs"],
}
CHECK = ["lint", "format", "types", "unit"]
RELEASE = [
    "skipped",
    "real_lessons",
    "exercises_in_browser",
    "whole_mutants",
    "many_answers",
    "environment",
    "wheels",
    "slides",
    "book",
    "colab_lessons",
    "lower_bounds",
    "pack",
]  # what takes too long for every change, and must hold before a release
ALL = [part for part in PARTS if part not in RELEASE]
REQUIRED = "real,chromium,bwrap,colab"  # a skip is no verdict on a release


def run(part: str) -> tuple[int, float]:
    """Run one part; return its exit status and its seconds."""
    print(f"\n-- {part} " + "-" * (90 - len(part)), flush=True)
    tool, *arguments = PARTS[part]
    start = time.perf_counter()
    if tool == "pytest":
        arguments += PATIENCE
    command = [sys.executable, *([] if tool.endswith(".py") else ["-m"]), tool, *arguments]
    status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    return status, time.perf_counter() - start


def main(arguments: list[str]) -> int:
    """Run the named parts and print one line for each; 0 only when all of them passed."""
    if arguments == ["release"]:
        return release()
    names = {"check": CHECK, "all": ALL}.get(" ".join(arguments) or "all", arguments)
    if unknown := [name for name in names if name not in PARTS]:
        print(f"no part named {', '.join(unknown)}; there are check, all, release, {', '.join(PARTS)}", file=sys.stderr)
        return 2
    return int(any(status for status, _ in run_all(names).values()))


def release() -> int:
    """Run every part on the tree that is committed, and write down that it passed; 0 only when that is done."""
    sys.path[:0] = [str(ROOT / "course"), str(ROOT)]
    import tested

    os.environ["LORA_LAB_REQUIRE"] = REQUIRED
    try:
        number = tested.tree(ROOT)
        results = run_all([*ALL, *RELEASE])
        if any(status for status, _ in results.values()):
            return 1
        from lora_lab.commands import machine  # and torch, which the parts can do without in this process

        tested.record(ROOT, number, {name: seconds for name, (_, seconds) in results.items()}, machine.describe())
    except (ValueError, OSError) as error:
        print(f"no record of this tree: {error}", file=sys.stderr)
        return 2
    print(f"{tested.RECORD} says so: commit it alone")
    return 0


def run_all(names: list[str]) -> dict[str, tuple[int, float]]:
    """Run the parts, and print verdict and seconds of each."""
    results = {name: run(name) for name in names}
    print(f"\n{'part':<20} {'verdict':<8} {'seconds':>8}")
    for name, (status, seconds) in results.items():
        print(f"{name:<20} {'FAILED' if status else 'passed':<8} {seconds:>8.0f}")
    print(f"{'together':<29} {sum(seconds for _, seconds in results.values()):>8.0f}", flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
