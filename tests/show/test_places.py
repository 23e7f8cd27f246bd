"""Figures of decisions say in words what they draw: means, ranges, the best, and how far apart the ends are."""

import itertools

import matplotlib.pyplot as plt
import pytest

from lora_lab import models, show
from lora_lab.show.choices import apart, at_best_rate, at_rate, best_rate, by_chance, linears_of, rates_tried, worth

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


def test_scores_of_seeds_stand_in_a_cell_as_whole_percents():
    assert show.choices.percents([0.59, 0.155, 1.0]) == "59, 16, 100"


def test_a_decision_is_worth_the_distance_of_its_best_mean_from_its_worst():
    assert worth(FACTS) == pytest.approx(0.5) and worth(SEEDS) == pytest.approx(0.2)


def test_the_decision_that_is_worth_most_stands_on_top_and_in_the_title():
    fig, alt = show.decisions({"facts": {"seed": SEEDS, "where": FACTS}}, "exact answers")
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["where", "seed"]
    assert fig.get_suptitle() == "On facts: where 50, seed 20 points"
    luck = f"{100 * by_chance(FACTS):.0f}"
    assert f"where 50 points, luck {luck}, seed 20 points" in alt
    assert texts(fig) == [f"50 points, luck {luck}", "one block < MLP < all", "20 points", "seed 0 < seed 1"]
    plt.close(fig)


def test_luck_is_the_mean_worth_of_every_way_to_deal_the_same_scores():
    choices = {"one": [0.1, 0.2, 0.9], "two": [0.3, 0.5, 0.4], "three": [0.7, 0.0, 0.25]}
    scores = [score for values in choices.values() for score in values]
    worths = []
    for first in itertools.combinations(range(9), 3):
        rest = [place for place in range(9) if place not in first]
        for second in itertools.combinations(rest, 3):
            third = [place for place in rest if place not in second]
            means = [sum(scores[place] for place in group) / 3 for group in (first, second, third)]
            worths.append(max(means) - min(means))
    assert len(worths) == 1680 and by_chance(choices) == pytest.approx(sum(worths) / 1680, abs=0.005)


def test_single_runs_have_no_luck_to_compare_with():
    assert by_chance(SEEDS) is None


def test_a_choice_with_fewer_seeds_is_drawn_hollow_and_counts_for_nothing():
    cold = {"cold": [1.0], **FACTS}
    assert worth(cold) == worth(FACTS) and by_chance(cold) == by_chance(FACTS)
    fig, _ = show.decisions({"facts": {"rate": cold}}, "exact answers")
    faces = [dots.get_facecolor()[0].tolist() for dots in fig.axes[0].collections]
    assert [face == [1, 1, 1, 1] for face in faces] == [True, False, False, False]
    assert "one block < MLP < all < (cold)" in texts(fig)
    plt.close(fig)


def test_the_grey_tick_stands_where_the_row_would_end_by_luck_alone():
    fig, _ = show.decisions({"facts": {"where": FACTS}}, "exact answers")
    line, tick = fig.axes[0].lines
    assert tick.get_xdata()[0] == pytest.approx(line.get_xdata()[0] + 100 * by_chance(FACTS))
    plt.close(fig)


def test_dots_that_would_hide_each_other_stand_below_each_other():
    fig, _ = show.by_choice({"facts": {"all": [0.4, 0.7, 0.41, 0.4]}}, "exact answers")
    heights = fig.axes[0].collections[0].get_offsets()[:, 1].tolist()
    assert heights[0] == heights[1] == 0 and 0 < heights[2] < heights[3] < 0.4
    plt.close(fig)


def test_the_plain_run_is_found_by_its_other_names():
    rows = [row("all linears", 2.0, 0, 0.5, 0.6)]
    assert best_rate(rows, "facts", "kaiming") == best_rate(rows, "facts", "batch 8") == 2.0
    assert rates_tried(rows, "facts", ["kaiming"]) == [2.0]
    assert at_rate(rows, "facts", "kaiming", 2.0, "validation") == [0.5]
    assert at_rate(rows, "facts", "kaiming", 2.0) == [0.6] and best_rate(rows, "facts", "never run") is None


def test_rates_that_were_tried_stand_in_order_each_once():
    rows = [row("a", 2.0, 0, 1.0, 0.1), row("b", 1.0, 0, 1.0, 0.1), row("b", 2.0, 0, 1.0, 0.1), row("c", 9.0, 0, 1, 0)]
    assert rates_tried(rows, "facts", ("a", "b")) == [1.0, 2.0] and rates_tried(rows, "cipher", ("a",)) == []


@pytest.mark.parametrize("place, matrices", [("all linears", 28), ("MLP", 12), ("query and value", 8)])
def test_a_place_has_its_matrices_in_every_block(place, matrices):
    found = linears_of(models.load_embedded()[0], place)
    assert len(found) == matrices and len({name.split(".")[2] for name in found}) == 4


def test_the_last_block_has_seven_matrices_with_their_shapes():
    found = linears_of(models.load_embedded()[0], "last block only")
    assert len(found) == 7 and found["model.layers.3.mlp.down_proj"] == (192, 512)


def test_a_decision_with_one_choice_is_left_out():
    fig, alt = show.decisions({"facts": {"seed": SEEDS, "batch": {"batch 8": [0.5]}}}, "exact answers")
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["seed"] and "batch" not in alt
    plt.close(fig)


def test_a_curves_lowest_point_is_marked_with_its_step_and_told():
    curves = {"8 examples": {"dropout 0": [[4.0, 1.0, 3.0], [4.0, 2.0, 3.0]]}}
    fig, alt = show.stopping_curves(curves, every=10)
    assert texts(fig) == ["step 20"] and "lowest 1.50 at step 20, 3.00 at 30" in alt
    assert fig.get_suptitle() == "Lowest mean loss: step 20 with 8 examples" and "means over 2 seeds" in alt
    plt.close(fig)


def test_each_seed_has_a_thin_line_beside_their_mean():
    fig, _ = show.stopping_curves({"8 examples": {"dropout 0": [[4.0, 1.0], [2.0, 3.0]]}}, every=10)
    drawn = [list(line.get_ydata()) for line in fig.axes[0].lines if line.get_linewidth() < 1]
    assert drawn == [[4.0, 1.0], [2.0, 3.0]]
    plt.close(fig)


def test_the_curve_of_one_seed_is_not_called_a_mean():
    fig, alt = show.stopping_curves({"8 examples": {"dropout 0": [[4.0, 1.0]]}}, every=10)
    assert len(fig.axes[0].lines) == 2  # the line and its lowest point: no thin line beside itself
    assert "one seed each" in alt and "mean" not in alt + fig.get_suptitle()
    plt.close(fig)


@pytest.mark.parametrize(("seeds", "says"), [([], "is empty"), ([[1.0, 2.0], [1.0]], "1 values where there are 2")])
def test_seeds_that_have_no_mean_at_every_step_are_refused(seeds, says):
    with pytest.raises(ValueError, match=f"of 8 examples, dropout 0 .*{says}"):
        show.stopping_curves({"8 examples": {"dropout 0": seeds}}, every=10)


@pytest.mark.parametrize("draw", [show.by_choice, show.decisions])
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(ValueError, match="panels is empty"):
        draw({}, "exact answers")


@pytest.mark.parametrize("values", [[], [float("nan")]])
def test_scores_that_are_none_are_refused_by_their_place(values):
    with pytest.raises(ValueError, match="facts, all"):
        show.by_choice({"facts": {"all": values}}, "exact answers")
