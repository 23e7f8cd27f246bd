"""All that `lora-lab memory` prints, before it is text or JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lora_lab import memory
from lora_lab.commands.memory_measured import Measured
from lora_lab.commands.memory_room import Room
from lora_lab.commands.memory_verdict import Way
from lora_lab.memory.gpus import Answer as Verdict
from lora_lab.memory.stacks import get_stack


@dataclass(frozen=True)
class Answer:
    """All that is printed, as text or as JSON.

    Attributes:
        model: as it was typed.
        kind: "training" or "inference".
        config: a preset, or a `transformers` config.
        typed: the settings that were typed, see `given`.
        settings: all of them.
        estimate: the memory of it, with its known error.
        loading: the memory of loading before it, where that is known to need something of its own.
        error: of the stack, where it was measured.
        room: what it must fit into, if anything.
        counted: lines on what was counted.
        remarks: what a reader must know.
        singles, together: ways out, see `ways_out`.
        more_cards: several cards that share it, if it fits so.
        largest: of a model that answers, batch and context that "surely" fit, and those whose "tensors" do.
        more: lines on what else follows.
    """

    model: str
    kind: Literal["training", "inference"]
    config: Any
    typed: Mapping[str, Any]
    settings: Mapping[str, Any]
    estimate: memory.MemoryEstimate
    loading: memory.MemoryEstimate | None
    error: Measured | None
    room: Room | None
    counted: tuple[str, ...]
    remarks: tuple[str, ...]
    singles: tuple[Way, ...] = ()
    together: Way | None = None
    more_cards: Way | None = None
    largest: Mapping[str, Mapping[str, int | None]] | None = None
    more: tuple[str, ...] = ()

    @property
    def decides(self) -> memory.MemoryEstimate:
        """What needs most: the step or the answer itself, or loading before it."""
        if self.loading and self.loading.peak_bytes > self.estimate.peak_bytes:
            return self.loading
        return self.estimate

    @property
    def verdict(self) -> Verdict | None:
        """ "fits", "uncertain" or "does not fit"; None where nothing was asked."""
        return None if self.room is None else self.room.answer(self.decides.peak_bytes)

    @property
    def cards(self) -> dict[str, Verdict]:
        """On which GPUs it fits, and on which that is uncertain."""
        return {
            fit.gpu.name: "fits" if fit.certain else "uncertain"
            for fit in memory.gpus_that_fit(self.decides)
            if fit.gpu.bfloat16 or not self.needs_bfloat16
        }

    @property
    def needs_bfloat16(self) -> bool:
        """Whether it trains in bfloat16 with a stack that knows no float16 instead."""
        if self.kind != "training" or self.settings["precision"] == "fp32":
            return False
        return not get_stack(self.settings["stack"]).float16
