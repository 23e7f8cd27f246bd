"""Pictures of memory: what a training step needs at its peak, how it gets there, and how well that was predicted."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from lora_lab.show.figures import BLUE, CONTEXT, GREEN, ORANGE, POINT, PURPLE, SKY
from lora_lab.show.inputs import numbers
from lora_lab.units import GB

if TYPE_CHECKING:
    from lora_lab.memory import MemoryEstimate, Moment

# One colour per component in every figure, in the order of `memory.COMPONENTS`: grey is what lies still.
COMPONENT_COLOURS = {
    "frozen weights": CONTEXT,
    "quantization constants": "#4D4D4D",
    "trainable weights": BLUE,
    "gradients": SKY,
    "optimizer states": PURPLE,
    "activations": ORANGE,
    "logits and loss": POINT,
    "workspace": GREEN,
}
_ANSWERING = {"KV cache": BLUE}  # where nothing trains, whose colour is then free
_OTHER = "#C9C9C9"  # a component of another name, such as the unexplained rest of a measurement

# How wide a phase is drawn. The loss is a handful of operators, and would be a hairline at scale.
_WIDTHS = {"at rest": 0.5, "forward": 3.0, "loss": 1.6, "backward": 3.0, "optimizer step": 1.0}
_SHORT = {"at rest": "rest", "optimizer step": "update"}


def memory_bars(
    estimates: Mapping[str, "MemoryEstimate"], title: str, budget: int | Mapping[str, int] | None = None
) -> Figure:
    """One bar per estimate: its peak, stacked by component.

    Args:
        estimates: by label, from top to bottom; of `memory.estimate`, `simulate` or `measure`.
        title: the finding.
        budget: bytes that there are, or several by name, such as those of GPUs; each becomes a vertical line.

    Returns:
        The figure, for `show.figure`.

    Raises:
        ValueError: without estimates.
    """
    if not estimates:
        raise ValueError("no estimates: give at least one, by its label")
    refuse_others(estimates)
    budgets = budget if isinstance(budget, Mapping) else {} if budget is None else {"budget": budget}
    if budgets:
        numbers("budget", budgets.values())
    peaks = [estimate.peak_bytes for estimate in estimates.values()]
    unit, size = _unit(max(peaks))
    fig, axes = plt.subplots(figsize=(8.0, 0.52 * len(peaks) + 1.9))
    for row, estimate in enumerate(estimates.values()):
        left = 0.0
        for component, count in in_order(estimate.components):
            axes.barh(row, count / size, left=left, height=0.66, color=component_colour(component), label=component)
            left += count / size
        beside_bar(axes, left, row, f"{left:,.1f}", fontweight="bold")
    right = max([1.12 * max(peaks), *(1.05 * count for count in budgets.values())]) / size
    for name, count in budgets.items():
        axes.axvline(count / size, color="black", linestyle="--", linewidth=1.2)
        axes.text(count / size, -0.62, f"{name} ", ha="right", va="bottom", fontsize=10)
    axes.set(
        xlim=(0, right), ylim=(len(peaks) - 0.5, -0.95 if budgets else -0.5), xlabel=f"memory at the peak ({unit})"
    )
    axes.set_yticks(range(len(peaks)), list(estimates))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    _finish(fig, axes, title)
    return fig


def memory_timeline(estimates: "MemoryEstimate | Mapping[str, MemoryEstimate]", title: str) -> Figure:
    """What is alive from moment to moment of a step, stacked by component, phase by phase; a dot marks the peak.

    Within a phase the moments are spread evenly; the widths of the phases are no durations.

    Args:
        estimates: one with a timeline, of `memory.estimate` or `simulate`; or several by label, one above the other.
        title: the finding.

    Returns:
        The figure, for `show.figure`.

    Raises:
        ValueError: for an estimate without a timeline, such as a measured one.
    """
    panels = estimates if isinstance(estimates, Mapping) else {"": estimates}
    if not panels:
        raise ValueError("no estimates: give at least one, by its label")
    refuse_others(panels)
    if any(not estimate.timeline for estimate in panels.values()):
        raise ValueError("an estimate without a timeline cannot be drawn over time: take memory.simulate or estimate")
    unit, size = _unit(max(estimate.peak_bytes for estimate in panels.values()))
    fig, rows = plt.subplots(len(panels), figsize=(8.0, 2.6 * len(panels) + 1.5), sharey=True, squeeze=False)
    for axes, (label, estimate) in zip(rows[:, 0], panels.items(), strict=True):
        _timeline(axes, estimate.timeline, size)
        axes.set(ylabel=unit)
        if label:
            axes.set_title(label, fontsize=11, fontweight="normal")
    rows[0, 0].set_ylim(0, 1.18 * max(estimate.peak_bytes for estimate in panels.values()) / size)
    _finish(fig, rows[-1, 0], title)
    return fig


def predicted_against_measured(
    pairs: Mapping[str, Sequence[tuple[int, int]]], title: str, band: float = 0.01
) -> Figure:
    """Predictions over measurements: on the left against the diagonal, on the right as errors with a band.

    Args:
        pairs: (measured, predicted) bytes by the way of predicting; the first is the point, the others context.
        title: the finding.
        band: the error that is shaded, as a share; beyond it the axis of errors is logarithmic.

    Returns:
        The figure, for `show.figure`.

    Raises:
        ValueError: without pairs, or for more than four ways.
    """
    if not pairs or not all(pairs.values()) or len(pairs) > 4:
        raise ValueError(f"{len(pairs)} ways of predicting: give one to four, each with at least one pair")
    every = [count for series in pairs.values() for pair in series for count in pair]
    numbers("pairs", every)
    if min(every) <= 0:
        raise ValueError(f"pairs hold {min(every)} bytes, which a logarithmic axis has no place for")
    unit, size = _unit(max(every))
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.6, 4.3))
    counts = [measured for series in pairs.values() for measured, _ in series]
    ends, span = ([0.8 * min(each) / size, 1.25 * max(each) / size] for each in (counts, every))
    left.plot(span, span, color="black", linewidth=1.0)
    percent = 100 * band
    right.axhspan(-percent, percent, color=_OTHER, alpha=0.6, linewidth=0)
    right.axhline(0, color="black", linewidth=1.0)
    for number, (name, series) in enumerate(pairs.items()):
        look: dict[str, Any] = {
            "marker": "o^sD"[number], "color": (POINT, BLUE, CONTEXT, GREEN)[number], "zorder": 9 - number,
            "linestyle": "none", "markersize": 7 if number else 6, "clip_on": False,
        }  # fmt: skip
        measured = [m / size for m, _ in series]
        left.plot(measured, [p / size for _, p in series], label=name, **look)
        right.plot(measured, [100 * (p / m - 1) for m, p in series], **look)
    left.set(xscale="log", yscale="log", xlim=ends, ylim=span)
    left.set(xlabel=f"measured ({unit})", ylabel=f"predicted ({unit})")
    right.set_xscale("log")
    right.set_yscale("symlog", linthresh=percent)
    right.set(xlim=ends, xlabel=f"measured ({unit})", ylabel="error (%)")
    worst = max(abs(100 * (p / m - 1)) for series in pairs.values() for m, p in series)
    steps = [percent * 10**n for n in range(5) if n == 0 or percent * 10 ** (n - 1) < worst]
    ticks = sorted({0.0, *steps, *(-step for step in steps if step <= 100)})
    right.set_yticks(ticks, [f"{tick:+g}" if tick else "0" for tick in ticks])
    right.yaxis.set_minor_locator(NullLocator())
    for axis in (left.xaxis, left.yaxis, right.xaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_locator(NullLocator())
    _finish(fig, left, title)
    return fig


def _timeline(axes: Axes, timeline: "Sequence[Moment]", size: int) -> None:
    places: list[float] = []
    segments: list[tuple[str, float, float]] = []
    start = 0.0
    for phase, moments in groupby(timeline, key=lambda moment: moment.phase):
        count, width = len(list(moments)), _WIDTHS.get(phase, 1.0)
        places += [start + width * (number + 0.5) / count for number in range(count)]
        segments.append((phase, start, start + width))
        start += width
    names = list(COMPONENT_COLOURS)
    heights = [[moment.bytes[row] / size for moment in timeline] for row in range(len(names))]
    used = [row for row, values in enumerate(heights) if any(values)]
    axes.stackplot(
        places,
        [heights[row] for row in used],
        colors=[component_colour(names[row]) for row in used],
        labels=[names[row] for row in used],
        step="post",
        linewidth=0,
    )
    totals = [moment.total / size for moment in timeline]
    peak = totals.index(max(totals))
    axes.plot(places[peak], totals[peak], "o", color="black", markersize=6)
    axes.annotate(
        f"{totals[peak]:,.1f}",
        (places[peak], totals[peak]),
        (0, 6),
        textcoords="offset points",
        ha="center",
        fontweight="bold",
    )
    for _, _, end in segments[:-1]:
        axes.axvline(end, color="white", linewidth=1.5)
    middles = [(left + right) / 2 for _, left, right in segments]
    axes.set_xticks(middles, [_SHORT.get(phase, phase) for phase, _, _ in segments])
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_xlim(0, start)


def beside_bar(axes: Axes, end: float, row: int, text: str, **look: Any) -> None:
    """A horizontal bar's number right of its end, on a ground of its own: a line that crosses it stays behind it."""
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 0.5}
    axes.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center", bbox=ground, **look)


def refuse_others(estimates: Mapping[str, Any]) -> None:
    """Raises TypeError for what is no estimate."""
    for label, estimate in estimates.items():
        if not hasattr(estimate, "peak_bytes"):
            raise TypeError(f"{label!r} is no estimate, but {estimate!r}: give what memory.estimate returns")


def in_order(components: Mapping[str, int]) -> list[tuple[str, int]]:
    """Those that have bytes, as every figure stacks them."""
    order = list(COMPONENT_COLOURS)
    present = [(name, count) for name, count in components.items() if count]
    return sorted(present, key=lambda part: order.index(part[0]) if part[0] in order else len(order))


def component_colour(component: str) -> str:
    """The same in every figure."""
    return (COMPONENT_COLOURS | _ANSWERING).get(component, _OTHER)


def _finish(fig: Figure, axes: Axes, title: str) -> None:
    """The title over the whole width; the legend below the axes, each name once, also of what can hardly be seen."""
    fig.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(reversed(labels), reversed(handles), strict=True))
    order = [*COMPONENT_COLOURS, *labels]
    names = sorted(once, key=order.index)
    columns = min(4, len(names))
    fig.legend([once[name] for name in names], names, loc="outside lower center", ncols=columns, fontsize=10)


def _unit(count: int) -> tuple[str, int]:
    """GB = 10⁹ bytes from one on, MB = 10⁶ below."""
    return ("GB", GB) if count >= GB else ("MB", 10**6)
