import copy

import pytest
import torch
from torch import nn

from lora_lab import quant


def layer_and_twin(d_in: int, d_out: int, bias: bool = True, **options) -> tuple[quant.Linear4bit, nn.Linear]:
    """A 4-bit layer and the dense layer that holds its dequantized weight."""
    torch.manual_seed(0)
    dense = nn.Linear(d_in, d_out, bias=bias)
    layer = quant.Linear4bit.from_linear(dense, **options)
    twin = nn.Linear(d_in, d_out, bias=bias)
    with torch.no_grad():
        twin.weight.copy_(layer.dequantize())
        if bias:
            twin.bias.copy_(dense.bias)
    return layer, twin


@pytest.mark.parametrize("d_in", [1, 33, 96, 100])
@pytest.mark.parametrize("d_out", [1, 33, 64])
@pytest.mark.parametrize("double_quant", [False, True])
def test_forward_and_backward_equal_the_dequantized_dense_layer(d_in, d_out, double_quant):
    layer, twin = layer_and_twin(d_in, d_out, double_quant=double_quant)
    x = torch.randn(2, 5, d_in)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, theirs = layer(a), twin(b)
    assert torch.allclose(ours, theirs, atol=1e-6)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    assert torch.allclose(a.grad, b.grad, atol=1e-5)
    assert torch.allclose(layer.bias.grad, twin.bias.grad, atol=1e-5)


def test_the_weight_is_frozen_and_train_eval_train_changes_nothing():
    layer, _ = layer_and_twin(64, 32)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    assert not layer.packed.requires_grad
    x = torch.randn(3, 64, requires_grad=True)
    layer.train()(x).sum().backward()
    with torch.no_grad():
        layer.eval()(x)
    first = layer.train()(x)
    first.sum().backward()
    assert all(torch.equal(before[key], value) for key, value in layer.state_dict().items())


@pytest.mark.parametrize("double_quant", [False, True])
def test_state_dict_holds_codes_and_constants_and_round_trips(double_quant):
    layer, _ = layer_and_twin(100, 33, double_quant=double_quant)
    names = {"packed", "bias", *(("absmax_codes", "absmax_scale", "absmax_mean") if double_quant else ("absmax",))}
    assert set(layer.state_dict()) == names
    other = quant.Linear4bit.from_linear(nn.Linear(100, 33), double_quant=double_quant)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.dequantize(), layer.dequantize())


def test_converting_the_dtype_or_copying_keeps_the_stored_weight_whole():
    layer, _ = layer_and_twin(96, 40)
    weight = layer.dequantize()
    for other in (copy.deepcopy(layer), copy.deepcopy(layer).to(torch.bfloat16), copy.deepcopy(layer).half().float()):
        assert torch.equal(other.dequantize(), weight)
    assert copy.deepcopy(layer).to(torch.bfloat16)(torch.randn(2, 96).bfloat16()).dtype == torch.bfloat16


def test_compute_dtype_is_used_inside_and_the_input_dtype_comes_back():
    layer, _ = layer_and_twin(64, 64, compute_dtype=torch.bfloat16, bias=False)
    x = torch.randn(4, 64)
    y = layer(x)
    assert y.dtype == torch.float32
    assert torch.equal(y, (x.bfloat16() @ layer.dequantize(torch.bfloat16).T).float())


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {"body": nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 64)), "lm_head": nn.Linear(64, 10)}
    )


def test_quantize_model_leaves_the_head_and_dequantize_model_gives_dense_layers_with_the_same_values():
    quantized = quant.quantize_model(model())
    assert [type(m).__name__ for m in quantized["body"]] == ["Linear4bit", "ReLU", "Linear4bit"]
    assert type(quantized["lm_head"]) is nn.Linear
    weights = [quantized["body"][i].dequantize() for i in (0, 2)]
    x = torch.randn(3, 64)
    wanted = quantized["body"](x)
    dense = quant.dequantize_model(quantized)
    assert all(
        type(dense["body"][i]) is nn.Linear and torch.equal(dense["body"][i].weight, w) for i, w in zip((0, 2), weights)
    )
    assert torch.allclose(dense["body"](x), wanted, atol=1e-6)


def test_a_damaged_weight_is_named_and_nothing_has_changed():
    broken = model()
    with torch.no_grad():
        broken["body"][2].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"body\.2: .*NaN"):
        quant.quantize_model(broken)
    assert all(type(m) is not quant.Linear4bit for m in broken.modules())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: quant.quantize_model(nn.ReLU()), "no nn.Linear"),
        (lambda: quant.quantize_model(model(), skip="lm_head"), "one string"),
        (lambda: quant.Linear4bit(quant.quantize(torch.ones(4))), r"\(4,\)"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
