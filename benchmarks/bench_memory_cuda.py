"""Peaks of real training steps against `lora_lab.memory`: on a GPU, or on a CPU at toy size.

python benchmarks/bench_memory_cuda.py                                # prints the rows, which `gpu.py` keeps
python benchmarks/bench_memory_cuda.py benchmarks/results/gpu.json    # predicts its rows again, on any machine

cuBLAS takes a workspace from torch's allocator once and for all, 8 to 32 MiB by the card, for each thread that
multiplies: the one of the forward pass, and the one of the backward pass. They are measured first.
`error_of_estimate` is that of the whole peak, `error_of_estimate_in_tensors` of what remains without the workspace.
"""

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from on_gpu.common import Run
from on_gpu.stacks import OURS, PEFT, PEFT_LOOP, build, stepper
from on_gpu.steps import toy_config
from transformers import LlamaConfig, PreTrainedConfig

from lora_lab import memory
from lora_lab.disk import atomic_path
from lora_lab.memory.presets import load_config
from lora_lab.units import first_line

Row = dict[str, Any]
Case = tuple[str, str, dict[str, Any]]

SMALL = LlamaConfig(vocab_size=32000, hidden_size=1024, intermediate_size=2816, num_hidden_layers=8,
                    num_attention_heads=16, num_key_value_heads=16, max_position_embeddings=4096)  # fmt: skip
OPTIONS = ("method", "precision", "checkpointing", "attention", "batch_size", "seq_len")
STACKS: dict[str, dict[str, Any]] = {  # by the stack that is measured, the one that is predicted, and how it is built
    OURS: {"stack": "lora_lab"},
    PEFT: {"stack": "peft", "upcast_frozen": True, "double_quant": True},
    PEFT_LOOP: {"stack": "peft-loop", "upcast_frozen": True, "double_quant": True},
}


def rows(run: Run) -> Iterator[Row]:
    """One row for each case; one that fails says why."""
    workspace = _workspace(run)
    yield {"what": "workspace of cuBLAS", "bytes": workspace}
    for name, stack, options in _cases(run):
        if run.left() < 15:
            yield {"model": name, "stack": stack, **options, "status": "not measured: the time was up"}
            continue
        try:
            seen = _measured(run, config_of(name), stack, options, workspace)
            yield {"model": name, "stack": stack, **options, **seen}
        except (RuntimeError, ValueError) as error:
            yield {"model": name, "stack": stack, **options, "status": f"failed: {first_line(error)[:200]}"}
        run.free()


def _cases(run: Run) -> Iterator[Case]:
    if run.toy:
        length: dict[str, Any] = {"batch_size": 2, "seq_len": 32}
        for method in memory.METHODS:
            yield "toy", OURS, {"method": method, "precision": "mixed", **length}
        for stack in (PEFT, PEFT_LOOP):
            yield "toy", stack, {"method": "qlora", **length}
        return
    one: dict[str, Any] = {"batch_size": 1, "seq_len": 2048}
    for method, precision in (("full", "bf16"), ("full", "mixed"), ("lora", "mixed"), ("qlora", "mixed")):
        for checkpointing in (False, True):
            yield (
                "llama-3.2-1b",
                OURS,
                {"method": method, "precision": precision, "checkpointing": checkpointing, **one},
            )
    for name in ("llama-3.2-1b", "llama-3.1-8b"):
        for stack in (PEFT, PEFT_LOOP):
            yield name, stack, {"method": "qlora", "checkpointing": True, **one}
    for seq_len in (512, 2048):
        for method in ("lora", "qlora"):
            yield "llama-3.1-8b", OURS, {"method": method, "precision": "mixed", "checkpointing": True, "batch_size": 1,
                                         "seq_len": seq_len}  # fmt: skip
    length = {"batch_size": 2, "seq_len": 1024}
    for method in memory.METHODS:
        for precision in ("mixed", "bf16", "fp32"):
            for checkpointing in (False, True):
                yield (
                    "small",
                    OURS,
                    {"method": method, "precision": precision, "checkpointing": checkpointing, **length},
                )
        yield "small", OURS, {"method": method, "precision": "mixed", "attention": "eager", **length}
    yield "small", OURS, {"method": "full", "precision": "fp32", "attention": "eager", **length}
    for stack in (PEFT, PEFT_LOOP):
        for checkpointing in (False, True):
            yield "small", stack, {"method": "qlora", "checkpointing": checkpointing, **length}
        yield "small", stack, {"method": "qlora", "attention": "eager", **length}
    for method in memory.METHODS:
        for checkpointing in (False, True):
            yield (
                "smollm2-135m",
                OURS,
                {"method": method, "precision": "mixed", "checkpointing": checkpointing, **length},
            )


def config_of(name: str) -> PreTrainedConfig:
    """Of a model that is measured."""
    return {"toy": toy_config(), "small": SMALL}.get(name) or load_config(name)


def _measured(run: Run, config: PreTrainedConfig, stack: str, options: dict[str, Any], workspace: int) -> Row:
    told = asked(stack, options)
    if stack == OURS:
        model, step = memory.real_step(memory.Setup(config, **options), device=run.device)
    else:
        model = build(config, stack, options["method"], run.device, upcast=True, attention=options.get(
            "attention", "sdpa"), checkpointing=options.get("checkpointing", False))  # fmt: skip
        ids = torch.randint(512, (options["batch_size"], options["seq_len"]), device=run.device)
        step = stepper(model, stack, ids, keep_outputs=stack == PEFT_LOOP)  # type: ignore[assignment]
    seen = memory.measure(model, step)
    predicted = memory.estimate(config, **told)
    row: Row = {"status": "done", "measured": seen.peak_bytes, "phase": seen.peak_phase, "process": seen.process}
    row |= _against("estimate", predicted.peak_bytes, seen.peak_bytes, workspace)
    row["predicted_phase"] = predicted.peak_phase
    if run.device == "cpu" and stack == OURS:  # it needs no GPU, whose time is dear: see `predict`
        row |= _against("simulate", memory.simulate(config, **told).peak_bytes, seen.peak_bytes, workspace)
    return row


def asked(stack: str, row: dict[str, Any]) -> dict[str, Any]:
    """What a prediction is asked for a row: its own settings, before those that its stack would choose."""
    return {"checkpointing": False, **{key: row[key] for key in OPTIONS if key in row}, **STACKS[stack]}


def _against(way: str, predicted: int, measured: int, workspace: int) -> Row:
    return {way: predicted, f"error_of_{way}": round(predicted / measured - 1, 5),
            f"error_of_{way}_in_tensors": round(predicted / (measured - workspace) - 1, 5)}  # fmt: skip


def _workspace(run: Run) -> int:
    """Bytes that stay allocated after products of every kind that a step makes."""
    if run.device != "cuda":
        return 0
    before = torch.cuda.memory_allocated()
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(256, 256, device="cuda", dtype=dtype, requires_grad=True)
        _ = a @ a + torch.addmm(a, a, a) + torch.nn.functional.linear(a, a, a[0]) + torch.bmm(a[None], a[None])[0]
        _.sum().backward()
        del a, _
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated() - before


def predict(record: dict[str, Any], simulated: tuple[str, ...] = ("small", "smollm2-135m")) -> None:
    """Put what is predicted today into the rows of a record of `gpu.py`, without a GPU: `memory.estimate` at once, and
    for our layers in the `simulated` models `memory.simulate`, which takes minutes."""
    measured = record["sections"]["memory"]["rows"]
    workspace = measured[0]["bytes"]
    for row in measured:
        if row.get("status") == "done":
            config, told = config_of(row["model"]), asked(row["stack"], row)
            predicted = memory.estimate(config, **told)
            row |= _against("estimate", predicted.peak_bytes, row["measured"], workspace)
            row["predicted_phase"] = predicted.peak_phase
            if row["stack"] == OURS and row["model"] in simulated:
                peak = memory.simulate(config, **told).peak_bytes
                row |= _against("simulate", peak, row["measured"], workspace)


def main() -> int:
    """Print every row, and how far the estimate of each stack was off; or simulate the rows of a file of `gpu.py`."""
    warnings.filterwarnings("ignore")
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        record = json.loads(path.read_text(encoding="utf-8"))
        predict(record)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")
        return 0
    toy = not torch.cuda.is_available()
    errors: dict[str, list[float]] = {}
    for row in rows(Run("cpu" if toy else "cuda", toy)):
        print(row, flush=True)
        if row.get("status") == "done":
            errors.setdefault(row["stack"], []).append(abs(row["error_of_estimate"]))
    for stack, off in errors.items():
        print(f"{stack}: {len(off)} steps, median {sorted(off)[len(off) // 2]:.2%}, worst {max(off):.2%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
