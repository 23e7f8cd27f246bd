"""Several cards that train one model, as `lora-lab memory` speaks of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from lora_lab import memory
from lora_lab.commands.memory_room import Room
from lora_lab.commands.memory_settings import settle
from lora_lab.commands.memory_verdict import Question, Way
from lora_lab.memory.saying import size
from lora_lab.memory.shardings import BITSANDBYTES

_SHARED = ("zero3", "fsdp2")  # each card keeps a share of the weights


def _shares_bf16(room: Room) -> bool:
    """Whether FSDP2 can share 4-bit weights there: stored as bf16, which training in float16 would spoil."""
    return room.gpu is None or room.gpu.bfloat16


def refuse_storage(typed: Mapping[str, Any], room: Room | None) -> None:
    """Raise ValueError for 4-bit weights stored as bf16 that are shared by cards without bfloat16."""
    asked = typed.get("sharding") == "fsdp2" and typed.get("quant_storage") == "bf16"
    if asked and room and room.gpu and not room.gpu.bfloat16:
        raise ValueError(
            f"{room.gpu.name} trains in float16, which would spoil 4-bit weights stored as bf16 when FSDP2 gathers "
            "them: leave out --quant-storage"
        )


def more_cards(config: Any, question: Question, typed: Mapping[str, Any], room: Room) -> Way | None:
    """The fewest cards of this kind, of 2, 4 and 8, among which it fits when they share the weights, with as few other
    changes as will do: for sure if any do, else perhaps; None if it fits among none."""
    if typed.get("dpo"):  # which is counted on one card
        return None
    setup = memory.Setup(config, **settle(config, typed)[0])
    before = question.needs(typed) or 0
    found: dict[str, Way] = {}
    for change in _to_share(setup, room):
        for cards in (each for each in (2, 4, 8) if each > room.count):
            needed = question.needs({**typed, **change, "gpus": cards})
            if needed is not None and not room.unlikely(needed):
                named = {"gpu": f"{cards}x{room.gpu.name}"} if room.gpu else {"gpus": cards}
                answer = room.answer(needed)
                found.setdefault(answer, Way({**named, **change}, needed, before - needed, answer))
    return found.get("fits") or found.get("uncertain")


def _to_share(setup: memory.Setup, room: Room) -> Iterator[dict[str, Any]]:
    """What to set so that cards share the weights: each time more, since each card also loads all of a 4-bit model."""
    change: dict[str, Any] = {"sharding": "zero3" if setup.optimizer in BITSANDBYTES else "fsdp2"}
    in_four_bits = setup.method == "qlora" and setup.base == "nf4"
    if in_four_bits and change["sharding"] == "fsdp2" and _shares_bf16(room):
        change["quant_storage"] = "bf16"
    yield change
    for more, helps in (
        ({"checkpointing": True}, not setup.checkpointing),
        ({"upcast_frozen": False}, setup.upcast_frozen),
        ({"double_quant": True}, in_four_bits and not setup.double_quant),
    ):
        if helps:
            change = {**change, **more}
            yield change


def other_shardings(sharding: str, now: memory.Setup, room: Room) -> Iterator[dict[str, Any]]:
    """Of weights in four bits, FSDP2 with those stored as it can share them."""
    stored = {"quant_storage": "bf16"} if now.method == "qlora" and now.base == "nf4" else {}
    stored = stored if now.quant_storage == "uint8" and _shares_bf16(room) else {}
    if sharding == "fsdp2" and stored:
        yield stored
    for other in ("zero2", *_SHARED):
        if other != sharding:
            yield {"sharding": other} | (stored if other == "fsdp2" else {})


def said_of_cards(
    typed: Mapping[str, Any], setup: memory.Setup, loading: memory.MemoryEstimate | None
) -> list[str]:  # fmt: skip
    if not (sharding := typed.get("sharding")):
        return []
    cards = f"each of {typed['gpus']} cards"
    if sharding == "ddp":
        return [f"{cards} holds all of it under DDP, so one card decides; --sharding fsdp2 or zero3 gives each a share"]
    said = ["counted is the card that holds most; --batch-size is one card's"]
    if loading and sharding in _SHARED:
        kind = "8-bit" if setup.base == "int8" else "4-bit"
        said.append(f"Loading puts all {size(loading.peak_bytes)} of the {kind} model on each card before it is shared")
    return said
