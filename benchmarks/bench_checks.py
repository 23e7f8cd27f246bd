"""How fast the checks of the exercises answer: each task's right answer and a wrong one, on one thread.

python benchmarks/bench_checks.py            # about a minute; writes results/checks.json and README.md
"""

import contextlib
import io
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

os.environ["LORA_LAB_PROGRESS"] = "off"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import report  # noqa: E402
import torch  # noqa: E402
from side_by_side import RESULTS  # noqa: E402

from lora_lab.commands import machine  # noqa: E402
from lora_lab.disk import write_json  # noqa: E402
from lora_lab.exercises import check, lessons, tasks  # noqa: E402
from lora_lab.exercises.tasks import Score  # noqa: E402

RUNS = 7


def seconds(name: str, answer: Any) -> tuple[float, float]:
    """The median and the slowest time in which a check answers, each time with other inputs."""
    times = []
    for seed in range(RUNS):
        with contextlib.redirect_stdout(io.StringIO()):
            start = time.perf_counter()
            check(name, answer, seed)
            times.append(time.perf_counter() - start)
    return statistics.median(times), max(times)


def main() -> None:
    """Measure every task of the exercises, and write the results."""
    torch.set_num_threads(1)
    rows = []
    for exercise in lessons.exercises():
        for name in exercise.turns:
            task = tasks.find(name)
            answer = task.reference()
            puzzle = isinstance(task.passes(answer), Score)
            median, slowest = seconds(name, answer)
            rows.append({"exercise": exercise.name, "task": name, "puzzle": puzzle,
                         "median_seconds": round(median, 4), "slowest_seconds": round(slowest, 4)})  # fmt: skip
            print(f"{exercise.name:<28} {name:<28} {median:8.3f} s, slowest {slowest:.3f}", flush=True)
    plain = [row["median_seconds"] for row in rows if not row["puzzle"]]
    print(f"{len(plain)} tasks: half answer within {statistics.median(plain):.3f} s, all within {max(plain):.3f} s")
    write_json(RESULTS / "checks.json", {"machine": machine.describe(), "runs": RUNS, "rows": rows})
    report.write()


if __name__ == "__main__":
    main()
