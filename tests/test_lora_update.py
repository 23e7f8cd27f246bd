"""The sum h = W₀ x + (α/r) B A x in 16 bits: rounded as rarely as can be, or in float32 as PEFT's."""

import copy
import typing

import peft
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lora_lab import lora, quant
from lora_lab.lora import LoRAConfig, LoRALinear
from lora_lab.lora.inits import INITS, Init

HALF = [torch.bfloat16, torch.float16]


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


def adapted(dtype: torch.dtype, bias: bool = True, **options) -> tuple[LoRALinear, LoRALinear]:
    """A layer over a 16-bit base, and the same in float64."""
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(96, 80, bias=bias).to(dtype), LoRAConfig(r=5, alpha=7, **options))
    nn.init.normal_(layer.lora_A, std=96**-0.5)
    nn.init.normal_(layer.lora_B, std=0.5)
    return layer, copy.deepcopy(layer).double()


def step(layer: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> list[torch.Tensor]:
    x = x.detach().clone().requires_grad_()
    h = layer(x)
    h.backward(grad)
    factors = [p.grad for name, p in layer.named_parameters() if "lora_" in name]
    return [h.detach(), x.grad, *factors]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("shape", [(64, 96), (4, 16, 96), (96,)])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_with_the_dtype_of_the_factors_the_layer_is_peft_s_in_outputs_and_gradients(dtype, shape, dropout):
    layer, _ = adapted(dtype, update_dtype="factors", dropout=dropout)
    theirs = peft.get_peft_model(
        nn.ModuleDict({"fc": copy.deepcopy(layer.base)}),
        peft.LoraConfig(r=5, lora_alpha=7, target_modules=["fc"], lora_dropout=dropout),
    ).base_model.model["fc"]  # fmt: skip
    with torch.no_grad():
        theirs.lora_A["default"].weight.copy_(layer.lora_A)
        theirs.lora_B["default"].weight.copy_(layer.lora_B)
    x, grad = torch.randn(shape).to(dtype), torch.randn(*shape[:-1], 80).to(dtype)
    outcomes = []
    for each in (layer, theirs):
        torch.manual_seed(3)
        outcomes.append(step(each.train(), x, grad))
    for ours, wanted in zip(*outcomes):
        assert ours.dtype == wanted.dtype
        torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", HALF)
def test_both_ways_are_near_float64_and_float32_factors_have_exact_gradients(dtype):
    x, grad = torch.randn(200, 96).to(dtype), torch.randn(200, 80).to(dtype)
    eps = torch.finfo(dtype).eps
    for way, of_factors in (("input", eps), ("factors", 1e-6)):
        layer, exact = adapted(dtype, update_dtype=way)
        h, grad_x, *factors = zip(step(layer, x, grad), step(exact, x.double(), grad.double()))
        assert error(*h) < 0.6 * eps and error(*grad_x) < 0.6 * eps
        assert all(error(*pair) < of_factors for pair in factors)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("shape", [(500, 96), (5, 100, 96)])
def test_the_update_is_not_rounded_before_it_is_added(dtype, shape):
    layer, exact = adapted(dtype)
    x = torch.randn(shape).to(dtype)
    A, B = layer.lora_A.to(dtype), layer.lora_B.to(dtype)
    apart = layer.base(x) + layer.scaling * F.linear(F.linear(x, A), B)
    assert error(layer(x), exact(x.double())) < 0.95 * error(apart, exact(x.double()))


@pytest.mark.parametrize("dtype", HALF)
def test_a_small_step_of_pissa_is_as_exact_as_one_of_lora(dtype):
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(96, 80, bias=False).to(dtype), LoRAConfig(r=5, alpha=7, init="pissa"))
    with torch.no_grad():
        layer.base.weight.zero_()  # so that the update is all of the output
        layer.lora_A += 1e-3 * torch.randn_like(layer.lora_A)
        layer.lora_B += 1e-3 * torch.randn_like(layer.lora_B)
    exact = copy.deepcopy(layer).double()
    x = torch.randn(50, 96).to(dtype)
    assert error(layer(x), exact(x.double())) < 3 * torch.finfo(dtype).eps
    assert error(layer.delta_weight(), exact.delta_weight()) < 1e-5


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("factors", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_merged_weight_is_the_sum_rounded_once(dtype, factors, autocast):
    layer, _ = adapted(dtype)
    layer.lora_A.data, layer.lora_B.data = layer.lora_A.data.to(factors), layer.lora_B.data.to(factors)
    update = layer.scaling * layer.lora_B.double() @ layer.lora_A.double()
    wanted = (layer.base.weight.double() + update).float().to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        layer.merge()
    assert (layer.merged_weight != wanted).float().mean() < 1e-3  # a float32 sum may lie on the other side of a tie
    assert torch.equal(layer.merged_linear().weight, layer.merged_weight)
    twice = (layer.base.weight + update.to(dtype)).to(dtype)
    assert (layer.merged_weight != twice).float().mean() > 0.05
    layer.unmerge()
    assert layer.merged_weight is None


def test_requantizing_rounds_the_sum_to_four_bits_and_not_to_16_before():
    torch.manual_seed(0)
    base = quant.Linear4bit.from_linear(nn.Linear(192, 160).bfloat16())
    model = lora.inject(nn.Sequential(base), LoRAConfig(target_modules=["0"]))
    nn.init.normal_(model[0].lora_B, std=0.1)
    total = base.dequantize().float() + model[0].delta_weight().detach()
    with pytest.warns(UserWarning, match="of the update"):
        lora.merge_and_remove(model, requantize=True)
    wanted, twice = (quant.quantize(each, double_quant=True) for each in (total, total.bfloat16()))
    assert torch.equal(model[0].packed, wanted.packed) and not torch.equal(model[0].packed, twice.packed)
    assert model[0].weight_dtype == torch.bfloat16 and model[0].dequantize().dtype == torch.bfloat16


def test_over_a_float64_base_of_four_bits_too_the_factors_are_float64():
    layer = LoRALinear(quant.Linear4bit.from_linear(nn.Linear(8, 6)).double(), LoRAConfig(r=2))
    assert layer.lora_A.dtype == layer.lora_B.dtype == torch.float64
    assert layer(torch.randn(3, 8, dtype=torch.float64)).dtype == torch.float64


def test_choices_are_typed_and_refused_by_name():
    assert typing.get_args(Init) == tuple(INITS)
    with pytest.raises(ValueError, match="init='kaimin' .*kaiming"):
        LoRAConfig(init="kaimin")
    with pytest.raises(ValueError, match="update_dtype='float32' .* input, factors"):
        LoRAConfig(update_dtype="float32")


def test_the_choice_of_this_run_is_no_part_of_a_saved_adapter(tmp_path):
    model = lora.inject(nn.Sequential(nn.Linear(8, 6)), LoRAConfig(target_modules=["0"], update_dtype="factors"))
    lora.save_adapter(model, tmp_path)
    assert "update_dtype" not in (tmp_path / "adapter_config.json").read_text()
