"""An explorable of the rank: move r, and see what of a picture and of its shuffled twin is kept.

It needs `ipywidgets` and a running kernel; `show.cuts` is the static figure that stands beside it.
"""

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

import torch
from matplotlib import image
from torch import Tensor

from lora_lab import lowrank, ranges
from lora_lab.show.inputs import filled

_ENLARGED = 3  # screen pixels for one number


def rank_explorer(pictures: Mapping[str, Tensor], r: int = 4) -> Any:
    """Matrices of one shape cut to r layers, side by side, with a slider for r.

    Args:
        pictures: name → matrix [height, width].
        r: the rank to begin with.

    Returns:
        A widget; as a cell's last expression it shows itself. It serves mouse and keyboard.

    Raises:
        ImportError: without ipywidgets.
        TypeError, ValueError: for no pictures, pictures of several shapes, or as `lowrank.truncated_svd`.
    """
    try:
        import ipywidgets as widgets
    except ImportError as error:
        raise ImportError("explorables need ipywidgets: pip install ipywidgets, then restart the kernel") from error
    filled("pictures", pictures)
    shapes = {tuple(M.shape) for M in pictures.values()}
    if len(shapes) > 1:
        raise ValueError(f"pictures of the shapes {', '.join(map(str, sorted(shapes)))}: give them one shape")
    most = min(next(iter(shapes)))
    r = ranges.whole("r", r, 1, most)
    factors = {name: lowrank.truncated_svd(M, most) for name, M in pictures.items()}
    slider = widgets.IntSlider(value=r, min=1, max=most, description="rank r", layout={"width": "34em"})
    shown = widgets.HTML()

    def update(_: Any = None) -> None:
        shown.value = cut(pictures, factors, slider.value)

    slider.observe(update, names="value")
    update()
    return widgets.VBox([slider, shown])


def cut(pictures: Mapping[str, Tensor], factors: Mapping[str, tuple[Tensor, Tensor]], r: int) -> str:
    """What the explorable shows at one rank, as HTML.

    Args:
        pictures: name → matrix [height, width].
        factors: name → B [height, n] and A [n, width], strongest direction first.
        r: how many directions are kept.
    """
    figures = []
    for name, M in pictures.items():
        B, A = factors[name]
        kept = float(lowrank.energy_fractions(M)[r - 1])
        alt = f"{name}, {r} of {B.shape[1]} layers: {kept:.1%} of its energy"
        figures.append(
            f'<figure style="display: inline-block; margin: 0.5em 1em 0.5em 0">'
            f'<img alt="{html.escape(alt)}" style="image-rendering: pixelated" '
            f'src="data:image/png;base64,{_png(B[:, :r] @ A[:r], M)}">'
            f"<figcaption>{html.escape(alt)}</figcaption></figure>"
        )
    height, width = M.shape
    numbers = f"{r * (height + width):,} numbers in B and A, {height * width:,} in the matrix"
    return f"<p><b>r = {r}</b>: {numbers}</p>{''.join(figures)}"


def _png(values: Tensor, scale: Tensor) -> str:
    """A grey image; without matplotlib's axes it is drawn in milliseconds, so that it follows the mouse."""
    large = torch.repeat_interleave(torch.repeat_interleave(values, _ENLARGED, 0), _ENLARGED, 1)
    buffer = io.BytesIO()
    low, high = float(scale.min()), float(scale.max())
    bare: Any = {"Software": None}  # the same bytes in every version
    image.imsave(buffer, large.numpy(), cmap="gray", vmin=low, vmax=high, format="png", metadata=bare)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
