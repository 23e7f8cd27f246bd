"""Counts from a config alone, against the real classes, the published numbers, LoRA's and the quantizer's own bytes."""

import json

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from lora_lab import lora, quant
from lora_lab.memory import presets, reach, shapes
from lora_lab.memory.sizes import sizes
from tests.helpers.checkpoints import on_meta

PRESETS = list(presets.PRESETS.values())

# One odd-shaped config per family: nothing square, nothing a power of two, nothing divisible by the block of 64.
ODD = {
    "vocab_size": 523, "hidden_size": 36, "intermediate_size": 77, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 99,
}  # fmt: skip
GPT2 = {"vocab_size": 523, "n_embd": 36, "n_layer": 3, "n_head": 6, "n_positions": 99}
CONFIGS = {
    "llama": dict(ODD, head_dim=10),
    "llama with biases": dict(ODD, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "mistral": dict(ODD, head_dim=10),
    "qwen2": ODD,
    "qwen3": dict(ODD, head_dim=10, attention_bias=True),
    "gemma": dict(ODD, head_dim=10),
    "gemma2": dict(ODD, head_dim=10),
    "gemma3_text": dict(ODD, head_dim=10, attention_bias=True),
    "phi3": dict(ODD, pad_token_id=0),
    "mixtral": dict(ODD, num_local_experts=5),
    "qwen3_moe": dict(ODD, head_dim=10, num_experts=5, moe_intermediate_size=13, mlp_only_layers=[1]),
    "qwen3_moe every second": dict(ODD, head_dim=10, num_experts=5, moe_intermediate_size=13, decoder_sparse_step=2),
    "gpt2": GPT2,
    "gpt2 with an odd MLP": dict(GPT2, n_inner=77, tie_word_embeddings=False),
}


def odd(name: str) -> PreTrainedConfig:
    return AutoConfig.for_model(name.split()[0], **CONFIGS[name])


def group_of(name: str) -> str:
    for part, group in (
        ("lm_head", "head"), ("embed_tokens", "embeddings"), ("wte", "embeddings"), ("wpe", "embeddings"),
        ("norm", "norms"), ("ln_", "norms"), ("experts", "experts"), ("mlp.gate.", "router"), ("attn", "attention"),
    ):  # fmt: skip
        if part in name:
            return group
    return "mlp"


def assert_groups_are_the_models(config: PreTrainedConfig) -> None:
    found = dict.fromkeys(("embeddings", "attention", "mlp", "experts", "router", "norms", "head"), 0)
    for name, parameter in on_meta(config).named_parameters():
        found[group_of(name)] += parameter.numel()
    groups = shapes.parameters(config)
    assert {name: getattr(groups, name) for name in found} == found
    assert groups.total == sum(found.values())


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_has_the_published_number_of_parameters(preset):
    assert shapes.parameters(preset.config()).total == preset.parameters


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_group_of_a_preset_is_that_of_the_class_built_with_two_layers(preset):
    depth = "n_layer" if preset.model_type == "gpt2" else "num_hidden_layers"
    assert_groups_are_the_models(AutoConfig.for_model(preset.model_type, **{**preset.sizes, depth: 2}))


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_every_preset_built_in_full_has_the_published_number_of_parameters(preset):
    assert sum(p.numel() for p in on_meta(preset.config()).parameters()) == preset.parameters


@pytest.mark.parametrize("name", CONFIGS)
def test_every_group_of_every_family_is_that_of_the_class_on_odd_shapes(name):
    assert_groups_are_the_models(odd(name))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_linear_layers_are_those_of_the_class_by_name_shape_and_bias(name):
    config = odd(name)
    real = {
        path: (*(module.weight.T if type(module) is Conv1D else module.weight).shape, module.bias is not None)
        for path, module in on_meta(config).named_modules()
        if type(module) is nn.Linear or type(module) is Conv1D
    }
    ours = {path: (s.d_out, s.d_in, s.bias) for s in shapes.linears(config) for path in s.paths}
    assert ours == real
    assert all(s.count == len(s.paths) for s in shapes.linears(config))


GPT2_NAMES = {"o_proj": "c_proj", "self_attn.o_proj": "attn.c_proj", r".*\.[02]\..*(qkv|q)_proj": r".*\.[02]\..*c_attn"}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "target_modules", ["all-linear", "o_proj", "self_attn.o_proj", r".*\.[02]\..*(qkv|q)_proj", "lm_head"]
)
@pytest.mark.filterwarnings("ignore:'all-linear' passed over")
def test_lora_parameters_are_those_that_inject_trains(name, target_modules):
    config = odd(name)
    if config.model_type == "gpt2":
        target_modules = GPT2_NAMES.get(target_modules, target_modules)
    model = on_meta(config)
    if target_modules == "lm_head" and config.tie_word_embeddings:
        with pytest.raises(ValueError, match="tied"):
            reach.lora_parameters(config, 3, target_modules)
        return
    lora.inject(model, lora.LoRAConfig(r=3, target_modules=target_modules))
    assert reach.lora_parameters(config, 3, target_modules) == lora.count_parameters(model).trainable
    assert {path for s in reach.adapted(config, target_modules) for path in s.paths} == set(lora.adapters(model))


def test_lora_parameters_are_those_of_peft_with_grouped_query_attention():
    config = odd("llama")
    theirs = peft.get_peft_model(on_meta(config), peft.LoraConfig(r=5, target_modules="all-linear"))
    assert reach.lora_parameters(config, r=5) == theirs.get_nb_trainable_parameters()[0]


@settings(max_examples=60)
@given(st.integers(1, 70_000), st.sampled_from([16, 64, 128, 4096]), st.booleans())
def test_four_bit_bytes_are_those_of_the_quantizer(numel, block_size, double_quant):
    stored = quant.quantize(torch.ones(numel), block_size=block_size, double_quant=double_quant)
    assert reach.packed_bytes(numel) == stored.packed.nbytes
    assert reach.constant_bytes(numel, block_size, double_quant) == stored.constants.nbytes


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("double_quant", [False, True])
def test_a_quantized_model_stores_as_many_bytes_as_predicted(name, double_quant):
    config = odd(name)
    model = AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    quant.quantize_model(model, double_quant=double_quant)
    layers = [m for m in model.modules() if isinstance(m, quant.Linear4bit)]
    stored = reach.quantized_weights(config, double_quant=double_quant)
    assert stored.packed == sum(m.packed.nbytes for m in layers)
    assert stored.packed + stored.constants == sum(m.weight_quantized.nbytes for m in layers)
    assert stored.packed + stored.dense == sum(p.nbytes for p in model.parameters())


def test_the_experts_of_a_mixture_are_neither_adapted_nor_quantized():
    mixtral = presets.load_config("mixtral-8x7b")
    groups = shapes.parameters(mixtral)
    assert groups.experts == 45_097_156_608
    assert {s.name for s in reach.adapted(mixtral)} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert reach.quantized_weights(mixtral).dense > 2 * groups.experts
    assert shapes.active_parameters(mixtral) + groups.embeddings + groups.norms == 12_879_925_248  # "12.9B active"


def test_what_the_literature_gets_wrong():
    seven, eight, seventy = (presets.load_config(name) for name in ("llama-2-7b", "llama-3.1-8b", "llama-2-70b"))
    attention = ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert reach.lora_parameters(seven, 16, attention) == 16_777_216
    assert reach.lora_parameters(eight, 16) == 41_943_040
    assert reach.lora_parameters(eight, 16) + shapes.parameters(eight).total == 8_072_204_288
    assert reach.lora_parameters(eight, 256) == 8 * reach.lora_parameters(eight, 32)
    gigabytes = [round(reach.quantized_weights(config).total / 1e9, 2) for config in (seven, eight, seventy)]
    assert gigabytes == [3.87, 5.70, 36.36]
    assert reach.constant_bytes(70 * 10**9, double_quant=False) == 4_375_000_000
    assert reach.constant_bytes(70 * 10**9) == pytest.approx(1.111e9, rel=1e-3)


def test_a_preset_is_found_in_any_case_and_a_config_passes_through():
    config = presets.load_config(" Llama-3.1-8B ")
    assert config.num_key_value_heads == 8
    assert presets.load_config(config) is config


def test_a_saved_model_is_read_from_its_folder_without_weights(tmp_path):
    odd("qwen3").save_pretrained(tmp_path)
    assert shapes.parameters(presets.load_config(tmp_path)) == shapes.parameters(odd("qwen3"))
    assert shapes.parameters(presets.load_config(str(tmp_path))) == shapes.parameters(odd("qwen3"))


def folder(path, text: str):
    (path / "config.json").write_text(text)
    return path


@pytest.mark.parametrize(
    ("error", "call", "words"),
    [
        (ValueError, lambda tmp: presets.load_config("llama-3.1-8"), "near it are llama-3.1-8b"),
        (ValueError, lambda tmp: presets.load_config("meta-llama/Llama-3.2-3B-Instruct"), "llama-3.2-3b"),
        (ValueError, lambda tmp: presets.load_config("gemma-3-4b"), "gemma-3-4b-text"),
        (ValueError, lambda tmp: presets.load_config("§"), "the presets are llama-2-7b, "),
        (ValueError, lambda tmp: presets.load_config(tmp), "holds no config.json"),
        (ValueError, lambda tmp: presets.load_config(folder(tmp, "{")), "is damaged"),
        (ValueError, lambda tmp: presets.load_config(folder(tmp, '{"model_type": "nonesuch"}')), "nonesuch"),
        (TypeError, lambda tmp: presets.load_config(None), "NoneType"),
        (TypeError, lambda tmp: presets.load_config({"hidden_size": 4}), "dict"),
        (ValueError, lambda tmp: shapes.sizes(AutoConfig.for_model("mamba")), "'mamba'.*memory.simulate"),
        (ValueError, lambda tmp: shapes.sizes(AutoConfig.for_model("gemma3")), "config.text_config"),
        (ValueError, lambda tmp: shapes.sizes(AutoConfig.for_model("gpt2", add_cross_attention=True)), "cross-att"),
        (ValueError, lambda tmp: reach.adapted(odd("llama"), ["q_proj", "qq"]), "'qq' matches no module"),
        (ValueError, lambda tmp: reach.adapted(odd("gpt2"), "q_proj"), "linear layers are called c_attn, c_proj"),
        (ValueError, lambda tmp: reach.lora_parameters(odd("llama"), r=0), "r=0"),
        (TypeError, lambda tmp: reach.lora_parameters(odd("llama"), r=1.5), "1.5"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(error, call, words, tmp_path):
    with pytest.raises(error, match=words) as caught:
        call(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_config_without_code_of_its_own_is_all_that_is_read(tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    with pytest.raises(ValueError):
        presets.load_config(folder(tmp_path, json.dumps(config)))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_says_without_transformers_what_its_config_says(preset):
    assert sizes(preset) == sizes(preset.config()) == sizes(preset.hub)
