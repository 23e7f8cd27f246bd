"""Record what merging a QLoRA adapter loses, in five ways and two controls, by the size of the update.

    python course/records/merging.py          # writes lora_lab/records/merging.json; about 10 minutes of one core

    facts       twelve strangers by heart, on the embedded base: a high rate and a low one, each at three lengths
    real        open-book JSON on SmolLM2-135M-Instruct, whose own weights went through Q4_1 before; about 20 minutes a
                seed, asked for by name

W is the original weight, Ŵ what four bits keep of it, Q rounding to NF4 (block 64, double quantization), ΔW the update,
trained on Ŵ. "noise" is the very rounding error of Q(Ŵ + ΔW), shuffled within each layer: it has its size and no longer
its place. "shuffled ΔW" is the update, shuffled likewise.
"""

import copy
import math
from functools import lru_cache
from typing import Any

import sweep
import torch
from torch import Tensor, nn

from lora_lab import data, lora, models, quant, train
from lora_lab.authoring.execution import pin
from lora_lab.data import tasks

SETTINGS = {
    "facts": {"batch_size": 8, "data": {"people": 12}, "r": 16, "alpha": 32},
    "real": {
        "batch_size": 8,
        "warmup": 3,
        "data": {"train": 240, "heldout": 32, "validation": 0},
        "r": 16,
        "alpha": 32,
    },
}
LENGTHS = {0.01: (5, 20, 80), 0.001: (20, 80, 320)}  # rate -> the steps after which adapters are merged
REAL_RATE, REAL_LENGTHS = 1e-3, (10, 30)

Weights = dict[str, Tensor]


@lru_cache(maxsize=1)
def base(run: str) -> tuple[nn.Module, Any]:
    """The model in 32 bits and its tokenizer."""
    return models.load_base("smollm2") if run == "real" else models.load_embedded()


@lru_cache(maxsize=1)
def four_bit(run: str) -> nn.Module:
    """The base in NF4."""
    return quant.quantize_model(copy.deepcopy(base(run)[0]))


def the_task(run: str, seed: int) -> tasks.Task:
    """What is to be learned."""
    kind = tasks.open_book if run == "real" else tasks.new_facts
    return kind(seed=seed, **SETTINGS[run]["data"])


@lru_cache(maxsize=1)
@torch.enable_grad()  # it is called where nothing else needs one
def updates(run: str, lr: float, seed: int) -> dict[int, Weights]:
    """ΔW after some of the steps, by layer; one training for all of them."""
    settings, lengths = SETTINGS[run], REAL_LENGTHS if run == "real" else LENGTHS[lr]
    model, found = copy.deepcopy(four_bit(run)), {}
    torch.manual_seed(seed)
    lora.inject(model, lora.LoRAConfig(settings["r"], settings["alpha"], target_modules="all-linear"))

    def keep(step: int, loss: float) -> None:
        if step in lengths:
            found[step] = {name: layer.delta_weight().detach() for name, layer in lora.adapters(model).items()}

    options = {"steps": max(lengths), "batch_size": settings["batch_size"], "warmup": settings.get("warmup")}
    options = {name: value for name, value in options.items() if value is not None}
    train.finetune(model, base(run)[1], the_task(run, seed), "qlora", lr=lr, seed=seed, on_step=keep, **options)
    return found


def rounded(weight: Tensor) -> Tensor:
    """Q(weight)."""
    return quant.quantize(weight, quant.NF4, 64, True).dequantize()


def shuffled(weight: Tensor, dice: torch.Generator) -> Tensor:
    """The same numbers in other places."""
    return weight.flatten()[torch.randperm(weight.numel(), generator=dice)].view_as(weight)


def share(moved: Weights, update: Weights) -> float:
    """How much of an update is in a movement: ⟨moved, ΔW⟩ / ⟨ΔW, ΔW⟩."""
    return sum(float((moved[n] * update[n]).sum()) for n in update) / sum(
        float(d.square().sum()) for d in update.values()
    )


def norm(weights: Weights) -> float:
    """Of all layers together."""
    return math.sqrt(sum(float(each.square().sum()) for each in weights.values()))


@torch.no_grad()
def measure(run: str, lr: float, seed: int, step: int) -> dict[str, Any]:
    """One row: for each way, the loss on validation and held out, and the share of exact answers held out."""
    delta, task = updates(run, lr, seed)[step], the_task(run, seed)
    model, tokenizer = copy.deepcopy(base(run)[0]), base(run)[1]
    W = {name: model.get_submodule(name).weight.detach().clone() for name in delta}
    hat = {name: four_bit(run).get_submodule(name).dequantize() for name in delta}
    dice = torch.Generator().manual_seed(seed)
    into_4 = {name: rounded(hat[name] + delta[name]) for name in delta}
    requantized = {name: rounded(W[name] + delta[name]) for name in delta}
    ways = {
        "Ŵ": hat,
        "Ŵ + ΔW": {name: hat[name] + delta[name] for name in delta},
        "W + ΔW": {name: W[name] + delta[name] for name in delta},
        "Q(Ŵ + ΔW)": into_4,
        "Q(W + ΔW)": requantized,
        "Ŵ + ΔW + noise": {n: hat[n] + delta[n] + shuffled(into_4[n] - hat[n] - delta[n], dice) for n in delta},
        "Ŵ + shuffled ΔW": {name: hat[name] + shuffled(delta[name], dice) for name in delta},
    }
    row: dict[str, Any] = {"size": round(norm(delta) / norm(hat), 5)}
    row["error"] = round(norm({n: into_4[n] - hat[n] - delta[n] for n in delta}) / norm(hat), 5)
    row["arrives"] = {
        "Q(Ŵ + ΔW)": round(share({n: into_4[n] - hat[n] for n in delta}, delta), 4),
        "Q(W + ΔW)": round(share({n: requantized[n] - hat[n] for n in delta}, delta), 4),
    }
    row |= {"validation": {}, "loss": {}, "exact": {}}
    for way, weights in ways.items():
        for name, weight in weights.items():
            model.get_submodule(name).weight.copy_(weight)
        row["loss"][way], row["exact"][way] = scored(model, tokenizer, task.heldout)
        if task.validation:
            row["validation"][way] = scored(model, tokenizer, task.validation)[0]
    return row


@torch.no_grad()
def scored(model: nn.Module, tokenizer: Any, examples: list[tasks.Example]) -> tuple[float, float]:
    """The loss of the answers in nats a token, and the share that greedy decoding gives to the last token."""
    model.eval()
    total, counted, right = 0.0, 0, 0
    for start in range(0, len(examples), 16):
        part = examples[start : start + 16]
        encoded = [data.batches.encode_example(tokenizer, each.prompt, each.answer) for each in part]
        batch = data.batches.collate(encoded, tokenizer.pad_token_id)
        logits, wanted = model(**batch).logits[:, :-1], batch["labels"][:, 1:]
        asked = wanted != -100
        total += float(nn.functional.cross_entropy(logits[asked], wanted[asked], reduction="sum"))
        counted += int(asked.sum())
        right += int(((logits.argmax(-1) == wanted) | ~asked).all(1).sum())
    return round(total / counted, 4), round(right / len(examples), 4)


def main() -> None:
    """Measure what is missing, seed 0 of everything first."""
    torch.set_num_threads(1)
    wanted, rows = sweep.arguments(__doc__ or "", ["facts", "real"])
    lengths = {str(lr): steps for lr, steps in LENGTHS.items()}
    table = sweep.Table("merging", {"settings": SETTINGS, "lengths": {k: list(v) for k, v in lengths.items()}}, rows)
    for run in wanted if len(wanted) == 1 else ["facts"]:
        for seed in (0, 1, 2):
            for lr, steps in (LENGTHS if run == "facts" else {REAL_RATE: REAL_LENGTHS}).items():
                for step in steps:
                    table.row(measure, run=run, lr=lr, seed=seed, step=step)


if __name__ == "__main__":
    pin()
    main()
