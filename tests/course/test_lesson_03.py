"""Lesson 03: its twenty lines compute what the library computes, and what the lesson says about them is so."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lora_lab import lora
from tests.helpers import lessons

SHAPES = [(1, 1, 1), (5, 3, 2), (192, 64, 8), (65, 127, 3), (3, 200, 64)]  # d_in, d_out, r


@pytest.fixture(scope="module")
def lesson() -> dict[str, Any]:
    """The names that the lesson defines before it first runs a model: the class and `inject`."""
    sources = lessons.cells("03_lora_from_scratch")
    layer = next(source for source in sources if "class LoRALinear" in source)
    into_the_model = next(source for source in sources if "def inject" in source)
    names: dict[str, Any] = {"math": math, "torch": torch, "nn": nn}
    exec(layer.split("\n\n\nlayer = ")[0], names)
    exec(into_the_model.split("\n\n\n")[0], names)
    return names


def twins(lesson: dict[str, Any], d_in: int, d_out: int, r: int, bias: bool = True) -> tuple[Any, lora.LoRALinear]:
    """The lesson's layer and the library's with the same base, A and B, none of them zero."""
    torch.manual_seed(0)
    base = nn.Linear(d_in, d_out, bias=bias)
    mine = lesson["LoRALinear"](base, r, alpha=16)
    theirs = lora.LoRALinear(base, lora.LoRAConfig(r=r, alpha=16))
    nn.init.normal_(mine.lora_B)
    theirs.load_state_dict(mine.state_dict())
    return mine, theirs


def outputs_and_gradients(layer: Any, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    h = layer(x)
    h.square().sum().backward()
    return [h.detach(), x.grad, layer.lora_A.grad, layer.lora_B.grad]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_lessons_layer_equals_the_librarys_bit_for_bit(
    lesson: dict[str, Any], shape: tuple[int, int, int], bias: bool
) -> None:
    mine, theirs = twins(lesson, *shape, bias=bias)
    for batch in [(), (7,), (2, 5)]:
        x = torch.randn(*batch, shape[0])
        for ours, library in zip(outputs_and_gradients(mine, x), outputs_and_gradients(theirs, x), strict=True):
            assert torch.equal(ours, library)
        mine.zero_grad(), theirs.zero_grad()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_seed_gives_the_same_start(lesson: dict[str, Any], shape: tuple[int, int, int]) -> None:
    d_in, d_out, r = shape
    base = nn.Linear(d_in, d_out)
    torch.manual_seed(1)
    mine = lesson["LoRALinear"](base, r, alpha=4)
    torch.manual_seed(1)
    theirs = lora.LoRALinear(base, lora.LoRAConfig(r=r, alpha=4))
    assert torch.equal(mine.lora_A, theirs.lora_A) and not mine.lora_B.any()
    assert mine.lora_A.any() and mine.lora_A.abs().max() <= 1 / math.sqrt(d_in)
    assert mine.scaling == theirs.scaling
    assert [name for name, p in mine.named_parameters() if p.requires_grad] == ["lora_A", "lora_B"]


def test_the_lessons_layer_computes_the_equation_in_float64(lesson: dict[str, Any]) -> None:
    mine, _ = twins(lesson, 33, 21, 4)
    x = torch.randn(11, 33, dtype=torch.float64)
    W0, b, A, B = (p.detach().double() for p in (mine.base.weight, mine.base.bias, mine.lora_A, mine.lora_B))
    wanted = x @ (W0 + 16 / 4 * B @ A).T + b
    torch.testing.assert_close(mine.double()(x), wanted, rtol=1e-12, atol=1e-12)


def test_inject_adapts_what_the_library_calls_all_linear(lesson: dict[str, Any]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=6,
                         num_key_value_heads=2, vocab_size=31, tie_word_embeddings=True)  # fmt: skip
    mine, theirs = LlamaForCausalLM(config), LlamaForCausalLM(config)
    theirs.load_state_dict(mine.state_dict())
    lesson["inject"](mine, r=3, alpha=6)
    lora.inject(theirs, lora.LoRAConfig(r=3, alpha=6, target_modules="all-linear"))
    assert list(mine.state_dict()) == [key for key in theirs.state_dict() if not key.endswith("_extra_state")]
    trains = [[name for name, p in model.named_parameters() if p.requires_grad] for model in (mine, theirs)]
    assert trains[0] == trains[1] and len(trains[0]) == 2 * 2 * 7


@pytest.mark.parametrize("rounded", [False, True])
def test_subtracting_what_was_added_jumps_once_and_a_rounded_update_drifts(rounded: bool) -> None:
    """The lesson's explanation: PEFT adds ΔW in fp32 and subtracts it rounded to bfloat16."""
    generator = torch.Generator().manual_seed(0)
    weight = (0.05 * torch.randn(65, 33, generator=generator)).bfloat16()
    delta = 0.01 * torch.randn(65, 33, generator=generator)
    now, errors = weight.clone(), []
    for _ in range(100):
        now += delta
        now -= delta.bfloat16() if rounded else delta
        errors.append(float((now.float() - weight.float()).norm()))
    assert errors[0] > 0
    assert (errors[-1] > 1.5 * errors[0]) if rounded else (len(set(errors)) == 1)
