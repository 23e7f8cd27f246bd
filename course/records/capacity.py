"""Record two tasks that need capacity: they tell rank 1 from rank 16, and adapters from full fine-tuning.

    python course/records/capacity.py         # writes lora_lab/records/capacity.json; about 4 minutes on 2 cores

Open-book JSON is solved by every method, so it compares none. A secret code and facts to be learned by
heart hold arbitrary content, and how much of it is learned in a fixed number of steps depends on what may train.
"""

import multiprocessing

import torch

from lora_lab import lora, models, records, train
from lora_lab.authoring.execution import pin
from lora_lab.commands import machine
from lora_lab.data import tasks
from lora_lab.disk import write_json

RUNS = {"rank 1": 1, "rank 16": 16, "full": None}
TASKS = ("cipher", "new_facts")
STEPS = 150
SEEDS = (0, 1, 2)


def measure(task_name: str, run: str, seed: int) -> dict[str, str | int | float]:
    """One row of the table."""
    model, tokenizer = models.load_base("cpu")
    task, r = tasks.TASKS[task_name](seed=seed), RUNS[run]
    method = "full" if r is None else "lora"
    config = lora.LoRAConfig(r=r or 1, alpha=2 * (r or 1), target_modules="all-linear")
    train.prepare(model, method, config, seed=seed)
    train.finetune(model, tokenizer, task, method, steps=STEPS, seed=seed)
    report = train.report(model, tokenizer, task)
    row = {
        "task": task_name,
        "run": run,
        "seed": seed,
        "exact": round(report.scores["exact"], 4),
        "loss": round(report.loss, 4),
        "trainable": lora.count_parameters(model).trainable,
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Measure all rows, two at a time with one thread each, and write them."""
    torch.set_num_threads(1)
    wanted = [(task, run, seed) for task in TASKS for seed in SEEDS for run in RUNS]
    with multiprocessing.get_context("spawn").Pool(2, torch.set_num_threads, (1,)) as pool:
        rows = pool.starmap(measure, wanted, chunksize=1)
    record = {"steps": STEPS, "batch_size": 16, "machine": machine.describe(), "rows": rows}
    write_json(records.FOLDER / "capacity.json", record)


if __name__ == "__main__":
    pin()
    main()
