"""Pictures of a layer over a four-bit weight: what both passes make and drop, and what restoring costs in time."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from lora_lab import ranges
from lora_lab.show.drawing import FROZEN, INK, TRAINED, Box, Drawing, arrow, canvas, matrix, node, shape, words
from lora_lab.show.figures import BLUE, POINT
from lora_lab.show.inputs import filled, numbers


def qlora_schematic(d_out: int, d_in: int, r: int) -> Drawing:
    """Both passes of a QLoRA layer: the codes stay, the weight is restored for each product and dropped again.

    Args:
        d_out, d_in, r: the shapes, at least 1.

    Returns:
        The figure and its alt text, which holds the shapes.

    Raises:
        TypeError, ValueError: for sizes that are no whole numbers from 1.
    """
    d_out, d_in, r = ranges.whole("d_out", d_out), ranges.whole("d_in", d_in), ranges.whole("r", r)
    fig, axes = canvas(7.2, 4.9, "The codes stay; the weight is made twice and dropped twice")
    forward, middle, back, small = 3.35, 2.1, 0.8, 4.15
    stored = matrix(axes, (3.0, middle), (0.62, 2.9), FROZEN)
    words(axes, stored.centre, f"codes, constants\nof {shape(d_out, d_in)}", "on", FROZEN)
    words(axes, stored.right, "frozen, always there", "right", FROZEN)
    made = [_dashed(axes, (3.0, height)) for height in (forward, back)]
    words(axes, made[0].centre, f"Ŵ {shape(d_out, d_in)}", "on")
    words(axes, made[1].centre, "Ŵ once more", "on")
    arrow(axes, stored.top, made[0].bottom)
    arrow(axes, stored.bottom, made[1].top)
    for height in ((stored.top[1] + made[0].bottom[1]) / 2, (stored.bottom[1] + made[1].top[1]) / 2):
        words(axes, (3.05, height), "restore, use, drop", "right", fontsize=10)

    plus = node(axes, (5.6, forward), "+")
    arrow(axes, (1.0, forward), made[0].left)
    arrow(axes, made[0].right, plus.left)
    arrow(axes, plus.right, (6.45, forward))
    words(axes, (1.0, forward), f"x {shape(d_in)}", "left")
    words(axes, (6.45, forward), "y", "right")
    A, B = (matrix(axes, (x, small), (0.34, 0.5), TRAINED) for x in (2.35, 3.65))
    arrow(axes, (1.25, forward), (1.25, small), A.left)
    arrow(axes, A.right, B.left)
    arrow(axes, B.right, (5.6, small), plus.top)
    words(axes, A.centre, "A", "on", TRAINED, fontweight="bold")
    words(axes, B.centre, "B", "on", TRAINED, fontweight="bold")
    words(axes, (3.0, small), f"{r}", "above")
    words(axes, (4.75, small), "trained, times s", "above", TRAINED, fontsize=10)

    arrow(axes, (6.45, back), made[1].right)
    arrow(axes, made[1].left, (1.25, back))
    words(axes, (6.45, back), "∂L/∂y", "right")
    words(axes, (1.25, back), "∂L/∂x", "left")
    words(axes, (5.2, forward - 0.22), "forward", "below", fontweight="bold")
    words(axes, (5.2, back - 0.1), "backward", "below", fontweight="bold")
    note = "A and B get gradients, and add s g B A to ∂L/∂x. The codes get none."
    words(axes, (0.12, 0.2), note, "right", fontsize=10)
    return Drawing(
        fig,
        f"Forward: x {shape(d_in)} meets Ŵ {shape(d_out, d_in)}, restored from frozen codes and constants and dropped "
        f"after the product; beside it the trained A and B with {r} numbers between them, times s; the sum is y. "
        "Backward: ∂L/∂y meets Ŵ, restored once more from the same codes and dropped again, and gives ∂L/∂x. "
        "A and B get gradients, and add s g B A to ∂L/∂x; the codes get none.",
    )


def _dashed(axes: plt.Axes, centre: tuple[float, float]) -> Box:
    """A box for what does not stay."""
    box = Box(centre, 2.0, 0.46)
    corner = (box.left[0], box.bottom[1])
    axes.add_patch(Rectangle(corner, box.width, box.height, facecolor="white", edgecolor=INK, linestyle="--", lw=1.4))
    return box


def slowdown_by_tokens(curves: Mapping[str, Mapping[int, float]], title: str) -> Drawing:
    """Time of a pass over a four-bit base, over that of the same with 16-bit weights, by the tokens in a pass.

    Args:
        curves: by name, tokens → ratio; the first is the point.
        title: the finding.

    Returns:
        The figure and its alt text, which holds every ratio.

    Raises:
        TypeError, ValueError: for nothing to draw, or values that are no finite numbers.
    """
    filled("curves", curves, most=2)
    fig, axes = plt.subplots(figsize=(7.2, 3.9))
    said = []
    axes.axhline(1, color=INK, linewidth=1)
    for (name, points), colour, mark in zip(curves.items(), (POINT, BLUE), "os"):
        filled(name, points)
        numbers(name, list(points.values()))
        tokens = sorted(points)
        ratios = [points[each] for each in tokens]
        axes.plot(tokens, ratios, marker=mark, color=colour, label=name)
        said.append(f"{name}: {', '.join(f'{ratio:.2f} at {each:,}' for each, ratio in zip(tokens, ratios))} tokens")
    axes.set(xscale="log", xlabel="tokens in a pass", ylabel="time ÷ time with 16 bits", ylim=(0, None))
    axes.set_xticks(tokens, [f"{each:,}" for each in tokens])
    axes.minorticks_off()
    axes.set_title(title)
    axes.legend(loc="lower left")
    return Drawing(fig, f"{title}. {'; '.join(said)}.")
