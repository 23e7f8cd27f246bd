"""Record how much a task gets from d numbers: inside a random subspace, as LoRA, and with all weights of 28 matrices.

    python course/records/intrinsic.py        # writes lora_lab/records/intrinsic.json; about 12 minutes of one core

Each run's rate is the best on validation, found with seed 0 and kept for the others. Seeds change the data, their order
and the subspace.
"""

import copy
import math
from typing import Any

import sweep
import torch
from torch import nn

from lora_lab import lora, train
from lora_lab.adapters import naming
from lora_lab.authoring.execution import pin
from lora_lab.data import tasks
from lora_lab.train import subspace

SETTINGS = {
    "sailor": {"steps": 60, "batch_size": 8, "data": {"train": 768, "heldout": 200}},
    "new_facts": {"steps": 80, "batch_size": 8, "data": {"people": 12}},
}
POINTS: dict[str, list[tuple[str, int, float]]] = {  # run, size, and the rate at which its search begins
    "sailor": [
        ("full", 0, 2e-3),
        *(("lora", r, 1e-2) for r in (1, 4, 16)),
        *(("subspace", d, 2e-2) for d in (100, 1_000)),
        *(("subspace", d, 1e-2) for d in (13_568, 54_272)),  # what LoRA trains at rank 1 and 4
        *(("subspace", d, 5e-3) for d in (217_088, 434_176, 868_352)),  # at rank 16, 32 and 64
    ],
    "new_facts": [
        ("full", 0, 2e-3),
        *(("lora", r, 1e-2) for r in (1, 16)),
        *(("subspace", d, 1e-2) for d in (1_000, 13_568)),
        ("subspace", 217_088, 5e-3),
    ],
}


def prepared(run: str, size: int, seed: int) -> nn.Module:
    """The base with `size` numbers to train."""
    model = sweep.fresh()
    if run == "subspace":
        subspace.enter(model, size, seed)
    elif run == "lora":
        train.prepare(model, "lora", lora.LoRAConfig(r=size, alpha=2 * size, target_modules="all-linear"), seed)
    else:
        names = naming.targets(model, "all-linear")
        model.requires_grad_(False)
        for name in names:
            model.get_submodule(name).weight.requires_grad_(True)
    return model


def measure(task: str, run: str, size: int, seed: int, lr: float) -> dict[str, Any]:
    """One row: scores after training, and for a subspace those of another z of the same length."""
    settings, tokenizer = SETTINGS[task], sweep.base()[1]
    examples = tasks.TASKS[task](seed=seed, **settings["data"])
    model = prepared(run, size, seed)
    row = {"trainable": sum(p.numel() for p in model.parameters() if p.requires_grad)}
    options = {key: settings[key] for key in ("steps", "batch_size")}
    try:
        train.finetune(model, tokenizer, examples, "lora", lr=lr, seed=seed, **options)
    except FloatingPointError:
        return {**row, "validation": None, "exact": 0.0}
    row["validation"] = sweep.rounded(train.answer_loss(model, tokenizer, examples.validation))
    row["exact"] = round(sweep.exact(model, examples.heldout), 4)
    if run == "subspace":
        row["control"] = round(sweep.exact(shaken(model, seed), examples.heldout), 4)
    return row


@torch.no_grad()
def shaken(model: nn.Module, seed: int) -> nn.Module:
    """The same subspace and the same length of z, in a random direction."""
    model = copy.deepcopy(model)
    (z,) = [p for p in model.parameters() if p.requires_grad]
    noise = torch.randn(z.shape, generator=torch.manual_seed(seed))
    z.copy_(noise * z.norm() / noise.norm())
    return model


def curve(table: sweep.Table, task: str, run: str, size: int, start: float, seeds: tuple[int, ...]) -> None:
    """One point of the curve: the search with seed 0, then the other seeds at the rate that it chose."""

    def row(lr: float, seed: int = 0) -> dict[str, Any]:
        return table.row(measure, task=task, run=run, size=size, seed=seed, lr=lr)

    def loss(lr: float) -> float:
        value = row(lr)["validation"] if lr <= 1 else None
        return math.inf if value is None else value

    best = sweep.best_rate(loss, start)
    for seed in seeds:
        row(best, seed)


def main() -> None:
    """Measure what is missing, seed 0 of everything first."""
    torch.set_num_threads(1)
    wanted, rows = sweep.arguments(__doc__ or "", ["sailor", "sailor-seeds", "new_facts", "new_facts-seeds"])
    table = sweep.Table("intrinsic", {"settings": SETTINGS}, rows)
    for part in wanted:
        task, _, seeds = part.partition("-")
        for point in POINTS[task]:
            curve(table, task, *point, seeds=(1, 2) if seeds else ())


if __name__ == "__main__":
    pin()
    main()
