"""An example, and how far a model's answers to many are right: shares between 0 and 1."""

from collections.abc import Sequence
from dataclasses import dataclass

from lora_lab.disk import parse_json


@dataclass(frozen=True)
class Example:
    """One user's message, the answer that is wanted, and what an answer in other words must still contain."""

    prompt: str
    answer: str
    facts: tuple[str, ...] = ()


Scores = dict[str, float]


def score_exact(examples: Sequence[Example], answers: Sequence[str]) -> Scores:
    """The share of answers that are, letter for letter, what is wanted: "exact"."""
    pairs = zip(examples, answers, strict=True)
    return {"exact": _share([answer.strip() == example.answer for example, answer in pairs])}


def score_list(examples: Sequence[Example], answers: Sequence[str]) -> Scores:
    """As `score_exact`, and "words": the share of list items that are right and in their place."""
    hits = []
    for example, answer in zip(examples, answers, strict=True):
        wanted, given = example.answer.split(", "), answer.strip().split(", ")
        hits += [i < len(given) and given[i] == word for i, word in enumerate(wanted)]
    return {**score_exact(examples, answers), "words": _share(hits)}


def score_sailor(examples: Sequence[Example], answers: Sequence[str]) -> Scores:
    """As `score_exact`, and "facts" (name and value are both there) and "style" (a sailor's opening and ending)."""
    facts = [all(fact in answer for fact in example.facts) for example, answer in zip(examples, answers, strict=True)]
    style = [
        answer.startswith(("Arr,", "Ahoy!", "Aye,")) and answer.strip().endswith(("aye!", "matey!"))
        for answer in answers
    ]
    return {**score_exact(examples, answers), "facts": _share(facts), "style": _share(style)}


def score_json(examples: Sequence[Example], answers: Sequence[str]) -> Scores:
    """Shares: "exact" (the same object), "valid" (an object), "fields" (those right).

    Two objects are the same if they have the same keys and equal values, however spaced or ordered. Numbers are equal
    by value, 1980 and 1980.0; true is no 1. What JSON does not have, NaN and Infinity, is not valid, nor is a key that
    stands twice, of which readers take the one or the other.
    """
    exact, valid, fields = [], [], []
    for example, answer in zip(examples, answers, strict=True):
        wanted, given = parse_json(example.answer), _parsed(answer)
        valid.append(given is not None)
        exact.append(_same(given, wanted))
        fields += [given is not None and key in given and _same(given[key], value) for key, value in wanted.items()]
    return {"exact": _share(exact), "valid": _share(valid), "fields": _share(fields)}


def _parsed(answer: str) -> dict[str, object] | None:
    try:
        value = parse_json(answer)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _same(given: object, wanted: object) -> bool:
    """Whether two values are one in JSON, where, unlike in Python, true is no number."""
    if isinstance(given, dict) and isinstance(wanted, dict):
        return given.keys() == wanted.keys() and all(_same(given[key], wanted[key]) for key in wanted)
    if isinstance(given, list) and isinstance(wanted, list):
        return len(given) == len(wanted) and all(map(_same, given, wanted))
    return isinstance(given, bool) == isinstance(wanted, bool) and given == wanted


def _share(hits: Sequence[bool]) -> float:
    if not hits:
        raise ValueError("nothing to score: give at least one example")
    return sum(hits) / len(hits)
