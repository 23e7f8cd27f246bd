"""How far predictions were from measured runs of each stack and method, as the record `memory_world` says."""

from dataclasses import dataclass
from typing import Any

from lora_lab import records
from lora_lab.units import GB

METHOD_WORDS = {"full": "full fine-tuning", "lora": "LoRA", "qlora": "QLoRA"}


@dataclass(frozen=True)
class Measured:
    """Runs of one stack with one method, against what is predicted for them.

    Attributes:
        method: "full", "lora" or "qlora".
        runs: how many were measured on a known card.
        median, worst: of the errors' sizes, as shares.
        where: on which cards.
        parameters: of the largest model.
        how: what ran them, if it was not the stack's own loop.
        unstated: "runs" on a card that is not named, and between what their "errors" lie; None for none.
    """

    method: str
    runs: int
    median: float
    worst: float
    where: str
    parameters: int
    how: str | None = None
    unstated: dict[str, Any] | None = None

    def __str__(self) -> str:
        several = self.runs > 1
        off = f"{self.median:.1%} in the median and {self.worst:.1%} at most" if several else f"{self.worst:.1%}"
        within = f", in {self.how}" if self.how else ""
        return (
            f"{off.replace('%', ' %')} against {self.runs} {METHOD_WORDS[self.method]} run{'s' * several} of this "
            f"stack, of {'at most ' * several}{_size(self.parameters)} on {self.where}{within}{self._others()}"
        )

    def _others(self) -> str:
        if not self.unstated:
            return ""
        sizes = sorted(abs(100 * error) for error in self.unstated["errors"])
        side = "too low" if max(self.unstated["errors"]) < 0 else "off"
        return (
            f"; {self.unstated['runs']} more on an unnamed card were predicted {sizes[0]:.0f} to {sizes[-1]:.0f} % "
            f"{side}, perhaps since what they print is the allocator's reserve"
        )


def unmeasured(method: str, base: str = "nf4") -> str:
    """That nothing is known of the error of a method over weights in `base`."""
    what = f"int8 {METHOD_WORDS[method]}" if base == "int8" else METHOD_WORDS[method]
    return f"no {what} run of this stack was measured, so nothing is known of its error"


def measured(stack: str, method: str, base: str = "nf4") -> Measured | None:
    """What is known of a stack's error with a method; None if no such run was measured, or the record is not there.

    Args:
        stack, method, base: as of `memory.estimate`; only weights in NF4 were measured.
    """
    if base != "nf4":
        return None
    try:
        found: dict[str, Any] = records.load("memory_world").get("methods", {}).get(stack, {}).get(method) or {}
    except ValueError:
        return None
    return Measured(method, **found) if found.get("runs") else None


def in_range() -> str:
    """How many processes lay in the range that is printed around the tensors; empty if the record is not there."""
    try:
        found: dict[str, dict[str, int]] = records.load("memory_world").get("processes", {})
    except ValueError:
        return ""
    cards = (f"{each['inside']} of {each['runs']} measured on {gpu}" for gpu, each in found.items())
    return f" (in that range lay {' and '.join(cards)})" if found else ""


def _size(parameters: int) -> str:
    return f"{parameters / GB:.0f}B" if parameters >= 2 * GB else f"{parameters / GB:.1f}B"
