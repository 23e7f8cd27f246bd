"""Figures and tables as the course shows them: with alt text, in colours that everybody can tell apart."""

from lora_lab.show.adapters import moves_by_rank, runs
from lora_lab.show.explorables import memory_explorer
from lora_lab.show.figures import (
    BLUE,
    CONTEXT,
    GREEN,
    ORANGE,
    PALETTE,
    POINT,
    PURPLE,
    SKY,
    VERMILLION,
    figure,
    picture,
    style,
)
from lora_lab.show.finetuning import loss_curve, methods
from lora_lab.show.levels import error_against_bits, errors_by_matrix, levels_under_normal, relative_errors, rounding
from lora_lab.show.memory import memory_bars, memory_timeline, predicted_against_measured
from lora_lab.show.rich import Rich
from lora_lab.show.scores import shares
from lora_lab.show.spectra import energy_curves, matrix_grid, score_curves
from lora_lab.show.tables import table, tabulate

__all__ = [
    "BLUE",
    "CONTEXT",
    "GREEN",
    "ORANGE",
    "PALETTE",
    "POINT",
    "PURPLE",
    "Rich",
    "SKY",
    "VERMILLION",
    "energy_curves",
    "error_against_bits",
    "errors_by_matrix",
    "figure",
    "levels_under_normal",
    "loss_curve",
    "matrix_grid",
    "memory_bars",
    "memory_explorer",
    "memory_timeline",
    "methods",
    "moves_by_rank",
    "picture",
    "predicted_against_measured",
    "relative_errors",
    "rounding",
    "runs",
    "score_curves",
    "shares",
    "style",
    "table",
    "tabulate",
]
