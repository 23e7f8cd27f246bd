"""An answer to a task as a learner might type it, and what running it gives."""

import importlib
import math
import re
from dataclasses import dataclass
from typing import Any

ROOMS = ("adapters", "data", "lora", "lowrank", "memory", "methods", "models", "quant", "records", "show", "train")


@dataclass(frozen=True)
class Answer:
    """What a learner might type.

    Attributes:
        task: whose name the code defines.
        code: a cell; `torch`, `nn`, `F`, `math` and the library's rooms are there already.
        says: part of the diagnosis that a wrong answer gets; "" for a right one.
    """

    task: str
    code: str
    says: str = ""


def cells(text: str) -> list[Answer]:
    """Answers one after the other, each below a line "#: " with part of the diagnosis that it gets, or with nothing."""
    answers = []
    for cell in text.split("#:")[1:]:
        says, code = cell.split("\n", 1)
        answers.append(Answer(re.findall(r"^def (\w+)", code, re.MULTILINE)[0], code, says.strip()))
    return answers


def run(code: str, task: str, **known: Any) -> Any:
    """What a cell gives to the task's name, with `known` defined above it."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    names: dict[str, Any] = {room: importlib.import_module(f"lora_lab.{room}") for room in ROOMS}
    names |= {"torch": torch, "nn": nn, "F": F, "math": math, **known, "__name__": "__main__"}
    exec(compile(code, "<ipython-input-1>", "exec"), names)  # a name that IPython gives to a cell
    return names[task]
