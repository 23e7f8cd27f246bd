"""Every kind of layer that takes an adapter against PEFT's, and every other one refused by name."""

import copy
import warnings

import peft
import pytest
import torch
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM
from transformers.pytorch_utils import Conv1D

from lora_lab import lora, quant
from lora_lab.lora import LoRAConfig
from tests.helpers.families import IDS, LOSES_BIASES, tiny_gpt2
from tests.helpers.models import assert_same, snapshot, tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning")


@torch.no_grad()
def moved(model: nn.Module, seed: int = 1, size: float = 0.1) -> nn.Module:
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter += size * torch.randn_like(parameter)
    return model


@torch.no_grad()
def copy_into_peft(ours: nn.Module, theirs: nn.Module) -> None:
    """The factors, and the weight below, from which PEFT takes the start of a PiSSA."""
    twins = {name.removeprefix("base_model.model."): module for name, module in theirs.named_modules()}
    for name, layer in lora.adapters(ours).items():
        twin = twins[name]
        if isinstance(layer, lora.LoRAEmbedding):
            twin.lora_embedding_A["default"].copy_(layer.lora_A)
            twin.lora_embedding_B["default"].copy_(layer.lora_B)
            continue
        twin.lora_A["default"].weight.copy_(layer.lora_A)
        twin.lora_B["default"].weight.copy_(layer.lora_B)
        if isinstance(layer, lora.PiSSALinear):
            weight = layer.kind.weight(layer.core).to(layer.lora_A.dtype)
            start = weight - layer.scaling * layer.start_B @ layer.start_A
            below = twin.base_layer
            below.weight.copy_(start.T if isinstance(below, Conv1D) else start)


def grads(theirs: nn.Module, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    twin = theirs.get_submodule(f"base_model.model.{name}")
    if twin.lora_embedding_A:
        return twin.lora_embedding_A["default"].grad, twin.lora_embedding_B["default"].grad
    return twin.lora_A["default"].weight.grad, twin.lora_B["default"].weight.grad


def assert_close(one: torch.Tensor, other: torch.Tensor) -> None:
    assert (one - other).norm() <= (1e-9 if one.dtype == torch.float64 else 2e-5) * other.norm()


def assert_same_function_and_gradients(ours: nn.Module, theirs: nn.Module, training: bool = False) -> None:
    outputs = []
    for model in (ours, theirs):
        model.train(training)
        torch.manual_seed(4)  # the same masks of dropout
        outputs.append(model(input_ids=IDS).logits)
        outputs[-1].square().sum().backward()
    assert_close(*outputs)
    for name, layer in lora.adapters(ours).items():
        for mine, twin in zip((layer.lora_A.grad, layer.lora_B.grad), grads(theirs, name)):
            assert_close(mine, twin)


# ---- transformers' Conv1D ------------------------------------------------------------------------------------------

OPTIONS = {
    "kaiming": {},
    "gaussian": {"init": "gaussian"},
    "orthogonal": {"init": "orthogonal", "r": 4},
    "pissa": {"init": "pissa"},
    "rslora": {"use_rslora": True},
    "dropout": {"dropout": 0.4},
    "pissa, dropout": {"init": "pissa", "dropout": 0.4},
    "patterns": {"rank_pattern": {"c_fc": 5}, "alpha_pattern": {"1.attn.c_attn": 3}},
    "one layer": {"layers_to_transform": (1,)},
    "exclusion": {"exclude_modules": ("mlp.c_proj",)},
    "biases": {"bias": "lora_only"},
}
CONV1D = ("c_attn", "c_proj", "c_fc")


def gpt2_config(options: dict) -> LoRAConfig:
    return LoRAConfig(**{"r": 3, "alpha": 8, "target_modules": CONV1D, **options})


def gpt2_peft(config: LoRAConfig) -> peft.LoraConfig:
    return peft.LoraConfig(
        r=config.r,
        lora_alpha=config.alpha,
        target_modules=list(CONV1D),
        lora_dropout=config.dropout,
        use_rslora=config.use_rslora,
        rank_pattern=dict(config.rank_pattern),
        alpha_pattern=dict(config.alpha_pattern),
        exclude_modules=list(config.exclude_modules) or None,
        layers_to_transform=config.layers_to_transform and list(config.layers_to_transform),
        bias=config.bias,
        init_lora_weights=True if config.init == "kaiming" else config.init,
        fan_in_fan_out=True,
    )


@pytest.mark.parametrize("dtype", [torch.float64])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_conv1d_s_outputs_and_gradients_are_peft_s(options, dtype):
    config = gpt2_config(options)
    ours = lora.inject(tiny_gpt2().to(dtype), config)
    theirs = peft.get_peft_model(tiny_gpt2(), gpt2_peft(config)).to(dtype)
    assert torch.equal(ours(IDS).logits, tiny_gpt2().to(dtype)(IDS).logits)
    moved(ours)
    copy_into_peft(ours, theirs)
    with torch.no_grad():  # the biases that were moved too
        for name in lora.adapters(ours):
            theirs.get_submodule(f"base_model.model.{name}").base_layer.bias.copy_(lora.adapters(ours)[name].core.bias)
    assert_same_function_and_gradients(ours, theirs, training=True)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_conv1d_s_folders_go_both_ways(options, tmp_path):
    config = gpt2_config(options)
    ours = moved(lora.inject(tiny_gpt2(), config))
    lora.save_adapter(ours, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(tiny_gpt2(), tmp_path / "ours").eval()
    assert theirs.peft_config["default"].fan_in_fan_out
    assert_close(theirs(IDS).logits, ours(IDS).logits)
    assert_close(lora.load_adapter(tiny_gpt2(), tmp_path / "ours")(IDS).logits, ours(IDS).logits)
    fresh = moved(peft.get_peft_model(tiny_gpt2(), gpt2_peft(config)), 2).eval()
    fresh.save_pretrained(tmp_path / "theirs")
    if config.bias == "lora_only" and LOSES_BIASES:
        with pytest.raises(ValueError, match="old versions of PEFT lost the biases"):
            lora.load_adapter(tiny_gpt2(), tmp_path / "theirs")
        return
    assert_close(lora.load_adapter(tiny_gpt2(), tmp_path / "theirs")(IDS).logits, fresh(IDS).logits)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_conv1d_is_merged_and_stays_one(options):
    model = moved(lora.inject(tiny_gpt2(), gpt2_config(options)))
    logits = model(IDS).logits
    assert_close(lora.merge(model)(IDS).logits, logits)
    assert torch.equal(lora.unmerge(model)(IDS).logits, logits)
    plain = lora.merge_and_remove(model)
    assert_close(plain(IDS).logits, logits)
    attention = plain.transformer.h[1].attn
    assert type(attention.c_attn) is Conv1D and attention.c_attn.weight.shape == (24, 72)
    assert attention.c_attn.weight.is_contiguous() and (attention.c_attn.nf, attention.c_attn.nx) == (72, 24)
    fresh = tiny_gpt2(seed=3)
    fresh.load_state_dict(plain.state_dict())
    assert torch.equal(fresh(IDS).logits, plain(IDS).logits)


@pytest.mark.parametrize("init", ["kaiming", "gaussian", "orthogonal", "pissa"])
@pytest.mark.parametrize("double_quant", [False, True])
def test_a_quantized_gpt2_is_adapted_merged_requantized_saved_and_loaded(init, double_quant, tmp_path):
    def base() -> nn.Module:
        return quant.quantize_model(tiny_gpt2(), block_size=64, double_quant=double_quant)

    config = LoRAConfig(r=4, alpha=8, target_modules="all-linear", init=init)
    model, before = base(), snapshot(base())
    names = [name for name, layer in model.named_modules() if isinstance(layer, quant.Linear4bit)]
    lora.inject(model, config)
    assert list(lora.adapters(model)) == names and len(names) == 8
    assert torch.equal(model(IDS).logits, base()(IDS).logits)
    moved(model)
    dense = peft.get_peft_model(
        quant.dequantize_model(base()), peft.LoraConfig(r=4, lora_alpha=8, target_modules=list(CONV1D))
    )
    copy_into_peft(model, dense)
    assert_same_function_and_gradients(model, dense)
    lora.save_adapter(model, tmp_path)
    assert_close(lora.load_adapter(base(), tmp_path)(IDS).logits, model(IDS).logits)
    assert_close(
        peft.PeftModel.from_pretrained(quant.dequantize_model(base()), tmp_path).eval()(IDS).logits, model(IDS).logits
    )
    losses = lora.requantization_losses(model)
    assert list(losses) == names and all(loss.update > 0 for loss in losses.values())
    requantized = lora.merge_and_remove(copy.deepcopy(model), requantize=True)
    for name in names:
        layer = requantized.get_submodule(name)
        total = lora.adapters(model)[name].folded()[0]
        assert isinstance(layer, quant.Linear4bit) and layer.double_quant == double_quant
        wanted = quant.quantize(total.detach(), quant.NF4, 64, double_quant).dequantize()
        assert torch.equal(layer.dequantize(), wanted)
    merged = lora.merge_and_remove(copy.deepcopy(model))
    assert_close(merged(IDS).logits, model(IDS).logits)
    assert_same(lora.remove(model), before)


# ---- embeddings ----------------------------------------------------------------------------------------------------


def words() -> nn.Module:
    return tiny_llama(tie_word_embeddings=False)


EMBEDDINGS = {
    "plain": {},
    "gaussian": {"init": "gaussian"},
    "rslora": {"use_rslora": True},
    "dropout": {"dropout": 0.3},
    "rank": {"rank_pattern": {"embed_tokens": 5}, "alpha_pattern": {"embed_tokens": 3}},
}
TARGETS = ("embed_tokens", "q_proj")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", EMBEDDINGS.values(), ids=EMBEDDINGS)
def test_an_embedding_is_peft_s(options, dtype, tmp_path):
    config = LoRAConfig(r=3, alpha=8, target_modules=TARGETS, **options)
    theirs = peft.get_peft_model(
        words(),
        peft.LoraConfig(
            r=3,
            lora_alpha=8,
            target_modules=list(TARGETS),
            use_rslora=config.use_rslora,
            lora_dropout=config.dropout,
            rank_pattern=dict(config.rank_pattern),
            alpha_pattern=dict(config.alpha_pattern),
            init_lora_weights=True if config.init == "kaiming" else config.init,
        ),
    )
    start = theirs.get_submodule("base_model.model.model.embed_tokens")
    ours = lora.inject(words().to(dtype), config)
    layer = lora.adapters(ours)["model.embed_tokens"]
    assert torch.equal(start.lora_embedding_A["default"], layer.lora_A.float()) and not layer.lora_A.any()
    assert 0.8 < layer.lora_B.std() / start.lora_embedding_B["default"].std() < 1.25
    assert torch.equal(ours(IDS).logits, words().to(dtype)(IDS).logits)
    moved(ours)
    copy_into_peft(ours, theirs.to(dtype))
    assert_same_function_and_gradients(ours, theirs, training=True)
    ours.eval(), theirs.eval()
    logits = ours(IDS).logits
    for name, model in (("ours", ours), ("theirs", theirs)):
        lora.save_adapter(ours, tmp_path / name) if name == "ours" else model.save_pretrained(tmp_path / name)
        read = lora.load_adapter(words().to(dtype), tmp_path / name)
        assert_close(read(IDS).logits, logits)
        assert_close(peft.PeftModel.from_pretrained(words().to(dtype), tmp_path / name).eval()(IDS).logits, logits)
    weight = layer.kind.weight(layer.core).clone()
    assert_close(lora.merge(ours)(IDS).logits, logits)
    assert_close(lora.unmerge(ours)(IDS).logits, logits)
    plain = lora.merge_and_remove(ours)
    assert type(plain.model.embed_tokens) is nn.Embedding and plain.model.embed_tokens.weight.dtype == dtype
    assert_close(plain.model.embed_tokens.weight, weight + layer.delta_weight())
    assert_close(plain(IDS).logits, logits)


def test_an_embedding_has_what_an_embedding_has_and_an_id_that_never_occurs_keeps_its_row():
    torch.manual_seed(0)
    model = nn.ModuleDict({"e": nn.Embedding(9, 5, padding_idx=2)})
    before = model["e"].weight.clone()
    layer = lora.inject(model, LoRAConfig(r=3, alpha=4, target_modules="e"))["e"]
    assert (layer.num_embeddings, layer.embedding_dim, layer.padding_idx) == (9, 5, 2)
    ids = torch.tensor([[1, 2, 4], [4, 4, 7]])
    optimizer = torch.optim.SGD([layer.lora_A, layer.lora_B], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        ((layer(ids) - 1) ** 2).sum().backward()
        optimizer.step()
    changed = {int(i) for i in (layer.weight != before).any(1).nonzero()}
    assert changed == {1, 4, 7}  # neither an id that was not seen, nor the padding
    assert torch.equal(layer.weight, layer.folded()[0]) and layer.bias is None


@pytest.mark.parametrize(
    ("options", "words_"),
    [
        ({"init": "pissa"}, "init='pissa' starts from a matrix product's weight"),
        ({"init": "orthogonal", "r": 4}, "init='orthogonal'"),
    ],
)
def test_a_start_that_an_embedding_does_not_have_is_refused_by_name(options, words_):
    model = words()
    with pytest.raises(ValueError, match=f"model.embed_tokens: {words_}"):
        lora.inject(model, LoRAConfig(target_modules="embed_tokens", **options))
    assert_same(model, snapshot(words()))


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("target", ["embedding", "lm_head"])
def test_a_tied_embedding_is_refused_by_both_of_its_names(make, target):
    model = make()
    name = "lm_head" if target == "lm_head" else "embed_tokens" if make is tiny_llama else "wte"
    with pytest.raises(ValueError, match="is tied: the same tensor is also .*; leave this layer out") as caught:
        lora.inject(model, LoRAConfig(target_modules=name))
    assert "lm_head.weight" in str(caught.value) and ("embed_tokens" in str(caught.value) or "wte" in str(caught.value))
    assert_same(model, snapshot(make()))


# ---- what an nn.Linear has -----------------------------------------------------------------------------------------

BASES = {
    "linear": lambda: nn.Linear(7, 5),
    "no bias": lambda: nn.Linear(7, 5, bias=False),
    "4 bits": lambda: quant.Linear4bit.from_linear(nn.Linear(7, 5), quant.NF4, 64, False, torch.float32),
    "conv1d": lambda: Conv1D(5, 7),
    "bf16": lambda: nn.Linear(7, 5).bfloat16(),
}


@pytest.mark.parametrize("init", ["kaiming", "pissa"])
@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_an_adapted_layer_has_the_attributes_of_a_linear_one(base, init):
    torch.manual_seed(0)
    layer = moved(lora.LoRALinear(base(), LoRAConfig(r=2, init=init))).eval()
    assert (layer.in_features, layer.out_features) == (7, 5) and layer.weight.shape == (5, 7)
    assert layer.weight.dtype == layer.dtype and (layer.bias is None) == (layer.core.bias is None)
    x = torch.randn(3, 7).to(layer.dtype)
    wide = 0.05 if layer.dtype == torch.bfloat16 else 1e-5
    for state in (lambda: layer, lambda: lora.merge(nn.ModuleDict({"fc": layer}))["fc"]):
        each = state()
        read = nn.functional.linear(x, each.weight.to(x.dtype), each.bias)
        torch.testing.assert_close(read, each(x), rtol=wide, atol=wide)
    layer.unmerge()
    layer.enabled = False
    assert torch.equal(layer.weight, layer.kind.weight(layer.core))


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("init", ["kaiming", "pissa"])
@pytest.mark.parametrize("quantized", [False, True])
def test_torch_s_encoder_reads_weights_in_eval_mode_and_computes_the_same(norm_first, init, quantized):
    """`nn.TransformerEncoderLayer` calls `linear1` and `linear2` in training; in eval mode, without gradients, it hands
    their weights to one kernel; with gradients it calls them again."""

    def encoder() -> nn.Module:
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True, norm_first=norm_first)
        model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)
        return quant.quantize_model(model) if quantized else model

    model = lora.inject(encoder(), LoRAConfig(r=3, target_modules=("linear1", "linear2"), init=init))
    x, padded = torch.randn(2, 5, 16), torch.zeros(2, 5, dtype=torch.bool)
    padded[0, 3:] = True
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        model.train()(x, src_key_padding_mask=padded).square().sum().backward()
        optimizer.step()
    called = model.train()(x, src_key_padding_mask=padded)
    assert not torch.allclose(called, encoder().train()(x, src_key_padding_mask=padded), atol=1e-3)
    with torch.no_grad():
        fast = model.eval()(x, src_key_padding_mask=padded)
    torch.testing.assert_close(fast[~padded[:, : fast.shape[1]]], called[~padded], rtol=1e-5, atol=1e-5)
    gradients = []
    for training in (True, False):
        model.zero_grad()
        model.train(training)(x)[0].pow(4).sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
    for one, other in zip(*gradients):
        assert (one - other).norm() <= 1e-4 * one.norm()
    with torch.no_grad():
        slow = lora.merge(model).train()(x)
        torch.testing.assert_close(model.eval()(x), slow, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
def test_gradients_pass_through_the_weight_that_is_read(base):
    """Whoever reads `layer.weight` instead of calling the layer trains the adapter all the same."""
    torch.manual_seed(0)
    layer = moved(lora.LoRALinear(base(), LoRAConfig(r=2)))
    x = torch.randn(3, 7).to(layer.dtype)
    gradients = []
    for compute in (lambda: layer(x), lambda: nn.functional.linear(x, layer.weight, layer.bias)):
        layer.zero_grad()
        compute().float().square().sum().backward()
        gradients.append((layer.lora_A.grad, layer.lora_B.grad))
    for one, other in zip(*gradients):
        assert (one - other).norm() <= (0.05 if layer.dtype == torch.bfloat16 else 1e-5) * one.norm()


# ---- everything else -----------------------------------------------------------------------------------------------


class Own(nn.Linear):
    pass


OTHERS = {
    "conv1d": (nn.Conv1d(3, 4, 3), "torch.nn.modules.conv.Conv1d"),
    "conv2d": (nn.Conv2d(3, 4, 3), "torch.nn.modules.conv.Conv2d"),
    "bilinear": (nn.Bilinear(3, 4, 5), "torch.nn.modules.linear.Bilinear"),
    "attention": (nn.MultiheadAttention(8, 2), "torch.nn.modules.activation.MultiheadAttention"),
    "lstm": (nn.LSTM(4, 5), "torch.nn.modules.rnn.LSTM"),
    "gru": (nn.GRUCell(4, 5), "torch.nn.modules.rnn.GRUCell"),
    "bag": (nn.EmbeddingBag(9, 4), "torch.nn.modules.sparse.EmbeddingBag"),
    "norm": (nn.LayerNorm(4), "torch.nn.modules.normalization.LayerNorm"),
    "own": (Own(4, 5), "Own"),
    "list": (nn.ModuleList([nn.Linear(3, 3)]), "torch.nn.modules.container.ModuleList"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_any_other_layer_is_refused_in_one_sentence_with_its_name_and_type(kind):
    layer, described = OTHERS[kind]
    model = nn.ModuleDict({"fine": nn.Linear(3, 3), "odd": copy.deepcopy(layer)})
    before = snapshot(model)
    for targets in ("odd", ("fine", "odd"), "od+"):
        with pytest.raises(
            ValueError, match=r"target 'odd' is a .*: only torch.nn.Linear, .* take adapters; its"
        ) as caught:
            lora.inject(model, LoRAConfig(target_modules=targets))
        assert described in str(caught.value) and "\n" not in str(caught.value)
    assert_same(model, before) and not lora.names(model)
    with pytest.raises(TypeError, match=f"cannot adapt a .*{described.rpartition('.')[2]}: only"):
        lora.LoRALinear(layer, LoRAConfig())


def test_the_projection_inside_attention_is_refused_because_attention_reads_it():
    model = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2)})
    with pytest.raises(ValueError, match="'attention.out_proj' is a .*NonDynamicallyQuantizableLinear: only"):
        lora.inject(model, LoRAConfig(target_modules="out_proj"))
    with pytest.raises(
        ValueError, match="'in_proj_weight' matches no module .* is a tensor of attention, a .*MultiheadAttention"
    ):
        lora.inject(model, LoRAConfig(target_modules="in_proj_weight"))


def mixtral() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    return MixtralForCausalLM(MixtralConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, num_local_experts=3))


@pytest.mark.parametrize(
    ("target", "words_"),
    [
        ("experts", r"target 'model.layers.0.mlp.experts' is a .*MixtralExperts: only torch.nn.Linear"),
        ("gate", r"target 'model.layers.0.mlp.gate' is a .*MixtralTopKRouter: only"),
        (
            "gate_up_proj",
            r"'gate_up_proj' matches no module .* tensor of model.layers.0.mlp.experts, a .*MixtralExperts",
        ),
        ("model.layers.0.mlp.experts.down_proj", r"it is a tensor of model.layers.0.mlp.experts, a .*MixtralExperts"),
    ],
)
def test_a_mixture_s_experts_are_refused_by_module_and_by_parameter(target, words_):
    model = mixtral()
    for targets in (target, ("q_proj", target)):
        with pytest.raises(ValueError, match=words_) as caught:
            lora.inject(model, LoRAConfig(target_modules=targets))
        assert "\n" not in str(caught.value)
    assert_same(model, snapshot(mixtral()))


def passed_over(model: nn.Module) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        lora.inject(model, LoRAConfig(r=2, target_modules="all-linear"))
    said = [str(each.message) for each in caught if "passed over" in str(each.message)]
    assert len(said) <= 1
    return said[0] if said else ""


def test_all_linear_says_what_it_passed_over_and_nothing_where_nothing_was():
    assert passed_over(tiny_llama()) == passed_over(tiny_gpt2()) == passed_over(quant.quantize_model(tiny_gpt2())) == ""
    said = passed_over(mixtral())
    assert (
        "model.layers.0.mlp.experts (MixtralExperts)" in said and "model.layers.0.mlp.gate (MixtralTopKRouter)" in said
    )
    assert "embed_tokens" not in said and "lm_head" not in said and "stays frozen" in said
    odd = {name: copy.deepcopy(layer) for name, (layer, _) in OTHERS.items()}
    said = passed_over(model := nn.ModuleDict({**odd, "fine": nn.Linear(3, 3)}))
    shown = lora.passed_over(model)
    assert shown.keys() == {
        "conv1d",
        "conv2d",
        "bilinear",
        "attention",
        "attention.out_proj",
        "lstm",
        "gru",
        "bag",
        "own",
    }
    assert all(name in lora.adapters(model) for name in ("fine", "list.0")) and "conv1d (Conv1d)" in said
