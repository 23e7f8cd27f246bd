"""The frozen 4-bit layer: equal to its dense twin, whole through every conversion, in one workspace."""

import copy
import shutil
import weakref

import bitsandbytes
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import T5Config, T5ForConditionalGeneration

from lora_lab import lora, quant
from lora_lab.quant import products, slabs
from tests.helpers.memory import LiveBytes


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
    names = {
        "packed",
        "bias",
        "_extra_state",
        *(("absmax_codes", "absmax_scale", "absmax_mean") if double_quant else ("absmax",)),
    }
    assert set(layer.state_dict()) == names
    other = quant.Linear4bit.from_linear(nn.Linear(100, 33), double_quant=double_quant)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.dequantize(), layer.dequantize())


def test_converting_the_dtype_or_copying_keeps_the_stored_weight_whole():
    layer, _ = layer_and_twin(96, 40)
    weight = layer.dequantize()
    for other in (copy.deepcopy(layer), copy.deepcopy(layer).to(torch.bfloat16), copy.deepcopy(layer).half().float()):
        assert torch.equal(other.dequantize(torch.float32), weight)
        assert other.codebook is layer.codebook
    assert copy.deepcopy(layer).to(torch.bfloat16).dequantize().dtype == torch.bfloat16
    assert copy.deepcopy(layer).to(torch.bfloat16)(torch.randn(2, 96).bfloat16()).dtype == torch.bfloat16


def test_the_codes_are_a_frozen_parameter_and_the_dense_weight_can_be_looked_at():
    layer, twin = layer_and_twin(96, 40)
    assert [name for name, _ in layer.named_parameters()] == ["packed", "bias"]
    assert torch.equal(layer.weight, twin.weight) and "weight" not in layer.state_dict()


def test_a_model_that_was_converted_can_be_made_dense_again():
    quantized = quant.quantize_model(nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 8, bias=False))).to(torch.bfloat16)
    dense = quant.dequantize_model(quantized)
    assert {p.dtype for p in dense.parameters()} == {torch.bfloat16}
    assert dense(torch.ones(1, 64).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "other",
    [
        lambda: quant.Linear4bit.from_linear(nn.Linear(64, 48), quant.INT4),
        lambda: quant.Linear4bit.from_linear(nn.Linear(64, 48), double_quant=quant.INT8),
        lambda: quant.Linear4bit.from_linear(nn.Linear(48, 64, bias=False)),
    ],
)
def test_a_state_of_another_format_is_refused_although_its_sizes_fit(other):
    layer = quant.Linear4bit.from_linear(nn.Linear(64, 48))
    with pytest.raises(RuntimeError, match="was stored as .*, and this layer is"):
        layer.load_state_dict(other().state_dict(), strict=False)
    layer.load_state_dict(quant.Linear4bit.from_linear(nn.Linear(64, 48)).state_dict())


def test_torch_save_keeps_layer_and_codebook_wherever_they_are_mapped(tmp_path):
    layer, _ = layer_and_twin(96, 40)
    torch.save(layer, tmp_path / "layer.pt")
    back = torch.load(tmp_path / "layer.pt", weights_only=False)
    assert torch.equal(back.dequantize(), layer.dequantize()) and back.codebook == layer.codebook
    on_meta = torch.load(tmp_path / "layer.pt", weights_only=False, map_location="meta")
    assert on_meta.codebook.values.is_cpu and on_meta.packed.is_meta


def test_weights_that_change_between_forward_and_backward_are_noticed():
    layer, _ = layer_and_twin(64, 48)
    y = layer(torch.ones(1, 64, requires_grad=True))
    layer.load_state_dict(quant.Linear4bit.from_linear(nn.Linear(64, 48)).state_dict())
    with pytest.raises(RuntimeError, match="overwritten between forward and backward"):
        y.sum().backward()


REPLACED = {
    "assigned by a state": lambda layer, other: layer.load_state_dict(other.state_dict(), assign=True),
    "another parameter": lambda layer, other: setattr(layer, "packed", other.packed),
    "another parameter's memory": lambda layer, other: setattr(layer.packed, "data", other.packed.data),
    "other constants": lambda layer, other: setattr(layer, "absmax_scale", 2 * layer.absmax_scale),
    "meta": lambda layer, other: layer.to("meta"),
}


def test_another_weight_in_the_same_memory_is_noticed():
    """As of layers whose codes lie one behind the other."""
    layer, _ = layer_and_twin(64, 48)
    both = torch.cat([layer.packed, layer.packed ^ 1])
    layer.packed = nn.Parameter(both[: len(both) // 2], requires_grad=False)
    y = layer(torch.ones(1, 64, requires_grad=True))
    layer.packed = nn.Parameter(both[len(both) // 2 :], requires_grad=False)
    with pytest.raises(RuntimeError, match="overwritten between forward and backward"):
        y.sum().backward()


@pytest.mark.parametrize("replace", REPLACED.values(), ids=REPLACED)
def test_weights_that_are_replaced_between_forward_and_backward_are_noticed(replace):
    layer, _ = layer_and_twin(64, 48)
    y = layer(torch.ones(1, 64, requires_grad=True))
    replace(layer, quant.Linear4bit.from_linear(nn.Linear(64, 48)))
    with pytest.raises(RuntimeError, match="overwritten between forward and backward"):
        y.sum().backward()


def test_what_is_replaced_is_not_kept_alive_and_the_same_memory_is_the_same_weight():
    layer, _ = layer_and_twin(64, 48)
    x = torch.ones(1, 64, requires_grad=True)
    y = torch.func.functional_call(layer, layer.state_dict(), (x,))  # detached: other tensors over the same memory
    y.sum().backward()
    assert torch.allclose(x.grad, layer.dequantize().sum(0), atol=1e-5)
    memory = weakref.ref(layer.packed.untyped_storage())
    y = layer(x)
    layer.packed = quant.Linear4bit.from_linear(nn.Linear(64, 48)).packed
    assert y.requires_grad and memory() is None


def test_a_layer_on_meta_tells_shapes_and_dtypes_as_a_dense_one():
    for options in ({}, {"double_quant": False, "compute_dtype": torch.bfloat16}):
        layer = layer_and_twin(64, 50, **options)[0].to("meta")
        x = torch.ones(2, 3, 64, device="meta", requires_grad=True)
        y = layer(x)
        assert y.is_meta and y.shape == (2, 3, 50) and y.dtype == torch.float32
        y.sum().backward()
        assert x.grad.is_meta and x.grad.shape == x.shape


def twins(slab: int, monkeypatch, dtype: torch.dtype = torch.float64) -> tuple[quant.Linear4bit, nn.Linear]:
    """A 4-bit layer, whole or in slabs, and its dense twin."""
    monkeypatch.setattr(slabs, "SIZE", slab)
    layer, twin = layer_and_twin(128, 96)
    layer, twin = layer.to(dtype), twin.to(dtype)
    with torch.no_grad():
        twin.weight.copy_(layer.dequantize())
    return layer, twin


SLABS = [2**20, 2**11]


@pytest.mark.parametrize("slab", SLABS)
def test_second_and_third_derivatives_are_those_of_the_dense_layer(monkeypatch, slab):
    def derivatives(m: nn.Module) -> list[torch.Tensor]:
        x = torch.linspace(-1, 1, 5 * 128, dtype=torch.float64).view(5, 128).requires_grad_()
        (first,) = torch.autograd.grad(m(x).pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sin().sum(), x, create_graph=True)
        (third,) = torch.autograd.grad(second.cos().sum(), x)
        return [first, second, third]

    for ours, theirs in zip(*map(derivatives, twins(slab, monkeypatch))):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_penalty_on_the_gradient_reaches_what_comes_before_the_layer():
    """y = (a·w·x)², and the derivative of (dy/dx)² by a: 8 a³ w⁴ x² · 2."""
    layer, _ = layer_and_twin(1, 1, bias=False)
    w, a, x = layer.dequantize().item(), torch.tensor([[1.5]], requires_grad=True), torch.ones(1, 1, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(a * x).square().sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert a.grad.item() == pytest.approx(16 * 1.5**3 * w**4, rel=1e-5)


def test_backward_with_create_graph_and_checkpointing_agree_with_grad():
    layer, _ = layer_and_twin(64, 48)
    grads = []
    for forward in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        x = torch.arange(192.0).view(3, 64).sin().requires_grad_()
        forward(x).pow(3).sum().backward(create_graph=True)
        grads.append(torch.autograd.grad(x.grad.square().sum(), x)[0])
    assert torch.equal(*grads) and grads[0].any()


def test_gradgradcheck_holds_for_input_and_bias():
    layer, _ = layer_and_twin(16, 5)
    layer = layer.double()
    x = torch.randn(3, 16, dtype=torch.float64, requires_grad=True)

    def product(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"bias": b}, (x,)).pow(2)

    b = layer.bias.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(product, (x, b)) and torch.autograd.gradgradcheck(product, (x, b))


def test_a_hessian_vector_product_over_qlora_adapters_is_that_over_dense_ones():
    layer, twin = (each.double() for each in layer_and_twin(40, 24))
    with torch.no_grad():
        twin.weight.copy_(layer.dequantize())
    config = lora.LoRAConfig(r=3)
    curvatures = []
    for base in (layer, twin):
        torch.manual_seed(1)
        adapted = lora.LoRALinear(base, config)
        nn.init.normal_(adapted.lora_B)
        factors = [adapted.lora_A, adapted.lora_B]
        inner = nn.Sequential(adapted, nn.Tanh(), quant.Linear4bit.from_linear(nn.Linear(24, 8)).double())
        loss = inner(torch.randn(7, 40, dtype=torch.float64)).square().sum()
        grads = torch.autograd.grad(loss, factors, create_graph=True)
        vectors = [torch.ones_like(factor) for factor in factors]
        curvatures.append(torch.autograd.grad(grads, factors, vectors))
    for ours, theirs in zip(*curvatures):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("op", ["grad", "vmap", "hessian", "jvp", "vectorized"])
def test_transforms_of_torch_func_see_the_dense_layer(op):
    layer, twin = (each.double() for each in layer_and_twin(33, 12))
    with torch.no_grad():
        twin.weight.copy_(layer.dequantize())
    x, t = torch.randn(2, 4, 33, dtype=torch.float64)
    func = torch.func
    ways = {
        "grad": lambda f: func.grad(f)(x),
        "vmap": lambda f: func.vmap(func.grad(f))(x),
        "hessian": lambda f: func.hessian(f)(x[0]),
        "jvp": lambda f: func.jvp(f, (x,), (t,))[1],
        "vectorized": lambda f: torch.autograd.functional.hessian(f, x[0], vectorize=True),
    }
    ours, theirs = (ways[op](lambda x, m=m: m(x).pow(3).sum()) for m in (layer, twin))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def rms(y: torch.Tensor, exact: torch.Tensor) -> float:
    return float((y.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("slab", SLABS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", ["plain", "autocast", "compute_dtype", "strided", "one vector"])
def test_a_product_is_rounded_once_its_bias_included(monkeypatch, slab, dtype, way):
    layer, _ = twins(slab, monkeypatch, torch.float32 if way in ("autocast", "compute_dtype") else dtype)
    nn.init.normal_(layer.bias)
    x = torch.randn(64, 128).to(dtype)
    weight, bias = layer.dequantize(dtype), layer.bias.to(dtype)
    wanted = nn.functional.linear(x, weight, bias)
    exact = x.double() @ weight.double().T + bias.double()
    if way == "autocast":
        with torch.autocast("cpu", dtype=dtype):
            y = layer(x.float())
    elif way == "compute_dtype":
        layer.compute_dtype = dtype
        y = layer(x.float()).to(dtype)
    elif way == "strided":
        y = layer(x.view(4, 16, 128).transpose(0, 1)).transpose(0, 1).reshape(64, -1)
    elif way == "one vector":
        y = torch.stack([layer(row) for row in x])
    else:
        y = layer(x)
    assert y.dtype == dtype and rms(y, exact) <= 1.02 * rms(wanted, exact)
    assert rms(x @ weight.T + bias, exact) > 1.1 * rms(wanted, exact)  # what rounding twice would give


@pytest.mark.parametrize("slab", SLABS)
@pytest.mark.parametrize("bias_dtype", [torch.bfloat16, torch.float32])
def test_a_trainable_bias_gets_its_gradient_also_where_the_input_needs_none(monkeypatch, slab, bias_dtype):
    layer, _ = twins(slab, monkeypatch, torch.bfloat16)
    layer.bias = nn.Parameter(layer.bias.detach().to(bias_dtype))
    x, grad = torch.randn(512, 128).bfloat16(), torch.randn(512, 96).bfloat16()
    layer(x).backward(grad)
    assert layer.bias.grad.dtype == bias_dtype
    assert rms(layer.bias.grad, grad.double().sum(0)) < (1e-6 if bias_dtype == torch.float32 else 4e-3)


def test_a_compute_dtype_also_holds_for_a_backward_pass_within_autocast():
    layer, _ = layer_and_twin(64, 48, compute_dtype=torch.float32, bias=False)
    x = torch.randn(3, 64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x).float().backward(torch.ones(3, 48))
    torch.testing.assert_close(x.grad, layer.dequantize().sum(0).expand(3, 64))


def test_nothing_is_kept_for_the_backward_pass():
    layer, _ = layer_and_twin(64, 48)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda tensor: tensor):
        layer(torch.randn(3, 64, requires_grad=True))
    assert not kept


def test_an_input_or_a_bias_of_another_size_is_named():
    layer, _ = layer_and_twin(64, 48)
    for wrong in (torch.ones(2, 63), torch.tensor(1.0)):
        with pytest.raises(ValueError, match=r"give \[\.\.\., 64\]"):
            layer(wrong)
    with pytest.raises(ValueError, match="does not fit a weight"):
        quant.Linear4bit(layer.weight_quantized, nn.Parameter(torch.ones(64)))
    with pytest.raises(TypeError, match="no 4-bit weight"):
        quant.Linear4bit(torch.ones(4, 4))
    with pytest.raises(TypeError, match="no nn.Linear"):
        quant.Linear4bit.from_linear(torch.ones(4, 4))


def test_integers_are_refused_as_input_and_as_dtype():
    layer, _ = layer_and_twin(64, 48)
    with pytest.raises(TypeError, match="int64"):
        layer(torch.ones(1, 64, dtype=torch.long))
    with pytest.raises(TypeError, match="int8"):
        layer.dequantize(torch.int8)
    for wrong in (torch.uint8, "bfloat16", torch.float8_e4m3fn):
        with pytest.raises(TypeError, match="no dtype to compute in"):
            quant.Linear4bit.from_linear(nn.Linear(4, 4), compute_dtype=wrong)


def test_float64_is_left_alone_by_autocast_as_in_the_dense_layer():
    layer, twin = layer_and_twin(64, 48)
    x = torch.randn(3, 64, dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.double()(x).dtype == twin.double()(x).dtype == torch.float64


def test_t5_reads_the_weight_of_its_layers_and_works():
    config = T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=2, decoder_start_token_id=0)
    ids = torch.arange(6)[None]
    model = quant.quantize_model(T5ForConditionalGeneration(config).eval())
    wanted = model(input_ids=ids, decoder_input_ids=ids).logits
    lora.inject(model, lora.LoRAConfig(target_modules="all-linear"))
    torch.testing.assert_close(model(input_ids=ids, decoder_input_ids=ids).logits, wanted)


def test_compute_dtype_is_used_inside_and_the_input_dtype_comes_back():
    layer, _ = layer_and_twin(64, 64, compute_dtype=torch.bfloat16, bias=False)
    x = torch.randn(4, 64)
    y = layer(x)
    assert y.dtype == torch.float32
    assert torch.equal(y, (x.bfloat16() @ layer.dequantize(torch.bfloat16).T).float())


DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("shape", [(96, 128), (130, 64), (33, 100)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("double_quant", [False, True])
def test_slabs_give_the_dense_product(monkeypatch, shape, dtype, double_quant):
    """In slabs or whole, to the last bits of the sum's order; (33, 100) does not fit into slabs and is done whole."""
    d_out, d_in = shape
    layer, twin = layer_and_twin(d_in, d_out, bias=False, double_quant=double_quant)
    layer, twin = layer.to(dtype), twin.to(dtype)
    monkeypatch.setattr(slabs, "SIZE", 2**12)
    used = []
    cut = slabs.cut
    monkeypatch.setattr(slabs, "cut", lambda *args, **kw: used.append(kw["dim"]) or cut(*args, **kw))
    x = torch.randn(2, 5, d_in).to(dtype)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, theirs = layer(a), twin(b)
    ours.backward(torch.ones_like(ours))
    theirs.backward(torch.ones_like(theirs))
    assert used == ([] if d_in == 100 else [0, 1])
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    assert (ours - theirs).norm() <= tolerance * theirs.norm()
    assert (a.grad - b.grad).norm() <= tolerance * b.grad.norm()


@pytest.mark.parametrize("d_in", [96, 100])
def test_a_large_weight_whose_rows_are_no_whole_blocks_is_not_cut(d_in):
    layer, twin = layer_and_twin(d_in, slabs.SIZE // d_in + 17, bias=False)
    x = torch.randn(3, d_in)
    assert torch.equal(layer(x), twin(x)) and torch.equal(
        layer(x), products._dense_product(x, None, layer, False, x.dtype)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block_size", [16, 64])
def test_a_slab_is_a_part_of_the_weight_bit_for_bit_and_no_larger_than_it_says(monkeypatch, dtype, block_size):
    layer, _ = layer_and_twin(192, 70, block_size=block_size)
    monkeypatch.setattr(slabs, "SIZE", 70 * 64)
    weight = layer.dequantize(dtype)
    for dim in (0, 1):
        parts = [(part, slab.clone()) for part, slab in slabs.cut(layer.stored, (70, 192), dtype, dim)]
        assert len(parts) > 1 and all(slab.numel() <= slabs.SIZE for _, slab in parts)
        assert torch.equal(torch.cat([slab for _, slab in parts], dim=dim), weight)


@pytest.mark.parametrize("part", ["packed", "absmax"])
@pytest.mark.parametrize("tokens", [2, 20])
def test_half_a_weight_is_not_cut_as_if_it_were_whole(tokens, part, monkeypatch):
    """It divides into as many rows, of half as many blocks or bytes."""
    layer, _ = layer_and_twin(128, 70, double_quant=False)
    monkeypatch.setattr(slabs, "SIZE", 70 * 64)
    half = getattr(layer, part)[::2].clone()
    setattr(layer, part, torch.nn.Parameter(half, requires_grad=False) if part == "packed" else half)
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        layer(torch.ones(tokens, 128))


def test_no_more_than_one_slab_is_alive_at_a_time(monkeypatch):
    monkeypatch.setattr(slabs, "SIZE", 2**16)
    layers = nn.Sequential(*(quant.Linear4bit.from_linear(nn.Linear(512, 512, bias=False)) for _ in range(3)))
    x = torch.randn(products.FEW_TOKENS["cpu"] + 1, 512, requires_grad=True)
    with LiveBytes() as live:
        layers(x).sum().backward()
    a_slab, a_weight = 4 * 2**16, 4 * 512 * 512
    assert a_slab < live.peak < 2 * a_slab + a_weight / 4  # a slab, its codes as int32, constants, activations


def test_a_whole_weight_is_restored_in_one_workspace():
    layer = quant.Linear4bit.from_linear(nn.Linear(96, 300, bias=False), block_size=64)
    x = torch.randn(1, 96, requires_grad=True)
    with LiveBytes() as live:
        layer(x).sum().backward()
    a_weight = 4 * 96 * 300
    assert a_weight <= live.peak < 2 * a_weight


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_works_as_for_the_dense_layer(dtype):
    layer, twin = layer_and_twin(64, 48)
    a, b = (torch.ones(3, 64) / 7 * k for k in (1, 1))
    a, b = a.requires_grad_(), b.requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        ours, theirs = layer(a), twin(b)
    assert ours.dtype == theirs.dtype == dtype
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)
    ours.sum().backward()
    theirs.sum().backward()
    assert a.grad.dtype == b.grad.dtype == torch.float32
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-2, atol=1e-2)


def test_a_compute_dtype_holds_against_autocast():
    layer, _ = layer_and_twin(64, 48, compute_dtype=torch.float32, bias=False)
    x = torch.randn(3, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert torch.equal(y, layer(x).bfloat16())


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing_changes_no_bit(use_reentrant):
    layer, _ = layer_and_twin(64, 48)
    a, b = (torch.arange(192.0).view(3, 64).sin().requires_grad_() for _ in range(2))
    layer(a).square().sum().backward()
    checkpoint(lambda x: layer(x).square(), b, use_reentrant=use_reentrant).sum().backward()
    assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize(
    "backend",
    [
        "aot_eager",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(
                    shutil.which("g++") is None, reason="inductor compiles with g++, which is not installed"
                ),
            ],
        ),
    ],
)
@pytest.mark.parametrize("double_quant", [False, True])
def test_it_compiles_without_a_graph_break(backend, double_quant):
    torch._dynamo.reset()
    layer, _ = layer_and_twin(96, 40, double_quant=double_quant)
    a, b = (torch.arange(288.0).view(3, 96).sin().requires_grad_() for _ in range(2))
    wanted = layer(a)
    wanted.square().sum().backward()
    got = torch.compile(layer, backend=backend, fullgraph=True)(b)
    got.square().sum().backward()
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(b.grad, a.grad)


@pytest.mark.parametrize("features", [(64, 64), (128, 96)])
def test_an_eval_forward_keeps_gradients_and_weight_where_bitsandbytes_loses_both(features):
    d_in, d_out = features
    torch.manual_seed(0)
    dense = nn.Linear(d_in, d_out, bias=False)
    ours = quant.Linear4bit.from_linear(dense, double_quant=False)
    theirs = bitsandbytes.nn.Linear4bit(d_in, d_out, bias=False, quant_type="nf4", compress_statistics=False)
    theirs.load_state_dict(dense.state_dict())
    theirs = theirs.to("cpu")
    for layer in (ours, theirs):
        with torch.no_grad():
            layer.eval()(torch.randn(2, d_in))
    x = torch.randn(2, d_in, requires_grad=True)
    ours.train()(x).sum().backward()
    assert torch.allclose(x.grad, ours.dequantize().sum(dim=0).expand_as(x), atol=1e-5)
    assert (ours.dequantize() - dense.weight).norm() < 0.11 * dense.weight.norm()
    restored = bitsandbytes.functional.dequantize_4bit(theirs.weight.data, theirs.weight.quant_state)
    if bitsandbytes.functional.has_avx512bf16():
        assert (restored.float() - dense.weight).norm() > 0.5 * dense.weight.norm()
    else:
        assert torch.equal(restored, ours.dequantize())


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
        (lambda: quant.Linear4bit(quant.quantize(torch.ones(4, 4), quant.INT8)), "'INT8'"),
        (lambda: quant.Linear4bit(quant.quantize(torch.ones(4, 4), quant.INT4_ASYMMETRIC)), "'INT4_ASYMMETRIC'"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
