"""Write the table and the figure of `README.md` from the results.

python benchmarks/report.py        # each benchmark does this when it is done
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import class_report
import gpu_report
import graders_report
import matplotlib.pyplot as plt
import world_report
from matplotlib.lines import Line2D

from lora_lab import records, show
from lora_lab.disk import atomic_path

HERE = Path(__file__).parent
ORDER = ("quantize", "linear4bit", "lora", "qlora_step", "kernels_cpu")
PEERS = ("bitsandbytes", "PEFT", "bitsandbytes + PEFT")
SHORT = {"float32": "fp32", "bfloat16": "bf16"}


def load() -> list[dict[str, Any]]:
    """All rows of the speed benchmarks, in the order in which they are told."""
    paths = [HERE / "results" / f"{name}.json" for name in ORDER]
    return [row for path in paths if path.exists() for row in json.loads(path.read_text())["rows"]]


def by_allocator(rows: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """{(what, dtype): {"default": row, "warm": row}}, in order."""
    table: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        table.setdefault((row["what"], row["dtype"]), {})[row["allocator"]] = row
    return table


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table: median ratio, quartiles, and what was aim."""
    lines = ["| | dtype | against | default | aim | warm | aim |", "|---|---|---|---|---|---|---|"]
    for (what, dtype), row in by_allocator(rows).items():
        cells = [what, SHORT[dtype], next(iter(row.values()))["peer"]]
        for allocator in ("default", "warm"):
            measured = row.get(allocator)
            cells.append("{ratio:.2f} ({low:.2f} to {high:.2f})".format(**measured) if measured else "")
            wanted = (measured or {}).get("wanted", {}).get(allocator)
            verdict = "" if wanted is None or not measured else " ✓" if measured["ratio"] >= wanted else " missed"
            cells.append("" if wanted is None else f"{round(wanted, 2):g}{verdict}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def machines() -> str:
    """One line for each machine that measured."""
    named: dict[str, list[str]] = {}
    for path in sorted((HERE / "results").glob("*.json")):
        m = json.loads(path.read_text())["machine"]
        versions = ", ".join(f"{k} {m[k]}" for k in ("torch", "transformers", "peft", "bitsandbytes") if k in m)
        gpu = "" if m.get("gpu", "none") == "none" else f", {m['gpu']}"
        machine = f"{m['processor']}, {m['cores']} cores, {m['threads']} thread{gpu}; {versions}"
        named.setdefault(machine, []).append(path.stem)
    return "\n".join(f"- {', '.join(names)}: {machine}" for machine, names in named.items())


def figure(rows: list[dict[str, Any]]) -> str:
    """Draw `results/speed.png`, and return its alt text."""
    table = by_allocator(rows)
    fig, axes = plt.subplots(figsize=(8.5, 0.42 * len(table) + 1.6))
    for y, row in enumerate(table.values()):
        for allocator, colour, marker, shift in (("default", show.POINT, "o", -0.14), ("warm", show.BLUE, "s", 0.14)):
            if measured := row.get(allocator):
                axes.plot([measured["low"], measured["high"]], [y + shift] * 2, color=colour, linewidth=1.5)
                axes.plot(measured["ratio"], y + shift, marker, color=colour, markersize=6)
                if allocator in measured["wanted"]:
                    axes.plot(measured["wanted"][allocator], y + shift, "|", color="black", markersize=9)
    axes.axvline(1, color=show.CONTEXT, linewidth=1.5)
    axes.set_xscale("log", base=2)
    axes.set_xticks([0.25, 0.5, 1, 2, 4, 8, 16, 32], ["¼", "½", "1", "2", "4", "8", "16", "32"])
    axes.set_yticks(range(len(table)), [f"{what}, {SHORT[dtype]}" for what, dtype in table])
    axes.invert_yaxis()
    axes.set_xlabel("time of the other ÷ time of lora_lab")
    against = [row for row in rows if row["allocator"] == "default" and row["peer"] in PEERS]
    ahead, behind = sum(row["low"] > 1 for row in against), sum(row["high"] < 1 for row in against)
    title = f"Ahead of its peers in {ahead} of {len(against)} tasks, behind in {behind}, with the default allocator"
    fig.suptitle(title, x=0.01, horizontalalignment="left", fontsize=13, fontweight="bold")  # fmt: skip
    fig.legend(handles=[
        Line2D([], [], color=show.POINT, marker="o", label="default allocator"),
        Line2D([], [], color=show.BLUE, marker="s", label="warm allocator"),
        Line2D([], [], color="black", marker="|", linestyle="", markersize=9, label="aim"),
    ], loc="outside lower left", ncols=3)  # fmt: skip
    with atomic_path(HERE / "results" / "speed.png") as temporary:
        fig.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
    plt.close(fig)
    said = [
        f"{what} {SHORT[dtype]} " + " and ".join(f"{row['ratio']:.2f} ({allocator})" for allocator, row in both.items())
        for (what, dtype), both in table.items()
    ]
    return f"Dots for the ratios, and a line at 1. {'; '.join(said)}"


def memory() -> str:
    """Figure and table of the comparisons of memory; empty where one has not been run."""
    measured, between = (_record(f"memory_{name}") for name in ("measured", "estimate"))
    if not (measured and between):
        return ""
    pairs = {
        "simulate, real steps": [(row["measured"], row["simulated"]) for row in measured["rows"]],
        "estimate, real steps": [(row["measured"], row["estimated"]) for row in measured["rows"]],
        "estimate over simulate": [(row["simulate"], row["estimate"]) for row in between["rows"]],
    }
    asked = {"simulate, real steps": "≤ 1 % each", "estimate, real steps": "", "estimate over simulate":
             "≤ 3 % median, ≤ 8 % worst"}  # fmt: skip
    errors = {name: sorted(abs(p / m - 1) for m, p in series) for name, series in pairs.items()}
    worst = max(errors["estimate over simulate"])
    title = f"Closed forms stay within {worst:.1%} of the simulation, and that on the measurement"
    with atomic_path(HERE / "results" / "memory.png") as temporary:
        fig = show.predicted_against_measured(pairs, title, band=0.03)
        fig.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
        plt.close(fig)
    lines = ["| predicted peak against | steps | median error | worst | aim |", "|---|---|---|---|---|"]
    for name, e in errors.items():
        lines.append(f"| {name} | {len(e)} | {e[len(e) // 2]:.2%} | {e[-1]:.2%} | {asked[name]} |")
    alt = "; ".join(f"{name}: worst {e[-1]:.2%} over {len(e)} steps" for name, e in errors.items())
    return f"![Dots on the diagonal, and their errors. {alt}](results/memory.png)\n\n" + "\n".join(lines)


def kernels(record: dict[str, Any]) -> str:
    """What `bench_kernels_cpu.py` found beside ratios; empty where it has not been run."""
    if not record:
        return ""
    calls, seconds, error = record["first_call_seconds"], record["step_seconds"], record["logits_error"]
    lines = ["| seconds in a fresh process, until | to compile | later |", "|---|---|---|"]
    for name, *taken in zip(("Numba is imported", "a weight is quantized and restored", "it is multiplied with, too"),
                            calls["compiled"], calls["cached again"]):  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(f"{each:.2f}" for each in taken) + " |")
    shares = ", ".join(f"{name} {s / seconds['step']:.1%}" for name, s in seconds.items() if name != "step")
    lines += ["", f"One QLoRA step of the real model on one thread: {shares}.", ""]
    off = " and ".join(f"{name}'s by {each:.2g}" for name, each in error.items())
    lines += [f"Its logits in eval mode, relative to those with restored weights in float32, are off: {off}.", ""]
    ms = record["restored_ms"]
    lines += [
        f"Lesson 33's lines of PyTorch restore 4096² into new memory in {ms['lines']:.0f} ms, by `torch.compile` in "
        f"{ms['compiled']:.0f} (and {ms['seconds to compile']:.0f} s to compile), the kernel in {ms['kernel']:.0f}.",
        f"Into memory that is there they take {_each(record['restored_there_ms'])}. One token times the weight, from "
        f"codes, takes {_each(record['fused_ms'])}.",
    ]
    return "\n".join(lines)


def _each(ms: dict[str, float]) -> str:
    return ", ".join(f"{taken:.1f} ms ({name})" for name, taken in ms.items())


def _record(name: str) -> dict[str, Any]:
    path = HERE / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def write() -> None:
    """Replace what stands between the markers of `README.md`."""
    rows = load()
    parts = {
        "speed": f"![{figure(rows)}](results/speed.png)\n\n{markdown(rows)}",
        "kernels": kernels(_record("kernels_cpu")),
        "memory": memory(),
        "world": world_report.markdown(records.load("memory_world")),
        "graders": graders_report.markdown(_record("graders")),
        "gpu": gpu_report.markdown(_record("gpu")),
        "class": class_report.markdown(_record("grading"), _record("checks")),
        "machines": machines(),
    }
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    for name, part in parts.items():
        before, opened, rest = text.partition(f"<!-- {name} -->\n")
        _, closed, after = rest.partition(f"<!-- /{name} -->")
        if not (opened and closed):
            raise ValueError(f"{readme.name} has lost a marker of '{name}': put it back")
        text = f"{before}{opened}{part}\n{closed}{after}"
    with atomic_path(readme) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
