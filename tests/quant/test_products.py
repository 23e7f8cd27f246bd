"""Products with a 4-bit weight where a CPU has no instructions for 16 bits."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lora_lab import quant
from lora_lab.quant import products, slabs

HALVES = [torch.bfloat16, torch.float16]
INSTRUCTIONS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_amx_fp16_supported")


@pytest.fixture(params=[False, True], ids=["without", "with"])
def instructions(request, monkeypatch):
    """Whether the CPU says that it multiplies in 16 bits."""
    for name in INSTRUCTIONS:
        monkeypatch.setattr(torch.cpu, name, lambda: request.param)
    return request.param


@pytest.fixture
def none(monkeypatch):
    for name in INSTRUCTIONS:
        monkeypatch.setattr(torch.cpu, name, lambda: False)


def layer_of(d_in, d_out, dtype):
    torch.manual_seed(0)
    linear = nn.Linear(d_in, d_out, dtype=dtype)
    nn.init.normal_(linear.bias)
    return quant.Linear4bit.from_linear(linear)


@pytest.mark.parametrize("size", [2**12, slabs.SIZE], ids=["slabs", "whole"])
@pytest.mark.parametrize("dtype", HALVES)
def test_without_instructions_for_16_bits_a_product_is_made_in_32_and_rounded_once(dtype, size, none, monkeypatch):
    monkeypatch.setattr(slabs, "SIZE", size)
    layer = layer_of(192, 96, dtype)
    x, grad_y = (
        torch.randn(products.FEW_TOKENS["cpu"] + 1, 192).to(dtype).requires_grad_(),
        torch.randn(products.FEW_TOKENS["cpu"] + 1, 96).to(dtype),
    )
    y = layer(x)
    y.backward(grad_y)
    weight, bias = layer.dequantize().double(), layer.bias.detach().double()
    for made, exact in ((y, x.double() @ weight.T + bias), (x.grad, grad_y.double() @ weight)):
        assert made.dtype == dtype
        nearest = exact.to(dtype)
        assert (made == nearest).float().mean() > 0.99  # but where the exact sum lies on the edge between two numbers
        assert (made.double() - exact).abs().max() <= 1.01 * (nearest.double() - exact).abs().max()


@pytest.mark.parametrize("dtype", HALVES)
def test_products_are_made_in_the_dtype_that_the_processor_multiplies_in(dtype, instructions, monkeypatch):
    layer = layer_of(64, 32, dtype)
    seen = []
    linear = nn.functional.linear
    monkeypatch.setattr(products.F, "linear", lambda x, *rest: seen.append(x.dtype) or linear(x, *rest))
    assert layer(torch.randn(products.FEW_TOKENS["cpu"] + 1, 64).to(dtype)).dtype == dtype
    assert seen == [dtype if instructions else torch.float32]


def test_what_stands_for_a_gpu_is_multiplied_in_its_own_dtype(none, monkeypatch):
    """Fake tensors and those without memory: what they count is what a GPU does."""
    layer = layer_of(64, 32, torch.bfloat16)
    seen = []
    linear = nn.functional.linear
    monkeypatch.setattr(products.F, "linear", lambda x, *rest: seen.append(x.dtype) or linear(x, *rest))
    with FakeTensorMode(allow_non_fake_inputs=True):
        layer(torch.empty(20, 64, dtype=torch.bfloat16))
    layer.to("meta")(torch.empty(20, 64, dtype=torch.bfloat16, device="meta"))
    assert seen == [torch.bfloat16] * 2
