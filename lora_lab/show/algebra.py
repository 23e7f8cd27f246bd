"""An explorable of LoRA's algebra: move the sizes, the rank and α, and see shapes, numbers and scaling follow.

It needs `ipywidgets` and a running kernel; `show.lora_schematic` is the static figure that stands beside it.
"""

from typing import Any

from lora_lab import ranges
from lora_lab.show.drawing import shape
from lora_lab.show.figures import picture
from lora_lab.show.schematics import lora_schematic
from lora_lab.show.tables import tabulate

STEP, WIDEST, HIGHEST = 64, 14336, 1024  # sizes go in steps of 64 to those of an 8B model's MLP; r and α to 1024


def lora_explorer(d_out: int = 4096, d_in: int = 4096, r: int = 16, alpha: int = 32) -> Any:
    """The two paths of a LoRA layer with sliders for both sizes, the rank and α.

    A slider redraws when it is let go, or on a key; its number can be typed too.

    Args:
        d_out, d_in: sizes of the weight to begin with, multiples of 64 from 64 to 14336.
        r, alpha: to begin with, from 1 to 1024.

    Returns:
        A widget; as a cell's last expression it shows itself. It serves mouse and keyboard.

    Raises:
        ImportError: without ipywidgets.
        TypeError, ValueError: for a number outside its slider.
    """
    try:
        import ipywidgets as widgets
    except ImportError as error:
        raise ImportError("explorables need ipywidgets: pip install ipywidgets, then restart the kernel") from error
    start = {"d_out": _size("d_out", d_out), "d_in": _size("d_in", d_in)}
    start |= {"r": ranges.whole("r", r, 1, HIGHEST), "alpha": ranges.whole("alpha", alpha, 1, HIGHEST)}
    words = {"d_out": "rows d_out", "d_in": "columns d_in", "r": "rank r", "alpha": "alpha α"}

    def slider(name: str) -> Any:
        """Of whole numbers: others would announce a place in a list, or a logarithm."""
        least, most = (STEP, WIDEST) if name in ("d_out", "d_in") else (1, HIGHEST)
        return widgets.IntSlider(
            value=start[name],
            min=least,
            max=most,
            step=least,
            description=words[name],
            continuous_update=False,
            style={"description_width": "8em"},
            layout={"width": "40em", "max_width": "100%"},
        )

    sliders = {name: slider(name) for name in start}
    shown = widgets.HTML()

    def update(_: Any = None) -> None:
        shown.value = algebra(**{name: each.value for name, each in sliders.items()})

    for each in sliders.values():
        each.observe(update, names="value")
    update()
    return widgets.VBox([*sliders.values(), shown])


def algebra(d_out: int, d_in: int, r: int, alpha: float) -> str:
    """What the explorable shows for one setting, as HTML: the schematic with its alt text, and a table."""
    numbers, full = r * (d_out + d_in), d_out * d_in
    if numbers <= full:
        title = f"{numbers:,} numbers train, {numbers / full:.2%} of W₀'s {full:,}"
    else:
        title = f"LoRA has more numbers than W₀ here: {numbers:,} for {full:,}"
    drawing = lora_schematic(d_out, d_in, r, alpha, title=title)
    even = full // (d_out + d_in) + 1
    rank = min(r, d_out, d_in)
    rows = [
        ["A", shape(r, d_in), f"{r * d_in:,} numbers"],
        ["B", shape(d_out, r), f"{d_out * r:,} numbers"],
        ["A and B together", f"r (d_in + d_out) = {r} · {d_in + d_out}", f"{numbers:,} numbers"],
        ["as a share of W₀", f"{numbers:,} / {full:,}", f"{numbers / full:.2%}"],
        ["ΔW = α/r · B A", shape(d_out, d_in), f"rank {rank} at most"],
        ["scaling α/r", f"{alpha} / {r}", f"{alpha / r:.3g}"],
        ["more numbers than W₀", f"from d_out d_in / (d_out + d_in) = {full / (d_out + d_in):,.1f}", f"r ≥ {even}"],
    ]
    table = tabulate(rows, ["", "shape or formula", "here"])
    return picture(drawing.fig, f"{title}. {drawing.alt}").html + table.html


def _size(name: str, value: object) -> int:
    size = ranges.whole(name, value, STEP, WIDEST)
    if size % STEP:
        raise ValueError(f"{name}={size} is between two steps of its slider: choose a multiple of {STEP}")
    return size
