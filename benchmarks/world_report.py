"""`lora_lab/records/memory_world.json` as Markdown: every measured run with its source, our figure beside it, and what
we miss. `report.py` writes it into README.md."""

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from gpu_report import table

HERE = Path(__file__).parent
Row = dict[str, Any]
MISSED = 0.05
SIDES = ("as run", "as typed")
CAUSES = {  # of runs whose causes are not said in `published/others.json`
    "results/gpu.json": "cuBLAS' workspaces, 69 MB of models of 1.1 to 1.5 GB, are no tensors of a step",
}


def markdown(record: Row) -> str:
    """What stands in `README.md` under "Memory against the world"."""
    t4, others = (json.loads((HERE / "published" / f"{name}.json").read_text()) for name in ("t4", "others"))
    rows = record["rows"]
    on_t4 = [row for row in rows if row["source"] == t4["source"]["name"]]
    parts = [
        _stacks(record["stacks"]),
        f"**T4**, {len(on_t4)} settings of {t4['source']['what']} ({t4['source']['licence']}), as predicted for "
        "`--stack peft-loop --precision fp16`:",
        _groups(on_t4),
        "**Others**",
        _published(rows, others),
        "**Missed** by more than 5 %, or outside the range",
        _missed(rows, others["sources"]),
        "**Left out**",
        "\n".join(f"- [{row['what']}]({row['address']}): {row['why']}" for row in others["left_out"]),
        f"<details><summary>Every run on the T4</summary>\n\n{_each(on_t4)}\n\n</details>",
    ]
    return "\n\n".join(parts) + "\n"


def _stacks(stacks: Row) -> str:
    return table(
        ("`--stack`", "measured runs", "median error", "worst", "on"),
        ([name, s["runs"], f"{s['median']:.1%}", f"{s['worst']:.1%}", s["where"]] for name, s in stacks.items()),
    )


def _groups(rows: list[Row]) -> str:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        method, attention = row["id"].split()[1:3]
        groups.setdefault(f"{method}, {attention}", []).append(row)
    head = ("method, attention", "settings", *(f"{side}: median, worst" for side in SIDES), "process in our range")
    return table(head, (
        [name, len(own), *(_sizes(error(row, side) for row in own) for side in SIDES),
         f"{sum(inside(row) for row in own)} of {len(own)}"] for name, own in groups.items()
    ))  # fmt: skip


def _sizes(errors: Iterable[float]) -> str:
    off = [abs(e) for e in errors]
    return f"{median(off):.1%}, {max(off):.1%}"


def _published(rows: list[Row], others: Row) -> str:
    of = {row["id"]: row for row in rows}
    lines = []
    for row in others["rows"]:
        source, ours = others["sources"][row["source"]], of[row["id"]]
        lines.append([f"[{row['id']}]({source['address']})", source["where"], row["gpu"], row["kind"], row["printed"],
                      f"{ours['as_run'] / 1e9:.2f}", _verdict(ours)])  # fmt: skip
    return table(("run", "where", "GPU", "what", "printed", "our tensors, GB", ""), lines)


def _verdict(row: Row) -> str:
    if row["measured"]:
        return f"{error(row, 'as run'):+.1%}"
    low, high = (f"{size / 1e9:.1f}" for size in row["range"])
    if row["kind"] == "out of memory":
        return f"process {low} to {high} GB"
    return f"{'inside' if inside(row) else 'outside'} {low} to {high} GB"


def _missed(rows: list[Row], sources: Row) -> str:
    lines = []
    for source in dict.fromkeys(row["source"] for row in rows):
        off = [
            row for row in rows if row["source"] == source and row["measured"] and abs(error(row, "as run")) > MISSED
        ]
        if off:
            cause = CAUSES.get(source) or sources[source]["missed"]
            by = [error(row, "as run") for row in off]
            lines.append(f"- {source}, {len(off)} runs, {min(by):+.1%} to {max(by):+.1%}: {cause}")
    for row in rows:
        if "range" in row and row["held"] and not inside(row):
            held, low = row["held"], row["range"][0]
            lines.append(
                f"- {row['id']}: its process held {held / 1e9:.3f} GB, and our range begins at {low / 1e9:.3f}"
            )
    return "\n".join(lines)


def _each(rows: list[Row]) -> str:
    return table(("setting", "measured, GB", *SIDES, "process, GB", "range, GB"), (
        [row["id"], f"{row['measured'] / 1e9:.3f}", *(f"{error(row, side):+.1%}" for side in SIDES),
         f"{row['held'] / 1e9:.2f}", " to ".join(f"{size / 1e9:.2f}" for size in row["range"])] for row in rows
    ))  # fmt: skip


def error(row: Row, side: str) -> float:
    """Predicted over measured, less one."""
    return float(row[side.replace(" ", "_").replace("as_typed", "typed")] / row["measured"] - 1)


def inside(row: Row) -> bool:
    """Whether the process, or the reserve, is where it was expected."""
    return bool(row["range"][0] <= row["held"] <= row["range"][1])
