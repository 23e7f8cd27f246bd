"""Pictures of block-wise 4-bit storage: what becomes of a block, and how weights lie in theirs.

show.figure(*show.block_schematic(64))
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from lora_lab import ranges
from lora_lab.show.drawing import PLAIN, TRAINED, Drawing, arrow, canvas, matrix, node, shape, words
from lora_lab.show.figures import BLUE, CONTEXT, DARK, POINT
from lora_lab.show.inputs import filled, numbers


def block_schematic(size: int = 64, levels: int = 16) -> Drawing:
    """A block of weights on its way into codes and one constant, and back.

    Args:
        size: weights of the block.
        levels: how many the table has, 2 to 256.

    Returns:
        The figure and its alt text.

    Raises:
        TypeError, ValueError: for sizes that are no whole numbers, or out of range.
    """
    size, levels = ranges.whole("size", size, 2), ranges.whole("levels", levels, 2, 256)
    bits = (levels - 1).bit_length()
    fig, axes = canvas(7.2, 3.7, f"What is stored of a block: {size} codes of {bits} bits, and one constant")
    high, low = 2.55, 0.95
    w = matrix(axes, (0.75, high), (0.36, 1.1))
    divide = node(axes, (2.0, high), "÷")
    scaled = matrix(axes, (3.2, high), (0.36, 1.1))
    codes = matrix(axes, (6.1, high), (0.36, 1.1), TRAINED)
    table = matrix(axes, (4.7, (high + low) / 2), (0.36, 1.5))
    constant = matrix(axes, (2.0, (high + low) / 2), (0.3, 0.3), TRAINED)
    times = node(axes, (2.0, low), "×")
    back = matrix(axes, (3.2, low), (0.36, 1.1))
    restored = matrix(axes, (0.75, low), (0.36, 1.1))
    arrow(axes, w.right, divide.left)
    arrow(axes, divide.right, scaled.left)
    arrow(axes, scaled.right, codes.left)
    arrow(axes, constant.top, divide.bottom)
    arrow(axes, constant.bottom, times.top)
    arrow(axes, codes.bottom, (codes.bottom[0], low), back.right)
    arrow(axes, back.left, times.right)
    arrow(axes, times.left, restored.right)
    arrow(axes, table.top, (table.top[0], high))  # both ways read the table
    arrow(axes, table.bottom, (table.bottom[0], low))
    words(axes, w.top, f"weights {shape(size)}")
    words(axes, scaled.top, "in [−1, 1]")
    words(axes, codes.top, f"codes {shape(size)}\n{bits} bits each")
    words(axes, constant.left, "absmax\nstored", "left", TRAINED)
    words(axes, (4.68, high), "nearest level", "above")
    words(axes, table.centre, f"table of {levels} levels", "on", PLAIN, fontsize=10)
    words(axes, (4.68, low), "look up", "below")
    words(axes, back.bottom, "levels", "below")
    words(axes, restored.bottom, "restored", "below")
    words(axes, codes.right, "stored", "right", TRAINED)
    return Drawing(
        fig,
        f"A block of {size} weights is divided by its absmax, so all lie from −1 to 1. Each goes to the nearest of "
        f"a table's {levels} levels, whose place in the table is its code of {bits} bits. Stored are {size} codes and "
        "absmax. Back: each code is looked up in the table, and the level is multiplied by absmax.",
    )


def weight_histograms(counts: Mapping[str, Sequence[float]], captions: Mapping[str, str] | None = None) -> Drawing:
    """How weights lie in their blocks: a panel for each model, its bars inside half the absmax in colour.

    Args:
        counts: model -> how many weights are in each cell of equal width from -1 to 1.
        captions: model -> words below its name.

    Returns:
        The figure and its alt text; the title says which share lies inside half of the absmax.

    Raises:
        TypeError, ValueError: for nothing to draw, or counts that are no finite numbers.
    """
    filled("counts", counts, most=3)
    fig, line = plt.subplots(1, len(counts), figsize=(7.2, 3.5), sharey=True, squeeze=False)
    said = []
    for (name, values), axes in zip(counts.items(), line[0], strict=True):
        numbers(f"counts of {name}", values)
        total, cells = float(sum(values)), len(values)
        centres = [(2 * cell + 1) / cells - 1 for cell in range(cells)]
        inside = sum(value for centre, value in zip(centres, values) if abs(centre) < 0.5) / total
        colours = [POINT if abs(centre) < 0.5 else CONTEXT for centre in centres]
        axes.bar(centres, [100 * value / total for value in values], width=2 / cells, color=colours)
        axes.set_title(
            f"{name}\n{(captions or {}).get(name, '')}".strip(), fontsize=11, fontweight="normal", loc="center"
        )
        axes.set_xlabel("weight ÷ absmax" + (" of its block" if len(counts) < 3 else ""))
        said.append(f"{name} {inside:.0%}")
    line[0][0].set_ylabel(f"% of the weights, in {cells} cells")
    title = f"Below ½ absmax: {', '.join(said)}"
    fig.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return Drawing(
        fig, f"Histograms of weights divided by the largest magnitude of their block. {title} of the weights."
    )


def usage_bars(shares: Mapping[str, Sequence[float]]) -> Drawing:
    """How often each code of a table is used, a row of bars for each case; a line where all would be equal.

    Args:
        shares: case -> the share of every code, in their order.

    Returns:
        The figure and its alt text; the title says the least and the most of the first case.

    Raises:
        TypeError, ValueError: for nothing to draw, or shares that are no finite numbers.
    """
    filled("shares", shares, most=3)
    size = (7.2, 1.1 + 1.25 * len(shares))
    fig, rows = plt.subplots(len(shares), 1, figsize=size, sharex=True, sharey=True, squeeze=False)
    said = []
    for number, ((name, values), axes) in enumerate(zip(shares.items(), rows[:, 0], strict=True)):
        numbers(f"shares of {name}", values)
        axes.bar(range(len(values)), [100 * float(value) for value in values], color=BLUE if number else POINT)
        axes.axhline(100 / len(values), color=DARK, linestyle="--", linewidth=1.2)
        axes.set_xticks(range(len(values)))
        axes.set_ylabel("% of weights")
        axes.set_title(name, fontsize=11, fontweight="normal", pad=4)
        said.append(f"{name}: {float(min(values)):.1%} to {float(max(values)):.1%}")
    rows[-1, 0].set_xlabel(f"code (dashed: all {len(values)} used equally)")
    fig.suptitle(f"The codes are used from {said[0].split(': ')[1]}", x=0.01, ha="left", fontsize=13, fontweight="bold")
    return Drawing(
        fig, f"Bars of how often each code is used. {'; '.join(said)}. Equal use would be {1 / len(values):.2%}."
    )
