"""Whole models: every linear layer to four bits, and back."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from lora_lab.wrappers import put_all, unwrap
from lora_lab.quant.blockwise import quantize
from lora_lab.quant.choice import HEAD, layers_to_quantize
from lora_lab.quant.codebooks import NF4, Codebook
from lora_lab.quant.linear4bit import Linear4bit, four_bit_layers
from lora_lab.quant.linears import Linear, dense_weight, is_conv1d, oriented
from lora_lab.disk.shards import DTYPES, Checkpoint
from lora_lab.quant.stream import Source, fill, refuse_shape
from lora_lab.quant.swap import refuse_unswappable
from lora_lab.quant.ties import refuse_tied, tie

_LEAVE_TIED = "name it in skip=, or untie it first"

OnLayer = Callable[[str, Tensor, Linear4bit], None]

_Model = TypeVar("_Model", bound=nn.Module)
_Quantized = Callable[[str, Tensor, nn.Parameter | None], Linear4bit]


def quantize_model(
    model: _Model,
    skip: Iterable[str] = (HEAD,),
    codebook: Codebook = NF4,
    block_size: int = 64,
    double_quant: bool | Codebook = True,
    compute_dtype: torch.dtype | None = None,
    *,
    on_layer: OnLayer | None = None,
    checkpoint: str | Path | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> _Model:
    """Replace every linear layer of `model`, `nn.Linear` or GPT-2's `Conv1D`, by a `Linear4bit`, in place.

    Nothing else is reached: embeddings, convolutions, subclasses of `nn.Linear`, and the experts of a mixture, which
    transformers 5 keeps as 3-D parameters, stay dense, and `quant.passed_over(model)` names them. So do the heads of a
    transformers model, which `lora_lab.quant.heads` knows: a classifier's `score` is fresh before fine-tuning. (It is
    frozen by `lora.inject`, like all else.)

    With `checkpoint`, the weights come from its safetensors, one tensor at a time, into a model that was built without
    any. So a model is quantized that would not fit into memory in 16 bits:

        with accelerate.init_empty_weights():
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
        quant.quantize_model(model, checkpoint=folder, device="cuda")

    The result is bit for bit that of loading all of it and then quantizing.

    Args:
        model: any module; a wrapper such as `torch.compile`'s, around it or within it, is looked through.
        skip: layers that stay dense, by the last part or parts of their names. A tied `lm_head` must: its weight is the
            embedding. "lm_head" stands for a layer over the vocabulary of any name. The head of another task stays
            dense whatever is named; skip=() leaves nothing out.
        codebook, block_size, double_quant, compute_dtype: as for `Linear4bit.from_linear`.
        on_layer: called as on_layer(name, weight, layer) after each layer, while its dense weight [d_out, d_in] is
            there; `ErrorReport().add` is one.
        checkpoint: a folder with `model.safetensors`, or with shards and their index.
        dtype: what each tensor of the checkpoint is converted to as it is read; by default it stays as stored.
        device: where each tensor of the checkpoint is taken, there to be quantized; by default the CPU.

    Raises:
        FileNotFoundError: if the folder has no safetensors checkpoint.
        TypeError: for a weight of a dtype that cannot be quantized, naming the layer, or a name that is no string.
        ValueError: if there is no layer to quantize, `skip` is a lone string or names no linear layer, a layer that is
            not skipped is tied, pruned, parametrized, lazy, empty or has hooks, a weight is not finite (naming the
            layer), or the checkpoint is damaged, does not fit the model, or holds a parameter that is not finite or
            beyond `dtype`.

    After an error the model is unchanged.
    """
    inner = unwrap(model)
    layers = layers_to_quantize(inner, skip)

    def quantized(name: str, weight: Tensor, bias: nn.Parameter | None) -> Linear4bit:
        try:
            four_bits = quantize(weight, codebook, block_size, double_quant)
            layer = Linear4bit(four_bits, bias, compute_dtype, is_conv1d(layers[name]))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
        if on_layer is not None:
            on_layer(name, weight.detach(), layer)
        return layer

    if checkpoint is not None:
        _stream(inner, layers, Checkpoint(checkpoint), quantized, dtype, device)
        return model
    if dtype is not None or device is not None:
        raise ValueError("dtype and device are for a checkpoint that is read: use model.to(...) before or after")
    refuse_tied(inner, layers, _LEAVE_TIED)
    if empty := [name for name, linear in layers.items() if linear.weight.is_meta]:
        raise ValueError(f"{empty[0]} was built without weights: give the folder that holds them as checkpoint=")
    replacements = {
        name: quantized(name, dense_weight(linear), linear.bias).train(linear.training)
        for name, linear in layers.items()
    }
    with put_all(inner, replacements):
        return model


def dequantize_model(model: _Model) -> _Model:
    """Replace every `Linear4bit` by what it was, `nn.Linear` or `Conv1D`, with the dequantized weight, in place.

    The dense model computes what the 4-bit one did, so adapters trained on the one can be merged into the other
    without loss, and its `state_dict` fits the model's class.

    Raises:
        ValueError: for a 4-bit layer on its own, or one with hooks. The model is then unchanged.
    """
    inner = unwrap(model)
    if isinstance(inner, Linear4bit):
        raise ValueError("a layer cannot be replaced in itself: call layer.dequantize() for its weight")
    layers = four_bit_layers(inner)
    for name, layer in layers.items():
        refuse_unswappable(name, layer)
    dense = {  # one for a layer in two places
        layer: layer.rebuilt(layer.dequantize(), layer.bias).train(layer.training) for layer in layers.values()
    }
    with put_all(inner, {name: dense[layer] for name, layer in layers.items()}):
        return model


def _stream(
    model: nn.Module,
    layers: Mapping[str, Linear],
    checkpoint: Checkpoint,
    quantized: _Quantized,
    dtype: torch.dtype | None,
    device: str | torch.device | None,
) -> None:
    """`quantize_model` with a checkpoint."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"dtype={dtype} cannot hold weights: choose torch.bfloat16, torch.float16 or torch.float32")
    if quantized_already := list(four_bit_layers(model)):
        raise ValueError(f"{quantized_already[0]} is 4-bit already: build the model anew, without weights")
    tie(model)
    refuse_tied(model, layers, _LEAVE_TIED)

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

    def source(name: str, linear: Linear) -> Source:
        weight = f"{name}.weight"
        return Source((weight,), lambda: quantized(name, oriented(linear, cast(checkpoint.read(weight))), None))

    for name, linear in layers.items():
        _refuse_stored(model, checkpoint, f"{name}.weight", linear.weight.shape)
    fill(model, checkpoint, {name: source(name, linear) for name, linear in layers.items()}, cast)
    if device is not None:
        model.to(device)  # buffers that no checkpoint holds


def _refuse_stored(model: nn.Module, checkpoint: Checkpoint, name: str, shape: torch.Size) -> None:
    """A weight that is quantized already, or has another shape; one that is missing is `fill`'s business."""
    if name not in checkpoint.headers:
        return
    dtype = checkpoint.headers[name].dtype
    if not getattr(DTYPES.get(dtype), "is_floating_point", False):
        raise ValueError(
            f"{name} is stored as {dtype} in {checkpoint.folder}, so it is quantized already: give the original "
            "checkpoint (quant.load_bitsandbytes reads 4-bit ones of bitsandbytes)"
        )
    refuse_shape(model, checkpoint, name, shape)
