"""The answer of `lora-lab memory` for a reader: the verdict, why, what would make it fit, then the table."""

from collections.abc import Sequence

from lora_lab import memory
from lora_lab.commands.memory_answer import Answer
from lora_lab.commands.memory_room import Room
from lora_lab.commands.memory_verdict import Way
from lora_lab.memory.gpus import FRAGMENTATION, process_bytes
from lora_lab.memory.gpus import Answer as Verdict
from lora_lab.memory.saying import size, verdict
from lora_lab.ranges import first


def as_text(found: Answer) -> str:
    """All of it."""
    decides, room = found.decides, found.room
    lines = [first_line(decides.peak_bytes, room), why(decides, room)]
    if decides is found.loading:
        lines.append(loading_line(found))
    by_answer = {kind: [name for name, each in found.cards.items() if each == kind] for kind in ("fits", "uncertain")}
    if room is None:
        each_of = f" (each of {found.settings['gpus']} cards)" if found.settings.get("gpus") else ""
        lines.append(f"Fits on{each_of}: {first(by_answer['fits'], 6) or 'no single GPU of the catalogue'}")
        if by_answer["uncertain"]:
            lines.append(f"Uncertain on: {first(by_answer['uncertain'], 6)}")
    elif found.verdict != "fits":
        cards = f"{room.count}x" if found.settings.get("gpus", 1) > 1 else ""
        larger = " or ".join(f"{cards}{name}" for name in by_answer["fits"][:3])
        if larger:
            larger = f"{'' if room.gpu else ', in place of --budget'}: --gpu {larger}"
        lines += way_lines(found.singles, found.together, larger, room.answer(decides.peak_bytes))
    lines += [*found.counted, *(f"Note: {each}" for each in found.remarks), *found.more]
    return "\n".join([*lines, "", found.estimate.table()])


def first_line(peak: int, room: Room | None) -> str:
    """The answer with its numbers, in one line."""
    return verdict(peak, room.bytes, room.words, room.gpu) if room else verdict(peak)


def why(estimate: memory.MemoryEstimate, room: Room | None) -> str:
    """What the bytes are, in one line: the largest parts, and what surrounds them."""
    parts = sorted(estimate.components.items(), key=lambda part: -part[1])[:3]
    largest = ", ".join(f"{name} {size(count)}" for name, count in parts if count)
    low, high = (f"{100 * share:.3g}" for share in FRAGMENTATION)
    contexts = process_bytes(0, room.gpu if room else None)
    context = " to ".join(dict.fromkeys(f"{count // 2**20}" for count in contexts))
    return (
        f"Why: the peak is in the phase '{estimate.peak_phase}': {largest}; around the tensors, {low} to {high} % of "
        f"fragments and {context} MiB of CUDA context."
    )


def loading_line(found: Answer) -> str:
    """That the largest moment comes before any step."""
    then = {"training": "a step", "inference": "answering"}[found.kind]
    return (
        f"Loading needs more than {found.kind}: {size(found.decides.peak_bytes)} when the last large weight is "
        f"quantized, and {then} {size(found.estimate.peak_bytes)}; the verdict is on loading."
    )


def way_lines(singles: Sequence[Way], together: Way | None, larger: str, asked: Verdict) -> list[str]:
    """What would make it fit, a line for each way."""
    ways = [*singles, *([together] if together else [])]
    wish = "make it fit" if asked == "does not fit" else "make it sure"
    lines = [f"What would {wish}:" if any(way.answer == "fits" for way in ways) else f"None of these would {wish}:"]
    width = max((len(way.flags) for way in singles), default=0)
    lines += [f"  {way.flags:<{width}}  saves {size(way.saves_bytes)}: {way.said}" for way in singles]
    if together:
        lines.append(f"  together: {together.flags}  saves {size(together.saves_bytes)}: {together.said}")
    if larger:
        lines.append(f"  or a larger card{larger}")
    return lines if len(lines) > 1 else ["Nothing that is offered here would make it fit."]
