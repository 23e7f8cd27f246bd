"""How far a quantized weight is from the original.

    SNR = 10 · log₁₀( ‖W‖² / ‖W - Ŵ‖² )

in decibels: 6 more is half the error. It compares weights of any scale: NF4 gives 20 to 21 dB on normal weights,
whatever the layer. It says nothing of what an error does to the model's loss.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lora_lab.quant.linear4bit import Linear4bit

_CHUNK = 2**16  # values that are summed at a time: few enough that their copies in float64 stay in the cache


def snr_db(weight: Tensor, restored: Tensor) -> float:
    """Signal-to-noise ratio in decibels.

    Args:
        weight: the original, any shape and floating dtype.
        restored: what stands in its place, the same shape.

    Returns:
        ∞ if both are equal (a weight of zeros included), -∞ if zeros were restored as something else.

    Raises:
        TypeError: for what is no tensor, or complex.
        ValueError: for two shapes, or a value that is not finite.

    >>> snr_db(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5]))      # 10 · log₁₀(25 / 0.25)
    20.0
    """
    return _decibels(*_energies(weight, restored))


@dataclass(frozen=True)
class LayerError:
    """The error of one layer.

    Attributes:
        name: the layer's, in the model.
        shape: of the weight, [d_out, d_in].
        signal: ‖W‖².
        noise: ‖W - Ŵ‖².
        nbytes: of the codes and constants.
    """

    name: str
    shape: tuple[int, ...]
    signal: float
    noise: float
    nbytes: int

    @property
    def numel(self) -> int:
        """Values in the weight."""
        return math.prod(self.shape)

    @property
    def snr_db(self) -> float:
        """10 · log₁₀(signal / noise)."""
        return _decibels(self.signal, self.noise)

    @property
    def bits_per_param(self) -> float:
        """8 · nbytes / numel."""
        return 8 * self.nbytes / self.numel


@dataclass
class ErrorReport:
    """The error of every layer of a model, collected while it is quantized; no weight is kept.

        report = quant.ErrorReport()
        quant.quantize_model(model, on_layer=report.add)
        print(report)                                       # the total, then the layers, worst first

    Attributes:
        rows: one per layer, in the model's order.
    """

    rows: list[LayerError] = field(default_factory=list)

    def add(self, name: str, weight: Tensor, layer: Linear4bit) -> None:
        """Measure one layer: its dense `weight` [d_out, d_in] against what `layer` holds in its place."""
        signal, noise = _energies(weight, layer.dequantize())
        self.rows.append(LayerError(name, tuple(weight.shape), signal, noise, layer.weight_quantized.nbytes))

    @property
    def total(self) -> LayerError:
        """All layers as if they were one long weight.

        Raises:
            ValueError: if there are none.
        """
        if not self.rows:
            raise ValueError("the report is empty: give its `add` to quantize_model as on_layer")
        return LayerError(
            f"all {len(self.rows)} layers",
            (sum(row.numel for row in self.rows),),
            sum(row.signal for row in self.rows),
            sum(row.noise for row in self.rows),
            sum(row.nbytes for row in self.rows),
        )

    def table(self, limit: int | None = None) -> str:
        """The total and the worst layers as aligned text; `limit=None` shows all of them."""
        worst = sorted(self.rows, key=lambda row: row.snr_db)
        shown = worst if limit is None else worst[:limit]
        cells = [("layer", "shape", "SNR (dB)", "bits per parameter")]
        cells += [
            (row.name, " × ".join(f"{n:,}" for n in row.shape), f"{row.snr_db:.2f}", f"{row.bits_per_param:.3f}")
            for row in [self.total, *shown]
        ]
        widths = [max(map(len, column)) for column in zip(*cells)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
            for row in cells
        ]
        if rest := worst[len(shown) :]:
            lines.append(f"… and {len(rest)} better ones, up to {rest[-1].snr_db:.2f} dB")
        return "\n".join(lines)

    def __str__(self) -> str:
        """The total and the twenty worst layers."""
        return self.table(limit=20) if self.rows else "no layer has been quantized yet"


@torch.no_grad()
def _energies(weight: Tensor, restored: Tensor) -> tuple[float, float]:
    """‖W‖² and ‖W - Ŵ‖² in float64, a chunk at a time: whole copies would be the peak of a model that is streamed."""
    for each in (weight, restored):
        if not isinstance(each, Tensor) or each.is_complex():
            raise TypeError(f"cannot compare a {getattr(each, 'dtype', type(each).__name__)}: give real tensors")
    if weight.shape != restored.shape:
        raise ValueError(f"cannot compare shape {tuple(weight.shape)} with shape {tuple(restored.shape)}")
    signal = noise = 0.0
    for w, w_restored in zip(weight.flatten().split(_CHUNK), restored.flatten().split(_CHUNK)):
        original = w.double()
        signal += float(original.square().sum())
        noise += float((original - w_restored.double()).square().sum())
    if not math.isfinite(signal + noise):
        raise ValueError("the weight or what was restored holds NaN or infinity: it has no signal-to-noise ratio")
    return signal, noise


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf
