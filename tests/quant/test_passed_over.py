"""What four bits do not reach is said: by name and type, before and after, and where it is asked for."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig
from transformers import Qwen3MoeForCausalLM as Qwen

from lora_lab import quant
from tests.helpers.models import tiny_llama

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
MIXTRAL = MixtralConfig(**SIZES, num_key_value_heads=1, num_local_experts=3)
QWEN = Qwen3MoeConfig(**SIZES, moe_intermediate_size=24, num_key_value_heads=1, num_experts=4, head_dim=16)
GPT2 = GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2, n_positions=16)

OTHERS = {
    "embedding": nn.Embedding(9, 8),
    "conv1d": nn.Conv1d(3, 4, 3),
    "conv2d": nn.Conv2d(3, 4, 3),
    "bilinear": nn.Bilinear(3, 4, 5),
    "attention": nn.MultiheadAttention(8, 2),
    "lstm": nn.LSTM(4, 5),
}


def rows(model: nn.Module, **options) -> set[tuple[str, str]]:
    return {(weight.name, weight.kind) for weight in quant.passed_over(model, **options)}


def test_a_mixture_s_experts_and_router_are_named_with_their_types():
    assert rows(MixtralForCausalLM(MIXTRAL)) == {
        ("model.embed_tokens.weight", "Embedding"),
        ("model.layers.0.mlp.gate.weight", "MixtralTopKRouter"),
        ("model.layers.0.mlp.experts.gate_up_proj", "MixtralExperts"),
        ("model.layers.0.mlp.experts.down_proj", "MixtralExperts"),
        ("lm_head.weight", "Linear"),
    }
    found = {weight.name: weight for weight in quant.passed_over(Qwen(QWEN))}
    experts = found["model.layers.0.mlp.experts.gate_up_proj"]
    assert experts.kind == "Qwen3MoeExperts" and experts.shape == (4, 48, 32) and experts.nbytes == 4 * 4 * 48 * 32


@pytest.mark.parametrize(
    ("build", "skip"),
    [
        (lambda: MixtralForCausalLM(MIXTRAL), ("lm_head", "o_proj")),
        (lambda: GPT2LMHeadModel(GPT2), ("lm_head", "c_fc")),
        (lambda: GPT2LMHeadModel(GPT2), ("lm_head",)),
        (tiny_llama, ("q_proj", "lm_head", "mlp.up_proj")),
        (lambda: tiny_llama(tie_word_embeddings=False), ()),
    ],
)
def test_before_and_after_the_same_is_passed_over_and_the_rest_is_in_four_bits(build, skip):
    model = build()
    before = quant.passed_over(model, skip)
    matrices = {name for name, p in model.named_parameters() if p.ndim > 1}
    quant.quantize_model(model, skip)
    quantized = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, quant.Linear4bit)}
    assert quant.passed_over(model, skip) == before
    assert {weight.name for weight in before} == matrices - quantized and quantized < matrices


@pytest.mark.parametrize("name", OTHERS)
def test_no_other_layer_of_torch_is_quantized_and_each_is_named(name):
    other = OTHERS[name]
    model = nn.ModuleDict({"linear": nn.Linear(8, 6), name: other})
    kinds = {type(module).__name__ for module in other.modules()}
    found = quant.passed_over(model)
    assert {weight.kind for weight in found} == kinds
    assert [w.name for w in found] == [f"{name}.{n}" for n, p in other.named_parameters() if p.ndim > 1]
    before = [id(parameter) for parameter in other.parameters()]
    quant.quantize_model(model)
    assert [id(parameter) for parameter in model[name].parameters()] == before
    assert type(model["linear"]) is quant.Linear4bit


@pytest.mark.parametrize("name", OTHERS)
def test_a_layer_that_is_no_linear_one_is_refused_by_name_and_type(name):
    other = OTHERS[name]
    kind, model = type(other).__name__, nn.ModuleDict({"linear": nn.Linear(8, 6), name: other})
    with pytest.raises(
        ValueError, match=f"skip names '{name}', which is of type {kind}, no nn.Linear or Conv1D .* linear"
    ):
        quant.quantize_model(model, skip=(name,))
    with pytest.raises(ValueError, match=f"no nn.Linear or Conv1D to quantize .*: it has {name}.* of {kind}"):
        quant.quantize_model(nn.ModuleDict({name: other}))
    with pytest.raises(TypeError, match=f"type {kind} is no nn.Linear or Conv1D"):
        quant.Linear4bit.from_linear(other)


def test_a_layer_that_is_4_bit_already_is_not_skipped_later():
    with pytest.raises(ValueError, match="skip names '0', which is 4-bit already"):
        quant.quantize_model(nn.Sequential(quant.Linear4bit.from_linear(nn.Linear(4, 4)), nn.Linear(4, 4)), skip=("0",))


@pytest.mark.parametrize(("skip", "error"), [("lm_head", ValueError), (3, TypeError), ((None,), TypeError)])
def test_what_is_skipped_is_asked_for_alike(skip, error):
    for function in (quant.passed_over, quant.quantize_model):
        with pytest.raises(error, match="skip"):
            function(tiny_llama(), skip)


def test_a_model_without_weights_and_a_lazy_layer_can_be_asked():
    with torch.device("meta"):
        model = MixtralForCausalLM(MIXTRAL)
    assert rows(model) == rows(MixtralForCausalLM(MIXTRAL))
    assert rows(nn.Sequential(nn.Linear(4, 4), nn.LazyConv2d(3, 3))) == set()
    assert rows(nn.DataParallel(tiny_llama())) == {("model.embed_tokens.weight", "Embedding")}


@pytest.mark.parametrize("norm_first", [True, False])
def test_torch_s_encoder_trains_and_answers_in_eval_mode_where_it_reads_weights_itself(norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 48, dropout=0, batch_first=True, norm_first=norm_first)
    model = quant.quantize_model(nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first))
    x, padded = torch.randn(2, 5, 32), torch.zeros(2, 5, dtype=torch.bool)
    padded[0, 3:] = True
    model.train()
    slow = model(x, src_key_padding_mask=padded)
    slow.sum().backward()
    with torch.no_grad():
        fast = model.eval()(x, src_key_padding_mask=padded)
    assert torch.allclose(fast[~padded[:, : fast.shape[1]]], slow[~padded], atol=1e-5)
    dense = quant.dequantize_model(model)
    with torch.no_grad():
        assert torch.equal(dense(x, src_key_padding_mask=padded), fast)
