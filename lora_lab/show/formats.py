"""Pictures of number formats: the bits of a number by their fields, and where the numbers of a format stand.

show.figure(*show.bits_schematic({"float16": "0 01011 1001100110"}))
"""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

from lora_lab.show.drawing import Drawing, canvas
from lora_lab.show.figures import BLUE, CONTEXT, DARK, POINT, SKY
from lora_lab.show.inputs import filled, numbers

_FIELDS = ("sign", "exponent", "mantissa")
_FACES = {"sign": "#D9D9D9", "exponent": "#CFE3F2", "mantissa": "#F8D9C4", "whole number": "white"}
_BIT, _LEFT, _ROW = 0.168, 1.25, 0.62  # inches: a bit's width, where the bits begin, from row to row
_MOST_BITS = 32


def bits_schematic(rows: Mapping[str, str], title: str = "A row of bits, cut into fields") -> Drawing:
    """One row of boxes per format: sign, exponent and mantissa of a float, or sign and whole number of an integer.

    Args:
        rows: format -> its bits, the fields apart: "0 01011 1001100110" of a float, "0 1100101" of an integer.
        title: what it shows.

    Returns:
        The figure and its alt text, with every bit in it.

    Raises:
        TypeError, ValueError: for no rows, for what is no bits, or for too many of them.
    """
    filled("rows", rows)
    fig, axes = canvas(7.2, 0.78 + _ROW * len(rows), title)
    top, said = 0.3 + _ROW * (len(rows) - 1), []
    for number, (name, bits) in enumerate(rows.items()):
        fields = _fields(name, bits)
        y, x = top - _ROW * number, _LEFT
        axes.text(_LEFT - 0.12, y + 0.13, name, ha="right", va="center", fontsize=11, fontweight="bold")
        for field, part in fields.items():
            for bit in part:
                axes.add_patch(Rectangle((x, y), _BIT, 0.26, facecolor=_FACES[field], edgecolor=CONTEXT, linewidth=0.8))
                axes.text(x + _BIT / 2, y + 0.125, bit, ha="center", va="center", fontsize=10)
                x += _BIT
            width = _BIT * len(part)
            label = str(len(part)) if width < 0.9 else f"{len(part)} {field}"
            axes.text(x - width / 2, y - 0.03, label, ha="center", va="top", fontsize=10, color=DARK)
        said.append(f"{name}: " + ", ".join(f"{field} {part}" for field, part in fields.items()))
    x = _LEFT
    for field, face in _FACES.items():
        if any(field in _fields(name, bits) for name, bits in rows.items()):
            y = top + 0.36
            axes.add_patch(Rectangle((x, y), 0.2, 0.16, facecolor=face, edgecolor=CONTEXT, linewidth=0.8))
            axes.text(x + 0.27, y + 0.08, field, ha="left", va="center", fontsize=10)
            x += 0.55 + 0.085 * len(field)
    return Drawing(fig, f"{title}. {'; '.join(said)}.")


def _fields(name: str, bits: str) -> dict[str, str]:
    parts = bits.split() if isinstance(bits, str) else []
    if not parts or any(set(part) - {"0", "1"} for part in parts) or sum(map(len, parts)) > _MOST_BITS:
        raise ValueError(f"the bits of {name} are {bits!r}: give up to {_MOST_BITS} of 0 and 1, the fields apart")
    if len(parts) not in (2, 3):
        raise ValueError(f"{name} has {len(parts)} fields: a float has three, a whole number a sign and the rest")
    return dict(zip(_FIELDS if len(parts) == 3 else ("sign", "whole number"), parts))


def number_lines(formats: Mapping[str, Sequence[float]], lowest: int, highest: int) -> Drawing:
    """Where the positive numbers of each format stand, on an axis on which every doubling is as wide.

    Args:
        formats: name -> its numbers; those that are not above 0 are left out.
        lowest, highest: the axis goes from 2^lowest to 2^highest.

    Returns:
        The figure and its alt text; the rows count the numbers from 1 to 2 and from 64 to 128.

    Raises:
        TypeError, ValueError: for no formats, values that are no finite numbers, or an axis that ends before it begins.
    """
    filled("formats", formats, most=4)
    if highest - lowest < 2:
        raise ValueError(f"an axis from 2^{lowest} to 2^{highest} has no room: highest must be larger by 2 at least")
    fig, axes = plt.subplots(figsize=(7.2, 0.9 + 0.75 * len(formats)))
    low, high = (1, 2), (64, 128)
    counts, labels, even = [], [], []
    for row, (name, values) in enumerate(formats.items()):
        numbers(f"numbers of {name}", values)
        positive = sorted({float(value) for value in values if value > 0})
        axes.plot(positive, [-row] * len(positive), "|", color=(POINT, BLUE, SKY, CONTEXT)[row],
                  markersize=22, markeredgewidth=1.3)  # fmt: skip
        inside = [sum(a <= value < b for value in positive) for a, b in (low, high)]
        counts.append(f"{name} {inside[0]} and {inside[1]}")
        labels.append(f"{name}\n{inside[0]} and {inside[1]}")
        even += [name] if inside[0] == inside[1] else []
    axes.set_xscale("log", base=2)
    axes.set(xlim=(2.0**lowest, 2.0**highest), ylim=(-len(formats) + 0.5, 0.5), xlabel="the number, positive ones only")
    axes.set_yticks([-row for row in range(len(formats))], labels)
    ticks = list(range(math.ceil(lowest / 4) * 4, highest + 1, 4))
    axes.set_xticks([2.0**exponent for exponent in ticks], [_power(exponent) for exponent in ticks])
    axes.minorticks_off()
    axes.tick_params(axis="y", length=0)
    title = f"As many from 1 to 2 as from 64 to 128: {', '.join(even) or 'no format'}"
    axes.set_title(title)
    alt = f"Ticks of positive numbers on a logarithmic axis. {title}. Counted there: {'; '.join(counts)}."
    return Drawing(fig, alt)


def _power(exponent: int) -> str:
    return f"{2**exponent:,}" if 0 <= exponent <= 10 else f"$2^{{{exponent}}}$"
