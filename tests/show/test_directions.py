"""Figures of lesson 01: shapes, numbers and names are those of the data, and nothing is drawn from half of it."""

import re
from collections import Counter

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lora_lab import lowrank, show

M = torch.randn(8, 12, generator=torch.manual_seed(0))


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def words(fig: Figure) -> list[str]:
    return [text.get_text() for axes in fig.axes for text in axes.texts]


@pytest.mark.parametrize(("height", "width", "r"), [(4, 6, 2), (3, 5, 1), (2, 2, 2), (6, 6, 3)])
def test_the_schematic_has_as_many_squares_as_its_shapes_say(height, width, r):
    fig, alt = show.svd_schematic(height, width, r)
    layers, factors = r * (height + width), r * (height + width)
    assert len(fig.axes[0].patches) == 2 * height * width + layers + factors
    assert f"{height} × {r}" in words(fig) and f"{r} × {width}" in words(fig)
    assert f"{height * width} numbers become {factors}" in alt


@pytest.mark.parametrize(("height", "width", "r"), [(4, 6, 2), (5, 3, 2)])
def test_a_layer_has_one_colour_in_the_sum_and_in_the_factors(height, width, r):
    fig, _ = show.svd_schematic(height, width, r)
    colours = Counter(to_hex(patch.get_facecolor()) for patch in fig.axes[0].patches)
    grey = to_hex(show.CONTEXT)
    assert colours.pop(grey) == 2 * height * width
    assert set(colours.values()) == {2 * (height + width)} and len(colours) == r


def test_a_schematic_of_all_layers_has_no_dots():
    assert "+ …" in words(show.svd_schematic(3, 3, 2)[0])
    assert "+ …" not in words(show.svd_schematic(3, 3, 3)[0])


def test_bars_of_layers_are_the_singular_values_and_shares_are_of_the_energy():
    fig, alt = show.layers(M, 2, "the thing")
    sigma = torch.linalg.svdvals(M.double())
    assert [bar.get_height() for bar in fig.axes[0].patches] == pytest.approx(sigma.tolist(), rel=1e-6)
    first = float(sigma[0] ** 2 / sigma.square().sum())
    assert f"layer 1 holds {first:.0%}" in alt and "of the thing" in alt
    images = [axes.images[0].get_array() for axes in fig.axes if axes.images]
    assert any(torch.allclose(torch.tensor(image.data), M, atol=1e-5) for image in images)


def test_cuts_show_the_best_matrix_of_each_rank_and_the_energy_it_keeps():
    fig, alt = show.cuts({"a": M, "b": M.flip(0)}, [1, 3])
    wanted = torch.matmul(*lowrank.truncated_svd(M, 3))
    assert torch.allclose(torch.tensor(fig.axes[1].images[0].get_array().data), wanted, atol=1e-5)
    kept = float(lowrank.energy_fractions(M)[2])
    assert f"a {float(lowrank.energy_fractions(M)[0]):.0%} at r = 1, {kept:.0%} at r = 3" in alt
    assert fig.axes[1].get_title() == f"r = 3: {kept:.0%}"


def test_without_ranks_the_pictures_stand_there_whole_and_nothing_is_given_away():
    fig, alt = show.cuts({"a": M, "b": M}, [])
    assert len(fig.axes) == 2 and "%" not in alt + fig.get_suptitle() and "8 × 12" in alt


@pytest.mark.parametrize(("best", "count"), [(0.05, "none"), (0.2, "2")])
def test_rivals_that_come_closer_are_counted_in_the_title(best, count):
    fig, alt = show.rivals(best, [(0.1, 0.1), (1.0, 0.6)], [0.15, 0.9])
    assert f"Of 4 rivals of the same rank, {count}" in fig.get_suptitle() and f"{best:.2%}" in alt


def curves() -> dict[str, torch.Tensor]:
    return {"change": lowrank.energy_fractions(M + 9 * torch.ones(8, 12)), "noise": lowrank.energy_fractions(M)}


def test_the_title_of_the_energy_is_read_from_the_curve_and_each_curve_has_its_name():
    fig, alt = show.energy_held(curves(), "change", at=1)
    share = float(curves()["change"][0])
    assert f"1 of 8 directions hold {share:.0%} of the energy of change" in alt
    assert {"change", "noise"} <= set(words(fig)) and fig.axes[0].get_legend() is None


SCORES = {"top": [[0.0, 0.7, 0.8], [0.0, 0.9, 1.0]], "random": [[0.0, 0.0, 0.1], [0.0, 0.1, 0.1]],
          "shrunk": [[0.3, 0.8, 0.9], [0.3, 0.8, 0.9]]}  # fmt: skip
FIVE = {**SCORES, "late": SCORES["random"], "early": SCORES["random"]}


def parts() -> tuple[Figure, str]:
    return show.parts_by_rank(SCORES, [1, 4, 16], 0.9, at=4, point="top", control="random", surprise="shrunk")


def test_parts_by_rank_says_the_mean_of_the_seeds_at_the_rank_asked_for():
    fig, alt = parts()
    title = fig.axes[0].get_title(loc="left")
    assert title == "4 directions: 80% right if top, 5% if random; all: 90%" and title in alt
    assert "shrunk 30 % at 1" in alt


def test_a_surprise_does_not_look_like_a_control():
    fig, _ = parts()
    lines = {to_hex(line.get_color()).upper(): line.get_linestyle() for line in fig.axes[0].lines}
    assert lines[show.POINT] == lines[show.BLUE] == "-" and lines[show.CONTEXT] != "-"


def test_a_surprise_leaves_room_for_one_control_more():
    fig, _ = show.parts_by_rank(FIVE, [1, 4, 16], 0.9, at=4, point="top", control="random", surprise="shrunk")
    styles = [line.get_linestyle() for line in fig.axes[0].lines if to_hex(line.get_color()).upper() == show.CONTEXT]
    assert len(set(styles)) == len(styles) == 3


def test_every_curve_is_named_once_and_no_two_names_stand_on_each_other():
    fig, _ = parts()
    fig.canvas.draw()
    texts = [text for text in fig.axes[0].texts if text.get_text()]
    assert sorted(text.get_text() for text in texts) == ["random", "shrunk", "the whole change: 90%", "top"]
    boxes = [text.get_window_extent() for text in texts]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


@pytest.mark.parametrize(
    ("error", "draw", "says"),
    [
        (ValueError, lambda: show.svd_schematic(9, 3), "height=9"),
        (ValueError, lambda: show.svd_schematic(2, 2, 3), "r=3"),
        (ValueError, lambda: show.layers(M, 5), "count=5"),
        (ValueError, lambda: show.cuts({}, [1]), "pictures is empty"),
        (ValueError, lambda: show.cuts({"a": M}, [9]), "r=9"),
        (ValueError, lambda: show.rivals(0.1, [], [0.2]), "moved is empty"),
        (ValueError, lambda: show.rivals(0.1, [(1.0, float("nan"))], [0.2]), "nan"),
        (ValueError, lambda: show.energy_held(curves(), "other", 1), "other"),
        (ValueError, lambda: show.energy_held(curves(), "change", 9), "at=9"),
        (ValueError, lambda: show.parts_by_rank(SCORES, [1, 4], 0.9, at=4, point="top", control="random"), "3 values"),
        (ValueError, lambda: show.parts_by_rank(SCORES, [1, 4, 16], 0.9, at=5, point="top", control="random"), "5"),
        (ValueError, lambda: show.parts_by_rank(FIVE, [1, 4, 16], 0.9, at=4, point="top", control="random"), "holds 5"),
    ],
)
def test_what_cannot_be_drawn_whole_is_refused_in_a_sentence(error, draw, says):
    with pytest.raises(error, match=re.escape(says)) as caught:
        draw()
    assert "\n" not in str(caught.value)
