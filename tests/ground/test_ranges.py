"""Numbers in their ranges, whatever type they come in."""

import math
from fractions import Fraction

import numpy as np
import pytest

from lora_lab import ranges


@pytest.mark.parametrize("value", [1, 7, np.int32(3), np.uint8(7)])
def test_a_whole_number_in_range_is_given_back_as_an_int(value):
    number = ranges.whole("n", value, 1, 7)
    assert number == value and type(number) is int


@pytest.mark.parametrize("value", [True, np.True_, 1.0, np.float64(1), "1", None, math.nan, Fraction(1)])
def test_what_is_not_a_whole_number_is_refused(value):
    with pytest.raises(TypeError, match="^n=.*must be an integer"):
        ranges.whole("n", value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (8, "8"),
        (-(10**50), "a number of .*"),
        pytest.param(10**5000, "a number of over 40 digits", id="huge"),
    ],
)
def test_a_whole_number_out_of_range_is_refused(value, words):
    with pytest.raises(ValueError, match=f"^n={words}: choose from 1 to 7$"):
        ranges.whole("n", value, 1, 7)


def test_bounds_are_open_or_closed_as_said():
    assert ranges.real("x", 0, least=0) == 0.0 and ranges.real("x", 1, most=1) == 1.0
    for bounds in ({"above": 0}, {"below": 0}, {"least": 1}, {"most": -1}):
        with pytest.raises(ValueError, match="^x=0: choose a finite number (above|below|at least|at most) -?[01]$"):
            ranges.real("x", 0, **bounds)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), pytest.param(10**400, id="huge")])
def test_no_range_holds_what_is_not_finite(value):
    with pytest.raises(ValueError, match="^x=.*: choose a finite number$"):
        ranges.real("x", value)


def test_seeds_that_mean_the_same_or_do_not_fit_are_refused():
    assert ranges.seed(0) == 0 and ranges.seed(2**63 - 1) == 2**63 - 1
    for value in (-1, 2**63):
        with pytest.raises(ValueError, match="^seed="):
            ranges.seed(value)


def test_a_choice_names_the_nearest_one_and_all():
    with pytest.raises(
        ValueError, match="^unknown method 'qlorra': did you mean 'qlora'. Or choose one of full, lora, qlora$"
    ):
        ranges.choice("method", "qlorra", ("full", "lora", "qlora"))
    with pytest.raises(ValueError, match="^unknown precision 'fp16': choose one of bf16, fp32$"):  # another word
        ranges.choice("precision", "fp16", ("bf16", "fp32"))
    with pytest.raises(ValueError, match="^unknown bits 5: choose one of 4, 8$"):
        ranges.choice("bits", 5, (4, 8))


@pytest.mark.parametrize(("n", "said"), [(0, ""), (2, "a, b"), (3, "a, b, c"), (5, "a, b, c and 2 more")])
def test_of_many_names_the_first_three_are_said(n, said):
    assert ranges.first(list("abcde")[:n]) == said
