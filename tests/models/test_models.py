"""Tiers, the embedded base, and what is said when a model is damaged or out of reach."""

import errno
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import types

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lora_lab.models import (
    EMBEDDED_FOLDER,
    TIERS,
    base,
    checksums,
    detect_tier,
    get_tier,
    hub,
    load,
    load_base,
    load_embedded,
    tiers,
)
from lora_lab.models.base import _load
from lora_lab.models.tiers import choose_dtype, tier_in_words

GIB = 2**30
PATIENCE = 600  # seconds after which something hangs
CARDS = [  # total memory as the driver reports it, compute capability, tier
    ("GTX 1050", 4.0, (6, 1), "cpu"),
    ("P100, 16 GB", 15.9, (6, 0), "cpu"),
    ("RTX 3050, 4 GB", 3.8, (8, 6), "cpu"),
    ("T4", 14.7, (7, 5), "t4"),
    ("V100, 32 GB", 31.7, (7, 0), "t4"),
    ("RTX 3070, 8 GB", 7.8, (8, 6), "t4"),
    ("L4", 22.0, (8, 9), "l4"),
    ("RTX 4090", 23.6, (8, 9), "l4"),
    ("RTX 8000, 48 GB", 47.5, (7, 5), "t4"),
    ("A100, 40 GB", 39.4, (8, 0), "a100"),
    ("H100, 80 GB", 79.1, (9, 0), "a100"),
]


def pretend_gpu(monkeypatch, memory, capability):
    monkeypatch.delenv("LORA_LAB_TIER", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)  # what a T4 says, too
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda *_: types.SimpleNamespace(total_memory=int(memory * GIB))
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model folder with everything in it, of 20 k parameters and no sense."""
    folder = tmp_path_factory.mktemp("base")
    tokens = ["<pad>", "<s>", "</s>", *"abcdefgh"]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.chat_template = "{{ messages[0]['content'] }}"
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokens),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            tie_word_embeddings=True,
        )
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    fast.save_pretrained(folder)
    checksums.write_checksums(folder)
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy to damage."""
    return shutil.copytree(made, tmp_path / "base")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# Tiers


@pytest.mark.parametrize("card, memory, capability, wanted", CARDS, ids=[card[0] for card in CARDS])
def test_each_card_gets_the_largest_tier_it_can_run(monkeypatch, card, memory, capability, wanted):
    pretend_gpu(monkeypatch, memory, capability)
    assert detect_tier() == wanted
    assert get_tier("auto") is TIERS[wanted]


@pytest.mark.parametrize(
    ("memory", "capability", "sentence"),
    [
        (14.7, (7, 5), "GPU with 16 GB: lessons that can make use of it fine-tune Qwen2.5-1.5B-Instruct."),
        (79.1, (9, 0), "GPU with 85 GB: lessons that can make use of it fine-tune Qwen2.5-14B-Instruct."),
        (3.8, (7, 5), "GPU with 4 GB, too small or too old for a larger model: the lessons use the one that comes "
                          "with the course."),
    ],
)  # fmt: skip
def test_a_tier_is_said_in_a_sentence(monkeypatch, memory, capability, sentence):
    pretend_gpu(monkeypatch, memory, capability)
    assert tier_in_words() == sentence


def test_without_a_gpu_the_sentence_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert tier_in_words() == "No GPU here: the lessons use the small model that comes with the course."


def test_without_a_gpu_the_tier_is_cpu_and_its_model_is_embedded(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tier = get_tier()
    assert (tier.name, tier.embedded, tier.device, tier.dtype) == ("cpu", True, "cpu", torch.float32)


@pytest.mark.parametrize(
    "capability, wanted",
    [
        ((7, 0), torch.float16),
        ((7, 5), torch.float16),
        ((8, 0), torch.bfloat16),
        ((8, 9), torch.bfloat16),
        ((9, 0), torch.bfloat16),
        ((12, 0), torch.bfloat16),
    ],
)
def test_bfloat16_needs_compute_capability_8_whatever_torch_says(monkeypatch, capability, wanted):
    pretend_gpu(monkeypatch, 15, capability)
    dtype, reason = choose_dtype("cuda")
    assert dtype == wanted
    assert f"{capability[0]}.{capability[1]}" in reason
    assert TIERS["t4"].dtype == wanted


def test_the_embedded_base_runs_in_float32_on_the_cpu_beside_any_gpu(monkeypatch):
    pretend_gpu(monkeypatch, 80, (9, 0))
    assert (get_tier("cpu").device, get_tier("cpu").dtype) == ("cpu", torch.float32)


@pytest.mark.parametrize(
    "name, hint",
    [
        ("a1000", "did you mean 'a100'"),
        ("gpu", "cpu"),
        ("", "choose from auto"),
        ("h100 x8", "choose from auto, cpu, t4, l4, a100"),
    ],
)
def test_an_unknown_tier_is_named_with_the_near_ones_and_the_choices(name, hint):
    with pytest.raises(ValueError) as caught:
        get_tier(name)
    assert f"unknown tier '{name}'" in str(caught.value) and hint in str(caught.value)
    assert all(tier in str(caught.value) for tier in TIERS)


def test_a_tier_may_be_written_as_on_the_card_and_must_be_a_string():
    assert get_tier(" T4 ") is TIERS["t4"]
    with pytest.raises(TypeError, match="named by a string, not by int"):
        get_tier(4)


def test_every_tier_has_knobs_that_can_be_used():
    assert list(TIERS) == ["cpu", "t4", "l4", "a100"]
    for tier in TIERS.values():
        assert min(tier.batch_size, tier.steps, tier.seq_len, tier.heldout) >= 1
        assert 0 < tier.lr("full") < tier.lr("lora") == tier.lr("qlora") < 0.1
        assert tier.embedded == (tier.name == "cpu")


# Loading a folder


def test_loading_is_exact_in_float32_in_eval_mode_and_leaves_the_random_state_alone(made, no_network):
    before = torch.get_rng_state()
    model, tokenizer = load_embedded(str(made))
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training and {p.dtype for p in model.parameters()} == {torch.float32}
    state = model.state_dict()
    for name, tensor in load_file(made / "model.safetensors").items():
        assert torch.equal(state[name], tensor.float()), name
    assert tokenizer("a b h")["input_ids"] == [3, 4, 10]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "c"}], tokenize=False) == "c"


def test_the_model_does_not_name_the_folder_it_came_from(made):
    model, tokenizer = load_embedded(made)
    assert model.name_or_path == model.config.name_or_path == tokenizer.name_or_path == ""


def test_loading_prints_nothing_and_leaves_progress_bars_as_they_were(made, capfd, recwarn):
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    load_embedded(made)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert logging.is_progress_bar_enabled() == shown


@pytest.mark.parametrize("name", [*checksums.REQUIRED, checksums.NAME])
def test_a_missing_file_is_named_with_its_remedy(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name}' is missing: .*reinstall.*lora_lab.train.pretrain --out"):
        load_embedded(folder)


@pytest.mark.parametrize("name", checksums.REQUIRED)
def test_one_flipped_bit_anywhere_is_noticed(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}' is damaged .*: .*reinstall"):
        load_embedded(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("keep", [0, 7, 0.5])
def test_a_truncated_file_is_noticed(folder, name, keep):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(ValueError, match=f"{name}' is damaged"):
        load_embedded(folder)


@pytest.mark.parametrize(
    "name, content",
    [
        ("model.safetensors", b"\x08\0\0\0\0\0\0\0notjson!"),
        ("model.safetensors", b""),
        ("config.json", b"{"),
        ("config.json", b'{"model_type": "no such"}'),
        ("tokenizer.json", b"[]"),
        ("tokenizer_config.json", b"nonsense"),
    ],
)
def test_a_file_that_was_damaged_before_its_checksum_was_taken_is_an_error_too(folder, name, content):
    (folder / name).write_bytes(content)
    checksums.write_checksums(folder)
    with pytest.raises(ValueError, match="is damaged .*: .*reinstall") as caught:
        load_embedded(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_are_absent_are_an_error_and_not_random_numbers(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    checksums.write_checksums(folder)
    with pytest.raises(ValueError, match="1 of its weights are missing, 'model.layers.1.mlp.up_proj.weight'"):
        load_embedded(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_damaged_checksums_do_not_pass_for_good_ones(folder, content):
    (folder / checksums.NAME).write_text(content)
    with pytest.raises(ValueError, match="is damaged"):
        load_embedded(folder)


def damage(folder, config=None, weights=None):
    """Change a model folder, and record the change as if it were right."""
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stored, **(config or {})}))
    tensors = load_file(folder / "model.safetensors")
    if weights:
        weights(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    checksums.write_checksums(folder)


@pytest.mark.parametrize(
    ("config", "weights", "words"),
    [
        ({"num_hidden_layers": 1}, None, "no place for 9 of its weights, 'model.layers.1.input_layernorm.weight'"),
        ({"tie_word_embeddings": False}, None, "1 of its weights are missing, 'lm_head.weight'"),
        (None, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}), "ties the output head"),
        (None, lambda t: t.update({"model.norm.weight": torch.full((32,), 1e300, dtype=torch.float64)}), "in float32"),
        (None, lambda t: t["model.norm.weight"].fill_(float("nan")), "'model.norm.weight' is NaN or infinite"),
        (
            {"vocab_size": 8},
            lambda t: t.update({"model.embed_tokens.weight": torch.zeros(8, 32)}),
            "11 tokens, and its",
        ),
    ],
)
def test_what_transformers_only_warns_of_is_damage(folder, config, weights, words):
    damage(folder, config, weights)
    with pytest.raises(ValueError, match=f"is damaged .*{words}.*: .*reinstall") as caught:
        load_embedded(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("unable to mmap 538090408 bytes from file <x>: Cannot allocate memory (12)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        Exception("Not enough (os error 12)"),
    ],
    ids=lambda error: str(error)[:20] or "none",
)
def test_too_little_memory_is_no_damage(folder, monkeypatch, error):
    def refuse(*_, **__):
        raise RuntimeError("it does not load") from error

    monkeypatch.setattr(base.AutoModelForCausalLM, "from_pretrained", refuse)
    monkeypatch.setattr(base, "Checkpoint", refuse)  # which maps the file too
    os.truncate(folder / "model.safetensors", 500_000_000)
    with pytest.raises(MemoryError, match="memory of this machine is too small .*0.5 GB of weights.*close") as caught:
        _load(folder, "", torch.float32, "cpu", "delete it")
    assert "delete" not in str(caught.value) and "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [PermissionError(errno.EACCES, "no"), OSError(errno.EIO, "no"), Exception("os error 5")]
)
def test_what_cannot_be_read_is_no_damage(folder, monkeypatch, error):
    monkeypatch.setattr(base.AutoTokenizer, "from_pretrained", lambda *_, **__: (_ for _ in ()).throw(error))
    with pytest.raises(OSError, match="cannot be read .(Permission denied|Input/output error).: look") as caught:
        _load(folder, "", torch.float32, "cpu", "delete it")
    assert "delete" not in str(caught.value)


def test_what_is_quantized_already_is_refused_before_a_library_for_it_is_asked_for(folder):
    damage(folder, {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    with pytest.raises(ValueError, match="is quantized already: name the one that it was made from"):
        load_embedded(folder)


def test_a_config_of_far_more_layers_than_weights_is_refused_before_they_are_built(folder, monkeypatch):
    damage(folder, {"num_hidden_layers": 200_000})
    monkeypatch.setattr(base.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("it was built"))
    with pytest.raises(ValueError, match="its config has 200000 layers, and its weights are 20 tensors"):
        load_embedded(folder)


def test_weights_that_the_tiers_dtype_cannot_hold_are_named(folder):
    damage(folder, None, lambda t: t.update({"model.norm.weight": torch.full((32,), 1e6, dtype=torch.bfloat16)}))
    with pytest.raises(ValueError, match="'model.norm.weight' is NaN or infinite in float16"):
        _load(folder, "", torch.float16, "cpu", "reinstall")


@pytest.mark.parametrize("name", ["adapter_config.json", "special_tokens_map.json", "model-00001-of-00002.safetensors"])
def test_a_file_of_another_save_is_not_taken_for_part_of_the_model(folder, name):
    (folder / name).write_text("{}")
    with pytest.raises(ValueError, match=f"{name}' is not of this model .*take it out"):
        load_embedded(folder)


@pytest.mark.parametrize("content", ['{"a": NaN}', '{"a": "1", "a": "2"}', "[" * 99_999, b"\xff\xfe"])
def test_checksums_that_are_no_json_are_one_sentence(folder, content):
    (folder / checksums.NAME).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match="checksums.json is damaged .*: .*reinstall") as caught:
        load_embedded(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", ["folder", "file"])
def test_what_may_not_be_read_is_named_with_its_remedy(folder, monkeypatch, place):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    if place == "file":
        monkeypatch.setattr(checksums, "_sha256", refuse)
    else:
        monkeypatch.setattr(checksums.Path, "iterdir", refuse)
    with pytest.raises(OSError, match="base' cannot be read .Permission denied.: .*reinstall"):
        load_embedded(folder)


def test_a_method_that_no_tier_knows_has_no_rate():
    with pytest.raises(ValueError, match="unknown method 'qlorra': did you mean 'qlora'. Or choose one of full"):
        TIERS["cpu"].lr("qlorra")


def test_code_that_comes_with_a_model_is_never_run(folder):
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nraise SystemExit")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    checksums.write_checksums(folder)
    model, _ = load_embedded(folder)  # a known model type is built by transformers itself
    assert type(model) is LlamaForCausalLM
    assert not (folder / "ran").exists()


def test_pickled_weights_do_not_stand_in_for_safetensors(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no weights in safetensors; those in pytorch_model.bin.*are not read: name a"):
        _load(folder, "", torch.float32, "cpu", "reinstall")


def test_a_folder_that_holds_no_model_says_what_it_holds(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="base' holds no config.json, and so no model: name a folder that"):
        load(folder)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds an adapter, and no model: load the model .*lora.load_adapter.model, "):
        load(folder)


def test_what_was_probably_meant_is_said(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    (folder.parent / "m.gguf").write_bytes(b"GGUF")
    for name, words in {
        "https://huggingface.co/Qwen/Qwen2.5-0.5B/tree/main": "did you mean 'Qwen/Qwen2.5-0.5B'[?] Or give",
        "https://example.org/a page/about": "no folder: give",
        str(folder / "config.json"): "it is a file, so give the folder that it lies in; or give",
        str(folder.parent / "m.gguf"): "a GGUF file is for llama.cpp, and not read here; give",
        "~/base": f"did you mean '{folder}'[?] Or give",
    }.items():
        with pytest.raises(ValueError, match=words):
            load(name)


@pytest.mark.parametrize("call", [lambda: load("embedded", "cuda"), lambda: load(EMBEDDED_FOLDER, "cuda")])
def test_a_gpu_that_is_not_there_is_one_sentence(monkeypatch, call):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device 'cuda': torch sees no GPU here: give 'cpu', or leave it out"):
        call()


def test_a_dtype_is_chosen_for_a_device_that_there_is():
    with pytest.raises(ValueError, match="unknown device 'tpu': choose one of cpu, cuda"):
        choose_dtype("tpu")


def test_the_model_card_may_be_edited_without_damaging_the_model(folder):
    (folder / "README.md").write_text("a card")
    checksums.write_checksums(folder)
    (folder / "README.md").write_text("a better card")
    load_embedded(folder)


def test_checksums_are_not_taken_of_a_folder_that_is_not_complete(folder):
    (folder / "tokenizer.json").unlink()
    before = (folder / checksums.NAME).read_bytes()
    with pytest.raises(FileNotFoundError, match="tokenizer.json' is missing"):
        checksums.write_checksums(folder)
    assert (folder / checksums.NAME).read_bytes() == before


# The embedded base itself


def test_the_embedded_base_is_small_and_of_the_shape_that_was_promised(no_network):
    model, tokenizer = load_base("cpu")
    assert 1_000_000 <= model.num_parameters() <= 3_900_000
    assert (EMBEDDED_FOLDER / "model.safetensors").stat().st_size <= 8_000_000
    for size in (model.config.hidden_size, model.config.intermediate_size, model.config.vocab_size):
        assert size % 64 == 0
    assert len(tokenizer) == model.config.vocab_size
    assert (EMBEDDED_FOLDER / "README.md").is_file()


def test_the_embedded_base_loads_in_silence_without_any_variable_set():
    code = "from lora_lab import models; model, _ = models.load_base('cpu'); print(type(model).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr, done.returncode) == ("LlamaForCausalLM\n", "", 0)


# Hub models


def test_a_hub_model_without_network_says_so_and_offers_the_embedded_base(monkeypatch, empty_cache):
    monkeypatch.setattr(hub, "hub_reachable", lambda timeout: False)
    monkeypatch.setattr(tiers, "free_memory", lambda: 10**12)
    with pytest.raises(ConnectionError) as caught:
        load_base("l4")
    message = str(caught.value)
    assert "Qwen/Qwen2.5-7B-Instruct" in message and "cannot be reached" in message and "network" in message
    assert 'name the model "embedded" instead' in message and "--" not in message and "\n" not in message


@pytest.mark.parametrize("name", ["a" * 300, "me/" + "a" * 300, "./" + "a" * 5000, "a\0b"])
def test_a_name_that_no_model_can_have_is_one_short_sentence(name):
    with pytest.raises(ValueError, match="no model is named .*, and no folder: give embedded, smollm2") as caught:
        load(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_download_that_breaks_off_says_why(monkeypatch, empty_cache):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "hub_reachable", lambda timeout: True)
    monkeypatch.setattr(hub, "cached_folder", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(OSError, match='No space left on device.*make room.*name the model "embedded" instead'):
        load_base("t4")


def test_a_damaged_hub_model_is_named_with_its_remedy(monkeypatch, folder):
    (folder / "model.safetensors").write_bytes(b"short")
    monkeypatch.setattr("lora_lab.models.base.snapshot", lambda *_, **__: folder)
    with pytest.raises(ValueError, match="is damaged .*: delete the folder"):
        load_base("t4")


def test_only_files_that_cannot_hold_code_are_downloaded():
    assert {pattern.rsplit(".")[-1] for pattern in hub.PATTERNS} == {"safetensors", "json", "txt", "jinja"}


def test_a_server_that_answers_is_reachable_even_if_it_refuses():
    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(403)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert hub.reachable(f"http://127.0.0.1:{server.server_port}", timeout=20)
        server.shutdown()


def test_a_server_that_never_answers_is_given_up_in_time(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        answers: list[bool] = []
        asker = threading.Thread(target=lambda: answers.append(hub.hub_reachable(timeout=0.3)), daemon=True)
        asker.start()
        asker.join(PATIENCE)
    assert answers == [False]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid", "no url at all"])
def test_what_is_not_there_is_not_reachable(url):
    assert hub.reachable(url) is False


def test_the_offline_switch_of_the_hub_is_obeyed(monkeypatch, no_network):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.hub_reachable()
