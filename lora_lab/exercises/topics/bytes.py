"""Lesson 07: what one block keeps, the peak of a step, and what checkpointing leaves."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong, task

Moments = Sequence[tuple[str, dict[str, int]]]


def _kept_per_token(h: int, q: int, kv: int, a: int, i: int) -> int:
    norm = 4 * h + 4 + 2 * h + 2 * h
    attention = 2 * q + 2 * kv + 2 * kv + 2 * q + 4 * a
    return 2 * norm + attention + 4 * 2 * i


def _peak_of(moments: Moments) -> tuple[str, int]:
    phase, parts = max(moments, key=lambda moment: sum(moment[1].values()))
    return phase, sum(parts.values())


def _checkpointed(layers: int, enters: int, keeps: int, loss: int) -> int:
    return layers * enters + max(keeps, loss)


@task(reference=lambda: _kept_per_token)
def kept_per_token(kept_per_token: Any) -> None:
    """Bytes per token that autograd keeps of one Llama block in bf16, all weights training."""
    start = {"h": 96, "q": 120, "kv": 40, "a": 5, "i": 250}
    found = plain_number(kept_per_token(**start), "for h = 96, q = 120, kv = 40, a = 5, i = 250")
    wanted = _kept_per_token(**start)
    for name, each in (("h", 16), ("q", 4), ("kv", 4), ("a", 4), ("i", 8)):
        more = plain_number(kept_per_token(**{**start, name: start[name] + 10}), f"for a larger {name}")
        slope = (more - found) / 10
        if not math.isclose(slope, each, abs_tol=1e-6):
            raise Wrong(f"for each number of {name} yours counts {slope:g} bytes, wanted {each}: {_TERMS[name]}")
    if not math.isclose(found, wanted):
        raise Wrong(
            f"yours gives {found:,g}, wanted {wanted:,}: what is left is {found - (wanted - 8):g} bytes, should be 8, "
            "the 1/rms of two norms in fp32"
        )


_TERMS = {
    "h": "a norm keeps its input in fp32, normalised values and output in bf16, 8 bytes; there are two norms",
    "q": "the query and the attention's output are as wide as q, both in bf16",
    "kv": "key and value are as wide as kv, both in bf16",
    "a": "one fp32 number for each head",
    "i": "four tensors as wide as i, all in bf16",
}


@task(reference=lambda: _peak_of)
def peak_of(peak_of: Any) -> None:
    """The phase in which most is alive, and how many bytes: a maximum over moments of sums over parts."""
    step: Moments = [
        ("at rest", {"weights": 50, "activations": 0, "loss": 0, "gradients": 0}),
        ("forward", {"weights": 50, "activations": 90, "loss": 0, "gradients": 0}),
        ("loss", {"weights": 50, "activations": 80, "loss": 40, "gradients": 5}),
        ("backward", {"weights": 50, "activations": 30, "loss": 0, "gradients": 60}),
        ("update", {"weights": 50, "activations": 0, "loss": 0, "gradients": 65}),
    ]
    late: Moments = [
        ("forward", {"weights": 7, "activations": 3}),
        ("backward", {"weights": 7, "activations": 2, "x": 9}),
    ]
    again: Moments = [("forward", {"weights": 7, "x": 1}), ("loss", {"weights": 9}), ("loss", {"weights": 4})]
    cases = ((step, ("loss", 175)), (late, ("backward", 18)), (step[:2], ("forward", 140)), (again, ("loss", 9)))
    for moments, wanted in cases:
        with untouched(moments=moments):
            found = peak_of(moments)
        if found is None or isinstance(found, (str, Real)) or len(found) != 2:
            raise Wrong(f"yours gives {found!r}, wanted a phase and a number: return phase, total")
        phase, total = found
        count = plain_number(total, "as the bytes")
        if (phase, count) != wanted:
            raise Wrong(
                f"yours gives {phase!r} and {count:g}, wanted {wanted[0]!r} and {wanted[1]}{_slip(count, moments)}"
            )


def _slip(count: float, moments: Moments) -> str:
    names = {name for _, parts in moments for name in parts}
    worst = {name: max(parts.get(name, 0) for _, parts in moments) for name in names}
    sums = [sum(parts.values()) for _, parts in moments]
    last = [sum(parts.values()) for parts in dict(moments).values()]
    phases = [phase for phase, _ in moments]
    together = [sum(total for other, total in zip(phases, sums) if other == phase) for phase in phases]
    slips = {
        max(together): "that adds up moments of one phase: they come one after the other",
        max(last): "a phase may come more than once: look at each of its moments, not at its last alone",
        sum(worst.values()): "that adds each part at its own largest, and these are never alive together",
        sum(sums): "that adds up all moments, and what lived earlier has gone: take the largest of them",
        max(worst.values()): "that is the largest part alone: add up what is alive at the same moment",
        min(sums): "that is the smallest of the sums",
        sums[-1]: "that is the last moment: look at all of them",
        max(sums): "the bytes are right: give the phase of that same moment",
    }
    return f". {slips[round(count)].capitalize()}" if round(count) in slips else ""


@task(reference=lambda: _checkpointed)
def checkpointed(checkpointed: Any) -> None:
    """Bytes of activations and loss at their largest, with checkpointing."""
    for layers, enters, keeps, loss in ((10, 6, 53, 21), (10, 6, 21, 53), (4, 7, 100, 0), (1, 1, 1, 90)):
        where = f"layers = {layers}, enters = {enters}, keeps = {keeps}, loss = {loss}"
        found = plain_number(checkpointed(layers, enters, keeps, loss), f"for {where}")
        wanted = _checkpointed(layers, enters, keeps, loss)
        if not math.isclose(found, wanted):
            raise Wrong(
                f"for {where} yours gives {found:g}, wanted {wanted}. {_why(found, layers, enters, keeps, loss)}"
            )


def _why(found: float, layers: int, enters: int, keeps: int, loss: int) -> str:
    slips = {
        layers * enters
        + keeps
        + loss: "The loss is over when the first layer is repeated: of the two, the larger counts",
        layers * enters + keeps: "The loss may be larger than one repeated layer: take the larger of the two",
        layers * enters + loss: "One repeated layer may be larger than the loss: take the larger of the two",
        layers * keeps + loss: "That is without checkpointing: of each layer only `enters` stays",
        layers * enters + layers * keeps: "One layer is repeated at a time: `keeps` counts once",
        max(layers * enters, keeps, loss): "What entered the layers lies there all the time: add it",
        enters + max(keeps, loss): "Every layer keeps what entered it: `enters` counts once for each",
        max(keeps, loss): "What entered the layers is kept too: `enters` for each",
    }
    return slips.get(
        round(found), "What enters each layer lies there, and with it either one repeated layer or the loss"
    )
