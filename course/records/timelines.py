"""Record what is alive from moment to moment of one simulated step of Llama-3.1-8B, without and with checkpointing.

    python course/records/timelines.py        # writes lora_lab/records/timelines.json; about half a minute on one core

A simulated step has some ten thousand moments, and a figure some hundred places: of each stretch of a phase the fullest
moment is kept, so that every phase keeps its peak. No seed: memory depends on shapes alone.
"""

from typing import Any

from lora_lab import memory, records
from lora_lab.commands import machine
from lora_lab.disk import read_json, write_json

FILE = records.FOLDER / "timelines.json"
MODEL, METHOD, TOKENS, PLACES = "llama-3.1-8b", "qlora", 2048, 48
RUNS = {"without checkpointing": False, "with checkpointing": True}


def measure(run: str) -> dict[str, Any]:
    """One row of the table."""
    step = memory.simulate(MODEL, METHOD, seq_len=TOKENS, checkpointing=RUNS[run])
    return {"run": run, "peak_bytes": step.peak_bytes, "peak_phase": step.peak_phase, "moments": thinned(step.timeline)}


def thinned(timeline: tuple[memory.Moment, ...]) -> list[list[Any]]:
    """Of each phase at most so many moments, in order, as [phase, bytes by component]: the fullest of each stretch."""
    kept = []
    for phase in memory.PHASES:
        there = [moment for moment in timeline if moment.phase == phase]
        size = max(1, -(-len(there) // PLACES))
        for start in range(0, len(there), size):
            fullest = max(there[start : start + size], key=lambda moment: moment.total)
            kept.append([phase, list(fullest.bytes)])
    return kept


def main() -> None:
    """Measure what is missing."""
    record = read_json(FILE, "delete it") if FILE.is_file() else {"rows": []}
    about = {"model": MODEL, "method": METHOD, "tokens": TOKENS, "stack": "lora_lab", "unit": "bytes"}
    record = about | {"components": list(memory.COMPONENTS), "machine": machine.describe(), "rows": record["rows"]}
    for run in RUNS:
        if run not in {row["run"] for row in record["rows"]}:
            record["rows"].append(measure(run))
            write_json(FILE, record)


if __name__ == "__main__":
    main()
