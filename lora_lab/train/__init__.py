"""Train and measure: one loop, three methods, exact scores."""

from lora_lab.train.evaluate import answer, complete, mean_loss, reading, recall
from lora_lab.train.history import History
from lora_lab.train.loop import fit, learning_rate
from lora_lab.train.recipes import LEARNING_RATES, Report, answer_loss, finetune, prepare, report
from lora_lab.units import METHODS

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
    "mean_loss",
    "prepare",
    "reading",
    "recall",
    "report",
]
