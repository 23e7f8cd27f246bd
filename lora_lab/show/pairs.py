"""Runs that were made alike but for one thing, compared pair by pair.

difference = show.paired(qlora, lora, show.STUDENT[len(lora)])
show.figure(*show.against({"new facts": {"QLoRA": (qlora, lora)}}, "LoRA"))
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lora_lab.show.drawing import INK, Drawing
from lora_lab.show.figures import BLUE, CONTEXT, POINT
from lora_lab.show.inputs import filled, numbers

Pair = tuple[Sequence[float], Sequence[float]]

STUDENT = {
    2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262,
}  # fmt: skip
"""Number of pairs → Student's t, beyond which 5 % of such means would lie, both ends together."""


class Difference(NamedTuple):
    """The mean of some differences, and how far the true one may lie from it: half of a 95 % interval."""

    mean: float
    half: float


def paired(ours: Sequence[float], theirs: Sequence[float], t: float) -> Difference:
    """The mean difference of pairs, and t · s / √n with s the standard deviation of the differences.

    Args:
        ours, theirs: one score for each seed, in the same order, at least two.
        t: Student's for that many pairs, as `STUDENT` has it.

    Raises:
        TypeError, ValueError: for scores that are no finite numbers, lists of unequal length, or a single pair.
    """
    numbers("ours", ours)
    numbers("theirs", theirs, len(ours))
    if len(ours) < 2:
        raise ValueError("one pair has no spread: give the scores of two seeds or more")
    differences = [a - b for a, b in zip(ours, theirs)]
    n = len(differences)
    mean = sum(differences) / n
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1))
    return Difference(mean, t * deviation / math.sqrt(n))


def against(
    panels: Mapping[str, Mapping[str, Pair]],
    baseline: str,
    point: str | None = None,
    *,
    unit: str = "points",
    title: str | None = None,
) -> Drawing:
    """How far each run lies from a baseline: a dot for each seed's difference, a bar for the 95 % interval of the mean.

    All panels have one scale; n is the number of pairs.

    Args:
        panels: task → run → (its scores, the baseline's), of the same seeds in the same order.
        baseline: what was subtracted, in a word.
        point: the run that the figure is about, by default the first; the title gives its intervals.
        unit: of the differences: "points" multiplies shares by 100; any other word is taken as it is.
        title: in place of that one.

    Raises:
        TypeError, ValueError: for nothing to draw, or as `paired`.
        KeyError: for more pairs than `STUDENT` knows.
    """
    filled("panels", panels)
    runs = list(dict.fromkeys(run for pairs in panels.values() for run in pairs))
    filled("runs", runs)
    point = runs[0] if point is None else point
    height = 1.6 + 0.42 * len(runs)
    fig, axes = plt.subplots(1, len(panels), figsize=(7.6, height), sharex=True, sharey=True, squeeze=False,
                             layout="constrained")  # fmt: skip
    scale = 100 if unit == "points" else 1
    told, stated = [], []
    for panel, (task, pairs) in zip(axes[0], panels.items()):
        panel.axvline(0, color=INK, linewidth=1)
        for run, (ours, theirs) in pairs.items():
            found = paired(ours, theirs, STUDENT[len(ours)])
            dots = [scale * (a - b) for a, b in zip(ours, theirs)]
            found = Difference(scale * found.mean, scale * found.half)
            _row(panel, runs.index(run), dots, found, POINT if run == point else CONTEXT)
            spot = {"ha": "right", "va": "center", "transform": panel.get_yaxis_transform()}
            panel.text(0.99, runs.index(run) - 0.32, f"n = {len(ours)}", fontsize=10, color=INK, **spot)
            told.append(f"{task}, {run}: {_said(found, scale)} ({len(ours)} seeds)")
            if run == point:
                stated.append(_said(found, scale))
        panel.set_title(task, fontsize=12, fontweight="normal")
        panel.set(ylim=(len(runs) - 0.5, -0.5), xlabel=f"{unit} more than {baseline}")
        panel.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(runs)), runs)
    dot = Line2D([], [], linestyle="", marker="o", markersize=6, color=BLUE, alpha=0.6, label="a seed's difference")
    bar = Line2D([], [], color=CONTEXT, linewidth=5, label="mean, 95 % interval", marker="|", markersize=12,
                 markeredgecolor=INK)  # fmt: skip
    fig.legend(handles=[dot, bar], loc="outside lower right", ncols=2, fontsize=10)
    title = title or f"{point} against {baseline}: {' and '.join(stated)} {unit}"
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=13)
    what = f"Differences from {baseline} in {unit}, seed by seed, with the mean and its 95 % interval"
    return Drawing(fig, f"{title}. {what}. {'; '.join(told)}.")


def _row(axes: Axes, row: int, dots: Sequence[float], found: Difference, colour: str) -> None:
    ends = [found.mean - found.half, found.mean + found.half]
    axes.plot(ends, [row, row], color=colour, linewidth=6, alpha=0.55, solid_capstyle="butt", zorder=2)
    axes.plot([found.mean] * 2, [row - 0.24, row + 0.24], color=INK, linewidth=2, zorder=4)
    axes.plot(dots, [row] * len(dots), "o", color=BLUE, alpha=0.6, markersize=6, zorder=3)


def _said(found: Difference, scale: float) -> str:
    digits = 0 if scale == 100 else 2
    return f"{found.mean:+.{digits}f} ± {found.half:.{digits}f}".replace("-", "−")
