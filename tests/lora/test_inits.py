"""How adapters start: every init leaves the output as it is, and what it promises about A and B holds."""

import copy
import math

import peft
import pytest
import torch
from torch import nn

from lora_lab import lora, lowrank, quant
from lora_lab.lora import LoRAConfig, LoRALinear
from tests.helpers.models import IDS, assert_same, randomise, snapshot, tiny_llama

INITS = ("kaiming", "gaussian", "pissa", "orthogonal")


def separated(d_out: int, d_in: int, seed: int = 0) -> nn.Linear:
    """A layer whose singular values are far apart, so that the strongest directions are well determined."""
    generator = torch.Generator().manual_seed(seed)
    u, v = (torch.linalg.qr(torch.randn(d, d, generator=generator))[0] for d in (d_out, d_in))
    values = 0.7 ** torch.arange(min(d_out, d_in))
    linear = nn.Linear(d_in, d_out)
    linear.weight.data = u[:, : len(values)] * values @ v[:, : len(values)].T
    return linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("init", INITS)
def test_no_init_moves_the_output_by_a_bit(init, quantized, dtype):
    model = tiny_llama().to(dtype)
    if quantized:
        quant.quantize_model(model)
    before = model(IDS).logits
    lora.inject(model, LoRAConfig(r=6, alpha=5, target_modules="all-linear", init=init, dropout=0.1))
    assert torch.equal(model(IDS).logits, before)
    for layer in lora.adapters(model).values():
        assert not layer.delta_weight().any()
    assert torch.equal(lora.merge(model)(IDS).logits, before)


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("init", INITS)
def test_removing_a_trained_adapter_gives_the_base_back_bit_for_bit(init, quantized):
    model = tiny_llama().bfloat16()
    if quantized:
        quant.quantize_model(model)
    before = snapshot(model)
    randomise(lora.inject(model, LoRAConfig(target_modules="all-linear", init=init)))
    lora.unmerge(lora.merge(model))
    assert_same(lora.remove(model), before)


def test_a_gaussian_a_has_peft_s_deviation_of_one_over_r():
    layer = LoRALinear(nn.Linear(3000, 4), LoRAConfig(r=5, init="gaussian"))
    theirs = peft.get_peft_model(
        nn.Sequential(nn.Linear(3000, 4)), peft.LoraConfig(r=5, target_modules=["0"], init_lora_weights="gaussian")
    ).base_model.model[0]
    assert float(layer.lora_A.detach().std()) == pytest.approx(1 / 5, rel=0.05)
    assert float(theirs.lora_A["default"].weight.detach().std()) == pytest.approx(1 / 5, rel=0.05)
    assert not layer.lora_B.any()


# ---- PiSSA ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("use_rslora", [False, True])
@pytest.mark.parametrize(("d_out", "d_in"), [(7, 12), (12, 7)])
def test_pissa_starts_at_the_best_approximation_of_the_weight_as_peft_s_does(d_out, d_in, use_rslora):
    base = separated(d_out, d_in)
    layer = LoRALinear(base, LoRAConfig(r=3, alpha=5, init="pissa", use_rslora=use_rslora))
    B, A = lowrank.truncated_svd(base.weight, 3)
    strongest = layer.scaling * layer.lora_B @ layer.lora_A
    assert torch.allclose(strongest, B @ A, atol=1e-6)
    assert torch.allclose(layer.lora_B.T @ layer.lora_B, layer.lora_A @ layer.lora_A.T, atol=1e-5)  # evenly shared
    theirs = peft.get_peft_model(
        nn.Sequential(copy.deepcopy(base)),
        peft.LoraConfig(
            r=3, lora_alpha=5, target_modules=["0"], init_lora_weights="pissa", use_rslora=use_rslora
        ),
    ).base_model.model[0]  # fmt: skip
    assert torch.allclose(theirs.base_layer.weight, base.weight - strongest, atol=1e-6)


def test_pissa_trains_the_strongest_directions_and_its_update_is_the_difference_from_the_start():
    base = separated(9, 6).double()
    layer = LoRALinear(base, LoRAConfig(r=2, alpha=3, init="pissa"))
    x = torch.randn(4, 6, dtype=torch.float64)
    layer(x).square().sum().backward()
    assert layer.lora_A.grad.any() and layer.lora_B.grad.any()  # unlike LoRA, both move from the first step
    assert not layer.start_A.requires_grad and not layer.start_B.requires_grad
    with torch.no_grad():
        layer.lora_A += torch.randn_like(layer.lora_A)
        layer.lora_B += torch.randn_like(layer.lora_B)
    wanted = 1.5 * (layer.lora_B @ layer.lora_A - layer.start_B @ layer.start_A)
    assert torch.allclose(layer.delta_weight(), wanted)
    assert torch.allclose(layer(x), x @ (base.weight + wanted).T + base.bias, atol=1e-12)
    B, A = layer.factors()
    assert B.shape == (9, 4) and A.shape == (4, 6) and torch.allclose(1.5 * B @ A, wanted)


def test_over_a_4_bit_base_pissa_starts_at_the_dequantized_weight():
    base = quant.Linear4bit.from_linear(separated(12, 20))
    layer = LoRALinear(base, LoRAConfig(r=3, alpha=3, init="pissa"))
    B, A = lowrank.truncated_svd(base.dequantize(), 3)
    assert torch.allclose(layer.lora_B @ layer.lora_A, B @ A, atol=1e-6)


def test_dropout_thins_out_the_trained_product_of_pissa_only():
    layer = LoRALinear(separated(8, 8), LoRAConfig(r=2, alpha=2, init="pissa", dropout=0.5)).train()
    x = torch.randn(3, 8)
    torch.manual_seed(1)
    h = layer(x)
    torch.manual_seed(1)
    thinned = nn.functional.dropout(x, 0.5)
    strongest = layer.start_B @ layer.start_A
    assert torch.allclose(h, layer.base(x) + thinned @ strongest.T - x @ strongest.T, atol=1e-5)


def test_the_start_of_pissa_travels_with_the_model():
    config = LoRAConfig(target_modules="q_proj", init="pissa")
    model = randomise(lora.inject(tiny_llama(), config))
    logits = model(IDS).logits
    assert torch.equal(copy.deepcopy(model)(IDS).logits, logits)
    other = lora.inject(tiny_llama(seed=9), config)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(IDS).logits, logits)
    kinds = {key.rpartition(".")[2] for key in lora.inject(tiny_llama(), LoRAConfig()).state_dict()}
    assert "start_A" not in kinds


def test_a_pissa_adapter_on_disk_is_a_plain_one_of_twice_the_rank(tmp_path):
    model = randomise(lora.inject(tiny_llama(), LoRAConfig(r=3, init="pissa")))
    lora.save_adapter(model, tmp_path)
    back = lora.load_adapter(tiny_llama(), tmp_path)
    assert {(layer.config.r, layer.config.init) for layer in lora.adapters(back).values()} == {(6, "kaiming")}
    for name, layer in lora.adapters(model).items():
        assert torch.allclose(lora.adapters(back)[name].delta_weight(), layer.delta_weight(), atol=1e-6)


@pytest.mark.parametrize(
    ("r", "value", "words"),
    [
        (33, 1.0, "layers.0.self_attn.k_proj: r=33: choose from 1 to 32"),
        (8, math.nan, "layers.1.self_attn.k_proj: .*NaN"),
    ],
)
def test_a_pissa_that_does_not_fit_one_layer_names_it_and_changes_nothing(r, value, words):
    model = tiny_llama()
    model.model.layers[1].self_attn.k_proj.weight.data[3, 5] = value
    before, flags = list(model.state_dict().values()), [p.requires_grad for p in model.parameters()]
    with pytest.raises(ValueError, match=words):
        lora.inject(model, LoRAConfig(r=r, target_modules=("q_proj", "k_proj"), init="pissa"))
    assert not lora.adapters(model) and [p.requires_grad for p in model.parameters()] == flags
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(model.state_dict().values(), before))


# ---- orthogonal ----------------------------------------------------------------------------------------------------


def test_orthogonal_factors_are_both_random_at_peft_s_scale_and_their_product_is_exactly_zero():
    layer = LoRALinear(nn.Linear(2000, 1000), LoRAConfig(r=6, init="orthogonal"))
    theirs = peft.get_peft_model(
        nn.Sequential(nn.Linear(2000, 1000)),
        peft.LoraConfig(r=6, target_modules=["0"], init_lora_weights="orthogonal"),
    ).base_model.model[0]
    for ours, twin in ((layer.lora_A, theirs.lora_A), (layer.lora_B, theirs.lora_B)):
        assert torch.linalg.matrix_rank(ours) == torch.linalg.matrix_rank(twin["default"].weight) == 3
        norms = [float(factor.detach().norm()) for factor in (ours, twin["default"].weight)]
        assert norms[0] == pytest.approx(norms[1], rel=0.1)
    assert not (layer.lora_B @ layer.lora_A).any()


def test_in_bf16_peft_s_orthogonal_start_moves_the_output_and_ours_does_not():
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(96, 40)).bfloat16()
    x = torch.randn(50, 96).bfloat16()
    before = base(x)
    options = {"r": 16, "target_modules": ["0"]}
    theirs = peft.get_peft_model(
        copy.deepcopy(base), peft.LoraConfig(init_lora_weights="orthogonal", **options), autocast_adapter_dtype=False
    )
    assert (theirs(x) != before).float().mean() > 0.05
    assert torch.equal(lora.inject(base, LoRAConfig(init="orthogonal", **options))(x), before)


def test_an_orthogonal_start_trains_both_factors_from_the_first_step():
    layer = LoRALinear(nn.Linear(10, 6), LoRAConfig(r=4, init="orthogonal"))
    layer(torch.randn(3, 10)).square().sum().backward()
    assert layer.lora_A.grad.any() and layer.lora_B.grad.any()
