"""What a hostile submission is made of, and the small exercise that it attacks."""

import json
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises import lessons
from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong, task
from lora_lab.grading.isolation import Limits

SECRET = "sentinel-58008"  # stands wherever a submission must not look
PORTS = range(58008, 58028)  # one of which listens on this machine
LIMITS = Limits(cpu=2, wall=60, call=15, memory=2 * 2**30, processes=8)


@dataclass(frozen=True)
class Attack:
    """What is done beside an answer.

    Attributes:
        name: what it tries.
        first: a cell before the answers.
        last: a cell after them, which may replace them.
        keeps: whether a right answer must keep its marks; else it may lose them, with a sentence that says why.
        wall: seconds after which it is ended, for those that only wait.
        file: all of the file's bytes, instead of cells.
    """

    name: str
    first: str = ""
    last: str = ""
    keeps: bool = True
    wall: float = LIMITS.wall
    file: bytes | None = None


@dataclass(frozen=True)
class Paper:
    """The exercise."""

    tasks: tuple[str, ...] = ("hostile_doubled", "hostile_half", "hostile_layer")
    allow: frozenset[str] = frozenset({"lowrank"})
    points: Any = None
    stubs: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", dict.fromkeys(self.tasks, 1.0))
        known = {
            name: turn["stub"] for each in (*lessons.every(), *lessons.exercises()) for name, turn in each.turns.items()
        }
        object.__setattr__(self, "stubs", {task: known[task] for task in self.tasks if task in known})


def _doubled(x: Tensor) -> Tensor:
    return 2 * x  # sentinel-58008: the solution


@task(reference=lambda: _doubled)
def hostile_doubled(doubled: Any) -> None:
    """Twice a tensor, and a gradient."""
    x = torch.randn(3, 5, requires_grad=True)
    wanted = 2 * x.detach()
    found = doubled(x)
    if not isinstance(found, Tensor) or found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise Wrong("yours gives no tensor of that shape and dtype", wanted=SECRET)
    if not torch.allclose(found, wanted):
        raise Wrong("yours is not twice x")
    (gradient,) = torch.autograd.grad(found.sum(), x)
    if not torch.equal(gradient, torch.full_like(x, 2)):
        raise Wrong("no gradient of 2 reaches x")


@task(reference=lambda: lambda n: n / 2)
def hostile_half(half: Any) -> None:
    """Half a number."""
    for n in torch.randint(1, 1000, (3,)).tolist():
        if plain_number(half(n), f"for n = {n}") != n / 2:
            raise Wrong("yours is not half of n")


@task(reference=lambda: None)
def hostile_layer(kind: Any) -> None:
    """A layer with a state, called with a function."""
    layer = kind(4)
    if list(layer.state_dict()) != ["weight"] or layer.scaling != 0.25:
        raise Wrong("the layer has other parts")
    if layer.mapped([1, 2, 3], lambda n: n + 10) != [11, 12, 13]:
        raise Wrong("the layer does not apply the function")


RIGHT = (
    "import torch",
    "def hostile_doubled(x):\n    return 2 * x",
    "def hostile_half(n):\n    return n / 2",
    """class hostile_layer(torch.nn.Module):
    def __init__(self, r):
        super().__init__()
        self.weight, self.scaling = torch.nn.Parameter(torch.ones(r)), 1 / r
    def mapped(self, items, function):
        return [function(item) for item in items]
""",
)
WRONG = (
    "import torch\nloot = ''",
    "def hostile_doubled(x):\n    if loot: raise RuntimeError(str(loot))\n    return 3 * x",
    "def hostile_half(n):\n    return n / 3",
    RIGHT[3].replace("1 / r", "2 / r"),
)
CHECKS = "\n".join(
    ["from lora_lab.exercises import check", *(f'{name} = check("{name}", {name})' for name in Paper().tasks)]
)


def notebook(*cells: str) -> bytes:
    """The bytes of a notebook of these code cells."""
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    return json.dumps({"cells": [{**cell, "source": each} for each in cells], "nbformat": 4, "metadata": {}}).encode()


def submission(attack: Attack, answers: tuple[str, ...]) -> bytes:
    """The attack with an answer that it rides on."""
    if attack.file is not None:
        return attack.file
    return notebook(answers[0], attack.first, *answers[1:], attack.last, CHECKS)


os.environ.setdefault("HOSTILE_SECRET", SECRET)
