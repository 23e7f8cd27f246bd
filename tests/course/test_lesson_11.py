"""What stands in lesson 11's cells computes what the library computes, bit for bit."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from lora_lab import lora, quant
from tests.helpers import lessons

LESSON = lessons.definitions(
    "11_qlora_layer", ("class ", "def bytes_kept", "def nf4_bytes"), nn=nn, F=nn.functional, math=math, quant=quant
)
SHAPES = [(1, 1), (33, 100), (64, 64), (5, 257), (100, 3)]


def dense(d_out: int, d_in: int, bias: bool = True) -> nn.Linear:
    torch.manual_seed(d_out + d_in)
    return nn.Linear(d_in, d_out, bias=bias)


def outcome(layer: Callable, x: torch.Tensor, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
    """y and the gradients of Σ y² for x and the parameters."""
    x = x.clone().requires_grad_()
    y = layer(x)
    return [y, *torch.autograd.grad(y.square().sum(), [x, *parameters])]


def assert_same_bits(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("double_quant", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_the_lessons_layer_is_the_librarys_forward_and_backward(shape, double_quant, bias):
    linear, x = dense(*shape, bias=bias), torch.randn(2, 7, shape[1])
    ours = LESSON["Linear4bit"](linear, double_quant=double_quant)
    theirs = quant.Linear4bit.from_linear(linear, double_quant=double_quant)
    parameters = [linear.bias] if bias else []
    assert_same_bits(outcome(ours, x, parameters), outcome(theirs, x, parameters))


@pytest.mark.parametrize("book", [quant.FP4_BNB, quant.INT4, quant.normal_float(2)], ids=lambda book: book.name)
def test_other_codebooks_reach_the_layer(book):
    linear, x = dense(33, 100), torch.randn(4, 100)
    theirs = quant.Linear4bit.from_linear(linear, codebook=book)
    assert_same_bits(outcome(LESSON["Linear4bit"](linear, book), x, []), outcome(theirs, x, []))


@pytest.mark.parametrize("shape", SHAPES)
def test_equation_5_of_the_lesson_is_the_librarys_adapter_over_its_4_bit_layer(shape):
    linear, x = dense(*shape), torch.randn(2, 7, shape[1])
    ours = LESSON["QLoRALinear"](copy.deepcopy(linear), r=3, alpha=5)
    theirs = lora.LoRALinear(quant.Linear4bit.from_linear(linear), lora.LoRAConfig(r=3, alpha=5))
    nn.init.normal_(ours.B)
    with torch.no_grad():
        theirs.lora_A.copy_(ours.A)
        theirs.lora_B.copy_(ours.B)
    assert_same_bits(outcome(ours, x, [ours.A, ours.B]), outcome(theirs, x, [theirs.lora_A, theirs.lora_B]))


def test_a_new_adapter_does_not_move_the_output_by_a_bit():
    linear, x = dense(33, 100), torch.randn(4, 100)
    assert torch.equal(LESSON["QLoRALinear"](linear)(x), LESSON["Linear4bit"](linear)(x))


@pytest.mark.parametrize("layer", ["Linear4bit", "library"])
def test_nothing_is_kept_for_the_backward_pass_and_a_dense_weight_where_autograd_does_it(layer):
    make = quant.Linear4bit.from_linear if layer == "library" else LESSON[layer]
    linears, x = [dense(96, 96, bias=False) for _ in range(3)], torch.randn(5, 96, requires_grad=True)
    assert LESSON["bytes_kept"]([make(linear) for linear in linears], x) == 0
    assert LESSON["bytes_kept"]([LESSON["KeepsDense"](linear) for linear in linears], x) == 3 * 96 * 96 * 4


@pytest.mark.parametrize("shape", [*SHAPES, (1000, 333)])
@pytest.mark.parametrize("double_quant", [False, True])
def test_the_byte_formula_counts_what_the_library_stores(shape, double_quant):
    weight = torch.randn(shape)
    assert LESSON["nf4_bytes"](shape, double_quant) == quant.quantize(weight, double_quant=double_quant).nbytes
