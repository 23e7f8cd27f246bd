"""A model for those who serve it: the hub's folder, which transformers, vLLM and SGLang read."""

import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lora_lab.disk import MODEL_FILES, atomic_folder, read_json, refuse_adapter, write_json
from lora_lab.models.base import without_progress_bar
from lora_lab.wrappers import unwrap

DTYPES = (torch.bfloat16, torch.float16, torch.float32)
BY_LLAMA_CPP = "write the folder with models.save_merged and give it to llama.cpp's convert_hf_to_gguf.py"


def save_merged(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path, dtype: torch.dtype | None = None
) -> None:
    """Write a dense model and its tokenizer as a folder of the hub's format; all of it or nothing.

        lora.merge_and_remove(model)
        models.save_merged(model, tokenizer, "out/merged", torch.bfloat16)
        AutoModelForCausalLM.from_pretrained("out/merged")

    The model is not changed. Where `dtype` is not its own, a second copy in that dtype is in memory for a while.

    Args:
        model: any of transformers' models, without adapters and 4-bit layers; a wrapper such as `torch.compile`'s is
            looked through.
        folder: made where it is not there. Weights of another model in it go; files of other names stay.
        dtype: of the weights on disk; by default the model's own.

    Raises:
        TypeError: for what is no model or no tokenizer of transformers.
        ValueError: for adapters or 4-bit layers, shapes that are not the config's, a head that is tied no more, another
            dtype, a weight that is not finite in that dtype, or a folder that holds an adapter.
        OSError: if the folder cannot be written, or the disk is full.
    """
    refuse_adapter(folder)
    model = unwrap(model)
    weights = plain_weights(model)
    _require_tokenizer(tokenizer, model.config)
    _require_generation(model)
    dtype = model.dtype if dtype is None else dtype
    if dtype not in DTYPES:
        raise ValueError(f"dtype={dtype} is none of torch.bfloat16, torch.float16 and torch.float32")
    tied = set(model.all_tied_weights_keys) if model.config.tie_word_embeddings else set()
    cast = _unshared({name: finite(name, each, dtype) for name, each in weights.items() if name not in tied})
    with without_progress_bar(), atomic_folder(folder, instead_of=MODEL_FILES) as new:
        model.save_pretrained(new, state_dict=cast)
        config = read_json(new / "config.json", "write the model again")  # it has the dtype of the model in memory
        config["dtype"] = str(dtype).removeprefix("torch.")
        write_json(new / "config.json", config, indent=2)
        tokenizer.save_pretrained(new)


def plain_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The model's tensors by name, if they are those of its class and nothing else.

    Raises:
        TypeError: for what is no model of transformers.
        ValueError: for adapters or 4-bit layers, shapes that are not the config's, or a head that its config ties to
            the embedding and is another.
    """
    if not isinstance(model, PreTrainedModel):
        way_out = ": call its merge_and_unload() first" if hasattr(model, "merge_and_unload") else ""
        raise TypeError(f"{type(model).__name__} is no model of transformers, and only these are written{way_out}")
    weights = model.state_dict()
    with torch.device("meta"):
        plain = type(model)(model.config).state_dict()
    strange = [name for name in weights if name not in plain] + [name for name in plain if name not in weights]
    if strange:
        raise ValueError(
            f"the model has or lacks '{strange[0]}', unlike a plain {type(model).__name__}: merge adapters by "
            "lora.merge_and_remove, then make 4-bit layers dense by quant.dequantize_model"
        )
    if other := [name for name in weights if weights[name].shape != plain[name].shape]:
        found, asked = list(weights[other[0]].shape), list(plain[other[0]].shape)
        raise ValueError(
            f"'{other[0]}' is {found}, and the config asks for {asked}: set model.config to what the model is, or the "
            "files could not be read"
        )
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if model.config.tie_word_embeddings and head is not None and not torch.equal(head.weight, embedding.weight):
        raise ValueError(
            "the config ties the output head to the embedding, but their weights differ, and one would be lost: set "
            "model.config.tie_word_embeddings = False first"
        )
    return weights


def _require_tokenizer(tokenizer: Any, config: Any) -> None:
    """TypeError for what is none; a warning for one with tokens that the model has no row for, as some models have."""
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise TypeError(f"tokenizer={tokenizer!r:.60} is no tokenizer of transformers: give the one of the model")
    token, most = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    rows = getattr(config.get_text_config(), "vocab_size", most + 1)
    if most >= rows:
        warnings.warn(
            f"the tokenizer has a token {most}, '{token}', and the model {rows} rows: text with it cannot be read. "
            "Is it the tokenizer of this model?",
            stacklevel=3,
        )


def _require_generation(model: PreTrainedModel) -> None:
    """ValueError where transformers would refuse to write how the model generates."""
    config = getattr(model, "generation_config", None)
    try:
        if config is not None:
            config.validate(strict=True)
    except ValueError as error:
        raise ValueError(
            "transformers does not save this model.generation_config: set its do_sample = True, or its temperature, "
            "top_p and top_k to None"
        ) from error


def _unshared(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """With memory of its own for each: of those that share it, transformers writes one."""
    seen: set[int] = set()
    for name, each in weights.items():
        if (memory := each.untyped_storage().data_ptr()) in seen:
            weights[name] = each.clone()
        seen.add(memory)
    return weights


def finite(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The tensor in another dtype.

    Raises:
        ValueError: if a number of it is then NaN or infinite: float16 ends at 65,504.
    """
    cast = tensor.to(dtype)
    if tensor.is_floating_point() and not torch.isfinite(cast).all():
        raise ValueError(f"'{name}' is not finite in {str(dtype).removeprefix('torch.')}: choose a wider dtype")
    return cast
