"""What answering needs, as `lora-lab memory --inference` says it, and the largest batch and context that fit."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lora_lab import memory
from lora_lab.commands.memory_answer import Answer
from lora_lab.commands.memory_options import ANSWERING
from lora_lab.commands.memory_room import Room
from lora_lab.commands.memory_settings import flag, of_the_model
from lora_lab.commands.memory_verdict import shorter, ways_out
from lora_lab.memory.contradictions import positions
from lora_lab.memory.saying import size
from lora_lab.units import GB

USUAL: dict[str, Any] = {"weights": "bf16", "batch_size": 1, "cache": None, "attention": "sdpa", "double_quant": False}
_NARROWER = {"fp32": ("bf16", "int8", "nf4"), "bf16": ("int8", "nf4"), "fp16": ("int8", "nf4"), "int8": ("nf4",)}


def answer(model: str, config: Any, typed: Mapping[str, Any], room: Room | None) -> Answer:
    """All that is said of a model that answers.

    Args:
        model: as it was typed.
        config: a preset or a `transformers` config.
        typed: of `given`.
        room: what it must fit into, if anything.

    Raises:
        ValueError: for settings that cannot be.
    """
    settled, remarks = _settle(config, typed)
    if settled["weights"] != "nf4" and typed.get("double_quant"):
        raise ValueError("--double-quant is of 4-bit weights: add --weights nf4, or leave it out")
    if room and room.gpu and not room.gpu.bfloat16 and settled["weights"] == "bf16":
        remarks.append(f"{room.gpu.name} computes no bfloat16 in hardware: --weights fp16, which takes as much")
    estimate = memory.inference(config, **settled)
    if room and room.count > 1:
        remarks.append(_of_several(estimate, room.count))
    found = Answer(
        model=model,
        kind="inference",
        config=config,
        typed=typed,
        settings=settled,
        estimate=estimate,
        loading=loaded(config, settled),
        error=None,
        room=room,
        counted=(
            f"Counted: {_counted(model, settled)}",
            "Stack: generate of transformers",
        ),
        remarks=tuple(remarks),
    )
    if room is None:
        return found
    if found.verdict != "fits":
        singles, together = ways_out(Answering(config), typed, room)
        found = replace(found, singles=tuple(singles), together=together)
    sure, possible = (largest(config, settled, most) for most in (room.sure_bytes, room.bytes))
    limit = positions(config)
    lines = [f"Largest that surely fits: {_largest(sure, settled, limit)}."]
    if sure != possible:
        lines.append(f"Largest whose tensors fit: {_largest(possible, settled, limit)}.")
    return replace(found, largest={"surely": sure, "tensors": possible}, more=tuple(lines))


def loaded(config: Any, settled: Mapping[str, Any]) -> memory.MemoryEstimate | None:
    """Loading, where weights are quantized on the way."""
    if settled["weights"] not in ("nf4", "int8"):
        return None
    return memory.loading(config, settled["weights"], "peft", settled["double_quant"])


def largest(config: Any, settled: Mapping[str, Any], most: int) -> dict[str, int | None]:
    """The largest batch with this context, and the longest context with this batch, within `most` bytes of tensors;
    None for none."""
    before = loaded(config, settled)
    found: dict[str, int | None] = {"batch_size": None, "context": None}
    if most <= 0 or (before and before.peak_bytes > most):
        return found
    for name in found:
        others: Any = {key: value for key, value in settled.items() if key != name}
        try:
            found[name] = memory.fit_inference(most / GB, name, config, **others)  # type: ignore[arg-type]
        except ValueError:  # not even one
            continue
    return found


class Answering:
    """How settings of answering become bytes, and which could be changed; see `memory_verdict.Question`."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def needs(self, typed: Mapping[str, Any]) -> int | None:
        """Bytes of answering or of loading for it, whichever is more."""
        try:
            settled, _ = _settle(self.config, typed)
            before = loaded(self.config, settled)
            return max(memory.inference(self.config, **settled).peak_bytes, before.peak_bytes if before else 0)
        except ValueError:  # settings that do not go together
            return None

    def changes(self, typed: Mapping[str, Any], room: Room) -> Iterator[dict[str, Any]]:
        """Bytes of constants first, then the cache's precision, then the batch, then the weights', then length."""
        now, _ = _settle(self.config, typed)
        if now["weights"] == "nf4" and not now["double_quant"]:
            yield {"double_quant": True}
        if now["attention"] == "eager":
            yield {"attention": "sdpa"}
        if now["cache"] != "fp8":
            yield {"cache": "fp8"}
        if now["batch_size"] > 1:
            yield {"batch_size": 1}
        yield from ({"weights": narrower} for narrower in _NARROWER.get(now["weights"], ()))
        yield from shorter(self, typed, room, "context", now["context"])


def _settle(config: Any, typed: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Arguments of `memory.inference`, and a sentence on each that neither was typed nor is usual."""
    needed, remarks = of_the_model(config, typed, "context")
    settled = {**USUAL, **needed, **typed}
    return {name: settled[name] for name in ANSWERING}, remarks


def _of_several(estimate: memory.MemoryEstimate, count: int) -> str:
    weights = estimate.components["frozen weights"] + estimate.components["quantization constants"]
    return (
        f"answering is counted on one card; each of {count} can hold a model of its own. One that is split among them "
        f"is not counted: evenly over {count} (device_map='auto') the weights alone are {size(weights // count)} each"
    )


def _counted(model: str, settled: Mapping[str, Any]) -> str:
    constants = " --double-quant" if settled["double_quant"] else ""
    return (
        f"{model}, answering, weights in {settled['weights']}{constants}, {settled['batch_size']} × "
        f"{settled['context']:,} tokens, cache in {settled['cache'] or 'the dtype of the products'}, "
        f"{settled['attention']}"
    )


def _largest(most: Mapping[str, int | None], settled: Mapping[str, Any], limit: int | None) -> str:
    batch, context = most["batch_size"], most["context"]
    found = [f"{flag('batch_size', batch)} with {settled['context']:,} tokens"] if batch else []
    if context:
        end = ", as far as the model reads" if context == limit else ""
        found.append(f"{flag('context', context)} with {settled['batch_size']} at a time{end}")
    return ", or ".join(found) or "none, neither batch nor context"
