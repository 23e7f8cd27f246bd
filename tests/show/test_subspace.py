"""Figures about subspaces and rates: what they say is what they were given."""

import matplotlib.pyplot as plt
import pytest
import torch

from lora_lab import show
from lora_lab.train.subspace import Projection


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_schematic_of_a_subspace_shows_every_number_of_P():
    P = Projection(12, 3, seed=1)
    fig, alt = show.subspace_schematic(P)
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert texts.count("+1") == int((P.sign > 0).sum()) and texts.count("−1") == int((P.sign < 0).sum())
    assert {"θ [12]", "θ₀ [12]", "P [12, 3]", "z [3]"} <= set(texts)
    assert alt.count("in column") == 12 and "P [12, 3]" in alt
    with pytest.raises(ValueError, match="40 rows"):
        show.subspace_schematic(Projection(40, 3))


def test_the_line_is_drawn_where_it_meets_the_solutions_and_the_shadow_where_it_is_nearest():
    normal, offset, direction = torch.tensor([0.5, 1.0]), 1.0, torch.tensor([1.0, 0.35])
    fig, alt = show.reach_and_shadow(tuple(normal.tolist()), offset, tuple(direction.tolist()))
    single = [line for line in fig.axes[0].lines if len(line.get_xydata()) == 1]
    spots = {line.get_marker(): torch.tensor(line.get_xydata()[0]) for line in single}
    assert float(normal.double() @ spots["*"]) == pytest.approx(offset)
    assert float(normal.double() @ spots["s"]) == pytest.approx(offset)
    assert float(direction.double() @ (spots["s"] - spots["X"])) == pytest.approx(0, abs=1e-6)
    (named,) = [text for text in fig.axes[0].texts if text.get_text() == "all solutions"]
    assert float(normal.double() @ torch.tensor(named.xy).double()) == pytest.approx(offset)
    assert f"{1 - float(normal.double() @ spots['X']):.0%}" in alt
    with pytest.raises(ValueError, match="never meets"):
        show.reach_and_shadow((1.0, 0.0), 1.0, (0.0, 1.0))


def test_the_title_of_the_misfit_names_the_first_dimension_that_solves():
    fig, alt = show.misfit_by_dimension([5, 20, 50], [0.7, 1e-14, 0.0], [0.9, 0.9, 0.8], 20)
    assert fig.axes[0].get_title(loc="left") == "Solved exactly from 20 dimensions on"
    assert "d = 5: 70% and 90%" in alt
    unsolved, _ = show.misfit_by_dimension([5], [0.7], [0.9], 20)
    assert unsolved.axes[0].get_title(loc="left") == "Never solved"
    with pytest.raises(ValueError, match="2 values where there are 1"):
        show.misfit_by_dimension([5], [0.7, 0.1], [0.9], 20)


def test_scores_by_size_draws_means_of_seeds_and_names_them():
    panels = {"sailor": {"subspace": {1000: [0.2, 0.4], 100: [0.0, 0.0]}, "LoRA": {1000: [0.5]}}}
    fig, alt = show.scores_by_size(panels, "subspace", "It rises", levels={"sailor": {"full": [0.8, 0.6]}})
    assert "sailor, subspace: 100 0%, 1,000 30%" in alt and "sailor, full: 70%" in alt and alt.startswith("It rises")
    heights = [line.get_ydata() for line in fig.axes[0].lines if list(line.get_xdata()) == [100, 1000]]
    assert any(list(line.get_ydata()) == [80, 60] for line in fig.axes[0].lines), "a level shows its seeds"
    assert any(list(height) == pytest.approx([0, 30]) for height in heights)
    with pytest.raises(ValueError, match="'DoRA' is none of"):
        show.scores_by_size(panels, "DoRA", "It rises")
    with pytest.raises(ValueError, match="empty"):
        show.scores_by_size({}, "subspace", "It rises")
    with pytest.raises(ValueError, match="runs of sailor holds 5, of which a reader can tell 4 apart"):
        show.scores_by_size({"sailor": {str(run): {1: [0.5]} for run in range(5)}}, "0", "It rises")


def test_of_two_sizes_whose_labels_would_touch_the_second_stands_a_line_lower():
    sizes = (100, 1_000, 217_088, 434_176, 868_352)
    fig, _ = show.scores_by_size({"sailor": {"subspace": {size: [0.5] for size in sizes}}}, "subspace", "Level")
    labels = [text.get_text() for text in fig.axes[0].get_xticklabels()]
    assert labels == ["100", "1k", "217k", "\n434k", "868k"]
    alone, _ = show.scores_by_size({"sailor": {"subspace": {1_000: [0.5]}}}, "subspace", "One")
    assert [text.get_text() for text in alone.axes[0].get_xticklabels()] == ["1k"]


def test_the_scaling_schematic_shows_shapes_and_three_knobs():
    fig, alt = show.scaling_schematic(192, 512, 16)
    texts = " ".join(text.get_text() for text in fig.axes[0].texts)
    for words in ("A [16, 512]", "B [192, 16]", "x [512]", "scale s"):
        assert words in texts and words.replace("scale s", "scale") in alt
    with pytest.raises(ValueError, match="r="):
        show.scaling_schematic(192, 512, 0)


def test_rate_curves_name_the_rate_of_least_loss():
    panels = {"α/r": {1: {0.001: 1.0, 0.002: 0.8, 0.004: 0.9}, 64: {0.004: 0.5, 0.008: 0.4}}}
    fig, alt = show.rate_curves(panels, "It moves")
    assert "α/r: rank 1 at 0.002, rank 64 at 0.008" in alt
    marked = [tuple(line.get_xydata()[0]) for line in fig.axes[0].lines if len(line.get_xydata()) == 1]
    assert marked == [(0.002, 0.8), (0.008, 0.4)]
    assert [text.get_text() for text in fig.axes[0].get_xticklabels()] == ["0.001", "0.002", "0.004", "0.008"]
    with pytest.raises(ValueError, match="nan"):
        show.rate_curves({"α/r": {1: {0.001: float("nan")}}}, "It moves")


def test_the_title_of_rate_curves_says_how_far_the_best_rate_moves():
    panels = {"α/r": {1: {0.001: 0.8, 0.002: 0.9}, 64: {0.004: 0.5, 0.008: 0.4}}, "constant": {1: {1: 1}, 64: {1: 1}}}
    _, alt = show.rate_curves(panels)
    assert alt.startswith("The best rate moves from rank 1 to 64: × 8 (α/r), × 1 (constant).")
    _, falling = show.rate_curves({"constant": {1: {0.02: 0.8}, 64: {0.0025: 0.5}}})
    assert falling.startswith("The best rate moves from rank 1 to 64: ÷ 8 (constant).")


def test_the_best_rate_of_a_lower_rank_stays_visible_under_that_of_a_higher_one():
    fig, _ = show.rate_curves({"α/r": {r: {0.001: 1.0, 0.002: 0.8} for r in (1, 16, 64)}}, "Three on one spot")
    sizes = [line.get_markersize() for line in fig.axes[0].lines if len(line.get_xydata()) == 1]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3 and sizes[-1] > 5


def test_the_first_step_is_drawn_as_one_block_a_term_and_as_long_as_rank_times_scale():
    scales = {"α/r": {4: 2.0, 16: 0.5}, "α/√r": {4: 2.0, 16: 1.0}, "constant": {4: 2.0, 16: 2.0}}
    fig, alt = show.first_step_schematic(scales)
    widths: dict[float, list[float]] = {}
    for patch in fig.axes[0].patches:
        widths.setdefault(round(patch.get_y(), 6), []).append(patch.get_width())
    rows = [widths[y] for y in sorted(widths, reverse=True)]
    assert [len(row) for row in rows] == [4, 16] * 3
    assert [sum(row) / sum(rows[0]) for row in rows] == pytest.approx([1, 1, 1, 2, 1, 4])
    assert "α/√r, r = 16: 16 blocks of 1, 2 times as long" in alt
    titles = [fig.axes[0].get_title(loc=loc) for loc in ("left", "center")] + [fig.get_suptitle()]
    assert "Adam's first step at rank 16: 1, 2 or 4 times as far as at rank 4" in titles
    with pytest.raises(ValueError, match="the rules have different ranks"):
        show.first_step_schematic(scales | {"constant": {4: 2.0, 8: 2.0}})
    with pytest.raises(ValueError, match="scales"):
        show.first_step_schematic({})
