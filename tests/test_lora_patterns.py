"""Which modules a configuration means, and with which rank and alpha; silent misses are refused."""

import copy
import pickle

import peft
import pytest
import torch
from torch import nn

from lora_lab import lora
from lora_lab.lora import LoRAConfig
from lora_lab.lora.targets import layer_number
from tests.test_lora import assert_same, snapshot, tiny_llama


def adapted(**options) -> dict[str, lora.LoRALinear]:
    return lora.adapters(lora.inject(tiny_llama(), LoRAConfig(**options)))


# ---- the configuration ---------------------------------------------------------------------------------------------


def test_a_config_can_be_hashed_copied_pickled_and_compared_and_does_not_change_with_what_it_was_given():
    ranks, names = {"q_proj": 4}, ["q_proj", "v_proj"]
    config = LoRAConfig(target_modules=names, rank_pattern=ranks, layers_to_transform=1, exclude_modules="lm_head")
    same = LoRAConfig(
        target_modules=("q_proj", "v_proj"), rank_pattern={"q_proj": 4}, layers_to_transform=[1],
        exclude_modules=("lm_head",),
    )  # fmt: skip
    ranks["q_proj"] = 9
    names.append("k_proj")
    assert config == same and hash(config) == hash(same) and config != LoRAConfig()
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    assert config.rank_pattern == {"q_proj": 4} and "rank_pattern={'q_proj': 4}" in repr(config)
    with pytest.raises(TypeError):
        config.rank_pattern["q_proj"] = 5


@pytest.mark.parametrize(
    ("error", "options", "words"),
    [
        (ValueError, {"rank_pattern": {"q_proj": 0}}, r"rank_pattern\['q_proj'\]=0"),
        (TypeError, {"rank_pattern": {"q_proj": 2.0}}, r"rank_pattern\['q_proj'\].*2.0"),
        (TypeError, {"rank_pattern": [("q_proj", 2)]}, "rank_pattern must map"),
        (TypeError, {"rank_pattern": {3: 2}}, "rank_pattern holds 3"),
        (ValueError, {"rank_pattern": {"": 2}}, "rank_pattern.*empty name"),
        (ValueError, {"alpha_pattern": {"q_proj": -1}}, r"alpha_pattern\['q_proj'\]=-1"),
        (ValueError, {"alpha_pattern": {"q_proj": float("inf")}}, r"alpha_pattern\['q_proj'\]=inf"),
        (TypeError, {"alpha": "16"}, "alpha must be a number, got '16'"),
        (TypeError, {"alpha": True}, "alpha must be a number, got True"),
        (TypeError, {"target_modules": ("q_proj", 3)}, "target_modules holds 3"),
        (ValueError, {"target_modules": ("q_proj", "")}, "target_modules.*empty name"),
        (ValueError, {"exclude_modules": ("",)}, "exclude_modules.*empty name"),
        (TypeError, {"target_modules": 5}, "target_modules must be a name or a sequence of names, got 5"),
        (TypeError, {"exclude_modules": (None,)}, "exclude_modules holds None"),
        (ValueError, {"layers_to_transform": ()}, "names no layer"),
        (ValueError, {"layers_to_transform": -1}, "-1 names no layer"),
        (TypeError, {"layers_to_transform": (0, 1.0)}, "layers_to_transform holds 1.0"),
        (TypeError, {"layers_to_transform": True}, "layers_to_transform holds True"),
        (ValueError, {"init": "olora"}, "'olora' is unknown.*kaiming, gaussian, pissa, orthogonal"),
        (ValueError, {"r": 3, "init": "orthogonal"}, "r=3 is odd.*orthogonal"),
        (ValueError, {"rank_pattern": {"q_proj": 5}, "init": "orthogonal"}, r"rank_pattern\['q_proj'\]=5 is odd"),
    ],
)
def test_bad_settings_are_named(error, options, words):
    with pytest.raises(error, match=words):
        LoRAConfig(**options)


# ---- which modules -------------------------------------------------------------------------------------------------


def test_exclusions_and_layers_narrow_all_linear():
    names = lora.targets(tiny_llama(), "all-linear", ("mlp.up_proj", r".*\.[kv]_proj", "down_proj"), 1)
    parts = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj")
    assert names == [f"model.layers.1.{part}" for part in parts]


def test_a_target_given_by_its_full_name_is_adapted_whatever_its_layer():
    layers = adapted(target_modules=("model.layers.0.self_attn.o_proj", "q_proj"), layers_to_transform=1)
    assert list(layers) == ["model.layers.0.self_attn.o_proj", "model.layers.1.self_attn.q_proj"]


def test_what_is_excluded_need_not_be_able_to_take_an_adapter():
    names = lora.targets(tiny_llama(), r"model\.(embed_tokens|layers\.0\.mlp\.up_proj)", "embed_tokens")
    assert names == ["model.layers.0.mlp.up_proj"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"exclude_modules": ("v_proj", "vision_tower")}, "'vision_tower' matches no module"),
        ({"exclude_modules": ("q_proj", "v_proj")}, "leaves no target"),
        ({"layers_to_transform": (0, 2)}, "names layer 2, but targets are in layers 0, 1"),
        ({"layers_to_transform": 1, "exclude_modules": r".*\.1\..*"}, "names layer 1, but targets are in layers 0"),
        ({"rank_pattern": {"q_proj": 4, "querry": 4}}, "rank_pattern names 'querry'"),
        ({"alpha_pattern": {"k_proj": 4}}, "alpha_pattern names 'k_proj'"),  # there, but not adapted
        ({"rank_pattern": {"proj": 4}}, "rank_pattern names 'proj'"),
        ({"rank_pattern": {"q_proj": 4, "0.self_attn.q_proj": 2}}, r"layers.0.self_attn.q_proj several values.*4.*2"),
        ({"target_modules": r".*\.[qv]_pro"}, "matches no module"),  # the whole name, not its beginning
        ({"target_modules": "q_proj["}, "'q_proj\\[' is neither a name nor a regular expression"),
        ({"rank_pattern": {"(": 4}}, "'\\(' is neither a name nor a regular expression"),
    ],
)
def test_what_matches_nothing_or_says_two_things_is_named_and_nothing_changes(options, words):
    model = tiny_llama()
    before, flags = snapshot(model), [p.requires_grad for p in model.parameters()]
    with pytest.raises(ValueError, match=words):
        lora.inject(model, LoRAConfig(**options))
    assert_same(model, before)
    assert [p.requires_grad for p in model.parameters()] == flags and not lora.adapters(model)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("model.layers.3.self_attn.q_proj", 3),
        ("model.layers.3.mlp.experts.7.up_proj", 3),
        ("layers.3.mlp.up_proj", 3),
        ("layers.3.experts.7.up_proj", 3),
        ("0.auto_model.encoder.layer.3.attention.query", 3),  # a sentence encoder, in an nn.Sequential
        ("0.1.layers.2.query", 2),
        ("lm_head", None),
        ("model.mlp.0", None),
        ("0.weight", None),
    ],
)
def test_the_layer_of_a_module_is_the_first_number_behind_a_word(name, number):
    assert layer_number(name) == number


def test_peft_finds_no_layers_in_a_list_at_the_top_of_the_model_and_we_do():
    model = nn.Module()
    model.layers = nn.ModuleList(nn.ModuleDict({"q": nn.Linear(3, 3)}) for _ in range(2))
    with pytest.raises(ValueError):
        peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(target_modules=["q"], layers_to_transform=[1]))
    assert lora.targets(model, "q", layers_to_transform=1) == ["layers.1.q"]


# ---- ranks and alphas ----------------------------------------------------------------------------------------------


def test_patterns_give_each_module_its_rank_and_alpha_and_scaling():
    layers = adapted(
        r=8,
        alpha=16,
        target_modules=("q_proj", "v_proj", "up_proj"),
        rank_pattern={"v_proj": 2, "0.self_attn.q_proj": 32, r".*\.1\.mlp\..*": 4},
        alpha_pattern={"q_proj": 64},
        use_rslora=True,
    )
    found = {name.removeprefix("model.layers."): (m.config.r, m.config.alpha, m.scaling) for name, m in layers.items()}
    assert found == {
        "0.self_attn.q_proj": (32, 64, 64 / 32**0.5),
        "0.self_attn.v_proj": (2, 16, 16 / 2**0.5),
        "0.mlp.up_proj": (8, 16, 16 / 8**0.5),
        "1.self_attn.q_proj": (8, 64, 64 / 8**0.5),
        "1.self_attn.v_proj": (2, 16, 16 / 2**0.5),
        "1.mlp.up_proj": (4, 16, 8.0),
    }
    assert all(m.lora_A.shape[0] == m.lora_B.shape[1] == m.config.r for m in layers.values())


def test_keys_may_overlap_where_they_agree():
    layers = adapted(target_modules="q_proj", rank_pattern={"q_proj": 4, "0.self_attn.q_proj": 4})
    assert {m.config.r for m in layers.values()} == {4}


def test_parameters_are_counted_exactly_with_patterns():
    model = lora.inject(
        tiny_llama(),
        LoRAConfig(r=3, target_modules=("q_proj", "v_proj"), rank_pattern={"v_proj": 5}, init="pissa"),
    )
    count = lora.count_parameters(model)
    assert count.trainable == 2 * (3 * (64 + 64) + 5 * (64 + 32))
    assert count.total == tiny_llama().num_parameters() + count.trainable


def test_the_same_seed_gives_the_same_factors_with_and_without_a_pattern_that_changes_nothing():
    models = []
    for pattern in ({}, {"q_proj": 8}):
        torch.manual_seed(3)
        model = nn.ModuleDict({"q_proj": nn.Linear(5, 4), "v_proj": nn.Linear(5, 4)})
        models.append(lora.inject(model, LoRAConfig(r=8, rank_pattern=pattern)))
    assert_same(models[0], snapshot(models[1]))
