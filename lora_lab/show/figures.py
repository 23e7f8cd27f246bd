"""The one way a figure is shown: alt text, stable bytes, and colours that everybody can tell apart.

    fig, axes = plt.subplots()
    axes.plot(errors, color=show.POINT)
    axes.set_title("NF4 spends its levels where the weights are")
    show.figure(fig, alt="A line that falls from 3 % at 2 levels to 0.8 % at 16")

Alt text survives JupyterLab, nbconvert and the web book only as an HTML figure, so that is what a cell's output holds.
"""

import base64
import html
import io

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from lora_lab.show.rich import Rich

# Okabe and Ito's palette without black (text) and yellow (too light on white).
# Source: Okabe and Ito, "Color Universal Design", 2008.
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
SKY, ORANGE, PURPLE = "#56B4E9", "#E69F00", "#CC79A7"
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE)
POINT = VERMILLION  # what the figure is about
CONTEXT = "#8C8C8C"  # everything it is compared with
DARK = "#595959"  # words about what is grey: CONTEXT is too light to read

_DPI = 110


def style() -> None:
    """Give every later figure the course's look. Importing `lora_lab.show` does this once."""
    mpl.rcParams.update({
        "axes.prop_cycle": cycler(color=PALETTE),
        "axes.titlesize": 13, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 10,
        "axes.labelsize": 12, "xtick.labelsize": 11, "ytick.labelsize": 11, "legend.fontsize": 11, "font.size": 11,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": CONTEXT,
        "axes.grid": True, "axes.axisbelow": True, "grid.color": "#E3E3E3", "grid.linewidth": 0.8,
        "lines.linewidth": 2.2, "legend.frameon": False,
        "image.cmap": "cividis",
        "figure.figsize": (8.0, 4.2), "figure.constrained_layout.use": True, "figure.facecolor": "white",
    })  # fmt: skip


def picture(fig: Figure, alt: str, caption: str | None = None) -> Rich:
    """Turn a figure into HTML with its alt text, and close it.

    Args:
        fig: a matplotlib figure whose title states the finding.
        alt: what somebody who cannot see it needs to know: the finding and the numbers that carry it.
        caption: a sentence under the figure, such as the source of the data.

    Returns:
        The figure as `text/html`, and its alt text as `text/plain`.

    Raises:
        TypeError: for what is no figure.
        ValueError: the alt text is empty, or the figure has no title.
    """
    if not isinstance(fig, Figure):
        raise TypeError(f"{fig!r} is no matplotlib figure: give what plt.subplots() or a function of show returns")
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError("alt is empty: say in a sentence what the figure shows, with the numbers that matter")
    if not _has_title(fig):
        raise ValueError("the figure has no title: state its finding with axes.set_title(...) or fig.suptitle(...)")
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})  # without the version: stable bytes
    plt.close(fig)  # or Jupyter shows it a second time, without alt text
    image = base64.b64encode(buffer.getvalue()).decode("ascii")
    shown = f'<img alt="{html.escape(alt)}" style="max-width: 100%" src="data:image/png;base64,{image}">'
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return Rich(f"<figure>{shown}{below}</figure>", alt)


def figure(fig: Figure, alt: str, caption: str | None = None) -> None:
    """Show a figure with its alt text, wherever in the cell this stands. Arguments and errors as for `picture`."""
    picture(fig, alt, caption).display()


def _has_title(fig: Figure) -> bool:
    titles = [axes.get_title(place) for axes in fig.axes for place in ("left", "center", "right")]
    return any(title.strip() for title in [fig.get_suptitle(), *titles])


style()
