"""The choices of the record "places" by their names: which layers each one takes, its scores, and what they are worth.

choices.worth({"MLP": [0.2, 0.3], "all": [0.5, 0.4]})  # 0.2
choices.by_chance({"MLP": [0.2, 0.3], "all": [0.5, 0.4]})  # about 0.1: what it is worth when dealt at random
"""

import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

from torch import nn

from lora_lab.show.blocks import ATTENTION, MLP

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Scores = Mapping[str, Sequence[float]]
"""Shares between 0 and 1, one for each seed, by the name of a choice."""

PLACES: dict[str, tuple[tuple[str, ...], slice]] = {
    "all linears": (ATTENTION + MLP, slice(None)),
    "MLP": (MLP, slice(None)),
    "attention": (ATTENTION, slice(None)),
    "query and value": (("q_proj", "v_proj"), slice(None)),
    "last block only": (ATTENTION + MLP, slice(-1, None)),
}
"""Place -> the layers that get adapters, and in which blocks."""

DECISIONS = {
    "place": tuple(PLACES),
    "start": ("kaiming", "gaussian", "orthogonal", "PiSSA", "LoRA+"),
    "batch": ("batch 2", "batch 8", "batch 32"),
}
"""Decision -> its choices, by the names of the runs in the record "places"."""

_PLAIN = {"kaiming": "all linears", "batch 8": "all linears"}  # the plain run by its other names
_DEALS = 5000


def at_rate(rows: Iterable[Mapping[str, Any]], task: str, run: str, lr: float, column: str = "exact") -> list[float]:
    """A column of a recorded run at one peak rate, its exact answers if left out: a number for each seed, in order."""
    run = _PLAIN.get(run, run)
    found = {row["seed"]: row[column] for row in rows if (row["task"], row["run"], row["lr"]) == (task, run, lr)}
    return [found[seed] for seed in sorted(found)]


def rates_tried(rows: Iterable[Mapping[str, Any]], task: str, runs: Iterable[str]) -> list[float]:
    """The peak rates that any of these runs was given, from the lowest."""
    names = {_PLAIN.get(run, run) for run in runs}
    return sorted({row["lr"] for row in rows if row["task"] == task and row["run"] in names})


def at_best_rate(rows: Iterable[Mapping[str, Any]], task: str, runs: Iterable[str]) -> dict[str, list[float]]:
    """Run -> exact answers of its seeds at the rate where seed 0 has the lowest loss on validation.

    A run that is not in `rows` is left out.
    """
    scores: dict[str, list[float]] = {}
    rows = list(rows)
    for run in runs:
        if (best := best_rate(rows, task, run)) is not None:
            scores[run] = at_rate(rows, task, run, best)
    return scores


def best_rate(rows: Iterable[Mapping[str, Any]], task: str, run: str) -> float | None:
    """The rate at which seed 0 of a run has the lowest loss on validation; None for a run that is not in `rows`."""
    run = _PLAIN.get(run, run)
    first = [row for row in rows if (row["task"], row["run"], row["seed"]) == (task, run, 0)]
    return min(first, key=lambda row: row["validation"])["lr"] if first else None


def apart(choices: Scores) -> list[str]:
    """The pairs whose scores do not overlap, as "better over worse": each score of one is above all of the other."""
    pairs = itertools.permutations(choices, 2)
    return [f"{better} over {worse}" for better, worse in pairs if min(choices[better]) > max(choices[worse])]


def worth(choices: Scores) -> float:
    """The distance between the best mean and the worst one."""
    means = [mean(values) for values in full(choices).values()]
    return max(means) - min(means)


def by_chance(choices: Scores) -> float | None:
    """What a decision would be worth on average if the same scores were dealt to its choices at random.

    A mean over many deals, always the same ones. None where each choice has one score: every deal is worth as much.
    """
    groups = full(choices)
    scores = [score for values in groups.values() for score in values]
    seeds = len(scores) // len(groups)
    if seeds < 2:
        return None
    rng, dealt = random.Random(0), []
    for _ in range(_DEALS):
        rng.shuffle(scores)
        means = [sum(scores[start : start + seeds]) / seeds for start in range(0, len(scores), seeds)]
        dealt.append(max(means) - min(means))
    return mean(dealt)


def linears_of(model: "PreTrainedModel", place: str) -> dict[str, tuple[int, int]]:
    """Name -> (d_out, d_in) of the linear layers of a Llama that get adapters at one of `PLACES`."""
    kinds, blocks = PLACES[place]
    chosen = range(model.config.num_hidden_layers)[blocks]
    return {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.split(".")[-1] in kinds and int(name.split(".")[2]) in chosen
    }


def percents(values: Sequence[float]) -> str:
    """Scores between 0 and 1 as a cell of a table shows them: "59, 35, 52"."""
    return ", ".join(f"{100 * value:.0f}" for value in values)


def full(choices: Scores) -> dict[str, Sequence[float]]:
    """The choices that have as many scores as the best measured one."""
    most = max(map(len, choices.values()))
    return {choice: values for choice, values in choices.items() if len(values) == most}
