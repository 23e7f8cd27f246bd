"""Put adapters into a model, and take them out."""

import warnings
from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lora_lab.adapters.adapter import DEFAULT, Adapter
from lora_lab.adapters.config import AdapterConfig
from lora_lab.adapters.copies import Copies, copied, trained_in_place
from lora_lab.adapters.moved import note_tensors
from lora_lab.adapters.naming import bare, configs_by_module, named_layers, passed_over, tied_names
from lora_lab.adapters.register import ATTRIBUTE, Placed, Register, all_or_nothing, from_the_base, require_free
from lora_lab.matching import ALL_LINEAR
from lora_lab.quant.swap import refuse_hooked
from lora_lab.ranges import brief, first
from lora_lab.wrappers import named_modules, put_all

M = TypeVar("M", bound=nn.Module)
C = TypeVar("C", bound=AdapterConfig)


def inject(model: M, config: AdapterConfig, name: str = DEFAULT) -> M:
    """Put an adapter around every layer that is targeted, in place, freeze all else, and use it.

    The model's output does not move by a bit until something is trained, whatever the method and its start. A model
    without weights, built on the meta device, gets adapters without weights. Hooks on a targeted layer stay on it, and
    are called as before; only merging, which calls it no more, is then refused.

    A 4-bit base is quantized first: `quant.quantize_model` knows nothing of adapters, and would round a head that one
    of them trains.

    Args:
        model: any module, the whole one, so that names are of all its adapters. It may have adapters of other names;
            they stay, and are not in use any more.
        config: of a method, such as `lora.LoRAConfig`. What it trains in full (modules_to_save, and unless that is
            given a classifier's head), biases that it trains and the running statistics of BatchNorm are copies, which
            `remove` takes out again.
        name: letters, digits, "-" and "_"; it is also the name of a folder.

    Raises:
        TypeError: for a model or a config that is none.
        ValueError: if a target, an exclusion, a layer number or a pattern's key matches nothing, the model has an
            adapter of that name already, a target's weight is tied to another module, offloaded, or made anew on every
            call (weight_norm, pruning, parametrizations), a start or a scaling does not fit a layer, or the model is
            wrapped for distributed training. The model is then unchanged, as after any error.
    """
    if not isinstance(config, AdapterConfig):  # before the name: inject(model, r, alpha) lacks a configuration
        raise TypeError(f"config={brief(config)} is no configuration: give one, such as lora.LoRAConfig(r=8)")
    require_free(model, name)
    configs = configs_by_module(model, config)
    if config.target_modules == ALL_LINEAR and (left := passed_over(model)):
        warnings.warn(f"'all-linear' passed over {_listed(left)}: what is there stays frozen", stacklevel=2)
    return place(model, name, config, configs)


def place(
    model: M,
    name: str,
    config: C,
    configs: Mapping[str, C],
    stored: Mapping[str, Tensor] | None = None,
    fill: Callable[[dict[str, Adapter]], None] | None = None,
) -> M:
    """`inject` with one configuration for each layer's full name.

    Args:
        stored: values for tensors of the model that the adapter has its own of, beside those that the configuration
            names.
        fill: may write to the layers, or refuse, before they are put in.
    """
    _refuse_distributed(model)
    _refuse_tied(model, list(configs))
    with from_the_base(model):
        copies = copied(model, trained_in_place(model, config, configs) | (stored or {}).keys())
        for key, values in (stored or {}).items():
            copies[key].data.copy_(values)
        modules, outermost = dict(named_layers(model)), dict(named_modules(model))
        layers = {key: _around(key, modules[key], each, name) for key, each in configs.items()}
        if fill:
            fill(layers)
        for key, layer in layers.items():  # the next adapter around what is there
            layer.base = outermost[key]
        for parameter in model.parameters():
            parameter.requires_grad = False  # requires_grad_() refuses one that a lazy layer has yet to make
            parameter.grad = None  # or an older optimizer would move the base, and clipping would count it
        with put_all(model, layers):
            root = bare(model)
            placed = root.__dict__.setdefault(ATTRIBUTE, {})[name] = Placed(config, Copies(copies), {})
            Register(model).switch(name)
            placed.notes = note_tensors(root)
    return model


def _around(name: str, base: nn.Module, config: AdapterConfig, adapter: str) -> Adapter:
    if hasattr(base, "_hf_hook") and any(parameter.is_meta for parameter in base.parameters()):
        raise ValueError(
            f"{name} is offloaded by accelerate, so its weights are not there to be adapted: load the model onto one "
            "device, or leave this layer out of target_modules"
        )
    flags = [(parameter, parameter.requires_grad) for parameter in base.parameters()]
    try:
        layer = config.around(base).train(base.training)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error
    finally:
        for parameter, flag in flags:
            parameter.requires_grad = flag
    layer.name = adapter
    return layer


def remove(model: M, name: str | None = None) -> M:
    """Take one adapter out, or all: modules, weights and `state_dict` are again what they were before `inject`.

    Only a wrapper around an adapted layer itself, as by `torch.compile(layer)`, went when the adapter came. The base
    stays frozen. If the one that was in use is taken out and others stay, none of them is in use until `use`.

    Raises:
        RuntimeError: within `disabled`.
        ValueError: if there are none, or none of that name, hooks on an adapted layer would be lost, or the model no
            longer has a tensor of which the adapter has its own. The model is then unchanged, as after any error.
    """
    register = Register(model)
    register.require_any()
    chosen = register.names if name is None else [register.require(name)]
    plain: dict[str, nn.Module] = {}
    for where, at, layer in register.layers:
        if layer.name in chosen:
            refuse_hooked(where, layer)
            plain.setdefault(where if name is None else at, layer.core if name is None else layer.base)
    with all_or_nothing(register), put_all(model, plain):
        register.forget(chosen)
    return model


def _listed(modules: Mapping[str, nn.Module]) -> str:
    """Names with their types, the first few."""
    named = [f"{name} ({type(module).__name__})" for name, module in modules.items()]
    return first(named)


def _refuse_tied(model: nn.Module, targets: list[str]) -> None:
    """An update of one of two modules that share a weight would be lost, or doubled, on merging."""
    chosen = set(targets)
    for shared in tied_names(model):
        owner = next((name for name in shared if name.rpartition(".")[0] in chosen), None)
        if len(shared) > 1 and owner:
            raise ValueError(
                f"{owner} is tied: the same tensor is also {', '.join(n for n in shared if n != owner)}; "
                "leave this layer out of target_modules, or untie it first"
            )


def _refuse_distributed(model: nn.Module) -> None:
    """DistributedDataParallel sums the gradients of those parameters that it found when it was made."""
    if isinstance(model, DistributedDataParallel):
        raise ValueError(
            "the model is wrapped by DistributedDataParallel, which would not sum the gradients of adapters that come "
            "later: put the adapters in first, and wrap the model then"
        )
