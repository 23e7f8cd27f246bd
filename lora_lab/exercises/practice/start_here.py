"""Exercises 00: answers that are right to the letter, each field by itself, and how far a share can be trusted."""

import math
import random
from collections.abc import Mapping
from typing import Any

from lora_lab.exercises import required
from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.numbers import plain_number
from lora_lab.exercises.tasks import Wrong, task

_Fields = dict[str, Any]


def _exact_share(answers: list[str], wanted: list[str]) -> float:
    return sum(answer.strip() == right for answer, right in zip(answers, wanted)) / len(wanted)


def _share_by_field(given: list[_Fields], wanted: list[_Fields]) -> dict[str, float]:
    right: dict[str, list[bool]] = {}
    for answer, fields in zip(given, wanted):
        for field, value in fields.items():
            right.setdefault(field, []).append(field in answer and answer[field] == value)
    return {field: sum(each) / len(each) for field, each in right.items()}


def _share_and_error(right: list[bool]) -> tuple[float, float]:
    share = sum(right) / len(right)
    return share, math.sqrt(share * (1 - share) / len(right))


@task(reference=lambda: _exact_share)
def exact_share(exact_share: Any) -> None:
    """The share of answers that are the wanted one, letter for letter, white space at the ends aside."""
    for _ in range(3):
        answers, wanted = _answers()
        handed = {"answers": list(answers), "wanted": list(wanted)}
        with untouched(**handed):
            found = plain_number(exact_share(*handed.values()), f"for {len(wanted)} answers")
        truth = _by_counting(answers, wanted)
        if not math.isclose(found, truth, rel_tol=1e-6):
            raise Wrong(
                f"for {len(wanted)} answers the share is off: {_why_exact(found, answers, wanted)}", found, truth
            )


def _answers() -> tuple[list[str], list[str]]:
    """Of each kind another number, so that every slip has a share of its own."""
    kinds = {
        "right": random.randint(4, 6),
        "spaced": 1,
        "longer": 2,
        "inside": 3,
        "capital": 7,
        "empty": 1,
        "exchanged": 4,
    }
    kinds_drawn = random.sample([kind for kind, times in kinds.items() for _ in range(times)], sum(kinds.values()))
    wanted = ["".join(random.sample("abdegilmnorstuw", 5)) + str(place) for place in range(len(kinds_drawn))]
    others = [word for kind, word in zip(kinds_drawn, wanted) if kind == "exchanged"]
    answers = []
    for kind, word in zip(kinds_drawn, wanted):
        other = others[(others.index(word) + 1) % len(others)] if kind == "exchanged" else ""
        changed = {"right": word, "spaced": f" {word}\n", "longer": f"{word} indeed", "inside": f"it is {word}",
                   "capital": word.capitalize(), "empty": "", "exchanged": other}  # fmt: skip
        answers.append(changed[kind])
    return answers, wanted


def _by_counting(answers: list[str], wanted: list[str]) -> float:
    right = 0
    for place in range(len(wanted)):
        if answers[place].strip() == wanted[place]:
            right += 1
    return right / len(wanted)


def _why_exact(found: float, answers: list[str], wanted: list[str]) -> str:
    pairs, n = list(zip(answers, wanted)), len(wanted)
    slips = {
        "that is a number of answers: divide by how many there are": n * _by_counting(answers, wanted),
        "that is a percentage: a share lies between 0 and 1": 100 * _by_counting(answers, wanted),
        "white space at the ends means nothing: strip it, a line's end too": sum(a == b for a, b in pairs) / n,
        "an answer that only contains the wanted one says more than that": sum(b in a for a, b in pairs) / n,
        "an answer that only begins with the wanted one says more than that":
            sum(a.strip().startswith(b) for a, b in pairs) / n,
        "capitals count: they are other letters": sum(a.strip().lower() == b.lower() for a, b in pairs) / n,
        "an answer must be the wanted one of its own place": sum(a.strip() in wanted for a in answers) / n,
        "that is the share of wrong answers": 1 - _by_counting(answers, wanted),
        "empty answers are answers too: divide by all of them":
            n * _by_counting(answers, wanted) / max(1, sum(bool(a) for a in answers)),
        "that says whether all are right: count how many": float(answers == wanted),
    }  # fmt: skip
    for words, value in slips.items():
        if math.isclose(found, value, rel_tol=1e-6):
            return words
    return "an answer is right if it is, stripped, the wanted one of the same place"


@task(reference=lambda: _share_by_field)
def share_by_field(share_by_field: Any) -> None:
    """For each field, in how many of the answers that should have it its value is right."""
    for _ in range(3):
        given, wanted = _people()
        handed = {"given": [dict(each) for each in given], "wanted": [dict(each) for each in wanted]}
        try:
            with untouched(**handed):
                found = share_by_field(*handed.values())
        except Exception as error:
            if "KeyError" in f"{type(error).__name__} {error}":
                raise Wrong("it stops at a missing key, KeyError: an answer may lack a field, or all of them, "
                            "and a field may be right nowhere") from None  # fmt: skip
            raise
        if found is None:
            raise Wrong("yours gives None, wanted a dictionary: is a return missing?")
        if not isinstance(found, Mapping):
            raise Wrong(f"yours gives a {type(found).__name__}, wanted a dictionary from a field's name to its share")
        truth = _share_by_field(given, wanted)
        if extra := sorted(set(map(str, found)) - set(truth)):
            raise Wrong(f"yours has the field {extra[0]!r}, which nobody wanted: go through the wanted ones")
        if missing := [field for field in truth if field not in found]:
            nowhere = "it is wanted, and right nowhere, so its share is 0"
            raise Wrong(f"yours lacks the field {missing[0]!r}: "
                        f"{'go through all that is wanted' if truth[missing[0]] else nowhere}")  # fmt: skip
        for field, share in truth.items():
            value = plain_number(found[field], f"for {field}")
            if not math.isclose(value, share, rel_tol=1e-6):
                raise Wrong(f"for {field} the share is off: {_why_field(value, field, given, wanted)}", value, share)


def _people() -> tuple[list[_Fields], list[_Fields]]:
    """Of each kind of fault another number, so that every slip has a share of its own."""
    wanted: list[_Fields] = []
    for place in range(24):
        person = {"name": f"Ada {place}", "born": 1900 + random.randint(0, 99), "town": f"Woliby {place}"}
        wanted.append(person if place % 3 == 1 else {**person, "pet": f"swan {place}"})  # not everybody has a pet
    for place in (0, 7, 20):
        wanted[place]["boat"] = f"barge {place}"  # right nowhere
    for place in (3, 11, 16):
        wanted[place]["song"] = f"tune {place}"  # not in the first one
    given = [dict(reversed(each.items())) for each in wanted]
    given[7]["boat"] = given[16]["song"] = "nobody"
    del given[20]["boat"]
    given[0], given[1] = {}, {"colour": "grey"}
    for field in ("name", "born", "town", "pet"):
        rows = [place for place in range(2, 24) if field in wanted[place]]
        faults = ["missing"] + 2 * ["wrong"] + 3 * ["other name"] + (5 * ["text"] if field == "born" else [])
        for place, fault in zip(random.sample(rows, len(faults)), faults):
            value = given[place].pop(field)
            if fault == "wrong":
                given[place][field] = 1 if field == "born" else "nobody"
            elif fault == "other name":
                given[place][f"the {field}"] = value
            elif fault == "text":
                given[place][field] = str(value)
    return given, wanted


def _why_field(found: float, field: str, given: list[_Fields], wanted: list[_Fields]) -> str:
    have = [(a, b) for a, b in zip(given, wanted) if field in b]
    right = sum(a.get(field) == b[field] for a, b in have)
    there = [a for a, _ in have if field in a]
    slips = {
        "that is a number of answers: divide by how many should have it": right,
        "that is a percentage: a share lies between 0 and 1": 100 * right / len(have),
        "divide by the answers that should have the field, not by all": right / len(given),
        "divide by the answers that should have the field, not by those that do": right / max(1, len(there)),
        "a text is not the number that it spells: compare without str": sum(
            str(a.get(field)) == str(b[field]) for a, b in have
        )
        / len(have),
        "a field that is there with another value is not right": len(there) / len(have),
        "a right value under another name is not right": sum(b[field] in a.values() for a, b in have) / len(have),
        "that is the share of wrong ones": 1 - right / len(have),
    }
    for words, value in slips.items():
        if math.isclose(found, value, rel_tol=1e-6):
            return words
    return "of the answers that should have the field, how many have its value?"


@task(reference=lambda: _share_and_error)
def share_and_error(share_and_error: Any) -> None:
    """p and √(p (1 − p) / n) of n answers."""
    cases = []
    for n in (random.randint(20, 40), random.randint(60, 90)):
        hits = random.randint(n // 4, n // 2 - 2)
        cases.append(random.sample([True] * hits + [False] * (n - hits), n))
    for right in (*cases, [True, True, True, False], [True] * 3):
        handed = list(right)
        with untouched(right=handed):
            found = share_and_error(handed)
        said = f"for {sum(right)} of {len(right)} right"
        share, error = required.several(found, 2, "a share and its standard error")
        share, error = plain_number(share, f"as the share {said}"), plain_number(error, f"as the standard error {said}")
        n, truth = len(right), sum(right) / len(right)
        if not math.isclose(share, truth, rel_tol=1e-6):
            slips = {"that is a percentage": 100 * truth, "that is a number of answers: divide by n": n * truth,
                     "that is the share of wrong ones": 1 - truth}  # fmt: skip
            raise Wrong(
                f"{said} the share is off{_of(share, slips, truth, 'count True, and divide by n')}", share, truth
            )
        wanted = (truth * (1 - truth) / n) ** 0.5
        if not math.isclose(error, wanted, rel_tol=1e-6, abs_tol=1e-12):
            spread = (truth * (1 - truth)) ** 0.5
            slips = {
                "that is one answer's spread: a mean of n is steadier": spread,
                "take the root of all of it": spread**2 / n,
                "the root is of n too": spread / n,
                "p times 1 − p stands under the root as well": truth * (1 - truth) / n**0.5,
                "1 − p is missing": (truth / n) ** 0.5,
                "that is a percentage": 100 * wanted,
                "that divides by n − 1; the formula here has n": spread / (n - 1) ** 0.5 if n > 1 else 0.0,
                "that is twice the standard error": 2 * wanted,
                "that is 1.96 standard errors": 1.96 * wanted,
                "the largest that it can be is not what it is: p matters": 0.5 / n**0.5,
            }
            why = _of(error, slips, wanted, "√(p (1 − p) / n)")
            raise Wrong(f"{said} the standard error is off{why}", error, wanted)


def _of(found: float, slips: dict[str, float], truth: float, formula: str) -> str:
    for words, value in slips.items():
        if math.isclose(found, value, rel_tol=1e-6, abs_tol=1e-12):
            return f": {words}"
    return ": that is rounded: give every digit" if abs(found - truth) < 0.006 else f": {formula}"
