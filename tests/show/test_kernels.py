"""Figures about kernels hold the numbers that they are given, and refuse what cannot be drawn."""

import matplotlib.pyplot as plt
import pytest

from lora_lab import show


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_each_pass_has_a_bar_as_long_as_its_bytes():
    fig, alt = show.passes_schematic({"first": (1.0, 2.0), "second": (2.0, 4.0)}, (0.5, 4.0))
    widths = [bar.get_width() for bar in fig.axes[0].patches]
    assert widths == [pytest.approx(widths[0] * size) for size in (1, 2, 2, 4, 3, 6, 0.5, 4)]
    assert alt.startswith("9.0 bytes for a weight in 2 passes, 4.5 in one. ")
    assert "first reads 1 and writes 2;" in alt and "all in one pass reads 0.5 and writes 4." in alt
    assert {"3.0", "6.0", "9.0", "4.5"} <= {text.get_text() for text in fig.axes[0].texts}


@pytest.mark.parametrize("blocks", [3, 6, 8])
def test_every_block_has_its_own_program_and_the_loop_one_worker(blocks):
    fig, alt = show.program_schematic(blocks)
    drawn = [text.get_text() for text in fig.axes[0].texts]
    assert all(drawn.count(str(block)) == 3 for block in range(blocks))  # below both rows, and on its program
    assert f"{blocks} workers with the numbers 0 to {blocks - 1}" in alt


def test_the_roof_bends_where_arithmetic_and_memory_ask_for_the_same_time():
    fig, _ = show.roofline(10e9, 40e9, {"dot": (2.0, 15e9)}, "dot", "A title")
    roof = fig.axes[0].lines[0]
    assert roof.get_xdata()[1] == 4.0 and list(roof.get_ydata()[1:]) == [40.0, 40.0]
    left = roof.get_xdata()[0]
    assert roof.get_ydata()[0] == pytest.approx(10 * left)
    assert fig.axes[0].lines[1].get_color() == show.POINT


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: show.passes_schematic({}, (1, 1)), "passes is empty"),
        (lambda: show.passes_schematic({"a": (1.0,)}, (1, 1)), "a has 1 values"),
        (lambda: show.passes_schematic(dict.fromkeys("abcdefg", (1, 1)), (1, 1)), "holds 7"),
        (lambda: show.program_schematic(2), "blocks=2"),
        (lambda: show.roofline(0, 1, {"a": (1, 1)}, "a", "t"), "bandwidth=0"),
        (lambda: show.roofline(1, 1, {}, "a", "t"), "dots is empty"),
        (lambda: show.roofline(1, 1, {"a": (1, 1)}, "b", "t"), "point='b'"),
        (lambda: show.roofline(1, 1, {"a": (1, float("nan"))}, "a", "t"), "nan"),
        (lambda: show.roofline(1, 1, {"a": (1, 0)}, "a", "t"), "a=0"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(draw, says):
    with pytest.raises(ValueError, match=says):
        draw()
