"""Pictures of constants and of a QLoRA layer: what they say is what they were given."""

import matplotlib.pyplot as plt
import pytest
import torch

from lora_lab import quant, show


def test_the_schematic_says_the_bytes_of_each_part():
    alt = show.double_quantization_schematic(64, 256).alt
    assert "64 codes of 4 bits, 32 bytes" in alt and "256 codes of 8 bits, 256 bytes" in alt
    plt.close("all")


def test_the_histogram_counts_levels_and_constants_near_zero():
    scaled = torch.tensor([-1.0, 0.05, 0.5, 0.0])
    drawing = show.levels_over_constants(scaled, {"three": torch.tensor([-1.0, 0.0, 1.0])}, "A finding")
    assert drawing.alt == "A finding. three has 1 of 3 levels within 0.1 of zero, where 50% of the constants are."
    plt.close("all")


def test_costs_are_means_over_texts_and_stand_where_their_bits_are():
    curves = {"plain": {64: (4.5, [1.0, 3.0]), 16: (6.0, [1.0, 1.0])}, "quantized": {64: (4.127, [2.0, 3.0])}}
    drawing = show.cost_of_bits(curves, 4, "A finding", "divergence")
    assert "plain: 1.00 at 6.000 bits (blocks of 16), 2.00 at 4.500 bits (blocks of 64)" in drawing.alt
    assert "quantized: 2.50 at 4.127 bits (blocks of 64)" in drawing.alt
    lines = {line.get_label(): line for line in drawing.fig.axes[0].get_lines()}
    assert list(lines["plain"].get_xdata()) == [2.0, 0.5] and list(lines["plain"].get_ydata()) == [1.0, 2.0]
    plt.close("all")


def test_both_passes_meet_the_restored_weight_and_the_codes_get_no_gradient():
    alt = show.qlora_schematic(192, 512, 8).alt
    assert "Ŵ [192, 512]" in alt and "restored once more" in alt and "the codes get none" in alt
    plt.close("all")


def test_a_curve_of_slowdowns_says_every_ratio_in_the_order_of_tokens():
    drawing = show.slowdown_by_tokens({"ours": {4096: 1.06, 16: 1.42}}, "A finding")
    assert drawing.alt == "A finding. ours: 1.42 at 16, 1.06 at 4,096 tokens."
    plt.close("all")


@pytest.mark.parametrize(
    ("draw", "error", "says"),
    [
        (lambda: show.double_quantization_schematic(63), ValueError, "odd"),
        (lambda: show.double_quantization_schematic(1), ValueError, "block=1"),
        (lambda: show.levels_over_constants(torch.zeros(3), {}, "t"), ValueError, "books is empty"),
        (
            lambda: show.levels_over_constants(torch.tensor([torch.nan]), {"i": quant.INT8.values}, "t"),
            ValueError,
            "nan",
        ),
        (lambda: show.cost_of_bits({"a": {64: (4.0, [1.0])}}, 4, "t", "y"), ValueError, "not more than the code's"),
        (lambda: show.cost_of_bits({"a": {}}, 4, "t", "y"), ValueError, "a is empty"),
        (lambda: show.qlora_schematic(0, 3, 1), ValueError, "d_out=0"),
        (lambda: show.slowdown_by_tokens({}, "t"), ValueError, "curves is empty"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(draw, error, says):
    with pytest.raises(error, match=says):
        draw()
    plt.close("all")
