"""The three ways to fine-tune that the course compares, from a base model to scores before and after.

full    every weight trains
lora    adapters on every linear layer train, over the frozen base
qlora   the same, over a base whose linear layers are stored in NF4 with double quantization
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lora_lab import lora, quant
from lora_lab.data.batches import collate, encode_example
from lora_lab.data.tasks import Example, Scores, Task
from lora_lab.models.tiers import TIERS
from lora_lab.train.evaluate import answer, mean_loss, reading
from lora_lab.train.loop import History, fit

METHODS = ("full", "lora", "qlora")

# Peak learning rates for the embedded base. Adapters want several times the rate of full fine-tuning.
LEARNING_RATES = {method: TIERS["cpu"].lr(method) for method in METHODS}


def prepare(model: nn.Module, method: str, config: lora.LoRAConfig | None = None, seed: int = 0) -> nn.Module:
    """Make a base model ready for one method, in place.

    Args:
        model: a transformers causal LM.
        method: one of `METHODS`.
        config: of the adapters; by default rank 16 on all linear layers.
        seed: of the adapters' random factors.

    Raises:
        ValueError: for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
    if method == "full":
        return model.requires_grad_(True)
    if method == "qlora":
        quant.quantize_model(model)
    torch.manual_seed(seed)
    return lora.inject(model, config or lora.LoRAConfig(r=16, alpha=32, target_modules="all-linear"))


@dataclass(frozen=True)
class Report:
    """Scores of one model on one task.

    Attributes:
        scores: the task's, on held-out examples.
        loss: nats per token of the wanted answers.
        retention: share of reading questions still answered.
        answers: to the held-out examples, in order.
    """

    scores: Scores
    loss: float
    retention: float
    answers: list[str]


@torch.no_grad()
def report(
    model: Any, tokenizer: Any, task: Task, max_new_tokens: int = 80, progress: Callable[[int], None] | None = None
) -> Report:
    """Measure a model on the held-out and the retention split of a task."""
    answers = answer(model, tokenizer, task.heldout, max_new_tokens, progress=progress)
    return Report(
        task.score(task.heldout, answers),
        answer_loss(model, tokenizer, task.heldout),
        reading(model, tokenizer, task.retention),
        answers,
    )


def answer_loss(model: Any, tokenizer: Any, examples: list[Example], batch_size: int = 64) -> float:
    """Nats per token of the wanted answers."""
    encoded = [encode_example(tokenizer, example.prompt, example.answer) for example in examples]
    batches = [collate(encoded[i : i + batch_size], tokenizer.pad_token_id) for i in range(0, len(encoded), batch_size)]
    return mean_loss(model, batches)


def finetune(
    model: Any, tokenizer: Any, task: Task, method: str, *, lr: float | None = None, **options: Any
) -> History:
    """Train a prepared model on a task; `lr` is by default the embedded base's for `method`, options go to `fit`."""
    encoded = [encode_example(tokenizer, example.prompt, example.answer) for example in task.train]
    options.setdefault("pad_id", tokenizer.pad_token_id)  # a hub model's configuration often names none
    return fit(model, encoded, lr=LEARNING_RATES[method] if lr is None else lr, **options)
