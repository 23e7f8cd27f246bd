"""Record what one learner's kernel takes in each lesson, for a room with one server: memory, and seconds of each cell.

    OMP_NUM_THREADS=1 python course/records/classroom.py       # lora_lab/records/classroom.json; a quarter of an hour
    OMP_NUM_THREADS=1 python course/records/classroom.py 03    # measures one lesson again

The executed notebook runs from top to bottom in a kernel of its own, on the embedded base; where a lesson speaks of the
real model, which is fetched if it is not there, once more on that. Seconds are the kernel's processor time, which other
programs do not lengthen; the peak is the largest resident memory of its process. Linux, by /proc.
"""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from lora_lab import records
from lora_lab.authoring.execution import CELL_SECONDS, ENVIRONMENT, LIBRARY
from lora_lab.commands import machine
from lora_lab.disk import read_json, write_json

FILE = records.FOLDER / "classroom.json"
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def measure(path: Path, model: str) -> dict[str, Any]:
    """One row of the table: a lesson's peak, and the processor seconds of each of its code cells, by the cell's id."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name="python3", resources=place)
    seconds: dict[str, float] = {}
    environment = ENVIRONMENT | {"LORA_LAB_MODEL": model, "PYTHONPATH": str(LIBRARY)}
    with client.setup_kernel(env={**os.environ, **environment}):
        kernel = client.km.provisioner.pid
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type == "code":
                before = processor_seconds(kernel)
                client.execute_cell(cell, number)
                seconds[cell.id] = round(processor_seconds(kernel) - before, 2)
        return {"lesson": path.stem, "model": model, "peak_bytes": peak_bytes(kernel), "seconds": seconds}


def models_of(path: Path) -> list[str]:
    """The models on which a lesson runs without a GPU."""
    return ["embedded", "smollm2"] if 'load_base(\\"smollm2\\")' in path.read_text(encoding="utf-8") else ["embedded"]


def processor_seconds(process: int) -> float:
    """User and system time so far: fields 14 and 15 of /proc/PID/stat, counted behind the name in brackets."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(process: int) -> int:
    """The largest resident size so far, which /proc/PID/status gives in KiB."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) * 1024


def main(again: list[str]) -> None:
    """Measure what is missing, and the lessons that are named."""
    record = read_json(FILE, "delete it") if FILE.is_file() else {"rows": []}
    rows = {(row["lesson"], row["model"]): row for row in record["rows"] if row["lesson"][:2] not in again}
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        for model in models_of(path):
            if (path.stem, model) not in rows:
                row = rows[path.stem, model] = measure(path, model)
                kept = [rows[key] for key in sorted(rows)]
                write_json(FILE, {"unit": "processor seconds", "machine": machine.describe(), "rows": kept})
                words = f"{row['peak_bytes'] / 1e9:.2f} GB, {sum(row['seconds'].values()):.0f} s"
                print(f"{path.stem}, {model}: {words}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
