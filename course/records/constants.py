"""Record what a four-bit format costs the embedded base: weights, constants and loss, format by format.

    python course/records/constants.py        # writes lora_lab/records/constants.json; about ten minutes of one core

Two things are measured on text like the base's pretraining text, drawn afresh: the loss that rounding adds, and how
far the predictions move, the mean of ln p/p' under the base's p (the Kullback-Leibler divergence). The first depends
on which words happened to come and may be negative, the second does not and cannot.

The texts of one part serve for choices (validation), those of the other for the report (test). Every text is a sample
of its own, so that a difference between two formats can be held against its spread from text to text.
"""

import copy
import random
from functools import lru_cache
from typing import Any

import sweep
import torch
from torch import Tensor, nn

from lora_lab import data, quant
from lora_lab.authoring.execution import pin
from lora_lab.data import corpus
from lora_lab.train import pretrain
from lora_lab.units import IGNORE

TEXTS = {"validation": 3, "test": 8}
ROWS, LENGTH = 24, 160  # windows of a text, and their tokens
P_MAX = 0.9677083  # NF4's
STEPS = (0.88, 0.90, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
KINDS: dict[str, bool | quant.Codebook] = {
    "float32": False,
    "one mean": False,
    "dynamic8": True,
    "INT8": quant.INT8,
    "FP8_E4M3": quant.FP8_E4M3,
}


def text(part: str, number: int) -> dict[str, Tensor]:
    """One sample of text: windows of fresh documents."""
    dice = random.Random(f"constants {part} {number}")
    tokenizer = sweep.base()[1]
    return pretrain.packed(data.World.generate(), tokenizer, dice, corpus.LATE, ROWS, LENGTH)


@torch.no_grad()
def predictions(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """ln p of every token [tokens, vocabulary] where one is to be predicted, and the tokens that came [tokens]."""
    wanted = batch["labels"][:, 1:]
    there = wanted != IGNORE
    logits = model.eval()(input_ids=batch["input_ids"]).logits[:, :-1]
    return logits[there].log_softmax(-1), wanted[there]


@lru_cache(maxsize=1)
def texts() -> dict[str, list[tuple[dict[str, Tensor], Tensor]]]:
    """Every text with what the base that is not rounded predicts."""
    base = sweep.base()[0]
    made = {part: [text(part, number) for number in range(count)] for part, count in TEXTS.items()}
    return {part: [(each, predictions(base, each)[0]) for each in those] for part, those in made.items()}


def moved(model: nn.Module, batch: dict[str, Tensor], before: Tensor) -> tuple[float, float]:
    """The loss that a model adds to the base's, and the divergence of its predictions, in thousandths of a nat."""
    after, wanted = predictions(model, batch)
    added = (before - after).gather(1, wanted[:, None]).mean()
    divergence = (before.exp() * (before - after)).sum(-1).mean()
    return round(1e3 * float(added), 3), round(1e3 * float(divergence), 4)


def levels(p_max: float) -> quant.Codebook:
    """NF4 as if its outermost quantile were another."""

    def quantiles(count: int) -> Tensor:
        return torch.special.ndtri(torch.linspace(p_max, 0.5, count + 1)[:-1].double()).float()

    found = torch.cat([-quantiles(7), torch.zeros(1), quantiles(8)]).sort().values
    return quant.NF4 if p_max == P_MAX else quant.Codebook(f"p_max {p_max}", found / found.max())


def rounded(constants: str, block: int, p_max: float) -> nn.Module:
    """The base in four bits."""
    return quant.quantize_model(sweep.fresh(), codebook=levels(p_max), block_size=block, double_quant=KINDS[constants])


@torch.no_grad()
def measure(constants: str, block: int, p_max: float) -> dict[str, Any]:
    """One row: bits for each parameter, errors, and the loss that each text adds, in thousandths of a nat."""
    model, base = rounded(constants, block, p_max), sweep.base()[0]
    exact = rounded("float32", block, p_max)
    off = of_weights = off_constants = of_constants = numel = nbytes = 0.0
    for name, layer in model.named_modules():
        if not isinstance(layer, quant.Linear4bit):
            continue
        if constants == "one mean":
            layer.absmax.fill_(float(layer.absmax.mean()))
        weight, absmax = base.get_submodule(name).weight, exact.get_submodule(name).absmax
        stored = layer.weight_quantized
        off += float((layer.dequantize() - weight).square().sum())
        of_weights += float(weight.square().sum())
        off_constants += float((stored.absmax - absmax).square().sum())
        of_constants += float(absmax.square().sum())
        numel += weight.numel()
        nbytes += stored.packed.nbytes + 4 if constants == "one mean" else stored.nbytes
    dense = quant.dequantize_model(copy.deepcopy(model))
    found = {part: [moved(dense, *each) for each in those] for part, those in texts().items()}
    return {
        "bits": round(8 * nbytes / numel, 4),
        "error": round(off / of_weights, 7),
        "error_of_constants": round(off_constants / of_constants, 9),
        **{part: [added for added, _ in those] for part, those in found.items()},
        **{f"{part} divergence": [divergence for _, divergence in those] for part, those in found.items()},
    }


def main() -> None:
    """Measure what is missing."""
    torch.set_num_threads(1)
    wanted, rows = sweep.arguments(__doc__ or "", ["kinds", "blocks", "p_max"])
    header = {"texts": TEXTS, "tokens": ROWS * LENGTH, "unit": "thousandths of a nat a token"}
    table = sweep.Table("constants", header, rows)
    points = {
        "kinds": [(kind, 64, P_MAX) for kind in KINDS],
        "blocks": [(kind, block, P_MAX) for kind in ("float32", "dynamic8") for block in quant.BLOCK_SIZES],
        "p_max": [("float32", 64, p_max) for p_max in STEPS],
    }
    for part in wanted:
        for constants, block, p_max in points[part]:
            table.row(measure, constants=constants, block=block, p_max=p_max)


if __name__ == "__main__":
    pin()
    main()
