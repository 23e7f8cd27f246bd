"""Record when dropout and early stopping matter: few examples against many, each with and without dropout.

    python course/records/little_data.py        # writes lora_lab/records/little_data.json; about 3 minutes on one core

Every run takes the same number of steps over 16 or 256 examples of one task. The loss on validation is measured every
ten steps; a row has the whole curve, and exact answers held out at the last step and at the best one. A row is
written as soon as it is measured, and rows that are in the file are not measured again.
"""

import argparse
import copy
import time
from dataclasses import replace
from functools import cache

import torch

from lora_lab import data, lora, models, records, train
from lora_lab.authoring.execution import pin
from lora_lab.commands import machine
from lora_lab.disk import read_json, write_json

FILE = records.FOLDER / "little_data.json"
SEEDS = (0, 1, 2)
SIZES, DROPOUTS = (16, 256), (0.0, 0.2)
STEPS, BATCH, EVERY, LR = 120, 4, 10, 7e-3


@cache
def base():
    """The embedded base and its tokenizer, loaded once."""
    return models.load_embedded()


def measure(examples: int, dropout: float, seed: int) -> dict[str, object]:
    """One row of the table."""
    started = time.perf_counter()
    model, tokenizer = copy.deepcopy(base()[0]), base()[1]
    whole = data.tasks.sailor(train=max(SIZES), heldout=100, validation=40)
    task = replace(whole, train=whole.train[:examples])
    config = lora.LoRAConfig(r=8, alpha=16, target_modules="all-linear", dropout=dropout)
    train.prepare(model, "lora", config, seed=seed)
    last: list[float] = []

    def exact() -> float:
        answers = train.answer(model, tokenizer, task.heldout, max_new_tokens=32)
        return round(task.score(task.heldout, answers)["exact"], 4)

    def at_the_end(step: int, loss: float) -> None:
        if step == STEPS:  # before the weights of the best step come back
            last.append(exact())

    history = train.finetune(
        model,
        tokenizer,
        task,
        "lora",
        lr=LR,
        steps=STEPS,
        batch_size=BATCH,
        seed=seed,
        evaluate_every=EVERY,
        patience=STEPS,
        on_step=at_the_end,
    )
    row = {
        "examples": examples,
        "dropout": dropout,
        "seed": seed,
        "curve": [round(-score, 4) for _, score in history.evaluations],
        "best_step": history.best_step,
        "exact_last": last[0],
        "exact_best": last[0] if history.best_step == STEPS else exact(),
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measure what is missing, and write each row at once. Exits with 3 while rows are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10**6, help="stop after this many")
    most = parser.parse_args().rows
    torch.set_num_threads(1)
    rows = read_json(FILE, "delete it")["rows"] if FILE.is_file() else []
    done = {(row["examples"], row["dropout"], row["seed"]) for row in rows}
    wanted = [(n, dropout, seed) for seed in SEEDS for dropout in DROPOUTS for n in SIZES]
    missing = [point for point in wanted if point not in done]
    settings = {
        "task": "sailor",
        "sizes": SIZES,
        "dropouts": DROPOUTS,
        "steps": STEPS,
        "batch_size": BATCH,
        "evaluate_every": EVERY,
        "lr": LR,
    }
    for point in missing[:most]:
        rows.append(measure(*point))
        write_json(FILE, {**settings, "machine": machine.describe(), "rows": rows})
    if len(missing) > most:
        raise SystemExit(3)


if __name__ == "__main__":
    pin()
    main()
