"""Pictures of memory say what the estimates say."""

import re
from itertools import groupby

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex
from transformers import LlamaConfig

from lora_lab import memory, show
from lora_lab.show.memory import COMPONENT_COLOURS

CONFIG = LlamaConfig(vocab_size=301, hidden_size=96, intermediate_size=200, num_hidden_layers=2, num_attention_heads=3,
                     num_key_value_heads=1, max_position_embeddings=256)  # fmt: skip


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def steps() -> dict[str, memory.MemoryEstimate]:
    return {method: memory.simulate(CONFIG, method, seq_len=40) for method in ("full", "qlora")}


def test_every_component_has_a_colour_of_its_own():
    assert tuple(COMPONENT_COLOURS) == memory.COMPONENTS
    assert len(set(COMPONENT_COLOURS.values())) == len(memory.COMPONENTS)


def test_bars_are_as_long_as_the_peaks_and_stacked_by_component(steps):
    axes = show.memory_bars(steps, "Adapters are small").axes[0]
    for row, estimate in enumerate(steps.values()):
        parts = [bar for bar in axes.patches if round(bar.get_y() + bar.get_height() / 2) == row]
        assert [bar.get_width() * 1e6 for bar in parts] == pytest.approx(
            [count for name in COMPONENT_COLOURS if (count := estimate.components.get(name))]
        )
        assert max(bar.get_x() + bar.get_width() for bar in parts) * 1e6 == pytest.approx(estimate.peak_bytes)
        assert f"{estimate.peak_bytes / 1e6:,.1f}" in [text.get_text().strip() for text in axes.texts]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(steps)
    assert axes.get_xlabel() == "memory at the peak (MB)"


def test_bars_of_gigabytes_say_so():
    axes = show.memory_bars({"8B": memory.estimate("llama-3.1-8b", "qlora", seq_len=64)}, "It fits").axes[0]
    assert axes.get_xlabel() == "memory at the peak (GB)"


def test_a_line_of_what_there_is_does_not_cross_out_the_number_of_a_bar(steps):
    fig = show.memory_bars(steps, "It fits", 5_000_000)
    fig.draw_without_rendering()
    numbers = [text for text in fig.axes[0].texts if re.fullmatch(r"[\d,.]+", text.get_text())]
    assert len(numbers) == len(steps)
    for text in numbers:
        assert text.get_bbox_patch().get_facecolor()[:3] == (1, 1, 1)
        assert text.get_zorder() > max(line.get_zorder() for line in fig.axes[0].lines)


@pytest.mark.parametrize(
    ("budget", "names"), [(5_000_000, ["budget"]), ({"one": 4_000_000, "two": 9**9}, ["one", "two"])]
)
def test_budgets_are_lines_within_the_axes(steps, budget, names):
    axes = show.memory_bars(steps, "It fits", budget).axes[0]
    lines = [line.get_xdata()[0] * 1e6 for line in axes.lines]
    assert lines == pytest.approx([budget] if isinstance(budget, int) else list(budget.values()))
    assert max(lines) / 1e6 < axes.get_xlim()[1]
    assert set(names) <= {text.get_text().strip() for text in axes.texts}


def test_a_measured_rest_is_drawn_too():
    measured = memory.measure(*memory.real_step(memory.Setup(CONFIG, "lora", seq_len=20)))
    axes = show.memory_bars({"measured": measured}, "The rest is one piece").axes[0]
    assert sum(bar.get_width() for bar in axes.patches) * 1e6 == pytest.approx(measured.peak_bytes)
    colours = {bars.get_label(): to_hex(bars[0].get_facecolor()).upper() for bars in axes.containers}
    unknown = {name for name, count in measured.components.items() if count} - set(COMPONENT_COLOURS)
    assert unknown and not {colours[name] for name in unknown} & {
        colour.upper() for colour in COMPONENT_COLOURS.values()
    }


def test_the_timeline_marks_the_peak_and_names_the_phases(steps):
    fig = show.memory_timeline(steps["qlora"], "The loss is a hump")
    (axes,) = fig.axes
    assert axes.lines[0].get_ydata()[0] * 1e6 == pytest.approx(steps["qlora"].peak_bytes)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["rest", "forward", "loss", "backward", "update", "rest"]
    top = max(point[1] for area in axes.collections for path in area.get_paths() for point in path.vertices)
    assert top * 1e6 == pytest.approx(steps["qlora"].peak_bytes)


def test_the_peaks_dot_stands_in_its_phase(steps):
    for estimate in steps.values():
        axes = show.memory_timeline(estimate, "Here").axes[0]
        dot, *borders = (line.get_xdata()[0] for line in axes.lines)
        order = [phase for phase, _ in groupby(moment.phase for moment in estimate.timeline)]
        assert len(borders) == len(order) - 1 and borders == sorted(borders)
        assert order[sum(border < dot for border in borders)] == estimate.peak_phase


def test_several_timelines_share_their_scale(steps):
    rows = show.memory_timeline(steps, "Side by side").axes
    assert [axes.get_title("left") for axes in rows] == list(steps)
    assert len({axes.get_ylim() for axes in rows}) == 1


def test_accumulation_draws_its_passes_one_after_the_other():
    step = memory.simulate(CONFIG, "lora", seq_len=10, accumulation=2)
    labels = [label.get_text() for label in show.memory_timeline(step, "Twice").axes[0].get_xticklabels()]
    assert labels == ["rest"] + 2 * ["forward", "loss", "backward"] + ["update", "rest"]


def test_predictions_stand_against_measurements_and_errors_in_percent():
    pairs = {"good": [(100, 101), (10**6, 10**6)], "rule": [(100, 300), (10**6, 10**5)]}
    left, right = show.predicted_against_measured(pairs, "One is right").axes
    good, rule = (line for line in left.lines if line.get_label() in pairs)
    assert list(good.get_xdata()) == [1e-4, 1] and list(rule.get_ydata()) == [3e-4, 0.1]
    errors = [list(line.get_ydata()) for line in right.lines if line.get_linestyle() == "None"]
    assert errors == [pytest.approx([1, 0]), pytest.approx([200, -90])]
    low, high = right.get_ylim()
    assert low < -90 and high > 200


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: show.memory_bars({}, "Nothing"), "at least one"),
        (lambda: show.predicted_against_measured({}, "Nothing"), "0 ways of predicting"),
        (lambda: show.predicted_against_measured({"a": []}, "Nothing"), "at least one pair"),
        (lambda: show.predicted_against_measured(dict.fromkeys("abcde", [(1, 1)]), "Many"), "5 ways of predicting"),
        (lambda: show.memory_timeline(
            memory.measure(*memory.real_step(memory.Setup(CONFIG, "lora", seq_len=5))), "None"), "without a timeline"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused_in_words(draw, words):
    with pytest.raises(ValueError, match=words):
        draw()


def test_the_figures_can_be_shown_with_alt_text(steps):
    for fig in (
        show.memory_bars(steps, "a"),
        show.memory_timeline(steps, "b"),
        show.predicted_against_measured({"x": [(1, 2)]}, "c"),
    ):
        assert show.picture(fig, alt="what it shows").text == "what it shows"


CLOSED = memory.estimate(CONFIG, "qlora", seq_len=40)


def test_a_bar_ends_at_the_peak():
    axes = show.memory_bars({"qlora": CLOSED}, "It fits").axes[0]
    assert max(bar.get_x() + bar.get_width() for bar in axes.patches) * 1e6 == pytest.approx(CLOSED.peak_bytes)


def test_the_peak_of_a_closed_form_is_marked():
    (axes,) = show.memory_timeline(CLOSED, "The loss is a hump").axes
    assert axes.lines[0].get_ydata()[0] * 1e6 == pytest.approx(CLOSED.peak_bytes)
