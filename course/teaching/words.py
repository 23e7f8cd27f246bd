"""The words of the guide that a person wrote: `course/masters/guide/`, one file for each lesson, and the day plans.

A lesson's file:

    wall = "what to project, and when"
    breaks = "what goes wrong in class, beside what the hints answer"
    homework = "which task to give, and why"

    [[ask]]                    # one or two
    section = 4
    question = "a question to ask aloud"
    good = "…"                 # answers to expect
    half = "…"
    wrong = "…"
    after = "name"             # if it tells what a guess of its section asks: only once the hands are counted

    [stop]                     # where one can stop and have learned something whole
    after = 5
    learned = "…"

    [behind]                   # if this section is not done in time, jump to that one
    at = 3
    to = 5
    words = "what to say in place of what is left out"
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from teaching.facts import Facts

FOLDER = Path(__file__).resolve().parents[1] / "masters" / "guide"


@dataclass(frozen=True)
class Ask:
    """A question to ask aloud in a section, and the answers to expect; `after` is a guess that it would answer."""

    section: int
    question: str
    good: str
    half: str
    wrong: str
    after: str = ""


@dataclass(frozen=True)
class Stop:
    """The section after which one can stop, and what has been learned by then."""

    after: int
    learned: str


@dataclass(frozen=True)
class Behind:
    """If section `at` is late, jump `to` another, and say these words."""

    at: int
    to: int
    words: str


@dataclass(frozen=True)
class Words:
    """What a person wrote about one lesson."""

    wall: str
    breaks: str
    homework: str
    ask: tuple[Ask, ...]
    stop: Stop
    behind: Behind


@dataclass(frozen=True)
class Part:
    """A part of a plan: minutes of something, or the sections first to last of a lesson (all, if none are given).

    If section `late` is not done in time, `behind` says what to do, in place of what the lesson's file says.
    """

    what: str = ""
    minutes: int = 0
    lesson: str = ""
    sections: list[int] = field(default_factory=list)
    late: int = 0
    behind: str = ""


@dataclass(frozen=True)
class Plan:
    """A session or a day: its heading, when it begins ("9:00"; "" counts from 0), and its parts."""

    title: str
    words: str
    part: tuple[Part, ...]
    begins: str = ""


def of(facts: Facts) -> Words:
    """The words about a lesson. Raises ValueError for a file that does not say what it should."""
    path = FOLDER / f"{facts.name}.toml"
    try:
        said = _read(path)
        asks = tuple(Ask(**each) for each in said.pop("ask"))
        words = Words(**said | {"ask": asks, "stop": Stop(**said["stop"]), "behind": Behind(**said["behind"])})
    except (TypeError, KeyError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path.name}: {error}; course/teaching/words.py has the form") from None
    last = len(facts.sections)
    for section in (*(ask.section for ask in asks), words.stop.after, words.behind.at, words.behind.to):
        if not 1 <= section <= last:
            raise ValueError(f"{path.name}: names section {section}, and {facts.name} has {last}")
    for ask in asks:
        if ask.after and ask.after not in facts.sections[ask.section - 1].guesses:
            raise ValueError(f"{path.name}: section {ask.section} has no guess {ask.after!r}")
    if words.behind.at >= words.behind.to:
        raise ValueError(f"{path.name}: jumps from section {words.behind.at} back to {words.behind.to}")
    return words


def plans(every: Sequence[Facts]) -> tuple[Plan, ...]:
    """The day plans, in their order. Raises ValueError for one that does not fit the lessons."""
    path = FOLDER / "plans.toml"
    try:
        found = tuple(
            Plan(**each | {"part": tuple(Part(**part) for part in each["part"])}) for each in _read(path)["plan"]
        )
    except (TypeError, KeyError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path.name}: {error}; course/teaching/words.py has the form") from None
    lengths = {lesson.number: len(lesson.sections) for lesson in every}
    for plan in found:
        for wrong in filter(None, (_wrong(part, lengths) for part in plan.part)):
            raise ValueError(f'{path.name}: "{plan.title}" {wrong}')
    return found


def _wrong(part: Part, lengths: dict[str, int]) -> str:
    """What is wrong with a part of a plan; `lengths` are the sections that each lesson has."""
    if not part.lesson:
        return "" if part.minutes > 0 and part.what else f"has a part of {part.minutes} minutes: {part.what!r}"
    if part.lesson not in lengths:
        return f"names lesson {part.lesson}; there are {', '.join(lengths)}"
    if part.minutes:
        return f"gives minutes to lesson {part.lesson}, which has its own"
    sections, last = part.sections or [1, lengths[part.lesson]], lengths[part.lesson]
    if len(sections) != 2 or not 1 <= sections[0] <= sections[1] <= last:
        return f"names sections {sections} of {part.lesson}, which has {last}: give the first and the last of them"
    if bool(part.late) != bool(part.behind) or part.late and not sections[0] <= part.late < sections[1]:
        return f"says of {part.lesson} what to do if section {part.late} is late: {part.behind!r}"
    return ""


def template() -> str:
    """The guide's own text, with `{{names}}` where something computed stands."""
    return (FOLDER / "guide.md").read_text(encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
