"""The judge's side of the pipe: objects of the worker as if they were here, and nothing of it believed.

A `Handle` can be called and asked for attributes; values come back as values, gradients flow through, changed arguments
change. Whatever comes is decoded by `values.Decoder` or refused.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lora_lab.exercises.tasks import Wrong
from lora_lab.grading import changes, frames, values
from lora_lab.grading.failures import Failed, failed_by
from lora_lab.grading.frames import Header, Refused
from lora_lab.grading.isolation import Limits

_MESSAGES = 100_000  # at most before an answer: callbacks, and which cell runs
_UNFIT = (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError, OverflowError, RecursionError)


class Broken(Exception):
    """The submission's process can answer no more; the sentence says why."""


class Handle:
    """An object of the worker."""

    __slots__ = ("__number", "__session")

    def __init__(self, session: "Session", number: int):
        self.__session, self.__number = session, number

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.__session.ask_of(self.__number, "get", name=name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def _ability(do: str) -> Callable[..., Any]:
    def ask(handle: Any, *args: Any, **kwargs: Any) -> Any:
        session, number = handle._Handle__session, handle._Handle__number
        if do == "call":
            return session.call(number, args, kwargs)
        answer = session.ask_of(number, do, **({"key": args[0]} if args else {}))
        return iter(answer) if do == "list" else answer

    return ask


_ABILITIES = {
    name: {f"__{method}__": _ability(name)}
    for name, method in {"call": "call", "list": "iter", "len": "len", "item": "getitem"}.items()
}


class Session:
    """One process that has run, or will run, a submission.

    Attributes:
        cell: the number of the cell that it said it began last.
        broken: why it can be asked no more, or None.
    """

    def __init__(self, pipe: socket.socket, limits: Limits):
        self.pipe, self.limits = pipe, limits
        self.end = time.monotonic() + limits.wall
        self.cell: int | None = None
        self.broken: Exception | None = None
        self.gone = False  # by itself
        self.ended: str | None = ""  # what its process died of, once it is gone; None if nobody knows
        self.callbacks: list[Callable[..., Any]] = []
        self.undo: dict[int, Callable[[], None]] = {}  # by the identity of what has changed here
        self.wrong: Wrong | None = None  # of the check's own function, whatever the student's code makes of it

    def run(self, cells: Sequence[str], skip: Sequence[int]) -> dict[int, Failed]:
        """Run the cells; what stopped, by the cell's number."""
        answer, _ = self.ask({"do": "run", "cells": list(cells), "skip": list(skip)}, {}, self.end)
        with self._believing_nothing():
            return {int(number): failed_by(error) for number, error in answer["errors"]}

    def answer(self, task: str) -> tuple[Any, bool]:
        """What the student hands in for a task, and whether it is an empty function, as the worker says."""
        answer, tensors = self.ask({"do": "answer", "task": task}, {})
        return self._value({"call": 0, "live": [], **answer}, tensors, [], []), answer.get("empty") is True

    def call(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an object of the worker."""
        encoder = values.Encoder(self._of_other, remember=True)
        request = {"do": "call", "handle": number, "grad": torch.is_grad_enabled()}
        request |= {"args": encoder.node(list(args)), "kwargs": encoder.node(kwargs)}
        given = encoder.known
        inputs = [each for each in given if isinstance(each, Tensor) and each.requires_grad]
        answer, tensors = self.ask(request, encoder.tensors)
        return self._value(answer, tensors, given, inputs)

    def ask_of(self, number: int, do: str, **request: Any) -> Any:
        """An attribute, an item, the length or all items of an object of the worker."""
        encoder = values.Encoder(self._of_other, remember=True)
        if "key" in request:
            request["key"] = encoder.node(request["key"])
        answer, tensors = self.ask({"do": do, "handle": number, **request}, encoder.tensors)
        value = self._value({"call": 0, "live": [], **answer}, tensors, [], [])
        if (do == "len" and (type(value) is not int or not 0 <= value < 2**31)) or (
            do == "list" and type(value) is not list
        ):
            raise Refused("a length that is no number, or items that are no list")
        return value

    def ask(
        self, request: Header, tensors: dict[str, Tensor], deadline: float | None = None
    ) -> tuple[Header, dict[str, Tensor]]:
        """Send a request and wait for its answer.

        Raises:
            Failed: the student's code raised.
            Broken: there is no answer, and there will be none.
            Wrong: by a function of the check's, while the student's code called it.
        """
        if self.broken:
            raise Broken(str(self.broken))
        deadline = min(self.end, deadline or time.monotonic() + self.limits.call)
        with self._noting_what_breaks():
            frames.send(self.pipe, request, tensors, deadline)
            for _ in range(_MESSAGES):
                answer, found = frames.receive(self.pipe, deadline)
                if "callback" in answer:
                    self._call_back(answer, found, deadline)
                elif "cell" in answer:
                    self.cell = answer["cell"] if type(answer["cell"]) is int else None
                else:
                    break
            else:
                raise Refused(f"over {_MESSAGES:,} messages before an answer")
        if self.wrong:
            wrong, self.wrong = self.wrong, None
            raise wrong
        if "error" in answer:
            with self._believing_nothing():
                failed = failed_by(answer["error"])
            raise failed
        return answer, found

    def gradients(self, call: int, grads: Sequence[Tensor], count: int) -> list[Tensor | None]:
        """What flows back into the arguments of a call; the student's own parameters keep theirs."""
        keys = [str(place) for place in range(len(grads))]
        sent = {key: grad.detach().contiguous().clone() for key, grad in zip(keys, grads, strict=True)}
        answer, tensors = self.ask({"do": "backward", "call": call, "grads": keys}, sent)
        with self._believing_nothing():
            found = [None if key is None else tensors[key] for key in answer["grads"]]
            if len(found) != count:
                raise Refused("gradients of other arguments than were given")
            return found

    def restore(self) -> None:
        """Make what was handed over what it was: a check may hand over what it uses again for the next submission."""
        for undo in self.undo.values():
            undo()
        self.undo.clear()

    # Values

    def _value(self, answer: Header, tensors: dict[str, Tensor], given: list[Any], inputs: list[Tensor]) -> Any:
        with self._believing_nothing():
            live = list(answer["live"])
            if live and torch.is_grad_enabled():
                outputs = [tensors[key] for key in live]
                anchor = torch.zeros((), requires_grad=True)  # the student's own parameters may want gradients, too
                connected = _Call.apply(self, int(answer["call"]), outputs, anchor, *inputs)
                tensors = {**tensors, **dict(zip(live, connected, strict=True))}
            decoder = values.Decoder(tensors, self._from_other, given)
            for place, node in answer.get("changes", []):
                value = decoder.value(node)
                self.undo.setdefault(id(given[place]), changes.undo(given[place]))
                changes.make(given[place], value)
            return decoder.value(answer["value"])

    def _from_other(self, node: values.Node) -> Handle:
        kind, number, name, able = node
        if kind != "handle" or type(number) is not int or not isinstance(name, str):
            raise Refused("a value of a kind that is not known")
        members: dict[str, Any] = {"__slots__": ()}
        for ability in able:
            members |= _ABILITIES[ability]
        made = type(name if name.isidentifier() and len(name) < 60 else "object", (Handle,), members)
        return made(self, number)

    def _of_other(self, value: Any) -> values.Node:
        if isinstance(value, Handle):
            return ["handle", value._Handle__number]  # type: ignore[attr-defined]
        if not callable(value):
            raise TypeError(f"a check hands over a {type(value).__name__}: see what may be handed over")
        self.callbacks.append(value)
        return ["callback", len(self.callbacks) - 1]

    def _call_back(self, asked: Header, tensors: dict[str, Tensor], deadline: float) -> None:
        """Call a function of the check's for the student's code."""
        with self._believing_nothing():
            decoder = values.Decoder(tensors, self._from_other)
            function = self.callbacks[_index(asked["callback"])]
            args, kwargs = list(decoder.value(asked["args"])), dict(decoder.value(asked["kwargs"]))
        encoder = values.Encoder(self._of_other, remember=True)
        try:
            answer = {"value": encoder.node(function(*args, **kwargs))}
        except Broken:
            raise
        except Exception as error:  # its words stay here: they may say more than the student shall read
            self.wrong = self.wrong or (error if isinstance(error, Wrong) else None)
            answer, encoder.tensors = {"error": type(error).__name__}, {}
        frames.send(self.pipe, answer, encoder.tensors, deadline)

    # What breaks

    @contextlib.contextmanager
    def _noting_what_breaks(self) -> Iterator[None]:
        try:
            yield
        except frames.Ended:
            self.gone = True
            self._breaks(Broken("its process ended"))
        except frames.TooLate:
            self._breaks(Broken("it did not come to an end in time"))
        except Refused as refused:
            self._breaks(refused)

    @contextlib.contextmanager
    def _believing_nothing(self) -> Iterator[None]:
        """Whatever an answer holds: it is decoded, or refused by name, and nothing more is asked."""
        try:
            yield
        except Refused as refused:
            self._breaks(refused)
        except _UNFIT as error:
            self._breaks(Refused(f"an answer that is not as the rules say ({type(error).__name__})"))

    def _breaks(self, why: Exception) -> None:
        self.broken = self.broken or why
        raise self.broken from None


class _Call(torch.autograd.Function):
    """A call's outputs, through which gradients flow back to its arguments."""

    @staticmethod
    def forward(ctx: Any, session: Session, call: int, outputs: list[Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.session, ctx.call, ctx.count = session, call, len(inputs) - 1
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, None, None, None, *ctx.session.gradients(ctx.call, grads, ctx.count)


def _index(value: object) -> int:
    if type(value) is not int or value < 0:
        raise Refused("a function that was not given")
    return value
