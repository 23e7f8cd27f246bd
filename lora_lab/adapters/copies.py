"""Tensors that an adapter trains in the model's own places: biases, a head in full, BatchNorm's statistics.

They are copies, and change places with the model's tensors when the adapter is put in use, switched off or taken out.
So the model's own are never written to, tied tensors stay tied, and names in the `state_dict` stay what they were.
"""

from collections.abc import Collection, Mapping, Set

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lora_lab.adapters.config import AdapterConfig
from lora_lab.adapters.naming import layers_once, named_layers, named_places, plain_tensors, tied_names
from lora_lab.matching import meanings
from lora_lab.quant.heads import task_heads
from lora_lab.quant.linear4bit import Linear4bit

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Copies:
    """The tensors of one adapter in the places of the model's, or those of the model while the adapter's are in use.

    Attributes:
        away: by name, those that are not in the model now.
        inside: whether the adapter's are in the model.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.away = dict(tensors)
        self.inside = False

    def own(self, model: nn.Module) -> dict[str, Tensor]:
        """The adapter's tensors by name, wherever they are."""
        if not self.inside or not self.away:
            return dict(self.away)
        return {name: tensor for name, tensor in plain_tensors(model) if name in self.away}

    def put(self, model: nn.Module, inside: bool) -> None:
        """Let the adapter's tensors, or the model's, be in the model.

        A tensor follows the one whose place it takes to its device and dtype.

        Raises:
            ValueError: as `check`.
        """
        if inside == self.inside:
            return
        places = self.check(model, inside)
        here = {name: getattr(module, part) for name, (module, part) in places.items()}
        for name, tensor in self.away.items():
            tensor.data = tensor.data.to(here[name].device, here[name].dtype)
        try:
            _place(places, self.away)
            self.away, self.inside = here, inside
        except BaseException:
            _place(places, here)
            raise

    def check(self, model: nn.Module, inside: bool) -> dict[str, tuple[nn.Module, str]]:
        """Where the tensors that are away will go: the modules, and their names there.

        Raises:
            ValueError: if the model no longer has one of the places, or another tensor is there, or one that is away
                has no values.
        """
        if inside == self.inside or not self.away:
            return {}
        places = {name: (module, part) for name, module, part in named_places(model) if name in self.away}
        for name, tensor in self.away.items():
            here = getattr(*places[name]) if name in places else None
            if here is None or here.shape != tensor.shape:
                raise ValueError(
                    f"the model no longer has {name} {list(tensor.shape)}, of which an adapter has its own: put it "
                    "back first (dequantize_model does, if it was quantized)"
                )
            if tensor.is_meta and not here.is_meta:
                raise ValueError(f"{name} of the model has no values, it is on the meta device: load the model first")
        return places


def _place(places: Mapping[str, tuple[nn.Module, str]], tensors: Mapping[str, Tensor]) -> None:
    for name, (module, part) in places.items():
        slots = module._parameters if part in module._parameters else module._buffers
        slots[part] = tensors[name]  # type: ignore[assignment]


def copied(model: nn.Module, names: Set[str]) -> dict[str, Tensor]:
    """Copies of the named tensors, under every name that each of them has; a floating-point parameter's trains.

    Raises:
        ValueError: for a name that is no tensor's.
    """
    if not names:
        return {}
    tensors = dict(plain_tensors(model))
    if unknown := names - tensors.keys():
        raise ValueError(f"{min(unknown)} is no tensor of the model, so an adapter cannot train a copy of it")
    copies: dict[str, Tensor] = {}
    for shared in tied_names(model):
        if not names.isdisjoint(shared):
            copies |= dict.fromkeys(shared, _copy(tensors[shared[0]]))
    return copies


@torch.no_grad()
def _copy(tensor: Tensor) -> Tensor:
    values = tensor.detach().clone()
    return nn.Parameter(values, values.is_floating_point()) if isinstance(tensor, nn.Parameter) else values


def trained_in_place(model: nn.Module, config: AdapterConfig, adapted: Collection[str]) -> set[str]:
    """Names of the model's tensors of which an adapter with this configuration has its own.

    Raises:
        ValueError: for modules_to_save that matches nothing, or a module in it that is adapted too or in four bits.
    """
    tensors = dict(plain_tensors(model))
    saved = modules_to_save(model, config, adapted)
    inside = tuple(f"{name}." for name in saved)
    full = {name for name in tensors if name.startswith(inside)}
    trainable = [name for name, t in tensors.items() if isinstance(t, nn.Parameter) and t.is_floating_point()]
    return full | running_statistics(model) | config.trained_in_place(trainable, adapted)


def modules_to_save(model: nn.Module, config: AdapterConfig, adapted: Collection[str]) -> list[str]:
    """Full names of the modules that are trained in full; see `AdapterConfig`.

    Raises:
        ValueError: as `trained_in_place`.
    """
    modules = layers_once(model)
    if config.modules_to_save is None:
        heads = task_heads(model)
        named = [name for name, module in modules.items() if module in heads and _outermost(name, modules, heads)]
        named = [name for name in named if not any(within(each, name) for each in adapted)]
    else:
        named = _named(modules, config.modules_to_save)
    for name in named:
        if both := [each for each in adapted if within(each, name)]:
            raise ValueError(f"{both[0]} is a target and in modules_to_save: train it in full, or adapt it, not both")
        for below, module in named_layers(modules[name]):
            if isinstance(module, Linear4bit):
                four_bits = f"{name}.{below}" if below else name
                raise ValueError(
                    f"{four_bits} is a Linear4bit, and is to be trained in full: keep it dense, by quantize_model(…, "
                    "skip=…), or leave it as it is, by modules_to_save=()"
                )
    return [name for name in named if any(True for _ in plain_tensors(modules[name]))]


def with_tied(model: nn.Module, modules: Collection[str]) -> list[str]:
    """These modules, and those that share a tensor with them."""
    sharing = [shared for shared in tied_names(model) if any(within(name, each) for name in shared for each in modules)]
    found = dict.fromkeys(modules)
    for name in (name for shared in sharing for name in shared):
        if not any(within(name, each) for each in found):
            found[name.rpartition(".")[0]] = None
    return list(found)


def refuse_lost(model: nn.Module, trained: Set[str], rest: Mapping[str, Tensor]) -> None:
    """ValueError for a folder without a tensor that it says was trained."""
    for shared in tied_names(model):
        if rest.keys().isdisjoint(shared) and not trained.isdisjoint(shared):
            raise ValueError(
                f"it lacks {shared[0]}, which it says was trained (old versions of PEFT lost the biases of "
                "bias='lora_only'): write the adapter again, or take that option out of adapter_config.json"
            )


def refuse_half_of_a_tie(model: nn.Module, saved: Collection[str], rest: Mapping[str, Tensor]) -> None:
    """ValueError for values of one of two modules that share a tensor here: PEFT trains a copy of that one alone."""
    there = dict(plain_tensors(model))
    for shared in tied_names(model):
        given = [name for name in shared if name in rest]
        alone = len(given) < len(shared) and any(within(name, module) for name in given for module in saved)
        if any(not torch.equal(rest[name], rest[given[0]]) for name in given[1:]) or (
            alone and not torch.equal(there[given[0]].detach().cpu().to(rest[given[0]].dtype), rest[given[0]])
        ):
            raise ValueError(
                f"{' and '.join(shared)} are one tensor here, and the folder has values that are not for all of them: "
                "untie them first, as by model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())"
            )


def running_statistics(model: nn.Module) -> set[str]:
    """Names of what BatchNorm and its like move in training, although nobody trains it."""
    return {name for name, module, part in named_places(model) if isinstance(module, _NormBase) and part in _STATISTICS}


def _named(modules: Mapping[str, nn.Module], wanted: Collection[str]) -> list[str]:
    named = meanings(wanted, [name for name in modules if name])
    if nothing := [each for each, matched in named.items() if not matched]:
        raise ValueError(
            f"modules_to_save names {nothing[0]!r}, which matches no module: give the name of one, such as a head's"
        )
    chosen = set().union(*named.values())
    return [name for name in modules if name in chosen]


def _outermost(name: str, modules: Mapping[str, nn.Module], chosen: Collection[nn.Module]) -> bool:
    parent = name.rpartition(".")[0]
    return modules.get(parent) not in chosen


def within(name: str, module: str) -> bool:
    """Whether a name is the module's or that of a part of it."""
    return name == module or name.startswith(f"{module}.")
