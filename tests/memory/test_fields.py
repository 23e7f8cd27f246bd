"""A config whose numbers make no model ends in a sentence that names the field, never in a number or a traceback."""

import json
import re

import pytest
from transformers import AutoConfig

from lora_lab import memory
from lora_lab.commands import cli
from lora_lab.memory.presets import load_config

LLAMA = {
    "model_type": "llama", "vocab_size": 500, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
COUNTS = [name for name in LLAMA if name != "model_type"] + ["head_dim"]


def folder(tmp_path, content):
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(tmp_path)


def refused(tmp_path, content) -> str:
    with pytest.raises(ValueError) as caught:
        memory.estimate(folder(tmp_path, content), "qlora", seq_len=16)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -3, "64", True, 64.0, float("nan"), float("inf"), 10**30, {}], ids=repr)
def test_a_count_that_is_none_is_named(tmp_path, name, value):
    assert name in refused(tmp_path, LLAMA | {name: value})


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"num_attention_heads": 3}, "num_attention_heads|attention heads"),
        ({"num_key_value_heads": 3}, "num_key_value_heads=3"),
        ({"head_dim": 15}, "head_dim|rotary"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers=1000000"),
        ({"tie_word_embeddings": "false"}, "tie_word_embeddings='false'"),
        ({"attention_bias": 1}, "attention_bias=1"),
        ({"model_type": "lama"}, "model_type='lama'"),
        ({"model_type": None}, "model_type=None"),
        ({"model_type": ["llama"]}, "model_type=\\['llama'\\]"),
        ({"model_type": "x" * 1000}, "model_type='xxx"),
        ({"model_type": "gpt2", "n_embd": -8}, "n_embd=-8"),
        ({"model_type": "gpt2", "n_layer": 0}, "n_layer=0"),
        ({"model_type": "gpt2", "hidden_size": 60, "num_attention_heads": 7}, "num_attention_heads=7"),
        ({"model_type": "gpt2", "attn_pdrop": 3}, "attn_pdrop=3"),
        ({"model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3}, "num_experts_per_tok=3"),
        ({"model_type": "qwen3_moe", "decoder_sparse_step": 0}, "decoder_sparse_step=0"),
        ({"model_type": "t5"}, "no closed form for the architecture 't5'"),
        ({"model_type": "mamba"}, "no closed form for the architecture 'mamba'"),
        ({"model_type": "gemma3", "text_config": {"hidden_size": -1}}, "hidden_size=-1"),
        ({"model_type": "llava", "text_config": LLAMA}, "config.text_config"),
    ],
)
def test_what_makes_no_model_or_none_that_is_counted_is_named(tmp_path, changed, named):
    assert re.search(named, refused(tmp_path, LLAMA | changed))


@pytest.mark.parametrize("name", ["sliding_window", "num_experts", "num_local_experts"])
def test_a_zero_says_that_there_is_none(tmp_path, name):
    assert memory.parameters(load_config(folder(tmp_path, LLAMA | {name: 0}))) == memory.parameters(
        AutoConfig.for_model(**LLAMA)
    )
    assert f"{name}=-1" in refused(tmp_path, LLAMA | {name: -1})


@pytest.mark.parametrize("name", ["n_embd", "n_head", "n_layer", "n_positions", "n_inner"])
def test_a_config_made_by_hand_is_named_by_its_own_fields(name):
    config = AutoConfig.for_model("gpt2")
    setattr(config, name, -1)
    with pytest.raises(ValueError, match=f"says {name}=-1"):
        memory.parameters(config)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "config.json"),
        ("[]", "a list"),
        ("3", "a int"),
        ("{", "config.json"),
        ("[" * 100_000, "config.json"),
        (b"\xff\xfe{\x00}\x00", "utf-8"),
        ("{}", "model_type=None"),
    ],
    ids=["empty", "list", "number", "cut", "deep", "no UTF-8", "nothing"],
)
def test_a_file_that_is_no_config_is_named(tmp_path, content, said):
    assert said in refused(tmp_path, content)


def test_a_folder_in_the_place_of_the_file_is_none(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ValueError, match="holds no config.json"):
        memory.estimate(tmp_path)


@pytest.mark.parametrize("count", [memory.estimate, memory.simulate, memory.parameters], ids=lambda f: f.__name__)
def test_a_config_that_was_changed_by_hand_is_looked_at_again(count):
    config = AutoConfig.for_model(**LLAMA)
    config.num_hidden_layers = -2
    with pytest.raises(ValueError, match="num_hidden_layers=-2"):
        count(config)


def test_what_has_one_number_per_layer_is_left_to_the_architecture():
    text = AutoConfig.for_model("gemma3n_text")
    assert isinstance(text.intermediate_size, list)
    assert memory.load_config(text) is text


@pytest.mark.parametrize("name", ["", "  ", "a\0b", "a" * 5000], ids=["empty", "blank", "nul", "long"])
def test_a_name_that_cannot_be_one_is_refused_as_any_other(name):
    with pytest.raises(ValueError, match="neither a preset nor a config.json") as caught:
        memory.load_config(name)
    assert len(str(caught.value)) < 1000


def test_the_command_says_the_same(tmp_path, capsys):
    assert cli.main(["memory", folder(tmp_path, LLAMA | {"hidden_size": -64})]) == 2
    out, err = capsys.readouterr()
    assert not out and "hidden_size=-64" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("config", "method", "options"),
    [
        (AutoConfig.for_model("t5", d_model=64, d_ff=64, num_layers=1, vocab_size=50), "lora", {}),
        (AutoConfig.for_model("llava"), "lora", {}),
        (AutoConfig.for_model(**LLAMA), "lora", {"batch_size": 10**18}),
        (AutoConfig.for_model(**LLAMA), "lora", {"r": 10**18}),
    ],
    ids=["encoder-decoder", "vision", "a batch beyond addresses", "a rank beyond addresses"],
)
def test_what_cannot_be_simulated_ends_in_a_sentence(config, method, options):
    with pytest.raises(ValueError) as caught:
        memory.simulate(config, method, seq_len=8, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stray", [5, {}, [], {"hidden_size": 128}])
def test_a_text_config_where_there_is_none_is_refused(tmp_path, stray):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"text_config": stray}))
    with pytest.raises(ValueError, match="text_config"):
        load_config(tmp_path)


def test_a_field_that_stands_for_another_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"attribute_map": {"hidden_size": "vocab_size"}}))
    with pytest.raises(ValueError, match="attribute_map"):
        load_config(tmp_path)


def test_a_repeated_field_is_refused(tmp_path):
    text = json.dumps(LLAMA)[:-1] + ', "num_hidden_layers": 80}'
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="'num_hidden_layers' stands there twice"):
        load_config(tmp_path)


def test_the_file_is_as_good_as_its_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert load_config(tmp_path / "config.json").to_dict() == load_config(tmp_path).to_dict()
