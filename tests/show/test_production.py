"""Figures of lesson 13."""

import matplotlib.pyplot as plt
import pytest

from lora_lab import show

GAPS = {"ours": [1e-5, 2e-4, 0.0], "another start": [0.0, 3e-2, 0.1], "INT4": [2e-2, 3e-2, 0.04]}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def test_the_recipe_names_each_call_and_the_shapes_but_no_bytes():
    fig, alt = show.library_calls_schematic(48, 32, r=4)
    written = "\n".join(text.get_text() for text in fig.axes[0].texts).replace("_\nkbit", "_kbit")
    for call in ("BitsAndBytesConfig", "prepare_model_for_kbit_training", "LoraConfig, get_peft_model", "Trainer"):
        assert call in written
    for words in ("[48, 32]", "A [4, 32]", "B [48, 4]"):
        assert words in written and words in alt
    assert "GB" not in written + alt and "fp32" not in written + alt


def test_the_recipe_refuses_sizes_that_are_none():
    with pytest.raises(ValueError, match="r"):
        show.library_calls_schematic(48, 32, r=0)


def test_gaps_are_drawn_as_they_are_and_the_title_has_the_largest_of_each_run():
    fig, alt = show.loss_gaps(GAPS, allowed=0.01)
    axes = fig.axes[0]
    assert fig.get_suptitle() == "Largest gap in 3 steps: ours 0.02 %, another start 10 %, INT4 4 %"
    assert axes.get_yscale() == "log"
    assert list(axes.lines[1].get_ydata()) == [1e-7, 3e-2, 0.1]
    assert list(axes.lines[0].get_xdata()) == [1, 2, 3]
    assert axes.lines[-1].get_ydata()[0] == 0.01
    assert "another start 10 %" in alt
    assert {text.get_text(): text.xy for text in axes.texts[:3]} == {
        "ours": (3, 1e-7), "another start": (3, 0.1), "INT4": (3, 0.04)}  # fmt: skip


def test_one_run_alone_is_drawn_and_a_gap_that_is_no_number_is_refused():
    fig, _ = show.loss_gaps({"ours": [1e-3]}, allowed=0.01)
    assert fig.get_suptitle() == "Largest gap in 1 steps: ours 0.1 %"
    with pytest.raises(ValueError):
        show.loss_gaps({"ours": [float("nan")]}, allowed=0.01)
    with pytest.raises(ValueError):
        show.loss_gaps({}, allowed=0.01)


def test_two_libraries_stand_beside_each_other_seed_by_seed():
    theirs = [{"seed": seed, "exact": score, "seconds": 90} for seed, score in ((1, 0.5), (0, 0.25))]
    ours = [{"run": "qlora", "seed": seed, "exact_before": 0.0, "exact": 0.75} for seed in (0, 1)]
    ours += [{"run": "qlora, answers shuffled", "seed": seed, "exact_before": 0.0, "exact": 0.125} for seed in (0, 1)]
    ours.append({"run": "qlora", "seed": 2, "exact_before": 0.0, "exact": 0.5})
    lines = str(show.two_libraries(theirs, ours, heldout=8)).splitlines()
    assert [line.split() for line in lines if line.strip().endswith("2")] == [
        ["0", "0%", "25%", "75%", "12%", "2"],
        ["1", "0%", "50%", "75%", "12%", "2"],
    ]
    assert "on 2 of 3 seeds" in lines[0] and "up to 4 answers from ours" in lines[0]
    with pytest.raises(ValueError, match="seed 7"):
        show.two_libraries([{"seed": 7, "exact": 1.0, "seconds": 1}], ours, heldout=8)
