"""A Llama in GGUF, the one file that llama.cpp reads: `from_gguf` the other way.

Sources: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md for the keys, and for what a Llama's weights and
tokenizer are in it, conversion/llama.py and conversion/base.py of https://github.com/ggml-org/llama.cpp.
"""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lora_lab import ranges
from lora_lab.disk import atomic_path
from lora_lab.models import from_gguf
from lora_lab.models.export import BY_LLAMA_CPP, finite, plain_weights
from lora_lab.wrappers import unwrap

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_DTYPES = {"f16": torch.float16, "f32": torch.float32}
_FILE_TYPES = {"f32": 0, "f16": 1}  # gguf.LlamaFileType: ALL_F32, MOSTLY_F16
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # gguf.TokenType


def save_gguf(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, file: str | Path, dtype: Literal["f16", "f32"] = "f16"
) -> None:
    """Write a dense Llama and its byte-level tokenizer as one GGUF file; all of it or nothing.

        models.save_gguf(model, tokenizer, "out/model.gguf")
        AutoModelForCausalLM.from_pretrained("out", gguf_file="model.gguf")

    Fewer bits come afterwards, by llama.cpp's `llama-quantize`.

    Args:
        model: of Llama's architecture with a head for text, activation silu, without biases, rotary scaling, adapters
            and 4-bit layers. It is not changed.
        tokenizer: byte-level BPE, split as GPT-2, SmolLM or Llama 3 split text.
        file: its name, usually ending in .gguf; what stood there is replaced.
        dtype: of the matrices; vectors are in f32 always, as llama.cpp has them.

    Raises:
        ModuleNotFoundError: without the package `gguf`.
        TypeError, ValueError: for another kind of model or tokenizer, adapters, 4-bit layers, or a weight beyond f16.
        OSError: if the file cannot be written, or the disk is full.
    """
    ranges.choice("dtype", dtype, tuple(_DTYPES))
    if not from_gguf.available():
        raise ModuleNotFoundError("a GGUF file is written with the package gguf: pip install gguf")
    import gguf

    model = unwrap(model)
    weights = plain_weights(model)
    _refuse_other_than_llama(model.config)
    if "lm_head.weight" not in weights:
        raise ValueError(
            f"save_gguf writes models of text, and {type(model).__name__} has no head for it: {BY_LLAMA_CPP}"
        )
    vocabulary = _vocabulary(model.config, tokenizer)
    tensors = {_name(name): _as_stored(name, each, model.config, dtype) for name, each in _untied(model, weights)}
    with atomic_path(file) as temporary:
        writer = gguf.GGUFWriter(temporary, "llama")
        try:
            _describe(writer, model.config, dtype)
            _add_tokenizer(writer, model.config, tokenizer, vocabulary)
            for name, tensor in tensors.items():
                writer.add_tensor(name, tensor.numpy())
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _refuse_other_than_llama(config: Any) -> None:
    if config.model_type != "llama":
        raise ValueError(f"save_gguf writes Llamas, and this is a model of type '{config.model_type}': {BY_LLAMA_CPP}")
    if config.attention_bias or config.mlp_bias:
        raise ValueError(f"save_gguf writes Llamas without biases, and this one has them: {BY_LLAMA_CPP}")
    if config.hidden_act not in ("silu", "swish"):  # two names of one; the file has no place for another
        raise ValueError(
            f"save_gguf writes Llamas whose activation is silu, and this one has '{config.hidden_act}': {BY_LLAMA_CPP}"
        )
    if (kind := config.rope_parameters["rope_type"]) != "default":
        raise ValueError(
            f"save_gguf writes plain rotary embeddings, and this model scales them ('{kind}'): {BY_LLAMA_CPP}"
        )


def _untied(model: PreTrainedModel, weights: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """A head that is the embedding is left out: without `output`, llama.cpp takes `token_embd`."""
    tied = model.config.tie_word_embeddings
    return [(name, each) for name, each in weights.items() if not (tied and name == "lm_head.weight")]


def _name(name: str) -> str:
    """model.layers.3.self_attn.q_proj.weight -> blk.3.attn_q.weight."""
    stem = name.removesuffix(".weight")
    if stem in NAMES:
        return f"{NAMES[stem]}.weight"
    number, _, part = stem.removeprefix("model.layers.").partition(".")
    return f"blk.{number}.{NAMES[part]}.weight"


def _as_stored(name: str, weight: Tensor, config: Any, dtype: str) -> Tensor:
    if name.endswith("q_proj.weight"):
        weight = neighbours(weight, config.num_attention_heads)
    elif name.endswith("k_proj.weight"):
        weight = neighbours(weight, config.num_key_value_heads)
    return finite(name, weight.detach().cpu(), _DTYPES[dtype] if weight.dim() > 1 else torch.float32).contiguous()


def neighbours(weight: Tensor, heads: int) -> Tensor:
    """Rows of queries or keys as llama.cpp has them.

    A rotary embedding turns pairs of rows. In transformers a pair is row i of a head's first half with row i of its
    second; in llama.cpp the two stand side by side.

    Args:
        weight: [heads · head_dim, d_in].
    """
    halves = weight.reshape(heads, 2, -1, weight.shape[1])  # [heads, half, pair, d_in]
    return halves.transpose(1, 2).reshape(weight.shape)


def _describe(writer: Any, config: Any, dtype: str) -> None:
    writer.add_file_type(_FILE_TYPES[dtype])
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])


def _vocabulary(config: Any, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What `tokenizer.json` says: tokens and their kinds by number, merges, and how text is split before them."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    written: dict[str, Any] = json.loads(backend.to_str()) if backend is not None else {"model": {"type": "slow"}}
    if (kind := written["model"]["type"]) != "BPE" or written["normalizer"] is not None:
        raise ValueError(
            f"save_gguf writes byte-level BPE tokenizers, and this one is another ({kind}): {BY_LLAMA_CPP}"
        )
    by_number = {number: token for token, number in written["model"]["vocab"].items()}
    kinds = dict.fromkeys(by_number, _NORMAL)
    for added in written["added_tokens"]:
        by_number[added["id"]] = added["content"]
        kinds[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    if (most := max(by_number)) >= config.vocab_size:
        raise ValueError(
            f"the tokenizer has a token {most}, and the model {config.vocab_size} rows: they do not belong together"
        )
    numbers = range(config.vocab_size)
    merges = written["model"]["merges"]
    return {
        "pre": _pre_tokenizer(written["pre_tokenizer"]),
        "tokens": [by_number.get(number, f"[PAD{number}]") for number in numbers],
        "kinds": [kinds.get(number, _UNUSED) for number in numbers],
        "merges": [each if isinstance(each, str) else " ".join(each) for each in merges],
    }


def _pre_tokenizer(written: Any) -> str:
    """llama.cpp's name for how text is split: it knows a list of ways, and a file names one."""
    steps = written["pretokenizers"] if written and written["type"] == "Sequence" else [written or {"type": None}]
    first, last = steps[0], steps[-1]
    if last["type"] == "ByteLevel" and not last["add_prefix_space"]:
        if len(steps) == 1 and last["use_regex"]:
            return "gpt-2"
        if len(steps) == 2 and first["type"] == "Digits" and first["individual_digits"] and last["use_regex"]:
            return "smollm"
        if len(steps) == 2 and first["type"] == "Split" and r"\p{N}{1,3}" in first["pattern"].get("Regex", ""):
            return "llama-bpe"
    raise ValueError(
        f"save_gguf knows how GPT-2, SmolLM and Llama 3 split text, and this tokenizer differs: {BY_LLAMA_CPP}"
    )


def _add_tokenizer(writer: Any, config: Any, tokenizer: PreTrainedTokenizerBase, vocabulary: dict[str, Any]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary["pre"])
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["kinds"])
    writer.add_token_merges(vocabulary["merges"])
    for part in ("bos", "eos", "pad", "unk"):
        number = getattr(tokenizer, f"{part}_token_id")
        if number is not None:
            getattr(writer, f"add_{part}_token_id")(number)
    begins = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    writer.add_add_bos_token(begins)
    if tokenizer.chat_template is not None:
        writer.add_chat_template(tokenizer.chat_template)
