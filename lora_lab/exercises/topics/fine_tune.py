"""Lesson 12: a model that learns over four bits, and the difference between two runs, pair by pair."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab import lora, quant
from lora_lab.exercises.tasks import Wrong, task
from lora_lab.show.pairs import paired

R, ALPHA = 4, 12


def _four_bit_learner(model: nn.Module, r: int, alpha: float) -> nn.Module:
    quant.quantize_model(model)
    return lora.inject(model, lora.LoRAConfig(r=r, alpha=alpha, target_modules="all-linear"))


def _small() -> Any:
    """A Llama of one block, head and embedding tied, as in the lesson."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 40, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True}
        return LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()


@task(reference=lambda: _four_bit_learner)
def four_bit_learner(four_bit_learner: Any) -> None:
    """Every linear layer but the head lies in NF4 with double quantization, and has an adapter, which alone trains."""
    model = _small()
    names = [name for name, module in model.named_modules() if type(module) is nn.Linear and name != "lm_head"]
    found = four_bit_learner(model, R, ALPHA)
    if found is None:
        raise Wrong("yours returns None, wanted the model: end with `return model`")
    if found is not model:
        raise Wrong(f"yours returns a {type(found).__name__}, wanted the model that it was given, changed in place")
    four_bits = {name.removesuffix(".base"): m for name, m in found.named_modules() if isinstance(m, quant.Linear4bit)}
    if not four_bits:
        raise Wrong("no layer is in four bits: call quant.quantize_model(model)")
    if missing := [name for name in names if name not in four_bits]:
        raise Wrong(f"{missing[0]} is not in four bits, wanted every linear layer but the head: skip nothing else")
    if type(found.lm_head) is not nn.Linear:
        raise Wrong("lm_head has changed: it shares its weight with the embedding, so both calls leave it as it is")
    _require_format(four_bits)
    adapters = lora.adapters(found)
    if not adapters:
        raise Wrong("no layer has an adapter, so nothing can learn: call lora.inject(model, lora.LoRAConfig(...))")
    if missing := [name for name in names if name not in adapters]:
        raise Wrong(f'{missing[0]} has no adapter, wanted one on every linear layer: target_modules="all-linear"')
    _require_adapters(adapters)
    trained = [name for name, parameter in found.named_parameters() if parameter.requires_grad]
    if others := [name for name in trained if "lora_" not in name]:
        raise Wrong(f"{others[0]} trains too, wanted the adapters alone: lora.inject freezes the rest, leave it so")
    if len(trained) != 2 * len(names):
        raise Wrong(f"{len(trained)} factors train, wanted {2 * len(names)}, an A and a B for each layer")


def _require_format(layers: dict[str, quant.Linear4bit]) -> None:
    for name, layer in layers.items():
        stored = layer.weight_quantized
        if stored.codebook != quant.NF4:
            raise Wrong(f"{name} is stored in {stored.codebook.name}, wanted NF4, which is the default")
        if isinstance(stored.constants, Tensor):
            raise Wrong(f"{name}'s constants are in 32 bits: leave double_quant on, which is the default")


def _require_adapters(adapters: dict[str, Any]) -> None:
    for name, layer in adapters.items():
        r = layer.lora_A.shape[0]
        if r == ALPHA:
            raise Wrong(f"{name}'s adapter has rank {ALPHA}: r and alpha are swapped")
        if r != R:
            raise Wrong(f"{name}'s adapter has rank {r}, wanted the {R} that it was asked for: r=r")
        if not math.isclose(layer.scaling, ALPHA / R):
            raise Wrong(f"{name}'s scaling is {layer.scaling:g}, wanted α/r = {ALPHA / R:g}: give alpha=alpha")


@task(reference=lambda: paired)
def paired_difference(paired_difference: Any) -> None:
    """The mean of ours − theirs over the pairs, and t · s / √n, where s is the differences' standard deviation."""
    cases = (
        ([0.9, 0.1, 0.5], [0.8, 0.0, 0.4], 4.0),  # the pairs agree, however far the seeds lie apart
        ([0.5, 0.7, 0.3, 0.8, 0.1], [0.6, 0.4, 0.5, 0.6, 0.2], 3.0),  # not four: half of it would be 1/√n
        ([0.0, 0.25], [0.5, 0.25], 12.7),
        ([0.3, 0.1, 0.2, 0.9, 0.4], [0.1, 0.4, 0.6, 0.2, 0.3], 1.0),
    )
    for ours, theirs, t in cases:
        given = list(ours), list(theirs)
        found = paired_difference(*given, t)
        if given != (ours, theirs):
            raise Wrong("your code changed the lists that it was given: work on copies")
        mean, half = _two_numbers(found)
        wanted = paired(ours, theirs, t)
        if not math.isclose(mean, wanted.mean, abs_tol=1e-5):
            said = f"for {ours} and {theirs} your mean is {mean:.4g}, wanted {round(wanted.mean, 6):.4g}"
            raise Wrong(said + _mean_why(mean, ours, theirs))
        if not math.isclose(half, wanted.half, abs_tol=1e-4):
            said = (
                f"for {ours} and {theirs}, t = {t:g}, your half-width is {half:.4g}, wanted {round(wanted.half, 6):.4g}"
            )
            raise Wrong(said + _half_why(half, ours, theirs, t))


def _two_numbers(found: object) -> tuple[float, float]:
    if found is None:
        raise Wrong("yours returns None, wanted two numbers: end with `return mean, half`")
    if isinstance(found, (Real, str)) or not isinstance(found, (Sequence, Tensor)) or len(found) != 2:
        raise Wrong(f"yours returns {found!r}, wanted two numbers: the mean and the half-width")
    for value in found:
        if isinstance(value, Tensor) and value.numel() == 1:
            raise Wrong("yours returns tensors, wanted plain numbers: `.item()` makes one of a tensor")
        if isinstance(value, bool) or not isinstance(value, Real):
            raise Wrong(f"yours returns {value!r} where one number is wanted")
        if math.isnan(value):
            raise Wrong("yours gives nan: is there a list with a single value, or an empty one?")
    return float(found[0]), float(found[1])


def _mean_why(found: float, ours: list[float], theirs: list[float]) -> str:
    differences = [a - b for a, b in zip(ours, theirs)]
    wanted = sum(differences) / len(differences)
    whys = {
        -wanted: ": ours minus theirs, not the other way round",
        sum(differences): ": that is the sum; divide by the number of pairs",
        sum(map(abs, differences)) / len(differences): ": a difference has a sign; do not take its size",
    }
    for value, why in whys.items():
        if math.isclose(found, value, abs_tol=1e-5):
            return why
    return ": subtract pair by pair, then take the mean"


def _half_why(found: float, ours: list[float], theirs: list[float], t: float) -> str:
    a, b = torch.tensor(ours).double(), torch.tensor(theirs).double()
    n, s = len(ours), (a - b).std().item()
    population = s * math.sqrt((n - 1) / n)
    apart = math.sqrt(a.var().item() + b.var().item())
    whys = {
        t * s: ": divide by the square root of the number of pairs",
        t * s / n: ": by the square root of the number of pairs, not by the number",
        s / math.sqrt(n): ": multiply by t",
        2.37 * s / math.sqrt(n): ": 2.37 belongs to eight pairs; use the t that is handed in",
        2 * t * s / math.sqrt(n): ": that is the whole width, wanted half of it",
        t * population / math.sqrt(n): ": the standard deviation divides by n − 1, as torch's std does by itself",
        t * apart / math.sqrt(n): ": those are the two lists' own spreads; subtract pair by pair first",
        t * a.std().item() / math.sqrt(n): ": that is the spread of ours; take the spread of the differences",
        t * s**2 / math.sqrt(n): ": that has the variance in it; the standard deviation is its square root",
    }
    for value, why in whys.items():
        if math.isclose(found, value, abs_tol=1e-4):
            return why
    return ": t times the differences' standard deviation, over the square root of their number"
