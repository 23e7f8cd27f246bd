"""Real training steps on the CPU, measured, against `memory.simulate` and `memory.estimate`.

python benchmarks/bench_memory_measured.py   # about a minute; writes results/memory_measured.json and README.md
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, LlamaConfig, PreTrainedConfig, Qwen2Config
from transformers.utils import logging

from lora_lab import memory, quant
from lora_lab.commands import machine
from lora_lab.disk import write_json

RESULT = Path(__file__).parent / "results" / "memory_measured.json"
BOUND = 0.01  # of the simulation

# Sizes that are not powers of two, so that a swapped dimension would show.
LLAMA = LlamaConfig(
    vocab_size=4000, hidden_size=320, intermediate_size=880, num_hidden_layers=4, num_attention_heads=5,
    num_key_value_heads=5, max_position_embeddings=512,
)  # fmt: skip
QWEN = Qwen2Config(
    vocab_size=6000, hidden_size=448, intermediate_size=1184, num_hidden_layers=3, num_attention_heads=7,
    num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=True,
)  # fmt: skip
GPT2 = GPT2Config(vocab_size=2500, n_embd=240, n_layer=3, n_head=5, n_positions=256, bos_token_id=None,
                  eos_token_id=None)  # fmt: skip

CASES: tuple[tuple[str, PreTrainedConfig, dict[str, Any]], ...] = (
    *(
        (name, config, {"method": method, "precision": precision, "checkpointing": checkpointing,
                        "batch_size": batch, "seq_len": 256})
        for name, config, batch in (("Llama", LLAMA, 2), ("Qwen2", QWEN, 1))
        for method in memory.METHODS
        for precision, checkpointing in (("mixed", False), ("mixed", True), ("bf16", False), ("fp32", False))
    ),
    *(("GPT-2", GPT2, {"method": "full", "precision": precision, "batch_size": 2, "seq_len": 200})
      for precision in ("mixed", "fp32")),
)  # fmt: skip


def main() -> int:
    """Measure all cases, write them, and say whether the bound holds."""
    quant.use_kernels(False)  # what is predicted: they need less
    torch.set_num_threads(1)  # kernels take workspace for each thread
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    rows = []
    for name, config, options in CASES:
        measured = memory.measure(*memory.real_step(memory.Setup(config, **options))).peak_bytes
        simulated, estimated = (way(config, **options).peak_bytes for way in (memory.simulate, memory.estimate))
        rows.append({"model": name, **options, "measured": measured, "simulated": simulated, "estimated": estimated})
        print(f"{name} {' '.join(map(str, options.values()))}: simulated {simulated / measured - 1:+.2%}, "
              f"estimated {estimated / measured - 1:+.2%}", flush=True)  # fmt: skip
    record = {"machine": machine.describe(), "unit": "bytes", "asked": BOUND, "rows": rows}
    write_json(RESULT, record)
    import report

    report.write()
    return int(max(abs(row["simulated"] / row["measured"] - 1) for row in rows) > BOUND)


if __name__ == "__main__":
    sys.exit(main())
