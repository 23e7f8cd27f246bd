"""Measured runs of other people and ours, and what `memory.estimate` says: `lora_lab/records/memory_world.json`.

    python benchmarks/memory_world.py       # a second of closed forms, then the tables of README.md

Runs of other people are in `published/`, each with its source; ours on a GPU in `results/gpu.json`. Each is predicted
twice: with its settings as really run, and as a user would type it, the rest being what the stack says by default.
What an estimate cannot say of a run is counted by hand, tensor by tensor: see `BESIDE`.
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench_memory_cuda import asked, config_of
from transformers import AutoConfig, PreTrainedConfig

from lora_lab import memory
from lora_lab.disk import atomic_path
from lora_lab.memory.closed_form import loss_bytes
from lora_lab.memory.gpus import FRAGMENTATION
from lora_lab.memory.settings import Setup
from lora_lab.memory.shapes import parameters
from lora_lab.memory.sizes import Sizes, sizes
from lora_lab.memory.stacks import STACKS

HERE = Path(__file__).parent
RECORD = HERE.parent / "lora_lab" / "records" / "memory_world.json"
Row = dict[str, Any]

TYPED = ("stack", "method", "r", "target_modules", "batch_size", "seq_len")  # by a user; the stack says the rest
_GROUPS = ("method", "parameters", "in_use")  # of a run, for summing up; not written with it
HOW = {"peft": "a loop under autocast as the Trainer's"}  # benchmarks/on_gpu/stacks.py
CARDS = {"T4": memory.get_gpu("t4"), "H100": memory.get_gpu("h100"), "A100-SXM4-40GB": memory.get_gpu("a100-40gb")}


def rows() -> list[Row]:
    """Every run: what it is, what was measured, what is predicted."""
    return [*_t4(), *_h100(), *_others()]


def summary(runs: list[Row]) -> dict[str, Row]:
    """By stack, the error of what a user types: how many runs, the median and the largest of its sizes, and where."""
    found: dict[str, Row] = {}
    for name in STACKS:
        own = [run for run in runs if run["stack"] == name and run["measured"]]
        if own:
            off = [abs(run["typed"] / run["measured"] - 1) for run in own]
            found[name] = {"runs": len(own), "median": round(statistics.median(off), 4), "worst": round(max(off), 4),
                           "where": ", ".join(dict.fromkeys(run["gpu"] for run in own))}  # fmt: skip
    return found


def methods(runs: list[Row]) -> dict[str, dict[str, Row]]:
    """By stack and method the same of runs on a known card, with the largest model's parameters; of the others, how
    many there are and between what their errors lie."""
    found: dict[str, dict[str, Row]] = {}
    for name in STACKS:
        for method in memory.METHODS:
            own = [run for run in runs if run["stack"] == name and run["method"] == method and run["measured"]]
            known = [run for run in own if run["gpu"] != "unstated"]
            if known:
                said = summary(known)[name] | {"parameters": max(run["parameters"] for run in known)}
                said |= {"how": HOW[name]} if name in HOW else {}
                if unknown := [run["typed"] / run["measured"] - 1 for run in own if run["gpu"] == "unstated"]:
                    off = [round(min(unknown), 4), round(max(unknown), 4)]
                    said |= {"unstated": {"runs": len(unknown), "errors": off}}
                found.setdefault(name, {})[method] = said
    return found


def processes(runs: list[Row]) -> dict[str, Row]:
    """By card, of how many processes it is known what they held, and how many of them lie in the range that is printed.

    What one on the H100 held includes what building its model took.
    """
    found: dict[str, Row] = {}
    for run in runs:
        if held := run.get("held" if run["gpu"] == "T4" else "in_use"):
            low, high = memory.process_bytes(run["typed"], CARDS[run["gpu"]])
            said = found.setdefault(run["gpu"], {"runs": 0, "inside": 0})
            said["runs"] += 1
            said["inside"] += low <= held <= high
    return found


def record() -> Row:
    """What is written."""
    runs = rows()
    return {
        "command": "python benchmarks/memory_world.py",
        "unit": "bytes; errors are shares of what was measured",
        "stacks": summary(runs),
        "methods": methods(runs),
        "processes": processes(runs),
        "rows": [{key: value for key, value in run.items() if key not in _GROUPS} for run in runs],
    }


def _t4() -> Iterator[Row]:
    table = _published("t4")
    for row in table["rows"]:
        run = {key: row[key] for key in ("method", "r", "batch_size", "seq_len", "attention")}
        settings = table["settings"][row["method"]] | run
        typed = [*TYPED, "attention", "precision", *["checkpointing"] * (row["method"] == "lora")]
        name = f"{row['model'].split('/')[1]} {row['method']} {row['attention']} r{row['r']} {_batch(row)}"
        config = _architecture(json.dumps(table["models"][row["model"]]))
        told = {"source": table["source"]["name"], "gpu": "T4", "kind": "allocated"}
        yield _row(name, config, settings, typed, told, row["allocated"], row["process"])


def _h100() -> Iterator[Row]:
    """What the process held stands in no row of the record: it includes what building the model took."""
    for row in json.loads((HERE / "results" / "gpu.json").read_text())["sections"]["memory"]["rows"]:
        if row.get("status") == "done":
            settings = asked(row["stack"], row)
            how = [row["model"], row["method"], row.get("precision"), row.get("attention"),
                   "checkpointed" * row.get("checkpointing", False), _batch(row)]  # fmt: skip
            told = {"source": "results/gpu.json", "gpu": "H100", "kind": "allocated"}
            name, config = " ".join(filter(None, how)), config_of(row["model"])
            run = _row(name, config, settings, settings, told, row["measured"], None)
            yield run | {"in_use": row["process"]["in use on the device"]}


def _others() -> Iterator[Row]:
    for row in _published("others")["rows"]:
        told = {key: row[key] for key in ("source", "gpu", "kind")}
        measured, reserved = (None, row["bytes"]) if row["kind"] == "reserved" else (row["bytes"], None)
        if row["kind"] == "loss":
            predicted = loss_bytes(Setup(row["model"], **row["settings"]))["gradient" in row["note"]]
            ours = {"as_run": predicted, "typed": predicted}
            yield {"id": row["id"], "stack": None, **told, "measured": measured, **ours}
        else:
            typed = row.get("typed", row["settings"])
            yield _row(row["id"], row["model"], row["settings"], typed, told, measured, reserved)


def _row(name: str, config: Any, settings: Row, typed: Iterable[str], told: Row, measured: int | None,
         held: int | None) -> Row:  # fmt: skip
    """One run: what was `measured` of its tensors, what its process or allocator `held`, and both predictions."""
    beside = sum(BESIDE[told["source"]](sizes(config), settings).values()) if told["source"] in BESIDE else 0
    as_run = memory.estimate(config, **settings).peak_bytes + beside
    as_typed = memory.estimate(config, **{key: settings[key] for key in typed if key in settings}).peak_bytes + beside
    ours = {"as_run": as_run, "typed": as_typed}
    row = {"id": name, "stack": settings.get("stack"), **told, "measured": measured, **ours}
    row |= {"method": settings["method"], "parameters": parameters(config).total}
    if held or told["kind"] == "out of memory":
        row |= {"held": held, "range": _range(as_typed, told)}
    return row


def _range(tensors: int, told: Row) -> list[int]:
    """Least and most that the process is likely to hold; of a row that says what was reserved, without the context."""
    if told["kind"] == "reserved":
        return [round(tensors * (1 + fragments)) for fragments in FRAGMENTATION]
    return list(memory.process_bytes(tensors, CARDS[told["gpu"]]))


def litgpt(s: Sizes, settings: Row) -> dict[str, int]:
    """Bytes in which litgpt at commit 8641822 differs from layers of transformers with adapters of ours, by what keeps
    them (lit_gpt/lora.py, model.py, rmsnorm.py, utils.py; bitsandbytes 0.41.1, autograd/_functions.py)."""
    tokens = settings["batch_size"] * settings["seq_len"]
    each = 2 * tokens * s.layers  # 16 bits a token and layer
    found = {
        "the value is a view of query, key and value, and keeps them": each * (s.q_width + s.kv_width),
        "the update of query and value, before it is padded for the key": each * (s.q_width + s.kv_width),
        "query and value share one dropout": -3 * tokens * s.layers * s.hidden,
        "norms keep their input in 16 bits": -2 * each * s.hidden,
        "the loss keeps logits and their log-softmax, in 16 bits": -8 * s.vocab * tokens,
    }
    if settings["method"] == "qlora":  # fixed in bitsandbytes 0.43.2, commit 9e753741
        inputs = 2 * s.hidden + s.intermediate  # but attention's output, which it keeps anyway
        found["the inputs of 4-bit products"] = each * inputs
    return found


BESIDE: dict[str, Callable[[Sizes, Row], dict[str, int]]] = {"litgpt": litgpt}


def _batch(row: Row) -> str:
    return f"{row['batch_size']}x{row['seq_len']}"


@lru_cache
def _architecture(written: str) -> PreTrainedConfig:
    said = json.loads(written)
    return AutoConfig.for_model(said.pop("model_type"), **said)


def _published(name: str) -> Row:
    found: Row = json.loads((HERE / "published" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def written(record: Row) -> str:
    """As JSON with a row a line."""
    lines = ",\n".join("  " + json.dumps(row) for row in record["rows"])
    head = json.dumps({key: value for key, value in record.items() if key != "rows"}, indent=1)
    return head.removesuffix("\n}") + f',\n "rows": [\n{lines}\n ]\n}}\n'


def main() -> int:
    """Write the record, and say what it holds."""
    made = record()
    with atomic_path(RECORD) as temporary:
        temporary.write_text(written(made), encoding="utf-8")
    for name, found in made["stacks"].items():
        errors = f"median {found['median']:.1%}, worst {found['worst']:.1%}"
        print(f"{name:10} {found['runs']} runs ({found['where']}): {errors}")
    import report  # after the record, which it reads

    report.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
