"""Pictures of number formats, of blocks and of the quantizer say what they were given."""

import math

import ipywidgets
import matplotlib.pyplot as plt
import pytest
import torch

from lora_lab import quant, show
from lora_lab.show.block_rounding import BLOCKS, STEP, WEIGHTS, describe, rounded


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_every_bit_stands_in_its_field():
    rows = {"E5M2": "0 01011 10", "INT4": "1 001"}
    fig, alt = show.bits_schematic(rows)
    bits = [text.get_text() for text in fig.axes[0].texts if text.get_va() == "center"]
    assert "".join(bit for bit in bits if bit in ("0", "1")) == "00101110" + "1001"
    assert "E5M2: sign 0, exponent 01011, mantissa 10; INT4: sign 1, whole number 001" in alt
    for bad in ("0 2 1", "01011", "", "0 1 0 1", "0 " + "1" * 32):
        with pytest.raises(ValueError, match="bad"):
            show.bits_schematic({"bad": bad})


def test_the_rows_count_the_numbers_of_two_doublings():
    whole = list(range(-128, 128))
    fig, alt = show.number_lines({"powers": [2.0**k for k in range(-3, 9)], "INT8": whole}, -4, 10)
    assert fig.axes[0].get_title(loc="left") == "As many from 1 to 2 as from 64 to 128: powers"
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["powers\n1 and 1", "INT8\n1 and 64"]
    assert "INT8 1 and 64" in alt and fig.axes[0].lines[1].get_xdata().min() == 1
    with pytest.raises(ValueError, match="no finite|not finite|no place"):
        show.number_lines({"bad": [1.0, math.inf]}, -4, 10)
    with pytest.raises(ValueError, match="highest"):
        show.number_lines({"INT8": whole}, 3, 4)


def test_the_schematic_of_a_block_counts_its_codes_and_bits():
    fig, alt = show.block_schematic(64, 16)
    assert "64 codes of 4 bits" in fig.get_suptitle() and "16 levels" in alt
    assert "6 codes of 3 bits" in show.block_schematic(6, 8).fig.get_suptitle()
    with pytest.raises(ValueError, match="levels"):
        show.block_schematic(64, 1)


def test_a_histogram_says_which_share_is_below_half_of_the_absmax():
    drawing = show.weight_histograms({"a": [25, 25, 25, 25], "b": [0, 50, 50, 0]}, {"a": "flat"})
    assert drawing.fig.get_suptitle() == "Below ½ absmax: a 50%, b 100%"
    assert drawing.fig.axes[0].get_title() == "a\nflat" and drawing.alt.endswith("of the weights.")


def test_usage_names_the_least_and_the_most():
    fig, alt = show.usage_bars({"first": [0.1, 0.2, 0.3, 0.4], "second": [0.25] * 4})
    assert fig.get_suptitle() == "The codes are used from 10.0% to 40.0%"
    assert "second: 25.0% to 25.0%" in alt and "25.00%" in alt


# ── the quantizer ───────────────────────────────────────────────────────────────────────────────────────────────────


def by_hand(book, sigma, size, outlier):
    """The errors of the other weights over σ², by the library's own storage format."""
    weights = sigma * torch.randn(WEIGHTS, generator=torch.Generator().manual_seed(0))
    if outlier:
        weights[0] = outlier
    squares = (quant.quantize(weights, book, size).dequantize() - weights).square() / sigma**2
    first = 1 if outlier else 0
    return float(squares[first:size].mean()), float(squares[first:].mean())


@pytest.mark.parametrize("name", ["INT4", "NF4", "FP4_E2M1"])
@pytest.mark.parametrize("size", [16, 64, 4096])
@pytest.mark.parametrize("outlier", [0.0, 0.3])
def test_the_quantizers_errors_are_those_of_the_library(name, size, outlier):
    book = quant.get_codebook(name)
    done = rounded(book, 0.02, size, outlier)
    assert (done.error, done.everywhere) == pytest.approx(by_hand(book, 0.02, size, outlier), rel=1e-3)


def test_sigma_alone_changes_no_relative_error_and_an_outlier_does():
    book = quant.INT4
    errors = {sigma: rounded(book, sigma, 64, 0.0).error for sigma in (0.001, 0.02, 0.1)}
    assert len({round(error, 6) for error in errors.values()}) == 1
    assert rounded(book, 0.02, 64, 0.4).error > 20 * errors[0.02]


def test_the_harm_of_an_outlier_stays_in_its_block():
    short, whole = (rounded(quant.INT4, 0.02, size, 0.4).everywhere for size in (16, 4096))
    assert whole > 20 * short


def test_the_axes_of_the_quantizer_stay_where_they_are():
    limits = set()
    for setting in (("INT4", 0.02, 64, 0.0), ("INT8", 0.1, 1024, 1.0), ("NF4", 0.001, 16, 0.01)):
        above, below = show.quantizer(*setting).fig.axes
        limits.add((above.get_xlim(), above.get_ylim(), below.get_ylim()))
    assert len(limits) == 1


def test_the_quantizer_marks_the_outlier_and_counts_the_levels():
    drawing = show.quantizer("INT4", 0.02, 64, 0.4)
    (mark,) = [line for line in drawing.fig.axes[0].lines if line.get_marker() == "D"]
    assert list(mark.get_xdata()) == [1.0] and "outlier 20 σ" in drawing.alt
    assert "no outlier" in show.quantizer().alt


@pytest.mark.parametrize(("name", "reached"), [("INT4", 15), ("NF4", 16), ("FP4_E2M1", 16), ("INT8", 255)])
def test_the_quantizer_counts_only_the_levels_that_scaling_by_absmax_can_reach(name, reached):
    assert f"of {reached} levels used in this block" in show.quantizer(name, 0.02, 64, 0.4).alt


def test_the_title_of_the_quantizer_tells_the_error_of_all_weights_not_of_one_block():
    drawing, done = show.quantizer("INT4", 1.0, 64, 20.0), rounded(quant.INT4, 1.0, 64, 20.0)
    title = drawing.fig.axes[0].get_title(loc="left") or drawing.fig.axes[0].get_title()
    assert f"error over all {done.everywhere:.2%}" in title and f"{done.error:.2%} in this block" in drawing.alt


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"book": "INT5"}, "INT5"),
        ({"block_size": 48}, "block_size"),
        ({"sigma": 0.0}, "sigma"),
        ({"outlier": -1}, "outlier"),
    ],
)
def test_a_quantizer_of_nothing_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        show.quantizer(**change)


def leaves(widget):
    if not hasattr(widget, "children"):
        return [widget]
    return [leaf for child in widget.children for leaf in leaves(child)]


def test_every_lever_of_the_explorable_moves_what_is_shown():
    explorer = show.quantizer_explorer(("INT4", "NF4"), block_size=64, outlier=20)
    controls = {each.description: each for each in leaves(explorer) if each.description}
    shown = explorer.children[0]
    assert isinstance(shown, ipywidgets.HTML) and list(controls) == ["format", "block size", "outlier, in σ"]
    assert shown.value == describe("INT4", 64, 20)
    for name, value in {"format": "NF4", "block size": 16, "outlier, in σ": 0}.items():
        before = shown.value
        controls[name].value = value
        assert shown.value != before
    assert shown.value == describe("NF4", 16, 0) and "no outlier" in shown.value
    assert "no outlier" in show.quantizer_explorer(("NF4",)).children[0].value
    for bad in (1, 55):
        with pytest.raises(ValueError, match="outlier"):
            show.quantizer_explorer(outlier=bad)
    with pytest.raises(ValueError, match="empty"):
        show.quantizer_explorer(books=())


def test_only_levels_that_a_weight_goes_to_have_a_bar():
    done = rounded(quant.INT8, 1.0, 64, 0.0)
    below = show.quantizer("INT8", 1.0, 64, 0.0).fig.axes[1]
    assert len(below.patches) == len(done.codes.unique()) < 64
    assert sum(bar.get_height() for bar in below.patches) == pytest.approx(1)


def test_every_step_of_the_outlier_is_beyond_the_other_weights_of_its_block():
    assert all(rounded(quant.INT4, 1.0, size, float(STEP)).scaled.argmax() == 0 for size in BLOCKS)
