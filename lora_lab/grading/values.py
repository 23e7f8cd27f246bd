"""Values as JSON and tensors, and back: what judge and worker hand one another.

Plain values become themselves, everything else a list with its kind in front. Tensors travel in safetensors beside the
JSON. What is none of the kinds is left to `other`: the worker makes a handle of it, the judge says that it cannot be
sent.

Arguments of a call are remembered in the order in which they stand, at both ends, so that an answer can say "the second
thing that you gave me" and what it has changed.
"""

import base64
import binascii
import itertools
import numbers
from collections.abc import Callable, Mapping
from types import GeneratorType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.grading.frames import Refused

DEPTH = 40
COUNT = 200_000  # values in one message
DIGITS = 1_000_000  # of a whole number, in base 16

Node = Any
MODULES: dict[str, tuple[str, ...]] = {  # modules that travel whole, and what makes them again
    "Linear": ("in_features", "out_features"),
    "Embedding": ("num_embeddings", "embedding_dim", "padding_idx"),
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine"),
    "ReLU": (),
    "GELU": ("approximate",),
    "Identity": (),
    "Sequential": (),
    "ModuleList": (),
    "ModuleDict": (),
}
DTYPES = {str(value).removeprefix("torch."): value for value in vars(torch).values() if isinstance(value, torch.dtype)}


def is_plain_module(value: object) -> bool:
    """Whether it is one of torch's own modules, exactly, that travel whole."""
    return MODULES.get(type(value).__name__) is not None and type(value) is getattr(nn, type(value).__name__)


class Encoder:
    """Makes nodes of values.

    Attributes:
        tensors: by the keys that the nodes name.
        known: what was remembered; a value among them is sent as its place.
        live: by key, the tensors through which gradients flow back into what made them.
    """

    def __init__(self, other: Callable[[Any], Node], known: list[Any] | None = None, remember: bool = False):
        self.tensors: dict[str, Tensor] = {}
        self.live: dict[str, Tensor] = {}
        self.known: list[Any] = [] if known is None else known
        self.places = {id(value): place for place, value in enumerate(self.known)}
        self.remember, self.other = remember, other

    def node(self, value: Any, depth: int = 0) -> Node:
        if depth > DEPTH:
            raise Refused(f"a value nested deeper than {DEPTH} levels")
        if value is None or isinstance(value, (bool, str)):
            return value if value is None or isinstance(value, bool) else str(value)
        if isinstance(value, numbers.Integral):
            number = int(value)
            return number if abs(number) < 2**63 else ["int", format(number, "x")]
        if isinstance(value, numbers.Real):
            return float(value)
        if id(value) in self.places:
            return ["same", self.places[id(value)]]
        if self.remember and isinstance(value, (Tensor, nn.Module, list, Mapping)):
            self.places[id(value)] = len(self.known)
            self.known.append(value)
        return self._compound(value, depth + 1)

    def _compound(self, value: Any, depth: int) -> Node:
        if isinstance(value, Tensor):
            return self.tensor(value)
        if isinstance(value, GeneratorType):
            value = list(itertools.islice(value, COUNT))
        if isinstance(value, (list, tuple)):
            kind = "list" if isinstance(value, list) else "size" if isinstance(value, torch.Size) else "tuple"
            return [kind, [self.node(each, depth) for each in value]]
        if isinstance(value, Mapping):
            return ["dict", [[self.node(key, depth), self.node(each, depth)] for key, each in value.items()]]
        if isinstance(value, SimpleNamespace):
            return ["namespace", [[key, self.node(each, depth)] for key, each in vars(value).items()]]
        if isinstance(value, (bytes, bytearray)):
            return ["bytes", base64.b64encode(value).decode()]
        if isinstance(value, torch.dtype):
            return ["dtype", str(value).removeprefix("torch.")]
        if isinstance(value, torch.device):
            return ["device", str(value)]
        if value is ...:
            return ["ellipsis"]
        if self.remember and is_plain_module(value):
            return self._module(value, depth)
        return self.other(value)

    def tensor(self, value: Tensor) -> Node:
        if value.layout != torch.strided or value.device.type == "meta" or value.is_complex():
            raise Refused(f"a tensor that cannot be sent ({value.layout}, {value.device}, {value.dtype})")
        key = self.data(value)
        if value.grad_fn is not None:
            self.live[key] = value
        flags = "n" * (value.grad_fn is not None) + "g" * value.requires_grad + "p" * isinstance(value, nn.Parameter)
        grad = value.grad if value.is_leaf and value.requires_grad else None
        return ["tensor", key, flags, None if grad is None else self.data(grad)]

    def data(self, value: Tensor) -> str:
        """Keep the numbers of a tensor; the key under which they travel."""
        key = str(len(self.tensors))
        self.tensors[key] = value.detach().as_subclass(Tensor).cpu().contiguous().clone()
        return key

    def _module(self, value: nn.Module, depth: int) -> Node:
        own = {**value._parameters, **value._buffers}
        tensors = [[name, self.node(each, depth)] for name, each in own.items()]
        children = [[name, self.node(each, depth)] for name, each in value._modules.items()]
        name = type(value).__name__
        options = [self.node(getattr(value, option), depth) for option in MODULES[name]]
        return ["module", name, options, value.training, tensors, children]


class Decoder:
    """Makes values of nodes; whatever is not as `Encoder` writes it is a `Refused`.

    Args:
        tensors: of the message.
        other: makes what a node of another kind means.
        known: what was remembered when the arguments were sent; or, of arguments, filled here in the same order.
        remember: whether these are arguments.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        other: Callable[[Node], Any],
        known: list[Any] | None = None,
        remember: bool = False,
    ):
        self.tensors, self.other, self.remember = tensors, other, remember
        self.known: list[Any] = [] if known is None else known
        self.leaves: list[Tensor] = []  # into which gradients flow back, of the arguments that want one
        self.count = 0

    def value(self, node: Node, depth: int = 0) -> Any:
        self.count += 1
        if depth > DEPTH or self.count > COUNT:
            raise Refused(f"a value of more than {DEPTH} levels or {COUNT:,} parts")
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        try:
            kind, *rest = node
            make = getattr(self, f"_{kind}", None) if kind in _KINDS else None
            return make(*rest, depth + 1) if make else self.other(node)
        except (TypeError, ValueError, KeyError, IndexError, RuntimeError, AttributeError, binascii.Error) as error:
            raise Refused(f"a value that is not as the rules say ({type(error).__name__})") from None

    def _int(self, text: str, _: int) -> int:
        if len(text) > DIGITS:
            raise Refused(f"a whole number of over {DIGITS:,} digits")
        return int(text, 16)

    def _same(self, place: int, _: int) -> Any:
        if type(place) is not int or place < 0:
            raise Refused("an argument that was not given")
        return self.known[place]

    def _list(self, nodes: list[Node], depth: int) -> list[Any]:
        made: list[Any] = self._kept([])
        made.extend(self.value(node, depth) for node in _pairs(nodes, None))
        return made

    def _tuple(self, nodes: list[Node], depth: int) -> tuple[Any, ...]:
        return tuple(self.value(node, depth) for node in _pairs(nodes, None))

    def _size(self, nodes: list[Node], depth: int) -> torch.Size:
        return torch.Size(self._tuple(nodes, depth))

    def _dict(self, pairs: list[list[Node]], depth: int) -> dict[Any, Any]:
        made: dict[Any, Any] = self._kept({})
        for key, node in _pairs(pairs, 2):
            if isinstance(key, list) and key[:1] == ["int"]:  # many of these can be made to fall into one place
                raise Refused("a dictionary with a key of more than 64 bits")
            made[self.value(key, depth)] = self.value(node, depth)
        return made

    def _namespace(self, pairs: list[list[Node]], depth: int) -> SimpleNamespace:
        return SimpleNamespace(**{key: self.value(node, depth) for key, node in _pairs(pairs, 2)})

    def _bytes(self, text: str, _: int) -> bytes:
        return base64.b64decode(text, validate=True)

    def _dtype(self, name: str, _: int) -> torch.dtype:
        return DTYPES[name]

    def _device(self, name: str, _: int) -> torch.device:
        return torch.device(name)

    def _ellipsis(self, _: int) -> Any:
        return ...

    def _tensor(self, key: str, flags: str, grad: str | None, _: int) -> Tensor:
        made = self.tensors[key]
        if made.dtype is torch.bool:  # a byte that is neither 0 nor 1 would be neither true nor false
            made = made.view(torch.uint8) != 0
        if "n" not in flags:  # else a gradient flows already, or is not wanted
            made = nn.Parameter(made, "g" in flags) if "p" in flags else made.requires_grad_("g" in flags)
            if grad is not None:
                made.grad = self.tensors[grad]
        if self.remember and "g" in flags:
            leaf = made.requires_grad_()
            self.leaves.append(leaf)
            made = leaf.clone() if "n" in flags else leaf  # what is no leaf may be written into
        return self._kept(made)

    def _module(
        self, name: str, options: list[Node], training: bool, tensors: list[Any], children: list[Any], depth: int
    ) -> nn.Module:
        if not self.remember or name not in MODULES:
            raise Refused("a module, where a handle is due")
        with torch.device("meta"):
            made: nn.Module = getattr(nn, name)(*(self.value(option, depth) for option in options))
        self._kept(made)
        for key, node in _pairs(tensors, 2):
            value = self.value(node, depth)
            if isinstance(value, nn.Parameter) or value is None:
                made._parameters[key] = value
            else:
                made._buffers[key] = value
        for key, node in _pairs(children, 2):
            made.add_module(key, self.value(node, depth))
        made.training = training
        return made

    def _kept(self, value: Any) -> Any:
        if self.remember:
            self.known.append(value)
        return value


_KINDS = {
    "int", "same", "list", "tuple", "size", "dict", "namespace", "bytes", "dtype", "device", "ellipsis", "tensor",
    "module",
}  # fmt: skip


def _pairs(nodes: Any, length: int | None) -> list[Any]:
    """The nodes, if they are a list, each of so many."""
    if not isinstance(nodes, list) or (length and any(not isinstance(n, list) or len(n) != length for n in nodes)):
        raise Refused("a value that is not as the rules say")
    return nodes
