"""Figures of lesson 00, and lines that fit on a screen."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex

from lora_lab import show

ANSWER = '{"name": "Loric Hollin", "born": 1926, "town": "Woliby", "job": "hunter", "pet": "swan", "colour": "grey"}'


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_a_long_answer_is_broken_between_words_and_loses_none(capsys):
    show.at_step(100, 0.0123, 5 / 6, ANSWER)
    lines = capsys.readouterr().out.rstrip("\n").split("\n")
    assert len(lines) > 1 and all(len(line) <= 100 for line in lines)
    label = "step 100 · loss 0.01 ·  83% right   "
    assert lines[0].startswith(label)
    assert " ".join(line.removeprefix(label).strip() for line in lines) == ANSWER
    assert all(line.startswith(" " * len(label)) for line in lines[1:])


def test_a_word_longer_than_a_line_is_not_broken():
    assert "x" * 200 in show.wrapped("a ", "b " + "x" * 200)


def test_bars_of_memory_end_at_their_bytes_and_cards_at_theirs():
    fig, alt = show.fits({"full": 131e9, "lean": 10e9}, {"T4": 16e9})
    axes = fig.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [131, 10]
    assert [line.get_xdata()[0] for line in axes.lines] == [16]
    assert to_hex(axes.patches[-1].get_facecolor()).upper() == show.POINT
    assert "131 GB with full, 10 GB with lean" in alt and "T4 16 GB" in alt


ROWS = [{"valid": 1.0, "fields": 0.8, "exact": 0.1}, {"valid": 0.8, "fields": 0.6, "exact": 0.3}]
BEST = [{"valid": 1.0, "fields": 1.0, "exact": 0.9}]


def test_the_ladder_shows_the_mean_of_the_seeds_and_says_the_best_of_its_first_and_last_group():
    fig, alt = show.ladder({"asked": {"one": ROWS}, "tuned": {"control": ROWS, "right": BEST}})
    assert fig.get_suptitle() == "All fields right: at best 20% when asked, 90% after right"
    assert "asked, one: valid JSON 90%, fields right 70%, all fields right 20%" in alt
    means = [line.get_xdata()[0] for line in fig.axes[0].lines if line.get_marker() == "|"]
    assert means == pytest.approx([20, 20, 90])


def test_the_title_of_the_ladder_speaks_of_the_rung_asked_for_and_of_the_best_that_asks():
    asked = {"one": ROWS, "two": BEST}
    fig, alt = show.ladder({"asked": asked, "tuned": {"right": BEST, "control": ROWS}}, after="control")
    assert fig.get_suptitle() == "All fields right: at best 90% when asked, 20% after control"


def test_every_seed_of_a_rung_has_a_dot_of_its_own_and_a_rung_of_one_seed_says_so():
    fig, _ = show.ladder({"asked": {"one": ROWS * 2}, "tuned": {"control": ROWS, "right": BEST[:1]}})
    dots = [line for line in fig.axes[0].lines if line.get_markersize() == 4.5]
    assert [list(line.get_xdata()) for line in dots] == [pytest.approx([10, 30, 10, 30]), pytest.approx([10, 30]), [90]]
    for line in dots:
        heights = line.get_ydata()
        assert len(set(heights)) == len(heights) and max(heights) - min(heights) < 0.6
    labels = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert labels == ["one", "control", "right (one seed)"]


def test_form_and_content_are_told_apart_in_the_title():
    scores = {
        "base": {"valid JSON": 0.0, "fields right": 0.0},
        "right": {"valid JSON": 1.0, "fields right": 0.98},
        "wrong": {"valid JSON": 0.97, "fields right": 0.04},
    }
    fig, alt = show.form_and_content(scores, "right", "wrong")
    title = fig.axes[0].get_title(loc="left")
    assert title == "Both write JSON (97%); fields right: 98% against 4%" and title in alt


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: show.fits({}, {"T4": 1}), "peaks is empty"),
        (lambda: show.fits({"a": 1}, {}), "cards is empty"),
        (lambda: show.ladder({}), "groups is empty"),
        (lambda: show.ladder({"a": {"one": BEST}}, after="two"), "unknown rung 'two'"),
        (lambda: show.ladder({"a": {"one": []}}), "the rung one is empty"),
        (lambda: show.ladder({"a": {"one": [{"valid": 1.0, "fields": 1.0}]}}), "exact"),
        (lambda: show.form_and_content({"a": {"valid JSON": 1.0}}, "a", "b"), "fields right"),
    ],
)
def test_what_cannot_be_drawn_whole_is_refused_in_a_sentence(draw, says):
    with pytest.raises(ValueError, match=says) as caught:
        draw()
    assert "\n" not in str(caught.value)
