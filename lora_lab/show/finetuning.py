"""A figure of fine-tuning runs."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from lora_lab.show.figures import CONTEXT, POINT
from lora_lab.show.inputs import filled, numbers


def methods(rows: Sequence[dict[str, Any]], title: str, point: str = "qlora") -> Figure:
    """What each run learned beside what it forgot: a dot per seed, a bar for the mean.

    Args:
        rows: with "run", "exact" (held-out exact match) and "reading" (retention), shares between 0 and 1.
        title: the finding.
        point: the run to colour; the others are context.

    Raises:
        TypeError, ValueError: for nothing to draw, values that are no finite numbers, or another count of them.
    """
    filled("rows", rows)
    for row in rows:
        if missing := [key for key in ("run", "exact", "reading") if key not in row]:
            raise ValueError(f"a row lacks {', '.join(missing)}: it has {', '.join(row) or 'nothing'}")
        numbers(f"a row of {row['run']}", [row["exact"], row["reading"]])
    runs = list(dict.fromkeys(row["run"] for row in rows))
    fig, both = plt.subplots(1, 2, sharey=True, figsize=(9.0, 3.4))
    for axes, key, label in zip(both, ("exact", "reading"), ("new task: exact match", "old skill: questions read")):
        for y, run in enumerate(runs):
            values = [100 * row[key] for row in rows if row["run"] == run]
            colour = POINT if run == point else CONTEXT
            axes.barh(y, sum(values) / len(values), color=colour, alpha=0.45, height=0.6)
            axes.plot(values, [y] * len(values), "o", color=colour, markersize=6)
        axes.set(xlim=(0, 104), xlabel=f"{label} (% of held out)")
        axes.set_yticks(range(len(runs)), runs)
        axes.grid(axis="y", visible=False)
    both[0].invert_yaxis()
    fig.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return fig
