"""Figures of decisions say in words what they draw: means, ranges, the best, and how far apart the ends are."""

import matplotlib.pyplot as plt
import pytest

from lora_lab import show
from lora_lab.show.places import apart, at_best_rate, at_rate, worth

FACTS = {"MLP": [0.4, 0.2], "all": [0.5, 0.7], "one block": [0.1, 0.1]}
SEEDS = {"seed 0": [0.5], "seed 1": [0.7]}


def texts(fig) -> list[str]:
    return [text.get_text() for axes in fig.axes for text in axes.texts]


def test_a_choice_is_told_by_its_mean_and_the_range_of_its_seeds():
    fig, alt = show.by_choice({"facts": FACTS}, "exact answers")
    assert "MLP 30 (20 to 40), all 60 (50 to 70), one block 10 (10 to 10)" in alt
    assert texts(fig) == ["30", "60", "10"]
    assert fig.get_suptitle() == "Facts: means differ by 50 points, seeds by up to 20"
    plt.close(fig)


def test_a_task_may_lack_a_choice_and_the_rows_keep_their_order():
    fig, alt = show.by_choice({"facts": FACTS, "cipher": {"all": [0.9]}}, "exact answers")
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == list(FACTS)
    assert texts(fig) == ["30", "60", "10", "90"] and "cipher: all 90 (90 to 90)" in alt
    plt.close(fig)


def test_the_ring_is_around_the_first_seed_of_each_row():
    fig, _ = show.by_choice({"facts": FACTS}, "exact answers")
    rings = [line for line in fig.axes[0].lines if line.get_marker() == "o"]
    assert [float(ring.get_xdata()[0]) for ring in rings] == pytest.approx([40, 50, 10])
    plt.close(fig)


def test_rows_are_apart_only_when_no_dots_overlap_or_touch():
    scores = {"low": [0.1, 0.3], "touching": [0.3, 0.5], "high": [0.6, 0.9]}
    assert apart(scores) == ["high over low", "high over touching"]
    fig, alt = show.by_choice({"facts": scores, "cipher": {"all": [0.9]}}, "exact answers")
    assert "do not overlap: facts: high over low, high over touching; cipher: none" in alt
    plt.close(fig)


def row(run: str, lr: float, seed: int, validation: float, exact: float) -> dict:
    return {"task": "facts", "run": run, "lr": lr, "seed": seed, "validation": validation, "exact": exact}


def test_a_runs_scores_are_those_at_the_rate_that_seed_0_found_best_in_the_order_of_the_seeds():
    rows = [row("all", 2.0, 1, 0.1, 0.7), row("all", 2.0, 0, 0.5, 0.6), row("all", 1.0, 0, 0.9, 0.8)]
    rows += [row("all", 1.0, 1, 0.0, 0.9), {**row("all", 4.0, 0, 0.0, 1.0), "task": "cipher"}]
    assert at_best_rate(rows, "facts", ("all", "never run")) == {"all": [0.6, 0.7]}
    assert at_rate(rows, "facts", "all", 1.0) == [0.8, 0.9] and at_rate(rows, "facts", "all", 3.0) == []


def test_a_decision_is_worth_the_distance_of_its_best_mean_from_its_worst():
    assert worth(FACTS) == pytest.approx(0.5) and worth(SEEDS) == pytest.approx(0.2)


def test_the_decision_that_is_worth_most_stands_on_top_and_in_the_title():
    fig, alt = show.decisions({"facts": {"seed": SEEDS, "where": FACTS}}, "exact answers")
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["where", "seed"]
    assert fig.get_suptitle() == "On facts: where 50, seed 20 points"
    assert "where 50 points, seed 20 points" in alt
    assert texts(fig) == ["50 points", "one block < MLP < all", "20 points", "seed 0 < seed 1"]
    plt.close(fig)


def test_a_decision_with_one_choice_is_left_out():
    fig, alt = show.decisions({"facts": {"seed": SEEDS, "batch": {"batch 8": [0.5]}}}, "exact answers")
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["seed"] and "batch" not in alt
    plt.close(fig)


def test_a_curves_lowest_point_is_marked_with_its_step_and_told():
    curves = {"8 examples": {"dropout 0": [[4.0, 1.0, 3.0], [4.0, 2.0, 3.0]]}}
    fig, alt = show.stopping_curves(curves, every=10)
    assert texts(fig) == ["step 20"] and "lowest 1.50 at step 20, 3.00 at 30" in alt
    assert fig.get_suptitle() == "Lowest loss: step 20 with 8 examples" and "means over 2 seeds" in alt
    plt.close(fig)


def test_the_curve_of_one_seed_is_not_called_a_mean():
    fig, alt = show.stopping_curves({"8 examples": {"dropout 0": [[4.0, 1.0]]}}, every=10)
    assert "one seed each" in alt and "mean" not in alt
    plt.close(fig)


@pytest.mark.parametrize("draw", [show.by_choice, show.decisions])
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match="panels is empty"):
        draw({}, "exact answers")


@pytest.mark.parametrize("values", [[], [float("nan")]])
def test_scores_that_are_none_are_refused_by_their_place(values):
    with pytest.raises(ValueError, match="facts, all"):
        show.by_choice({"facts": {"all": values}}, "exact answers")
