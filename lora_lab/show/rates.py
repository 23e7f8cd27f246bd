"""Figures about rank, alpha and learning rate: the knobs, and where the best rate lies."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from lora_lab import ranges
from lora_lab.show.drawing import INK, PLAIN, TRAINED, Drawing, arrow, canvas, matrix, node, shape, words
from lora_lab.show.figures import BLUE, CONTEXT, POINT
from lora_lab.show.inputs import filled, numbers

_MARKS = ("s", "o", "D", "^")


def scaling_schematic(d_out: int, d_in: int, r: int, rates: tuple[str, str] = ("η", "η")) -> Drawing:
    """The second path of a LoRA layer and what turns it: rank, two rates and a scale.

    Args:
        d_out, d_in, r: the shapes, at least 1.
        rates: the words for the rates of A and of B.

    Returns:
        The figure and its alt text.

    Raises:
        TypeError, ValueError: for sizes that are no whole numbers from 1.
    """
    d_out, d_in, r = ranges.whole("d_out", d_out), ranges.whole("d_in", d_in), ranges.whole("r", r)
    fig, axes = canvas(7.2, 3.5, "Three knobs turn one update: the rank, the scale, the rate")
    inch, middle = 1.5 / max(d_out, d_in), 1.75
    x = matrix(axes, (0.5, middle), (d_in * inch, 0))
    A = matrix(axes, (1.95, middle), (r * inch, d_in * inch), TRAINED)
    B = matrix(axes, (3.95, middle), (d_out * inch, r * inch), TRAINED)
    times = node(axes, (5.25, middle), "×")
    end = (6.05, middle)
    arrow(axes, x.right, A.left)
    arrow(axes, A.right, B.left)
    arrow(axes, B.right, times.left)
    arrow(axes, times.right, end)
    words(axes, x.top, f"x {shape(d_in)}")
    words(axes, A.top, f"A {shape(r, d_in)}", "above", TRAINED, fontweight="bold")
    words(axes, B.top, f"B {shape(d_out, r)}", "above", TRAINED, fontweight="bold")
    words(axes, A.bottom, f"random, moved\nby the rate {rates[0]}", "below", TRAINED)
    words(axes, B.bottom, f"zero, moved\nby the rate {rates[1]}", "below", TRAINED)
    words(axes, times.top, "scale s", "above", fontweight="bold")
    words(axes, times.bottom, "a constant:\nα/r or α/√r", "below")
    words(axes, end, "ΔW x", "right")
    words(axes, ((A.right[0] + B.left[0]) / 2, middle), f"A x {shape(r)}\nr numbers", "above")
    return Drawing(
        fig,
        f"The path x {shape(d_in)} → A {shape(r, d_in)} → A x {shape(r)} → B {shape(d_out, r)} → times the scale s → "
        f"ΔW x. A starts random and moves by the rate {rates[0]}, B starts at zero and moves by the rate {rates[1]}; "
        "the scale is a constant, α/r or α/√r. The rank r is how many numbers pass between A and B.",
    )


def first_step_schematic(scales: Mapping[str, Mapping[int, float]]) -> Drawing:
    """How far Adam's first step moves an output: a bar of r blocks, each as long as the scale s.

    Each number of B moves by the rate η, so each of the r terms of an output moves by s · η times a number of A x.

    Args:
        scales: rule -> rank -> s, with the same ranks for every rule.

    Returns:
        The figure, whose title says how far the largest rank moves beside the smallest, and its alt text, which names
        the length of every bar beside that of the smallest rank.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or rules with different ranks.
    """
    filled("scales", scales, most=4)
    bars = []
    for rule, by_rank in scales.items():
        filled(f"ranks of {rule}", by_rank, most=3)
        numbers(f"scales of {rule}", list(by_rank.values()))
        bars += [(rule, ranges.whole("r", r), by_rank[r], r == min(by_rank)) for r in sorted(by_rank)]
    if len({frozenset(by_rank) for by_rank in scales.values()}) > 1:
        raise ValueError("the rules have different ranks: give every rule a scale for the same ones")
    inch = 4.2 / max(r * s for _, r, s, _ in bars)
    height = 0.36 * len(bars) + 0.18 * len(scales)
    fig, axes = canvas(7.2, height + 0.55, _first_step_title(scales))
    top, said, shortest = height + 0.2, [], 1.0
    for rule, r, s, first in bars:
        top -= 0.54 if first else 0.36  # a gap before each rule
        shortest = r * s if first else shortest
        look = PLAIN if first else TRAINED
        for term in range(r):
            corner = (1.75 + inch * s * term, top - 0.12)
            axes.add_patch(Rectangle(corner, inch * s, 0.24, facecolor=look.face, edgecolor=look.edge, linewidth=1))
        longer = f"{r * s / shortest:g} times as long"
        words(axes, (1.7, top), f"r = {r}", "left")
        if first:
            words(axes, (0.1, top - 0.18), rule, "right", fontweight="bold")
        else:
            words(axes, (1.75 + inch * s * r, top), f"× {r * s / shortest:g}", "right", TRAINED, fontweight="bold")
        said.append(f"{rule}, r = {r}: {r} blocks of {s:g}{'' if first else f', {longer}'}")
    return Drawing(fig, f"An output of a layer as a bar of r blocks, each as long as the scale s. {'; '.join(said)}.")


def _first_step_title(scales: Mapping[str, Mapping[int, float]]) -> str:
    ranks = sorted(next(iter(scales.values())))
    low, high = ranks[0], ranks[-1]
    times = [f"{high * by_rank[high] / (low * by_rank[low]):g}" for by_rank in scales.values()]
    listed = " or ".join(part for part in (", ".join(times[:-1]), times[-1]) if part)
    return f"Adam's first step at rank {high}: {listed} times as far as at rank {low}"


def rate_curves(panels: Mapping[str, Mapping[int, Mapping[float, float]]], title: str | None = None) -> Drawing:
    """Validation loss over the learning rate: a panel per rule of scaling, a line per rank, its lowest point marked.

    Args:
        panels: rule -> rank -> rate -> loss.
        title: in place of one that says how far the best rate moves from the smallest rank to the largest.

    Returns:
        The figure and its alt text, which names the best rate of every rank.

    Raises:
        TypeError, ValueError: for nothing to draw, or values that are no finite numbers.
    """
    filled("panels", panels, most=4)
    size = (2.5 * len(panels) + 1.2, 4.3)
    fig, row = plt.subplots(1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False)
    said, moves, colours = [], [], (BLUE, CONTEXT, POINT, INK)
    for axes, (rule, ranks) in zip(row[0], panels.items()):
        filled(f"ranks of {rule}", ranks, most=len(_MARKS))
        bests = {}
        for (r, losses), colour, mark in zip(sorted(ranks.items()), colours, _MARKS):
            numbers(f"losses at rank {r}", list(losses.values()))
            rates = sorted(losses)
            best = bests[r] = min(rates, key=lambda rate: losses[rate])
            axes.plot(
                rates, [losses[rate] for rate in rates], marker=mark, markersize=5, color=colour, label=f"r = {r}"
            )
            size_of_best = 21 - 4 * len(bests)  # each smaller than the one before, which stays visible under it
            axes.plot(
                best, losses[best], marker=mark, markersize=size_of_best, color=colour, markeredgecolor=INK, zorder=4
            )
        said.append(f"{rule}: " + ", ".join(f"rank {r} at {rate:g}" for r, rate in bests.items()))
        move = bests[max(bests)] / bests[min(bests)]
        moves.append(f"{f'× {move:g}' if move >= 1 else f'÷ {1 / move:g}'} ({rule})")
        axes.set(xscale="log", yscale="log", xlabel="learning rate")
        axes.set_title(rule, fontsize=12)
        axes.minorticks_off()
    every = sorted({rate for ranks in panels.values() for losses in ranks.values() for rate in losses})
    row[0][0].set_xticks(every, [f"{rate:g}" for rate in every])
    for axes in row[0]:
        plt.setp(axes.get_xticklabels(), fontsize=11, rotation=45, ha="right", rotation_mode="anchor")
    title = title or f"The best rate moves from rank {min(bests)} to {max(bests)}: {', '.join(moves)}"
    lowest, highest = row[0][0].get_ylim()
    levels = [level for level in (0.1, 0.2, 0.5, 1, 2, 5, 10) if lowest <= level <= highest]
    row[0][0].set_yticks(levels, [f"{level:g}" for level in levels])
    row[0][0].set_ylabel("loss on validation")
    row[0][-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    fig.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return Drawing(fig, f"{title}. The rate of least validation loss, with scale {'; '.join(said)}.")
