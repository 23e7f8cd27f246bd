"""A Llama of two small layers, and whether a model is bit for bit what it was."""

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lora_lab import lora

IDS = torch.arange(18).view(2, 9) * 7 % 256


def tiny_llama(seed: int = 0, tie_word_embeddings: bool = True, **options) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=256,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=tie_word_embeddings,
            pad_token_id=0,
            **options,
        )
    ).eval()


def randomise(model: nn.Module, seed: int = 1) -> nn.Module:
    """Give the adapters something to say: B is zero at the start."""
    generator = torch.Generator().manual_seed(seed)
    for layer in lora.adapters(model).values():
        with torch.no_grad():
            layer.lora_B.copy_(0.1 * torch.randn(layer.lora_B.shape, generator=generator))
    return model


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same(model: nn.Module, before: dict[str, torch.Tensor]) -> None:
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())


@torch.no_grad()
def moved(model: nn.Module, seed: int = 1) -> nn.Module:
    """Whatever trains is moved."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter += 0.1 * torch.randn_like(parameter)
    return model
