"""The record of `gpu.py` as Markdown tables: a table for each section, and what became of the sections without one.

python benchmarks/gpu_report.py FILE      # prints them; `report.py` writes them into README.md
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def markdown(record: dict[str, Any]) -> str:
    """What stands in `README.md` under "On a GPU"."""
    if not record:
        return "Nothing has been measured yet.\n"
    m = record["machine"]
    versions = ", ".join(
        f"{k} {m[k]}" for k in ("torch", "cuda", "triton", "transformers", "peft", "bitsandbytes") if k in m
    )
    on = f"{m['gpu']}, driver {m.get('driver', 'none')}; Python {m['python']}, {versions}"
    parts = [f"{on}. Command: `{record['command']}`."]
    for name, section in record["sections"].items():
        rows = [row for row in section["rows"] if row.get("status", "done") == "done"]
        parts.append(f"**{TITLES.get(name, name)}** ({section['status']}; {section['on']}, {section['date']})")
        if rows and name in TABLES:
            parts.append(TABLES[name](rows))
        if lost := [row for row in section["rows"] if row.get("status", "done") != "done"]:
            parts.append("\n".join(f"- {_which(row)}: {row['status']}" for row in lost))
    return "\n\n".join(parts) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _bandwidth(rows: list[Row]) -> str:
    return table(("MiB", "GB/s"), ((row["mib"], f"{row['gb_s']:,.0f}") for row in rows))


def _speed(rows: list[Row]) -> str:
    ways = list(dict.fromkeys(way for row in rows for way in row["ways"]))
    head = ["weight", "dtype", "double quant.", *(f"{way}, ms (share of a copy)" for way in ways), "differ"]
    lines = []
    for row in rows:
        taken = (row["ways"].get(way) for way in ways)
        cells = [f"{t['ms']:.3f} ({t['of_copy']:.0%})" if t else "" for t in taken]
        differ = [f"{row[key]:,} {key.partition('_')[0]}" for key in row if key.endswith("that_differ")]
        lines.append([_shape(row), row["dtype"], "yes" if row["double_quant"] else "no", *cells, ", ".join(differ)])
    return table(head, lines)


def _kernels(rows: list[Row]) -> str:
    checks = [row for row in rows if "equal" in row]
    timed = [row for row in rows if "ways" in row]
    said = f"{sum(row['equal'] for row in checks)} of {len(checks)} cases equal the readable path bit for bit."
    if not timed:
        return said
    ways = list(timed[0]["ways"])
    lines = (
        [_shape(row), row["dtype"], row["tokens"], *(f"{row['ways'][way]['ms']:.3f}" for way in ways)] for row in timed
    )
    return said + "\n\n" + table(["Linear4bit", "dtype", "tokens", *(f"{way}, ms" for way in ways)], lines)


def _one_token(rows: list[Row]) -> str:
    ways = list(rows[0]["ways"])
    lines = []
    for row in rows:
        taken = [row["ways"][way] for way in ways]
        lines.append([_shape(row), row["dtype"], *(f"{1e3 * t['ms']:.1f} ({t['of_copy']:.0%})" for t in taken)])
    return table(["weight", "dtype", *(f"{way}, µs (share of a copy)" for way in ways)], lines)


def _equal(rows: list[Row]) -> str:
    parts = ("forward", "gradient", "forward without gradient")
    layers = [row for row in rows if "tokens" in row]
    lines = [[_shape(row), row["dtype"], row["tokens"], *(_apart(row.get(part)) for part in parts)] for row in layers]
    told = "\n".join(
        f"- {row['steps']} steps of the embedded base in {row['dtype']}: losses of the two at most "
        f"{row['largest_difference']:.2g} apart, at the end {row['lora_lab'][-1]:.4f} and "
        f"{row['bitsandbytes + PEFT'][-1]:.4f}"
        for row in rows
        if "steps" in row
    )
    return table(["Linear4bit", "dtype", "tokens", *parts], lines) + "\n\n" + told


def _apart(compared: Row | None) -> str:
    if not compared:
        return ""
    return "equal" if compared["equal"] else f"{compared['largest_difference']:.2g} of {compared['largest_value']:.2g}"


def _amortise(rows: list[Row]) -> str:
    ways, stacks = list(rows[0]["ways"]), list(rows[0]["slowdown"])
    head = ["tokens", *(f"{way}, ms" for way in ways), *(f"slowdown, {stack}" for stack in stacks)]
    return table(head, (
        [f"{row['tokens']:,}", *(f"{row['ways'][way]['ms']:.2f}" for way in ways),
         *(f"{row['slowdown'][stack]:.2f}" for stack in stacks)] for row in rows
    ))  # fmt: skip


def _steps(rows: list[Row]) -> str:
    head = ("model", "tokens", "stack", "ms", "tokens/s", "peak, GB", "reserved, GB", "estimate of ours, GB")
    return table(head, (
        [row["model"], row["seq_len"], row["stack"], f"{row['ms']:.0f} ({row['low']:.0f} to {row['high']:.0f})",
         f"{row['tokens_per_s']:,.0f}", _gb(row.get("peak_allocated")), _gb(row.get("peak_reserved")),
         _gb(row["estimate"])]
        for row in rows
    ))  # fmt: skip


def _memory(rows: list[Row]) -> str:
    rows = [row for row in rows if "measured" in row]
    lines = []
    for stack in dict.fromkeys(row["stack"] for row in rows):
        for way in ("estimate", "simulate"):
            for key, what in (
                (f"error_of_{way}", "whole peak"),
                (f"error_of_{way}_in_tensors", "without cuBLAS' workspace"),
            ):
                off = sorted(abs(row[key]) for row in rows if row["stack"] == stack and key in row)
                if off:
                    lines.append([stack, way, what, len(off), f"{off[len(off) // 2]:.2%}", f"{off[-1]:.2%}"])
    summary = table(("stack", "predicted by", "against", "steps", "median error", "worst"), lines)
    each = table(("model", "stack", "setting", "measured, GB", "estimate", "in tensors"), (
        [row["model"], row["stack"], _setting(row), f"{row['measured'] / 1e9:.3f}", f"{row['error_of_estimate']:+.1%}",
         f"{row['error_of_estimate_in_tensors']:+.1%}"] for row in rows
    ))  # fmt: skip
    return f"{summary}\n\n<details><summary>Every step</summary>\n\n{each}\n\n</details>"


def _setting(row: Row) -> str:
    parts = [
        row["method"],
        row.get("precision", ""),
        row.get("attention", ""),
        "checkpointed" * bool(row.get("checkpointing")),
    ]
    return " ".join(filter(None, [*parts, f"{row['batch_size']}×{row['seq_len']}"]))


def _real(rows: list[Row]) -> str:
    head = ("method", "seed", "exact match before", "after", "seconds", "tokens/s", "peak, GB", "estimate, GB")
    return table(head, (
        [row["method"], row["seed"], f"{row['exact_before']:.1%}", f"{row['exact_after']:.1%}", f"{row['seconds']:.1f}",
         f"{row['tokens_per_s']:,.0f}", _gb(row.get("peak_allocated")), _gb(row["estimate"])] for row in rows
    ))  # fmt: skip


def _lesson(rows: list[Row]) -> str:
    head = ("model", "seed", "stack", "dtype", "steps", "loss, first", "last", "tokens/s", "peak, GB", "estimate, GB",
            "held-out loss", "exact match")  # fmt: skip
    lines = table(head, (
        [row["model"], row["seed"], row["stack"], row["dtype"], row["steps"], f"{row['losses'][0]:.4f}",
         f"{row['losses'][-1]:.4f}", f"{row['tokens_per_s']:,.0f}", _gb(row.get("peak_allocated")),
         _gb(row["estimate"]), f"{row['heldout_loss']:.4f}", f"{row['exact']:.1%}"] for row in rows
    ))  # fmt: skip
    runs: dict[tuple[str, int], list[list[float]]] = {}
    for row in rows:
        runs.setdefault((row["model"], row["seed"]), []).append(row["losses"])
    told = [
        f"- {model}, seed {seed}: losses of the two at most {max(abs(a - b) for a, b in zip(*curves)):.2g} apart"
        for (model, seed), curves in runs.items()
        if len(curves) == 2
    ]
    return "\n\n".join([lines, "\n".join(told)])


def _paged(rows: list[Row]) -> str:
    head = ("optimizer", "limit, GB", "short step", "long step", "states, GB", "paged of them", "ms",
            "ms, states on the host")  # fmt: skip
    from_host = {row["optimizer"]: row["ms"] for row in rows if row["what"].startswith("states on the host")}
    return table(head, (
        [row["optimizer"], _gb(row["limit"]), row["short_step"], row["long_step"], _gb(row["states"]),
         _gb(row["of_them_paged"]), _ms(row.get("ms", {}).get("ms")), _ms(from_host.get(row["optimizer"]))]
        for row in rows if "short_step" in row
    ))  # fmt: skip


def _ms(milliseconds: float | None) -> str:
    return "" if milliseconds is None else f"{milliseconds:.0f}"


def _gb(size: int | None) -> str:
    return "" if size is None else f"{size / 1e9:.2f}"


def _shape(row: Row) -> str:
    return " × ".join(map(str, row["shape"]))


def _which(row: Row) -> str:
    return " ".join(str(row[key]) for key in ("model", "stack", "method", "precision", "seq_len") if key in row)


TITLES = {
    "bandwidth": "Copying within the GPU's memory",
    "quantize": "Quantizing",
    "dequantize": "Restoring",
    "kernels": "Kernels",
    "one_token": "One token without the host: a graph of many layers, with double quantization",
    "equal": "The same numbers as bitsandbytes",
    "amortise": "What four bits cost by tokens per pass",
    "memory": "Peaks predicted and measured",
    "qlora_step": "A QLoRA step, ours against bitsandbytes + PEFT",
    "real": "The real model's fine-tune",
    "lesson": "A lesson's fine-tune by both 4-bit layers: one model, data, start and loop",
    "paged": "A spike under a limit of memory",
}
TABLES: dict[str, Callable[[list[Row]], str]] = {
    "bandwidth": _bandwidth, "quantize": _speed, "dequantize": _speed, "kernels": _kernels,
    "one_token": _one_token, "equal": _equal,
    "amortise": _amortise, "memory": _memory, "qlora_step": _steps, "real": _real, "lesson": _lesson,
    "paged": _paged,
}  # fmt: skip


if __name__ == "__main__":
    print(markdown(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
