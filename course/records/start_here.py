"""Record lesson 00's fine-tune with several clips: with which do three seeds of three learn every field?

    python course/records/start_here.py           # writes lora_lab/records/start_here.json; 15 minutes of one core
    python course/records/start_here.py search    # one part

    search    the loss on validation with each clip, and for twice the steps; three seeds
    report    the chosen one and the loop's own clip: held-out scores, and what is left of reading

Chosen is, among the runs of 100 steps, the clip whose worst seed has the least loss on validation. The search never
looks at the held-out examples. The rate is not searched: at 0.007 reading is lost (record `qlora`).

Why the clip may matter: AdamW divides a step by the root of a running mean of squared gradients, which remembers a
thousand steps. The first gradients are large. With a clip at 1 they make all later steps of a short run small, and a
field that is not read by then (the pet, with seed 1) is learned in 200 steps no more than in 100.
"""

from dataclasses import replace
from typing import Any

import sweep
import torch
from torch import nn

from lora_lab import data, train
from lora_lab.authoring.execution import pin

STEPS, BATCH_SIZE = 100, 8
RATE, CLIPS = 5e-3, (1.0, 0.3, 0.1)
USUAL = {"steps": STEPS, "lr": RATE, "clip": 1.0}  # the loop's own clip
LONGER = {**USUAL, "steps": 200}
SEEDS = (0, 1, 2)


def task_of(steps: int, seed: int) -> data.tasks.Task:
    """As many passages as the steps need, each about somebody else; 64 strangers; reading to be kept."""
    task = data.tasks.open_book(train=steps * BATCH_SIZE, heldout=64, seed=seed)
    return replace(task, retention=data.tasks.reading(100))


def tuned(task: data.tasks.Task, steps: int, lr: float, clip: float, seed: int) -> nn.Module:
    """The base in four bits, with adapters trained as in the lesson."""
    model = train.prepare(sweep.fresh(), "qlora", seed=seed)
    options = {"lr": lr, "steps": steps, "batch_size": BATCH_SIZE, "clip": clip, "seed": seed}
    train.finetune(model, sweep.base()[1], task, "qlora", **options)
    return model


def search(part: str, steps: int, lr: float, clip: float, seed: int) -> dict[str, Any]:
    """The loss on validation."""
    task = task_of(steps, seed)
    model = tuned(task, steps, lr, clip, seed)
    return {"validation": sweep.rounded(train.answer_loss(model, sweep.base()[1], task.validation))}


def report(part: str, run: str, steps: int, lr: float, clip: float, seed: int) -> dict[str, Any]:
    """Scores on the strangers and on reading questions."""
    task, tokenizer = task_of(steps, seed), sweep.base()[1]
    model = tuned(task, steps, lr, clip, seed)
    found = train.report(model, tokenizer, task)
    return {name: round(score, 4) for name, score in found.scores.items()} | {"reading": found.retention}


def chosen(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The clip, by validation alone."""
    worst: dict[float, float] = {}
    for row in rows:
        if row["part"] == "search" and row["steps"] == STEPS:
            worst[row["clip"]] = max(worst.get(row["clip"], 0.0), row["validation"])
    return {"steps": STEPS, "lr": RATE, "clip": min(worst, key=lambda clip: worst[clip])}


def main() -> None:
    """Measure what is missing."""
    wanted, rows = sweep.arguments(__doc__ or "", ["search", "report"])
    torch.set_num_threads(1)
    table = sweep.Table("start_here", {"task": "open_book", "batch_size": BATCH_SIZE}, rows)
    if "search" in wanted:
        settings = [{"steps": STEPS, "lr": RATE, "clip": clip} for clip in CLIPS]
        for setting in (*settings, LONGER):
            for seed in SEEDS:
                table.row(search, part="search", **setting, seed=seed)
    if "report" in wanted:
        for seed in SEEDS:
            for setting in (chosen(table.rows), USUAL):
                table.row(report, part="report", run="qlora", **setting, seed=seed)


if __name__ == "__main__":
    pin()
    main()
