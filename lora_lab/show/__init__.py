"""Figures and tables as the course shows them: with alt text, in colours that everybody can tell apart."""

from lora_lab.show.adapters import runs
from lora_lab.show.algebra import lora_explorer
from lora_lab.show.block_rounding import quantizer, quantizer_explorer
from lora_lab.show.blocks import ATTENTION, MLP, block_diagram
from lora_lab.show.constants import cost_of_bits, double_quantization_schematic, levels_over_constants
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
from lora_lab.show.finetuning import methods
from lora_lab.show.fitting import lever_prices, levers_schematic
from lora_lab.show.formats import bits_schematic, number_lines
from lora_lab.show.gauge import memory_gauge
from lora_lab.show.kernels import passes_schematic, program_schematic, roofline
from lora_lab.show.kept import checkpointing_schematic, kept_schematic
from lora_lab.show.levels import levels_under_normal, relative_errors
from lora_lab.show.matrices import cuts, layers, svd_schematic
from lora_lab.show.memory import memory_bars, memory_timeline, predicted_against_measured
from lora_lab.show.normal_float import block_schematic, usage_bars, weight_histograms
from lora_lab.show.merging import lost_by_size, merge_schematic, moved_weights
from lora_lab.show.pairs import STUDENT, against, paired
from lora_lab.show.places import by_choice, decisions, stopping_curves
from lora_lab.show.qlora import qlora_schematic, slowdown_by_tokens
from lora_lab.show.production import library_calls_schematic, loss_gaps, two_libraries
from lora_lab.show.ranks import rank_explorer
from lora_lab.show.rates import first_step_schematic, rate_curves, scaling_schematic
from lora_lab.show.rich import Rich
from lora_lab.show.schematics import lora_schematic
from lora_lab.show.scores import shares
from lora_lab.show.start import at_step, fits, form_and_content, ladder, wrapped
from lora_lab.show.subspace import misfit_by_dimension, reach_and_shadow, scores_by_size, subspace_schematic
from lora_lab.show.tables import table, tabulate
from lora_lab.show.weight_to_file import weight_to_file_schematic

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
    "STUDENT",
    "VERMILLION",
    "against",
    "at_step",
    "bits_schematic",
    "block_diagram",
    "block_schematic",
    "by_choice",
    "checkpointing_schematic",
    "cost_of_bits",
    "cuts",
    "decisions",
    "double_quantization_schematic",
    "energy_held",
    "figure",
    "first_step_schematic",
    "fits",
    "form_and_content",
    "inference_explorer",
    "kept_schematic",
    "ladder",
    "layers",
    "levels_over_constants",
    "levels_under_normal",
    "lever_prices",
    "levers_schematic",
    "library_calls_schematic",
    "lora_explorer",
    "lora_schematic",
    "loss_gaps",
    "lost_by_size",
    "memory_bars",
    "memory_explorer",
    "memory_gauge",
    "memory_timeline",
    "merge_schematic",
    "methods",
    "misfit_by_dimension",
    "moved_weights",
    "number_lines",
    "paired",
    "parts_by_rank",
    "passes_schematic",
    "picture",
    "predicted_against_measured",
    "program_schematic",
    "qlora_schematic",
    "quantizer",
    "quantizer_explorer",
    "rank_explorer",
    "rate_curves",
    "reach_and_shadow",
    "relative_errors",
    "rivals",
    "roofline",
    "runs",
    "scaling_schematic",
    "scores_by_size",
    "shares",
    "slowdown_by_tokens",
    "stopping_curves",
    "style",
    "subspace_schematic",
    "svd_schematic",
    "table",
    "tabulate",
    "two_libraries",
    "usage_bars",
    "weight_histograms",
    "weight_to_file_schematic",
    "wrapped",
]
