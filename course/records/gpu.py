"""Take from the benchmarks on a GPU what lessons 10, 11 and 13 show, so that an installed package has it too.

    python course/records/gpu.py              # writes lora_lab/records/gpu.json from benchmarks/results/gpu.json

Nothing is measured here: `benchmarks/gpu.py` has done that.
"""

from pathlib import Path
from typing import Any

from lora_lab import records
from lora_lab.disk import read_json, write_json

SOURCE = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "gpu.json"
SECTIONS = ("paged", "amortise", "equal", "memory")
ABOUT = ("gpu", "driver", "cuda", "python", "torch", "transformers", "peft", "bitsandbytes")


def derived(results: dict[str, Any]) -> dict[str, Any]:
    """The rows that are shown as they stand, each with its section's name and date, and the machine."""
    rows = []
    for name in SECTIONS:
        section = results["sections"][name]
        for row in filter(shown, section["rows"]):
            kept = {key: value for key, value in row.items() if key != "said"}
            rows.append({"section": name, "date": section["date"], **kept})
    return {"machine": {key: results["machine"][key] for key in ABOUT}, "rows": rows}


def shown(row: dict[str, Any]) -> bool:
    """Of layers that were compared, those that were trained; of memory, Llama-3.1-8B under bitsandbytes and PEFT."""
    if row.get("what") in ("Linear4bit", "workspace of cuBLAS"):
        return False
    return "measured" not in row or (row["model"], row["stack"]) == ("llama-3.1-8b", "bitsandbytes + PEFT")


def main() -> None:
    """Write the record."""
    write_json(records.FOLDER / "gpu.json", derived(read_json(SOURCE, "run benchmarks/gpu.py")))


if __name__ == "__main__":
    main()
