"""Pictures for lesson 01: a matrix at several ranks, spectra, and scores over the rank."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lora_lab.show.figures import CONTEXT, POINT
from lora_lab.show.inputs import filled, named, numbers

LINES = ("--", ":", "-.")  # what grey curves are told apart by, so that the one in colour is the point


def matrix_grid(rows: Mapping[str, Mapping[str, Tensor]], title: str) -> Figure:
    """Matrices as grey images: one row per name, one column per variant, all of a row on the scale of its last one.

    Args:
        rows: row name → column name → matrix [height, width]; every row has the same columns.
        title: the finding.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("rows", rows)
    for name, variants in rows.items():
        filled(f"the row {name}", variants)
        if list(variants) != list(next(iter(rows.values()))):
            raise ValueError(f"the row {name} has the columns {', '.join(variants)}, unlike the first: give the same")
    columns = list(next(iter(rows.values())))
    size = (2.1 * len(columns), 1.4 * len(rows) + 0.6)
    fig, grid = plt.subplots(len(rows), len(columns), figsize=size, squeeze=False)
    for (name, variants), line in zip(rows.items(), grid):
        exact = list(variants.values())[-1]
        for column, axes in zip(columns, line):
            axes.imshow(variants[column], cmap="gray", vmin=float(exact.min()), vmax=float(exact.max()))
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            for side in ("top", "right"):
                axes.spines[side].set_visible(True)
        line[0].set_ylabel(name)
    for column, axes in zip(columns, grid[0]):
        axes.set_title(column, fontsize=11, fontweight="normal", loc="center", pad=4)
    fig.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    return fig


def energy_curves(curves: Mapping[str, Tensor], point: str, title: str) -> Figure:
    """The share of energy held by the first r directions, for several matrices.

    Args:
        curves: name → shares [ranks], rising to 1 (see `lowrank.energy_fractions`).
        point: the curve the figure is about; the others are grey.
        title: the finding.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("curves", curves, most=len(LINES) + 1)
    named("point", point, curves)
    for name, shares in curves.items():
        numbers(f"the curve of {name}", shares)
    fig, axes = plt.subplots()
    grey = iter(LINES)
    for name, shares in curves.items():
        look = {"color": POINT, "zorder": 3} if name == point else {"color": CONTEXT, "linestyle": next(grey)}
        axes.plot(range(1, len(shares) + 1), 100 * shares, label=name, **look)
    axes.set(xlabel="directions kept, r", ylabel="energy held, %", ylim=(0, 102), xlim=(1, len(shares)))
    axes.set_title(title)
    axes.legend(loc="lower right")
    return fig


def score_curves(
    scores: Mapping[str, Sequence[Sequence[float]]],
    ranks: Sequence[int],
    point: str,
    title: str,
    *,
    levels: Mapping[str, float] | None = None,
    ylabel: str = "answers right, %",
) -> Figure:
    """Scores over the rank: the mean over seeds as a line, their range as a band.

    Args:
        scores: name → one list per seed of shares, one per rank.
        ranks: the ranks, on a logarithmic axis.
        point: the curve the figure is about; the others are grey.
        title: the finding.
        levels: name → a share that does not depend on the rank, as a thin line.
        ylabel: of the score.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("scores", scores, most=len(LINES) + 1)
    named("point", point, scores)
    numbers("ranks", ranks)
    for name, seeds in scores.items():
        filled(f"scores of {name}", seeds)
        for seed in seeds:
            numbers(f"scores of {name}", seed, len(ranks))
    fig, axes = plt.subplots()
    grey = iter(LINES)
    for name, seeds in scores.items():
        colour, line = (POINT, "-") if name == point else (CONTEXT, next(grey))
        at_rank = [[100 * share for share in shares] for shares in zip(*seeds)]
        means = [sum(shares) / len(shares) for shares in at_rank]
        axes.plot(ranks, means, line, color=colour, label=name, zorder=3 if name == point else 2)
        low, high = [min(shares) for shares in at_rank], [max(shares) for shares in at_rank]
        axes.fill_between(ranks, low, high, color=colour, alpha=0.18, linewidth=0)
    for name, level in (levels or {}).items():
        _level(axes, name, level, ranks[0])
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(r) for r in ranks])
    axes.set(xlabel="directions kept in every matrix, r", ylabel=ylabel, ylim=(-2, 102))
    axes.set_title(title)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def _level(axes: Axes, name: str, level: float, left: float) -> None:
    axes.axhline(100 * level, color="black", linewidth=1)
    axes.annotate(name, (left, 100 * level), xytext=(0, 4), textcoords="offset points", fontsize=11)
