"""Record what training loses when the gradient does not pass through the frozen four-bit weights as it should.

    python course/records/frozen_gradient.py  # writes lora_lab/records/frozen_gradient.json

The forward pass is the same for all: LoRA beside an NF4 base. The ways differ in what takes a gradient from a frozen
layer's output to its input: the restored weight; nothing, so that only the residual stream and the adapters carry it;
or the restored weight with its numbers shuffled. Each way has the rate that is best for it on validation, found with
seed 0. A seed is other data, another start of A, and another order.
"""

import math
from typing import Any

import sweep
import torch
from torch import Tensor, nn

from lora_lab import lora, quant, train
from lora_lab.authoring.execution import pin
from lora_lab.data import tasks

TASK, DATA, STEPS, BATCH, R, ALPHA = "sailor", {"train": 640, "heldout": 100}, 60, 8, 8, 16
WAYS = ("restored", "nothing", "shuffled")
START = 1e-2


class _Product(torch.autograd.Function):
    """x · Wᵀ, whose backward pass uses another matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, back: Tensor) -> Tensor:
        ctx.back = back
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad @ ctx.back, None, None


class Through(nn.Module):
    """A frozen layer that gives its input the gradient g · `back`, or none."""

    def __init__(self, linear: nn.Linear, way: str, seed: int) -> None:
        super().__init__()
        self.weight = linear.weight.requires_grad_(False)
        self.bias, self.in_features, self.out_features = None, linear.in_features, linear.out_features
        self.way, self.back = way, self.weight.detach()
        if way == "shuffled":
            order = torch.randperm(self.weight.numel(), generator=torch.Generator().manual_seed(seed))
            self.back = self.back.flatten()[order].view_as(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "nothing":
            return x.detach() @ self.weight.T
        return _Product.apply(x, self.weight, self.back)


def prepared(way: str, seed: int) -> nn.Module:
    """The NF4 base with adapters, its frozen layers handing on the gradient in one of the ways."""
    model = quant.dequantize_model(quant.quantize_model(sweep.fresh()))
    train.prepare(model, "lora", lora.LoRAConfig(r=R, alpha=ALPHA, target_modules="all-linear"), seed)
    for number, layer in enumerate(lora.adapters(model).values()):
        layer.base = Through(layer.base, way, number)
    return model


def measure(way: str, seed: int, lr: float) -> dict[str, Any]:
    """One row: loss on validation, and what is answered of the held-out examples."""
    task, tokenizer = tasks.TASKS[TASK](seed=seed, **DATA), sweep.base()[1]
    model = prepared(way, seed)
    try:
        train.finetune(model, tokenizer, task, "lora", lr=lr, steps=STEPS, batch_size=BATCH, seed=seed)
    except FloatingPointError:
        return {"validation": None, "exact": 0.0}
    validation = sweep.rounded(train.answer_loss(model, tokenizer, task.validation))
    return {"validation": validation, "exact": round(sweep.exact(model, task.heldout), 4)}


def untrained(way: str, seed: int) -> dict[str, Any]:
    """What the base says before any training; the way back does not matter."""
    task, tokenizer = tasks.TASKS[TASK](seed=seed, **DATA), sweep.base()[1]
    model = prepared("restored", seed)
    loss = sweep.rounded(train.answer_loss(model, tokenizer, task.validation))
    return {"validation": loss, "exact": round(sweep.exact(model, task.heldout), 4)}


def main() -> None:
    """Measure what is missing."""
    torch.set_num_threads(1)
    _, rows = sweep.arguments(__doc__ or "", ["all"])
    header = {"task": TASK, "data": DATA, "steps": STEPS, "batch_size": BATCH, "r": R, "alpha": ALPHA}
    table = sweep.Table("frozen_gradient", header, rows)
    for seed in (0, 1, 2):
        table.row(untrained, way="not trained", seed=seed)
    for way in WAYS:

        def loss(lr: float, way: str = way) -> float:
            value = table.row(measure, way=way, seed=0, lr=lr)["validation"]
            return math.inf if value is None else value

        best = sweep.best_rate(loss, START)
        for seed in (1, 2):
            table.row(measure, way=way, seed=seed, lr=best)


if __name__ == "__main__":
    pin()
    main()
