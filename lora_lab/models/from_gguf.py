"""A model in GGUF, the format of llama.cpp, as the folder that transformers reads everywhere.

The weights of a GGUF file are often quantized. Here they are restored to float32 and stay it: a 4-bit value times its
scale plus its offset needs more than the eight bits of bfloat16's mantissa, so a second rounding would move the weights
by another 0.1 % (measured on SmolLM2-135M: one in 470 greedy choices changed). So a test can compare bit for bit.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lora_lab.disk import atomic_folder
from lora_lab.models.checksums import write_checksums
from lora_lab.units import first_line

END_OF_TURN = "<|im_end|>"  # of ChatML; the file's own end token may be that of a document
_SHAPE = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rope_parameters",
    "tie_word_embeddings",
)


def available() -> bool:
    """Whether the package `gguf` is installed, without which transformers reads no such file."""
    return importlib.util.find_spec("gguf") is not None


def convert(file: Path, folder: Path) -> None:
    """Write a Llama in GGUF as a folder of float32 safetensors, JSON and checksums, all of it or nothing.

    `save_pretrained` refuses a model that came from GGUF, so a new one takes its weights.

    Args:
        file: the model, of Llama's architecture, with its tokenizer and chat template (ChatML).
        folder: where the folder is made; what stood there goes.

    Raises:
        ValueError: if the file is damaged, or something else.
        OSError: if the folder cannot be written, or the disk is full.
    """
    try:
        model, tokenizer = _read(file)
    except Exception as error:  # the parsers of another format raise what they like
        raise ValueError(f"the model '{file.name}' cannot be read ({first_line(error)})") from error
    with atomic_folder(folder, instead_of=("*",)) as new:
        model.save_pretrained(new)
        tokenizer.save_pretrained(new)
        write_checksums(new)


def _read(file: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    given: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **given)
    tokenizer = _tokenizer(file, given)
    model = LlamaForCausalLM(_config(read.config, tokenizer)).float()
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    return model, tokenizer


def _tokenizer(file: Path, given: dict[str, Any]) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **given)
    if END_OF_TURN not in tokenizer.get_vocab():
        raise ValueError(f"its vocabulary has no {END_OF_TURN}")
    if tokenizer.chat_template is None:
        raise ValueError("it has no chat template")
    return PreTrainedTokenizerFast(  # anew: it would keep where this machine had the file
        tokenizer_object=tokenizer.backend_tokenizer,
        chat_template=tokenizer.chat_template,
        bos_token=tokenizer.bos_token,
        unk_token=tokenizer.unk_token,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TURN,
        clean_up_tokenization_spaces=False,
    )


def _config(read: Any, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        **{name: getattr(read, name) for name in _SHAPE},
        rms_norm_eps=float(f"{read.rms_norm_eps:.6g}"),  # the file has it in float32: 9.999999747e-06
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
