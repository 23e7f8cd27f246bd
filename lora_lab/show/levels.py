"""Pictures of codebooks: their levels, and their errors from matrix to matrix, bit by bit and source by source."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lora_lab.show.figures import BLUE, CONTEXT, POINT
from lora_lab.show.inputs import filled, numbers


def rounding(scaled: Tensor, books: Mapping[str, Tensor], title: str) -> Figure:
    """A block of weights on its way to the nearest level of each codebook, one panel per codebook.

    Args:
        scaled: float [n], a block divided by its largest magnitude.
        books: levels by the codebook's name, float [levels], ascending.
        title: the finding.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("books", books)
    numbers("scaled", scaled)
    fig, panels = plt.subplots(len(books), 1, figsize=(8.0, 1.75 * len(books) + 0.9), sharex=True, squeeze=False)
    for axes, (name, levels) in zip(panels[:, 0], books.items(), strict=True):
        nearest = levels[(scaled[:, None] - levels).abs().argmin(dim=1)]
        for value, level in zip(scaled.tolist(), nearest.tolist(), strict=True):
            axes.plot([value, level], [1, 0], color=CONTEXT, linewidth=0.8, alpha=0.7)
        axes.plot(scaled, torch.ones(len(scaled)), "o", color=CONTEXT, markersize=5, clip_on=False)
        axes.plot(levels, torch.zeros(len(levels)), "|", color=POINT, markersize=16, markeredgewidth=2.5, clip_on=False)
        _bare(axes, [0, 1], [f"{name} levels", "weights"])
        axes.set(xlim=(-1.03, 1.03), ylim=(-0.25, 1.15))
    panels[-1, 0].set_xlabel("weight ÷ the largest magnitude of its block")
    fig.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return fig


def levels_under_normal(books: Mapping[str, Tensor], sigma: float, title: str) -> Figure:
    """The density of N(0, σ²) and, under it, the levels of each codebook; the first one's bins are shaded.

    Args:
        books: levels by the codebook's name, float [levels], ascending; the first is the point, the others context.
        sigma: standard deviation, in units of the largest magnitude of a block.
        title: the finding.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("books", books)
    numbers("sigma", [sigma])
    if sigma <= 0:
        raise ValueError(f"sigma={sigma} spreads nothing: give a positive number")
    fig, (axes, rows) = plt.subplots(2, 1, figsize=(8.0, 4.6), sharex=True, height_ratios=[3.2, 0.5 * len(books) + 0.3])
    x = torch.linspace(-1.25, 1.25, 1001)
    density = torch.exp(-(x**2) / (2 * sigma**2)) / (sigma * (2 * torch.pi) ** 0.5)
    point = next(iter(books.values()))
    edges = torch.cat([x[:1], (point[1:] + point[:-1]) / 2, x[-1:]])
    for number, (left, right) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        inside = (x >= left) & (x <= right)
        axes.fill_between(x[inside], density[inside], color=POINT, alpha=0.30 if number % 2 else 0.14, linewidth=0)
    axes.plot(x, density, color=CONTEXT)
    axes.vlines(point, 0, torch.exp(-(point**2) / (2 * sigma**2)) / (sigma * (2 * torch.pi) ** 0.5), color=POINT)
    axes.set(ylim=(0, None), ylabel="probability density")
    axes.set_title(title)
    for row, levels in enumerate(books.values()):
        rows.plot(
            levels,
            torch.full((len(levels),), -float(row)),
            "|",
            color=CONTEXT if row else POINT,
            markersize=16,
            markeredgewidth=2.5,
        )
    _bare(rows, [-float(row) for row in range(len(books))], list(books))
    rows.set(ylim=(-len(books) + 0.4, 0.6), xlim=(-1.25, 1.25), xlabel="weight ÷ the largest magnitude of its block")
    return fig


def errors_by_matrix(
    errors: Mapping[str, Sequence[float]], matrices: Sequence[str], reference: float, title: str
) -> Figure:
    """One dot per codebook and matrix, and a dashed line at `reference`; the first codebook is the point.

    Args:
        errors: by the codebook's name, one per matrix, in the unit of the axis: 10⁻³ of the weights' variance.
        matrices: their names.
        reference: the first codebook's error on normal random numbers.
        title: the finding.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("errors", errors, most=4)
    for name, values in errors.items():
        numbers(f"errors of {name}", values, len(matrices))
    fig, axes = plt.subplots(figsize=(8.0, 4.6))
    for number, ((name, values), marker) in enumerate(zip(errors.items(), "o^sv", strict=False)):
        axes.plot(
            values,
            marker,
            color=CONTEXT if number else POINT,
            markersize=6,
            label=name,
            markerfacecolor="white" if number == 3 else None,
        )
    axes.axhline(reference, color=POINT, linestyle="--", linewidth=1.2)
    axes.set_xticks(range(len(matrices)), matrices, rotation=90, fontsize=9)
    axes.set(ylabel="error × 10³", ylim=(0, None), title=title)
    axes.grid(axis="x", visible=False)
    axes.legend(ncols=4, loc="lower left")
    return fig


def error_against_bits(curves: Mapping[str, Sequence[tuple[float, float]]], bits: float, title: str) -> Figure:
    """Error over bits per parameter, one line per format, the last one the point; a dotted line at `bits`.

    Args:
        curves: by the format's name, (bits per parameter, error × 10³) from one block size to the next.
        bits: where formats are compared.
        title: the finding.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("curves", curves, most=3)
    for name, points in curves.items():
        filled(f"the curve of {name}", points)
        for point in points:
            numbers(f"the curve of {name}", point, 2)
    fig, axes = plt.subplots(figsize=(8.0, 4.4))
    axes.axvline(bits, color=CONTEXT, linestyle=":", linewidth=1.5)
    axes.text(bits + 0.02, 1.0, f"{bits:.2f} bits")
    for (name, points), colour in zip(curves.items(), (CONTEXT, BLUE, POINT)[-len(curves) :], strict=True):
        axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name, markersize=5)
    axes.set(xlabel="bits per parameter, constants included", ylabel="error × 10³", ylim=(0, None), title=title)
    axes.legend()
    return fig


def relative_errors(places: Sequence[str], ratios: Mapping[str, Sequence[float]], to: str, title: str) -> Figure:
    """Errors as multiples of that of the format `to`, which is the line at one.

    Args:
        places: what was quantized.
        ratios: by the format's name, one per place; at most two formats.
        to: the format that they are divided by.
        title: the finding.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("places", places)
    filled("ratios", ratios, most=2)
    for name, values in ratios.items():
        numbers(f"ratios of {name}", values, len(places))
    fig, axes = plt.subplots(figsize=(8.0, 4.2))
    axes.axhline(1, color=POINT)
    axes.text(len(places) - 0.55, 1.04, to, color=POINT, ha="right", fontweight="bold")
    for (name, values), marker, colour in zip(ratios.items(), "sD", (CONTEXT, BLUE), strict=False):
        axes.plot(places, values, marker, color=colour, markersize=9, label=name)
    axes.set(ylabel=f"error ÷ {to}'s error", ylim=(0, None), xlim=(-0.5, len(places) - 0.5), title=title)
    axes.grid(axis="x", visible=False)
    axes.legend(loc="upper left")
    return fig


def _bare(axes: Axes, places: list[float], labels: list[str]) -> None:
    """Rows with names in place of a scale."""
    axes.set_yticks(places, labels)
    axes.tick_params(axis="y", length=0)
    axes.grid(False)
    axes.spines["left"].set_visible(False)
