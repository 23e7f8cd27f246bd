"""Poll sheets: one page to print for each lesson, with room for forty tallies at each guess, and the answers apart.

A hand-count needs few choices, so each question has four ranges, one of which is right. Their bounds lie between what
was measured and the first two typical wrong values of the guess; so a full column tells what the class believes. One
range more, which holds none of the three, stands now to the left and now to the right: with three of them, what was
measured lay in the middle of every question of two lessons, since a typical wrong guess is often too low and another
too high. Which side it is depends on the guess's name alone, so a sheet does not tell which column it should be, and
another guess in the lesson changes nothing.
"""

import html
import itertools
import zlib
from collections.abc import Sequence

from teaching.facts import Asked, Facts

_STYLE = """
@page { size: A4; margin: 12mm }
body { font: 10pt/1.3 sans-serif; color: #000; background: #fff; max-width: 186mm; margin: 0 auto }
section { break-after: page }
section:last-child { break-after: auto }
h1 { font-size: 15pt; margin: 0 0 1mm } p { margin: 0 0 2mm }
h2 { font-size: 10pt; margin: 2.5mm 0 1mm; break-after: avoid }
table { width: 100%; border-collapse: collapse; table-layout: fixed; break-inside: avoid }
th, td { border: 0.3mm solid #000; padding: 0.7mm 2mm; text-align: left; vertical-align: top; font-weight: normal }
td { height: 11mm } td.right { font-weight: bold }
.answers table { table-layout: auto } .answers td { height: auto; font-size: 9pt }
"""


def page(lessons: Sequence[Facts], answers: bool) -> str:
    """All sheets as one HTML file that needs no other.

    Args:
        answers: what was measured and what the wrong ranges reveal, instead of room for tallies.
    """
    title = "Poll sheets: answers, for the instructor" if answers else "Poll sheets"
    sheets = "\n".join(_sheet(facts, answers) for facts in lessons)
    head = f'<meta charset="utf-8">\n<title>{title}</title>\n<style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{sheets}\n</body>\n</html>\n'


def bounds(asked: Asked) -> tuple[float, float, float]:
    """Three round numbers: one or two in each gap between what was measured and the two typical wrong values.

    A gap without room for two leaves them to the other; where neither has room, one lies below all three values.
    """
    low, middle, high = (value for value, _ in _values(asked))
    splits = [((1, 2), (2, 1)), ((2, 1), (1, 2))][zlib.crc32(asked.name.encode()) % 2]
    for of_lower, of_upper in splits:
        found = *_between(low, middle, of_lower), *_between(middle, high, of_upper)
        if len(found) == 3:
            return found
    (first,), (second,) = _between(low, middle), _between(middle, high)
    return low - (first - low), first, second


def ranges(asked: Asked) -> tuple[str, str, str, str]:
    """The four choices, in words."""
    first, second, third = (f"{bound:,.10g}" for bound in bounds(asked))
    return f"below {first}", f"{first} to {second}", f"{second} to {third}", f"above {third}"


def column(asked: Asked, value: float) -> int:
    """Which of the four ranges, from 0, holds a value."""
    return sum(value > bound for bound in bounds(asked))


def _values(asked: Asked) -> list[tuple[float, str]]:
    """What was measured and what the first two wrong values reveal, ascending; what was measured reveals nothing."""
    return sorted([(asked.value, ""), *asked.wrong[:2]])


def _between(low: float, high: float, count: int = 1) -> tuple[float, ...]:
    """The roundest numbers strictly between two others: one about in the middle, or two about a sixth from the ends,
    so that what lies between them is as wide as the ranges beside it. Of the logarithms, if the two lie far apart.

    Of two there may be none: without a whole number between two whole ones, or without room for two digits each.
    """
    if not low < high:
        raise ValueError(f"no range parts {low:g} from {high:g}")
    if count > 1 and low % 1 == high % 1 == 0 and high - low < 2:
        return ()
    far = low > 0 and high > 10 * low
    shares = [1 / 2] if count == 1 else [1 / 6, 5 / 6]
    exact = [low * (high / low) ** share if far else low + (high - low) * share for share in shares]
    digits = 1
    while True:
        found = tuple(float(f"{each:.{digits}g}") for each in exact)
        if all(below < above for below, above in itertools.pairwise([low, *found, high])):
            return found
        if count > 1 and digits == 2:
            return ()
        digits += 1


def _sheet(facts: Facts, answers: bool) -> str:
    """One lesson's page."""
    rows = "\n".join(_question(number, asked, answers) for number, asked in enumerate(facts.asked, start=1))
    about = "Measured, in the executed lesson." if answers else "Hands up, before the cell that answers. Date, class:"
    kind = ' class="answers"' if answers else ""
    return f"<section{kind}>\n<h1>{facts.number} {_text(facts.title)}</h1>\n<p>{about}</p>\n{rows}\n</section>"


def _question(number: int, asked: Asked, answers: bool) -> str:
    heading = f"<h2>{number}. {_text(asked.question)} (section {asked.section})</h2>"
    choices = "".join(f"<th>{choice}</th>" for choice in ranges(asked))
    cells = "".join(_answer(asked, number) if answers else "<td></td>" for number in range(4))
    return f"{heading}\n<table>\n<tr>{choices}</tr>\n<tr>{cells}</tr>\n</table>"


def _answer(asked: Asked, number: int) -> str:
    """What it means that a guess lies in this range."""
    for value, revealed in _values(asked):
        if column(asked, value) == number and revealed:
            return f"<td>near {value:,.10g}: {_text(revealed)}</td>"
        if column(asked, value) == number:
            return f'<td class="right">right: {asked.measured}</td>'
    return "<td>no typical guess</td>"


def _text(words: str) -> str:
    return html.escape(words, quote=False)
