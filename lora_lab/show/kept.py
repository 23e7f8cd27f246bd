"""Figures of where a step's bytes go: what one block keeps on its arrows, and what checkpointing keeps of many."""

from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.axes import Axes

from lora_lab import ranges
from lora_lab.show.drawing import INK, PLAIN, Drawing, Look, Spot, arrow, canvas, matrix, node, step, words
from lora_lab.show.figures import CONTEXT, POINT
from lora_lab.show.memory import COMPONENT_COLOURS

_KEPT = Look("#FBE7BF", COMPONENT_COLOURS["activations"], None, "#7A5200", 1.6)
_EMPTY = Look("white", CONTEXT, None, INK, 1.2)


class _Tensor(NamedTuple):
    """One tensor that autograd keeps of one token.

    Attributes:
        what: in words.
        width: the size that it has, by its symbol; "1" for a single number.
        bytes: of each number.
    """

    what: str
    width: str
    bytes: int


_NORM = (_Tensor("input", "h", 4), _Tensor("1/rms", "1", 4), _Tensor("normalised", "h", 2), _Tensor("output", "h", 2))
_ATTENTION = (
    _Tensor("query", "q", 2),
    _Tensor("key", "kv", 2),
    _Tensor("value", "kv", 2),
    _Tensor("output", "q", 2),
    _Tensor("a sum per head", "a", 4),
)
_MLP = (_Tensor("gate", "i", 2), _Tensor("SiLU(gate)", "i", 2), _Tensor("up", "i", 2), _Tensor("product", "i", 2))
_GROUPS = {"norm": _NORM, "attention": _ATTENTION, "norm before the MLP": _NORM, "MLP": _MLP}


def kept_schematic(sizes: Mapping[str, int] | None = None, title: str | None = None) -> Drawing:
    """One block of a Llama in bf16, all its weights training, and what its forward pass puts aside for the backward.

    Args:
        sizes: the widths h, q, kv, a and i, by their letters: then the bytes of one token stand beside each tensor.
        title: in place of one that says what the figure is, or with sizes what it adds up to.

    Returns:
        The figure and its alt text.

    Raises:
        TypeError, ValueError: for a width that is missing or no whole number.
    """
    widths = {"1": 1} | {name: ranges.whole(name, (sizes or {}).get(name, 0)) for name in _LETTERS} if sizes else None
    total = sum(_bytes(tensor, widths) for group in _GROUPS.values() for tensor in group) if widths else 0
    title = title or (f"One block keeps {total:,} bytes of each token" if widths else "What one block puts aside")
    fig, axes = canvas(7.2, 4.7, title)
    _row(axes, 3.85, ("norm", "attention"), ("q, k, v", "attention", "o"), widths)
    _row(axes, 1.65, ("norm before the MLP", "MLP"), ("gate, up", "SiLU · up", "down"), widths)
    told = []
    for name, group in _GROUPS.items():
        told.append(f"{name}: " + ", ".join(f"{each.what} {_size(each, widths)}" for each in group))
    return Drawing(fig, f"{title}. For each token, {'; '.join(told)}. What enters each half is added to what it makes.")


_LETTERS = ("h", "q", "kv", "a", "i")


def _bytes(tensor: _Tensor, widths: Mapping[str, int]) -> int:
    return widths[tensor.width] * tensor.bytes


def _size(tensor: _Tensor, widths: Mapping[str, int] | None) -> str:
    if widths:
        return f"{_bytes(tensor, widths):,}"
    return f"{tensor.width} × {'fp32' if tensor.bytes == 4 else 'bf16'}"


def _row(axes: Axes, middle: float, groups: tuple[str, str], steps: tuple[str, str, str],
         widths: Mapping[str, int] | None) -> None:  # fmt: skip
    """Norm, layers, what joins them, the last layer and the sum; under the arrows what is kept."""
    places = (("norm", 1.0, 0.75), (steps[0], 3.1, 0.9), (steps[1], 4.9, 1.05), (steps[2], 6.05, 0.55))
    words(axes, (0.25, middle), "x", "on", fontweight="bold", bbox=None)
    before: Spot = (0.4, middle)
    for name, left, width in places:
        box = step(axes, (left, middle), name, width)
        arrow(axes, before, box.left)
        before = box.right
    plus = node(axes, (6.85, middle), "+")
    arrow(axes, before, plus.left)
    above = middle + 0.34
    arrow(axes, (0.25, middle + 0.13), (0.25, above), (plus.top[0], above), plus.top)  # past all of them
    _list(axes, (0.2, middle - 0.28), groups[0].split()[0], _GROUPS[groups[0]], widths)
    _list(axes, (3.7, middle - 0.28), groups[1], _GROUPS[groups[1]], widths)


def _list(axes: Axes, corner: Spot, name: str, tensors: tuple[_Tensor, ...], widths: Mapping[str, int] | None) -> None:
    left, top = corner
    matrix(axes, (left + 1.55, top - 0.62), (1.22, 3.1), _KEPT)
    said = f"kept by the {name}"
    if widths:
        said += f": {sum(_bytes(tensor, widths) for tensor in tensors):,} bytes"
    words(axes, (left + 0.02, top - 0.14), said, "right", _KEPT, fontsize=10, fontweight="bold")
    for row, tensor in enumerate(tensors):
        foot = top - 0.41 - 0.19 * row  # of "output" and of its size, which has no p
        words(axes, (left + 0.02, foot), tensor.what, "right", fontsize=10, va="baseline")
        words(axes, (left + 3.04, foot), _size(tensor, widths), "left", fontsize=10, va="baseline")


def checkpointing_schematic(layers: int = 6) -> Drawing:
    """What lies in memory when the backward pass stands at a layer, without and with checkpointing.

    Args:
        layers: how many are drawn, 2 to 8.

    Returns:
        The figure and its alt text.

    Raises:
        TypeError, ValueError: for another number of layers.
    """
    layers = ranges.whole("layers", layers, 2, 8)
    fig, axes = canvas(7.2, 3.6, "Checkpointing: keep the doors, make the rooms again")
    _layers(axes, 2.35, "without", ["full"] * (layers - 1) + ["full"], layers)
    now = layers - 2
    rooms = ["empty"] * now + ["again"] + ["gone"] * (layers - now - 1)
    _layers(axes, 0.85, "with", rooms, layers)
    words(axes, (1.05, 0.22), "a bar: the hidden states that enter a layer · a filled box: all that it keeps", "right",
          fontsize=10)  # fmt: skip
    return Drawing(
        fig,
        f"{layers} layers in a row. Without checkpointing each keeps all that its forward pass made, until the "
        "backward pass, which goes from the last layer to the first, has passed. With checkpointing each keeps only "
        "the hidden states that enter it; when the backward pass arrives, it repeats that layer's forward pass from "
        "them, uses what it made, and lets it go.",
    )


def _layers(axes: Axes, middle: float, name: str, rooms: list[str], layers: int) -> None:
    words(axes, (0.08, middle), name, "right", fontweight="bold", fontsize=10)
    each = 5.9 / layers
    for number, room in enumerate(rooms):
        left = 1.0 + each * number
        look = _KEPT if room in ("full", "again") else _EMPTY
        matrix(axes, (left + 0.5 * each, middle), (0.62, each - 0.24), look)
        if room != "gone":
            axes.plot([left + 0.06] * 2, [middle - 0.36, middle + 0.36], color=COMPONENT_COLOURS["activations"], lw=5)
        said = {"full": "kept", "again": "made\nagain", "gone": "done", "empty": ""}[room]
        words(axes, (left + 0.5 * each, middle), said, "on", PLAIN, fontsize=10, bbox=None)
        if room == "again":
            start = (left + each + 0.5, middle + 0.56)
            arrow(axes, start, (left + 0.5 * each, middle + 0.56), color=POINT)
            words(axes, start, "backward", "right", fontsize=10)
