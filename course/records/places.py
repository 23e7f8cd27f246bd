"""Record what matters most in a LoRA run: where adapters go, how they start, the batch, the rate, or the seed.

    python course/records/places.py             # writes lora_lab/records/places.json; about 10 minutes on one core
    python course/records/places.py --rows 10   # ten rows more, then stop

Every run trains about the same number of values on the same two tasks. For each run seed 0 tries peak rates in steps of
two, until the one with the lowest loss on validation has a worse one on both sides; that one then trains with seeds 1
and 2 as well. "all linears" has three seeds at every rate of the first grid: what a rate is worth. A row is written as
soon as it is measured, and rows that are in the file are not measured again.
"""

import argparse
import copy
import itertools
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial

import torch

from lora_lab import data, lora, models, records, train
from lora_lab.authoring.execution import pin
from lora_lab.commands import machine
from lora_lab.disk import read_json, write_json

FILE = records.FOLDER / "places.json"
TASKS = {
    "new_facts": partial(data.tasks.new_facts, people=10),
    "cipher": partial(data.tasks.cipher, train=800, heldout=100, words=8),
}
SEEDS = (0, 1, 2)
STEPS, BATCH = {"new_facts": 80, "cipher": 100}, 8  # where neither task is learned in full
GRID = (6e-3, 1.2e-2, 2.4e-2)

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Run:
    """One way to spend about 108,000 trainable values."""

    r: int = 8
    targets: str | tuple[str, ...] = "all-linear"
    layers: tuple[int, ...] | None = None
    init: str = "kaiming"
    ratio: float = 1.0  # of B's rate to A's
    batch: int = BATCH
    shuffled: bool = False


# alpha is 2 r everywhere, so that the scaling is the same and only the rate is chosen.
RUNS = {
    "all linears": Run(),
    "MLP": Run(13, MLP),
    "attention": Run(21, ATTENTION),
    "query and value": Run(42, ("q_proj", "v_proj")),
    "last block only": Run(32, layers=(3,)),
    "gaussian": Run(init="gaussian"),
    "PiSSA": Run(init="pissa"),
    "orthogonal": Run(init="orthogonal"),
    "LoRA+": Run(ratio=16),
    "batch 2": Run(batch=2),
    "batch 32": Run(batch=32),
    "answers shuffled": Run(shuffled=True),
}
# What is measured first. The cipher takes three times as long, and has the runs that differ most.
PLAN = (
    ("new_facts", ("all linears", "MLP", "attention", "PiSSA", "orthogonal", "LoRA+", "batch 32", "last block only")),
    ("new_facts", ("answers shuffled",)),
    ("cipher", ("all linears", "MLP", "attention")),
    ("new_facts", ("batch 2", "gaussian", "query and value")),
    ("cipher", ("PiSSA", "last block only", "orthogonal", "LoRA+")),
    ("cipher", ("gaussian", "query and value")),
)


@cache
def base():
    """The embedded base and its tokenizer, loaded once."""
    return models.load_embedded()


def shuffled(examples: list[data.tasks.Example]) -> list[data.tasks.Example]:
    """The same prompts and the same answers, paired at random."""
    answers = random.Random(0).sample([example.answer for example in examples], len(examples))
    return [replace(example, answer=answer) for example, answer in zip(examples, answers)]


def batches(tokenizer, examples, size: int, seed: int) -> Iterator[dict[str, torch.Tensor]]:
    """Without end, each pass over the data in a new order, as `train.fit` draws them."""
    encoded = [data.batches.encode_example(tokenizer, e.prompt, e.answer) for e in examples]
    rng, waiting = random.Random(seed), []
    while True:
        while len(waiting) < size:
            waiting += rng.sample(range(len(encoded)), len(encoded))
        yield data.batches.collate([encoded[i] for i in waiting[:size]], tokenizer.pad_token_id)
        del waiting[:size]


def two_rates(lr: float, ratio: float) -> train.optimizers.MakeOptimizer:
    """AdamW with `lr` for A and ratio · lr for B: LoRA+ (arXiv 2402.12354), and plain LoRA for a ratio of 1."""

    def make(named):
        factor_A = [p for name, p in named if name.endswith("lora_A")]
        factor_B = [p for name, p in named if name.endswith("lora_B")]
        groups = [{"params": factor_A, "lr": lr}, {"params": factor_B, "lr": ratio * lr}]
        return torch.optim.AdamW(groups, weight_decay=0.0)

    return make


def measure(task_name: str, name: str, lr: float, seed: int) -> dict[str, str | int | float]:
    """One row of the table; `lr` is the larger of the two rates."""
    run, started = RUNS[name], time.perf_counter()
    model, tokenizer = copy.deepcopy(base()[0]), base()[1]
    task = TASKS[task_name](seed=0)
    config = lora.LoRAConfig(
        r=run.r, alpha=2 * run.r, target_modules=run.targets, layers_to_transform=run.layers, init=run.init
    )
    train.prepare(model, "lora", config, seed=seed)
    train.loop.run(
        model,
        batches(tokenizer, shuffled(task.train) if run.shuffled else task.train, run.batch, seed),
        train.losses.answers,
        steps=STEPS[task_name] * BATCH // run.batch,
        optimizer=two_rates(lr / run.ratio, run.ratio),
        schedule=train.schedules.cosine(10),
        seed=seed,
    )
    answers = train.answer(model, tokenizer, task.heldout, max_new_tokens=40)
    row = {
        "task": task_name,
        "run": name,
        "lr": lr,
        "seed": seed,
        "validation": round(train.answer_loss(model, tokenizer, task.validation), 4),
        "exact": round(task.score(task.heldout, answers)["exact"], 4),
        "trainable": lora.count_parameters(model).trainable,
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(row, flush=True)
    return row


def by_rate(rows: list[dict], task: str, run: str) -> dict[float, dict[int, float]]:
    """Losses on validation by rate and seed."""
    losses: dict[float, dict[int, float]] = {}
    for row in rows:
        if (row["task"], row["run"]) == (task, run):
            losses.setdefault(row["lr"], {})[row["seed"]] = row["validation"]
    return losses


def next_rate(losses: dict[float, dict[int, float]]) -> float | None:
    """The next rate to try with seed 0; None once the best one has a worse one on both sides."""
    for lr in GRID:
        if lr not in losses:
            return lr
    best = best_rate(losses)
    beside = [lr for lr in (best / 2, best * 2) if lr not in losses]
    return beside[0] if beside else None


def best_rate(losses: dict[float, dict[int, float]]) -> float:
    """The rate that seed 0 found best."""
    return min(losses, key=lambda lr: losses[lr].get(0, math.inf))


def missing(rows: list[dict], task: str, run: str) -> tuple[float, int] | None:
    """The next rate and seed of one run, None when all is measured."""
    losses = by_rate(rows, task, run)
    if RUNS[run].shuffled:
        lr = best_rate(by_rate(rows, task, "all linears"))
    elif (lr := next_rate(losses)) is not None:
        return lr, 0
    else:
        lr = best_rate(losses)
    return next(((lr, seed) for seed in SEEDS if seed not in losses.get(lr, {})), None)


def next_point(rows: list[dict]) -> tuple[str, str, float, int] | None:
    """The next row to measure, part by part."""
    for task, runs in PLAN:
        for run in runs:
            if (point := missing(rows, task, run)) is not None:
                return task, run, *point
    for task in TASKS:  # the rate is a decision as well, so its choices have three seeds as those of the others
        losses = by_rate(rows, task, "all linears")
        for lr, seed in itertools.product(GRID, SEEDS):
            if seed not in losses[lr]:
                return task, "all linears", lr, seed
    return None


def main() -> None:
    """Measure what is missing, and write each row at once. Exits with 3 while rows are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**6, help="stop after this many")
    torch.set_num_threads(1)
    rows = read_json(FILE, "delete it")["rows"] if FILE.is_file() else []
    for _ in range(parser.parse_args().rows):
        if (point := next_point(rows)) is None:
            return
        rows.append(measure(*point))
        write_json(FILE, {"steps": STEPS, "batch_size": BATCH, "machine": machine.describe(), "rows": rows})
    if next_point(rows) is not None:
        raise SystemExit(3)


if __name__ == "__main__":
    pin()
    main()
