"""What happened in a training run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class History:
    """What happened, one entry per optimizer step.

    Attributes:
        losses: means over what the loss counts; of a language model, nats per token with loss.
        learning_rates: of the step; of the first group, where an optimizer has several.
        grad_norms: before clipping.
        counted: what the losses are means over, so far: tokens with loss, pairs, examples.
        seconds: since the start.
        evaluations: (step, score) of every call of `evaluate`.
        stopped_early: whether patience ran out.
    """

    losses: list[float] = field(default_factory=list)
    learning_rates: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    counted: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    evaluations: list[tuple[int, float]] = field(default_factory=list)
    stopped_early: bool = False

    def record(self, loss: float, learning_rate: float, grad_norm: float, counted: float, seconds: float) -> None:
        """Add one optimizer step."""
        self.losses.append(loss)
        self.learning_rates.append(learning_rate)
        self.grad_norms.append(grad_norm)
        self.counted.append(counted + (self.counted[-1] if self.counted else 0))
        self.seconds.append(seconds)

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Become what `dataclasses.asdict` made of one and JSON gave back."""
        for name, value in kept.items():
            setattr(self, name, [tuple(entry) for entry in value] if name == "evaluations" else value)

    @property
    def tokens(self) -> list[float]:
        """With loss, so far: what a language model's loss has counted."""
        return self.counted

    @property
    def best_step(self) -> int | None:
        """The step with the best score, the first of them if several share it; with patience its weights are kept."""
        return max(self.evaluations, key=lambda entry: entry[1])[0] if self.evaluations else None

    @property
    def last_evaluated(self) -> int | None:
        """The step of the last evaluation."""
        return self.evaluations[-1][0] if self.evaluations else None

    @property
    def evaluations_since_best(self) -> int:
        """How many evaluations followed the first one with the best score."""
        return sum(self.best_step is not None and step > self.best_step for step, _ in self.evaluations)
