"""Figures about what one decides before a run: single choices, what a decision is worth, and when to stop.

    show.figure(*show.by_choice({"new facts": {"MLP": [0.2, 0.3], "all": [0.5, 0.4]}}, "exact answers"))

Each function gives the figure and its alt text; titles and alt texts are made of the numbers.
"""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from lora_lab.show.choices import Scores, apart, by_chance, full, worth
from lora_lab.show.drawing import INK, Drawing
from lora_lab.show.figures import BLUE, CONTEXT, POINT
from lora_lab.show.inputs import filled, numbers

_RING: dict[str, Any] = {"marker": "o", "markersize": 12, "fillstyle": "none", "color": POINT, "markeredgewidth": 1.8}


def by_choice(panels: Mapping[str, Scores], what: str, title: str | None = None) -> Drawing:
    """A row for each choice, in the order given, and a panel for each task: a dot per seed, a line at their mean.

    The first seed of a row has a ring. All rows have one color: a best mean is no finding while the dots overlap.

    Args:
        panels: task -> choice -> scores, that of seed 0 first. A task may lack a choice.
        what: is scored, such as "exact answers".
        title: in place of one that says, of the first task, how far the means lie apart, and how far the seeds of one
            choice.

    Raises:
        TypeError, ValueError: for nothing to draw, or scores that are no finite numbers.
    """
    _checked(panels)
    choices = list(dict.fromkeys(choice for scores in panels.values() for choice in scores))
    fig, axes = plt.subplots(
        1, len(panels), figsize=(7.2, 1.9 + 0.48 * len(choices)), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, (task, scores) in zip(axes[0], panels.items()):
        for row, choice in enumerate(choices):
            if choice in scores:
                _seeds(panel, row, scores[choice])
        panel.set_title(task, fontsize=12, fontweight="normal")
        panel.set(xlim=(-4, 112), ylim=(len(choices) - 0.4, -0.6), xlabel=f"{what} (%)")
        panel.set_xticks(range(0, 101, 25))
        panel.grid(axis="y", visible=False)
    axes[0, 0].set_yticks(range(len(choices)), choices)
    ring = Line2D([], [], linestyle="", label="seed 0", **_RING)
    dot = Line2D([], [], linestyle="", marker="o", markersize=8, color=BLUE, alpha=0.6, label="other seeds")
    fig.legend(handles=[ring, dot], loc="outside lower right", ncols=2, fontsize=10)
    fig.suptitle(title or _means_and_seeds(panels), x=0.01, ha="left", fontweight="bold", fontsize=13)
    said = "; ".join(
        f"{task}: " + ", ".join(f"{choice} {_mean(values)} ({_ends(values)})" for choice, values in scores.items())
        for task, scores in panels.items()
    )
    parted = "; ".join(f"{task}: {', '.join(apart(scores)) or 'none'}" for task, scores in panels.items())
    told = f"{what} in percent, means over the seeds and their range. {said}. Rows whose dots do not overlap: {parted}."
    return Drawing(fig, told)


def decisions(panels: Mapping[str, Mapping[str, Scores]], what: str, title: str | None = None) -> Drawing:
    """What each decision is worth: a row for each, from its worst choice to its best, the longest on top.

    Under each row stand the names of its choices, in the order of their dots. A grey tick marks how long the row would
    be on average if its scores were dealt to its choices at random; the row ends there when luck is all there is.

    Args:
        panels: task -> decision -> choice -> scores of the seeds. A choice counts with its mean; one that has fewer
            scores than others of its decision is drawn hollow above the row, named in brackets, and counts for nothing.
            A decision with fewer than two choices is left out.
        what: is scored, such as "exact answers".
        title: in place of one that says what each decision is worth on the first task.

    Raises:
        TypeError, ValueError: for nothing to draw, or scores that are no finite numbers.
    """
    filled("panels", panels)
    panels = {
        task: {decision: choices for decision, choices in decided.items() if len(choices) > 1}
        for task, decided in panels.items()
    }
    for scores in panels.values():
        _checked(scores)
    rows = max(map(len, panels.values()))
    fig, axes = plt.subplots(len(panels), 1, figsize=(7.2, 0.9 + (0.9 + 0.7 * rows) * len(panels)), squeeze=False)
    said = []
    for panel, (task, decided) in zip(axes[:, 0], panels.items()):
        order = sorted(decided, key=lambda decision: -worth(decided[decision]))
        for row, decision in enumerate(order):
            _range(panel, row, decided[decision])
        panel.set_yticks(range(len(order)), order)
        panel.set(xlim=(-4, 112), ylim=(len(order) - 0.3, -0.5), xlabel=f"{what} (%)")
        panel.set_xticks(range(0, 101, 25))
        panel.set_title(task, fontsize=12, fontweight="normal")
        panel.grid(axis="y", visible=False)
        said.append(f"{task}: " + ", ".join(f"{each} {_worth_and_luck(decided[each])}" for each in order))
    first, decided = next(iter(panels.items()))
    order = sorted(decided, key=lambda decision: -worth(decided[decision]))
    worths = ", ".join(f"{each} {100 * worth(decided[each]):.0f}" for each in order)
    stated = f"On {first}: {worths} points"
    fig.suptitle(title or stated, x=0.01, ha="left", fontweight="bold", fontsize=13)
    return Drawing(fig, f"What each decision is worth, from its worst choice to its best, {what}. {'; '.join(said)}.")


def stopping_curves(
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], every: int, title: str | None = None
) -> Drawing:
    """Loss on validation by step: a panel for each, a line for each choice with its lowest point, and thin its seeds.

    Args:
        panels: panel -> choice -> seeds -> losses, one every `every` steps. The line is the seeds' mean.
        every: steps between two losses.
        title: in place of one that says where the lowest points are.

    Raises:
        TypeError, ValueError: for nothing to draw, or losses that are no finite numbers.
    """
    filled("panels", panels)
    for name, choices in panels.items():
        filled(f"panels of {name}", choices, most=2)
        for choice, seeds in choices.items():
            filled(f"seeds of {name}, {choice}", seeds)
            for curve in seeds:
                numbers(f"losses of {name}, {choice}", curve, len(seeds[0]))
    fig, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.9), sharey=True, squeeze=False)
    said: list[str] = []
    lowest: dict[str, int] = {}
    for panel, (name, choices) in zip(axes[0], panels.items()):
        means = {choice: [mean(values) for values in zip(*seeds)] for choice, seeds in choices.items()}
        highest = max(means, key=lambda choice: min(means[choice]))
        for (choice, losses), (color, line) in zip(means.items(), ((POINT, "-"), (BLUE, "--"))):
            lift = 12 if choice == highest else -14  # each label on its own side of the two lines
            steps = [every * (place + 1) for place in range(len(losses))]
            best = min(range(len(losses)), key=losses.__getitem__)
            for seed in choices[choice] if len(choices[choice]) > 1 else ():
                panel.plot(steps, seed, line, color=color, linewidth=0.9, alpha=0.45)
            panel.plot(steps, losses, line, color=color, label=choice)
            panel.plot(steps[best], losses[best], "o", color=color, markersize=9)
            panel.annotate(f"step {steps[best]}", (steps[best], losses[best]), (0, lift), textcoords="offset points",
                           color=color, ha="center", va="center", fontsize=10)  # fmt: skip
            lowest.setdefault(name, steps[best])
            said.append(
                f"{name}, {choice}: lowest {losses[best]:.2f} at step {steps[best]}, {losses[-1]:.2f} at {steps[-1]}"
            )
        panel.set_title(name, fontsize=12, fontweight="normal")
        panel.set(yscale="log", xlabel="step")
        panel.margins(x=0.12, y=0.15)
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
    axes[0, 0].set_ylabel("loss on validation\n(nats per token)")
    axes[0, -1].legend()
    fewest = min(len(seeds) for choices in panels.values() for seeds in choices.values())
    of = "one seed each" if fewest == 1 else f"means over {fewest} seeds"
    which = "Lowest loss" if fewest == 1 else "Lowest mean loss"
    stated = f"{which}: " + ", ".join(f"step {step} with {name}" for name, step in lowest.items())
    fig.suptitle(title or stated, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return Drawing(fig, f"Loss on validation by step, {of}. {'; '.join(said)}.")


def _checked(groups: Mapping[str, Scores]) -> None:
    filled("panels", groups)
    for name, scores in groups.items():
        filled(f"the choices of {name}", scores)
        for choice, values in scores.items():
            numbers(f"scores of {name}, {choice}", values)


def _seeds(axes: Axes, row: float, values: Sequence[float]) -> None:
    """A dot for each seed, a ring around the first, a line at their mean, and the mean as a number on the right."""
    points = [100 * value for value in values]
    heights = []  # dots that would hide each other stand below each other, the first one on the row
    for number, point in enumerate(points):
        heights.append(row + 0.17 * sum(abs(point - before) < 5 for before in points[:number]))
    axes.scatter(points, heights, s=60, alpha=0.6, color=BLUE, clip_on=False, zorder=3)
    axes.plot(points[0], row, clip_on=False, zorder=5, **_RING)
    axes.plot([mean(points)] * 2, [row - 0.3, row + 0.3], color=BLUE, linewidth=3, zorder=4)
    axes.text(max(points) + 5, row, f"{mean(points):.0f}", va="center", fontsize=11, color=INK)


def _range(axes: Axes, row: int, choices: Scores) -> None:
    """A line from the worst mean to the best one, a dot for each choice, and below it their names in that order."""
    means = {choice: 100 * mean(values) for choice, values in choices.items()}
    order = sorted(means, key=means.__getitem__)
    counted = full(choices)
    low, high = min(means[choice] for choice in counted), max(means[choice] for choice in counted)
    axes.plot([low, high], [row, row], color=BLUE, linewidth=3, alpha=0.5, solid_capstyle="butt")
    for choice, point in means.items():
        if choice in counted:
            axes.scatter([point], [row], s=55, color=BLUE, zorder=3)
        else:  # above the row, where no other dot hides it
            axes.scatter([point], [row - 0.2], s=55, color="white", edgecolors=BLUE, zorder=3, clip_on=False)
    end = high
    if (luck := by_chance(choices)) is not None:
        end = max(high, low + 100 * luck)
        axes.plot([low + 100 * luck] * 2, [row - 0.22, row + 0.22], color=CONTEXT, linewidth=3, zorder=2)
    axes.text(end + 3, row, _worth_and_luck(choices), ha="left", va="center", fontsize=10, color=INK)
    names = [choice if choice in counted else f"({choice})" for choice in order]
    left = low < 50  # names begin at the row's left end, or end at its right one, so that they stay inside
    axes.text(low if left else high, row + 0.34, " < ".join(names), ha="left" if left else "right", va="center",
              fontsize=9.5, color=INK)  # fmt: skip


def _worth_and_luck(choices: Scores) -> str:
    luck = by_chance(choices)
    return f"{100 * worth(choices):.0f} points" + ("" if luck is None else f", luck {100 * luck:.0f}")


def _means_and_seeds(panels: Mapping[str, Scores]) -> str:
    task, scores = next(iter(panels.items()))
    seeds = max(max(values) - min(values) for values in scores.values())
    return f"{task.capitalize()}: means differ by {100 * worth(scores):.0f} points, seeds by up to {100 * seeds:.0f}"


def _mean(values: Sequence[float]) -> str:
    return f"{100 * mean(values):.0f}"


def _ends(values: Sequence[float]) -> str:
    return f"{100 * min(values):.0f} to {100 * max(values):.0f}"
