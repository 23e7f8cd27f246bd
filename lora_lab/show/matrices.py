"""Pictures of a matrix as a sum of layers: what an SVD is, and what a cut to the strongest layers keeps.

Every function returns a figure and its alt text, both computed from the same numbers: `show.figure(*show.layers(M))`.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from lora_lab import lowrank, ranges
from lora_lab.show.drawing import Drawing
from lora_lab.show.figures import BLUE, CONTEXT, DARK, GREEN, ORANGE, POINT
from lora_lab.show.inputs import filled

_COLOURS = (BLUE, ORANGE, GREEN)


def svd_schematic(height: int = 4, width: int = 6, r: int = 2) -> Drawing:
    """M [height, width] as a sum of columns times rows, and the first r of them as B [height, r] times A [r, width].

    Raises:
        TypeError: for a size that is not whole.
        ValueError: for sizes that cannot be drawn as squares (1 to 6), or a rank that the matrix cannot have.
    """
    height, width = ranges.whole("height", height, 1, 6), ranges.whole("width", width, 1, 6)
    r = ranges.whole("r", r, 1, min(height, width, len(_COLOURS)))
    fig, axes = plt.subplots(figsize=(8.0, 4.4))
    axes.set_axis_off()
    axes.set_aspect("equal")
    floor = height + 3.2  # of the upper line
    x = _block(axes, 0, floor, height, width, CONTEXT, "M", f"{height} × {width}")
    for i in range(r):
        axes.text(x + 0.55, floor + height / 2, "=" if i == 0 else "+", ha="center", va="center", fontsize=18)
        name = "₁₂₃"[i]
        axes.text(x + 1.5, floor + height / 2, f"σ{name}", ha="center", va="center", fontsize=15, color=_COLOURS[i])
        x = _block(axes, x + 2.1, floor, height, 1, _COLOURS[i], f"u{name}", f"{height} × 1")
        x = _block(axes, x + 0.3, floor + (height - 1) / 2, 1, width, _COLOURS[i], f"v{name}ᵀ", f"1 × {width}")
    if r < min(height, width):
        axes.text(x + 0.4, floor + height / 2, "+ …", ha="left", va="center", fontsize=18)
    end = x + 1.6
    x = _block(axes, 0, 0, height, width, CONTEXT, "M", f"{height} × {width}")
    axes.text(x + 0.55, height / 2, "≈" if r < min(height, width) else "=", ha="center", va="center", fontsize=18)
    x = _stripes(axes, x + 1.2, 0, (height, r), "B", f"{height} × {r}")
    x = _stripes(axes, x + 0.3, (height - r) / 2, (r, width), "A", f"{r} × {width}")
    note = f"keep the strongest r = {r} layers:\n{height * width} numbers become {r * (height + width)}"
    axes.text(x + 0.7, height / 2, note, ha="left", va="center", fontsize=12)
    axes.set(xlim=(-0.2, end), ylim=(-1.1, floor + height + 1.0))
    axes.set_title("A matrix is a sum of layers, each a column times a row")
    alt = (
        f"Two lines. Above, a matrix M of {height} × {width} squares equals sigma 1 times a column u 1 of {height} × 1 "
        f"times a row v 1 of 1 × {width}, and so on for every layer. Below, M is written with the strongest {r} "
        f"layers alone: their columns side by side are B, {height} × {r}; their rows under each other are A, "
        f"{r} × {width}. {height * width} numbers become {r * (height + width)}."
    )
    return Drawing(fig, alt)


def layers(M: Tensor, count: int = 3, name: str = "M") -> Drawing:
    """The strength of every layer as bars, the first ones as images, and what they give together.

    Args:
        M: [height, width], an image around zero.
        count: how many layers, 1 to 4.
        name: of M.

    Raises:
        TypeError, ValueError: as `lowrank.truncated_svd`, or for a count that cannot be drawn.
    """
    count = ranges.whole("count", count, 1, 4)
    sigma, held = lowrank.singular_values(M), lowrank.energy_fractions(M)
    B, A = lowrank.truncated_svd(M, count)
    shares = [float(share) for share in torch.diff(held[:count], prepend=held.new_zeros(1))]
    fig, grid = plt.subplots(2, count + 1, figsize=(2.15 * (count + 1), 4.1))
    bars, shown = grid[0, 0], min(len(sigma), 12)
    colours = [POINT if i < count else CONTEXT for i in range(shown)]
    bars.bar(range(1, shown + 1), sigma[:shown].tolist(), color=colours)
    bars.set_xticks([1, shown])
    bars.set_title(f"σ of layers 1 to {shown}", fontsize=11, fontweight="normal", loc="center", pad=4)
    low, high = float(M.min()), float(M.max())
    for i in range(count):
        _image(grid[0, i + 1], B[:, i : i + 1] @ A[i : i + 1], f"layer {i + 1}: {shares[i]:.0%}", low, high)
        together = "layer 1 alone" if i == 0 else f"1 to {i + 1}: {float(held[i]):.0%}"
        _image(grid[1, i + 1], B[:, : i + 1] @ A[: i + 1], together, low, high)
    _image(grid[1, 0], M, f"all {len(sigma)} layers", low, high)
    title = f"{count} of {len(sigma)} layers hold {float(held[count - 1]):.0%} of the energy of {name}"
    fig.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    parts = "; ".join(f"layer {i + 1} holds {share:.0%}" for i, share in enumerate(shares))
    alt = f"{title}: {parts}. Bars of σ fall from {float(sigma[0]):.1f} to {float(sigma[shown - 1]):.1f} at {shown}."
    return Drawing(fig, alt)


def cuts(pictures: Mapping[str, Tensor], ranks: Sequence[int]) -> Drawing:
    """Matrices of one shape, each cut to several ranks, as grey images with the energy that is kept.

    Args:
        pictures: name → matrix [height, width].
        ranks: how many layers to keep; with none, the pictures stand there whole.

    Raises:
        TypeError, ValueError: for nothing to draw, or as `lowrank.truncated_svd`.
    """
    filled("pictures", pictures)
    if not ranks:
        return _whole(pictures)
    fig, grid = plt.subplots(
        len(pictures), len(ranks) + 1, squeeze=False,
        figsize=(2.0 * (len(ranks) + 1), 1.75 * len(pictures) + 0.5),
    )  # fmt: skip
    sentences = []
    for (name, M), line in zip(pictures.items(), grid, strict=True):
        held, low, high = lowrank.energy_fractions(M), float(M.min()), float(M.max())
        for r, axes in zip(ranks, line):
            B, A = lowrank.truncated_svd(M, r)
            _image(axes, B @ A, f"r = {r}: {float(held[r - 1]):.0%}", low, high)
        _image(line[-1], M, f"all {len(held)}", low, high)
        line[0].set_ylabel(name)
        sentences.append(f"{name} {', '.join(f'{float(held[r - 1]):.0%} at r = {r}' for r in ranks)}")
    middle = ranks[len(ranks) // 2]
    kept = [f"{float(lowrank.energy_fractions(M)[middle - 1]):.0%} of {name}" for name, M in pictures.items()]
    title = f"{middle} layers hold {' and '.join(kept)}"
    fig.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    return Drawing(fig, f"{title}. Energy kept: {'; '.join(sentences)}.")


def _whole(pictures: Mapping[str, Tensor]) -> Drawing:
    fig, line = plt.subplots(1, len(pictures), squeeze=False, figsize=(3.0 * len(pictures), 2.7))
    for (name, M), axes in zip(pictures.items(), line[0]):
        _image(axes, M, name, float(M.min()), float(M.max()))
    shapes = {" × ".join(map(str, M.shape)) for M in pictures.values()}
    title = f"{' and '.join(pictures)}: {', '.join(sorted(shapes))} numbers each"
    fig.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    return Drawing(fig, f"Grey images. {title}.")


def _image(axes: Axes, values: Tensor, title: str, low: float, high: float) -> None:
    axes.imshow(values.numpy(), cmap="gray", vmin=low, vmax=high)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    axes.set_title(title, fontsize=11, fontweight="normal", loc="center", pad=4)


def _block(axes: Axes, x: float, y: float, height: int, width: int, colour: str, name: str, shape: str) -> float:
    """Squares with a name above and a shape below; returns where they end."""
    for row in range(height):
        for column in range(width):
            axes.add_patch(Rectangle((x + column, y + row), 1, 1, facecolor=colour, alpha=0.55, edgecolor="white"))
    axes.text(x + width / 2, y + height + 0.15, name, ha="center", va="bottom", fontsize=14)
    axes.text(x + width / 2, y - 0.15, shape, ha="center", va="top", fontsize=11, color=DARK)
    return x + width


def _stripes(axes: Axes, x: float, y: float, size: tuple[int, int], name: str, shape: str) -> float:
    """As `_block`, each of the r columns of B, or rows of A, in the colour of its layer."""
    height, width = size
    upright = name == "B"
    for row in range(height):
        for column in range(width):
            colour = _COLOURS[column if upright else height - 1 - row]
            axes.add_patch(Rectangle((x + column, y + row), 1, 1, facecolor=colour, alpha=0.55, edgecolor="white"))
    axes.text(x + width / 2, y + height + 0.15, name, ha="center", va="bottom", fontsize=14)
    axes.text(x + width / 2, y - 0.15, shape, ha="center", va="top", fontsize=11, color=DARK)
    return x + width
