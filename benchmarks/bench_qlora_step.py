"""One QLoRA step of the embedded base: lora_lab against bitsandbytes and PEFT.

python benchmarks/bench_qlora_step.py        # about a minute; writes results/qlora_step.json and README.md
"""

from collections.abc import Callable, Iterator
from typing import Any

import peft
import torch
from side_by_side import Pair, main
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from lora_lab import lora, models, quant
from lora_lab.models.base import EMBEDDED_FOLDER


def stepper(model: Any, batch: torch.Tensor) -> Callable[[], float]:
    """A function that takes one training step and returns its loss."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    model.train()

    def step() -> float:
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss)

    return step


def pairs() -> Iterator[Pair]:
    """NF4 with double quantization, rank 16 on all linear layers, batches of 16 x 128 tokens, AdamW."""
    torch.manual_seed(0)
    batch = torch.randint(0, 500, (16, 128))
    model, _ = models.load_base("cpu")
    quant.quantize_model(model)
    ours = stepper(lora.inject(model, lora.LoRAConfig(r=16, alpha=32, target_modules="all-linear")), batch)
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                  bnb_4bit_compute_dtype=torch.float32)  # fmt: skip
    loaded = AutoModelForCausalLM.from_pretrained(EMBEDDED_FOLDER, dtype=torch.float32, quantization_config=settings,
                                                  device_map="cpu")  # fmt: skip
    wrapped = peft.get_peft_model(loaded, peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    theirs = stepper(wrapped, batch)
    first = ours(), theirs()
    assert abs(first[0] / first[1] - 1) < 0.01, f"the two begin with losses {first}"
    yield Pair("QLoRA step of the embedded base", "float32", "bitsandbytes + PEFT", {"default": 1, "warm": 0.9},
               ours, theirs)  # fmt: skip


if __name__ == "__main__":
    main(__file__, pairs)
