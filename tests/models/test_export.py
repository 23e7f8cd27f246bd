"""What is handed to those who serve a model: it is read back by others and computes the same."""

import errno
import json
import os

import gguf
import numpy as np
import peft
import pytest
import torch
import transformers
from packaging.version import Version
from safetensors.torch import load_file
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers import models as token_models
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from lora_lab import lora, models, quant
from lora_lab.models import export, from_gguf, to_gguf

SIZES = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "head_dim": 8,
         "num_key_value_heads": 1, "max_position_embeddings": 64}  # fmt: skip
TEXT = "In 1985 Mia's 3 cats\n  ran <|end|>7 ways."


def tokenizer_of(*steps, normalizer=None):
    tokens = ["<|pad|>", "<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "at", "cat"]
    backend = Tokenizer(token_models.BPE({token: i for i, token in enumerate(tokens)}, [("a", "t"), ("c", "at")]))
    backend.pre_tokenizer = steps[0] if len(steps) == 1 else pre_tokenizers.Sequence(list(steps))
    backend.decoder, backend.normalizer = decoders.ByteLevel(), normalizer
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|end|>", chat_template="{{ messages }}"
    )


DIGITS, BYTES = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_of(DIGITS, BYTES)


def llama(tied=True, **options):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=262, tie_word_embeddings=tied, rms_norm_eps=1e-5, **{**SIZES, **options})
    model = LlamaForCausalLM(config).eval()
    for parameter in model.parameters():  # norms too, or their places could be swapped unseen
        torch.nn.init.normal_(parameter, 0.5 if parameter.dim() == 1 else 0, 0.2)
    return model


def logits(model):
    with torch.no_grad():
        return model(torch.arange(30).view(2, 15) * 7 % 262).logits.float()


# The hub's folder


@pytest.mark.parametrize("tied", [True, False])
def test_the_folder_is_read_by_transformers_and_gives_the_same_scores(tmp_path, tokenizer, tied):
    model = llama(tied)
    models.save_merged(model, tokenizer, tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert again.dtype == torch.float32 and torch.equal(logits(again), logits(model))
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")(TEXT).input_ids == tokenizer(TEXT).input_ids


def test_another_dtype_is_that_of_the_files_and_not_of_the_model(tmp_path, tokenizer):
    model = llama()
    before = logits(model)
    models.save_merged(model, tokenizer, tmp_path, torch.bfloat16)
    assert model.dtype == torch.float32 and torch.equal(logits(model), before) and model.config.dtype != torch.bfloat16
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    again = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(again[name], each.bfloat16()) for name, each in model.state_dict().items())


def test_a_merged_model_is_written_and_one_with_adapters_or_four_bits_is_not(tmp_path, tokenizer):
    model = quant.quantize_model(llama())
    lora.inject(model, lora.LoRAConfig(r=2, target_modules="all-linear"))
    for each in (model, quant.quantize_model(llama()), lora.inject(llama(), lora.LoRAConfig(r=2))):
        for write in (models.save_merged, models.save_gguf):
            with pytest.raises(ValueError, match="lora.merge_and_remove") as caught:
                write(each, tokenizer, tmp_path / "x")
            assert "\n" not in str(caught.value) and not (tmp_path / "x").exists()
    for layer in lora.adapters(model).values():
        torch.nn.init.normal_(layer.lora_B)
    wanted = logits(model)
    models.save_merged(lora.merge_and_remove(model), tokenizer, tmp_path / "merged")
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged")), wanted)


@pytest.mark.parametrize("write", [models.save_merged, models.save_gguf])
def test_a_head_that_was_tied_and_is_another_by_now_is_not_dropped_in_silence(tmp_path, tokenizer, write):
    model = llama()
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight + 1)
    with pytest.raises(ValueError, match="tie_word_embeddings = False"):
        write(model, tokenizer, tmp_path / "x")
    model.config.tie_word_embeddings = False
    write(model, tokenizer, tmp_path / "x")


def test_a_head_that_shares_memory_and_is_not_tied_is_in_the_file(tmp_path, tokenizer):
    model = llama()
    model.config.tie_word_embeddings = False
    models.save_merged(model, tokenizer, tmp_path)
    assert "lm_head.weight" in load_file(tmp_path / "model.safetensors")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path)), logits(model))


@pytest.mark.parametrize("four_bits", [False, True])
def test_weights_do_not_go_where_an_adapter_is_which_would_be_added_to_them(tmp_path, tokenizer, four_bits):
    lora.save_adapter(lora.inject(llama(), lora.LoRAConfig(r=2)), tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match="holds an adapter .* choose another folder"):
        if four_bits:
            quant.save_bitsandbytes(quant.quantize_model(llama()), tmp_path)
        else:
            models.save_merged(llama(), tokenizer, tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_a_shape_that_is_not_the_configs_is_named(tmp_path, tokenizer):
    model = llama()
    model.model.layers[1].mlp.up_proj = torch.nn.Linear(24, 32, bias=False)
    with pytest.raises(
        ValueError, match=r"'model.layers.1.mlp.up_proj.weight' is \[32, 24\], and .* asks for \[40, 24\]"
    ):
        models.save_merged(model, tokenizer, tmp_path / "x")


def test_another_models_tokenizer_is_told_and_none_is_refused(tmp_path, tokenizer):
    small = llama()
    small.resize_token_embeddings(100)
    with pytest.warns(UserWarning, match="a token 259, 'cat', and the model 100 rows"):
        models.save_merged(small, tokenizer, tmp_path / "small")
    with pytest.raises(TypeError, match="tokenizer=None is no tokenizer"):
        models.save_merged(small, None, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_wrapped_model_is_looked_through_or_told_the_way_out(tmp_path, tokenizer):
    model = llama()
    models.save_merged(torch.compile(model), tokenizer, tmp_path / "compiled")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "compiled")), logits(model))
    theirs = peft.get_peft_model(llama(), peft.LoraConfig(target_modules=["q_proj"]))
    for write in (models.save_merged, models.save_gguf):
        with pytest.raises(TypeError, match=r"PeftModel is no model .* merge_and_unload\(\) first"):
            write(theirs, tokenizer, tmp_path / "x")


def test_a_generation_config_that_transformers_does_not_save_is_one_sentence(tmp_path, tokenizer):
    model = llama()
    model.generation_config.temperature = 0.3
    with pytest.raises(ValueError, match="do_sample = True") as caught:
        models.save_merged(model, tokenizer, tmp_path / "x")
    assert "\n" not in str(caught.value) and not (tmp_path / "x").exists()


def test_what_cannot_be_written_is_one_sentence_and_leaves_the_folder_as_it_was(tmp_path, tokenizer, monkeypatch):
    models.save_merged(llama(), tokenizer, tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    loud = llama()
    loud.model.norm.weight.data[0] = 1e5
    with pytest.raises(ValueError, match="'model.norm.weight' is not finite in float16: choose a wider dtype"):
        models.save_merged(loud, tokenizer, tmp_path, torch.float16)
    with pytest.raises(ValueError, match="dtype=torch.int8 is none of"):
        models.save_merged(llama(), tokenizer, tmp_path, torch.int8)
    with pytest.raises(TypeError, match="Linear is no model of transformers"):
        models.save_merged(torch.nn.Linear(2, 2), tokenizer, tmp_path)
    model = llama()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tokenizer, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        models.save_merged(model, tokenizer, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


# GGUF


@pytest.mark.parametrize("tied", [True, False])
def test_the_gguf_file_is_read_by_transformers_and_gives_the_same_scores(tmp_path, tokenizer, tied):
    model = llama(tied)
    models.save_gguf(model, tokenizer, tmp_path / "x.gguf", "f32")
    again = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="x.gguf", dtype=torch.float32)
    torch.testing.assert_close(logits(again), logits(model), rtol=0, atol=1e-5)  # eps is a float32 in the file


@pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.18"),
    reason="this transformers takes the token that begins a text for the one that ends it, and this file has none",
)
def test_the_tokenizer_of_a_gguf_file_is_read_by_transformers_and_splits_as_before(tmp_path, tokenizer):
    models.save_gguf(llama(), tokenizer, tmp_path / "x.gguf", "f32")
    there = AutoTokenizer.from_pretrained(tmp_path, gguf_file="x.gguf")
    assert there(TEXT).input_ids == tokenizer(TEXT).input_ids and there.chat_template == tokenizer.chat_template
    assert (there.eos_token, there.pad_token) == ("<|end|>", "<|pad|>")


def test_rows_that_rotary_embeddings_turn_together_stand_side_by_side():
    heads, head_dim = 3, 8
    weight = torch.arange(heads * head_dim).float().view(-1, 1)
    order = []
    for head in range(heads):
        for pair in range(head_dim // 2):
            order += [head * head_dim + pair, head * head_dim + pair + head_dim // 2]
    assert to_gguf.neighbours(weight, heads).flatten().tolist() == order


def test_matrices_are_in_f16_and_vectors_in_f32_tensor_for_tensor(tmp_path, tokenizer):
    model = llama(tied=False)
    models.save_gguf(model, tokenizer, tmp_path / "x.gguf")
    tensors = {each.name: each.data for each in gguf.GGUFReader(tmp_path / "x.gguf").tensors}
    assert len(tensors) == len(model.state_dict())
    assert all(each.dtype == (np.float16 if each.ndim == 2 else np.float32) for each in tensors.values())
    for name, theirs in {"output": "lm_head", "blk.1.ffn_gate": "model.layers.1.mlp.gate_proj",
                         "blk.0.ffn_norm": "model.layers.0.post_attention_layernorm",
                         "blk.0.attn_v": "model.layers.0.self_attn.v_proj"}.items():  # fmt: skip
        wanted = model.get_submodule(theirs).weight.detach()
        assert np.array_equal(tensors[f"{name}.weight"], wanted.numpy().astype(tensors[f"{name}.weight"].dtype)), name


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ((DIGITS, BYTES), "smollm"),
        ((BYTES,), "gpt-2"),
        (
            (
                pre_tokenizers.Split(Regex(r" ?\p{L}+|\p{N}{1,3}|\s+"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ),
            "llama-bpe",
        ),
    ],
)
def test_the_file_names_how_text_is_split(tmp_path, steps, name):
    models.save_gguf(llama(), tokenizer_of(*steps), tmp_path / "x.gguf")
    fields = gguf.GGUFReader(tmp_path / "x.gguf").fields
    assert fields["tokenizer.ggml.pre"].contents() == name
    kinds, tokens = fields["tokenizer.ggml.token_type"].contents(), fields["tokenizer.ggml.tokens"].contents()
    assert kinds == [3, 3] + [1] * 258 + [5] * 2 and tokens[-2:] == ["[PAD260]", "[PAD261]"]
    assert fields["tokenizer.ggml.merges"].contents() == ["a t", "c at"]


@pytest.mark.parametrize(
    ("model", "made", "says"),
    [
        (lambda: GPT2LMHeadModel(GPT2Config(vocab_size=262, n_embd=8, n_layer=1, n_head=1)), None, "type 'gpt2'"),
        (lambda: llama(attention_bias=True), None, "without biases"),
        (lambda: llama(hidden_act="gelu"), None, "activation is silu, and this one has 'gelu'"),
        (lambda: LlamaForSequenceClassification(llama().config), None, "Classification has no head for it"),
        (lambda: llama(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}), None, "linear"),
        (llama, (pre_tokenizers.Whitespace(),), "split text"),
        (lambda: llama(num_hidden_layers=1).to(torch.float32), (DIGITS,), "split text"),
    ],
)
def test_what_the_file_cannot_say_is_refused_with_a_way_out(tmp_path, tokenizer, model, made, says):
    with pytest.raises(ValueError, match=says) as caught:
        models.save_gguf(model(), tokenizer_of(*made) if made else tokenizer, tmp_path / "x.gguf")
    assert "convert_hf_to_gguf.py" in str(caught.value) and not list(tmp_path.iterdir())


def test_a_tokenizer_that_changes_text_first_or_is_too_large_is_refused(tmp_path, tokenizer):
    changes = tokenizer_of(BYTES, normalizer=normalizers.Lowercase())
    with pytest.raises(ValueError, match="byte-level BPE"):
        models.save_gguf(llama(), changes, tmp_path / "x.gguf")
    small = llama()
    small.resize_token_embeddings(100)
    with pytest.raises(ValueError, match="do not belong together"):
        models.save_gguf(small, tokenizer, tmp_path / "x.gguf")


def test_half_a_file_never_replaces_a_whole_one(tmp_path, tokenizer, monkeypatch):
    file = tmp_path / "x.gguf"
    models.save_gguf(llama(), tokenizer, file)
    before = file.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    with pytest.raises(OSError, match="No space left"):
        models.save_gguf(llama(tied=False), tokenizer, file)
    assert file.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["x.gguf"]


def test_a_weight_beyond_f16_and_an_unknown_dtype_are_named(tmp_path, tokenizer):
    loud = llama()
    loud.model.layers[1].mlp.up_proj.weight.data[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"'model.layers.1.mlp.up_proj.weight' is not finite in float16"):
        models.save_gguf(loud, tokenizer, tmp_path / "x.gguf")
    models.save_gguf(loud, tokenizer, tmp_path / "x.gguf", "f32")
    with pytest.raises(ValueError, match="dtype"):
        models.save_gguf(loud, tokenizer, tmp_path / "x.gguf", "q4_0")


def test_without_the_package_gguf_the_sentence_says_so(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(from_gguf, "available", lambda: False)
    with pytest.raises(ModuleNotFoundError, match="pip install gguf"):
        models.save_gguf(llama(), tokenizer, tmp_path / "x.gguf")


def test_the_embedded_base_goes_out_and_comes_back(tmp_path):
    model, tokenizer = models.load_embedded()
    models.save_gguf(model, tokenizer, tmp_path / "x.gguf", "f32")
    again = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="x.gguf", dtype=torch.float32)
    torch.testing.assert_close(logits(again), logits(model), rtol=0, atol=1e-4)
    there = AutoTokenizer.from_pretrained(tmp_path, gguf_file="x.gguf")
    assert there(TEXT).input_ids == tokenizer(TEXT).input_ids
    assert export.plain_weights(again).keys() == model.state_dict().keys()
