"""(IA)³ against PEFT's, and against its equation in float64."""

import copy
import json

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from lora_lab import lora, quant
from lora_lab.methods import IA3Config, IA3Linear
from tests.helpers import families
from tests.helpers.models import IDS, tiny_llama

GPT2 = {"target_modules": ["c_attn", "mlp.c_proj"], "feedforward_modules": ["mlp.c_proj"]}
LLAMA = {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
MODELS = {"llama": (tiny_llama, IDS, LLAMA), "gpt2": (families.tiny_gpt2, families.IDS, GPT2)}


def trained(model: nn.Module, seed: int = 1) -> nn.Module:
    """Vectors off their start."""
    generator = torch.Generator().manual_seed(seed)
    for layer in lora.adapters(model).values():
        layer.ia3_l.data += 0.3 * torch.randn(layer.ia3_l.shape, generator=generator)
    return model


def peft_of(model: nn.Module, options: dict, like: nn.Module | None = None) -> nn.Module:
    """PEFT's model, with the vectors of ours."""
    other = peft.get_peft_model(model, peft.IA3Config(**options))
    if like is not None:
        for name, layer in lora.adapters(like).items():
            other.get_submodule(f"base_model.model.{name}").ia3_l["default"].data.copy_(layer.ia3_l.data)
    return other


def vectors(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for name, parameter in model.named_parameters() if "ia3_l" in name]


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16))
@pytest.mark.parametrize("family", MODELS)
def test_outputs_and_gradients_are_peft_s(family, dtype):
    make, ids, options = MODELS[family]
    ours = trained(lora.inject(make().to(dtype), IA3Config(**options)))
    theirs = peft_of(make().to(dtype), options, like=ours)
    for model in (ours, theirs):
        model(ids, labels=ids).loss.backward()
    assert torch.equal(ours(ids).logits, theirs(ids).logits)
    assert len(vectors(ours)) == len(vectors(theirs)) > 0
    for mine, other in zip(vectors(ours), vectors(theirs)):
        assert mine.dtype == torch.float32 and mine.shape == other.shape
        assert mine.grad is not None and mine.grad.abs().max() > 0
        assert torch.equal(mine.grad, other.grad)


@pytest.mark.parametrize("family", MODELS)
def test_merged_weights_and_biases_are_peft_s(family):
    make, ids, options = MODELS[family]
    ours = trained(lora.inject(make(), IA3Config(**options)))
    theirs = peft_of(make(), options, like=ours).merge_and_unload().state_dict()
    before = ours(ids).logits
    merged = lora.merge_and_remove(ours)
    torch.testing.assert_close(merged(ids).logits, before, rtol=1e-5, atol=1e-6)
    assert merged.state_dict().keys() == theirs.keys()
    for key, value in merged.state_dict().items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-6, atol=0)


@pytest.mark.parametrize("family", MODELS)
def test_our_folder_is_read_by_peft(family, tmp_path):
    make, ids, options = MODELS[family]
    ours = trained(lora.inject(make(), IA3Config(**options)))
    theirs = peft.PeftModel.from_pretrained(make(), lora.save_adapter(ours, tmp_path))
    assert torch.equal(theirs(ids).logits, ours(ids).logits)


FOLDERS = {
    "ends of names": LLAMA,
    "within a word": {"target_modules": ["k_proj", "down_proj"], "feedforward_modules": {"wn_proj"}},
    "an expression": {"target_modules": r".*\.(k_proj|up_proj)", "feedforward_modules": r".*\.up_proj"},
    "an expression and ends": {"target_modules": r".*_proj", "feedforward_modules": ["k_proj", "mlp.up_proj"]},
    "all-linear": {"target_modules": "all-linear", "feedforward_modules": ["down_proj"]},
    "none": {"target_modules": ["v_proj"], "feedforward_modules": []},
    "without the start": {**LLAMA, "init_ia3_weights": False},
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_peft_s_folder_is_read_by_us(folder, tmp_path):
    options = FOLDERS[folder]
    if options["feedforward_modules"] == {"wn_proj"}:  # PEFT compares two sets before, and then the ends of names
        theirs = peft.IA3Config(target_modules=options["target_modules"], feedforward_modules=[])
        theirs.feedforward_modules = {"wn_proj"}
        theirs = peft.get_peft_model(tiny_llama(), theirs)
    else:
        theirs = peft_of(tiny_llama(), options)
    torch.manual_seed(1)
    for vector in vectors(theirs):
        nn.init.uniform_(vector, 0.5, 2)
    theirs.save_pretrained(tmp_path)
    ours = lora.load_adapter(tiny_llama(), tmp_path)
    assert torch.equal(ours(IDS).logits, theirs(IDS).logits)


@pytest.mark.parametrize("before", (["1.fc"], ["1.fc", "11.fc"], []))
def test_a_name_that_is_the_end_of_another_s_is_not_taken_for_it(before, tmp_path):
    def make() -> nn.Module:
        torch.manual_seed(0)
        return nn.ModuleDict({key: nn.ModuleDict({"fc": nn.Linear(5, 5)}) for key in ("1", "11")})

    ours = trained(lora.inject(make(), IA3Config(["1.fc", "11.fc"], before)))
    loaded = lora.load_adapter(make(), lora.save_adapter(ours, tmp_path))
    theirs = peft.PeftModel.from_pretrained(make(), tmp_path)
    for name, layer in lora.adapters(ours).items():
        assert layer.config.feedforward == (name in before)
        for other in (lora.adapters(loaded)[name], theirs.get_submodule(f"base_model.model.{name}")):
            x = torch.randn(3, 5)
            assert torch.equal(layer(x), other(x))


def base_layer(kind: str, d_in: int, d_out: int, bias: bool) -> tuple[nn.Module, torch.Tensor]:
    """A layer, and its weight as [d_out, d_in]."""
    linear = nn.Linear(d_in, d_out, bias=bias, dtype=torch.float32 if kind == "4bit" else torch.float64)
    if kind == "4bit":
        layer = quant.Linear4bit.from_linear(linear, block_size=16)
        return layer, layer.dequantize()
    if kind == "linear":
        return linear, linear.weight.detach()
    conv1d = Conv1D(d_out, d_in).double()
    conv1d.weight.data = linear.weight.detach().T.contiguous()
    conv1d.bias.data.normal_()
    return conv1d, linear.weight.detach()


@settings(max_examples=40)
@given(
    kind=st.sampled_from(("linear", "conv1d", "4bit")),
    d_in=st.integers(1, 19),
    d_out=st.integers(1, 23),
    bias=st.booleans(),
    feedforward=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_layer_is_its_equation_in_float64(kind, d_in, d_out, bias, feedforward, seed):
    torch.manual_seed(seed)
    base, W = base_layer(kind, d_in, d_out, bias)
    layer = IA3Linear(base, IA3Config("any", (), feedforward=feedforward))
    layer.ia3_l.data.uniform_(-2, 2)
    x = torch.randn(2, 3, d_in, dtype=W.dtype, requires_grad=True)
    up = torch.randn(2, 3, d_out, dtype=W.dtype)

    W64, x64 = W.double(), x.detach().double().requires_grad_()
    l64 = layer.ia3_l.detach().double().flatten().requires_grad_()
    b64 = torch.zeros(d_out).double() if base.bias is None else base.bias.detach().double()
    if feedforward:
        h64 = torch.einsum("oi,...i,i->...o", W64, x64, l64) + b64
    else:
        h64 = l64 * (torch.einsum("oi,...i->...o", W64, x64) + b64)
    h64.backward(up.double())
    h = layer(x)
    h.backward(up)
    close = {"rtol": 1e-10, "atol": 1e-12} if W.dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(h.double(), h64, **close)
    torch.testing.assert_close(layer.ia3_l.grad.double().flatten(), l64.grad, **close)
    torch.testing.assert_close(x.grad.double(), x64.grad, **close)

    layer.eval().merge()
    torch.testing.assert_close(layer(x).double(), h64, **close)
    merged = layer.merged_layer()
    assert type(merged) is (Conv1D if kind == "conv1d" else nn.Linear)
    assert not any(parameter.requires_grad for parameter in merged.parameters())
    torch.testing.assert_close(merged(x).double(), h64, **close)
    layer.unmerge()
    assert torch.equal(layer(x), h)


def test_a_bf16_layer_rounds_its_scaled_output_once():
    torch.manual_seed(0)
    base = nn.Linear(7, 5).bfloat16()
    layer = IA3Linear(base, IA3Config("any", ()))
    layer.ia3_l.data.uniform_(0.5, 2)
    x = torch.randn(11, 7).bfloat16()
    assert torch.equal(layer(x), (base(x).float() * layer.ia3_l.flatten()).bfloat16())
    assert layer.bfloat16().ia3_l.dtype == torch.float32


def test_weight_and_bias_are_those_that_the_layer_applies_in_the_dtype_of_the_base():
    layer = IA3Linear(nn.Linear(7, 5).bfloat16(), IA3Config("any", ()))
    layer.ia3_l.data.uniform_(0.5, 2)
    assert (layer.in_features, layer.out_features) == (7, 5)
    assert layer.weight.dtype == layer.bias.dtype == torch.bfloat16
    assert torch.equal(layer.bias, (layer.ia3_l.flatten() * layer.base.bias).bfloat16())


def test_an_encoder_that_reads_the_weights_instead_of_calling_the_layer_computes_the_same():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True), 1)
    trained(lora.inject(encoder, IA3Config(("linear1", "linear2"), ("linear2",))))
    x = torch.randn(2, 3, 16)
    called = encoder.train()(x)
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(x), called, rtol=1e-5, atol=1e-5)


def test_requantizing_scales_the_bias_too_and_leaves_it_frozen_in_its_dtype():
    torch.manual_seed(0)
    model = nn.ModuleDict({"fc": nn.Linear(32, 16)}).bfloat16()
    model = trained(lora.inject(quant.quantize_model(model, skip=()), IA3Config(("fc",), ())))
    layer = lora.adapters(model)["fc"]
    wanted = (layer.ia3_l.flatten() * layer.core.bias).bfloat16()
    with pytest.warns(UserWarning, match="rounding back to four bits"):
        lora.merge_and_remove(model, requantize=True)
    assert isinstance(model["fc"], quant.Linear4bit)
    assert torch.equal(model["fc"].bias, wanted) and model["fc"].bias.dtype == torch.bfloat16
    assert not model["fc"].bias.requires_grad


def test_a_feedforward_module_that_is_no_target_is_refused_and_the_model_stays():
    model = tiny_llama()
    with pytest.raises(ValueError, match="feedforward_modules names 'down_proj', which matches none of the adapted"):
        lora.inject(model, IA3Config(("k_proj",), ("down_proj",)))
    assert lora.names(model) == [] and all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    "targets", (("k_proj", "v_proj"), ("v_proj", "mlp.down_proj"), r".*\.[01]\..*(up|down)_proj", "all-linear")
)
def test_the_default_scales_the_inputs_of_those_targets_that_peft_takes_for_feed_forward(targets):
    ours = trained(lora.inject(tiny_llama(), IA3Config(targets)))
    theirs = peft_of(tiny_llama(), {"target_modules": targets if isinstance(targets, str) else list(targets)}, ours)
    before = {name for name, layer in lora.adapters(ours).items() if layer.config.feedforward}
    assert before == {name for name in lora.adapters(ours) if "down_proj" in name}
    assert len(vectors(ours)) == len(vectors(theirs)) and torch.equal(ours(IDS).logits, theirs(IDS).logits)


def test_the_default_binds_no_model_that_calls_its_layers_otherwise(tmp_path):
    ours = trained(lora.inject(families.tiny_gpt2(), IA3Config("all-linear")))
    assert not any(layer.config.feedforward for layer in lora.adapters(ours).values())
    loaded = lora.load_adapter(families.tiny_gpt2(), lora.save_adapter(ours, tmp_path))
    assert torch.equal(loaded(families.IDS).logits, ours(families.IDS).logits)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    (
        ({"feedforward_modules": 3}, TypeError, "feedforward_modules must be a name or a sequence"),
        ({"feedforward_modules": ("",)}, ValueError, "feedforward_modules=.* holds an empty name"),
        ({"feedforward": 1}, TypeError, "feedforward"),
        ({"target_modules": ()}, ValueError, "target_modules=.* names nothing"),
    ),
)
def test_wrong_settings_are_refused(options, error, said):
    with pytest.raises(error, match=said):
        IA3Config(**options)


def test_an_embedding_is_refused_by_name():
    with pytest.raises(
        ValueError, match="embed_tokens: cannot adapt a torch.*Embedding: no layer of IA3Config goes around"
    ):
        lora.inject(tiny_llama(tie_word_embeddings=False), IA3Config(("embed_tokens",), ()))


@pytest.mark.parametrize(
    ("change", "said"),
    (
        ({"ia4_gate": True}, "asks for ia4_gate=True, which lora_lab does not implement"),
        ({"feedforward_modules": None}, "lacks feedforward_modules"),
        ({"feedforward_modules": 5}, "feedforward_modules must be"),
        ({"feedforward_modules": []}, r"down_proj.ia3_l has shape \(1, 96\), where \(64, 1\) is needed"),
    ),
)
def test_a_folder_that_asks_for_something_else_is_refused(change, said, tmp_path):
    lora.save_adapter(lora.inject(tiny_llama(), IA3Config()), tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    model = tiny_llama()
    with pytest.raises(ValueError, match=said):
        lora.load_adapter(model, tmp_path)
    assert lora.names(model) == []


def test_a_copy_computes_the_same_and_learns_on_its_own():
    model = trained(lora.inject(tiny_llama(), IA3Config()))
    twin = copy.deepcopy(model)
    assert torch.equal(twin(IDS).logits, model(IDS).logits)
    trained(twin, seed=2)
    assert not torch.equal(twin(IDS).logits, model(IDS).logits)


CLASSIFIER = {"target_modules": ["key", "value", "output.dense"], "feedforward_modules": ["output.dense"]}


def test_a_classifier_s_folder_goes_both_ways_with_its_head(tmp_path):
    ours = trained(lora.inject(families.tiny_classifier(), IA3Config(**CLASSIFIER)))
    ours.classifier.weight.data += 0.1
    theirs = peft.PeftModel.from_pretrained(families.tiny_classifier(), lora.save_adapter(ours, tmp_path / "ours"))
    assert torch.equal(theirs(families.IDS).logits, ours(families.IDS).logits)
    theirs = peft_of(families.tiny_classifier(), CLASSIFIER | {"task_type": "SEQ_CLS"}, like=ours)
    theirs.base_model.model.classifier.modules_to_save["default"].bias.data += 0.3
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = lora.load_adapter(families.tiny_classifier(), tmp_path / "theirs")
    assert torch.equal(loaded(families.IDS).logits, theirs(families.IDS).logits)
    assert loaded.classifier.bias.requires_grad
