"""Pictures for the first lesson: what fits on which card, answers while a model trains, and the ladder of remedies."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt

from lora_lab import ranges
from lora_lab.show.drawing import Drawing
from lora_lab.show.figures import BLUE, CONTEXT, POINT
from lora_lab.show.inputs import filled, numbers
from lora_lab.show.scores import shares
from lora_lab.units import GB

_COLUMNS = 100  # of a notebook's cell at 1,280 pixels, with the file browser open
_SCORES = {"valid": "valid JSON", "fields": "fields right", "exact": "all fields right"}
_LOOKS: dict[str, dict[str, Any]] = {
    "valid": {"marker": "o", "color": CONTEXT, "markerfacecolor": "white", "markersize": 8, "linestyle": ""},
    "fields": {"marker": "D", "color": BLUE, "markersize": 7, "linestyle": ""},
    "exact": {"marker": "|", "color": POINT, "markersize": 15, "markeredgewidth": 2.5, "linestyle": ""},
}
_SEED: dict[str, Any] = {"marker": "o", "color": POINT, "markersize": 4.5, "linestyle": ""}
_SPREAD = 0.28  # of a rung's height, so that equal seeds can be told apart


def wrapped(label: str, text: str) -> str:
    """A label and a text beside it, in lines that end between words and fit on a screen.

    A notebook breaks longer lines wherever its window ends, inside words.
    """
    return textwrap.fill(text, _COLUMNS, initial_indent=label, subsequent_indent=" " * len(label),
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


def at_step(step: int, loss: float, right: float, answer: str) -> None:
    """Print what a model that is being trained answers now.

    Args:
        step: after how many steps.
        loss: of this step's batch.
        right: the share of fields that are right.
        answer: the text.
    """
    print(wrapped(f"step {step:3} · loss {loss:4.2f} · {right:4.0%} right   ", answer), flush=True)


def fits(peaks: Mapping[str, float], cards: Mapping[str, float]) -> Drawing:
    """Bars of memory, and how much room cards have.

    Args:
        peaks: way to train → bytes at the peak of a step; the last one is the point.
        cards: name → bytes.

    Raises:
        TypeError, ValueError: for nothing to draw, or values that are no finite numbers.
    """
    for what, sizes in (("peaks", peaks), ("cards", cards)):
        filled(what, sizes)
        numbers(what, sizes.values())
    names = list(peaks)
    fig, axes = plt.subplots(figsize=(8.0, 0.62 * len(peaks) + 1.5))
    colours = [POINT if name == names[-1] else CONTEXT for name in names]
    bars = axes.barh(names, [peaks[name] / GB for name in names], color=colours, height=0.6)
    for label in axes.bar_label(bars, fmt="%.0f GB", padding=4, fontsize=12, zorder=4):
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.invert_yaxis()
    for card, room in cards.items():
        axes.axvline(room / GB, color="black", linewidth=1, linestyle="--", zorder=3)
        axes.annotate(card, (room / GB, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                      ha="center", fontsize=11)  # fmt: skip
    axes.set(xlabel="GB at the peak of one training step", xlim=(0, 1.12 * max(*peaks.values(), *cards.values()) / GB))
    axes.grid(axis="y", visible=False)
    title = f"{peaks[names[0]] / GB:.0f} GB with {names[0]}, {peaks[names[-1]] / GB:.0f} GB with {names[-1]}"
    fig.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    each = ", ".join(f"{name} {size / GB:.0f} GB" for name, size in peaks.items())
    rooms = ", ".join(f"{card} {room / GB:.0f} GB" for card, room in cards.items())
    return Drawing(fig, f"{title}. Bars of memory: {each}. Lines mark what cards have: {rooms}.")


def form_and_content(scores: Mapping[str, Mapping[str, float]], right: str, control: str) -> Drawing:
    """Bars of shares for a base and two models trained alike, one of them on wrong answers.

    Args:
        scores: model → score → share; among the scores are "valid JSON" and "fields right".
        right, control: the two models.

    Raises:
        TypeError, ValueError: as `shares`, or for a model or a score that is not there.
    """
    for model in (right, control):
        ranges.choice("the model", model, list(scores))
        for score in ("valid JSON", "fields right"):
            ranges.choice("the score", score, list(scores[model]))
    form = min(scores[model]["valid JSON"] for model in (right, control))
    content = [f"{scores[model]['fields right']:.0%}" for model in (right, control)]
    title = f"Both write JSON ({form:.0%}); fields right: {' against '.join(content)}"
    each = []
    for name, of in scores.items():
        each.append(f"{name}: " + ", ".join(f"{score} {share:.0%}" for score, share in of.items()))
    return Drawing(shares(scores, right, title), f"{title}. Bars of shares. {'; '.join(each)}.")


def ladder(groups: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], after: str | None = None) -> Drawing:
    """What each remedy reached, lowest rung first: three scores as means of the seeds, the strictest with each seed.

    Args:
        groups: group → rung → one row per seed, each with "valid", "fields" and "exact", shares between 0 and 1. The
            first group asks, the last one trains.
        after: the rung of the last group that the title speaks of; by default its best.

    Raises:
        TypeError, ValueError: for nothing to draw, a row that lacks a score, one that is no finite number, or no such
            rung.
    """
    filled("groups", groups)
    rungs = [(group, name, rows) for group, of in groups.items() for name, rows in of.items()]
    means = {(group, name): _means(name, rows) for group, name, rows in rungs}
    first, last = list(groups)[0], list(groups)[-1]
    best_asked = max(means[first, name]["exact"] for name in groups[first])
    exact = {name: means[last, name]["exact"] for name in groups[last]}
    if after is None:
        after = max(exact, key=lambda name: exact[name])
    ranges.choice("rung", after, list(exact))
    fig, axes = plt.subplots(figsize=(8.0, 0.36 * (len(rungs) + len(groups)) + 1.6))
    place, ticks = 0, {}
    for group, of in groups.items():
        axes.text(-1.5, place, group, fontweight="bold", ha="right", va="center", fontsize=11)
        for name, rows in of.items():
            place += 1
            ticks[place] = name if len(rows) > 1 else f"{name} (one seed)"
            for score, look in _LOOKS.items():
                axes.plot(100 * means[group, name][score], place, clip_on=False, **look)
            heights = [place + _SPREAD * (2 * i - len(rows) + 1) / max(1, len(rows) - 1) for i in range(len(rows))]
            axes.plot([100 * row["exact"] for row in rows], heights, clip_on=False, **_SEED)
            axes.text(106, place, f"{means[group, name]['exact']:.0%}", color=POINT, va="center", fontsize=11)
        place += 1
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.set(xlim=(-2, 104), ylim=(place - 0.4, -0.7), xlabel="share of answers, or of fields (%)")
    axes.tick_params(axis="y", length=0)
    handles = [plt.Line2D([], [], label=_SCORES[score], **look) for score, look in _LOOKS.items()]
    handles.append(plt.Line2D([], [], label="the same, each seed", **_SEED))
    fig.legend(handles=handles, loc="outside lower center", ncols=4, columnspacing=1.0, handletextpad=0.2)
    title = f"All fields right: at best {best_asked:.0%} when asked, {exact[after]:.0%} after {after}"
    fig.suptitle(title, fontsize=13, fontweight="bold", x=0.01, ha="left")
    each = [
        f"{group}, {name}: " + ", ".join(f"{_SCORES[score]} {share:.0%}" for score, share in of.items())
        for (group, name), of in means.items()
    ]
    what = "Three scores for each remedy, means of the seeds; of the last each seed too"
    return Drawing(fig, f"{title}. {what}. {'. '.join(each)}.")


def _means(name: str, rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    rows = list(rows)
    filled(f"the rung {name}", rows)
    for row in rows:
        if lacking := [score for score in _SCORES if score not in row]:
            raise ValueError(f"a row of {name} lacks {ranges.brief(lacking[0])}: measure it, or leave the rung out")
        numbers(f"the rung {name}", [row[score] for score in _SCORES])
    return {score: sum(row[score] for row in rows) / len(rows) for score in _SCORES}
