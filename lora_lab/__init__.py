"""LoRA, quantization and QLoRA, each idea implemented once and readable.

`import lora_lab` alone is light; the rooms are imported by name, or when they are first asked for:

    from lora_lab import lowrank, lora, quant, memory, data, models, train, show
"""

import importlib
import os

from lora_lab.moved import MOVED, put_stand_ins

TYPE_CHECKING = False  # as editors and mypy know it, without loading `typing`
if TYPE_CHECKING:
    from lora_lab import adapters as adapters
    from lora_lab import authoring as authoring
    from lora_lab import classroom as classroom
    from lora_lab import commands as commands
    from lora_lab import data as data
    from lora_lab import disk as disk
    from lora_lab import exercises as exercises
    from lora_lab import grading as grading
    from lora_lab import lora as lora
    from lora_lab import lowrank as lowrank
    from lora_lab import matching as matching
    from lora_lab import memory as memory
    from lora_lab import methods as methods
    from lora_lab import models as models
    from lora_lab import network as network
    from lora_lab import patterns as patterns
    from lora_lab import quant as quant
    from lora_lab import ram as ram
    from lora_lab import ranges as ranges
    from lora_lab import records as records
    from lora_lab import show as show
    from lora_lab import train as train
    from lora_lab import units as units
    from lora_lab import wrappers as wrappers
else:

    def __getattr__(name):
        if name in _rooms() or f"lora_lab.{name}" in MOVED:
            return importlib.import_module(f"lora_lab.{name}")
        raise AttributeError(f"module 'lora_lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return ["__version__", *_rooms()]


def _rooms() -> list[str]:
    """The modules and packages beside this file."""
    names = (entry.removesuffix(".py") for entry in os.listdir(__path__[0]) if entry[0] not in "_.")
    there = (name for name in names if any(map(os.path.isfile, _files_of(name))))
    return sorted(name for name in there if name != "moved")


def _files_of(name: str) -> tuple[str, str]:
    return os.path.join(__path__[0], f"{name}.py"), os.path.join(__path__[0], name, "__init__.py")


__version__ = "0.2.0"  # the only place: pyproject.toml reads it from here
put_stand_ins()
