"""What the scripts that sweep over rates share: one base, a table that can be resumed, a search on validation."""

import argparse
import copy
import math
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from lora_lab import data, models, records
from lora_lab.commands import machine
from lora_lab.data.tasks import Example
from lora_lab.disk import write_json

FACTOR = 2  # between neighbouring rates


@lru_cache(maxsize=1)
def base() -> tuple[nn.Module, Any]:
    """The embedded base and its tokenizer, loaded once; copy the model before changing it."""
    return models.load_embedded()


def fresh() -> nn.Module:
    """The base, to be changed."""
    return copy.deepcopy(base()[0])


@torch.no_grad()
def exact(model: nn.Module, examples: list[Example]) -> float:
    """The share of answers that greedy decoding gives to the last token, from one forward pass.

    Greedy decoding gives an answer exactly if each of its tokens is the likeliest after those before.
    """
    tokenizer = base()[1]
    encoded = [data.batches.encode_example(tokenizer, example.prompt, example.answer) for example in examples]
    batch = data.batches.collate(encoded, tokenizer.pad_token_id)
    likeliest, wanted = model.eval()(**batch).logits[:, :-1].argmax(-1), batch["labels"][:, 1:]
    return float(((likeliest == wanted) | (wanted == -100)).all(1).float().mean())


class Table:
    """Rows that are written as soon as they are measured; what is there already is not measured again."""

    def __init__(self, name: str, header: dict[str, Any], most: int | None = None) -> None:
        self.left = most  # rows that may still be measured in this run
        self.path = records.FOLDER / f"{name}.json"
        self.rows: list[dict[str, Any]] = []
        if self.path.is_file():
            there = records.load(name)
            if {key: there.get(key) for key in header} != header:
                raise SystemExit(f"{self.path} was measured with other settings: delete it to start afresh")
            self.rows = there["rows"]
        self.header = {**header, "machine": machine.describe()}

    def row(self, measure: Callable[..., dict[str, Any]], **key: Any) -> dict[str, Any]:
        """The row with this key, by measure(**key) if it is not there yet."""
        for row in self.rows:
            if all(name in row and row[name] == value for name, value in key.items()):
                return row
        if self.left == 0:
            raise SystemExit("as many rows as were asked for: run it again for more")
        self.left = None if self.left is None else self.left - 1
        started = time.process_time()
        row = {**key, **measure(**key), "seconds": round(time.process_time() - started, 1)}
        self.rows.append(row)
        write_json(self.path, {**self.header, "rows": self.rows})
        print(row, flush=True)
        return row


def best_rate(loss: Callable[[float], float], start: float) -> float:
    """The rate of least validation loss on a grid of factors of two, with both its neighbours tried.

    Args:
        loss: validation loss of a rate; infinite if training failed.
        start: where the search begins; the grid goes through it.
    """
    tried: dict[float, float] = {}

    def at(i: int) -> float:
        rate = float(f"{start * FACTOR**i:.6g}")
        return tried.setdefault(i, loss(rate))

    i = min((-1, 0, 1), key=at)
    while min((i - 1, i, i + 1), key=at) != i:
        i = min((i - 1, i, i + 1), key=at)
    return float(f"{start * FACTOR**i:.6g}")


def rounded(value: float, digits: int = 4) -> float | None:
    """For JSON, which has no infinity."""
    return round(value, digits) if math.isfinite(value) else None


def arguments(description: str, names: list[str]) -> tuple[list[str], int | None]:
    """Which parts of a sweep the command line asks for, and how many rows of them at most."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(names)}; all of them, in this order, by default")
    parser.add_argument("--rows", type=int, help="stop after so many new rows")
    given = parser.parse_args()
    return given.parts or names, given.rows
