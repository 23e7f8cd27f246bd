"""LoRA layers and their life in a model: algebra, injection, merging, removal."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from lora_lab import lora, quant
from lora_lab.lora import LoRAConfig, LoRALinear
from tests.helpers.models import IDS, assert_same, randomise, snapshot, tiny_llama

# ---- the layer -----------------------------------------------------------------------------------------------------


def test_the_layer_computes_the_equation_of_the_paper():
    torch.manual_seed(0)
    base = nn.Linear(13, 7).double()
    layer = LoRALinear(base, LoRAConfig(r=3, alpha=5))
    nn.init.normal_(layer.lora_B)
    x = torch.randn(4, 13, dtype=torch.float64)
    wanted = x @ (base.weight + 5 / 3 * layer.lora_B @ layer.lora_A).T + base.bias
    assert torch.allclose(layer(x), wanted, atol=1e-12)
    assert torch.allclose(layer.delta_weight(), 5 / 3 * layer.lora_B @ layer.lora_A)
    assert layer.lora_A.shape == (3, 13) and layer.lora_B.shape == (7, 3)


@pytest.mark.parametrize(("use_rslora", "scaling"), [(False, 32 / 16), (True, 32 / 4)])
def test_scaling_is_alpha_over_r_or_over_its_root(use_rslora, scaling):
    assert LoRALinear(nn.Linear(4, 4), LoRAConfig(r=16, alpha=32, use_rslora=use_rslora)).scaling == scaling


def test_a_is_random_within_its_bound_and_b_is_zero():
    layer = LoRALinear(nn.Linear(100, 50), LoRAConfig(r=8))
    assert not layer.lora_B.any()
    assert 0.5 / math.sqrt(100) < layer.lora_A.abs().max() <= 1 / math.sqrt(100)


def test_only_the_factors_get_gradients_and_at_the_start_only_b():
    layer = LoRALinear(nn.Linear(10, 6), LoRAConfig(r=2))
    layer(torch.randn(3, 10)).square().sum().backward()
    assert layer.base.weight.grad is None and layer.base.bias.grad is None
    assert layer.lora_B.grad.any() and not layer.lora_A.grad.any()  # dL/dA passes through B = 0


def test_dropout_acts_on_the_update_only_and_only_while_training():
    layer = LoRALinear(nn.Linear(10, 6), LoRAConfig(r=2, dropout=0.5))
    nn.init.normal_(layer.lora_B)
    x = torch.randn(3, 10)
    assert torch.equal(layer.eval()(x), layer(x))
    layer.train()
    assert not torch.equal(layer(x), layer(x))
    nn.init.zeros_(layer.lora_B)
    assert torch.equal(layer(x), layer.base(x))


def test_factors_stay_float32_over_a_bf16_base_and_the_output_is_bf16():
    layer = LoRALinear(nn.Linear(8, 8).bfloat16(), LoRAConfig(r=2))
    assert layer.lora_A.dtype == layer.lora_B.dtype == torch.float32
    assert layer(torch.randn(2, 8).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "base", [nn.Embedding(4, 4), nn.Conv1d(4, 4, 1), nn.modules.linear.NonDynamicallyQuantizableLinear(4, 4)]
)
def test_other_layers_are_refused_by_name(base):
    with pytest.raises(TypeError, match=type(base).__name__):
        LoRALinear(base, LoRAConfig())


@pytest.mark.parametrize(
    ("error", "options", "words"),
    [
        (ValueError, {"r": 0}, "r=0"),
        (ValueError, {"r": -3}, "r=-3"),
        (TypeError, {"r": 2.0}, "2.0"),
        (TypeError, {"r": math.nan}, "nan"),
        (TypeError, {"r": True}, "True"),
        (ValueError, {"alpha": math.nan}, "alpha=nan"),
        (ValueError, {"alpha": 0}, "alpha=0"),
        (ValueError, {"dropout": 1.0}, "dropout=1.0"),
        (ValueError, {"dropout": -0.1}, "dropout=-0.1"),
        (ValueError, {"dropout": math.nan}, "dropout=nan"),
        (ValueError, {"target_modules": ()}, "names nothing"),
        (ValueError, {"target_modules": ""}, "names nothing"),
    ],
)
def test_bad_settings_are_named(error, options, words):
    with pytest.raises(error, match=words):
        LoRAConfig(**options)


# ---- injection -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantized", [False, True])
def test_at_step_zero_the_output_does_not_move_by_a_bit(quantized):
    model = tiny_llama()
    if quantized:
        quant.quantize_model(model)
    before = model(IDS).logits
    lora.inject(model, LoRAConfig(target_modules="all-linear"))
    assert torch.equal(model(IDS).logits, before)


def test_only_adapters_train_and_the_count_is_r_times_the_sum_of_both_sides():
    model = lora.inject(tiny_llama(), LoRAConfig(r=4, target_modules="all-linear"))
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable and all(name.endswith(("lora_A", "lora_B")) for name in trainable)
    per_layer = 4 * sum(a + b for a, b in [(64, 64), (64, 32), (64, 32), (64, 64), (64, 96), (64, 96), (96, 64)])
    count = lora.count_parameters(model)
    assert count.trainable == 2 * per_layer
    assert count.total == tiny_llama().num_parameters() + count.trainable


def test_a_quantized_weight_counts_as_the_values_it_stands_for():
    dense = lora.count_parameters(tiny_llama()).total
    assert lora.count_parameters(quant.quantize_model(tiny_llama())).total == dense


@pytest.mark.parametrize(
    ("target_modules", "names"),
    [
        (("q_proj",), {"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"}),
        ("q_proj", {"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"}),
        (
            ["mlp.up_proj", "1.self_attn.v_proj"],
            {"model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj", "model.layers.1.self_attn.v_proj"},
        ),
        (r".*\.1\..*(q|v)_proj", {"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"}),
    ],
)
def test_targets_match_whole_name_parts(target_modules, names):
    assert set(lora.targets(tiny_llama(), target_modules)) == names


def test_a_name_is_never_a_substring():
    with pytest.raises(ValueError, match="'proj'"):
        lora.targets(tiny_llama(), ("proj",))


def test_all_linear_leaves_the_output_head_alone():
    names = lora.targets(tiny_llama(), "all-linear")
    assert len(names) == 14 and not any("lm_head" in name for name in names)


@pytest.mark.parametrize(
    ("target_modules", "words"),
    [
        (("q_proj", "query"), "'query' matches no module.*q_proj"),
        (("embed_tokens",), "tied"),
        (("self_attn",), "LlamaAttention"),
        (("lm_head",), "tied"),
    ],
)
def test_a_failed_injection_names_the_target_and_changes_nothing(target_modules, words):
    model = tiny_llama()
    before, flags = snapshot(model), [p.requires_grad for p in model.parameters()]
    with pytest.raises(ValueError, match=words):
        lora.inject(model, LoRAConfig(target_modules=target_modules))
    assert_same(model, before)
    assert [p.requires_grad for p in model.parameters()] == flags and not lora.adapters(model)


def test_a_second_injection_is_refused():
    model = lora.inject(tiny_llama(), LoRAConfig())
    with pytest.raises(ValueError, match="already"):
        lora.inject(model, LoRAConfig(target_modules=("k_proj",)))


PART_OF_THE_WEIGHT = {
    "weight_norm": (torch.nn.utils.weight_norm, "no parameter weight: after pruning or weight_norm"),
    "pruned": (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "no parameter weight: after pruning"),
    "parametrized": (parametrizations.weight_norm, "is parametrized"),
    "spectral norm": (parametrizations.spectral_norm, "is parametrized"),
}


@pytest.mark.parametrize(("change", "words"), PART_OF_THE_WEIGHT.values(), ids=PART_OF_THE_WEIGHT)
@pytest.mark.parametrize("target_modules", [["q"], "all-linear"])
def test_a_weight_that_is_made_anew_on_every_call_takes_no_adapter(change, words, target_modules, tmp_path):
    plain = nn.ModuleDict({"q": nn.Linear(16, 24), "v": nn.Linear(24, 16)})
    config = LoRAConfig(target_modules=target_modules)
    lora.save_adapter(lora.inject(plain, config), tmp_path)
    model = nn.ModuleDict({"q": nn.Linear(16, 24), "v": nn.Linear(24, 16)})
    change(model["q"])
    for attempt in (lambda: lora.inject(model, config), lambda: lora.load_adapter(model, tmp_path)):
        with pytest.raises(ValueError, match=f"q (has|is) .*{words.removeprefix('is ')}|q has {words}"):
            attempt()
        assert not lora.adapters(model) and all(parameter.requires_grad for parameter in model.parameters())
    if "parametrized" not in words:
        with pytest.raises(ValueError, match=words):
            LoRALinear(model["q"], LoRAConfig())
    lora.inject(model, LoRAConfig(target_modules="all-linear", exclude_modules="q"))


def test_a_layer_without_a_weight_yet_takes_no_adapter():
    model = nn.ModuleDict({"q": nn.LazyLinear(24), "v": nn.Linear(24, 16)})
    for targets in ("q", "all-linear"):
        with pytest.raises(ValueError, match="q is lazy and has no weight yet: run the model once"):
            lora.inject(model, LoRAConfig(target_modules=targets))


UNREADABLE = {
    "coo": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "mkldnn": lambda: torch.eye(3).to_mkldnn(),
    "lazy": lambda: nn.parameter.UninitializedBuffer(),
    "float8": lambda: torch.ones(5).to(torch.float8_e4m3fn),
    "meta": lambda: torch.ones(5, device="meta"),
    "complex": lambda: torch.ones(5, dtype=torch.complex64).conj(),
    "empty": lambda: torch.empty(0, 3),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR")
@pytest.mark.parametrize("tensor", UNREADABLE.values(), ids=UNREADABLE)
def test_other_tensors_of_any_kind_do_not_keep_adapters_out(tensor, tmp_path):
    model = nn.ModuleDict({"q": nn.Linear(16, 24), "other": nn.Linear(3, 3), "lazy": nn.LazyLinear(5)})
    model["other"].register_buffer("buffer", tensor())
    lora.inject(model, LoRAConfig(target_modules="q"))
    lora.save_adapter(model, tmp_path)
    assert lora.count_parameters(model).trainable == 8 * (16 + 24)
    assert list(lora.adapters(model)) == ["q"] and not any(p.requires_grad for p in model["other"].parameters())


def test_an_injection_that_is_interrupted_while_tensors_are_noted_leaves_nothing_behind(monkeypatch):
    def interrupted(model):
        raise KeyboardInterrupt

    monkeypatch.setitem(lora.inject.__globals__, "note_tensors", interrupted)
    model = tiny_llama()
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        lora.inject(model, LoRAConfig())
    assert_same(model, before)
    assert not lora.adapters(model) and all(parameter.requires_grad for parameter in model.parameters())


# ---- switching off, merging, removing ------------------------------------------------------------------------------


def test_disabled_gives_the_base_back_within_the_block_even_after_an_error():
    model = tiny_llama()
    base = model(IDS).logits
    randomise(lora.inject(model, LoRAConfig()))
    adapted = model(IDS).logits
    with pytest.raises(KeyError), lora.disabled(model):
        assert torch.equal(model(IDS).logits, base)
        raise KeyError
    assert torch.equal(model(IDS).logits, adapted) and not torch.equal(adapted, base)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quantized", [False, True])
def test_a_hundred_merges_leave_the_base_bit_identical(dtype, quantized):
    model = tiny_llama().to(dtype)
    if quantized:
        quant.quantize_model(model)
    randomise(lora.inject(model, LoRAConfig(target_modules="all-linear")))
    before, logits = snapshot(model), model(IDS).logits
    for _ in range(100):
        lora.merge(model)
        lora.unmerge(model)
    assert_same(model, before)
    assert torch.equal(model(IDS).logits, logits)


@pytest.mark.parametrize("quantized", [False, True])
def test_merged_and_unmerged_compute_the_same(quantized):
    model = quant.quantize_model(tiny_llama()) if quantized else tiny_llama()
    randomise(lora.inject(model, LoRAConfig(target_modules="all-linear")))
    logits = model(IDS).logits
    assert torch.allclose(lora.merge(model)(IDS).logits, logits, atol=1e-5)
    with lora.disabled(model):
        assert not torch.allclose(model(IDS).logits, logits, atol=1e-3)
    plain = lora.merge_and_remove(model)
    assert torch.allclose(plain(IDS).logits, logits, atol=1e-5)
    assert all(type(m) in (nn.Linear,) for n, m in plain.named_modules() if n.endswith("_proj"))


def test_a_merge_that_fails_at_one_layer_leaves_none_merged():
    model = randomise(lora.inject(tiny_llama(), LoRAConfig()))
    last = list(lora.adapters(model).values())[-1]
    with torch.no_grad():
        last.lora_A[0, 0] = math.inf
    with pytest.raises(RuntimeError, match="damaged"):
        lora.merge(model)
    assert all(layer.merged_weight is None for layer in lora.adapters(model).values())


def test_a_merged_4_bit_layer_takes_16_bit_input_beside_its_32_bit_bias():
    layer = LoRALinear(quant.Linear4bit.from_linear(nn.Linear(64, 32)), LoRAConfig(r=2)).eval()
    x = torch.randn(3, 64).bfloat16()
    unmerged = layer(x)
    layer.merge()
    assert layer(x).dtype == torch.bfloat16 and torch.allclose(layer(x), unmerged, atol=0.05)


def test_remove_restores_modules_and_state_dict_even_when_merged():
    model = tiny_llama()
    before, logits = snapshot(model), model(IDS).logits
    randomise(lora.inject(model, LoRAConfig(target_modules="all-linear")))
    lora.remove(lora.merge(model))
    assert_same(model, before)
    assert torch.equal(model(IDS).logits, logits)


def test_training_a_merged_adapter_is_refused_because_it_would_not_learn():
    model = lora.merge(randomise(lora.inject(tiny_llama(), LoRAConfig())))
    with pytest.raises(RuntimeError, match="unmerge"):
        model.train()(IDS)


def test_merging_twice_unmerging_twice_and_models_without_adapters_are_refused():
    model = lora.merge(lora.inject(tiny_llama(), LoRAConfig()))
    with pytest.raises(RuntimeError, match="already"):
        lora.merge(model)
    lora.unmerge(model)
    with pytest.raises(RuntimeError, match="nothing to undo"):
        lora.unmerge(model)
    for call in (lora.merge, lora.unmerge, lora.remove, lora.merge_and_remove):
        with pytest.raises(ValueError, match="no adapters"):
            call(tiny_llama())
