"""Six LoRA runs that were measured and published by others, on a T4, against `memory.simulate`.

    python benchmarks/bench_memory_t4.py         # about a minute; writes results/memory_t4.json and README.md

The peaks are from the validation table of fitcheck-llm (pypi.org/project/fitcheck-llm, 2026). We know model, batch and
length, but not rank, targets or training loop. One choice brings all six within reach, others might as well: PEFT's
layers, whose float32 factors turn each input into float32, rank 64 on the four attention projections, the outputs kept
during the backward pass. The rows `ours` say what the same runs would need with lora_lab's layers, which stay in the
dtype of the input.
"""

import json
import logging
import sys
import warnings
from pathlib import Path

import peft
import torch
from transformers import AutoModelForCausalLM

from lora_lab import machine, memory
from lora_lab.files import atomic_path
from lora_lab.memory.simulate import simulate_model

RESULT = Path(__file__).parent / "results" / "memory_t4.json"
MIB = 2**20
BOUND = 0.03
RANK, TARGETS = 64, ("q_proj", "k_proj", "v_proj", "o_proj")

# model, batch, tokens, measured peak of tensors in MiB
PUBLISHED = (
    ("smollm2-1.7b", 1, 512, 5112),
    ("qwen2.5-1.5b", 1, 512, 5552),
    ("qwen2.5-0.5b", 2, 512, 4504),
    ("smollm2-135m", 2, 512, 1846),
    ("smollm2-135m", 4, 512, 3314),
    ("smollm2-135m", 1, 2048, 3314),
)


def with_peft(setup: memory.Setup) -> memory.MemoryEstimate:
    """The simulated step of a model with PEFT's layers instead of ours."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(setup.config, dtype=setup.weight_dtype)
        peft.get_peft_model(model, peft.LoraConfig(r=setup.r, target_modules=list(setup.target_modules)))
    return simulate_model(setup, model.train())


def main() -> int:
    """Compare all rows, write them, and say whether the bound holds."""
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    rows = []
    for model, batch_size, seq_len, measured in PUBLISHED:
        setup = memory.Setup(model, "lora", r=RANK, target_modules=TARGETS, batch_size=batch_size, seq_len=seq_len,
                             keep_outputs=True)  # fmt: skip
        predicted = with_peft(setup).peak_bytes
        ours = memory.simulate(model, "lora", r=RANK, target_modules=TARGETS, batch_size=batch_size, seq_len=seq_len)
        rows.append({
            "model": model, "batch_size": batch_size, "seq_len": seq_len, "measured": measured * MIB,
            "simulated": predicted, "error": predicted / (measured * MIB) - 1, "ours": ours.peak_bytes,
        })  # fmt: skip
        print("{model:14} {batch_size} × {seq_len:4}: {error:+.1%}".format(**rows[-1]), flush=True)
    record = {"machine": machine.describe(), "unit": "bytes", "source": "fitcheck-llm, Tesla T4, 2026",
              "assumed": {"layers": "PEFT", "r": RANK, "target_modules": TARGETS, "outputs": "kept"},
              "asked": BOUND, "rows": rows}  # fmt: skip
    with atomic_path(RESULT) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    import report

    report.write()
    return int(max(abs(row["error"]) for row in rows) > BOUND)


if __name__ == "__main__":
    sys.exit(main())
