"""Take from the benchmark of the GPU's kernels what lesson 33 shows, so that an installed package has it too.

    python course/records/kernels.py    # writes lora_lab/records/kernels.json

Nothing is measured here: `benchmarks/bench_kernels_cuda.py` has done that (`benchmarks/results/kernels_cuda.json`).
"""

from pathlib import Path
from typing import Any

from lora_lab import records
from lora_lab.disk import read_json, write_json

SOURCE = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "kernels_cuda.json"
ABOUT = ("gpu", "python", "torch", "triton", "bitsandbytes")


def derived(results: dict[str, Any]) -> dict[str, Any]:
    """Medians in ms of each way, and how many kernels it launches."""
    rows = [
        {
            "what": row["what"],
            "shape": row["shape"],
            "dtype": row["dtype"],
            "ms": {way: median for way, (_, median, _) in row["ms"].items()},
            "launches": row["launches"],
        }
        for row in results["rows"]
    ]
    return {"machine": {key: results["machine"][key] for key in ABOUT}, "rows": rows}


def main() -> None:
    """Write the record."""
    write_json(records.FOLDER / "kernels.json", derived(read_json(SOURCE, "run benchmarks/bench_kernels_cuda.py")))


if __name__ == "__main__":
    main()
