"""Put adapters into a model, switch them off, take them out, count what trains."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.parallel import DistributedDataParallel

from lora_lab.lora.bases import ADAPTABLE
from lora_lab.lora.config import LoRAConfig
from lora_lab.lora.layers import LoRALinear
from lora_lab.lora.moved import forget_tensors, note_tensors
from lora_lab.naming import named_modules, named_tensors, put_all, require_module
from lora_lab.lora.targets import configs_by_module
from lora_lab.quant.linear4bit import Linear4bit
from lora_lab.quant.swap import refuse_hooked
from lora_lab.ranges import brief


def inject(model: nn.Module, config: LoRAConfig) -> nn.Module:
    """Replace every targeted layer by a `LoRALinear` around it, in place, and freeze all else.

    The model's output does not move by a bit until something is trained, whatever the init. A model without weights,
    built on the meta device, gets adapters without weights. Hooks on a targeted layer stay on it, and are called as
    before; only merging, which calls it no more, is then refused.

    Raises:
        TypeError: for a model or a config that is none.
        ValueError: if a target, an exclusion, a layer number or a pattern's key matches nothing, the model has
            adapters already, a target's weight is tied to another module, offloaded, or made anew on every call
            (weight_norm, pruning, parametrizations), an init or a scaling does not fit a layer, or the model is
            wrapped for distributed training. The model is then unchanged, as after any error.
    """
    require_no_adapters(model)
    if not isinstance(config, LoRAConfig):
        raise TypeError(f"config={brief(config)} is no configuration: give a lora.LoRAConfig")
    return adapt(model, configs_by_module(model, config))


def adapt(
    model: nn.Module,
    configs: Mapping[str, LoRAConfig],
    fill: Callable[[dict[str, LoRALinear]], None] | None = None,
) -> nn.Module:
    """`inject` with one configuration for each full name; `fill` may write to the layers, or refuse, before they are
    placed."""
    _refuse_distributed(model)
    _refuse_tied(model, list(configs))
    modules = dict(named_modules(model))
    parameters = list(model.parameters())
    was_trainable = [parameter.requires_grad for parameter in parameters]
    layers = {}
    try:
        for name, config in configs.items():
            layers[name] = _adapted(name, modules[name], config)
        if fill:
            fill(layers)
        for parameter in parameters:
            parameter.requires_grad = False  # requires_grad_() refuses one that a lazy layer has yet to make
        with put_all(model, layers):
            note_tensors(model)
    except BaseException:
        for parameter, flag in zip(parameters, was_trainable):
            parameter.requires_grad = flag
        raise
    return model


def _adapted(name: str, base: nn.Module, config: LoRAConfig) -> LoRALinear:
    assert isinstance(base, ADAPTABLE)  # `targets` has seen to it
    if hasattr(base, "_hf_hook") and any(parameter.is_meta for parameter in base.parameters()):
        raise ValueError(
            f"{name} is offloaded by accelerate, so its weights are not there to be adapted: load the model onto one "
            "device, or leave this layer out of target_modules"
        )
    try:
        return LoRALinear(base, config).train(base.training)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """The adapted layers of a model by name, the name that each has without `torch.compile` or another wrapper."""
    layers: dict[LoRALinear, str] = {}
    for name, module in named_modules(model):
        if isinstance(module, LoRALinear):
            layers.setdefault(module, name)
    return {name: layer for layer, name in layers.items()}


def require_no_adapters(model: nn.Module) -> None:
    """ValueError if the model has adapters."""
    if adapters(model):
        raise ValueError("the model has adapters already: call lora.remove(model) before injecting others")


def require_adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """`adapters(model)`, or ValueError if there are none."""
    if not (layers := adapters(model)):
        raise ValueError(f"{type(model).__name__} has no adapters: call lora.inject(model, config) first")
    return layers


def remove(model: nn.Module) -> nn.Module:
    """Take all adapters out: modules, weights and `state_dict` are again what they were before `inject`.

    The base stays frozen.

    Raises:
        ValueError: if there are none, or hooks on an adapted layer would be lost. The model is then unchanged.
    """
    layers = require_adapters(model)
    for name, layer in layers.items():
        refuse_hooked(name, layer)
    with put_all(model, {name: layer.base for name, layer in layers.items()}):
        forget_tensors(model)
    return model


@contextmanager
def disabled(model: nn.Module) -> Iterator[nn.Module]:
    """Within the block the model computes what its base does, merged or not."""
    layers = require_adapters(model).values()
    before = [layer.enabled for layer in layers]
    try:
        for layer in layers:
            layer.enabled = False
        yield model
    finally:
        for layer, enabled in zip(layers, before):
            layer.enabled = enabled


@dataclass(frozen=True)
class ParameterCount:
    """Numbers of parameters; a 4-bit weight counts as the d_out · d_in values it stands for."""

    trainable: int
    total: int

    def __str__(self) -> str:
        return f"{self.trainable:,} of {self.total:,} parameters train ({self.trainable / max(1, self.total):.2%})"


def count_parameters(model: nn.Module) -> ParameterCount:
    """Count each parameter once, also when it is tied; those that a lazy layer has yet to make count nothing."""
    require_module(model)
    packed = {id(m.packed): m.in_features * m.out_features for m in model.modules() if isinstance(m, Linear4bit)}
    parameters = [parameter for parameter in model.parameters() if not is_lazy(parameter)]
    return ParameterCount(
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        total=sum(packed.get(id(p), p.numel()) for p in parameters),
    )


def _refuse_tied(model: nn.Module, names: list[str]) -> None:
    """An update of one of two modules that share a weight would be lost, or doubled, on merging."""
    owners: dict[int, list[str]] = {}
    for tensor_name, tensor in named_tensors(model):
        owners.setdefault(id(tensor), []).append(tensor_name)
    chosen = set(names)
    for shared in owners.values():
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
