"""The student's side: runs their cells, then does with their objects what the judge asks for.

Whoever wrote the cells can rewrite this process: nothing that it says about itself is believed. All that reaches the
judge are values, and all that reaches this process are arguments: no check, no expected value, no other submission.
"""

import copy
import itertools
import socket
import sys
from collections.abc import Callable, Iterable, Sequence, Sized
from importlib.abc import MetaPathFinder
from types import GeneratorType
from typing import Any

import torch
from torch import Tensor, nn

from lora_lab.grading import frames, values
from lora_lab.grading.cells import Cells, described, is_empty
from lora_lab.grading.frames import Header

_LONGEST = 100_000  # items of what is handed on as a list
Tensors = dict[str, Tensor]


class OtherRooms(MetaPathFinder):
    """Says in a sentence why a room of the library cannot be imported here."""

    def __init__(self, allow: Sequence[str]):
        self.allow = allow

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name.startswith("lora_lab.") and name.split(".")[1] not in self.allow:
            may = f"lora_lab.{', lora_lab.'.join(self.allow)}" if self.allow else "nothing of lora_lab"
            raise ImportError(f"{name} is not there when this exercise is graded: an answer may import {may}")


class Worker:
    """Serves one submission.

    Args:
        pipe: to the judge.
        allow: rooms of the library that the cells may import.
    """

    def __init__(self, pipe: socket.socket, allow: Sequence[str]):
        self.pipe, self.cells = pipe, Cells()
        self.handles: dict[int, Any] = {}
        self.calls: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self.number = itertools.count()
        sys.meta_path.insert(0, OtherRooms(allow))

    def serve(self) -> None:
        """Answer until the judge hangs up."""
        while True:
            self._handle_one(*frames.receive(self.pipe))

    def _handle_one(self, request: Header, tensors: Tensors) -> None:
        encoder = values.Encoder(self._of_other)
        try:
            answer = getattr(self, f"_do_{request['do']}")(request, tensors, encoder)
            frames.send(self.pipe, answer, encoder.tensors)
        except frames.Ended:
            raise
        except BaseException as error:  # whatever the student's code raises
            frames.send(self.pipe, {"error": described(error)}, {})

    # What the judge asks for

    def _do_run(self, request: Header, _: Tensors, __: values.Encoder) -> Header:
        self.cells.run(request["cells"], request["skip"], lambda number: frames.send(self.pipe, {"cell": number}, {}))
        return {"errors": [[number, error] for number, error in self.cells.errors.items()]}

    def _do_answer(self, request: Header, _: Tensors, encoder: values.Encoder) -> Header:
        answer = self.cells.answer(request["task"])
        return {"value": encoder.node(answer), "empty": is_empty(answer)}

    def _do_get(self, request: Header, _: Tensors, encoder: values.Encoder) -> Header:
        return self._reply(getattr(self.handles[request["handle"]], request["name"]), [], encoder)

    def _do_item(self, request: Header, tensors: Tensors, encoder: values.Encoder) -> Header:
        key = values.Decoder(tensors, self._from_other, remember=True).value(request["key"])
        return self._reply(self.handles[request["handle"]][key], [], encoder)

    def _do_len(self, request: Header, _: Tensors, __: values.Encoder) -> Header:
        return {"value": len(self.handles[request["handle"]])}

    def _do_list(self, request: Header, _: Tensors, encoder: values.Encoder) -> Header:
        items = itertools.islice(self.handles[request["handle"]], _LONGEST)
        return self._reply(list(items), [], encoder)

    def _do_call(self, request: Header, tensors: Tensors, encoder: values.Encoder) -> Header:
        decoder = values.Decoder(tensors, self._from_other, remember=True)
        args, kwargs = decoder.value(request["args"]), decoder.value(request["kwargs"])
        given = decoder.known
        before = [_state(each) for each in given]
        alive = [copy.copy(each) for each in given if isinstance(each, (list, dict))]  # else an id may come back
        with torch.set_grad_enabled(request["grad"]):
            result = self.handles[request["handle"]](*args, **kwargs)
            if isinstance(result, GeneratorType):  # runs here, where its changes are seen
                result = list(itertools.islice(result, _LONGEST))
        after = [_state(each) for each in given]
        del alive
        rebuilt = {place for place, each in enumerate(given) if _rebuilt(each, before[place], after[place])}
        encoder.places = {id(each): place for place, each in enumerate(given) if place not in rebuilt}
        changes = [
            [place, self._change(given[place], encoder)]
            for place in range(len(given))
            if place not in rebuilt and before[place] != after[place]
        ]
        return {**self._reply(result, decoder.leaves, encoder), "changes": changes}

    def _do_backward(self, request: Header, tensors: Tensors, encoder: values.Encoder) -> Header:
        inputs, outputs = self.calls[request["call"]]
        kept = [each.grad for each in inputs]
        for each in inputs:
            each.grad = None
        torch.autograd.backward(outputs, [tensors[key] for key in request["grads"]], retain_graph=True)
        grads = [None if each.grad is None else encoder.data(each.grad) for each in inputs]
        for each, grad in zip(inputs, kept, strict=True):
            each.grad = grad
        return {"grads": grads}

    def _reply(self, value: Any, inputs: list[Tensor], encoder: values.Encoder) -> Header:
        """A value, and under which number gradients can be asked for."""
        node, call = encoder.node(value), next(self.number)
        if encoder.live:
            self.calls[call] = (inputs, list(encoder.live.values()))
        return {"value": node, "call": call, "live": list(encoder.live)}

    # Objects that stay here, and functions that stay there

    def _of_other(self, value: Any) -> values.Node:
        number = next(self.number)
        self.handles[number] = value
        able = {"call": callable(value), "list": isinstance(value, Iterable), "len": isinstance(value, Sized)}
        able["item"] = hasattr(type(value), "__getitem__")
        return ["handle", number, type(value).__name__, [name for name, can in able.items() if can]]

    def _from_other(self, node: values.Node) -> Any:
        kind, number = node[:2]
        return self.handles[number] if kind == "handle" else self._callback(number)

    def _callback(self, number: int) -> Callable[..., Any]:
        def callback(*args: Any, **kwargs: Any) -> Any:
            encoder = values.Encoder(self._of_other)
            asked = {"callback": number, "args": encoder.node(list(args)), "kwargs": encoder.node(kwargs)}
            frames.send(self.pipe, asked, encoder.tensors)
            while True:
                answer, tensors = frames.receive(self.pipe)
                if "do" in answer:  # it looks at what it was given
                    self._handle_one(answer, tensors)
                elif "error" in answer:
                    raise RuntimeError(answer["error"])
                else:
                    return values.Decoder(tensors, self._from_other, remember=True).value(answer["value"])

        return callback

    def _change(self, value: Any, encoder: values.Encoder) -> values.Node:
        """What an argument is now."""
        if isinstance(value, Tensor):
            return encoder.tensor(value if value.is_leaf else value.detach())
        if isinstance(value, list):
            return ["list", [encoder.node(each) for each in value]]
        return ["dict", [[encoder.node(key), encoder.node(each)] for key, each in value.items()]]


def _state(value: Any) -> Any:
    """What of an argument the student's code can change, to be compared."""
    if isinstance(value, Tensor):
        grad = None if value.grad is None or not value.is_leaf else _bytes(value.grad)
        return value.shape, value.dtype, value.requires_grad, _bytes(value), grad
    if isinstance(value, list):
        return [id(each) for each in value]
    if isinstance(value, dict):
        return [(id(key), id(each)) for key, each in value.items()]
    modules = [(name, id(each)) for name, each in value.named_modules()]
    return modules, [
        (name, id(each)) for name, each in itertools.chain(value.named_parameters(), value.named_buffers())
    ]


def _rebuilt(value: Any, before: Any, after: Any) -> bool:
    """Whether a module has other parts than it came with: it has become the student's, and goes back as a handle."""
    return isinstance(value, nn.Module) and before != after


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
