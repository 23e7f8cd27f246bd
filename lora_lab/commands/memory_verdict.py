"""Which flags would make it fit?"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Protocol

from lora_lab.commands.memory_room import Room
from lora_lab.commands.memory_settings import flag
from lora_lab.memory.gpus import Answer

_SHORTEST = 256  # tokens: who needs fewer knows it
_LAST = {"seq_len", "context", "method"}  # what one would rather not change
_WORTH = 0.005  # of the peak: what saves less is not said


class Question(Protocol):
    """What is asked about one model: how settings become bytes."""

    def needs(self, typed: Mapping[str, Any]) -> int | None:
        """Bytes of tensors at most, loading included; None for settings that do not go together."""

    def changes(self, typed: Mapping[str, Any], room: Room) -> Iterator[dict[str, Any]]:
        """What could be changed, from what costs least to what costs most."""


@dataclass(frozen=True)
class Way:
    """Flags to add, and what comes of it.

    Attributes:
        change: the settings.
        peak_bytes: of tensors, then, loading included.
        saves_bytes: against what was asked for.
        answer: whether it fits then.
        unlikely: whether that is uncertain, and even the process's lower end does not fit.
    """

    change: Mapping[str, Any]
    peak_bytes: int
    saves_bytes: int
    answer: Answer
    unlikely: bool = False

    @property
    def said(self) -> str:
        """The answer in words."""
        return f"{self.answer}, and unlikely" if self.unlikely else self.answer

    @property
    def flags(self) -> str:
        """As they are typed."""
        return " ".join(flag(name, value) for name, value in self.change.items())


def ways_out(question: Question, typed: Mapping[str, Any], room: Room) -> tuple[list[Way], Way | None]:
    """Single settings that save memory, most first; and the first few that together make it fit, if none that leaves
    method and length as they are does alone.

    What is tried first costs least, as `Question.changes` says.
    """
    before = question.needs(typed)
    if before is None:
        return [], None

    def way(change: Mapping[str, Any]) -> Way | None:
        peak = question.needs({**typed, **change})
        return None if peak is None else Way(change, peak, before - peak, room.answer(peak), room.unlikely(peak))

    found = [each for change in question.changes(typed, room) if (each := way(change))]
    singles = sorted((each for each in found if each.saves_bytes > _WORTH * before), key=lambda each: -each.saves_bytes)
    fitting = [each.change.keys() for each in singles if each.answer == "fits"]
    if any(not names & _LAST for names in fitting):
        return singles, None
    keeps = _together(question, typed, room, way, {"method"})
    best = keeps if keeps and keeps.answer == "fits" else _together(question, typed, room, way)
    if best and not any(names <= best.change.keys() for names in fitting):
        return singles, best
    return singles, keeps if keeps and keeps.answer == "uncertain" else None  # the nearest with the same method


def _together(
    question: Question,
    typed: Mapping[str, Any],
    room: Room,
    way: Callable[[Mapping[str, Any]], Way | None],
    kept: Set[str] = frozenset(),
) -> Way | None:
    """Changes one after the other, the cheapest first, until it fits; then without those that were not needed.

    Settings that are `kept` stay as they are.
    """
    steps: list[Mapping[str, Any]] = []
    best, peak = None, question.needs(typed) or 0
    while best is None or best.answer != "fits":
        for change in question.changes({**typed, **_merged(steps)}, room):
            tried = None if change.keys() & kept else way(_merged([*steps, change]))
            if tried and tried.peak_bytes < (1 - _WORTH) * peak:
                steps, best, peak = [*steps, change], tried, tried.peak_bytes
                break
        else:
            break
    for step in list(steps):
        fewer = [each for each in steps if each is not step]
        tried = way(_merged(fewer)) if fewer else None
        if best and tried and (tried.answer == "fits" or tried.peak_bytes <= best.peak_bytes):
            steps, best = fewer, tried
    return _without_what_is_off(best, way) if best and len(steps) > 1 and not _desperate(best) else None


def _without_what_is_off(best: Way, way: Callable[[Mapping[str, Any]], Way | None]) -> Way:
    """The same without switches that need not be typed to be off, such as one that an earlier step turned on."""
    for name in [name for name, value in best.change.items() if value is False]:
        tried = way({other: value for other, value in best.change.items() if other != name})
        if tried and tried.peak_bytes == best.peak_bytes:
            best = tried
    return best


def _desperate(way: Way) -> bool:
    """Whether even the shortest sequence makes it no likely fit."""
    shortest = min(way.change.get("seq_len", _SHORTEST + 1), way.change.get("context", _SHORTEST + 1)) <= _SHORTEST
    return shortest and (way.unlikely or way.answer == "does not fit")


def _merged(steps: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for step in steps for name, value in step.items()}


def shorter(
    question: Question, typed: Mapping[str, Any], room: Room, name: str, length: int
) -> Iterator[dict[str, Any]]:
    """The longest of the halved lengths that fits, else the shortest.

    Args:
        question, typed, room: as for `ways_out`.
        name: of the setting, "seq_len" or "context".
        length: tokens, now.
    """
    found = []
    while (length := length // 2) >= _SHORTEST:
        found.append({name: length})
        if room.answer(question.needs({**typed, **found[-1]}) or 0) == "fits":
            break
    yield from found[-1:]
