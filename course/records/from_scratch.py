"""Record LoRA against full fine-tuning and controls, each at a rate of its own. Lesson 03 shows it and reruns one row.

    python course/records/from_scratch.py     # writes lora_lab/records/from_scratch.json; about 15 minutes on 1 core

The task is a secret code, which the base knows nothing about and which not everything that trains learns equally well.
A rate is chosen by the loss on validation, with seed 0: doubled and halved until the best one has a worse one on
either side. The other seeds are then run at that rate only. What is derived from a finished run (its update cut, mixed
up or put elsewhere) costs no training and is measured beside it.
Rows that are in the file already are not run again.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab import lora, lowrank, models, records, train
from lora_lab.authoring.execution import pin
from lora_lab.commands import machine
from lora_lab.data import tasks
from lora_lab.disk import read_json, write_json

R, ALPHA, STEPS, BATCH, WORDS = 8, 16, 150, 8, 12
SEEDS = (0, 1, 2)
START = {"LoRA": 5e-3, "full": 1e-3, "one dense place": 1.6e-2}  # rates to search from
FILE = records.FOLDER / "from_scratch.json"
Updates = dict[str, Tensor]
Row = dict[str, str | int | float]


def prepared(run: str, model: nn.Module, seed: int) -> nn.Module:
    """The base with what `run` trains."""
    if run == "full":
        return train.prepare(model, "full", seed=seed)
    if run == "one dense place":  # about as many numbers as LoRA has, all of them in two matrices of the last block
        block = model.requires_grad_(False).get_submodule("model.layers.3")
        for module in (block.mlp.down_proj, block.self_attn.k_proj):
            module.requires_grad_(True)
        return model
    train.prepare(model, "lora", lora.LoRAConfig(r=R, alpha=ALPHA, target_modules="all-linear"), seed=seed)
    if run == "A frozen":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("lora_B"))
    return model


def shuffled(task: tasks.Task, seed: int) -> tasks.Task:
    """The same prompts and the same answers, paired at random."""
    answers = random.Random(seed).sample([example.answer for example in task.train], len(task.train))
    return replace(task, train=[replace(example, answer=a) for example, a in zip(task.train, answers)])


def updates(model: nn.Module, base: nn.Module) -> Updates:
    """ΔW of every linear layer in the blocks."""
    adapted = lora.adapters(model)
    if adapted:
        return {name: layer.delta_weight().detach() for name, layer in adapted.items()}
    names = [n for n, m in base.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"]
    weights = {name: (model.get_submodule(name).weight, base.get_submodule(name).weight) for name in names}
    return {name: (tuned - before).detach() for name, (tuned, before) in weights.items()}


def cut(deltas: Updates) -> Updates:
    """Each update's nearest matrix of rank R."""
    return {name: torch.matmul(*lowrank.truncated_svd(delta, R)) for name, delta in deltas.items()}


def random_direction(deltas: Updates) -> Updates:
    """Products of random factors with the rank and the norm of what training found."""
    dice = torch.Generator().manual_seed(0)

    def like(delta: Tensor) -> Tensor:
        other = torch.randn(len(delta), R, generator=dice) @ torch.randn(R, delta.shape[1], generator=dice)
        return other * delta.norm() / other.norm()

    return {name: like(delta) for name, delta in deltas.items()}


def next_block(deltas: Updates) -> Updates:
    """The learned updates, each one block further on."""

    def name_of(name: str) -> str:
        block = int(name.split(".")[2])
        return name.replace(f".{block}.", f".{(block + 1) % 4}.")

    return {name_of(name): delta for name, delta in deltas.items()}


DERIVED: dict[str, dict[str, Callable[[Updates], Updates]]] = {
    "LoRA": {"random direction": random_direction, "wrong block": next_block},
    "full": {"full, cut to rank 8": cut},
}


@torch.no_grad()
def plus(deltas: Updates) -> nn.Module:
    """The base with updates added to its weights."""
    model, _ = models.load_embedded()
    for name, delta in deltas.items():
        model.get_submodule(name).weight += delta
    return model


def measured(model: nn.Module, tokenizer: Any, task: tasks.Task) -> dict[str, float]:
    """The loss that a choice is made by, and the score that is reported."""
    answers = train.answer(model, tokenizer, task.heldout, max_new_tokens=40)
    return {
        "valid_loss": round(train.answer_loss(model, tokenizer, task.validation), 4),
        "exact": round(task.score(task.heldout, answers)["exact"], 4),
    }


def measure(run: str, lr: float, seed: int) -> Iterator[Row]:
    """The row of one training, and of what is derived from it."""
    base, tokenizer = models.load_embedded()
    task = tasks.cipher(words=WORDS, seed=seed)
    model = prepared(run.split(",")[0], models.load_embedded()[0], seed)
    trained_on = shuffled(task, seed) if "shuffled" in run else task
    train.finetune(model, tokenizer, trained_on, "lora", lr=lr, steps=STEPS, batch_size=BATCH, seed=seed)
    trainable = lora.count_parameters(model).trainable
    about = {"of": run.split(",")[0], "lr": lr, "seed": seed}  # whose rate it has
    yield {"run": run, **about, **measured(model, tokenizer, task), "trainable": trainable}
    deltas = updates(model, base)
    for name, change in DERIVED.get(run, {}).items():
        yield {"run": name, **about, **measured(plus(change(deltas)), tokenizer, task)}


def chosen(rows: list[Row], run: str) -> float:
    """The rate with the least loss on validation, of seed 0."""
    of_seed_0 = [row for row in rows if row["run"] == run and row["seed"] == 0]
    return float(min(of_seed_0, key=lambda row: row["valid_loss"])["lr"])


def main() -> None:
    """Measure the rows that are missing, one after the other, and write the file after each."""
    torch.set_num_threads(1)
    rows: list[Row] = read_json(FILE, "delete it to begin anew")["rows"] if FILE.exists() else []
    settings = {"task": "cipher", "words": WORDS, "steps": STEPS, "batch_size": BATCH, "r": R, "alpha": ALPHA}

    def have(run: str, lr: float, seed: int) -> bool:
        """Whether a row was missing and was measured."""
        if any((row["run"], row["lr"], row["seed"]) == (run, lr, seed) for row in rows):
            return False
        for row in measure(run, lr, seed):
            print(row, flush=True)
            rows.append(row)
        in_order = sorted(rows, key=lambda row: (row["run"], row["lr"], row["seed"]))
        rates = {run: chosen(rows, run) for run in START if any(row["run"] == run for row in rows)}
        write_json(FILE, {**settings, "machine": machine.describe(), "chosen": rates, "rows": in_order})
        return True

    for run, lr in START.items():
        have(run, lr, 0)
        while any(have(run, factor * chosen(rows, run), 0) for factor in (0.5, 2)):
            pass
    for seed in SEEDS:
        for run in START:
            have(run, chosen(rows, run), seed)
        have("LoRA, answers shuffled", chosen(rows, "LoRA"), seed)
        have("LoRA", chosen(rows, "full"), seed)  # what the other's rate does to it


if __name__ == "__main__":
    pin()
    main()
