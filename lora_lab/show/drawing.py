"""What schematics are drawn with: a canvas in inches, matrices as boxes, arrows, nodes and words.

Frozen and trained are told apart by three things, of which colour is one: a frozen box is grey and hatched, a trained
one is filled and has a thick edge, and a schematic writes the word beside it.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from lora_lab.show.figures import CONTEXT, POINT

INK = "#333333"  # of lines and words that are neither frozen nor trained
Spot = tuple[float, float]
Side = Literal["above", "below", "left", "right", "on"]

_THIN = 0.09  # inches: a side is never drawn thinner, or it would be a line


class Look(NamedTuple):
    """Of a box: its ground, its edge, its hatching, and a colour for words about it, dark enough on white."""

    face: str
    edge: str
    hatch: str | None
    words: str
    thick: float = 2.2


FROZEN = Look("#F4F4F4", CONTEXT, "///", "#5F5F5F", 1.4)
TRAINED = Look("#F8D9C4", POINT, None, "#A84700")
PLAIN = Look("white", INK, None, INK, 1.4)


class Drawing(NamedTuple):
    """A figure and its alt text: `show.figure(*drawing)`."""

    fig: Figure
    alt: str


@dataclass(frozen=True)
class Box:
    """Where something was drawn, in inches of its canvas."""

    centre: Spot
    width: float
    height: float

    @property
    def left(self) -> Spot:
        return self.centre[0] - self.width / 2, self.centre[1]

    @property
    def right(self) -> Spot:
        return self.centre[0] + self.width / 2, self.centre[1]

    @property
    def top(self) -> Spot:
        return self.centre[0], self.centre[1] + self.height / 2

    @property
    def bottom(self) -> Spot:
        return self.centre[0], self.centre[1] - self.height / 2


def canvas(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    """A figure to draw on whose unit is the inch, the origin at the bottom left.

    Up to 7.2 inches wide, words of 10 points and more are legible where the figure is shown 600 pixels wide.
    """
    fig = plt.figure(figsize=(width, height), layout="none")
    axes = fig.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    fig.suptitle(title, x=0.12 / width, y=1 - 0.1 / height, ha="left", va="top", fontsize=13, fontweight="bold")
    return fig, axes


def matrix(axes: Axes, centre: Spot, size: tuple[float, float], look: Look = PLAIN) -> Box:
    """A box of (rows, columns) inches, drawn thicker where it would be a line."""
    height, width = (max(side, _THIN) for side in size)
    box = Box(centre, width, height)
    corner = (box.left[0], box.bottom[1])
    if look.hatch:  # in a colour of its own, lighter than the edge, so that words on it stay legible
        shade = "#D6D6D6" if look.edge == CONTEXT else look.edge + "70"
        axes.add_patch(Rectangle(corner, width, height, facecolor=look.face, edgecolor=shade, hatch=look.hatch, lw=0))
    face = "none" if look.hatch else look.face
    axes.add_patch(Rectangle(corner, width, height, facecolor=face, edgecolor=look.edge, linewidth=look.thick))
    return box


def step(axes: Axes, centre: Spot, text: str, width: float) -> Box:
    """A rounded box for what has no weights of interest: a norm, a softmax."""
    box = Box(centre, width, 0.52 if "\n" in text else 0.32)
    corner = (box.left[0], box.bottom[1])
    rounded = "round,pad=0,rounding_size=0.12"
    axes.add_patch(FancyBboxPatch(corner, box.width, box.height, boxstyle=rounded, fc="white", ec=INK, lw=1.2))
    axes.text(*centre, text, ha="center", va="center", fontsize=10, color=INK)
    return box


def arrow(axes: Axes, *through: Spot, head: bool = True, color: str = INK) -> None:
    """A line through two spots or more, with its head at the last one."""
    axes.plot(*zip(*through[:-1]), color=color, linewidth=1.6, solid_capstyle="projecting")
    style, (start, end) = "-|>" if head else "-", through[-2:]
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle=style, mutation_scale=12, shrinkA=0, shrinkB=1,
                                   color=color, linewidth=1.6, joinstyle="miter", capstyle="butt"))  # fmt: skip


def node(axes: Axes, centre: Spot, sign: str, radius: float = 0.17) -> Box:
    """A circle with a sign in it: a sum, a product."""
    axes.add_patch(Circle(centre, radius, zorder=3, facecolor="white", edgecolor=INK, linewidth=1.6))
    axes.text(*centre, sign, ha="center", va="center_baseline", fontsize=15, color=INK, zorder=4)
    return Box(centre, 2 * radius, 2 * radius)


def words(axes: Axes, spot: Spot, text: str, side: Side = "above", look: Look = PLAIN, **style: Any) -> None:
    """Words beside a spot: "above", "below", "left", "right" of it, or "on" it, over a white ground."""
    gap = 0.06
    dx, dy, across, down = {
        "above": (0, gap, "center", "bottom"),
        "below": (0, -gap, "center", "top"),
        "left": (-gap, 0, "right", "center"),
        "right": (gap, 0, "left", "center"),
        "on": (0, 0, "center", "center"),
    }[side]
    style = {"fontsize": 11, "color": look.words, "linespacing": 1.25, "zorder": 5, **style}
    if side == "on":
        style["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    axes.text(spot[0] + dx, spot[1] + dy, text, **{"ha": across, "va": down, **style})


def shape(*sizes: int) -> str:
    """A shape as the course writes it: [4096, 16]."""
    return f"[{', '.join(str(size) for size in sizes)}]"
