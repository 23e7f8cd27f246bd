"""What is typed in lesson 00."""

from collections.abc import Callable, Mapping
from typing import Any

from lora_lab.exercises.arguments import untouched
from lora_lab.exercises.tasks import Wrong, task

Fields = dict[str, Any]

WANTED: Fields = {"name": "Ada Bron", "born": 1901, "town": "Woliby", "pet": "swan"}


def _share(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> float:
    return sum(given.get(field) == value for field, value in wanted.items()) / len(wanted)


@task(reference=lambda: _share)
def fields_right(count: Callable[[Fields, Fields], float]) -> None:
    """The share of wanted fields that have the right value."""
    if not callable(count):
        raise Wrong(f"fields_right is {count!r}, wanted a function of given and wanted")
    cases: list[tuple[str, Fields, tuple[str, ...]]] = [
        ("all four fields right", {}, ()),
        ("one of four values wrong, the year", {"born": 1902}, ()),
        ("the values of town and pet exchanged", {"town": "swan", "pet": "Woliby"}, ()),
        ('the year as a text, "1901"', {"born": "1901"}, ()),
        ("the pet missing", {}, ("pet",)),
        ("one field more than wanted", {"colour": "grey"}, ()),
        ("one field more than wanted, and the town wrong", {"colour": "grey", "town": "Harloburg"}, ()),
        ("no field at all", {}, tuple(WANTED)),
    ]
    for words, changed, missing in cases:
        given = {field: value for field, value in {**WANTED, **changed}.items() if field not in missing}
        _compare(count, words, given, dict(WANTED))
    _compare(count, "the fields in another order", dict(reversed(WANTED.items())), dict(WANTED))
    three = {field: WANTED[field] for field in ("name", "born", "town")}
    _compare(count, "three fields wanted and all right", dict(three), dict(three))


def _compare(count: Callable[[Fields, Fields], Any], words: str, given: Fields, wanted: Fields) -> None:
    """Raises Wrong with what this answer counts, and why."""
    truth = _share(given, wanted)
    try:
        with untouched(given=given, wanted=wanted):
            found = count(given, wanted)
    except KeyError as error:
        raise Wrong(f"with {words} it stops at the missing key {error}: ask `field in given` before you look") from None
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise Wrong(f"it returns {found!r}, wanted a number: the share of right fields, such as 0.75")
    value = float(found)
    if abs(value - truth) < 1e-6:
        return
    raise Wrong(f"with {words}: yours {value:g}, wanted {truth:g}{_why(value, truth, given, wanted)}")


def _why(value: float, truth: float, given: Fields, wanted: Fields) -> str:
    """The mistake that gives this value, if it is a known one."""
    right = truth * len(wanted)
    if value == right:
        return "; that is a count: divide by the number of wanted fields"
    if abs(value - 100 * truth) < 1e-6:
        return "; that is a percentage: a share lies between 0 and 1"
    if value == sum(map(_equal, given.values(), wanted.values())) / len(wanted):
        return "; you compare the first with the first, the second with the second: look a field up by its name"
    if value == sum(str(given.get(field)) == str(each) for field, each in wanted.items()) / len(wanted):
        return "; a text is not the number that it spells: compare the values as they are, without str"
    if abs(value - (1 - truth)) < 1e-6:
        return "; that is the share of wrong fields"
    if value == sum(each in given.values() for each in wanted.values()) / len(wanted):
        return "; a right value under another key is not right: compare given[field] with wanted[field]"
    if value == sum(field in given for field in wanted) / len(wanted):
        return "; a field that is there with another value is not right: compare the values"
    if given and value == right / len(given):
        return "; divide by the number of wanted fields, not of given ones"
    if value == float(truth == 1):
        return "; one wrong field does not make the others wrong: count each"
    if value == 1 / len(wanted):
        return "; only the first field was looked at: the return stands inside the loop, so move it out"
    if value > 0 and abs(right / value - round(right / value)) < 1e-6:
        return f"; that is {right:g} / {right / value:g}: divide by len(wanted), which is {len(wanted)} here"
    return ""


def _equal(one: object, other: object) -> bool:
    return one == other
