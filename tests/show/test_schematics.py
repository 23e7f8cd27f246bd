"""Schematics are drawn to scale, stay on their canvas, tell frozen from trained without colour, say their shapes."""

import re

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from lora_lab import show
from lora_lab.show import drawing
from lora_lab.show.algebra import algebra

SIZES = [(192, 512, 8), (4096, 4096, 16), (14336, 4096, 64), (64, 192, 300), (1, 1, 1), (512, 3, 2)]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def edged(fig):
    """The boxes with an edge: their widths and heights in inches."""
    boxes = [patch for patch in fig.axes[0].patches if isinstance(patch, Rectangle) and patch.get_linewidth()]
    return [(box.get_height(), box.get_width()) for box in boxes]


def said(fig):
    return [text.get_text() for text in fig.axes[0].texts]


@pytest.mark.parametrize("sizes", SIZES)
def test_matrices_are_to_scale_but_never_a_line(sizes):
    d_out, d_in, r = sizes
    fig, _ = show.lora_schematic(*sizes)
    inch = 1.6 / max(sizes)
    wanted = {(d_out, d_in), (r, d_in), (d_out, r)}
    drawn = {tuple(round(side, 6) for side in box) for box in edged(fig)}
    assert {tuple(round(max(side * inch, drawing._THIN), 6) for side in size) for size in wanted} <= drawn


@pytest.mark.parametrize("sizes", SIZES)
def test_alt_text_and_picture_hold_the_shapes_and_the_numbers(sizes):
    d_out, d_in, r = sizes
    fig, alt = show.lora_schematic(*sizes)
    words = " ".join(said(fig))
    for name, shape in {"W₀": [d_out, d_in], "A": [r, d_in], "B": [d_out, r]}.items():
        assert f"{name} {shape}" in words and f"{name} {shape}" in alt
        assert f"{shape[0] * shape[1]:,}" in words and f"{shape[0] * shape[1]:,}" in alt
    assert f"{r * (d_in + d_out):,} numbers train" in fig.get_suptitle()


def test_without_counts_nothing_gives_the_numbers_away():
    fig, alt = show.lora_schematic(4096, 4096, 16, counts=False)
    words = " ".join([*said(fig), fig.get_suptitle(), alt])
    assert "65,536" not in words and "131,072" not in words and "16,777,216" not in words
    assert said(fig).count("trained") == 2 and "frozen" in said(fig)


def test_frozen_and_trained_differ_by_hatching_edge_and_word():
    assert drawing.FROZEN.hatch and not drawing.TRAINED.hatch
    assert drawing.FROZEN.thick < drawing.TRAINED.thick


def test_alpha_gives_the_scaling():
    fig, alt = show.lora_schematic(192, 512, 8, alpha=16)
    assert "α/r = 2" in said(fig) and "α/r = 2" in alt
    assert "α/r" in said(show.lora_schematic(192, 512, 8).fig)


def inside(fig):
    """Whether every word lies within the canvas, and no two lie on each other."""
    fig.canvas.draw()
    page = fig.bbox
    boxes = [text.get_window_extent() for text in fig.axes[0].texts if text.get_text()]
    within = all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes)
    apart = all(not a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    return within and apart


@pytest.mark.parametrize("sizes", SIZES)
def test_no_word_of_a_layer_leaves_the_canvas_or_lies_on_another(sizes):
    assert inside(show.lora_schematic(*sizes, alpha=16).fig)


@pytest.mark.parametrize("sizes", [(192, 512, 64), (4096, 14336, 1024), (2048, 2048, 2048), (576, 1536, 192)])
def test_no_word_of_a_block_leaves_the_canvas_or_lies_on_another(sizes):
    notes = dict.fromkeys((*show.ATTENTION, *show.MLP), "131,072")
    assert inside(show.block_diagram(*sizes, notes=notes).fig)


def test_words_are_legible_at_600_pixels():
    for fig in (show.lora_schematic(192, 512, 8).fig, show.block_diagram(192, 512, 64).fig):
        pixels = 600 / fig.get_figwidth() / 72  # a point, where the figure is 600 pixels wide
        assert all(text.get_fontsize() * pixels >= 11 for text in fig.axes[0].texts)


def test_a_block_says_the_shape_of_each_place_its_group_and_its_note():
    fig, alt = show.block_diagram(192, 512, 64, {"queries and values": ("q_proj", "v_proj")}, notes={"v_proj": "new"})
    words = " ".join(said(fig)).replace("\n", " ")
    for place, shape in {
        "q_proj": [192, 192],
        "v_proj": [64, 192],
        "up_proj": [512, 192],
        "down_proj": [192, 512],
    }.items():
        assert f"{place} {shape}" in words and f"{place} {shape}" in alt
    assert "queries and values: q_proj [192, 192], v_proj [64, 192] new." in alt
    assert re.search(r"Frozen: k_proj.*o_proj.*gate_proj.*up_proj.*down_proj", alt)
    assert "frozen" in said(fig) and "v_proj [64, 192] new" in words


def test_groups_are_told_apart_by_their_filling_too():
    from lora_lab.show.blocks import _LOOKS

    assert len({look.hatch for look in _LOOKS}) == len({look.edge for look in _LOOKS}) == len(_LOOKS)


def test_all_places_in_groups_leave_none_frozen():
    fig, alt = show.block_diagram(192, 512, 64)
    assert "frozen" not in said(fig) and "Frozen" not in alt


def test_a_drawing_is_shown_with_its_alt_text():
    drawn = show.lora_schematic(192, 512, 8)
    assert show.picture(*drawn).text == drawn.alt


@pytest.mark.parametrize(
    ("error", "draw", "words"),
    [
        (ValueError, lambda: show.lora_schematic(0, 1, 1), "d_out=0"),
        (TypeError, lambda: show.lora_schematic(1, 1.5, 1), "d_in=1.5"),
        (ValueError, lambda: show.lora_schematic(4, 4, 0), "r=0"),
        (ValueError, lambda: show.block_diagram(4, 4, groups={"a": ("q",)}), "'q' in the group 'a' is no place"),
        (ValueError, lambda: show.block_diagram(4, 4, groups={"a": ["q_proj"], "b": ["q_proj"]}), "groups a and b"),
        (ValueError, lambda: show.block_diagram(4, 4, groups=dict.fromkeys("abcdef", ())), "6 groups"),
        (ValueError, lambda: show.block_diagram(4, 4, notes={"head": "x"}), "notes has head"),
        (ValueError, lambda: show.lora_explorer(100, 192), "d_out=100 is between two steps"),
        (ValueError, lambda: show.lora_explorer(192, 192, r=2000), "r=2000"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(error, draw, words):
    with pytest.raises(error, match=re.escape(words)):
        draw()


# ── the explorable ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_explorer_shows_what_its_sliders_say():
    widget = show.lora_explorer(192, 192, r=8, alpha=16)
    *sliders, shown = widget.children
    assert [slider.value for slider in sliders] == [192, 192, 8, 16]
    assert "3,072 numbers train, 8.33% of W₀" in shown.value and ">2<" in shown.value
    sliders[2].value = 97
    assert "LoRA has more numbers than W₀ here: 37,248 for 36,864" in shown.value and "A [97, 192]" in shown.value
    sliders[3].value = 97
    assert "α/r = 1" in shown.value
    sliders[0].value = 512
    assert "B [512, 97]" in shown.value


def test_sliders_announce_whole_numbers_and_wait_for_the_hand():
    import ipywidgets

    *sliders, _ = show.lora_explorer().children
    assert all(type(slider) is ipywidgets.IntSlider and not slider.continuous_update for slider in sliders)
    assert all(slider.description for slider in sliders)


@pytest.mark.parametrize("sizes", [(192, 192), (192, 512), (4096, 14336), (64, 64)])
def test_the_break_even_rank_is_the_first_with_more_numbers(sizes):
    d_out, d_in = sizes
    even = int(re.search(r"r ≥ (\d+)", algebra(d_out, d_in, 1, 1)).group(1))
    assert even * (d_out + d_in) > d_out * d_in >= (even - 1) * (d_out + d_in)


# ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_means_beside_the_marks_are_dark_enough_to_be_read_from_afar(monkeypatch):
    """4.5 : 1 on white for all but the coloured one, as for words of a page (WCAG 2.2, 1.4.3)."""
    drawn = []
    monkeypatch.setattr("lora_lab.show.adapters.figure", lambda fig, **said: drawn.append(fig))
    show.runs({"a": [0.2, 0.4], "me": [0.5]}, "me", xlabel="lists right")
    words = {text.get_text(): text.get_color() for text in drawn[0].axes[0].texts}
    assert set(words) == {"30%", "50%", "mean"}
    for said in ("30%", "mean"):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(words[said])]
        assert 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ({"a": [0.2, 0.4], "me": [0.5]}, "On average me gets 50% right, more than all 1 others"),
        ({"a": [0.9], "me": [0.5], "c": [0.1]}, "On average me gets 50% right; only a gets more"),
        ({"a": [0.9], "me": [0.5], "c": [0.7]}, "On average me gets 50% right; more: a, c"),
    ],
)
def test_a_title_says_who_is_better(scores, wanted, capsys):
    show.runs(scores, "me", xlabel="lists right")
    assert wanted in capsys.readouterr().out
