"""Figures about merging: where an update may go, what a grid does to a few weights, what is lost by its size."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from lora_lab import ranges
from lora_lab.show.drawing import FROZEN, INK, TRAINED, Drawing, Look, arrow, canvas, matrix, shape, words
from lora_lab.show.figures import BLUE, CONTEXT, POINT
from lora_lab.show.inputs import filled, numbers

_MARKS = ("o", "s", "D", "^")
_FOUR_BITS = Look("#DCE9F5", BLUE, None, "#1F4E79", 1.4)
_MOVED = "#A84700"


def merge_schematic(d_out: int, d_in: int, r: int) -> Drawing:
    """One weight in 16 bits, its 4-bit copy, one update, and four places where a server may find them.

    Args:
        d_out, d_in, r: the shapes, at least 1.

    Returns:
        The figure and its alt text.

    Raises:
        TypeError, ValueError: for sizes that are no whole numbers from 1.
    """
    d_out, d_in, r = ranges.whole("d_out", d_out), ranges.whole("d_in", d_in), ranges.whole("r", r)
    fig, axes = canvas(7.2, 4.5, "One update, four places to put it")
    W = matrix(axes, (0.85, 3.1), (0.85, 0.85), FROZEN)
    hat = matrix(axes, (0.85, 1.15), (0.85, 0.85), _FOUR_BITS)
    words(axes, W.centre, "W", "on", FROZEN, fontweight="bold")
    words(axes, hat.centre, "Ŵ", "on", _FOUR_BITS, fontweight="bold")
    words(axes, W.top, f"original, 16 bit\n{shape(d_out, d_in)}", "above", FROZEN, fontsize=10)
    words(axes, hat.bottom, "4 bit: QLoRA\ntrained on it", "below", _FOUR_BITS, fontsize=10)
    arrow(axes, W.bottom, hat.top)
    words(axes, (0.85, 2.12), "Q: round", "right", fontsize=10)
    B = matrix(axes, (2.3, 2.3), (0.85, 0.12), TRAINED)
    A = matrix(axes, (2.95, 2.3), (0.12, 0.85), TRAINED)
    words(axes, (2.75, 2.76), f"ΔW = s·B·A\nB {shape(d_out, r)}, A {shape(r, d_in)}", "above", TRAINED, fontsize=10)
    words(axes, B.bottom, "B", "below", TRAINED, fontweight="bold", fontsize=10)
    words(axes, A.bottom, "A", "below", TRAINED, fontweight="bold", fontsize=10)
    ends = (
        ("Ŵ beside B, A", "1  not merged: 4 bit and a small file", _FOUR_BITS),
        ("Ŵ + ΔW", "2  into the dequantized base: 16 bit", FROZEN),
        ("W + ΔW", "3  into the original base: 16 bit", FROZEN),
        ("Q(Ŵ + ΔW)", "4  back into the 4-bit base: 4 bit", _FOUR_BITS),
    )
    for number, (formula, text, look) in enumerate(ends):
        height = 3.3 - 0.88 * number
        corner = (3.85, height - 0.3)
        axes.add_patch(Rectangle(corner, 3.2, 0.6, facecolor=look.face, edgecolor=look.edge, linewidth=look.thick))
        axes.text(3.97, height + 0.13, formula, ha="left", va="center", fontsize=11, fontweight="bold", color=INK)
        axes.text(3.97, height - 0.14, text, ha="left", va="center", fontsize=10, color=INK)
    said = "; ".join(f"{text[0]}, {formula}, {text[3:]}" for formula, text, _ in ends)
    return Drawing(
        fig,
        f"A 16-bit weight W {shape(d_out, d_in)} is rounded by Q to Ŵ in 4 bits, on which QLoRA trained ΔW = "
        f"s·B·A with B {shape(d_out, r)} and A {shape(r, d_in)}. Four places for it: {said}.",
    )


def moved_weights(panels: Mapping[str, Sequence[Sequence[Sequence[float]]]]) -> Drawing:
    """Small weights before and after, their numbers in them; what has moved stands out.

    Args:
        panels: name -> (before, after) as stored, or (before, after, before, after) with what was rounded to them,
            which stands small below; matrices of one shape, at most 6 × 6.

    Returns:
        The figure and its alt text, which counts what moved and says how far on average.

    Raises:
        TypeError, ValueError: for nothing to draw, or values that are no finite numbers.
    """
    filled("panels", panels, most=3)
    fig, row = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 4.4), squeeze=False)
    said = []
    for axes, (name, (before, after, *unrounded)) in zip(row[0], panels.items()):
        filled(f"rows of {name}", before, most=6)
        moved, far, count = 0, 0.0, 0
        for i, (old, new) in enumerate(zip(before, after, strict=True)):
            numbers(f"a row of {name}", old, len(new))
            numbers(f"a row of {name}", new)
            for j, (a, b) in enumerate(zip(old, new)):
                a, b = float(a) + 0.0, float(b) + 0.0  # −0 is 0
                differs = abs(a - b) > 1e-9
                moved, far, count = moved + differs, far + b - a, count + 1
                face = "#F8D9C4" if differs else "white"
                axes.add_patch(Rectangle((j, -i - 1), 1, 1, facecolor=face, edgecolor=CONTEXT))
                text = f"{a:g}\n→ {b:g}" if differs else f"{b:g}"
                weight = "bold" if differs else "normal"
                height = -i - (0.38 if unrounded else 0.5)
                axes.text(j + 0.5, height, text.replace("-", "−"), ha="center", va="center", fontsize=11,
                          color=_MOVED if differs else INK, fontweight=weight)  # fmt: skip
                if unrounded:
                    raw = f"{unrounded[0][i][j] + 0.0:.2f}→{unrounded[1][i][j] + 0.0:.2f}".replace("-", "−")
                    axes.text(j + 0.5, -i - 0.92, raw, ha="center", va="bottom", fontsize=7.5, color=INK)
        axes.set(xlim=(-0.03, len(before[0]) + 0.03), ylim=(-len(before) - 0.03, 0.03), aspect="equal")
        axes.axis("off")
        verdict = f"{moved} of {count} move, {far / count:+.3g} on average".replace("-", "−")
        axes.set_title(f"{name}:\n{verdict}", fontsize=12)
        said.append(f"{name}: {verdict}")
    return Drawing(fig, f"Weights before and after. {'; '.join(said)}.")


def lost_by_size(ways: Mapping[str, Mapping[float, float]], title: str | None = None) -> Drawing:
    """The share of the gain that each way of merging loses, over the size of the update.

    Args:
        ways: way -> {‖ΔW‖ / ‖Ŵ‖: share lost}, a mark for each adapter; the first way stands out.
        title: in place of one that compares the first way's largest loss with the others'.

    Returns:
        The figure and its alt text, which names each way's least and largest loss.

    Raises:
        TypeError, ValueError: for nothing to draw, or values that are no finite numbers.
    """
    filled("ways", ways, most=len(_MARKS))
    fig, axes = plt.subplots(figsize=(7.2, 4.2))
    said = []
    for (way, points), colour, mark in zip(ways.items(), (POINT, BLUE, INK, CONTEXT), _MARKS):
        numbers(f"sizes of {way}", list(points))
        numbers(f"losses of {way}", list(points.values()))
        sizes, lost = [100 * size for size in points], [100 * share for share in points.values()]
        filled_in = colour if way == next(iter(ways)) else "none"
        axes.plot(sizes, lost, mark, color=colour, markerfacecolor=filled_in, markersize=8, label=way)
        said.append(f"{way}: {min(lost):.0f} to {max(lost):.0f} %".replace("-", "−"))
    axes.axhline(0, color=CONTEXT, linewidth=1, zorder=0)
    axes.set(xscale="log", xlabel="size of the update, ‖ΔW‖ as % of ‖Ŵ‖", ylabel="share of the gain lost, %")
    ticks = [1, 2, 5, 10, 20, 40]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    first, *others = (max(points.values()) for points in ways.values())
    if title is None:
        title = f"{next(iter(ways))} loses up to {first:.0%}" + (f", the others {max(others):.0%}" if others else "")
    axes.set_title(title)
    axes.legend(loc="upper right")
    return Drawing(fig, f"{title}. Share of the gain lost, {'; '.join(said)}. One mark for each adapter.")
