"""What every way of counting returns: the peak, when it is reached, and what it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from lora_lab.units import GB, GIB

PHASES = ("at rest", "forward", "loss", "backward", "optimizer step")
"""Of one training step, in order.

at rest         between steps: weights, their quantization constants, the optimizer's states
forward         the decoder, from the embedding to the last hidden states
loss            the output head, the cross-entropy and their gradients, until the last hidden states have theirs
backward        the decoder backwards
optimizer step  the update, with all gradients there
"""

COMPONENTS = (
    "frozen weights",
    "quantization constants",
    "trainable weights",
    "gradients",
    "optimizer states",
    "activations",
    "logits and loss",
    "workspace",
)
"""What bytes belong to.

frozen weights          parameters without a gradient (4-bit ones as packed), and the model's buffers
quantization constants  of the 4-bit weights
trainable weights       adapters, or all weights in full fine-tuning
gradients               of the trainable weights, from when they are complete
optimizer states        such as Adam's two moments
activations             the batch, and what the decoder's forward pass makes, also when a checkpoint repeats it
logits and loss         all that the phase `loss` makes, except gradients of weights
workspace               what is needed for a moment: dequantized weights, gradients of activations, the update
"""


class Moment(NamedTuple):
    """One point of a timeline.

    Attributes:
        phase: one of `PHASES`.
        bytes: alive then, for each of `COMPONENTS`.
    """

    phase: str
    bytes: tuple[int, ...]

    @property
    def total(self) -> int:
        """Bytes alive."""
        return sum(self.bytes)


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of tensors that one training step needs at its peak. All counts are exact integers of bytes.

    Attributes:
        how: "closed form", "simulated" or "measured".
        known_error: in words, against what and how large.
        peak_bytes: the largest number of bytes alive at one time.
        peak_phase: the phase in which that is.
        phases: the peak within each phase.
        components: what is alive at the peak; they add up to `peak_bytes`.
        trainable_params: how many parameters train.
        timeline: every moment of the step at which something was allocated, where it is known.
        process: what surrounds the tensors, where it was measured: the allocator's reserve, the device's use.
        notes: sentences on what the method does not reach, such as a mixture's experts.

    Raises:
        ValueError: if the parts contradict the peak.
    """

    how: str
    known_error: str
    peak_bytes: int
    peak_phase: str
    phases: Mapping[str, int]
    components: Mapping[str, int]
    trainable_params: int
    timeline: tuple[Moment, ...] = field(default=(), repr=False)
    process: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if sum(self.components.values()) != self.peak_bytes:
            raise ValueError(
                f"the components add up to {sum(self.components.values()):,} bytes, not to the peak of "
                f"{self.peak_bytes:,}: count what is alive at the peak, each byte once"
            )
        if self.phases.get(self.peak_phase) != self.peak_bytes or max(self.phases.values()) != self.peak_bytes:
            raise ValueError(
                f"the peak of {self.peak_bytes:,} bytes in {self.peak_phase!r} is not the largest of the phases "
                f"{dict(self.phases)}: the peak is the maximum over the phases"
            )

    def table(self) -> str:
        """The estimate as aligned text; the unit stands over each column."""
        unit, size, binary, binary_size = _units(self.peak_bytes)

        def line(name: str, count: int, share: str = "") -> str:
            return f"{name:<{width}} {count / size:>9.3f} {count / binary_size:>9.3f} {share:>7}".rstrip()

        width = max(len(name) for name in ("at its peak", *self.components, *self.phases, *self.process))
        rule = "-" * (width + 28)
        parts = sorted(self.components.items(), key=lambda part: -part[1])
        lines = [
            f"{self.how.capitalize()} peak: {self.peak_bytes / size:.3f} {unit} "
            f"({self.peak_bytes / binary_size:.3f} {binary}), in the phase '{self.peak_phase}'; "
            f"{self.trainable_params:,} parameters train",
            f"Known error: {self.known_error}",
            *(f"Note: {note}" for note in self.notes),
            "",
            f"{'at its peak':<{width}} {unit:>9} {binary:>9} {'share':>7}",
            rule,
            *(line(name, count, f"{count / self.peak_bytes:.1%}") for name, count in parts if count),
            line("together", self.peak_bytes, "100.0%"),
            "",
            f"{'peak within':<{width}} {unit:>9} {binary:>9}",
            rule,
            *(line(name, count) for name, count in self.phases.items()),
        ]
        if self.process:
            lines += ["", f"{'around it':<{width}} {unit:>9} {binary:>9}", rule]
            lines += [line(name, count) for name, count in self.process.items()]
        return "\n".join(lines)


def _units(count: int) -> tuple[str, int, str, int]:
    """GB = 10⁹ and GiB = 2³⁰ bytes from 1 GB on, MB = 10⁶ and MiB = 2²⁰ below."""
    return ("GB", GB, "GiB", GIB) if count >= GB else ("MB", 10**6, "MiB", 2**20)
