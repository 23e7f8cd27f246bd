"""Whole models: every linear layer to four bits, and back."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from lora_lab.naming import named_modules, put_all, unwrap
from lora_lab.quant.codebooks import NF4, Codebook
from lora_lab.quant.heads import output_layers, task_heads
from lora_lab.quant.linear4bit import Linear4bit
from lora_lab.quant.shards import DTYPES, Checkpoint
from lora_lab.quant.stream import Source, fill, refuse_shape, refuse_tied, tie
from lora_lab.quant.swap import is_made_anew, refuse_unswappable

_LEAVE_TIED = "name it in skip=, or untie it first"

OnLayer = Callable[[str, Tensor, Linear4bit], None]


def quantize_model(
    model: nn.Module,
    skip: Iterable[str] = ("lm_head",),
    codebook: Codebook = NF4,
    block_size: int = 64,
    double_quant: bool | Codebook = True,
    compute_dtype: torch.dtype | None = None,
    *,
    on_layer: OnLayer | None = None,
    checkpoint: str | Path | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> nn.Module:
    """Replace every `nn.Linear` of `model` by a `Linear4bit`, in place.

    Nothing else is reached: GPT-2's `Conv1D`, and the experts of a mixture, which transformers 5 keeps as 3-D
    parameters, stay dense, as do subclasses of `nn.Linear`. So do the heads of a transformers model, which
    `lora_lab.quant.heads` knows: a classifier's `score` is fresh before fine-tuning. (It is frozen by `lora.inject`,
    like all else.)

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
    names = _linear_names(inner, skip)

    def quantized(name: str, linear: nn.Linear) -> Linear4bit:
        try:
            layer = Linear4bit.from_linear(linear, codebook, block_size, double_quant, compute_dtype)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
        if on_layer is not None:
            on_layer(name, linear.weight.detach(), layer)
        return layer

    if checkpoint is not None:
        _stream(inner, names, Checkpoint(checkpoint), quantized, dtype, device)
        return model
    if dtype is not None or device is not None:
        raise ValueError("dtype and device are for a checkpoint that is read: use model.to(...) before or after")
    refuse_tied(inner, names, _LEAVE_TIED)
    modules = dict(named_modules(inner))
    if empty := [name for name in names if _weight(modules[name]).is_meta]:
        raise ValueError(f"{empty[0]} was built without weights: give the folder that holds them as checkpoint=")
    replacements = {}
    for name in names:
        module = modules[name]
        assert isinstance(module, nn.Linear)  # `_linear_names` has seen to it
        replacements[name] = quantized(name, module).train(module.training)
    with put_all(inner, replacements):
        return model


def dequantize_model(model: nn.Module) -> nn.Module:
    """Replace every `Linear4bit` by an `nn.Linear` that holds the dequantized weight, in place.

    The dense model computes what the 4-bit one did, so adapters trained on the one can be merged into the other
    without loss.

    Raises:
        ValueError: for a 4-bit layer on its own, or one with hooks. The model is then unchanged.
    """
    inner = unwrap(model)
    if isinstance(inner, Linear4bit):
        raise ValueError("a layer cannot be replaced in itself: call layer.dequantize() for its weight")
    layers = {name: m for name, m in named_modules(inner) if isinstance(m, Linear4bit)}
    for name, layer in layers.items():
        refuse_unswappable(name, layer)
    dense = {layer: _dense(layer) for layer in layers.values()}  # one for a layer in two places
    with put_all(inner, {name: dense[layer] for name, layer in layers.items()}):
        return model


def _stream(
    model: nn.Module,
    names: list[str],
    checkpoint: Checkpoint,
    quantized: Callable[[str, nn.Linear], Linear4bit],
    dtype: torch.dtype | None,
    device: str | torch.device | None,
) -> None:
    """`quantize_model` with a checkpoint."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(f"dtype={dtype} cannot hold weights: choose torch.bfloat16, torch.float16 or torch.float32")
    if quantized_already := [name for name, m in named_modules(model) if isinstance(m, Linear4bit)]:
        raise ValueError(f"{quantized_already[0]} is 4-bit already: build the model anew, without weights")
    tie(model)
    refuse_tied(model, names, _LEAVE_TIED)

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

    def source(name: str) -> Source:
        weight = f"{name}.weight"
        return Source((weight,), lambda: quantized(name, _linear(cast(checkpoint.read(weight)))))

    modules = dict(named_modules(model))
    for name in names:
        _refuse_stored(model, checkpoint, f"{name}.weight", _weight(modules[name]).shape)
    fill(model, checkpoint, {name: source(name) for name in names}, cast)
    if device is not None:
        model.to(device)  # buffers that no checkpoint holds


def _linear_names(model: nn.Module, skip: Iterable[str]) -> list[str]:
    """The layers to quantize, in the model's order."""
    if isinstance(skip, str):
        raise ValueError(f"skip={skip!r} is one string: give a sequence of names, ({skip!r},)")
    if not isinstance(skip, Iterable):
        raise TypeError(f"skip={skip!r} is no sequence of names: give ('lm_head',), or () to skip nothing")
    if type(model) is nn.Linear:
        raise ValueError("a layer cannot be replaced in itself: call Linear4bit.from_linear(linear)")
    skipped = tuple(skip)
    if wrong := [each for each in skipped if not isinstance(each, str) or not each]:
        raise TypeError(f"skip holds {wrong[0]!r}: give names of layers as strings")
    linears = {name: m for name, m in named_modules(model) if name and (type(m) is nn.Linear or is_made_anew(m))}
    heads = task_heads(model) if skipped else set()
    heads |= output_layers(model) if "lm_head" in skipped else set()
    names = [
        name
        for name, module in linears.items()
        if module not in heads and not any(_is_called(name, each) for each in skipped)
    ]
    for name in names:
        refuse_unswappable(name, linears[name])
    if not names:
        raise ValueError(f"{type(model).__name__} has no nn.Linear to quantize outside skip={skipped}")
    called = {each for each in skipped if any(_is_called(name, each) for name in linears)}
    if unknown := set(skipped) - called - {"lm_head"}:  # the default, which a model without a head lacks
        last_parts = dict.fromkeys(name.rpartition(".")[2] for name in linears)
        raise ValueError(
            f"skip names {sorted(unknown)[0]!r}, which is no nn.Linear of this {type(model).__name__}: "
            f"its linear layers are called {', '.join(last_parts)}"
        )
    return names


def _is_called(name: str, skip: str) -> bool:
    """Whether the last part or parts of a name are `skip`; the base of an adapter goes by the adapter's name too."""
    return any(f".{each}".endswith(f".{skip}") for each in (name, name.removesuffix(".base")))


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


def _weight(module: nn.Module) -> Tensor:
    assert isinstance(module, nn.Linear)  # `_linear_names` has seen to it
    return module.weight


def _dense(layer: Linear4bit) -> nn.Linear:
    dense = _linear(layer.dequantize())
    dense.register_parameter("bias", layer.bias)
    return dense.train(layer.training)


def _linear(weight: Tensor) -> nn.Linear:
    """A frozen `nn.Linear` around a weight [d_out, d_in], without a bias."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear
