"""The answer of `lora-lab memory` for a reader: the verdict, why, what would make it fit, then the table."""

from dataclasses import replace

from lora_lab import memory
from lora_lab.commands.memory_answer import Answer
from lora_lab.commands.memory_measured import in_range
from lora_lab.commands.memory_room import Room
from lora_lab.commands.memory_words import in_the_stack_s_words
from lora_lab.commands.memory_verdict import Way
from lora_lab.memory.gpus import FRAGMENTATION, process_bytes
from lora_lab.memory.gpus import Answer as Verdict
from lora_lab.memory.saying import size, verdict
from lora_lab.ranges import first


def as_text(found: Answer) -> str:
    """All of it."""
    decides, room = found.decides, found.room
    verdict_line = first_line(decides.peak_bytes, room)
    if found.kind == "inference" and room and room.count > 1:  # a model that answers is counted on one card
        verdict_line = verdict_line.replace(":", " on one:", 1)
    lines = [verdict_line, why(decides, room)]
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
        lines += way_lines(found, larger, room.answer(decides.peak_bytes))
    notes = (*found.remarks, *found.estimate.notes)
    lines += [*found.counted, *(f"Note: {each}" for each in notes), *found.more]
    return "\n".join([*lines, "", replace(found.estimate, notes=()).table()])


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
        f"fragments and {context} MiB of CUDA context{in_range()}."
    )


def loading_line(found: Answer) -> str:
    """That the largest moment comes before any step."""
    then = {"training": "a step", "inference": "answering"}[found.kind]
    upcast = "--upcast-frozen casts the largest dense weight"
    when = {"upcast": upcast}.get(found.decides.peak_phase, "the last large weight is quantized")
    return (
        f"Loading needs more than {found.kind}: {size(found.decides.peak_bytes)} when {when}, and {then} "
        f"{size(found.estimate.peak_bytes)}; the verdict is on loading."
    )


def way_lines(found: Answer, larger: str, asked: Verdict) -> list[str]:
    """What would make it fit, a line for each way; behind it, how the stack's own users write it."""
    singles, together = found.singles, found.together
    ways = [*singles, *([together] if together else [])]
    wish = "make it fit" if asked == "does not fit" else "make it sure"
    lines = [f"What would {wish}:" if any(way.answer == "fits" for way in ways) else f"None of these would {wish}:"]
    width = max((len(way.flags) for way in singles), default=0)
    lines += [
        f"  {way.flags:<{width}}  saves {size(way.saves_bytes)}: {way.said}{_behind(found, way)}" for way in singles
    ]
    if together:
        another = " with another method" * ("method" in together.change)
        saves = f"saves {size(together.saves_bytes)}: {together.said}{another}"
        lines.append(f"  together: {together.flags}  {saves}{_behind(found, together)}")
    if larger:
        lines.append(f"  or a larger card{larger}")
    if cards := found.more_cards:
        lines.append(f"  or more cards: {cards.flags}: {cards.answer}{_behind(found, cards)}")
    return lines if len(lines) > 1 else ["Nothing that is offered here would make it fit."]


def _behind(found: Answer, way: Way) -> str:
    """In parentheses, how the stack's own users write it, and what a stage of DeepSpeed saves by another's leave."""
    said = [in_the_stack_s_words(way.change.get("stack", found.settings.get("stack", "")), way.change)]
    plain = next((each for each in found.singles if each.change == {"upcast_frozen": False}), None)
    if plain and way.change.keys() == {"sharding"} and way.change["sharding"].startswith("zero"):
        said.append(f"DeepSpeed undoes --upcast-frozen: {plain.flags} alone saves {size(plain.saves_bytes)}")
    behind = "; ".join(filter(None, said))
    return f" ({behind})" if behind else ""
