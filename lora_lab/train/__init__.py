"""Train and measure: one loop for every loss, three methods, exact scores.

The loop and its losses take any module, and come without transformers; what is for language models alone brings it
along when it is first asked for.
"""

import importlib

from lora_lab.train import loop, losses, optimizers, schedules
from lora_lab.train.history import History
from lora_lab.train.schedules import learning_rate
from lora_lab.units import METHODS

TYPE_CHECKING = False  # as editors and mypy know it
if TYPE_CHECKING:
    from lora_lab.train.evaluate import answer, complete, mean_loss, reading, recall
    from lora_lab.train.fitting import fit
    from lora_lab.train.recipes import LEARNING_RATES, Report, answer_loss, finetune, prepare, report
else:
    _LATER = ("evaluate", "fitting", "recipes", "causal")

    def __getattr__(name):
        if name in _LATER:
            return importlib.import_module(f"lora_lab.train.{name}")
        for module in _LATER if name in __all__ else ():
            there = importlib.import_module(f"lora_lab.train.{module}")
            if hasattr(there, name):
                return getattr(there, name)
        raise AttributeError(f"module 'lora_lab.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "LEARNING_RATES",
    "METHODS",
    "History",
    "Report",
    "answer",
    "answer_loss",
    "complete",
    "finetune",
    "fit",
    "learning_rate",
    "loop",
    "losses",
    "mean_loss",
    "optimizers",
    "prepare",
    "reading",
    "recall",
    "report",
    "schedules",
]
