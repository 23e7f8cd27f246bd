"""Record rank, scaling and rate together: the best rate of each rank under three rules, and what each rank then learns.

    python course/records/rates.py            # writes lora_lab/records/rates.json; about 8 minutes of one core

    transfer              new facts: the rate that is best at rank 16, kept at rank 1 and 64 under three rules
    rules, rules-seeds    new facts: the best rate at rank 1, 16 and 64, scaled by α/r, α/√r and a constant
    facts, cipher         two tasks that need capacity: rank 1 to 64 and full fine-tuning, each at its best rate
    cut, cut-seeds        the sailor: full fine-tuning at three rates, and what of it a cut to rank 8 keeps

Rates are chosen on validation. In "facts" and "cipher" seed 0 chooses and seeds 1 and 2 keep its rate; in "rules" each
seed chooses its own.
"""

import math
from typing import Any

import sweep
import torch
from torch import Tensor, nn

from lora_lab import lora, lowrank, train
from lora_lab.adapters import naming
from lora_lab.authoring.execution import pin
from lora_lab.data import tasks

SETTINGS = {
    "new_facts": {"steps": 80, "batch_size": 8, "data": {"people": 12}},
    "cipher": {"steps": 150, "batch_size": 8, "data": {"words": 12}},  # as in lesson 03
    "sailor": {"steps": 60, "batch_size": 8, "data": {"train": 768, "heldout": 200}},
}
ANCHOR, SCALING = 16, 2.0  # the rank at which the three rules agree, and the scaling there: α = 32
RULES = {
    "α/r": lambda r: SCALING * ANCHOR / r,
    "α/√r": lambda r: SCALING * math.sqrt(ANCHOR / r),
    "constant": lambda r: SCALING,
}
RULE_RANKS, RANKS = (1, 16, 64), (1, 4, 16, 64)
START, FULL_START = 1e-2, 2e-3
CUT_RATES, CUT_RANK = (1e-3, 2e-3, 4e-3), 8


def measure(task: str, r: int, scaling: float, lr: float, seed: int) -> dict[str, Any]:
    """One row: LoRA of rank r on all linear layers, or, for r = 0, every weight of the model."""
    settings, model, tokenizer = SETTINGS[task], sweep.fresh(), sweep.base()[1]
    examples = tasks.TASKS[task](seed=seed, **settings["data"])
    config = lora.LoRAConfig(r=r, alpha=scaling * r, target_modules="all-linear") if r else None
    train.prepare(model, "lora" if r else "full", config, seed)
    row = {"trainable": lora.count_parameters(model).trainable}
    options = {key: settings[key] for key in ("steps", "batch_size")}
    try:
        train.finetune(model, tokenizer, examples, "lora", lr=lr, seed=seed, **options)
    except FloatingPointError:
        return {**row, "validation": None, "exact": 0.0}
    row["validation"] = sweep.rounded(train.answer_loss(model, tokenizer, examples.validation))
    row["exact"] = round(sweep.exact(model, examples.heldout), 4)
    return row


def searched(table: sweep.Table, task: str, r: int, scaling: float, start: float, seed: int) -> float:
    """The best rate of a rank and a scaling on validation."""

    def loss(lr: float) -> float:
        if lr > 1:
            return math.inf
        value = table.row(measure, task=task, r=r, scaling=scaling, seed=seed, lr=lr)["validation"]
        return math.inf if value is None else value

    return sweep.best_rate(loss, start)


def rules(table: sweep.Table, seeds: tuple[int, ...]) -> None:
    """The best rate at each rank under each rule."""
    for seed in seeds:
        for r in RULE_RANKS:
            for scaling in sorted({rule(r) for rule in RULES.values()}):
                searched(table, "new_facts", r, scaling, START, seed)


def transfer(table: sweep.Table, seeds: tuple[int, ...]) -> None:
    """The rate that is best at the anchor, kept at other ranks under each rule."""
    best = searched(table, "new_facts", ANCHOR, SCALING, START, seed=0)
    for seed in seeds:
        for r in RULE_RANKS:
            for scaling in sorted({rule(r) for rule in RULES.values()}):
                table.row(measure, task="new_facts", r=r, scaling=scaling, seed=seed, lr=best)


def capacity(table: sweep.Table, task: str, seeds: tuple[int, ...]) -> None:
    """Every rank at its best rate, and full fine-tuning at its own."""
    for r in (0, *RANKS):
        best = searched(table, task, r, SCALING, START if r else FULL_START, seed=0)
        for seed in seeds:
            table.row(measure, task=task, r=r, scaling=SCALING, seed=seed, lr=best)


def cut(table: sweep.Table, seeds: tuple[int, ...]) -> None:
    """Full fine-tuning of the 28 matrices or of everything, and the matrices' change cut to rank 8."""
    for lr in CUT_RATES:
        for places in ("matrices", "everything"):
            for seed in seeds:
                table.row(measure_cut, task="sailor", places=places, seed=seed, lr=lr)


def measure_cut(task: str, places: str, seed: int, lr: float) -> dict[str, Any]:
    """Scores of the whole; of its matrices over the base's embeddings and norms; and of both with the matrices cut."""
    settings, tokenizer = SETTINGS[task], sweep.base()[1]
    examples = tasks.TASKS[task](seed=seed, **settings["data"])
    whole, names = sweep.fresh(), naming.targets(sweep.base()[0], "all-linear")
    whole.requires_grad_(places == "everything")
    for name in names:
        whole.get_submodule(name).weight.requires_grad_(True)
    options = {key: settings[key] for key in ("steps", "batch_size")}
    train.finetune(whole, tokenizer, examples, "full", lr=lr, seed=seed, **options)
    own = {name: sweep.base()[0].get_submodule(name).weight.detach() for name in names}
    delta = {name: whole.get_submodule(name).weight.detach() - own[name] for name in names}
    short = {name: product(lowrank.truncated_svd(change, CUT_RANK)) for name, change in delta.items()}
    energy = sum(float(D.square().sum()) for D in short.values()) / sum(float(D.square().sum()) for D in delta.values())
    scores = {"exact": sweep.exact(whole, examples.heldout)}
    scores["matrices alone"] = sweep.exact(moved(sweep.fresh(), own, delta), examples.heldout)
    scores["cut"] = sweep.exact(moved(sweep.fresh(), own, short), examples.heldout)
    scores["cut, the rest kept"] = sweep.exact(moved(whole, own, short), examples.heldout)
    return {name: round(value, 4) for name, value in (*scores.items(), ("energy of 8", energy))}


def product(factors: tuple[Tensor, Tensor]) -> Tensor:
    """B A."""
    B, A = factors
    return B @ A


@torch.no_grad()
def moved(model: nn.Module, own: dict[str, Tensor], delta: dict[str, Tensor]) -> nn.Module:
    """The model with these changes of the base's matrices."""
    for name, change in delta.items():
        model.get_submodule(name).weight.copy_(own[name] + change)
    return model


def main() -> None:
    """Measure what is missing, seed 0 of everything first."""
    torch.set_num_threads(1)
    names = ["transfer", "facts", "rules", "cut", "rules-seeds", "cut-seeds", "cipher"]
    wanted, rows = sweep.arguments(__doc__ or "", names)
    table = sweep.Table("rates", {"settings": SETTINGS, "anchor": ANCHOR}, rows)
    does = {
        "transfer": lambda: transfer(table, (0, 1, 2)),
        "rules": lambda: rules(table, (0,)),
        "facts": lambda: capacity(table, "new_facts", (1, 2)),
        "cut": lambda: cut(table, (0,)),
        "rules-seeds": lambda: rules(table, (1, 2)),
        "cut-seeds": lambda: cut(table, (1, 2)),
        "cipher": lambda: capacity(table, "cipher", (1, 2)),
    }
    for part in wanted:
        does[part]()


if __name__ == "__main__":
    pin()
    main()
