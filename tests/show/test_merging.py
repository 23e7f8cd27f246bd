"""Figures about merging say what they show, and draw nothing that is not there."""

import matplotlib.pyplot as plt
import pytest

from lora_lab import show


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_schematic_has_the_shapes_and_four_places_and_no_verdict():
    fig, alt = show.merge_schematic(d_out=40, d_in=24, r=4)
    drawn = "\n".join(text.get_text() for text in fig.axes[0].texts)
    for said in ("[40, 24]", "B [40, 4]", "A [4, 24]", "Ŵ + ΔW", "W + ΔW", "Q(Ŵ + ΔW)"):
        assert said in drawn and said in alt
    assert not any(word in alt + drawn for word in ("lose", "lost", "best", "worst"))


def test_what_moved_is_counted_and_marked():
    before, after = [[0.0, 0.5], [-0.5, 1.0]], [[0.0, 1.0], [-1.0, 1.0]]
    fig, alt = show.moved_weights({"one": (before, after), "none": (before, before)})
    assert "one: 2 of 4 move, +0 on average" in alt and "none: 0 of 4 move" in alt
    assert [text.get_text() for text in fig.axes[0].texts] == ["0", "0.5\n→ 1", "−0.5\n→ −1", "1"]
    marked = [patch.get_facecolor() for patch in fig.axes[0].patches]
    assert marked[0] == marked[3] != marked[1] == marked[2]


def test_what_was_rounded_stands_below_the_stored_number():
    fig, _ = show.moved_weights({"one": ([[0.0, -1.0]], [[0.5, -1.0]], [[0.23, -0.98]], [[0.36, -0.86]])})
    drawn = [text.get_text() for text in fig.axes[0].texts]
    assert drawn == ["0\n→ 0.5", "0.23→0.36", "−1", "−0.98→−0.86"]


def test_zero_has_no_sign():
    fig, _ = show.moved_weights({"one": ([[-0.0]], [[0.0]])})
    assert [text.get_text() for text in fig.axes[0].texts] == ["0"]


def test_the_title_compares_the_first_way_with_the_others_and_every_adapter_has_a_mark():
    ways = {"back": {0.01: 0.9, 0.3: 0.02}, "dense": {0.01: -0.01, 0.3: 0.03}, "noise": {0.02: 0.0}}
    fig, alt = show.lost_by_size(ways)
    assert alt.startswith("back loses up to 90%, the others 3%. ") and "dense: −1 to 3 %" in alt
    lines = {line.get_label(): line for line in fig.axes[0].lines}
    for way, points in ways.items():
        assert list(zip(lines[way].get_xdata(), lines[way].get_ydata())) == [
            (100 * x, 100 * y) for x, y in points.items()
        ]


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: show.merge_schematic(4, 4, 0), "r=0"),
        (lambda: show.moved_weights({}), "panels is empty"),
        (lambda: show.moved_weights({"x": ([[1.0]], [[float("nan")]])}), "nan"),
        (lambda: show.lost_by_size({}), "ways is empty"),
        (lambda: show.lost_by_size({"x": {0.1: float("inf")}}), "inf"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(draw, says):
    with pytest.raises(ValueError, match=says):
        draw()
