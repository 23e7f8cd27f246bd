"""The closed forms against the simulated step, on models from 124 M to 72 B: `memory.estimate` and `memory.simulate`.

    python benchmarks/bench_memory_estimate.py       # about ten minutes; writes results/memory_estimate.json

Asked for: at most 3 % apart in the median and 8 % in the worst case. No weights, no GPU: both count from a config.
"""

import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from transformers.utils import logging

from lora_lab import memory
from lora_lab.commands import machine
from lora_lab.disk import write_json

RESULT = Path(__file__).parent / "results" / "memory_estimate.json"
MEDIAN, WORST = 0.03, 0.08

# What people do, and the corners: each method, precision and optimizer, short and long, few and many tokens.
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("gpt2", "full", {"seq_len": 512, "batch_size": 4}),
    ("gpt2-medium", "full", {"seq_len": 1024, "precision": "bf16", "checkpointing": True}),
    ("smollm2-135m", "full", {"seq_len": 512, "batch_size": 8}),
    ("smollm2-135m", "lora", {"seq_len": 512, "batch_size": 4}),
    ("smollm2-135m", "qlora", {"seq_len": 2048, "checkpointing": True}),
    ("smollm2-360m", "full", {"seq_len": 1024, "attention": "eager"}),
    ("smollm2-360m", "lora", {"seq_len": 2048, "precision": "fp32", "target_modules": ["q_proj", "v_proj"]}),
    ("qwen2.5-0.5b", "full", {"seq_len": 1024, "precision": "bf16", "checkpointing": True}),
    ("qwen2.5-0.5b", "lora", {"seq_len": 512, "batch_size": 2, "keep_outputs": True}),
    ("qwen2.5-0.5b", "lora", {"seq_len": 4096, "chunked_loss": 512}),
    ("qwen3-0.6b", "full", {"seq_len": 2048, "optimizer": "adafactor", "checkpointing": True, "accumulation": 4}),
    ("qwen3-0.6b", "qlora", {"seq_len": 2048, "batch_size": 4, "checkpointing": True, "chunked_loss": 1024}),
    ("gemma-3-1b", "full", {"seq_len": 256, "batch_size": 8, "optimizer": "sgd"}),
    ("gemma-3-1b", "qlora", {"seq_len": 2048, "r": 64}),
    ("llama-3.2-1b", "full", {"seq_len": 2048}),
    ("llama-3.2-1b", "full", {"seq_len": 4096, "precision": "bf16", "checkpointing": True, "chunked_loss": 512}),
    ("llama-3.2-1b", "qlora", {"seq_len": 2048, "upcast_frozen": True, "checkpointing": True}),
    ("qwen2.5-1.5b", "lora", {"seq_len": 512}),
    ("qwen2.5-1.5b", "lora", {"seq_len": 2048, "attention": "eager"}),
    ("smollm2-1.7b", "lora", {"seq_len": 512}),
    ("smollm2-1.7b", "qlora", {"seq_len": 1024, "upcast_frozen": True}),
    ("gemma-2-2b", "lora", {"seq_len": 1024, "attention": "eager"}),
    ("gemma-2-2b", "qlora", {"seq_len": 2048, "attention": "eager", "checkpointing": True}),
    ("qwen2.5-3b", "lora", {"seq_len": 1024, "batch_size": 2, "checkpointing": True}),
    ("llama-3.2-3b", "full", {"seq_len": 1024, "precision": "bf16", "checkpointing": True}),
    ("phi-3-mini", "lora", {"seq_len": 1024}),
    ("phi-3-mini", "qlora", {"seq_len": 2048, "checkpointing": True}),
    ("qwen3-4b", "lora", {"seq_len": 2048, "target_modules": ["q_proj", "v_proj"], "r": 8}),
    ("llama-2-7b", "full", {"seq_len": 512, "checkpointing": True}),
    ("llama-2-7b", "lora", {"seq_len": 2048}),
    ("llama-2-7b", "qlora", {"seq_len": 512, "batch_size": 4, "double_quant": False}),
    ("mistral-7b", "lora", {"seq_len": 8192, "checkpointing": True}),
    ("qwen2.5-7b", "qlora", {"seq_len": 2048, "checkpointing": True}),
    ("llama-3.1-8b", "full", {"seq_len": 2048, "precision": "bf16", "checkpointing": True}),
    ("llama-3.1-8b", "lora", {"seq_len": 2048}),
    ("llama-3.1-8b", "lora", {"seq_len": 8192, "checkpointing": True, "chunked_loss": 1024}),
    ("llama-3.1-8b", "qlora", {"seq_len": 2048, "checkpointing": True}),
    ("llama-3.1-8b", "qlora", {"seq_len": 4096, "r": 32, "checkpointing": True}),
    ("llama-3.1-8b", "qlora", {"seq_len": 8192, "r": 32, "checkpointing": True}),
    ("llama-3.1-8b", "qlora", {"seq_len": 2048, "checkpointing": True, "upcast_frozen": True}),
    ("qwen3-8b", "qlora", {"seq_len": 1024, "batch_size": 2, "r": 64}),
    ("gemma-2-9b", "qlora", {"seq_len": 1024, "attention": "eager", "checkpointing": True}),
    ("llama-2-13b", "lora", {"seq_len": 2048, "checkpointing": True}),
    ("llama-2-13b", "qlora", {"seq_len": 2048, "adapter_dtype": "bf16"}),
    ("qwen2.5-14b", "qlora", {"seq_len": 4096, "checkpointing": True, "chunked_loss": 1024}),
    ("qwen2.5-32b", "qlora", {"seq_len": 1024, "checkpointing": True}),
    ("mixtral-8x7b", "lora", {"seq_len": 1024, "checkpointing": True}),
    ("llama-3.1-70b", "lora", {"seq_len": 2048, "checkpointing": True}),
    ("llama-2-70b", "qlora", {"seq_len": 2048, "checkpointing": True}),
    ("qwen2.5-72b", "qlora", {"seq_len": 512}),
]


def compare(model: str, method: str, options: dict[str, Any]) -> dict[str, Any]:
    """Both counts of one case, in bytes."""
    started = time.perf_counter()
    predicted = memory.estimate(model, method, **options)
    between = time.perf_counter()
    simulated = memory.simulate(model, method, **options)
    return {
        "model": model, "method": method, "options": options,
        "estimate": predicted.peak_bytes, "simulate": simulated.peak_bytes,
        "error": predicted.peak_bytes / simulated.peak_bytes - 1,
        "estimate_phase": predicted.peak_phase, "simulate_phase": simulated.peak_phase,
        "phases": {name: [predicted.phases[name], simulated.phases[name]] for name in simulated.phases},
        "estimate_seconds": round(between - started, 3), "simulate_seconds": round(time.perf_counter() - between, 1),
    }  # fmt: skip


def main() -> int:
    """Run all cases, write them, and say whether the bounds hold."""
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    rows = []
    for case in CASES:
        rows.append(row := compare(*case))
        settings = " ".join(f"{name}={value}" for name, value in row["options"].items())
        print(
            f"{row['model']:14} {row['method']:5} {row['simulate'] / 1e9:8.3f} GB {row['error']:+7.2%} "
            f"{row['simulate_phase']:9} {row['simulate_seconds']:5.1f} s  {settings}",
            flush=True,
        )
    errors = sorted(abs(row["error"]) for row in rows)
    median, worst = statistics.median(errors), errors[-1]
    record = {"machine": machine.describe(), "unit": "bytes", "cases": len(rows), "median_error": median,
              "worst_error": worst, "asked": {"median": MEDIAN, "worst": WORST}, "rows": rows}  # fmt: skip
    write_json(RESULT, record)
    print(f"{len(rows)} cases: median {median:.2%} (asked {MEDIAN:.0%}), worst {worst:.2%} (asked {WORST:.0%})")
    return int(median > MEDIAN or worst > WORST)


if __name__ == "__main__":
    sys.exit(main())
