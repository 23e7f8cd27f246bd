"""An explorable of block-wise rounding: move the format, the block and an outlier, and see levels, bins, error.

It needs `ipywidgets` and a running kernel; `show.quantizer` is the static figure that stands beside it.
"""

import html
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from lora_lab import quant, ranges
from lora_lab.show.drawing import Drawing
from lora_lab.show.figures import BLUE, CONTEXT, DARK, POINT, picture
from lora_lab.show.inputs import filled
from lora_lab.show.levers import choice, panel, slider, toolkit

WEIGHTS = 4096
BLOCKS = tuple(size for size in quant.BLOCK_SIZES if size <= WEIGHTS)
FARTHEST, STEP = 50, 5  # in σ: an outlier of one step is already beyond the largest of a block's normal weights
_HIGHEST = 0.5  # where the axis of the shares ends


class Rounded(NamedTuple):
    """The block with the outlier, rounded; errors leave the outlier out, which is restored without one.

    Attributes:
        scaled: its weights divided by its absmax, float [block].
        codes: int [block].
        absmax: its largest magnitude.
        error: mean squared error of the other weights of the block, over σ².
        everywhere: the same of all weights.
    """

    scaled: Tensor
    codes: Tensor
    absmax: float
    error: float
    everywhere: float


def rounded(book: quant.Codebook, sigma: float, block_size: int, outlier: float) -> Rounded:
    """Round 4,096 normal weights, the first of which is the outlier; 0 leaves it an ordinary weight."""
    weights = sigma * _normal()
    if outlier:
        weights[0] = outlier
    blocks = weights.reshape(-1, block_size)
    absmax = blocks.abs().amax(dim=1, keepdim=True)
    codes = book.encode(blocks / absmax)
    squares = (book.decode(codes) * absmax - blocks).square().flatten() / sigma**2
    ordinary = slice(1 if outlier else 0, None)
    error, everywhere = float(squares[:block_size][ordinary].mean()), float(squares[ordinary].mean())
    return Rounded(blocks[0] / absmax[0], codes[0].int(), float(absmax[0]), error, everywhere)


def quantizer(book: str = "INT4", sigma: float = 0.02, block_size: int = 64, outlier: float = 0.0) -> Drawing:
    """A block of normal weights on the levels of a format, and how many of them go to each level.

    The axes stay the same for every setting: what moves is the weights.

    Args:
        book: the name of a codebook of `lora_lab.quant`.
        sigma: standard deviation of the weights, above 0.
        block_size: weights that share one constant, 16 to 4096.
        outlier: one weight of the block, at least 0; 0 for none.

    Returns:
        The figure and its alt text.

    Raises:
        TypeError, ValueError: for an unknown format, or a number out of range.
    """
    levels, block_size = quant.get_codebook(book), ranges.whole("block_size", block_size)
    ranges.choice("block_size", block_size, BLOCKS)
    sigma, outlier = ranges.real("sigma", sigma, above=0), ranges.real("outlier", outlier, least=0)
    done = rounded(levels, sigma, block_size, outlier)
    shares = torch.bincount(done.codes, minlength=len(levels)).double() / block_size
    used = int((shares > 0).sum())
    reach = _reached(levels)
    title = f"{levels.name}: {used} of {reach} levels in this block; error over all {done.everywhere:.2%}"
    fig, (above, below) = plt.subplots(2, 1, figsize=(7.2, 4.4), sharex=True, height_ratios=[1.25, 1])
    edges = [-1.06, *levels.midpoints.tolist(), 1.06]
    for number, (left, right) in enumerate(zip(edges, edges[1:])):
        if number % 2 == 0 and len(levels) <= 16:
            above.axvspan(left, right, color=BLUE, alpha=0.13, linewidth=0)
    height = torch.linspace(0.18, 0.94, block_size)[torch.randperm(block_size, generator=_dice())]
    above.plot(done.scaled, height, "o", color=CONTEXT, markersize=5 if block_size <= 256 else 3, alpha=0.75)
    if outlier:
        above.plot(done.scaled[:1], height[:1], "D", color=POINT, markersize=9)
    above.vlines(levels.values.tolist(), 0, 0.12, color=BLUE, linewidth=2.5 if len(levels) <= 16 else 0.8)
    above.set(yticks=[], ylim=(0, 1), xlim=(-1.06, 1.06), ylabel="(height only keeps\nthe dots apart)")
    above.grid(False)
    above.set_title(title)
    there = [(level, share) for level, share in zip(levels.values.tolist(), shares.tolist()) if share]
    below.bar(*zip(*there), width=0.045 if len(levels) <= 16 else 0.007, color=BLUE)  # all 255 take thrice the time
    for level, share in there:
        if share > _HIGHEST:
            below.text(level + 0.04, 0.9 * _HIGHEST, f"{share:.0%} ↑", color=DARK)
    below.set(ylim=(0, _HIGHEST), ylabel="share of the block", xlabel="weight ÷ the largest magnitude of its block")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    far = f"outlier {outlier / sigma:g} σ" if outlier else "no outlier"
    alt = (
        f"{levels.name}, blocks of {block_size}, σ {sigma:g}, {far}: "
        f"absmax {done.absmax:.3f}, {used} of {reach} levels used in this block. Error of the "
        f"other weights: {done.everywhere:.2%} of σ² over all {WEIGHTS:,}, {done.error:.2%} in this block."
    )
    return Drawing(fig, alt)


def quantizer_explorer(
    books: Sequence[str] = ("INT4", "NF4", "FP4_E2M1", "INT8"), block_size: int = 64, outlier: int = 0
) -> Any:
    """Block-wise rounding with levers: the format, the block, and one outlier. The weights' σ is no lever: absmax
    divides it out.

    The slider redraws while it is dragged, and on a key; its number can be typed too.

    Args:
        books: names of codebooks to choose from; the first one is shown.
        block_size: to begin with, a power of two from 16 to 4096.
        outlier: to begin with, in σ, 0 (none) to 50 in steps of 5.

    Returns:
        A widget; as a cell's last expression it shows itself. It serves mouse and keyboard.

    Raises:
        ImportError: without ipywidgets.
        TypeError, ValueError: for an unknown format, or a number outside its lever.
    """
    filled("books", books)
    names = [quant.get_codebook(book).name for book in books]
    ranges.choice("block_size", block_size, BLOCKS)
    ranges.choice("outlier", ranges.whole("outlier", outlier, 0), tuple(range(0, FARTHEST + 1, STEP)))
    controls = {
        "book": choice("format", names, names[0]),
        "block_size": choice("block size", BLOCKS, block_size),
        "outlier": slider("outlier, in σ", outlier, FARTHEST, STEP, least=0),
    }
    shown = toolkit().HTML(layout={"width": "100%", "min_height": "44em"})  # no control moves when it redraws

    def update(_: Any = None) -> None:
        shown.value = describe(**{name: control.value for name, control in controls.items()})

    for control in controls.values():
        control.observe(update, names="value")
    update()
    return panel(shown, controls.values(), toolkit().HTML())


def describe(book: str, block_size: int, outlier: int) -> str:
    """What the explorable shows for one setting, as HTML; the outlier in σ."""
    drawing = quantizer(book, 1.0, block_size, float(outlier))
    drawn = picture(*drawing).html.replace("<figure>", '<figure style="margin: 0">', 1)
    return f"<p><b>{html.escape(drawing.alt)}</b></p>{drawn}"


def _reached(book: quant.Codebook) -> int:
    """How many levels the weights of some block can go to: INT4's lowest lies beyond -1, and only a bin that a value
    of [-1, 1] falls into counts."""
    return len(book.encode(torch.linspace(-1, 1, 100_001)).unique())


@lru_cache(maxsize=1)
def _sample() -> Tensor:
    return torch.randn(WEIGHTS, generator=_dice(), dtype=torch.float32, device="cpu")


def _normal() -> Tensor:
    """The same 4,096 normal numbers every time, so that only the levers move what is shown."""
    return _sample().clone()


def _dice() -> torch.Generator:
    return torch.Generator().manual_seed(0)
