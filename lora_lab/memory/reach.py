"""What LoRA and 4-bit quantization reach in a model, and what it costs in parameters and bytes.

    LoRA  r·(d_in + d_out) parameters per adapted layer        NF4  ½ byte per weight + constants

What they reach is every linear layer, `torch.nn.Linear` or GPT-2's `Conv1D`. Neither `lora.inject` nor
`quant.quantize_model` touches the experts of a mixture, which transformers 5 keeps as 3-D parameters: they stay dense
and without adapters. Models are causal LMs: a classifier, whose fresh head trains in full, is not counted here.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from lora_lab import ranges
from lora_lab.matching import ALL_LINEAR, meanings, target_names
from lora_lab.memory.shapes import LinearShape, Weight, layer_linears, linears, parameters, weights
from lora_lab.memory.sizes import Sized, Sizes, sizes
from lora_lab.units import BLOCK_SIZES, Method


def adapted(config: Sized, target_modules: str | Sequence[str] = "all-linear") -> list[LinearShape]:
    """The linear layers that `lora.inject` would adapt, by the same matching; `count` and `paths` are those adapted.

    Raises:
        ValueError: for a target that matches nothing or a tied head, as `lora.inject` does.
    """
    given = target_modules if isinstance(target_modules, str) else target_names(target_modules)
    return list(_adapted(sizes(config), given))


def lora_parameters(config: Sized, r: int = 16, target_modules: str | Sequence[str] = "all-linear") -> int:
    """Trainable parameters of adapters of rank r: r · Σ (d_in + d_out) over the adapted layers.

    Raises:
        ValueError: for a rank or targets that `lora.inject` would refuse.

    >>> from lora_lab.memory import load_config
    >>> lora_parameters(load_config("llama-3.1-8b"))
    41943040
    """
    ranges.whole("r", r)
    return r * sum(shape.count * (shape.d_in + shape.d_out) for shape in adapted(config, target_modules))


def packed_bytes(numel: int) -> int:
    """Bytes of a weight at four bits a value."""
    return math.ceil(numel / 2)


def constant_bytes(numel: int, block_size: int = 64, double_quant: bool = True) -> int:
    """Bytes of the constants of one 4-bit weight: a float32 per block, or with double quantization a byte per block,
    a float32 per 256 blocks and a float32 mean. Equal to `quant.quantize(...).nbytes` less the packed values."""
    if block_size not in BLOCK_SIZES:
        raise ValueError(f"block_size={block_size!r} is not offered: choose one of {', '.join(map(str, BLOCK_SIZES))}")
    blocks = math.ceil(numel / block_size)
    return blocks + 4 * math.ceil(blocks / 256) + 4 if double_quant else 4 * blocks


@dataclass(frozen=True)
class StoredWeights:
    """Bytes of a model's weights as they lie in memory.

    Attributes:
        packed: of the weights in four bits.
        constants: their quantization constants.
        dense: of all the others.
    """

    packed: int
    constants: int
    dense: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.packed + self.constants + self.dense


def quantized_weights(
    config: Sized,
    block_size: int = 64,
    double_quant: bool = True,
    dense_bytes: int = 2,
    with_experts: bool = False,
) -> StoredWeights:
    """Bytes of the model after `quant.quantize_model`: NF4 linears, the rest at `dense_bytes` a value.

    Dense stay the embeddings, the head, norms, biases, a mixture's router and, unless asked, its experts.

    >>> from lora_lab.memory import load_config
    >>> round(quantized_weights(load_config("llama-3.1-8b")).total / 1e9, 2)
    5.7
    """
    layers: list[LinearShape | Weight] = [*linears(config)[:-1]]
    if with_experts:
        layers += [weight for weight in weights(config) if weight.group == "experts"]
    quantized = sum(shape.count * shape.numel for shape in layers)
    return StoredWeights(
        packed=sum(shape.count * packed_bytes(shape.numel) for shape in layers),
        constants=sum(shape.count * constant_bytes(shape.numel, block_size, double_quant) for shape in layers),
        dense=dense_bytes * (parameters(config).total - quantized),
    )


def int8_weights(config: Sized, dense_bytes: int = 2) -> StoredWeights:
    """Bytes of the model with its linear layers, but for the head, as LLM.int8 stores them: a byte per weight, and an
    fp32 scale per row (bitsandbytes 0.50.2, nn/modules.py, `Int8Params.CB` and `.SCB`)."""
    layers = linears(config)[:-1]
    packed = sum(shape.count * shape.numel for shape in layers)
    scales = sum(shape.count * 4 * shape.d_out for shape in layers)
    return StoredWeights(packed, scales, dense_bytes * (parameters(config).total - packed))


def notes(s: Sizes, method: Method, with_experts: bool = False) -> tuple[str, ...]:
    """What an estimate must say of weights that the method does not reach."""
    if method == "full" or not s.experts:
        return ()
    if with_experts:
        stay = "without adapters, in four bits, which transformers 5 does not do by itself"
    else:
        stay = "without adapters" if method == "lora" else "without adapters and in 16 bits or more"
    return (f"the {parameters(s).experts:,} parameters of the mixture's experts stay frozen, {stay}",)


@lru_cache
def _adapted(s: Sizes, target_modules: str | tuple[str, ...]) -> tuple[LinearShape, ...]:
    chosen = _chosen(s, target_modules)
    if "lm_head" in chosen and s.tied:
        raise ValueError(
            "lm_head.weight is tied: the same tensor is also the token embedding; leave it out of target_modules"
        )
    kept = []
    for shape in linears(s):
        if paths := tuple(path for path in shape.paths if path in chosen):
            kept.append(replace(shape, count=len(paths), paths=paths))
    return tuple(kept)


def _chosen(s: Sizes, target_modules: str | tuple[str, ...]) -> set[str]:
    """The names that `lora.targets` finds in a model of these sizes, by the same matching."""
    paths = [path for shape in layer_linears(s) for path in shape.paths]
    if target_modules == ALL_LINEAR:
        return set(paths)
    paths.append("lm_head")
    there = list(dict.fromkeys(_with_parents(paths)))
    architecture, called = s.family.architecture, ", ".join(dict.fromkeys(path.rpartition(".")[2] for path in paths))
    advice = f"its linear layers are called {called}"
    chosen: set[str] = set()
    for target, found in meanings(target_names(target_modules), there).items():
        if not found:
            raise ValueError(f"target {target!r} matches no module of {architecture}: {advice}")
        if others := sorted(found - set(paths)):
            raise ValueError(f"target {others[0]!r} is no linear layer: only those take adapters here; {advice}")
        chosen |= found
    return chosen


def _with_parents(paths: Iterable[str]) -> Iterator[str]:
    """Each path after those of the modules that it lies in."""
    for path in paths:
        parts = path.split(".")
        yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))
