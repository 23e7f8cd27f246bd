"""Schematics: the two paths of a LoRA layer, and the linear layers of a block, as boxes with their shapes.

    show.figure(*show.lora_schematic(4096, 4096, r=16))

A schematic comes with its alt text, because it knows the shapes that it drew.
"""

from matplotlib.axes import Axes

from lora_lab import ranges
from lora_lab.show.drawing import (
    FROZEN,
    INK,
    TRAINED,
    Box,
    Drawing,
    Look,
    arrow,
    canvas,
    matrix,
    node,
    shape,
    words,
)

_LETTER, _TWO_LINES = 0.09, 0.5  # inches: what words need to stand within a box


def lora_schematic(
    d_out: int, d_in: int, r: int, alpha: float | None = None, *, counts: bool = True, title: str | None = None
) -> Drawing:
    """The two paths of a LoRA layer with their shapes: x → W₀ beside x → A → B → · α/r, and their sum.

    Args:
        d_out, d_in: rows and columns of the weight, at least 1.
        r: the rank, at least 1.
        alpha: a number shows the scaling α/r as one too.
        counts: whether the boxes say how many numbers they hold. False leaves that to be guessed.
        title: in place of one that says how many numbers train (or only that two paths add up, without counts).

    Returns:
        The figure and its alt text, which holds the shapes: `show.figure(*show.lora_schematic(192, 512, r=8))`.

    Raises:
        TypeError, ValueError: for sizes that are no whole numbers from 1.
    """
    d_out, d_in, r = ranges.whole("d_out", d_out), ranges.whole("d_in", d_in), ranges.whole("r", r)
    numbers, full = r * (d_in + d_out), d_out * d_in
    scaling = "α/r" if alpha is None else f"α/r = {alpha / r:.3g}"
    if title is None:
        title = f"{numbers:,} numbers train beside {full:,} frozen ones" if counts else "Two paths, and their sum"
    fig, axes = canvas(7.2, 5.0, title)
    inch = 1.6 / max(d_out, d_in, r)  # per row or column of the largest matrix
    above, below = 3.5, 1.35

    x = matrix(axes, (0.5, above), (d_in * inch, 0))
    W = matrix(axes, (3.3, above), (d_out * inch, d_in * inch), FROZEN)
    A = matrix(axes, (2.15, below), (r * inch, d_in * inch), TRAINED)
    u = matrix(axes, (3.32, below), (r * inch, 0))
    B = matrix(axes, (4.5, below), (d_out * inch, r * inch), TRAINED)
    times = node(axes, (5.8, below), "×")
    plus = node(axes, (5.8, above), "+")
    h = matrix(axes, (6.75, above), (d_out * inch, 0))

    fork = (0.95, above)
    arrow(axes, x.right, W.left)
    arrow(axes, W.right, plus.left)
    arrow(axes, plus.right, h.left)
    axes.plot(*fork, "o", color=INK, markersize=5)
    arrow(axes, fork, (fork[0], below), A.left)
    arrow(axes, A.right, u.left)
    arrow(axes, u.right, B.left)
    arrow(axes, B.right, times.left)
    arrow(axes, times.top, plus.bottom)

    words(axes, x.top, f"x {shape(d_in)}")
    words(axes, h.top, f"h {shape(d_out)}")
    words(axes, u.bottom, f"A x {shape(r)}", "below")
    words(axes, times.bottom, scaling, "below", fontsize=12)
    _labelled(axes, W, f"W₀ {shape(d_out, d_in)}", FROZEN, full if counts else None)
    _labelled(axes, A, f"A {shape(r, d_in)}", TRAINED, r * d_in if counts else None)
    _labelled(axes, B, f"B {shape(d_out, r)}", TRAINED, d_out * r if counts else None)
    return Drawing(fig, _lora_alt(d_out, d_in, r, scaling, counts))


def _labelled(axes: Axes, box: Box, name: str, look: Look, count: int | None) -> None:
    """The name and shape above a matrix; in it, or below where it is too thin, how many numbers and their role."""
    words(axes, box.top, name, "above", look, fontweight="bold")
    role = "frozen" if look is FROZEN else "trained"
    said = role if count is None else f"{count:,}\n{role}"
    widest = max(map(len, said.splitlines()))
    if box.width >= _LETTER * (widest + 2) and box.height >= _TWO_LINES:
        words(axes, box.centre, said, "on", look)
    else:
        words(axes, box.bottom, said, "below", look)


def _lora_alt(d_out: int, d_in: int, r: int, scaling: str, counts: bool) -> str:
    frozen, a, b = ((f", {n:,} numbers" if counts else "") for n in (d_out * d_in, r * d_in, d_out * r))
    return (
        f"Two paths from x {shape(d_in)} to h {shape(d_out)}. Above, the frozen W₀ {shape(d_out, d_in)}{frozen}. "
        f"Below, the trained A {shape(r, d_in)}{a}, which gives A x {shape(r)}, then the trained "
        f"B {shape(d_out, r)}{b}, then the factor {scaling}. A sum joins the paths."
    )
