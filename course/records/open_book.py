"""Record the main task: three methods and a control, three seeds each. Lesson 12 shows the table and reruns one row.

    python course/records/open_book.py        # writes lora_lab/records/open_book.json; about 15 minutes on 2 cores

The control trains on passages that are paired with another person's answer, so that only the form can be learned.
"""

import multiprocessing
import random
from dataclasses import replace

import torch

from lora_lab import lora, models, records, train
from lora_lab.authoring.execution import pin
from lora_lab.commands import machine
from lora_lab.data import tasks
from lora_lab.data.world import World
from lora_lab.disk import write_json

RUNS = ("full", "lora", "qlora", "qlora, answers shuffled")
SEEDS = (0, 1, 2)
TIER = models.get_tier("cpu")


def shuffled(task: tasks.Task, seed: int) -> tasks.Task:
    """The same prompts and the same answers, paired at random."""
    answers = random.Random(seed).sample([example.answer for example in task.train], len(task.train))
    return replace(task, train=[replace(example, answer=a) for example, a in zip(task.train, answers)])


def measure(run: str, seed: int) -> dict[str, str | int | float]:
    """One row of the table."""
    method = run.split(",")[0]
    model, tokenizer = models.load_base("cpu")
    task = tasks.open_book(TIER.steps * TIER.batch_size, TIER.heldout, seed)
    train.prepare(model, method, seed=seed)
    data = shuffled(task, seed) if "shuffled" in run else task
    history = train.finetune(model, tokenizer, data, method, steps=TIER.steps, batch_size=TIER.batch_size, seed=seed)
    report = train.report(model, tokenizer, task)
    row = {
        "run": run,
        "seed": seed,
        "lr": train.LEARNING_RATES[method],
        **{name: round(score, 4) for name, score in report.scores.items()},
        "loss": round(report.loss, 4),
        "reading": report.retention,
        "recall": round(train.recall(model, tokenizer, World.generate()), 4),
        "trainable": lora.count_parameters(model).trainable,
        "seconds": round(history.seconds[-1], 1),
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measure all rows, two at a time with one thread each, and write them."""
    torch.set_num_threads(1)
    with multiprocessing.get_context("spawn").Pool(2, torch.set_num_threads, (1,)) as pool:
        rows = pool.starmap(measure, [(run, seed) for run in RUNS for seed in SEEDS], chunksize=1)
    settings = {"task": "open_book", "steps": TIER.steps, "batch_size": TIER.batch_size}
    record = {**settings, "machine": machine.describe(), "rows": rows}
    write_json(records.FOLDER / "open_book.json", record)


if __name__ == "__main__":
    pin()
    main()
