"""Which modules a configuration means, and with which rank and alpha; silent misses are refused."""

import copy
import json
import pickle
import re
import warnings

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lora_lab import lora, patterns
from lora_lab.lora import LoRAConfig
from lora_lab.adapters.naming import layer_number
from lora_lab.matching import meanings
from tests.helpers.models import assert_same, snapshot, tiny_llama


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
        (TypeError, {"alpha": "16"}, "alpha='16' must be a number"),
        (TypeError, {"alpha": True}, "alpha=True must be a number"),
        (TypeError, {"target_modules": ("q_proj", 3)}, "target_modules holds 3"),
        (ValueError, {"target_modules": ("q_proj", "")}, "target_modules.*empty name"),
        (ValueError, {"exclude_modules": ("",)}, "exclude_modules.*empty name"),
        (TypeError, {"target_modules": 5}, "target_modules must be a name or a sequence of names, got 5"),
        (TypeError, {"exclude_modules": (None,)}, "exclude_modules holds None"),
        (ValueError, {"layers_to_transform": ()}, "names no layer"),
        (ValueError, {"layers_to_transform": -1}, "layers_to_transform=-1"),
        (TypeError, {"layers_to_transform": (0, 1.0)}, "layers_to_transform=1.0"),
        (TypeError, {"layers_to_transform": True}, "layers_to_transform=True"),
        (ValueError, {"init": "olora"}, "unknown init 'olora'.*kaiming, gaussian, pissa, orthogonal"),
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


# ---- expressions that could run for ever ---------------------------------------------------------------------------

NAMES = ["model.layers.0.self_attn.q_proj", "model.layers.11.mlp.up_proj", "a" * 60, "lm_head"]
CATASTROPHIC = [
    r"(a+)+b",
    r"(a|a)*b",
    r"(a|aa)+$b",
    r"([a-z_.0-9]+)+x",
    r".*.*.*.*.*.*.*.*.*.*.*.*x",
    ".+" * 12 + "x",
    r".*.*.*b",
    r"(a*)b\1",
    r"(.*)*\.x",
    r"a?" * 40 + "a" * 60 + "b",
    r"(a?){60}a{60}b",
    r"(a{0,60}){0,60}b",
    r"(?:(?:a*)*)*b",
    r"(?=(a+)+b)a",
    r"(a*)\1*\1*\1*b(a+)+b",
    "(a|a)" * 40 + "b",
]


@pytest.mark.parametrize("expression", CATASTROPHIC)
def test_an_expression_that_could_run_for_ever_is_not_tried_in_this_process(expression):
    assert not patterns.is_harmless(expression)
    assert not patterns.is_harmless(rf"(.*\.)?({expression})$")


@pytest.mark.parametrize(
    "expression",
    [
        r".*\.[qv]_proj",
        r".*\.(0|1)\.self_attn\.(q|v)_proj",
        r"(?:q|v)_proj",
        r"model\.layers\.\d+\.mlp\..*",
        r"(.*\.)?(^model\.layers\.0\.self_attn\.q_proj)$",
        "|".join(f"model\\.layers\\.{i}\\.q_proj" for i in range(1000)),
    ],
)
def test_the_expressions_that_people_write_need_no_other_process(expression, monkeypatch):
    monkeypatch.setattr(patterns.subprocess, "run", lambda *_, **__: pytest.fail("a process was started"))
    names = [*NAMES, "model.layers.1.self_attn.v_proj", "v_proj"]
    assert patterns.matches([expression], names) == {expression: {n for n in names if re.fullmatch(expression, n)}}


@settings(max_examples=200)
@given(st.text("ab.*+?|()[]{}\\1", max_size=14))
def test_what_is_tried_in_this_process_takes_few_steps(expression):
    """The steps are counted by a matcher of our own that goes back as Python's does, on names made to be bad."""
    try:
        tree = parse(expression)
    except (re.error, OverflowError):
        return
    if patterns.is_harmless(expression):
        for name in ("a" * 24 + ".", "ab" * 12 + "!", "." * 24 + "!"):
            assert steps(tree, name) <= 40 * 26**2


def parse(expression):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from re import _parser

        return list(_parser.parse(expression))


def steps(tree, name, limit=10**6):
    """How many positions backtracking visits until it knows that `name` does not match in full."""
    count = 0

    def run(items, at, then):
        nonlocal count
        count += 1
        if count > limit:
            return True  # enough: the caller compares with fewer
        if not items:
            return then(at)
        (kind, value), rest = items[0], items[1:]
        kind = str(kind)
        if kind == "BRANCH":
            return any(run(list(branch) + rest, at, then) for branch in value[1])
        if kind == "SUBPATTERN":
            return run(list(value[3]) + rest, at, then)
        if kind == "MAX_REPEAT":
            least, most, body = value
            return repeat(least, min(most, len(name) + 1), list(body), rest, at, then)
        if kind == "AT":
            return run(rest, at, then)
        return at < len(name) and fits(kind, value, name[at]) and run(rest, at + 1, then)

    def repeat(least, most, body, rest, at, then):
        if most > 0 and run(
            body, at, lambda end: end > at and repeat(max(0, least - 1), most - 1, body, rest, end, then)
        ):
            return True
        return least == 0 and run(rest, at, then)

    run(list(tree), 0, lambda end: end == len(name))
    return count


def fits(kind, value, letter):
    if kind == "LITERAL":
        return letter == chr(value)
    if kind == "NOT_LITERAL":
        return letter != chr(value)
    return True  # any, and classes


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": "BAD"},
        {"target_modules": ("q_proj", "BAD")},
        {"target_modules": "all-linear", "exclude_modules": "BAD"},
        {"target_modules": "all-linear", "rank_pattern": {"BAD": 3}},
        {"target_modules": "all-linear", "alpha_pattern": {"BAD": 3}},
    ],
)
def test_an_expression_that_takes_too_long_is_named_wherever_it_is_given(options, monkeypatch):
    monkeypatch.setattr(patterns, "_CHILD", patterns._CHILD.replace(f"({patterns.SECONDS}, ", "(1, "))
    model = nn.ModuleDict({"a" * 60: nn.Linear(2, 2), "q_proj": nn.Linear(2, 2)})
    bad = CATASTROPHIC[len(str(options)) % 4]
    with pytest.raises(ValueError, match="takes too long") as caught:
        lora.inject(model, LoRAConfig(**json.loads(json.dumps(options).replace("BAD", bad))))
    assert repr(bad) in str(caught.value) and "\n" not in str(caught.value)
    assert not lora.adapters(model)


def test_expressions_give_the_same_names_in_either_process():
    expressions = [r".*\.[qv]_proj", r"(.*)_proj|x", r"(?i)LM_.*", r"model\.layers\.(\d|1\d)\..*", "é+", "x"]
    names = [*NAMES, "é", "line\nbreak", "\ud800"]
    here = {each: {name for name in names if re.fullmatch(each, name)} for each in expressions}
    assert patterns._in_child(expressions, names) == here == patterns.matches(expressions, names)


@pytest.mark.parametrize("error", [OSError("no processes here"), NotImplementedError("emscripten")])
def test_without_other_processes_a_doubtful_expression_is_refused_and_a_plain_one_works(error, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(patterns.subprocess, "run", refuse)
    with pytest.raises(ValueError, match="cannot be started here .*: give names, or an expression with fewer repeats"):
        lora.targets(tiny_llama(), r"(.+\.)+q_proj")
    assert len(lora.targets(tiny_llama(), r".*\.q_proj")) == 2


def test_a_child_that_does_not_answer_in_time_is_given_up(monkeypatch):
    monkeypatch.setattr(patterns, "_WAIT", 0.5)
    monkeypatch.setattr(patterns, "_CHILD", "import time; time.sleep(60)")
    with pytest.raises(ValueError, match="takes too long"):
        lora.targets(tiny_llama(), r"(.+\.)+q_proj")


@pytest.mark.parametrize("text", ["(", "a{2,1}", "(" * 5000, "a{99999999999}", "*", "a" * 10**6 + "("])
def test_what_is_no_expression_is_named_briefly(text):
    with pytest.raises(ValueError, match="neither a name nor a regular expression") as caught:
        lora.targets(tiny_llama(), text)
    assert len(str(caught.value)) < 400


def test_ten_thousand_targets_are_looked_up_and_not_tried_one_by_one():
    names = [f"layers.{i}.mlp.{kind}" for i in range(3000) for kind in ("up", "down")]
    found = meanings([f"{i}.mlp.up" for i in range(10_000)], names)  # 60 million comparisons otherwise
    assert sum(map(bool, found.values())) == 3000 and found["7.mlp.up"] == {"layers.7.mlp.up"}
