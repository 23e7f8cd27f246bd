"""Differences of pairs, their intervals, and the schematic of a layer's way through a fine-tune."""

import math
import statistics

import pytest
import torch
from matplotlib.colors import to_hex

from lora_lab import show
from lora_lab.show.drawing import FROZEN, TRAINED


def students_t(degrees: int, beyond: float = 0.025) -> float:
    """The quantile by bisection of the density's integral, which midpoints sum."""

    def share_beyond(t: float) -> float:
        at = torch.arange(0.5, 200_000, dtype=torch.float64) / 200_000 * (math.pi / 2 - math.atan(t)) + math.atan(t)
        x = at.tan()  # so that the tail, however long, is a finite interval
        density = (1 + x * x / degrees) ** (-(degrees + 1) / 2) / at.cos() ** 2
        scale = math.gamma((degrees + 1) / 2) / math.sqrt(degrees * math.pi) / math.gamma(degrees / 2)
        return scale * float(density.mean()) * (math.pi / 2 - math.atan(t))

    low, high = 0.0, 50.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if share_beyond(middle) > beyond else (low, middle)
    return low


@pytest.mark.parametrize("n", sorted(show.STUDENT))
def test_the_table_of_students_t_is_the_distributions(n):
    assert show.STUDENT[n] == pytest.approx(students_t(n - 1), abs=6e-4)


def test_a_difference_is_that_of_the_pairs_and_what_they_share_does_not_widen_it():
    luck = [0.9, 0.1, 0.5, 0.3]
    mean, half = show.paired([x - 0.05 for x in luck], luck, show.STUDENT[4])
    assert mean == pytest.approx(-0.05) and half == pytest.approx(0, abs=1e-9)
    ours, theirs = [0.3, 0.6, 0.1], [0.2, 0.2, 0.4]
    mean, half = show.paired(ours, theirs, 4.303)
    gaps = [0.1, 0.4, -0.3]
    assert mean == pytest.approx(statistics.mean(gaps))
    assert half == pytest.approx(4.303 * statistics.stdev(gaps) / math.sqrt(3))


def test_about_95_of_100_intervals_hold_the_true_difference():
    dice = torch.Generator().manual_seed(0)
    ours, theirs = torch.randn(2000, 5, generator=dice) + 0.3, torch.randn(2000, 5, generator=dice)
    held = 0
    for a, b in zip(ours.tolist(), theirs.tolist()):
        mean, half = show.paired(a, b, show.STUDENT[5])
        held += abs(mean - 0.3) <= half
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    "ours, theirs, says", [([0.1], [0.2], "one pair"), ([0.1, 0.2], [0.1], "one for each"), ([], [], "empty")]
)
def test_pairs_that_are_none_are_refused_in_words(ours, theirs, says):
    with pytest.raises(ValueError, match=says):
        show.paired(ours, theirs, 2.0)


def test_the_figure_says_the_points_interval_and_every_rows_in_its_alt_text():
    lora = [0.2, 0.3, 0.4]
    fig, alt = show.against({"facts": {"QLoRA": ([0.1, 0.2, 0.3], lora), "full": ([0.5, 0.7, 0.6], lora)}}, "LoRA")
    assert fig.get_suptitle() == "QLoRA against LoRA: −10 ± 0 points"
    full = show.paired([0.5, 0.7, 0.6], lora, show.STUDENT[3])
    assert f"facts, full: +{100 * full.mean:.0f} ± {100 * full.half:.0f} (3 seeds)" in alt
    panel = fig.axes[0]
    dots = [sorted(line.get_xdata()) for line in panel.lines if line.get_marker() == "o"]
    assert dots == [pytest.approx([-10, -10, -10]), pytest.approx([20, 30, 40])]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["QLoRA", "full"]


def test_the_schematics_areas_are_bytes_and_its_words_name_them():
    drawing = show.weight_to_file_schematic(d_out=512, d_in=192, r=16, bits=4.0)
    boxes = [patch for patch in drawing.fig.axes[0].patches if hasattr(patch, "get_width") and patch.get_width() < 3]
    edges = {FROZEN.edge: [], TRAINED.edge: []}
    for box in boxes:
        colour = to_hex(box.get_edgecolor()).upper()
        if colour in edges and box.get_linewidth() > 0:
            edges[colour].append(box.get_width() * box.get_height())
    dense, packed, again = edges[FROZEN.edge]
    assert packed == pytest.approx(dense / 8, rel=1e-6) and again == packed
    assert "393 KB" in drawing.alt and "49 KB" in drawing.alt and "45 KB" in drawing.alt
    assert "A [16, 192]" in drawing.alt and "B [512, 16]" in drawing.alt


@pytest.mark.parametrize("bits", [0, -1, 33])
def test_bits_that_no_weight_takes_are_refused(bits):
    with pytest.raises(ValueError, match="above|more than 0"):
        show.weight_to_file_schematic(8, 8, 2, bits)
