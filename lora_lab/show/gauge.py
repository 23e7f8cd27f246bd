"""A gauge of memory: one bar on an axis that belongs to the card, so that a bar that grows is seen to grow."""

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from lora_lab.memory.cards import GPU, get_gpu
from lora_lab.memory.gpus import process_bytes
from lora_lab.memory.result import COMPONENTS
from lora_lab.memory.saying import gib, verdict
from lora_lab.show.drawing import INK, Drawing
from lora_lab.show.memory import component_colour, in_order, refuse_others
from lora_lab.units import GIB

if TYPE_CHECKING:
    from lora_lab.memory.result import MemoryEstimate

REACH = 2.0  # the axis ends at so many times the card's memory: what does not fit is still seen, up to that

_ANSWERING = ("frozen weights", "quantization constants", "KV cache", "activations", "logits and loss", "workspace")
_GROUND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 1.5}  # of words that a line may cross


def memory_gauge(estimate: "MemoryEstimate", gpu: GPU | str, title: str) -> Drawing:
    """One bar with the card's line: the peak by component, and below it the range that a process is likely to hold.

    The axis goes from 0 to twice what the card has, whatever the estimate; a longer bar ends in an arrow.

    Args:
        estimate: of `memory.estimate`, `inference`, `simulate` or `measure`.
        gpu: the card, by name.
        title: the finding.

    Returns:
        The figure and its alt text: `show.figure(*show.memory_gauge(...))`. Its unit is GiB = 2³⁰ bytes.

    Raises:
        TypeError: for what is no estimate.
        ValueError: for an unknown GPU.
    """
    refuse_others({title: estimate})
    card = gpu if isinstance(gpu, GPU) else get_gpu(gpu)
    end = REACH * card.usable_gib
    fig, axes = plt.subplots(figsize=(6.2, 3.1))
    _bar(axes, estimate, end)
    _process(axes, estimate.peak_bytes, card, end)
    axes.plot(2 * [card.usable_gib], [-0.42, 1.05], color="black", linestyle="--", linewidth=1.4, zorder=3)
    axes.text(card.usable_gib, -0.45, f"{card.name}: {gib(card.usable_bytes)} usable", ha="center", va="bottom")
    axes.set(xlim=(0, end), ylim=(1.05, -0.72), yticks=[], xlabel="memory at the peak (GiB)")
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    fig.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    names = _ANSWERING if estimate.trainable_params == 0 else COMPONENTS  # all of them, so that nothing moves
    patches = [Patch(color=component_colour(name), label=name) for name in names]
    fig.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=10)
    return Drawing(fig, _alt(estimate, card, title))


def _bar(axes: Axes, estimate: "MemoryEstimate", end: float) -> None:
    left = 0.0
    for component, count in in_order(estimate.components):
        axes.barh(0, count / GIB, left=left, height=0.62, color=component_colour(component))
        left += count / GIB
    text, inside = gib(estimate.peak_bytes), left > 0.8 * end
    words, side = f"{text} →" if left > end else text, "right" if inside else "left"
    place = min(left, end) + (-0.015 if inside else 0.015) * end
    axes.text(place, 0, words, ha=side, va="center", fontsize=12, fontweight="bold", bbox=_GROUND, zorder=4)


def _process(axes: Axes, tensor_bytes: int, card: GPU, end: float) -> None:
    """From its least to its most, as a line with ends, and what it is beside it."""
    low, high = (count / GIB for count in process_bytes(tensor_bytes, card))
    axes.plot([low, high], [0.6, 0.6], color=INK, linewidth=3, marker="|", markersize=11, markeredgewidth=2)
    middle = min(max((low + high) / 2, 0.12 * end), 0.88 * end)
    axes.text(
        middle, 0.7, "as a process" if low < end else "as a process →", ha="center", va="top", bbox=_GROUND, zorder=4
    )


def _alt(estimate: "MemoryEstimate", card: GPU, title: str) -> str:
    parts = sorted(estimate.components.items(), key=lambda part: -part[1])[:4]
    said = verdict(estimate.peak_bytes, card.usable_bytes, f"usable on {card.name}", card, gib)
    largest = ", ".join(f"{name} {gib(count)}" for name, count in parts if count)
    return f"{title}. {said} The peak is in the phase '{estimate.peak_phase}': {largest}."
