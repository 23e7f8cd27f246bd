"""Pictures of kernels: what passes over memory move, the roofline, and a loop beside many programs."""

from collections.abc import Mapping

import matplotlib.pyplot as plt

from lora_lab import ranges
from lora_lab.show.drawing import PLAIN, TRAINED, Drawing, arrow, canvas, matrix, words
from lora_lab.show.figures import BLUE, CONTEXT, DARK, POINT
from lora_lab.show.inputs import filled, named, numbers
from lora_lab.units import GB


def passes_schematic(passes: Mapping[str, tuple[float, float]], one: tuple[float, float]) -> Drawing:
    """Bytes that go from memory and to it for one weight: in several passes, and in one.

    Args:
        passes: by name, the bytes read and written for each weight, in the order in which they run; six at most.
        one: the same for a single pass that does it all.

    Returns:
        The figure and its alt text, which holds every number.

    Raises:
        TypeError, ValueError: for no passes, more than six, or what is no number of bytes.
    """
    filled("passes", passes, most=6)
    for name, moved in {**passes, "one": one}.items():
        numbers(name, moved, 2)
    total = tuple(sum(side) for side in zip(*passes.values()))
    rows = {**passes, "together": total, "all in one pass": one}
    title = f"{_bytes(total)} bytes for a weight in {len(passes)} passes, {_bytes(one)} in one"
    fig, axes = canvas(7.2, 1.2 + 0.5 * len(rows), title)
    inch = 3.9 / sum(total)
    for row, (name, (read, written)) in enumerate(rows.items()):
        y = 0.5 * (len(rows) - row) - 0.15
        words(axes, (1.95, y), name, "left", fontweight="bold" if name == "all in one pass" else "normal")
        axes.barh(y, read * inch, left=2.0, height=0.28, color=BLUE, edgecolor="white")
        axes.barh(y, written * inch, left=2.0 + read * inch, height=0.28, color=POINT, edgecolor="white")
        words(axes, (2.0 + (read + written) * inch, y), _bytes((read, written)), "right", fontsize=10)
    axes.axhline(0.5 * 2 + 0.1, color=CONTEXT, linewidth=0.8)  # what follows is their sum
    top = 0.5 * len(rows) + 0.25
    words(axes, (2.0, top), "read", "right", fontsize=10, color=BLUE, fontweight="bold")
    words(axes, (2.5, top), "written", "right", fontsize=10, color=POINT, fontweight="bold")
    words(axes, (3.3, top), "bytes for each weight", "right", fontsize=10)
    said = [f"{name} reads {read:g} and writes {written:g}" for name, (read, written) in rows.items()]
    return Drawing(fig, f"{title}. {'; '.join(said)}.")


def _bytes(moved: tuple[float, ...]) -> str:
    return f"{sum(moved):.1f}"


def program_schematic(blocks: int = 6) -> Drawing:
    """A loop that walks over the blocks, and beside it one program for each block, which knows only its number.

    Args:
        blocks: how many to draw, from 3 to 8.

    Raises:
        TypeError, ValueError: for another number.
    """
    blocks = ranges.whole("blocks", blocks, 3, 8)
    fig, axes = canvas(7.2, 3.1, "A loop has an order; programs have only their numbers")
    for side, (start, title) in enumerate(((0.35, "one worker, a loop"), (3.95, "many workers, a program"))):
        step = 2.9 / blocks
        spots = [start + step * (block + 0.5) for block in range(blocks)]
        words(axes, (start + 1.45, 2.42), title, "on", fontweight="bold")
        boxes = [matrix(axes, (x, 0.75), (0.34, step * 0.82), PLAIN) for x in spots]
        for block, box in enumerate(boxes):
            words(axes, box.bottom, f"{block}", "below", fontsize=10)
        if side == 0:
            worker = matrix(axes, (spots[0], 1.7), (0.4, 0.34), TRAINED)
            arrow(axes, worker.bottom, boxes[0].top)
            for here, there in zip(boxes, boxes[1:]):
                arrow(axes, (here.centre[0], 1.2), (there.centre[0], 1.2))
            words(axes, (start + 0.75, 1.72), "for block in range(...)", "right", fontsize=10)
        else:
            for block, box in enumerate(boxes):
                worker = matrix(axes, (box.centre[0], 1.7), (0.4, 0.34), TRAINED)
                words(axes, worker.centre, f"{block}", "on", fontsize=10)
                arrow(axes, worker.bottom, box.top)
    words(axes, (3.6, 0.2), "blocks of codes, each with its constant", "on", fontsize=10)
    return Drawing(
        fig,
        f"Left: one worker, who goes through {blocks} blocks of codes in their order, for block in range(...). Right: "
        f"{blocks} workers with the numbers 0 to {blocks - 1}, each with an arrow to the one block of its number, "
        "in no order.",
    )


def roofline(bandwidth: float, peak: float, dots: Mapping[str, tuple[float, float]], point: str, title: str) -> Drawing:
    """What memory and arithmetic allow, min(peak, bandwidth · intensity), and what was measured under it.

    Args:
        bandwidth: bytes a second.
        peak: operations a second.
        dots: by name, operations for each byte, and operations a second; eight at most.
        point: the name of the one that the figure is about.
        title: the finding.

    Returns:
        The figure and its alt text, which holds every number.

    Raises:
        TypeError, ValueError: for no dots, or values that are no numbers above 0.
    """
    bandwidth, peak = ranges.real("bandwidth", bandwidth, above=0), ranges.real("peak", peak, above=0)
    filled("dots", dots, most=8)
    named("point", point, dots)
    for name, dot in dots.items():
        numbers(name, dot, 2)
        for value in dot:
            ranges.real(name, value, above=0)
    ridge = peak / bandwidth
    left = min(ridge, *(dot[0] for dot in dots.values())) / 3
    right = max(ridge, *(dot[0] for dot in dots.values())) * 8  # room for a name
    fig, axes = plt.subplots(figsize=(7.2, 4.6))
    axes.plot([left, ridge, right], [left * bandwidth / 1e9, peak / 1e9, peak / 1e9], color=CONTEXT)
    on_slope = (left * ridge) ** 0.5
    axes.text(on_slope, on_slope * bandwidth / 1e9 * 1.4, f"{bandwidth / GB:.0f} GB a second", color=DARK, ha="right")
    axes.text(right / 1.1, peak / 1e9 * 1.12, f"{peak / 1e9:.0f} billion operations a second", color=DARK, ha="right")
    said = []
    for name, (intensity, speed) in dots.items():
        colour = POINT if name == point else BLUE
        axes.plot(intensity, speed / 1e9, "o", color=colour, markersize=8, zorder=6)
        label = axes.annotate(
            name, (intensity, speed / 1e9), (9, -14), textcoords="offset points", color=colour, fontsize=10
        )
        label.set_bbox({"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1})
        if name == point:  # how far it is from what it could be
            axes.plot([intensity] * 2, [speed / 1e9, min(peak, bandwidth * intensity) / 1e9], ":", color=colour)
        share = speed / min(peak, bandwidth * intensity)
        said.append(f"{name}: {intensity:.3g} operations a byte, {speed / 1e9:.3g} billion a second, {share:.0%} of it")
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(left, right),
        ylim=(min(speed for _, speed in dots.values()) / 4e9, peak / 1e9 * 2),
    )
    axes.set(xlabel="operations for each byte moved", ylabel="billion operations a second")
    axes.set_title(title)
    return Drawing(
        fig,
        f"{title}. A roof that rises with {bandwidth / GB:.1f} GB a second up to {ridge:.1f} operations a byte and is "
        f"flat from there at {peak / 1e9:.0f} billion operations a second. {'; '.join(said)}.",
    )
