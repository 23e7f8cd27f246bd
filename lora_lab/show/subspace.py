"""Figures about random subspaces: what P z is, why one meets the solutions, and what training inside one reaches.

show.figure(*show.subspace_schematic(Projection(D=12, d=3)))
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lora_lab.show.drawing import FROZEN, INK, TRAINED, Box, Drawing, canvas, matrix, node, shape, words
from lora_lab.show.figures import BLUE, CONTEXT, POINT
from lora_lab.show.inputs import filled, named, numbers

if TYPE_CHECKING:
    from lora_lab.train.subspace import Projection

_MOST = 16  # rows of a P whose numbers can be read
_LINES = ("-", "--", ":", "-.")
_MARKS = ("o", "s", "D", "^")
_NEAR = 0.11  # a label's width as a share of a panel's


def subspace_schematic(P: "Projection") -> Drawing:
    """θ = θ₀ + P z with the numbers of a small P in it.

    Args:
        P: with at most 16 rows.

    Returns:
        The figure and its alt text, for `show.figure(*drawing)`.

    Raises:
        ValueError: for a P with more rows than can be read.
    """
    D, d = len(P.column), P.d
    if D > _MOST:
        raise ValueError(f"P has {D:,} rows, of which a reader can read {_MOST}: draw a smaller one")
    fig, axes = canvas(7.2, 4.6, f"{D} weights move, {d} numbers train")
    cell, middle = 3.1 / D, 2.1
    theta = matrix(axes, (0.75, middle), (3.1, 0.34))
    start = matrix(axes, (2.15, middle), (3.1, 0.34), FROZEN)
    grid = matrix(axes, (4.25, middle), (3.1, 0.44 * d), FROZEN)
    z = matrix(axes, (6.35, middle), (max(0.3, cell) * d, 0.44), TRAINED)
    for i, (column, sign) in enumerate(zip(P.column.tolist(), P.sign.tolist())):
        corner = (grid.left[0] + 0.44 * column, grid.top[1] - cell * (i + 1))
        axes.add_patch(Rectangle(corner, 0.44, cell, facecolor="white", edgecolor=INK, linewidth=1, zorder=2))
        at = (corner[0] + 0.22, corner[1] + cell / 2)
        axes.text(*at, f"{sign:+.0f}".replace("-", "−"), ha="center", va="center", fontsize=10, color=INK, zorder=3)
    node(axes, (1.45, middle), "=")
    node(axes, (2.85, middle), "+")
    node(axes, ((grid.right[0] + z.left[0]) / 2, middle), "·")
    _named(axes, theta, f"θ {shape(D)}")
    _named(axes, start, f"θ₀ {shape(D)}", "frozen")
    _named(axes, grid, f"P {shape(D, d)}", "drawn once, frozen")
    words(axes, z.top, f"z {shape(d)}", "above", TRAINED, fontweight="bold")
    words(axes, z.bottom, "trained\nfrom zero", "below", TRAINED)
    rows = ", ".join(f"{sign:+.0f} in column {column}" for column, sign in zip(P.column.tolist(), P.sign.tolist()))
    return Drawing(
        fig,
        f"A column θ {shape(D)} equals a frozen column θ₀ {shape(D)} plus a frozen matrix P {shape(D, d)} times a "
        f"short trained column z {shape(d)}. Each row of P has one number that is not zero: {rows}.",
    )


def _named(axes: Axes, box: Box, name: str, role: str = "") -> None:
    look = FROZEN if role else None
    words(axes, box.top, name, "above", *([look] if look else []), fontweight="bold")
    if role:
        words(axes, box.bottom, role, "below", FROZEN)


def reach_and_shadow(normal: tuple[float, float], offset: float, direction: tuple[float, float]) -> Drawing:
    """Two weights, one equation: its solutions, a line through θ₀ = 0 that meets them, and the nearest one's shadow.

    Args:
        normal, offset: the solutions are the θ with normal · θ = offset.
        direction: of the line, not parallel to the solutions.

    Returns:
        The figure and its alt text.

    Raises:
        ValueError: for a line that never meets the solutions.
    """
    (a, b), (u, v) = normal, direction
    along = a * u + b * v
    if not along or not offset:
        raise ValueError(f"direction={direction} with offset={offset} never meets the solutions, or starts there")
    met = (offset / along * u, offset / along * v)
    nearest = (offset * a / (a * a + b * b), offset * b / (a * a + b * b))
    share = (nearest[0] * u + nearest[1] * v) / (u * u + v * v)
    shadow = (share * u, share * v)
    missed = 1 - (a * shadow[0] + b * shadow[1]) / offset
    fig, axes = plt.subplots(figsize=(7.2, 4.6))
    axes.axline(nearest, (nearest[0] - b, nearest[1] + a), color=CONTEXT, linewidth=5, alpha=0.6)
    axes.axline((0, 0), direction, color=BLUE, linestyle="--")
    axes.plot(*zip(nearest, shadow), color=INK, linestyle=":", linewidth=1.6)
    for spot, mark, colour in (((0, 0), "o", INK), (nearest, "s", INK), (shadow, "X", BLUE), (met, "*", POINT)):
        axes.plot(*spot, mark, color=colour, markersize=19 if mark == "*" else 10, zorder=4)
    for spot, text, colour, shift in (
        ((0, 0), "θ₀, the start", INK, (8, -16)),
        (nearest, "the nearest solution", INK, (10, 6)),
        (shadow, "its shadow on the line", BLUE, (-150, -4)),
        (met, "where the line meets\nthe solutions", POINT, (-70, -66)),
    ):
        axes.annotate(text, spot, xytext=shift, textcoords="offset points", color=colour, fontsize=11)
    reach = 1.25 * max(abs(x) for x in (*met, *nearest))
    height = 0.8 * reach  # where the line of solutions is named
    end = ((offset - b * height) / a, height) if a else (-0.3 * reach, offset / b)
    axes.annotate("all solutions", end, xytext=(12, 2), textcoords="offset points", color=FROZEN.words, fontsize=11)
    axes.set(xlim=(-0.35 * reach, 1.35 * reach), ylim=(-0.25 * reach, reach), xlabel="weight 1", ylabel="weight 2")
    axes.set_aspect("equal")
    axes.set_title("The line meets the solutions, the shadow misses them")
    return Drawing(
        fig,
        "A plane of two weights. The solutions are a line; θ₀ lies off it. A dashed line in a random direction runs "
        f"through θ₀ and meets the solutions at ({met[0]:.1f}, {met[1]:.1f}). The solution nearest to θ₀, "
        f"({nearest[0]:.1f}, {nearest[1]:.1f}), has its shadow on the dashed line at ({shadow[0]:.1f}, "
        f"{shadow[1]:.1f}), where {missed:.0%} of the equation is still missed.",
    )


def misfit_by_dimension(
    dimensions: Sequence[int], chosen: Sequence[float], shadows: Sequence[float], equations: int
) -> Drawing:
    """What is left of the misfit at the best point of a random subspace, and at the shadow of a solution.

    Args:
        dimensions: of the subspaces, ascending.
        chosen, shadows: shares of the squared misfit at the start, one per dimension.
        equations: how many there are, a vertical line.

    Returns:
        The figure and its alt text.

    Raises:
        TypeError, ValueError: for values that are no finite numbers, or another count of them.
    """
    numbers("dimensions", dimensions)
    numbers("chosen", chosen, len(dimensions))
    numbers("shadows", shadows, len(dimensions))
    fig, axes = plt.subplots()
    axes.plot(dimensions, [100 * share for share in chosen], "o-", color=POINT, label="the best point inside")
    axes.plot(dimensions, [100 * share for share in shadows], "s--", color=CONTEXT, label="a solution's shadow")
    axes.axvline(equations, color=INK, linewidth=1)
    axes.annotate(f"{equations} equations", (equations, 52), xytext=(6, 0), textcoords="offset points")
    solved = next((d for d, share in zip(dimensions, chosen) if share < 1e-9), None)
    title = f"Solved exactly from {solved} dimensions on" if solved else "Never solved"
    axes.set(xscale="log", xlabel="dimensions d of the subspace", ylabel="misfit left, %", ylim=(-3, 105), title=title)
    axes.set_xticks(dimensions, [str(d) for d in dimensions])
    axes.minorticks_off()
    axes.legend(loc="center right")
    listed = "; ".join(f"d = {d}: {a:.0%} and {b:.0%}" for d, a, b in zip(dimensions, chosen, shadows))
    return Drawing(fig, f"{title}. Misfit left at the best point inside, and at a solution's shadow. {listed}.")


def scores_by_size(
    panels: Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]],
    point: str,
    title: str,
    *,
    xlabel: str = "numbers that train",
    levels: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> Drawing:
    """Scores over a size, a panel per task: means as lines, single seeds as dots.

    Args:
        panels: task -> run -> size -> shares right, one per seed.
        point: the run that the figure is about.
        title: the finding.
        xlabel: what the size is.
        levels: task -> name -> shares that do not depend on the size; their mean is a horizontal line, each a dash
            at its right end.

    Returns:
        The figure and its alt text, which names every mean.

    Raises:
        TypeError, ValueError: for nothing to draw, or values that are no finite numbers.
    """
    filled("panels", panels, most=3)
    for task, runs in panels.items():
        filled(f"runs of {task}", runs, most=len(_LINES))
        named("point", point, runs)
    fig, row = plt.subplots(1, len(panels), figsize=(max(7.2, 4.6 * len(panels)), 4.2), sharey=True, squeeze=False)
    said = []
    for axes, (task, runs) in zip(row[0], panels.items()):
        sizes = sorted({size for by_size in runs.values() for size in by_size})
        others = iter(zip(_LINES[1:], _MARKS[1:]))
        for run, by_size in runs.items():
            line, mark = ("-", "o") if run == point else next(others)
            colour = POINT if run == point else CONTEXT
            means = _means(axes, run, by_size, colour, line, mark)
            said.append(f"{task}, {run}: " + ", ".join(f"{size:,} {mean:.0%}" for size, mean in means.items()))
        for name, values in (levels or {}).get(task, {}).items():
            numbers(f"scores of {name}", values)
            mean = sum(values) / len(values)
            axes.axhline(100 * mean, color=INK, linewidth=1)
            dots, beside = [100 * share for share in values], axes.get_yaxis_transform()  # across: a share of the axis
            axes.plot([0.97] * len(dots), dots, "_", color=INK, markersize=9, markeredgewidth=2, transform=beside)
            axes.annotate(name, (sizes[0], 100 * mean), xytext=(0, 4), textcoords="offset points", fontsize=11)
            said.append(f"{task}, {name}: {mean:.0%}")
        axes.set(xscale="log", xlabel=xlabel, ylim=(-3, 103))
        axes.margins(x=0.1)
        axes.set_title(task, fontsize=12)
        axes.set_xticks(sizes, _labels(sizes))
        axes.minorticks_off()
    row[0][0].set_ylabel("answers right, %")
    row[0][-1].legend(loc="upper left", bbox_to_anchor=(0, 0.85))
    fig.align_xlabels()  # labels of one panel may stand a line lower
    fig.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return Drawing(fig, f"{title}. Means of the answers right. {'; '.join(said)}.")


def _means(
    axes: Axes, run: str, by_size: Mapping[int, Sequence[float]], colour: str, line: str, mark: str
) -> dict[int, float]:
    """Draw one run, and return its means."""
    means = {}
    for size in sorted(by_size):
        numbers(f"scores of {run} at {size}", by_size[size])
        means[size] = sum(by_size[size]) / len(by_size[size])
        dots = [100 * share for share in by_size[size]]
        axes.plot([size] * len(dots), dots, mark, color=colour, markersize=4, alpha=0.6)
    heights = [100 * mean for mean in means.values()]
    front = 3 if colour == POINT else 2
    axes.plot(list(means), heights, line, marker=mark, color=colour, label=run, zorder=front, markersize=7)
    return means


def _labels(sizes: Sequence[int]) -> list[str]:
    """1,000 as 1k, 13,568 as 14k; of two labels that would touch, the second stands a line lower."""
    labels, crowded, span = [], False, math.log(sizes[-1] / sizes[0]) or 1
    for before, size in zip((None, *sizes), sizes):
        crowded = not crowded and before is not None and math.log(size / before) < _NEAR * span
        short = str(size) if size < 1000 else f"{size / 1000:.0f}k"
        labels.append("\n" + short if crowded else short)
    return labels
