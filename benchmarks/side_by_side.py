"""Time two ways of doing the same thing, alternately in one process, and report the ratio with its spread.

A machine that slows down slows both, so the ratio of two neighbouring runs is steadier than either time. Each script
measures twice, in processes of their own on one thread:

    default    malloc returns large blocks to the system, so that each fresh 64 MiB are paged in anew
    warm       malloc keeps what it has (as a server with jemalloc or a caching allocator would)
"""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
PATIENCE = 60.0  # seconds, after which three runs of what takes seconds each must do
WARM = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
ALLOCATORS = {"default": {}, "warm": WARM}


@dataclass(frozen=True)
class Pair:
    """Two ways of doing one thing, and by how much ours should be faster.

    Attributes:
        what: the thing, as the table names it.
        dtype: what it is done in.
        peer: whose way the other one is.
        wanted: the least ratio asked for, by allocator.
    """

    what: str
    dtype: str
    peer: str
    wanted: dict[str, float]
    ours: Callable[[], object]
    theirs: Callable[[], object]


def compare(pair: Pair, seconds: float = 4.0, at_least: int = 7) -> dict[str, object]:
    """One row: median and quartiles of theirs / ours, and both medians in milliseconds."""
    pair.ours(), pair.theirs()  # tables, workspaces and thread pools
    gc.collect()
    gc.disable()
    times: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < (at_least if time.perf_counter() < end + PATIENCE else 3):
        order = (pair.ours, pair.theirs) if len(times) % 2 else (pair.theirs, pair.ours)
        taken = {way: _time(way) for way in order}
        times.append((taken[pair.ours], taken[pair.theirs]))
    gc.enable()
    ours, theirs = np.array(times).T
    low, ratio, high = np.quantile(theirs / ours, [0.25, 0.5, 0.75])
    return {
        "what": pair.what, "dtype": pair.dtype, "peer": pair.peer, "wanted": pair.wanted,
        "ratio": round(ratio, 3), "low": round(low, 3), "high": round(high, 3),
        "ours_ms": round(1e3 * float(np.median(ours)), 2), "peer_ms": round(1e3 * float(np.median(theirs)), 2),
        "runs": len(times),
    }  # fmt: skip


def readable(way: Callable[[], object]) -> Callable[[], object]:
    """The same without our kernels."""
    from lora_lab import quant

    def without() -> object:
        with quant.use_kernels(False):
            return way()

    return without


def main(script: str, pairs: Callable[[], Iterator[Pair]], more: Callable[[], dict[str, object]] | None = None) -> None:
    """Measure all pairs under both allocators, write `results/<name>.json` and refresh the README.

    Args:
        script: the file that calls.
        pairs: what is compared.
        more: further parts of the record, measured in a process of their own and printed as JSON.
    """
    if "--measure" in sys.argv:
        for pair in pairs():
            print(json.dumps(compare(pair)), flush=True)
        return
    if "--more" in sys.argv and more is not None:
        print(json.dumps(more()))
        return
    from lora_lab.commands import machine
    from lora_lab.disk import write_json

    name = Path(script).stem.removeprefix("bench_")
    rows = []
    for allocator, settings in ALLOCATORS.items():
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | settings
        with subprocess.Popen([sys.executable, script, "--measure"], env=environment, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL) as child:  # fmt: skip
            for line in child.stdout or ():
                rows.append({"allocator": allocator, **json.loads(line)})
                print("{allocator:<8} {what}, {dtype}: {ratio:.2f}×".format(**rows[-1]), flush=True)
        if child.returncode:
            sys.exit(f"{name}: measuring failed; to see why: python {script} --measure")
    record = {"machine": machine.describe() | {"threads": 1} | _peers(), "rows": rows}
    if more is not None:
        done = subprocess.run([sys.executable, script, "--more"], stdout=subprocess.PIPE, text=True, check=True)
        record |= json.loads(done.stdout.splitlines()[-1])
    RESULTS.mkdir(exist_ok=True)
    write_json(RESULTS / f"{name}.json", record)
    import report

    report.write()


def _time(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def _peers() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("bitsandbytes", "peft", "numba")}
