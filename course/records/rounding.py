"""Record what training can repair after rounding to two bits: post-training quantization against training that rounds.

    python course/records/rounding.py        # writes lora_lab/records/rounding.json; about 10 minutes of one core

    rounded    the embedded base, its 28 matrices rounded to 8, 4, 3 and 2 bits in blocks of 64, and not trained
    seed       two bits: training through the rounding and, as a control, training as long and rounding afterwards,
               each at its best rate on validation; and the rounding without the straight-through gradient
    seeds      two more seeds, at the rates that seed 0 chose
    others     training through the rounding on text about other people, at that rate: what comes back that is not shown
    longer     four times the steps

A seed draws other text. Rates are chosen on the validation text; loss and recall are reported on other text.
"""

import random
from collections.abc import Iterator
from typing import Any

import sweep
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lora_lab import train
from lora_lab.authoring.execution import pin
from lora_lab.data import corpus
from lora_lab.data.world import World
from lora_lab.exercises import tasks
from lora_lab.train.pretrain import packed

SETTINGS = {"block": 64, "rows": 4, "length": 256, "steps": 60}
BITS, START = 2, 2e-3
RUNS = ("trained through rounding", "trained, then rounded")
WITHOUT = "without straight-through"
OTHERS = "text about other people"
WORLD, OTHER_WORLD = World.generate(0, 64), World.generate(1, 64)

round_blocks = tasks.find("round_blocks").reference()  # the library's answers to the lesson's turns
straight_through = tasks.find("straight_through").reference()


def rounded(weight: Tensor, bits: int) -> Tensor:
    """A weight in whole numbers of so many bits, one scale per block, as floats again."""
    return round_blocks(weight.reshape(-1, SETTINGS["block"]), bits)[1].reshape(weight.shape)


class Rounding(nn.Module):
    """What stands between a weight and its use while training rounds."""

    def __init__(self, bits: int, straight: bool) -> None:
        super().__init__()
        self.bits, self.straight = bits, straight

    def forward(self, weight: Tensor) -> Tensor:
        there = rounded(weight, self.bits)
        return straight_through(weight, there) if self.straight else there


def matrices(model: nn.Module) -> list[nn.Linear]:
    """The linear layers but the head."""
    return [layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and name != "lm_head"]


@torch.no_grad()
def round_model(model: nn.Module, bits: int) -> nn.Module:
    """Round every matrix for good."""
    for layer in matrices(model):
        layer.weight.copy_(rounded(layer.weight, bits))
    return model


def text(name: str, rows: int) -> dict[str, Tensor]:
    """Fresh documents of the pretraining mix, drawn from a seed of that name."""
    return packed(WORLD, sweep.base()[1], random.Random(name), corpus.LATE, rows, SETTINGS["length"])


def stream(seed: int, world: World = WORLD) -> Iterator[dict[str, Tensor]]:
    """Text to train on, without an end."""
    rng = random.Random(f"rounding {seed}")
    while True:
        yield packed(world, sweep.base()[1], rng, corpus.LATE, SETTINGS["rows"], SETTINGS["length"])


def scores(model: nn.Module) -> dict[str, Any]:
    """Losses in nats a token, and the share of the world's facts that the model completes."""
    losses = {name: sweep.rounded(train.mean_loss(model, [text(name, 16)])) for name in ("validation", "heldout")}
    return {**losses, "recall": round(train.recall(model, sweep.base()[1], WORLD), 4)}


def untrained(bits: int) -> dict[str, Any]:
    """Post-training quantization; 32 bits is the base itself."""
    return scores(sweep.fresh() if bits == 32 else round_model(sweep.fresh(), bits))


def trained(run: str, steps: int, lr: float, seed: int) -> dict[str, Any]:
    """One run; what is scored has two-bit matrices in every case."""
    model = sweep.fresh().requires_grad_(False)
    for layer in matrices(model):
        layer.weight.requires_grad_(True)
        if run != RUNS[1]:
            parametrize.register_parametrization(layer, "weight", Rounding(BITS, straight=run != WITHOUT))
    make = train.optimizers.adamw(lr)
    seen = stream(seed, OTHER_WORLD if run == OTHERS else WORLD)
    try:
        train.loop.run(model, seen, train.losses.every_token, steps=steps, optimizer=make, seed=seed)
    except FloatingPointError:
        return {"validation": None, "heldout": None, "recall": 0.0}
    for layer in matrices(model):
        if run != RUNS[1]:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return scores(model if run != RUNS[1] else round_model(model, BITS))


def searched(table: sweep.Table, run: str) -> float:
    """The rate of least loss on validation, with seed 0."""

    def loss(lr: float) -> float:
        value = table.row(trained, run=run, steps=SETTINGS["steps"], seed=0, lr=lr)["validation"]
        return float("inf") if value is None else value

    return sweep.best_rate(loss, START)


def at_the_best(table: sweep.Table, seeds: tuple[int, ...], runs: tuple[str, ...] = RUNS, times: int = 1) -> None:
    """Each run at the rate that seed 0 chose; the two controls at that of training through the rounding."""
    for run in runs:
        best = searched(table, RUNS[0] if run in (WITHOUT, OTHERS) else run)
        for seed in seeds:
            table.row(trained, run=run, steps=times * SETTINGS["steps"], seed=seed, lr=best)


def main() -> None:
    """Measure what is missing."""
    torch.set_num_threads(1)
    wanted, rows = sweep.arguments(__doc__ or "", ["rounded", "seed", "seeds", "others", "longer"])
    table = sweep.Table("rounding", {"settings": SETTINGS, "bits": BITS}, rows)
    does = {
        "rounded": lambda: [table.row(untrained, bits=bits) for bits in (32, 8, 4, 3, 2)],
        "seed": lambda: at_the_best(table, (0,), (*RUNS, WITHOUT)),
        "seeds": lambda: at_the_best(table, (1, 2), (*RUNS, WITHOUT)),
        "others": lambda: at_the_best(table, (0, 1, 2), (OTHERS,)),
        "longer": lambda: at_the_best(table, (0, 1, 2), RUNS[:1], times=4),
    }
    for part in wanted:
        does[part]()


if __name__ == "__main__":
    pin()
    main()
