"""Figures about adapters: what the scale does to a step, and what single runs scored."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from torch import Tensor

from lora_lab.show.figures import CONTEXT, POINT, figure
from lora_lab.show.inputs import filled, named, numbers


_MARKS = "os^"


def moves_by_rank(moves: Mapping[tuple[str, str], Tensor], ranks: Sequence[int], steady: Mapping[tuple[str, str], bool],
                  title: str) -> None:  # fmt: skip
    """How far one optimizer step moves a model, by rank: a panel per optimizer, a line per scaling rule.

    Args:
        moves: by (optimizer, rule): distances [seeds, ranks].
        ranks: of the columns, ascending.
        steady: by the same keys: whether the line is one of those that the figure is about.
        title: the finding.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("moves", moves)
    numbers("ranks", ranks)
    for key, values in moves.items():
        named("moves", key, steady)
        for seed in values:
            numbers(f"moves of {' with '.join(key)}", seed, len(ranks))
    optimizers = list(dict.fromkeys(optimizer for optimizer, _ in moves))
    fig, axes = plt.subplots(1, len(optimizers), figsize=(9, 3.8), sharey=True, squeeze=False)
    growth = {}
    for (optimizer, rule), values in moves.items():
        panel = axes[0, optimizers.index(optimizer)]
        relative = values / values[:, 0].mean()
        growth[optimizer, rule] = float(relative[:, -1].mean())
        color = POINT if steady[optimizer, rule] else CONTEXT
        panel.errorbar(ranks, relative.mean(0), relative.std(0), marker="o", capsize=4, color=color)
        panel.text(1.2 * ranks[-1], growth[optimizer, rule], rule, color=color, va="center", fontsize=13)
        panel.set(xscale="log", yscale="log", xlabel="rank r", xlim=(0.8 * ranks[0], 3 * ranks[-1]), title=optimizer)
        panel.set_xticks(ranks, [str(rank) for rank in ranks])
        panel.minorticks_off()
    axes[0, 0].set_ylabel("move of the logits in one step\n(rank 1 = 1)")
    fig.suptitle(title, fontweight="bold", x=0.02, ha="left")
    last = ", ".join(f"{optimizer} with {rule} {value:.2g}" for (optimizer, rule), value in growth.items())
    figure(fig, alt=f"How far one step moves the logits at rank {ranks[-1]}, as a multiple of rank {ranks[0]}: {last}.",
           caption=f"Mean of {len(next(iter(moves.values())))} seeds; bars are standard deviations.")  # fmt: skip


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
        axis.annotate(f"{means[name]:.0%}", (1.02, row), xycoords=("axes fraction", "data"), va="center", color=color)
    axis.annotate("mean", (1.02, len(scores) - 0.5), xycoords=("axes fraction", "data"), fontsize=10, color=CONTEXT)
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
