"""Curves over directions: how a cut compares with its rivals, what energy it holds, which parts carry a behaviour.

Every function returns a figure and its alt text, both computed from the same numbers.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from lora_lab import ranges
from lora_lab.show.drawing import Drawing
from lora_lab.show.figures import BLUE, CONTEXT, DARK, POINT
from lora_lab.show.inputs import filled, numbers

_CONTROLS = ("--", ":", "-.")
_NEAR = 7  # percent from a curve to its name; more room than that is no reason to stand elsewhere


def rivals(
    best: float, moved: Sequence[tuple[float, float]], drawn: Sequence[float], steps: tuple[float, float] | None = None
) -> Drawing:
    """What rivals of the truncated SVD miss: those that start from it and are moved, and those drawn at random.

    Args:
        best: the share of the energy that the truncated SVD misses.
        moved: how far each was moved, and the share that it misses.
        drawn: the shares that random ones miss.
        steps: the range of the axis; by default that of `moved`.

    Raises:
        TypeError, ValueError: for nothing to draw, or values that are no finite numbers.
    """
    filled("moved", moved)
    for distance, missed in moved:
        numbers("moved", [distance, missed])
    numbers("drawn", drawn)
    far, misses = [distance for distance, _ in moved], [100 * missed for _, missed in moved]
    everything = [*misses, *(100 * missed for missed in drawn)]
    closer = sum(missed < 100 * best for missed in everything)
    fig, (left, right) = plt.subplots(1, 2, sharey=True, width_ratios=(3, 1), figsize=(8.0, 4.0))
    left.scatter(far, misses, s=9, color=BLUE, alpha=0.6, linewidths=0)
    left.set(xscale="log", yscale="log", xlabel="how far B and A were moved", ylabel="energy missed, %")
    left.set_xlim(*(steps or (min(far), max(far))))
    spread = torch.rand(len(drawn), generator=torch.manual_seed(0)).tolist()
    right.scatter(spread, [100 * missed for missed in drawn], s=9, color=CONTEXT, alpha=0.6, linewidths=0)
    right.set(xticks=[], xlabel="drawn at random", xlim=(-0.3, 1.3))
    for axes in (left, right):
        axes.axhline(100 * best, color=POINT, linewidth=2)
    place = {"xy": (0.02, 100 * best), "xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    left.annotate(f"the truncated SVD: {best:.2%}", xytext=(0, -16), color=POINT, fontsize=12, **place)
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100) if min(everything) / 1.5 <= tick <= 1.2 * max(everything)]
    left.set_yticks(ticks, [str(tick) for tick in ticks])
    left.minorticks_off()
    left.set_ylim(0.7 * 100 * best, 1.3 * max(everything))
    count = len(everything)
    title = f"Of {count:,} rivals of the same rank, {closer or 'none'} {'come' if closer else 'comes'} closer"
    fig.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    alt = (
        f"{title} than the truncated SVD, which misses {best:.2%} of the energy. {len(moved)} moved away from it miss "
        f"{min(misses):.2f} % to {max(misses):.0f} %, more the further they go; {len(drawn)} drawn at random miss "
        f"{100 * min(drawn):.0f} % to {100 * max(drawn):.0f} %."
    )
    return Drawing(fig, alt)


def energy_held(curves: Mapping[str, Tensor], point: str, at: int) -> Drawing:
    """The share of energy in the first r directions, each curve with its name on it.

    Args:
        curves: name → shares, rising to 1 (see `lowrank.energy_fractions`); all of one length, the highest first.
        point: the curve that the figure is about; the others are grey.
        at: the r that title and alt text speak of.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, another count of them, or
            another name or rank.
    """
    filled("curves", curves, most=len(_CONTROLS) + 1)
    ranges.choice("point", point, list(curves))
    count = len(curves[point])
    at = ranges.whole("at", at, 1, count)
    fig, axes = plt.subplots()
    lines = iter(_CONTROLS)
    last = list(curves)[-1]
    for name, held in curves.items():
        numbers(f"the curve of {name}", held, count)
        colour, style = (POINT, "-") if name == point else (CONTEXT, next(lines))
        percent = [100 * float(share) for share in held]
        axes.plot(range(1, count + 1), percent, style, color=colour, zorder=3)
        below = name in (point, last)  # the middle ones above: there is room between them and the first
        i = next(i for i, height in enumerate(percent) if height >= (60 if name == last else 75))
        place, side = ((12, -14), "left") if below else ((-8, 4), "right")
        ink = POINT if name == point else DARK
        axes.annotate(name, (i + 1, percent[i]), place, textcoords="offset points", ha=side, color=ink, fontsize=12)
    axes.axvline(at, color=CONTEXT, linewidth=1, zorder=1)
    axes.set(xlabel=f"directions kept, r, of {count}", ylabel="energy held, %", ylim=(0, 102), xlim=(0, count))
    axes.set_xticks(sorted({at, *range(48, count + 1, 48)}))
    others = ", ".join(f"{float(held[at - 1]):.0%} of {name}" for name, held in curves.items() if name != point)
    title = f"{at} of {count} directions hold {float(curves[point][at - 1]):.0%} of the energy of {point}"
    axes.set_title(title)
    return Drawing(fig, f"{title}, and {others}. Curves of the share of energy over directions kept.")


def parts_by_rank(
    scores: Mapping[str, Sequence[Sequence[float]]],
    ranks: Sequence[int],
    whole: float,
    *,
    at: int,
    point: str,
    control: str,
    surprise: str | None = None,
) -> Drawing:
    """Scores of parts of a change over the rank: mean and range of the seeds, each curve with its name on it.

    Args:
        scores: name → one list per seed of shares, one per rank.
        ranks: the ranks, on a logarithmic axis.
        whole: the score of the whole change, as a thin line.
        at: the rank that the title speaks of.
        point: the part that the figure is about.
        control: the part that the title sets beside it; grey and broken, as all others.
        surprise: a part that is no control, in a colour of its own.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, another count of them, or
            another name.
    """
    colours = {point: POINT} | ({surprise: BLUE} if surprise else {})
    filled("scores", scores, most=len(_CONTROLS) + len(colours))
    numbers("ranks", ranks)
    numbers("whole", [whole])
    for part in (*colours, control):
        ranges.choice("the part", part, list(scores))
    ranges.choice("at", at, list(ranks))
    means = {name: _means(name, seeds, len(ranks)) for name, seeds in scores.items()}
    fig, axes = plt.subplots(figsize=(8.0, 4.4))
    axes.axhline(100 * whole, color="black", linewidth=1)
    lines = iter(_CONTROLS)
    for name, seeds in scores.items():
        colour = colours.get(name, CONTEXT)
        style = next(lines) if colour == CONTEXT else "-"
        axes.plot(ranks, means[name], style, color=colour, zorder=2 if colour == CONTEXT else 3)
        of_rank = list(zip(*seeds))
        low, high = [100 * min(of) for of in of_rank], [100 * max(of) for of in of_rank]
        axes.fill_between(ranks, low, high, color=colour, alpha=0.15, linewidth=0)
    named = {**means, f"the whole change: {whole:.0%}": [100 * whole] * len(ranks)}
    for name, (i, height) in _places(named).items():
        ink = colours.get(name, DARK if name in means else "black")
        axes.text(ranks[i], height, name, ha=_side(named[name], i, height), va="center", color=ink, fontsize=12)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ranks, [str(r) for r in ranks])
    axes.set(xlabel="r: the directions that the cut keeps, in every matrix", ylabel="answers right, %", ylim=(-14, 112))
    axes.set_yticks(range(0, 101, 25))
    axes.set_xlim(ranks[0] / 1.1, ranks[-1] * 1.1)
    mine, its = (means[name][list(ranks).index(at)] / 100 for name in (point, control))
    title = f"{at} directions: {mine:.0%} right if {point}, {its:.0%} if {control}; all: {whole:.0%}"
    axes.set_title(title)
    each = [f"{name} {', '.join(f'{m:.0f} % at {r}' for r, m in zip(ranks, of))}" for name, of in means.items()]
    return Drawing(fig, f"{title}. Answers right over directions, means of the seeds: {'; '.join(each)}.")


def _means(name: str, seeds: Sequence[Sequence[float]], count: int) -> list[float]:
    """The mean of the seeds at each rank, in percent."""
    filled(f"scores of {name}", seeds)
    for seed in seeds:
        numbers(f"scores of {name}", seed, count)
    return [100 * sum(of_rank) / len(of_rank) for of_rank in zip(*seeds)]


def _places(curves: Mapping[str, Sequence[float]]) -> dict[str, tuple[int, float]]:
    """For each curve the place on the axis and the height where its name stands freest, near its own curve."""
    placed: dict[str, tuple[int, float]] = {}
    for name, values in curves.items():
        room = {}
        for i, value in enumerate(values):
            for height in (value + _NEAR, value - _NEAR, value + 11, value - 11):
                lines = [abs(height - there) for curve in curves.values() for there in _near(curve, i)]
                names = [abs(height - other) / 2 for at, other in placed.values() if abs(at - i) < 2]
                apart = [abs(curve[i] - value) / 2 for other, curve in curves.items() if other != name]
                space = min([_NEAR, *lines, *names, *apart, height + 12, 110 - height])
                room[i, height] = space - abs(height - value) / 10
        placed[name] = max(room, key=lambda place: room[place])
    return placed


def _side(curve: Sequence[float], i: int, height: float) -> str:
    """How a name is aligned at a place: at the ends inwards, beside a steep curve away from it."""
    if i in (0, len(curve) - 1):
        return "left" if i == 0 else "right"
    rise = curve[i + 1] - curve[i - 1]
    if abs(rise) < 20:
        return "center"
    return "left" if (rise > 0) == (height < curve[i]) else "right"


def _near(curve: Sequence[float], i: int) -> list[float]:
    """The heights of a curve at a place and half a step to both sides, which is how far a name reaches."""
    left, right = curve[max(i - 1, 0)], curve[min(i + 1, len(curve) - 1)]
    return [(left + curve[i]) / 2, curve[i], (curve[i] + right) / 2]
