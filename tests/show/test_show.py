"""Figures carry alt text, keep their bytes and are closed; tables read the same as text and as HTML."""

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.figure import Figure

from lora_lab import show


class Reader(HTMLParser):
    """Collects the attributes of every tag, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def line(title: str = "It rises") -> Figure:
    fig, axes = plt.subplots()
    axes.plot([0, 1], [0, 1])
    axes.set_title(title)
    return fig


def test_a_figure_is_html_with_alt_text_and_the_same_alt_as_plain_text() -> None:
    bundle = show.picture(line(), alt="A line that rises", caption="Made up")._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    tags = dict(Reader(bundle["text/html"]).tags)
    assert tags["img"]["alt"] == bundle["text/plain"] == "A line that rises"
    assert "figcaption" in tags and Reader(bundle["text/html"]).words == ["Made up"]


def test_without_a_caption_there_is_no_empty_one() -> None:
    assert "figcaption" not in show.picture(line(), alt="A line").html


def test_alt_and_caption_cannot_break_out_of_the_html() -> None:
    nasty = "\"><script>alert('1')</script> & < >"
    read = Reader(show.picture(line(), alt=nasty, caption=nasty).html)
    assert [tag for tag, _ in read.tags] == ["figure", "img", "figcaption"]
    assert dict(read.tags)["img"]["alt"] == nasty and "".join(read.words) == nasty


def test_the_same_figure_gives_the_same_png_without_the_writers_version() -> None:
    first, second = (show.picture(line(), alt="A line").html for _ in range(2))
    assert first == second
    match = re.search(r"base64,([A-Za-z0-9+/=]+)", first)
    assert match is not None
    png = base64.b64decode(match[1])
    assert png.startswith(b"\x89PNG") and b"Matplotlib" not in png


def test_a_shown_figure_is_closed() -> None:
    fig = line()
    show.picture(fig, alt="A line")
    assert not plt.fignum_exists(fig.number)


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_empty_alt_text_is_refused(alt: str) -> None:
    with pytest.raises(ValueError, match="alt is empty"):
        show.picture(line(), alt=alt)


@pytest.mark.parametrize("place", ["left", "center", "right"])
def test_a_title_in_any_place_serves(place: str) -> None:
    fig, axes = plt.subplots()
    axes.set_title("It rises", loc=place)  # type: ignore[arg-type]
    assert show.picture(fig, alt="A line").text == "A line"


def test_a_figure_without_title_is_refused_and_a_suptitle_serves() -> None:
    fig, _ = plt.subplots()
    with pytest.raises(ValueError, match="no title"):
        show.picture(fig, alt="Empty axes")
    fig.suptitle("Nothing yet")
    show.picture(fig, alt="Empty axes")


def test_the_style_is_applied_on_import_and_can_be_applied_again() -> None:
    plt.rcParams["axes.prop_cycle"] = plt.cycler(color=["red"])  # type: ignore[attr-defined]
    show.style()
    assert plt.rcParams["axes.prop_cycle"].by_key()["color"] == list(show.PALETTE)


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("colour", [show.POINT, show.CONTEXT, show.BLUE, show.GREEN])
def test_the_colours_that_carry_meaning_stand_out_from_white(colour: str) -> None:
    assert 1.05 / (luminance(colour) + 0.05) >= 3  # WCAG 2.2, 1.4.11: graphical objects


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_table_reads_as_aligned_text() -> None:
    table = show.tabulate([["NF4", "8.46e-3", "best"], ["INT4", "−11.6e-3", "–"]], ["code", "error", "verdict"])
    assert table.text.split("\n") == [
        "code     error  verdict",
        "----  --------  -------",
        "NF4    8.46e-3  best",
        "INT4  −11.6e-3  –",
    ]


def test_a_table_as_html_holds_the_same_words() -> None:
    table = show.tabulate([["a & b", "1"]], ["<name>", "n"], caption="What < holds")
    read = Reader(table.html)
    assert [word for word in read.words if word] == ["What < holds", "<name>", "n", "a & b", "1"]
    assert table.text.startswith("What < holds\n")


def test_a_number_that_is_not_rounded_yet_is_refused() -> None:
    with pytest.raises(TypeError, match="round it first"):
        show.tabulate([["a", 0.1]], ["name", "n"])  # type: ignore[list-item]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 values for 2 headers"):
        show.tabulate([["a"]], ["name", "n"])


def test_a_table_without_rows_still_has_its_headers() -> None:
    assert show.tabulate([], ["name", "n"]).text.split("\n")[0] == "name  n"


def test_outside_jupyter_a_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show.table([["a", "1"]], ["name", "n"])
    assert "name" in capsys.readouterr().out


def test_showing_needs_no_ipython() -> None:
    code = "import sys; sys.modules['IPython'] = None\nfrom lora_lab import show; show.table([['a', '1']], ['b', 'c'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and "b" in result.stdout, result.stderr


# ── odd inputs ──────────────────────────────────────────────────────────────────────────────────────────────────────

ONE = torch.ones(1, 2)


@pytest.mark.parametrize(
    ("error", "draw", "words"),
    [
        (ValueError, lambda: show.runs({}, "a", "t", "x"), "scores is empty"),
        (ValueError, lambda: show.runs({"a": []}, "a", "t", "x"), "scores of a is empty"),
        (ValueError, lambda: show.runs({"a": [1]}, "b", "t", "x"), "point='b'"),
        (TypeError, lambda: show.runs({"a": [None]}, "a", "t", "x"), "None, which is no number"),
        (TypeError, lambda: show.runs(None, "a", "t", "x"), "scores must be a collection"),
        (ValueError, lambda: show.methods([], "t"), "rows is empty"),
        (ValueError, lambda: show.methods([{"run": "a", "exact": 1}], "t"), "lacks reading"),
        (TypeError, lambda: show.methods([{"run": "a", "exact": 1, "reading": None}], "t"), "None"),
        (ValueError, lambda: show.levels_under_normal({}, 1.0, "t"), "books is empty"),
        (ValueError, lambda: show.levels_under_normal({"a": ONE[0]}, 0.0, "t"), "sigma=0.0"),
        (ValueError, lambda: show.relative_errors(["p"], dict.fromkeys("abc", [1]), "x", "t"), "holds 3"),
        (ValueError, lambda: show.relative_errors([], {"a": []}, "x", "t"), "places is empty"),
        (ValueError, lambda: show.shares({}, "a", "t"), "scores is empty"),
        (ValueError, lambda: show.shares({"a": {}}, "a", "t"), "scores of a is empty"),
        (TypeError, lambda: show.shares({"a": {"x": None}}, "a", "t"), "None"),
        (ValueError, lambda: show.shares({c: {"x": 1} for c in "abcdefgh"}, "a", "t"), "holds 8"),
        (ValueError, lambda: show.memory_timeline({}, "t"), "at least one"),
        (TypeError, lambda: show.memory_bars({"a": None}, "t"), "'a' is no estimate, but None"),
        (TypeError, lambda: show.memory_timeline({"a": None}, "t"), "'a' is no estimate"),
        (ValueError, lambda: show.predicted_against_measured({"a": [(0, 1)]}, "t"), "0 bytes"),
        (TypeError, lambda: show.predicted_against_measured({"a": [(None, 1)]}, "t"), "None"),
        (TypeError, lambda: show.picture(None, "alt"), "None is no matplotlib figure"),
        (ValueError, lambda: show.picture(line(), None), "alt is empty"),
        (TypeError, lambda: show.tabulate([None], ["a"]), "None is no row"),
        (TypeError, lambda: show.tabulate(["ab"], ["a", "b"]), "'ab' is no row"),
        (TypeError, lambda: show.tabulate([["a"]], [None]), "None is no string"),
        (ValueError, lambda: show.tabulate([], []), "headers is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_whole_is_refused_in_a_sentence(error, draw, words) -> None:
    with pytest.raises(error, match=words) as caught:
        draw()
    assert "\n" not in str(caught.value)
    plt.close("all")


def test_a_format_with_fewer_ratios_is_refused_and_does_not_shorten_the_others() -> None:
    with pytest.raises(ValueError, match="1 values where there are 2"):
        show.relative_errors(["p", "q"], {"a": [1.0, 1.0], "b": [1.0]}, "x", "t")
    plt.close("all")


def test_a_third_format_is_refused_and_not_left_out() -> None:
    with pytest.raises(ValueError, match="holds 3"):
        show.relative_errors(["p"], {"a": [1.0], "b": [1.0], "c": [1.0]}, "x", "t")
    plt.close("all")
