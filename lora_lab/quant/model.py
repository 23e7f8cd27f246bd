"""Whole models: every linear layer to four bits, and back."""

from collections.abc import Iterable

import torch
from torch import nn

from lora_lab.quant.codebooks import NF4, Codebook
from lora_lab.quant.linear4bit import Linear4bit


def quantize_model(
    model: nn.Module,
    skip: Iterable[str] = ("lm_head",),
    codebook: Codebook = NF4,
    block_size: int = 64,
    double_quant: bool = True,
    compute_dtype: torch.dtype | None = None,
) -> nn.Module:
    """Replace every `nn.Linear` of `model` by a `Linear4bit`, in place.

    Args:
        model: any module.
        skip: last name parts of layers that stay dense. A tied `lm_head` must: its weight is the embedding.
        codebook, block_size, double_quant, compute_dtype: as for `Linear4bit.from_linear`.

    Raises:
        ValueError: if there is no layer to quantize, a name in `skip` was given alone as a string, or a weight is not
            finite, naming the layer; the model is then unchanged.
    """
    if isinstance(skip, str):
        raise ValueError(f"skip={skip!r} is one string: give a sequence of names, ({skip!r},)")
    skipped = set(skip)
    replacements = {}
    for name, module in model.named_modules():
        if type(module) is nn.Linear and name and name.rpartition(".")[2] not in skipped:
            try:
                layer = Linear4bit.from_linear(module, codebook, block_size, double_quant, compute_dtype)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            replacements[name] = layer.train(module.training)
    if not replacements:
        raise ValueError(f"{type(model).__name__} has no nn.Linear to quantize outside skip={tuple(skipped)}")
    for name, layer in replacements.items():
        model.set_submodule(name, layer)
    return model


def dequantize_model(model: nn.Module) -> nn.Module:
    """Replace every `Linear4bit` by an `nn.Linear` that holds the dequantized weight, in place.

    The dense model computes what the 4-bit one did, so adapters trained on the one can be merged into the other
    without loss.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, Linear4bit):
            dense = nn.Linear(module.in_features, module.out_features, bias=False, device="meta")
            dense.weight = nn.Parameter(module.dequantize(), requires_grad=False)
            dense.register_parameter("bias", module.bias)
            model.set_submodule(name, dense.train(module.training))
    return model
