"""The figures of lessons 06 and 07: what shares a card, what a lever costs, what a block keeps."""

import re

import matplotlib.pyplot as plt
import pytest

from lora_lab import show

WAYS = {"plain": (200, 10.0), "slow": (50, 14.5), "placebo": (190, 10.0)}
SIZES = {"h": 4096, "q": 4096, "kv": 1024, "a": 32, "i": 14336}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_levers_are_named_without_a_byte():
    drawn = show.levers_schematic()
    assert all(part in drawn.alt for part in ("weights", "gradients", "states", "activations", "logits"))
    assert not re.search(r"\d+(\.\d+)? ?(GB|bytes|%)", drawn.alt)


def test_a_price_is_a_multiple_of_where_one_starts_and_the_title_names_the_lowest_peak():
    drawn = show.lever_prices(WAYS, "plain")
    assert "slow: 25% of plain's memory, 1.45 times its work" in drawn.alt
    assert [axes.get_xlabel() for axes in drawn.fig.axes] == ["times plain's peak memory", "times plain's operations"]
    assert "placebo: 0.95 times the memory, 1.00 times the operations" in drawn.alt
    widths = [bar.get_width() for axes in drawn.fig.axes for bar in axes.patches]
    assert widths == pytest.approx([1, 0.25, 0.95, 1, 1.45, 1])


def test_a_start_that_is_none_of_the_ways_is_refused_by_name():
    with pytest.raises(ValueError, match="start='other' is none of the ways: choose one of plain, slow, placebo"):
        show.lever_prices(WAYS, "other")


def test_a_block_of_llama_8b_keeps_what_the_closed_form_says():
    drawn = show.kept_schematic(SIZES)
    wanted = 16 * 4096 + 8 + 4 * 4096 + 4 * 1024 + 4 * 32 + 8 * 14336
    assert f"One block keeps {wanted:,} bytes of each token" in drawn.alt


def test_without_sizes_the_block_says_widths_and_no_sum():
    drawn = show.kept_schematic()
    assert "query q × bf16" in drawn.alt and "input h × fp32" in drawn.alt and "a sum per head a × fp32" in drawn.alt
    assert "bytes" not in drawn.alt


def test_a_missing_size_is_refused():
    with pytest.raises(ValueError, match="kv"):
        show.kept_schematic({name: size for name, size in SIZES.items() if name != "kv"})


@pytest.mark.parametrize("layers", [2, 6, 8])
def test_checkpointing_draws_each_layer_twice_and_repeats_one(layers):
    drawn = show.checkpointing_schematic(layers)
    said = [text.get_text() for text in drawn.fig.axes[0].texts]
    assert said.count("kept") == layers and said.count("made\nagain") == 1 and said.count("done") == 1


@pytest.mark.parametrize("layers", [1, 9])
def test_too_few_or_too_many_layers_are_refused(layers):
    with pytest.raises(ValueError, match="layers"):
        show.checkpointing_schematic(layers)
