"""Adapters on disk: what is damaged, foreign or half-written must be refused by name, and harm nothing."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_lab import lora
from lora_lab.lora import LoRAConfig
from tests.test_lora import IDS, assert_same, randomise, snapshot, tiny_llama


@pytest.fixture
def saved(tmp_path):
    model = randomise(lora.inject(tiny_llama(), LoRAConfig(r=4)))
    return lora.save_adapter(model, tmp_path / "adapter")


def edit_config(folder, **changes) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder, change) -> None:
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def refused(folder, words, error=ValueError) -> None:
    model = tiny_llama()
    before = snapshot(model)
    with pytest.raises(error, match=words):
        lora.load_adapter(model, folder)
    assert_same(model, before)
    assert all(p.requires_grad for p in model.parameters())


def test_the_keys_are_those_of_peft(saved, tmp_path):
    twin = peft.get_peft_model(tiny_llama(), peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    twin.save_pretrained(tmp_path / "peft")
    ours, theirs = (
        load_file(saved / "adapter_model.safetensors"),
        load_file(tmp_path / "peft" / "adapter_model.safetensors"),
    )
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("use_dora", True),
        ("bias", "all"),
        ("modules_to_save", ["lm_head"]),
        ("layers_pattern", "layers"),
        ("peft_type", "IA3"),
        *(("init_lora_weights", init) for init in ("pissa_niter_16", "olora", "loftq", "eva", "corda", "mica")),
        ("layer_replication", [[0, 2]]),
        ("trainable_token_indices", [1]),
        ("target_parameters", ["experts.w"]),
        ("lora_bias", True),
        ("fan_in_fan_out", True),
        ("an_option_of_next_year", True),
    ],
)
def test_an_option_we_do_not_implement_is_refused_by_name(saved, option, value):
    edit_config(saved, **{option: value})
    refused(saved, option)


@pytest.mark.parametrize(("option", "value"), [("layers_pattern", ""), ("layers_pattern", None), ("use_dora", False)])
def test_an_option_that_is_empty_asks_for_nothing(saved, option, value):
    edit_config(saved, **{option: value})
    assert lora.adapters(lora.load_adapter(tiny_llama(), saved))


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("r", "4", "r must be an integer"),
        ("target_modules", 5, "target_modules=5, neither"),
        ("target_modules", "q_proj(", "neither a name nor a regular expression"),
        ("rank_pattern", [["q_proj", 2]], "rank_pattern must map"),
        ("alpha_pattern", {"(": 2}, "neither a name nor a regular expression"),
        ("rank_pattern", {"v_proj": 3}, r"v_proj.lora_A.weight has shape \(4, 64\), where \(3, 64\)"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(saved, option, value, words):
    edit_config(saved, **{option: value})
    refused(saved, words)


def test_adapters_that_one_folder_cannot_describe_are_not_written(tmp_path):
    model = lora.inject(tiny_llama(), LoRAConfig(target_modules="q_proj"))
    attention = model.model.layers[0].self_attn
    attention.v_proj = lora.LoRALinear(attention.v_proj, LoRAConfig(use_rslora=True))
    with pytest.raises(ValueError, match="differ in dropout, use_rslora or init"):
        lora.save_adapter(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_an_adapter_for_another_model_is_refused(saved):
    edit_config(saved, target_modules=["query"])
    refused(saved, "does not fit this model.*query")


def test_missing_surplus_misshapen_and_damaged_tensors_are_named(saved):
    first = sorted(load_file(saved / "adapter_model.safetensors"))[0]
    original = (saved / "adapter_model.safetensors").read_bytes()
    for change, words in [
        (lambda t: t.pop(first), "lacks .*layers.0"),
        (lambda t: t.update({"base_model.model.other.lora_A.weight": torch.ones(1)}), "no place for .*other"),
        (lambda t: t.update({first: torch.ones(3, 3)}), r"shape \(3, 3\)"),
        (lambda t: t[first].fill_(float("nan")), "NaN"),
    ]:
        (saved / "adapter_model.safetensors").write_bytes(original)
        edit_weights(saved, change)
        refused(saved, words)


def test_truncated_and_missing_files_are_named(saved):
    weights = saved / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    refused(saved, "adapter_model.safetensors is damaged")
    weights.unlink()
    refused(saved, "no adapter_model.safetensors", FileNotFoundError)
    (saved / "adapter_config.json").write_text("{")
    refused(saved, "adapter_config.json is damaged")
    (saved / "adapter_config.json").write_text("[]")
    refused(saved, "adapter_config.json is damaged .an object is expected, not a list")
    (saved / "adapter_config.json").write_text("{}")
    refused(saved, "peft_type")
    (saved / "adapter_config.json").unlink()
    refused(saved, "no adapter_config.json", FileNotFoundError)


def test_loading_onto_a_model_with_adapters_is_refused(saved):
    with pytest.raises(ValueError, match="already"):
        lora.load_adapter(lora.inject(tiny_llama(), LoRAConfig()), saved)


def test_loading_restores_the_function_bit_for_bit(saved):
    model = randomise(lora.inject(tiny_llama(), LoRAConfig(r=4)))
    assert torch.equal(lora.load_adapter(tiny_llama(), saved)(IDS).logits, model(IDS).logits)


def test_a_failed_save_leaves_the_old_adapter_whole(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}

    def broken(tensors, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("safetensors.torch.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        lora.save_adapter(randomise(lora.inject(tiny_llama(), LoRAConfig(r=2)), seed=9), saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        lora.save_adapter(lora.inject(tiny_llama(), LoRAConfig()), tmp_path / "file" / "adapter")
