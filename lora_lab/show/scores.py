"""Several models on the same scores, side by side."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from lora_lab.show.figures import CONTEXT, PALETTE, POINT
from lora_lab.show.inputs import filled, named, numbers


def shares(scores: Mapping[str, Mapping[str, float]], point: str, title: str) -> Figure:
    """Bars of shares, one group for each score and one bar in it for each model.

    Args:
        scores: model -> score -> share between 0 and 1; every model has the same scores.
        point: the model that the figure is about; the first of the others is grey context.
        title: the finding.

    Returns:
        The figure, for `show.figure`.

    Raises:
        TypeError: for a score that is no number.
        ValueError: if `point` is no model, or a model lacks a score that another one has.
    """
    filled("scores", scores, most=len(PALETTE) + 1)
    named("point", point, scores)
    names = list(scores[point])
    if any(list(each) != names for each in scores.values()):
        raise ValueError(f"every model needs the scores {', '.join(names)}, in this order")
    for model, values in scores.items():
        numbers(f"scores of {model}", values.values())
    others = iter((CONTEXT, *(colour for colour in PALETTE if colour != POINT)))
    fig, axes = plt.subplots()
    width = 0.8 / len(scores)
    for number, (model, values) in enumerate(scores.items()):
        places = [group + (number - (len(scores) - 1) / 2) * width for group in range(len(names))]
        heights = [100 * value for value in values.values()]
        bars = axes.bar(places, heights, 0.92 * width, label=model, color=POINT if model == point else next(others))
        axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=10)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 25))
    axes.set_ylabel("share (%)")
    axes.grid(axis="x", visible=False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, -0.26), ncols=len(scores))
    axes.set_title(title)
    return fig
