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
    with pytest.raises(ValueError, match="init 'kaimin': .*kaiming"):
        LoRAConfig(init="kaimin")
    with pytest.raises(ValueError, match="update_dtype 'float32': .* input, factors"):
        LoRAConfig(update_dtype="float32")


def test_the_choice_of_this_run_is_no_part_of_a_saved_adapter(tmp_path):
    model = lora.inject(nn.Sequential(nn.Linear(8, 6)), LoRAConfig(target_modules=["0"], update_dtype="factors"))
    lora.save_adapter(model, tmp_path)
    assert "update_dtype" not in (tmp_path / "adapter_config.json").read_text()


CASTS = {
    "bfloat16": lambda model: model.bfloat16(),
    "half": lambda model: model.half(),
    "to": lambda model: model.to(torch.bfloat16),
    "type": lambda model: model.type(torch.float16),
    "double and half": lambda model: model.double().half(),
}


@pytest.mark.parametrize("init", ["kaiming", "pissa"])
@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_casting_a_model_casts_its_base_and_leaves_the_factors_in_float32(cast, init):
    model = lora.inject(nn.ModuleDict({"fc": nn.Linear(96, 80)}), LoRAConfig(r=5, target_modules=["fc"], init=init))
    parameters, before = (
        list(model.parameters()),
        {k: v.clone() for k, v in model.state_dict().items() if "base" not in k},
    )
    cast(model)
    fc = model["fc"]
    assert all(ours is theirs for ours, theirs in zip(model.parameters(), parameters, strict=True))
    assert fc.base.weight.dtype.itemsize == 2
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    A = fc.lora_A.detach().clone()
    optimizer = torch.optim.AdamW([fc.lora_A, fc.lora_B], lr=1e-4, weight_decay=0)
    nn.init.normal_(fc.lora_B)
    fc(torch.randn(7, 96, dtype=fc.base.weight.dtype)).float().square().sum().backward()
    optimizer.step()
    assert (fc.lora_A != A).float().mean() > 0.99
    assert model.double()["fc"].lora_A.dtype == model["fc"].base.weight.dtype == torch.float64


def test_factors_that_were_made_16_bit_stay_so_and_a_merged_weight_follows_its_base():
    layer, _ = adapted(torch.float32)
    for factor in (layer.lora_A, layer.lora_B):
        factor.data = factor.data.bfloat16()
    assert layer.bfloat16().to("cpu").lora_A.dtype == torch.bfloat16
    assert layer.float().lora_A.dtype == torch.float32
    layer.merge()
    assert layer.half().merged_weight.dtype == torch.float16


@pytest.mark.parametrize("assign", [False, True])
def test_a_16_bit_state_does_not_make_the_factors_16_bit(assign):
    layer, _ = adapted(torch.float32)
    state = {key: value.bfloat16() if value.is_floating_point() else value for key, value in layer.state_dict().items()}
    layer.load_state_dict(state, assign=assign)
    assert layer.lora_A.dtype == layer.lora_B.dtype == torch.float32
    assert torch.equal(layer.lora_A, state["lora_A"].float())


@pytest.mark.parametrize("dtype", HALF)
def test_within_autocast_the_sum_is_at_least_as_exact_as_peft_s(dtype):
    layer, exact = adapted(torch.float32, update_dtype="factors")
    theirs = peft.get_peft_model(
        nn.ModuleDict({"fc": copy.deepcopy(layer.base)}), peft.LoraConfig(r=5, lora_alpha=7, target_modules=["fc"])
    ).base_model.model["fc"]
    with torch.no_grad():
        theirs.lora_A["default"].weight.copy_(layer.lora_A)
        theirs.lora_B["default"].weight.copy_(layer.lora_B)
    x = torch.randn(300, 96)
    with torch.autocast("cpu", dtype=dtype):
        ours, peft_s = layer(x), theirs(x)
    wanted = exact(x.double())
    assert error(ours, wanted) <= error(peft_s, wanted) < torch.finfo(dtype).eps


@pytest.mark.parametrize("alpha", [5e-324, 1e-320])
def test_a_scaling_that_is_no_number_any_more_is_refused(alpha):
    with pytest.raises(ValueError, match="scaling of"):
        LoRALinear(nn.Linear(6, 5).double(), LoRAConfig(r=8, alpha=alpha))


@pytest.mark.parametrize("alpha", [1e300, 1e-50])
def test_a_scaling_that_float32_cannot_hold_needs_a_float64_base(alpha):
    model = nn.ModuleDict({"fc": nn.Linear(6, 5)})
    with pytest.raises(ValueError, match="fc: torch.float32 cannot hold a scaling of"):
        lora.inject(model, LoRAConfig(alpha=alpha, target_modules=["fc"]))
    assert not lora.adapters(model) and model["fc"].weight.requires_grad
    lora.inject(model.double(), LoRAConfig(alpha=alpha, target_modules=["fc"]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: LoRAConfig(layers_to_transform=1.5), "a layer of layers_to_transform=1.5 must be an integer"),
        (lambda m: lora.targets(m, ["0"], layers_to_transform=1.5), "layers_to_transform=1.5 must be an integer"),
        (lambda m: lora.targets(m, [1]), "target_modules holds 1: give names as strings"),
        (lambda m: lora.targets(m, 1), "target_modules must be a name"),
        (lambda m: lora.targets(m, "0", exclude_modules=[None]), "exclude_modules holds None"),
        (lambda m: lora.inject(m, None), "config=None is no configuration"),
        (lambda m: lora.inject(m, 4, 8), "config=4 is no configuration"),  # r and alpha in place of one
        (lambda m: lora.inject(m, {"r": 4}), "config={'r': 4} is no configuration"),
        (lambda m: LoRALinear(nn.Linear(4, 4), None), "config=None is no configuration"),
        (lambda m: lora.inject("x", LoRAConfig()), "'x' is no model"),
        (lambda m: lora.merge("x"), "'x' is no model"),
        (lambda m: lora.count_parameters(None), "None is no model"),
        (lambda m: lora.save_adapter({}, "folder"), "{} is no model"),
        (lambda m: lora.load_adapter(3, "folder"), "3 is no model"),
    ],
)
def test_what_is_of_the_wrong_kind_is_named_in_one_sentence(call, words):
    with pytest.raises(TypeError, match=words) as caught:
        call(nn.Sequential(nn.Linear(4, 4)))
    assert "\n" not in str(caught.value)


def test_an_alpha_beyond_all_floats_and_a_rank_beyond_all_memories_are_refused():
    with pytest.raises(ValueError, match="alpha=a number of over 40 digits"):
        LoRAConfig(alpha=10**400)
    with pytest.raises(ValueError, match="r=a number of over 40 digits: choose from 1 to"):
        LoRAConfig(r=10**400, alpha=0.5)
