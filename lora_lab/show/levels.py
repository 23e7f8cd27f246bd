"""Pictures of codebooks: their levels, and their errors from source to source."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lora_lab.show.figures import BLUE, CONTEXT, POINT
from lora_lab.show.inputs import filled, numbers


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
