"""Pictures of the constants of blocks: what they weigh, the levels they are rounded to, and what a block size costs."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from torch import Tensor

from lora_lab import ranges
from lora_lab.show.drawing import FROZEN, PLAIN, TRAINED, Drawing, arrow, canvas, matrix, words
from lora_lab.show.figures import CONTEXT, DARK, POINT
from lora_lab.show.inputs import filled, numbers


def double_quantization_schematic(block: int = 64, group: int = 256) -> Drawing:
    """Two floors: a block of weights becomes codes and a constant, a group of constants codes and one of its own.

    Args:
        block: weights of a block, an even number.
        group: constants of a group.

    Returns:
        The figure and its alt text, which holds the bytes of each part.

    Raises:
        TypeError, ValueError: for sizes that are no whole numbers from 2, or an odd block.
    """
    block, group = ranges.whole("block", block, 2), ranges.whole("group", group, 2)
    if block % 2:
        raise ValueError(f"block={block} is odd, and two codes share a byte: give an even number")
    fig, axes = canvas(7.2, 4.5, "Each floor turns numbers into codes and one constant")
    floors = (
        (3.25, f"{block} weights", "a block", f"{block} codes of 4 bits", f"{block // 2} bytes", "largest magnitude"),
        (
            1.35,
            f"{group} constants",
            "a group of blocks",
            f"{group} codes of 8 bits",
            f"{group} bytes",
            "largest offset",
        ),
    )
    for height, given, role, codes, size, constant in floors:
        for cell in range(8):
            box = matrix(axes, (0.32 + 0.2 * cell, height), (0.3, 0.2), PLAIN)
        words(axes, (1.02, height + 0.15), given, "above", fontweight="bold")
        words(axes, (1.02, height - 0.15), role, "below")
        coded = matrix(axes, (3.95, height + 0.42), (0.5, 2.3), FROZEN)
        kept = matrix(axes, (3.95, height - 0.42), (0.5, 2.3), TRAINED)
        for end in (coded, kept):
            arrow(axes, box.right, (2.2, height), (2.2, end.left[1]), end.left)
        words(axes, coded.centre, codes, "on")
        words(axes, kept.centre, f"1 constant: {constant}", "on", fontsize=10)
        words(axes, coded.right, size, "right", fontweight="bold")
        words(axes, kept.right, "4 bytes (fp32)", "right", TRAINED, fontweight="bold")
    x = 6.75
    arrow(axes, (6.5, 2.83), (x, 2.83), (x, 2.2), (1.02, 2.2), (1.02, 1.82))
    words(axes, ((x + 1.02) / 2, 2.2), f"with those of {group - 1} other blocks, less the mean of all", "above")
    words(axes, (0.12, 0.3), "The mean: 4 bytes (fp32), once for the whole matrix.", "right")
    return Drawing(
        fig,
        f"First floor: a block of {block} weights becomes {block} codes of 4 bits, {block // 2} bytes, and one "
        f"constant, the largest magnitude, 4 bytes in fp32. Second floor: {group} such constants, less the mean of "
        f"all, become {group} codes of 8 bits, {group} bytes, and one constant of their own, the largest offset, "
        "4 bytes. The mean is kept once for the matrix, 4 bytes.",
    )


def levels_over_constants(scaled: Tensor, books: Mapping[str, Tensor], title: str) -> Drawing:
    """A histogram of constants on the scale of their group, and under it the levels that they are rounded to.

    Args:
        scaled: float [n], constants less their mean over the largest offset of their group, in [-1, 1].
        books: levels by their map's name, float [levels], ascending.
        title: the finding.

    Returns:
        The figure and its alt text, which counts each map's levels within a tenth of zero.

    Raises:
        TypeError, ValueError: for nothing to draw, or values that are no finite numbers.
    """
    filled("books", books, most=4)
    numbers("scaled", scaled)
    fig, (axes, rows) = plt.subplots(2, 1, figsize=(7.2, 4.4), sharex=True, height_ratios=[2, 0.45 * len(books) + 0.3])
    axes.hist(scaled.numpy(), bins=60, range=(-1, 1), color=CONTEXT)
    axes.set(ylabel="constants")
    axes.set_title(title)
    said = []
    for row, (name, levels) in enumerate(books.items()):
        numbers(name, levels)
        rows.plot(levels, [-row] * len(levels), "|", color=POINT, markersize=15, markeredgewidth=0.8)
        near = int((levels.abs() < 0.1).sum())
        said.append(f"{name} has {near} of {len(levels)} levels within 0.1 of zero")
    rows.set_yticks([-row for row in range(len(books))], list(books))
    rows.tick_params(axis="y", length=0)
    rows.grid(False)
    rows.spines["left"].set_visible(False)
    rows.set(ylim=(0.5 - len(books), 0.5), xlim=(-1.02, 1.02), xlabel="(constant − mean) ÷ the group's largest offset")
    inside = float((scaled.abs() < 0.1).float().mean())
    return Drawing(fig, f"{title}. {'; '.join(said)}, where {inside:.0%} of the constants are.")


def cost_of_bits(
    curves: Mapping[str, Mapping[int, tuple[float, Sequence[float]]]], code_bits: float, title: str, ylabel: str
) -> Drawing:
    """A cost over bits per parameter, a line per way of storing constants: the mean of the texts, and each as a dot.

    Args:
        curves: way → block size → (bits per parameter, the cost on each text); the last way is the point.
        code_bits: of them, the bits of the code. What lies beyond is drawn on a scale that doubles.
        title: the finding.
        ylabel: what is measured, with its unit.

    Returns:
        The figure and its alt text, which holds the mean of every point.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or no bits beyond the code's.
    """
    filled("curves", curves, most=2)
    fig, axes = plt.subplots(figsize=(7.2, 4.4))
    said, styles = [], ((CONTEXT, "s", "--", DARK, 8), (POINT, "o", "-", TRAINED.words, -8))[-len(curves) :]
    for (way, points), (colour, mark, line, ink, away) in zip(curves.items(), styles):
        filled(way, points)
        x, means, words_of = [], [], []
        for block, (bits, values) in sorted(points.items()):
            numbers(f"{way}, blocks of {block}", [bits, *values])
            if bits <= code_bits:
                raise ValueError(f"{way}, blocks of {block}: {bits} bits are not more than the code's {code_bits}")
            x.append(bits - code_bits)
            means.append(sum(values) / len(values))
            axes.plot([x[-1]] * len(values), values, ".", color=colour, alpha=0.35, markersize=5)
            axes.annotate(str(block), (x[-1], means[-1]), (0, away), textcoords="offset points", ha="center",
                          va="bottom" if away > 0 else "top", fontsize=10, color=ink)  # fmt: skip
            words_of.append(f"{means[-1]:.2f} at {bits:.3f} bits (blocks of {block})")
        axes.plot(x, means, line, marker=mark, color=colour, markersize=6, label=way)
        said.append(f"{way}: {', '.join(words_of)}")
    axes.set(xscale="log", xlabel="bits per parameter, constants included", ylabel=ylabel, ylim=(0, None))
    ticks = [
        each for each in (2.0**-power for power in range(-2, 11, 2)) if axes.get_xlim()[0] < each < axes.get_xlim()[1]
    ]
    axes.set_xticks(ticks, [f"{code_bits + each:.4g}" for each in ticks])
    axes.minorticks_off()
    axes.set_title(title)
    axes.legend(loc="upper right")
    return Drawing(fig, f"{title}. {'. '.join(said)}.")
