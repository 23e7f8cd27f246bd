"""A figure about adapters: what single runs scored."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from lora_lab.show.drawing import INK
from lora_lab.show.figures import CONTEXT, POINT, figure
from lora_lab.show.inputs import filled, named, numbers


_MARKS = "os^"


def runs(scores: Mapping[str, Sequence[float]], point: str, title: str | None = None, xlabel: str = "score") -> None:
    """One mark per seed, one row per method with its mean beside it, the first at the bottom.

    Seed 0 of every method has the same mark, and so on, so that runs of one seed can be compared.

    Args:
        scores: shares from 0 to 1 for seed 0, 1, …, by the name of the method.
        point: the method that the figure is about.
        title: the finding, in place of one that says what is better than `point`, by the means.
        xlabel: what is scored.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("scores", scores)
    named("point", point, scores)
    for name, values in scores.items():
        numbers(f"scores of {name}", values)
    means = {name: sum(values) / len(values) for name, values in scores.items()}
    title = title or _who_is_better(means, point)
    fig, axis = plt.subplots(figsize=(7.2, 1.2 + 0.45 * len(scores)))
    for row, (name, values) in enumerate(scores.items()):
        color = POINT if name == point else CONTEXT
        for value, mark in zip(values, itertools.cycle(_MARKS)):
            axis.scatter(100 * value, row, s=90, alpha=0.7, color=color, marker=mark, clip_on=False, linewidths=0)
        read = POINT if name == point else INK  # from afar, unlike a mark
        axis.annotate(f"{means[name]:.0%}", (1.02, row), xycoords=("axes fraction", "data"), va="center", color=read)
    axis.annotate("mean", (1.02, len(scores) - 0.5), xycoords=("axes fraction", "data"), fontsize=10, color=INK)
    seeds = [Line2D([], [], linestyle="", marker=mark, markersize=9, color=CONTEXT, label=f"seed {seed}")
             for seed, mark in zip(range(max(map(len, scores.values()))), itertools.cycle(_MARKS))]  # fmt: skip
    fig.legend(handles=seeds, loc="outside lower right", ncols=len(seeds), fontsize=10)
    axis.set_yticks(range(len(scores)), list(scores))
    axis.set(xlim=(-4, 104), ylim=(-0.6, len(scores) - 0.4), xlabel=f"{xlabel} (%)")
    fig.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=13)
    said = ", ".join(f"{name} {mean:.0%}" for name, mean in means.items())
    figure(
        fig,
        alt=f"{title}. {xlabel}, means over the seeds: {said}.",
    )


def _who_is_better(means: Mapping[str, float], point: str) -> str:
    better = [name for name, mean in means.items() if mean > means[point]]
    right = f"On average {point} gets {means[point]:.0%} right"
    if not better:
        return f"{right}, more than all {len(means) - 1} others"
    return f"{right}; only {better[0]} gets more" if len(better) == 1 else f"{right}; more: {', '.join(better)}"
