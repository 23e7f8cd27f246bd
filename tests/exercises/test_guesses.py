"""A guess is taken before anything is measured, and shown beside it afterwards."""

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from lora_lab.exercises import guesses, lessons, results
from lora_lab.exercises.stopping import Stopped
from lora_lab.exercises.wording import distance, number

pytestmark = pytest.mark.usefixtures("course")


def shown(capsys) -> list[list[str]]:
    """The rows of the table that was shown, as text, without its headers."""
    lines = capsys.readouterr().out.strip().split("\n")
    rule = next(i for i, line in enumerate(lines) if set(line) <= {"-", " "})
    edges = [i for i in range(len(lines[rule])) if i == 0 or lines[rule][i - 2 : i] == "  "]
    return [[line[a:b].strip() for a, b in zip(edges, [*edges[1:], None])] for line in lines[rule + 1 :]]


# ── taking guesses ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_guess_that_is_still_open_stops_with_one_sentence_that_names_all_of_them():
    with pytest.raises(Stopped) as stop:
        guesses(energy=..., rank=...)
    assert str(stop.value) == ("First your guess: give energy and rank a number in the cell above, then run this cell "
                               "again. energy = None goes on without one.")  # fmt: skip


def test_in_jupyter_the_stop_shows_no_traceback_and_what_is_slow_below_does_not_run(capsys):
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    result = shell.run_cell("from lora_lab.exercises import guesses\nguessed = guesses(energy=...)\nprint('slow')")
    out = capsys.readouterr().out.strip()
    assert not result.success and "\n" not in out and out.startswith("First your guess: give energy a number")


@pytest.mark.parametrize("value", ["40", [40], True, float("nan"), float("inf"), 10**400, 4 + 0j, "x" * 500])
def test_what_is_no_number_stops_with_one_short_sentence(value):
    with pytest.raises(Stopped, match="^energy = .* is no number: write one such as 40, or None for no guess") as stop:
        guesses(energy=value)
    assert len(str(stop.value)) < 200 and "\n" not in str(stop.value)


def test_a_name_that_no_lesson_asks_for_stops_with_the_nearest_one():
    with pytest.raises(Stopped, match="no guess is named 'enrgy': did you mean energy"):
        guesses(enrgy=40)


def test_what_was_not_guessed_in_this_cell_cannot_be_compared_in_it():
    with pytest.raises(Stopped, match="rank is not among the guesses of this cell: energy"):
        guesses(energy=40).against(rank=3)


def test_what_a_lesson_measured_must_be_a_number():
    with pytest.raises(TypeError, match="energy=.*what was measured must be a number"):
        guesses(energy=40).against(energy="many")


# ── beside what was measured ────────────────────────────────────────────────────────────────────────────────────────


def test_question_guess_measured_and_distance_stand_in_a_row(capsys):
    guesses(energy=40, rank=np.int64(8)).against(energy=torch.tensor(17.25), rank=np.float32(8))
    assert shown(capsys) == [["directions of 192", "40", "17.2", "22.8 too high"],
                             ["rank of an update", "8", "8", "right"]]  # fmt: skip


def test_no_guess_passes(capsys):
    guesses(energy=None).against(energy=17)
    assert shown(capsys) == [["directions of 192", "no guess", "17", "–"]]


REVEALED = {192: "192: full rank sounds as if all were needed", 16: "16: the rank that papers use", None: ""}


@pytest.mark.parametrize(
    ("guess", "measured", "near"),
    [
        (192, 30, 192),
        (160, 30, 192),  # 17 % below it
        (150, 30, None),  # 22 % below it
        (230, 30, 192),
        (232, 30, None),
        (160, 180, None),  # nearer to what was measured
        (16, 30, 16),
        (22, 30, 16),  # 20 % of what was measured
        (22.5, 30, None),
        (9.5, 300, 16),
        (8, 300, None),  # half of it
        (31.5, 300, 16),
        (32, 300, None),  # twice of it
        (0, 300, None),
        (-16, 300, None),
        (18, 19, None),  # nearer to what was measured
        (17, 19, 16),
        (17.5, 19, None),  # as near to the one as to the other
        (16, 16, None),  # it turned out to be right
    ],
)
def test_a_guess_near_a_typical_wrong_value_shows_what_that_one_reveals(guess, measured, near, capsys):
    guesses(energy=guess).against(energy=measured)
    (row,) = shown(capsys)
    assert (row[4] if len(row) > 4 else "") == REVEALED[near]


@pytest.mark.parametrize(
    ("guess", "measured", "near"),
    [(0, 50, True), (10, 50, True), (-10, 50, True), (11, 50, False), (6, 10, False), (1, -10, True), (1, 1, False)],
)
def test_a_typical_guess_of_zero_has_a_neighbourhood_as_wide_as_a_fifth_of_what_was_measured(
    guess, measured, near, monkeypatch, capsys
):
    monkeypatch.setitem(lessons.guess("energy"), "wrong", [[0, "nothing is kept"], [500, "all"]])
    guesses(energy=guess).against(energy=measured)
    assert ("0: nothing is kept" in capsys.readouterr().out) == near


def test_what_reveals_something_is_named_with_its_number(monkeypatch, capsys):
    """The words are about the typical guess and need not be about one beside it: so its number stands before them."""
    monkeypatch.setitem(
        lessons.guess("energy"), "wrong", [[131_072, "as many as the model reads"], [0.53, "an eighth"]]
    )
    guessed = guesses(energy=120_000)
    guessed.against(energy=5_000)
    assert shown(capsys)[0][4] == "131,072: as many as the model reads"
    guesses(energy=0.6).against(energy=1.09)
    assert shown(capsys)[0][4] == "0.53: an eighth"


def test_near_two_typical_wrong_values_the_nearer_one_is_told(monkeypatch, capsys):
    both = [[100, "the farther one"], [110, "the nearer one"]]
    monkeypatch.setitem(lessons.guess("energy"), "wrong", both)
    guesses(energy=108).against(energy=30)
    assert shown(capsys)[0][4] == "110: the nearer one"


def test_comparisons_may_come_one_at_a_time(capsys):
    guessed = guesses(energy=40, rank=8)
    guessed.against(rank=4)
    guessed.against(energy=40)
    assert "4 too high" in (out := capsys.readouterr().out) and "right" in out


# ── words for numbers ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "text"),
    [(40, "40"), (131072, "131,072"), (17.25, "17.2"), (0.012345, "0.0123"), (2.0, "2"), (1234.56, "1,235"), (-3, "-3"),
     (0, "0"), (float("inf"), "inf"), (float("nan"), "nan"), (1e30, "1.00e+30"), (10**20, "1.00e+20")],
)  # fmt: skip
def test_a_number_is_rounded_to_what_matters(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("guess", "measured", "text"),
    [
        (40, 40, "right"),
        (17.24, 17.2437, "right"),
        (1000, 1001, "right"),
        (50, 40, "10 too high"),
        (30, 40, "10 too low"),
        (0.1, 0.3, "0.2 too low, 3 times too small"),
        (65_536, 12_288, "53,248 too high, 5.3 times too large"),
        (115, 40, "75 too high"),  # below three times, the difference says it
        (120, 40, "80 too high, 3 times too large"),
        (5, 40, "35 too low, 8 times too small"),
        (4000, 40, "3,960 too high, 100 times too large"),
        (0, 40, "40 too low"),  # what no factor leads to
        (3, 0, "3 too high"),
        (-1, 2, "3 too low"),
        (-3, -2, "1 too low"),
        (5, float("inf"), "–"),
        (5, float("nan"), "–"),
    ],
)
def test_the_distance_of_a_plain_number_is_a_difference_and_from_three_times_on_a_factor(guess, measured, text):
    assert distance(guess, measured, "GB to train all weights, 90 % of them in 16 bits") == text


@pytest.mark.parametrize(
    ("guess", "measured", "text"),
    [
        (20, 30.7, "11 points too low"),
        (80, 20, "60 points too high"),
        (2, 1, "1 point too high"),
        (30.3, 30.7, "right"),
        (0, 0.6, "1 point too low"),
        (100, 99.4, "1 point too high"),
        (3, 0, "3 points too high"),
        (-5, 12.4, "17 points too low"),
        (5, float("nan"), "–"),
    ],
)
@pytest.mark.parametrize("question", ["% of answers right", "points between the best and the worst start"])
def test_the_distance_of_percentages_is_in_points(guess, measured, text, question):
    assert distance(guess, measured, question) == text


def test_the_table_of_the_cell_and_that_of_the_lesson_know_that_it_is_a_percentage(course, capsys):
    generated = course / "generated" / "05_lesson.json"
    generated.write_text(generated.read_text(encoding="utf-8").replace("directions of 192", "% of the energy"))
    guesses(energy=20).against(energy=30.7)
    assert shown(capsys)[0][:4] == ["% of the energy", "20", "30.7", "11 points too low"]
    results("05")
    assert "11 points too low" in capsys.readouterr().out
