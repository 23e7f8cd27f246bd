"""Models in bitsandbytes' 4 bits on disk, as transformers writes and reads them.

    model.safetensors, or shards    the 4-bit weights in the form of `lora_lab.quant.bnb_format`, the rest dense
    config.json                     its "quantization_config" names the compute dtype and the layers that are dense

Nothing on disk is executed: only JSON and safetensors are read.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lora_lab.disk import MODEL_FILES, atomic_folder, read_json, refuse_adapter, write_json
from lora_lab.disk.shards import AGAIN, WEIGHTS, Checkpoint
from lora_lab.quant.bnb_format import (
    BOOKS,
    FLOAT_NAMES,
    FLOATS,
    StoredWeight,
    read_weight,
    state_key,
    stored_weights,
    weight_tensors,
)
from lora_lab.quant.heads import heads
from lora_lab.quant.linear4bit import Linear4bit, four_bit_layers
from lora_lab.quant.linears import Linear, dense_shape, is_conv1d, is_linear
from lora_lab.quant.stream import Source, advice, fill, is_finite, misfit
from lora_lab.quant.swap import refuse_unswappable
from lora_lab.quant.ties import refuse_tied, tie
from lora_lab.ranges import first
from lora_lab.wrappers import named_modules, named_tensors, unwrap

CONFIG = "config.json"
M = TypeVar("M", bound=nn.Module)
_DENSE = "quantize_model(model, checkpoint=…) quantizes a dense checkpoint"


def load_bitsandbytes(model: M, folder: str | Path, device: str | torch.device | None = None) -> M:
    """Fill `model` from a 4-bit checkpoint, in place: its 4-bit tensors become `Linear4bit`, the others stay dense.

    One tensor is read at a time, as by `quantize_model` with a checkpoint:

        with accelerate.init_empty_weights():
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
        quant.load_bitsandbytes(model, folder)

    Args:
        model: built without weights from the folder's config; weights that it has are replaced. A wrapper such as
            `torch.compile`'s is looked through.
        folder: what `save_pretrained` of a model with bitsandbytes' 4-bit layers wrote, or `save_bitsandbytes`.
        device: where the tensors are taken; by default the CPU.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if the checkpoint is damaged, does not fit the model, holds a parameter that is not finite, or is of
            another kind than NF4 or FP4, such as LLM.int8. The model is then unchanged.
    """
    checkpoint = Checkpoint(folder)
    compute_dtype = _compute_dtype(checkpoint.folder / CONFIG)
    weights = {stored.key.removesuffix(".weight"): stored for stored in stored_weights(checkpoint)}
    if not weights:
        raise ValueError(f"{folder} holds no 4-bit weight: {_DENSE}")
    inner = unwrap(model)
    tie(inner)
    refuse_tied(inner, weights, "build the model untied (transformers: tie_word_embeddings=False)")

    def source(name: str, stored: StoredWeight) -> Source:
        conv1d = is_conv1d(linears[name])
        names = (*stored.parts, state_key(stored))
        return Source(names, lambda: Linear4bit(read_weight(checkpoint, stored, device), None, compute_dtype, conv1d))

    linears = {name: module for name, module in named_modules(inner) if is_linear(module)}
    _refuse_misfits(inner, checkpoint, weights, linears)
    fill(inner, checkpoint, {name: source(name, stored) for name, stored in weights.items()}, lambda t: t.to(device))
    return model if device is None else model.to(device)  # buffers that no checkpoint holds


def save_bitsandbytes(model: Any, folder: str | Path) -> Path:
    """Write `model.safetensors` and `config.json`, for `AutoModelForCausalLM.from_pretrained` and `load_bitsandbytes`.

    What `save_pretrained` writes beside them of a model that generates, `generation_config.json`, is written too; the
    tokenizer has its own `save_pretrained`.

    Args:
        model: a transformers model with `Linear4bit` layers in NF4 or FP4_BNB, without adapters. It is written under
            the names that it has without a wrapper such as `torch.compile`'s.
        folder: made if it is not there; other files in it stay.

    Returns:
        The folder.

    Raises:
        ValueError: for what the format cannot hold (a codebook or block size that bitsandbytes lacks, layers that
            compute in several dtypes), and for a model with adapters, without 4-bit layers, without a config, with a
            weight that is not finite, or with an `nn.Linear` where its class has a `Conv1D`; for a folder that holds an
            adapter.
        OSError: if the folder cannot be written; files that were there before are then still whole.
    """
    refuse_adapter(folder)
    model = unwrap(model)
    layers = four_bit_layers(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no 4-bit layer: call quant.quantize_model(model) first")
    if not hasattr(model, "config"):
        raise ValueError(f"{type(model).__name__} has no config: only models of transformers can be saved in this form")
    _refuse_turned(model)
    tensors = _dense_tensors(model, layers)
    for name, layer in layers.items():
        tensors |= weight_tensors(f"{name}.weight", layer.weight_quantized)
    tensors = _unshared(tensors)
    config = _config(model, layers)
    with atomic_folder(folder, instead_of=MODEL_FILES) as temporary:
        save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
        write_json(temporary / CONFIG, config, indent=2, sort_keys=True, finite=False)
        if getattr(model, "generation_config", None) is not None:
            model.generation_config.save_pretrained(temporary)
    return Path(folder)


def _compute_dtype(path: Path) -> torch.dtype:
    """What `config.json` says of the layers, after a look at what kind of checkpoint this is."""
    stored = read_json(path, AGAIN).get("quantization_config")
    if not isinstance(stored, dict):
        raise ValueError(f"{path} has no quantization_config: {_DENSE}")
    method = stored.get("quant_method")
    if method == "bitsandbytes" and (stored.get("load_in_8bit") or stored.get("_load_in_8bit")):
        method = "LLM.int8"
    if method != "bitsandbytes":
        raise ValueError(
            f"{path} is of a checkpoint in {method}, and only 4-bit ones of bitsandbytes are read here: "
            "load it with transformers"
        )
    name = stored.get("bnb_4bit_compute_dtype") or "float32"  # transformers' default
    if name not in FLOATS:
        raise ValueError(f"{path} asks for bnb_4bit_compute_dtype={name!r}: choose one of {', '.join(FLOATS)}")
    return FLOATS[name]


def _refuse_misfits(
    model: nn.Module, checkpoint: Checkpoint, weights: Mapping[str, StoredWeight], linears: Mapping[str, Linear]
) -> None:
    """Each 4-bit weight must have a linear layer of its shape, [d_out, d_in] for a `Conv1D` too."""
    for name, stored in weights.items():
        if name not in linears:
            near = [key for key in linears if key.endswith(f".{name}") or name.endswith(f".{key}")]
            raise misfit(model, checkpoint, f"the model has no nn.Linear or Conv1D {name}", advice(near, [name]))
        needed = tuple(dense_shape(linears[name]))
        if stored.shape != needed:
            raise misfit(model, checkpoint, f"{name} is stored with shape {stored.shape}, where {needed} is needed")
        refuse_unswappable(name, linears[name])


def _refuse_turned(model: Any) -> None:
    """An `nn.Linear` put where the class has a `Conv1D` would be read as one, with its weight turned round."""
    passed = heads(model)
    dense = [name for name, module in named_modules(model) if type(module) is nn.Linear and module not in passed]
    if not dense:
        return
    with torch.device("meta"):
        built = dict(named_modules(type(model)(model.config)))
    if turned := [name for name in dense if is_conv1d(built.get(name))]:
        raise ValueError(
            f"{first(turned)} is nn.Linear where {type(model).__name__} has Conv1D, which keeps its weight turned "
            "round: quantize it too before saving (quant.quantize_model)"
        )


def _dense_tensors(model: nn.Module, layers: Mapping[str, Linear4bit]) -> dict[str, Tensor]:
    """Everything that is not 4-bit, on the CPU; a tied tensor once, under the name that transformers looks for."""
    state = dict(named_tensors(model))
    if adapted := [key for key in state if ".lora_A" in key]:
        raise ValueError(
            f"{adapted[0]} is an adapter's: save adapters with lora.save_adapter(model, folder), "
            "and the base after lora.remove(model)"
        )
    ties = getattr(model, "all_tied_weights_keys", None) or {}
    for key, source in ties.items():
        if state.get(key) is not state.get(source):
            raise ValueError(
                f"the config ties {key} to {source}, but in the model they are two, and transformers would tie them "
                "again: set config.tie_word_embeddings=False"
            )
    quantized = {f"{name}.{key}" for name, layer in layers.items() for key in layer.state_dict() if key != "bias"}
    dense = {key: tensor.detach() for key, tensor in state.items() if key not in quantized and key not in ties}
    if empty := [key for key, tensor in state.items() if tensor.is_meta]:
        raise ValueError(f"{first(empty)} was built without weights: there is nothing to save")
    if wrong := [key for key in dense if isinstance(state[key], nn.Parameter) and not is_finite(dense[key])]:
        raise ValueError(f"{first(wrong)} holds NaN or infinity: repair it before saving")
    return {key: tensor.cpu().contiguous() for key, tensor in dense.items()}


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """With memory of its own for each: safetensors refuses what is shared, as by a tie of the user's own."""
    seen: set[int] = set()
    for key, tensor in tensors.items():
        if tensor.data_ptr() in seen:
            tensors[key] = tensor.clone()
        seen.add(tensor.data_ptr())
    return tensors


def _config(model: Any, layers: Mapping[str, Linear4bit]) -> dict[str, Any]:
    """The model's config, and how transformers is to rebuild its layers."""
    codes = {id(layer.packed) for layer in layers.values()}
    dense = {p.dtype for p in model.parameters() if id(p) not in codes and p.is_floating_point()}
    dtype = functools.reduce(torch.promote_types, dense) if dense else torch.float32
    compute = {layer.compute_dtype or dtype for layer in layers.values()}
    if len(compute) > 1 or not compute <= FLOAT_NAMES.keys():
        raise ValueError(
            f"the layers compute in {' and '.join(sorted(map(str, compute)))}: bitsandbytes takes one of "
            f"{', '.join(FLOATS)} for all of them"
        )
    one = next(iter(layers.values()))
    return json.loads(model.config.to_json_string()) | {
        "architectures": [type(model).__name__],
        "dtype": str(dtype).removeprefix("torch."),  # the widest of what is dense: a reader that casts loses nothing
        "quantization_config": {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "load_in_8bit": False,
            "bnb_4bit_quant_type": next(kind for kind, book in BOOKS.items() if book == one.codebook),
            "bnb_4bit_use_double_quant": one.double_quant,
            "bnb_4bit_compute_dtype": FLOAT_NAMES[compute.pop()],
            "bnb_4bit_quant_storage": "uint8",
            # dense layers of which transformers would expect 4 bits
            "llm_int8_skip_modules": [name for name, module in named_modules(model) if is_linear(module)],
        },
    }
