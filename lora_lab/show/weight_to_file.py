"""The way of one layer through a QLoRA fine-tune, from a dense weight to a file."""

from lora_lab import ranges
from lora_lab.show.drawing import FROZEN, INK, TRAINED, Box, Drawing, Look, Spot, arrow, canvas, matrix, shape, words

_TALLEST = 1.55  # inches, of the dense weight
_MIDDLE = 1.75
_COLUMNS = (0.95, 2.85, 4.55, 6.35)


def weight_to_file_schematic(d_out: int, d_in: int, r: int, bits: float) -> Drawing:
    """Four stations: a dense weight, the same in few bits, with adapters beside it, and the file; areas are bytes.

    Args:
        d_out, d_in, r: the shapes, at least 1.
        bits: that each weight takes once it is quantized, constants included.

    Returns:
        The figure and its alt text, with the shapes and the bytes of every part.

    Raises:
        TypeError, ValueError: for sizes that are no whole numbers from 1, or bits that are not above 0.
    """
    d_out, d_in, r = ranges.whole("d_out", d_out), ranges.whole("d_in", d_in), ranges.whole("r", r)
    if not 0 < bits <= 32:
        raise ValueError(f"bits={bits}: each weight takes more than 0 and at most 32")
    dense, packed, adapter = 4 * d_out * d_in, bits / 8 * d_out * d_in, 4 * r * (d_out + d_in)
    fig, axes = canvas(7.2, 3.55, "One layer's way: packed, given an adapter, trained, saved")
    inch = _TALLEST / max(d_out, d_in)
    small = (bits / 32) ** 0.5
    tall, wide = d_out * inch, d_in * inch

    def factors(x: float) -> tuple[Box, Box]:
        A = matrix(axes, (x, _MIDDLE + 0.35), (r * inch, wide), TRAINED)
        B = matrix(axes, (x, _MIDDLE - 0.35), (r * inch, tall) if tall < 1 else (tall * 0.55, r * inch), TRAINED)
        return A, B

    W = matrix(axes, (_COLUMNS[0], _MIDDLE), (tall, wide), FROZEN)
    W4 = matrix(axes, (_COLUMNS[1], _MIDDLE), (tall * small, wide * small), FROZEN)
    W4_again = matrix(axes, (_COLUMNS[2] - 0.3, _MIDDLE), (tall * small, wide * small), FROZEN)
    pair, saved = factors(_COLUMNS[2] + 0.25), factors(_COLUMNS[3])

    _named(axes, W.top, f"W {shape(d_out, d_in)}", FROZEN)
    _named(axes, (_COLUMNS[1], W.top[1]), "W₄, 4-bit codes", FROZEN)
    _named(axes, (_COLUMNS[2], W.top[1]), f"A {shape(r, d_in)}\nB {shape(d_out, r)}", TRAINED)
    _named(axes, (_COLUMNS[3], W.top[1]), "A and B alone", TRAINED)
    bottom = W.bottom[1] - 0.08
    words(axes, (_COLUMNS[0], bottom), f"{_kb(dense)}\n32 bits a weight", "below")
    words(axes, (_COLUMNS[1], bottom), f"{_kb(packed)}\n{bits:.2f} bits a weight", "below")
    words(axes, (_COLUMNS[2], bottom), f"{_kb(packed)} + {_kb(adapter)}\nonly A and B train", "below")
    words(axes, (_COLUMNS[3], bottom), f"{_kb(adapter)}\nthe file", "below")
    ends = (
        (W.right[0], W4.left[0], "quantize"),
        (W4.right[0], W4_again.left[0], "inject"),
        (max(part.right[0] for part in pair), min(part.left[0] for part in saved), "train,\nsave"),
    )
    for left, right, call in ends:
        arrow(axes, (left + 0.08, _MIDDLE), (right - 0.08, _MIDDLE))
        words(axes, ((left + right) / 2, _MIDDLE), call, "above", fontsize=10, color=INK)
    return Drawing(
        fig,
        f"Four stations of one linear layer, drawn with areas like their bytes. W {shape(d_out, d_in)}, frozen, "
        f"{_kb(dense)}. Quantized: the same in {bits:.2f} bits a weight, {_kb(packed)}. Injected: A {shape(r, d_in)} "
        f"and B {shape(d_out, r)} beside it, {_kb(adapter)}, which alone train. Saved: A and B alone, {_kb(adapter)}.",
    )


def _named(axes: object, spot: Spot, text: str, look: Look) -> None:
    words(axes, (spot[0], spot[1] + 0.05), text, "above", look, fontweight="bold")  # type: ignore[arg-type]


def _kb(count: float) -> str:
    return f"{count / 1e3:,.0f} KB"
