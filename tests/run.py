"""The test run in its parts, with the time of each: `python tests/run.py [check | all | release | part ...]`.

Every part runs even when one before it failed, so that one run tells everything. Works the same with and without make.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = ["pytest", "--quiet", "-n", "2", "--dist", "loadfile"]  # two at a time; a file's tests stay together, in order
PARTS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "--quiet", "."],
    "types": ["mypy"],
    "unit": [*PYTEST, "--doctest-modules", "lora_lab", "tests", "-m", "not slow and not browser and not real"],
    "slow": [*PYTEST, "tests", "-m", "slow and not real"],
    "drift": ["course/build.py", "--check"],
    "notebooks": [*PYTEST, "--nbval", *[folder for folder in ("notebooks", "solutions") if (ROOT / folder).is_dir()]],
    "mutants": ["tests/mutants/library/run.py"],
    "answers": ["tests/mutants/exercises/run.py"],
    "hostile": ["tests/hostile/run.py"],
    "real": ["pytest", "--quiet", "-s", "tests/real/test_end_to_end.py", "-m", "real", "-rs"],  # minutes to be watched
    "real_lessons": ["pytest", "--quiet", "-s", "tests/real/test_lessons.py", "-m", "real", "-rs"],
    "browser": ["pytest", "--quiet", "tests/browser", "-m", "browser and not release", "-rs"],
    "exercises_in_browser": ["pytest", "--quiet", "tests/browser", "-m", "browser and release", "-rs"],
    "students": ["tests/course/run_workbooks.py", "exercises"],
    "skipped": ["tests/course/run_workbooks.py", "lessons"],
}
CHECK = ["lint", "format", "types", "unit"]
RELEASE = [
    "skipped",
    "real_lessons",
    "exercises_in_browser",
]  # what takes too long for every change, and must hold before a release
ALL = [part for part in PARTS if part not in RELEASE]


def run(part: str) -> tuple[int, float]:
    """Run one part; return its exit status and its seconds."""
    print(f"\n-- {part} " + "-" * (90 - len(part)), flush=True)
    tool, *arguments = PARTS[part]
    start = time.perf_counter()
    command = [sys.executable, *([] if tool.endswith(".py") else ["-m"]), tool, *arguments]
    status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode
    return status, time.perf_counter() - start


def main(arguments: list[str]) -> int:
    """Run the named parts and print one line for each; 0 only when all of them passed."""
    names = {"check": CHECK, "all": ALL, "release": RELEASE}.get(" ".join(arguments) or "all", arguments)
    if unknown := [name for name in names if name not in PARTS]:
        print(f"no part named {', '.join(unknown)}; there are check, all, release, {', '.join(PARTS)}", file=sys.stderr)
        return 2
    results = {name: run(name) for name in names}
    print(f"\n{'part':<12} {'verdict':<8} {'seconds':>8}")
    for name, (status, seconds) in results.items():
        print(f"{name:<12} {'FAILED' if status else 'passed':<8} {seconds:>8.0f}")
    print(f"{'together':<21} {sum(seconds for _, seconds in results.values()):>8.0f}", flush=True)
    return int(any(status for status, _ in results.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
