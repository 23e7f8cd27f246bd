"""The rank slider: what it says and draws at a rank is the best matrix of that rank."""

import base64
import io
import re

import matplotlib.image
import pytest
import torch

from lora_lab import lowrank, show
from lora_lab.show import ranks

M = torch.randn(6, 9, generator=torch.manual_seed(0))
PICTURES = {"one": M, "two": M.flip(1)}


def at(r: int) -> str:
    return ranks.cut(PICTURES, {name: lowrank.truncated_svd(each, 6) for name, each in PICTURES.items()}, r)


@pytest.mark.parametrize("r", [1, 3, 6])
def test_the_explorable_says_what_a_cut_costs_and_keeps(r):
    shown = at(r)
    kept = float(lowrank.energy_fractions(M)[r - 1])
    assert f"{15 * r} numbers in B and A, 54 in the matrix" in shown
    assert shown.count(f'alt="one, {r} of 6 layers: {kept:.1%} of its energy"') == 1


def test_the_image_is_the_cut_three_pixels_for_a_number():
    png = base64.b64decode(re.findall(r"base64,([^\"]+)", at(6))[0])
    grey = torch.tensor(matplotlib.image.imread(io.BytesIO(png)))[..., 0]
    assert grey.shape == (18, 27)
    wanted = (M - M.min()) / (M.max() - M.min())
    torch.testing.assert_close(grey[1::3, 1::3], wanted, atol=0.01, rtol=0)


def test_the_picture_changes_with_the_rank():
    assert len({re.findall(r"base64,([^\"]+)", at(r))[0] for r in range(1, 7)}) == 6


def test_moving_the_slider_changes_what_is_shown():
    pytest.importorskip("ipywidgets")
    slider, shown = show.rank_explorer(PICTURES, r=2).children
    before = shown.value
    slider.value = 5
    assert "<b>r = 5</b>" in shown.value and "<b>r = 2</b>" in before
    assert (slider.min, slider.max) == (1, 6)


@pytest.mark.parametrize(
    ("pictures", "r", "says"),
    [({}, 1, "pictures is empty"), ({"a": M, "b": M.T}, 1, "one shape"), ({"a": M}, 7, "r=7"), ({"a": M}, 0, "r=0")],
)
def test_what_cannot_be_explored_is_refused_in_a_sentence(pictures, r, says):
    pytest.importorskip("ipywidgets")
    with pytest.raises(ValueError, match=says):
        show.rank_explorer(pictures, r)
