"""What LoRA and 4-bit quantization reach in a model, and what it costs in parameters and bytes.

    LoRA  r·(d_in + d_out) parameters per adapted layer        NF4  ½ byte per weight + constants

What they reach is every linear layer, `torch.nn.Linear` or GPT-2's `Conv1D`. Neither `lora.inject` nor
`quant.quantize_model` touches the experts of a mixture, which transformers 5 keeps as 3-D parameters: they stay dense
and without adapters. Models are causal LMs: a classifier, whose fresh head trains in full, is not counted here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import nn
from transformers import PreTrainedConfig

from lora_lab import lora
from lora_lab.memory.shapes import LinearShape, layer_linears, linears, parameters
from lora_lab.memory.sizes import FAMILIES, Sizes, sizes
from lora_lab.quant import BLOCK_SIZES
from lora_lab.units import Method


def adapted(config: PreTrainedConfig | str, target_modules: str | Sequence[str] = "all-linear") -> list[LinearShape]:
    """The linear layers that `lora.inject` would adapt, by the same matching; `count` and `paths` are those adapted.

    Raises:
        ValueError: for a target that matches nothing or a tied head, as `lora.inject` does.
    """
    chosen = _chosen(sizes(config), target_modules if isinstance(target_modules, str) else tuple(target_modules))
    if "lm_head" in chosen and sizes(config).tied:
        raise ValueError(
            "lm_head.weight is tied: the same tensor is also the token embedding; leave it out of target_modules"
        )
    kept = []
    for shape in linears(config):
        if paths := tuple(path for path in shape.paths if path in chosen):
            kept.append(replace(shape, count=len(paths), paths=paths))
    return kept


def lora_parameters(
    config: PreTrainedConfig | str, r: int = 16, target_modules: str | Sequence[str] = "all-linear"
) -> int:
    """Trainable parameters of adapters of rank r: r · Σ (d_in + d_out) over the adapted layers.

    Raises:
        ValueError: for a rank or targets that `lora.inject` would refuse.

    >>> from lora_lab.memory import load_config
    >>> lora_parameters(load_config("llama-3.1-8b"))
    41943040
    """
    lora.LoRAConfig(r=r, target_modules=target_modules)  # refuses bad ranks
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
    config: PreTrainedConfig | str, block_size: int = 64, double_quant: bool = True, dense_bytes: int = 2
) -> StoredWeights:
    """Bytes of the model after `quant.quantize_model`: NF4 linears, the rest at `dense_bytes` a value.

    Dense stay the embeddings, the head, norms, biases, and a mixture's experts and router.

    >>> from lora_lab.memory import load_config
    >>> round(quantized_weights(load_config("llama-3.1-8b")).total / 1e9, 2)
    5.7
    """
    layers = linears(config)[:-1]
    quantized = sum(shape.count * shape.numel for shape in layers)
    return StoredWeights(
        packed=sum(shape.count * packed_bytes(shape.numel) for shape in layers),
        constants=sum(shape.count * constant_bytes(shape.numel, block_size, double_quant) for shape in layers),
        dense=dense_bytes * (parameters(config).total - quantized),
    )


def notes(config: PreTrainedConfig, method: Method) -> tuple[str, ...]:
    """What an estimate must say of weights that the method does not reach."""
    if method == "full" or config.model_type not in FAMILIES or not sizes(config).experts:
        return ()
    stay = "without adapters" if method == "lora" else "without adapters and in 16 bits or more"
    return (f"the {parameters(config).experts:,} parameters of the mixture's experts stay frozen, {stay}",)


@lru_cache
def _chosen(s: Sizes, target_modules: str | tuple[str, ...]) -> frozenset[str]:
    """The names that `lora.targets` finds: one estimate asks for them eleven times."""
    return frozenset(lora.targets(_skeleton(s), target_modules))


@lru_cache(maxsize=8)
def _skeleton(s: Sizes) -> nn.Module:
    """Linear layers under the right names, without weights, so that LoRA's own matcher can decide."""
    architectures = {"gpt2": "GPT2LMHeadModel", "gemma3_text": "Gemma3ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM"}
    name = architectures.get(s.model_type, f"{s.model_type.capitalize()}ForCausalLM")
    model = type(name, (nn.Module,), {"get_output_embeddings": lambda self: self.lm_head})()
    for path in [path for shape in layer_linears(s) for path in shape.paths] + ["lm_head"]:
        parent: nn.Module = model
        *above, last = path.split(".")
        for part in above:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        with torch.device("meta"):
            parent.add_module(last, nn.Linear(1, 1, bias=False))
    return model
