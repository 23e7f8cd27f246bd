"""Figures and tables as the course shows them: with alt text, in colours that everybody can tell apart."""

from lora_lab.show.adapters import moves_by_rank, runs
from lora_lab.show.algebra import lora_explorer
from lora_lab.show.blocks import ATTENTION, MLP, block_diagram
from lora_lab.show.directions import energy_held, parts_by_rank, rivals
from lora_lab.show.drawing import Drawing
from lora_lab.show.explorables import inference_explorer, memory_explorer
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
from lora_lab.show.gauge import memory_gauge
from lora_lab.show.levels import error_against_bits, errors_by_matrix, levels_under_normal, relative_errors, rounding
from lora_lab.show.matrices import cuts, layers, svd_schematic
from lora_lab.show.memory import memory_bars, memory_timeline, predicted_against_measured
from lora_lab.show.places import by_choice, decisions, stopping_curves
from lora_lab.show.ranks import rank_explorer
from lora_lab.show.rates import first_step_schematic, rate_curves, scaling_schematic
from lora_lab.show.rich import Rich
from lora_lab.show.schematics import lora_schematic
from lora_lab.show.scores import shares
from lora_lab.show.spectra import energy_curves, matrix_grid, score_curves
from lora_lab.show.start import at_step, fits, form_and_content, ladder, wrapped
from lora_lab.show.subspace import misfit_by_dimension, reach_and_shadow, scores_by_size, subspace_schematic
from lora_lab.show.tables import table, tabulate

__all__ = [
    "ATTENTION",
    "BLUE",
    "CONTEXT",
    "Drawing",
    "GREEN",
    "MLP",
    "ORANGE",
    "PALETTE",
    "POINT",
    "PURPLE",
    "Rich",
    "SKY",
    "VERMILLION",
    "at_step",
    "block_diagram",
    "by_choice",
    "cuts",
    "decisions",
    "energy_curves",
    "energy_held",
    "error_against_bits",
    "errors_by_matrix",
    "figure",
    "first_step_schematic",
    "fits",
    "form_and_content",
    "inference_explorer",
    "ladder",
    "layers",
    "levels_under_normal",
    "lora_explorer",
    "lora_schematic",
    "loss_curve",
    "matrix_grid",
    "memory_bars",
    "memory_explorer",
    "memory_gauge",
    "memory_timeline",
    "methods",
    "misfit_by_dimension",
    "moves_by_rank",
    "parts_by_rank",
    "picture",
    "predicted_against_measured",
    "rank_explorer",
    "rate_curves",
    "reach_and_shadow",
    "relative_errors",
    "rivals",
    "rounding",
    "runs",
    "scaling_schematic",
    "score_curves",
    "scores_by_size",
    "shares",
    "stopping_curves",
    "style",
    "svd_schematic",
    "subspace_schematic",
    "table",
    "tabulate",
    "wrapped",
]
