"""A LoRA layer's forward and backward, and injecting 224 of them: lora_lab against PEFT.

python benchmarks/bench_lora.py              # about a minute; writes results/lora.json and README.md
"""

from collections.abc import Iterator

import peft
import torch
from side_by_side import Pair, main
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lora_lab import lora

NAMES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def step(model: nn.Module, x: torch.Tensor, grad_y: torch.Tensor) -> None:
    """One forward and one backward pass, gradients of the factors and of x."""
    x = x.detach().requires_grad_()
    model(x).backward(grad_y)
    model.zero_grad(set_to_none=True)


def of_layers(dtype: str, tokens: int, wanted: dict[str, float]) -> Pair:
    """Rank 16 on a 2048 x 2048 layer; PEFT in its defaults, which keep the factors in float32, as ours."""
    torch.manual_seed(0)
    dense = nn.Linear(2048, 2048, bias=False).to(getattr(torch, dtype))
    ours = lora.LoRALinear(nn.Linear(2048, 2048, bias=False).to(dense.weight.dtype), lora.LoRAConfig(r=16, alpha=32))
    ours.base.load_state_dict(dense.state_dict())
    wrapped = peft.get_peft_model(nn.ModuleDict({"layer": dense}),
                                  peft.LoraConfig(r=16, lora_alpha=32, target_modules=["layer"]))  # fmt: skip
    theirs = wrapped.base_model.model["layer"]
    with torch.no_grad():
        ours.lora_B.normal_()
        theirs.lora_A["default"].weight.copy_(ours.lora_A)
        theirs.lora_B["default"].weight.copy_(ours.lora_B)
    x, grad_y = torch.randn(2, tokens, 2048).to(dense.weight.dtype)
    assert (ours(x) - theirs(x)).norm() < 0.02 * theirs(x).norm()
    return Pair(f"LoRA linear 2048², r = 16, {tokens} tokens", dtype, "PEFT", wanted,
                lambda: step(ours, x, grad_y), lambda: step(theirs, x, grad_y))  # fmt: skip


def of_injection() -> Pair:
    """32 layers of 7 small linears. Each run takes the adapters out again, for the next one."""
    ours, theirs = (LlamaForCausalLM(LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=32, num_attention_heads=2,
        num_key_value_heads=1)) for _ in range(2))  # fmt: skip
    config = lora.LoRAConfig(r=8, alpha=16, target_modules=NAMES)

    def inject() -> None:
        lora.inject(ours, config)
        lora.remove(ours)

    def get_peft_model() -> None:
        peft.get_peft_model(theirs, peft.LoraConfig(r=8, lora_alpha=16, target_modules=NAMES)).unload()

    return Pair("inject into 224 modules, and remove", "float32", "PEFT", {"default": 5, "warm": 5},
                inject, get_peft_model)  # fmt: skip


def pairs() -> Iterator[Pair]:
    """Layers at 16 and 256 tokens in two dtypes, then the injection."""
    for dtype, tokens, wanted in (("float32", 16, 0.98), ("float32", 256, 0.98), ("bfloat16", 16, None),
                                  ("bfloat16", 256, 1.1)):  # fmt: skip
        yield of_layers(dtype, tokens, {} if wanted is None else {"default": wanted, "warm": wanted})
    yield of_injection()


if __name__ == "__main__":
    main(__file__, pairs)
