"""One QLoRA step of the embedded base, and of the real model on two threads: lora_lab against bitsandbytes and PEFT.

python benchmarks/bench_qlora_step.py        # about four minutes; writes results/qlora_step.json and README.md
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peft
import torch
from side_by_side import Pair, main
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from lora_lab import lora, models, quant
from lora_lab.models.base import EMBEDDED_FOLDER
from lora_lab.models.real import fetched


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


def both(model: Any, folder: Path) -> tuple[Any, Any]:
    """A model and the same from its folder: NF4 with double quantization, rank 16 on all linear layers."""
    quant.quantize_model(model)
    ours = lora.inject(model, lora.LoRAConfig(r=16, alpha=32, target_modules="all-linear"))
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                                  bnb_4bit_compute_dtype=torch.float32)  # fmt: skip
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, quantization_config=settings,
                                                  device_map="cpu")  # fmt: skip
    return ours, peft.get_peft_model(loaded, peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))


def real() -> tuple[Any, Path]:
    """The real model and its folder; fetched once."""
    return models.load_base("smollm2")[0], fetched()


def threads(count: int, way: Callable[[], Any]) -> Callable[[], Any]:
    """The same on so many threads."""

    def on_them() -> Any:
        torch.set_num_threads(count)
        try:
            return way()
        finally:
            torch.set_num_threads(1)

    return on_them


def pairs() -> Iterator[Pair]:
    """Batches of 16 x 128 tokens, of the real model 4 x 128, AdamW."""
    torch.manual_seed(0)
    bases = {"embedded base": ((models.load_base("cpu")[0], EMBEDDED_FOLDER), 16, 1, {"default": 1.05, "warm": 0.9}),
             "real model, two threads": (real(), 4, 2, {"default": 1.0})}  # fmt: skip
    for name, (base, rows, count, wanted) in bases.items():
        batch = torch.randint(0, 500, (rows, 128))
        ours, theirs = (threads(count, stepper(model, batch)) for model in both(*base))
        first = ours(), theirs()
        assert abs(first[0] / first[1] - 1) < 0.01, f"the two begin with losses {first}"
        yield Pair(f"QLoRA step of the {name}", "float32", "bitsandbytes + PEFT", wanted, ours, theirs)


if __name__ == "__main__":
    main(__file__, pairs)
