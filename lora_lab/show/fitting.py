"""Figures for "Will it fit?": what shares a card, which lever shrinks what, and the operations that it costs."""

from collections.abc import Mapping

import matplotlib.pyplot as plt

from lora_lab.show.drawing import INK, PLAIN, Drawing, Look, canvas, matrix, words
from lora_lab.show.figures import CONTEXT, POINT
from lora_lab.show.inputs import filled, numbers
from lora_lab.show.memory import COMPONENT_COLOURS, beside_bar

# What shares a card: its name, what its size follows, and the levers that shrink it.
_SHARES = (
    ("frozen weights", "weights", "each number of the model", "LoRA: 16 bits, not 32 · QLoRA: 4 bits"),
    ("gradients", "gradients", "each number that trains", "LoRA: few numbers train"),
    ("optimizer states", "optimizer states", "each number that trains, twice", "LoRA · 8-bit or paged states"),
    ("activations", "activations", "tokens × layers × width", "checkpointing · fewer tokens at a time"),
    ("logits and loss", "logits and loss", "tokens × vocabulary", "a part at a time · fused: none at all"),
)


def levers_schematic() -> Drawing:
    """What must lie on one card in a training step, what the size of each part follows, and which levers shrink it.

    Returns:
        The figure and its alt text. It holds no bytes: those are for the reader to find.
    """
    height = 0.62 * len(_SHARES) + 0.75
    fig, axes = canvas(7.2, height, "Five parts share a card, and each has levers of its own")
    top, said = height - 0.95, []
    words(axes, (2.02, height - 0.55), "grows with", "right", fontweight="bold", fontsize=10)
    words(axes, (4.12, height - 0.55), "levers", "right", fontweight="bold", fontsize=10)
    for row, (component, name, follows, levers) in enumerate(_SHARES):
        middle = top - 0.62 * row
        look = Look(COMPONENT_COLOURS[component], INK, None, INK, 1.2)
        box = matrix(axes, (0.95, middle), (0.5, 1.7), look)
        words(axes, box.centre, name, "on", fontsize=10)
        words(axes, (2.02, middle), follows.replace(", twice", ",\ntwice"), "right", fontsize=10)
        words(axes, (4.12, middle), levers.replace(" · ", "\n"), "right", PLAIN, fontsize=10)
        said.append(f"{name}: grow with {follows}; levers: {levers}")
    return Drawing(fig, f"Five parts share a card. {'. '.join(said)}.")


def lever_prices(ways: Mapping[str, tuple[float, float]], start: str, title: str | None = None) -> Drawing:
    """What each lever does to a step: its peak and its operations, both as multiples of where one starts.

    Args:
        ways: name → (bytes at the peak, operations of a step), from top to bottom.
        start: the name of the way that counts as one.
        title: in place of one that names the way with the lowest peak, and both its multiples.

    Returns:
        The figure and its alt text, which holds both multiples of every way.

    Raises:
        TypeError, ValueError: for nothing to draw, a start that is none of the ways, or values that are no numbers.
    """
    filled("ways", ways, most=12)
    if start not in ways:
        raise ValueError(f"start={start!r} is none of the ways: choose one of {', '.join(ways)}")
    for name, pair in ways.items():
        numbers(name, list(pair))
    peak, work = ways[start]
    times = {name: (count / peak, operations / work) for name, (count, operations) in ways.items()}
    lowest = min(times, key=lambda name: times[name][0])
    title = title or f"{lowest}: {times[lowest][0]:.0%} of {start}'s memory, {times[lowest][1]:.2f} times its work"
    fig, panels = plt.subplots(1, 2, figsize=(7.2, 0.42 * len(ways) + 1.5), sharey=True)
    for column, (axes, what) in enumerate(zip(panels, ("peak memory", "operations"))):
        axes.axvline(1, color=INK, linewidth=1.2, linestyle="--")
        for row, (name, both) in enumerate(times.items()):
            axes.barh(row, both[column], height=0.62, color=POINT if name == lowest else CONTEXT)
            beside_bar(axes, both[column], row, f"{both[column]:.2f}", fontsize=11)
        axes.tick_params(axis="y", length=0)
        axes.set(xlabel=f"times {start}'s {what}", xlim=(0, 1.22 * max(both[column] for both in times.values())))
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(ways)), list(ways))
    panels[0].invert_yaxis()
    fig.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    told = "; ".join(f"{name}: {down:.2f} times the memory, {more:.2f} times the operations"
                     for name, (down, more) in times.items())  # fmt: skip
    return Drawing(fig, f"{title}. As multiples of {start}: {told}.")
