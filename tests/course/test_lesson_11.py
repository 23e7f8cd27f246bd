"""Lesson 11: what stands in its cells computes what the library computes, and its record is what the lesson says."""

import copy
import math
import weakref
from collections.abc import Callable
from statistics import mean
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lora_lab import lora, quant, records
from tests.helpers import lessons

NAME = "11_qlora_layer"
TURNS = {turn: lessons.function(NAME, turn) for turn in ("frozen_forward", "frozen_backward")}
LESSON = lessons.definitions(
    NAME, ("class ", "def keeps_dense", "def bytes_kept", "def cut"), nn=nn, math=math, quant=quant, **TURNS
)
FROZEN: Callable = LESSON["FrozenProduct"].apply
SHAPES = [(1, 1), (33, 100), (64, 64), (5, 257), (100, 3)]


def dense(d_out: int, d_in: int) -> nn.Linear:
    torch.manual_seed(d_out + d_in)
    return nn.Linear(d_in, d_out, bias=False)


def outcome(layer: Callable, x: torch.Tensor, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    """y and the gradients of Σ y² for x and the parameters."""
    x = x.clone().requires_grad_()
    y = layer(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *parameters])]


def assert_same_bits(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_lessons_product_is_the_librarys_forward_and_backward(shape: tuple[int, int]) -> None:
    linear, x = dense(*shape), torch.randn(2, 7, shape[1])
    mine = LESSON["QLoRALinear"](linear, FROZEN)
    theirs = quant.Linear4bit.from_linear(linear, double_quant=True)
    for one, other in zip(outcome(lambda v: FROZEN(v, mine), x, []), outcome(theirs, x, []), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_lessons_layer_is_the_librarys_adapter_over_its_4_bit_layer(shape: tuple[int, int]) -> None:
    linear, x = dense(*shape), torch.randn(2, 7, shape[1])
    ours = LESSON["QLoRALinear"](copy.deepcopy(linear), FROZEN, r=3, alpha=5)
    four_bits = quant.Linear4bit.from_linear(linear, double_quant=True)
    theirs = lora.LoRALinear(four_bits, lora.LoRAConfig(r=3, alpha=5))
    nn.init.normal_(ours.B)
    with torch.no_grad():
        theirs.lora_A.copy_(ours.A)
        theirs.lora_B.copy_(ours.B)
    both = outcome(ours, x, [ours.A, ours.B]), outcome(theirs, x, [theirs.lora_A, theirs.lora_B])
    for one, other in zip(*both, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_through_four_frozen_bits_is_the_dense_one_bit_for_bit(dtype: torch.dtype) -> None:
    layer, x = LESSON["QLoRALinear"](dense(33, 100), FROZEN), torch.randn(6, 100, dtype=dtype)
    kept = outcome(lambda v: LESSON["keeps_dense"](v, layer), x, [])
    assert_same_bits(outcome(lambda v: FROZEN(v, layer), x, []), kept)


def test_a_new_adapter_does_not_move_the_output_by_a_bit() -> None:
    layer, x = LESSON["QLoRALinear"](dense(33, 100), FROZEN), torch.randn(4, 100)
    assert torch.equal(layer(x), FROZEN(x, layer))


def test_nothing_is_kept_for_the_backward_pass_and_a_dense_weight_where_autograd_does_it() -> None:
    layers = [LESSON["QLoRALinear"](dense(96, 96), None) for _ in range(3)]
    x = torch.randn(5, 96, requires_grad=True)
    assert LESSON["bytes_kept"](FROZEN, layers, x) == 0
    assert LESSON["bytes_kept"](LESSON["keeps_dense"], layers, x) == 3 * 96 * 96 * 4
    theirs = [quant.Linear4bit.from_linear(dense(96, 96)) for _ in range(3)]
    assert LESSON["bytes_kept"](lambda v, layer: layer(v), theirs, x) == 0


class Keeps(torch.autograd.Function):
    """A rule that puts the dense weight on ctx itself."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, layer: Any) -> torch.Tensor:
        ctx.W = layer.dequantize(x.dtype)
        return x @ ctx.W.T

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        return g @ ctx.W, None


def watched(count: int, product: Callable) -> tuple[list[Any], list[weakref.ref]]:
    """Layers over a product, and a weak reference to the memory of every weight that they restore."""
    layers, made = [LESSON["QLoRALinear"](dense(96, 96), product) for _ in range(count)], []
    for layer in layers:

        def restore(dtype: torch.dtype, stored: Callable = layer.dequantize) -> torch.Tensor:
            memory = stored(dtype).numpy().copy()
            made.append(weakref.ref(memory))
            return torch.from_numpy(memory)

        layer.dequantize = restore
    return layers, made


@pytest.mark.parametrize(
    ("product", "checkpointed", "alive", "restored"),
    [
        (LESSON["keeps_dense"], False, 4, 4),
        (LESSON["keeps_dense"], True, 0, 8),
        (FROZEN, False, 0, 8),
        (FROZEN, True, 0, 12),
        (Keeps.apply, False, 4, 4),
    ],
)
def test_dense_copies_alive_after_the_forward_pass(
    product: Callable, checkpointed: bool, alive: int, restored: int
) -> None:
    layers, made = watched(4, product)
    x = torch.randn(5, 96, requires_grad=True)
    for layer in layers:
        x = checkpoint(layer, x, use_reentrant=False) if checkpointed else layer(x)
    assert sum(each() is not None for each in made) == alive
    x.sum().backward()
    assert len(made) == restored


def test_the_hooks_miss_what_a_rule_puts_on_ctx() -> None:
    layers = [LESSON["QLoRALinear"](dense(96, 96), None)]
    assert LESSON["bytes_kept"](Keeps.apply, layers, torch.randn(5, 96, requires_grad=True)) == 0


def test_the_control_gives_its_input_no_gradient() -> None:
    layer, x = LESSON["QLoRALinear"](dense(8, 8), None), torch.randn(2, 8, requires_grad=True)
    assert not LESSON["cut"](x, layer).requires_grad


# ── the record ──────────────────────────────────────────────────────────────────────────────────────────────────────


def chosen(way: str) -> list[dict[str, Any]]:
    return records.chosen("frozen_gradient", way=way)


def test_each_ways_rate_was_chosen_on_validation_between_two_that_are_no_better() -> None:
    for way in ("restored", "nothing", "shuffled"):
        best = chosen(way)[0]["lr"]
        tried = records.tried("frozen_gradient", way=way, seed=0)
        loss = {each["lr"]: math.inf if each["validation"] is None else each["validation"] for each in tried}
        assert loss[best] <= loss[best / 2] and loss[best] <= loss[best * 2], way
        assert sorted(each["seed"] for each in chosen(way)) == [0, 1, 2]


def test_only_the_restored_weight_leads_the_gradient_to_where_it_teaches_something() -> None:
    loss = {way: [each["validation"] for each in chosen(way)] for way in ("restored", "nothing", "shuffled")}
    assert max(loss["restored"]) < min(loss["nothing"]) / 4 and max(loss["restored"]) < min(loss["shuffled"]) / 4
    assert mean(each["exact"] for each in chosen("restored")) > 0.4


def test_with_nothing_to_lead_it_back_training_halves_the_loss_and_no_more() -> None:
    before = [each["validation"] for each in records.tried("frozen_gradient", way="not trained")]
    assert 3.9 <= min(before) <= max(before) < 4.1
    after = [each["validation"] for each in chosen("nothing")]
    assert all(0.4 < a / b < 0.6 for a, b in zip(after, before, strict=True))


def test_short_passes_take_the_same_time_whatever_passes_and_restoring_a_millisecond_where_products_dominate() -> None:
    ms = {each["tokens"]: [each["ways"][f"{way} lora_lab"]["ms"] for way in ("lora", "qlora")]
          for each in records.tried("gpu", section="amortise")}  # fmt: skip
    short = [ms[tokens] for tokens in (16, 64, 256, 1024)]
    assert all(8.55 <= lora < 8.85 and 3.55 <= qlora - lora < 3.85 for lora, qlora in short)
    assert all(0.75 < ms[tokens][1] - ms[tokens][0] < 1.3 for tokens in (4096, 16384))
