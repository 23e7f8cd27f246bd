"""The answer of `lora-lab memory` for a script."""

from dataclasses import asdict
from typing import Any

from lora_lab import memory
from lora_lab.commands.memory_answer import Answer
from lora_lab.commands.memory_verdict import Way
from lora_lab.memory.presets import Preset


def as_record(found: Answer) -> dict[str, Any]:
    """All of it, in bytes."""
    estimate, room = found.estimate, found.room
    record = {name: value for name, value in asdict(estimate).items() if name != "timeline"}
    low, high = memory.process_bytes(found.decides.peak_bytes, room.gpu if room else None)
    return {
        "model": found.model,
        "counted_as": found.config.name if isinstance(found.config, Preset) else None,
        "verdict": found.verdict,
        "fits": {None: None, "fits": True, "uncertain": None, "does not fit": False}[found.verdict],
        "kind": found.kind,
        "setup": dict(found.settings),
        "unit": "bytes",
        **record,
        "needs_bytes": found.decides.peak_bytes,
        "loading": found.loading and {"peak_bytes": found.loading.peak_bytes, "components": found.loading.components},
        "stack_error": found.error and asdict(found.error),
        "process_bytes": [low, high],
        "gpu": room and room.gpu and asdict(room.gpu),
        "gpu_count": room and room.count,
        "budget_bytes": room and room.bytes,
        "ways_out": [_way(way) for way in found.singles],
        "together": found.together and _way(found.together),
        "more_cards": found.more_cards and f"{found.more_cards.flags}: {found.more_cards.answer}",
        "largest": found.largest,
        "gpus_that_fit": [name for name, each in found.cards.items() if each == "fits"],
        "gpus_uncertain": [name for name, each in found.cards.items() if each == "uncertain"],
        "remarks": list(found.remarks),
    }


def _way(way: Way) -> dict[str, Any]:
    return {"flags": way.flags, **asdict(way)}
