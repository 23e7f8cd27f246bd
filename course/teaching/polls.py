"""Poll sheets: one page to print for each lesson, with room for forty tallies at each guess, and the answers apart.

A hand-count needs few choices, so each question has three ranges, one of which is right. Their bounds lie between what
was measured and the two typical wrong values of the guess; so a full column tells what the class believes, and the
sheet does not tell which column it should be.
"""

import html
import math
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
td { height: 11mm } td.right { font-weight: bold } .answers td { height: auto }
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


def bounds(asked: Asked) -> tuple[float, float]:
    """Two round numbers that part what was measured and the two typical wrong values from one another."""
    low, middle, high = sorted([asked.value, *(value for value, _ in asked.wrong)])
    return _between(low, middle), _between(middle, high)


def ranges(asked: Asked) -> tuple[str, str, str]:
    """The three choices, in words."""
    low, high = (f"{bound:,.10g}" for bound in bounds(asked))
    return f"below {low}", f"{low} to {high}", f"above {high}"


def _between(low: float, high: float) -> float:
    """The roundest number strictly between two others, near their middle: of the logarithms, if they lie far apart."""
    if not low < high:
        raise ValueError(f"no range parts {low:g} from {high:g}")
    far = low > 0 and high > 10 * low
    middle = math.sqrt(low * high) if far else (low + high) / 2
    digits = 1
    while not low < float(f"{middle:.{digits}g}") < high:
        digits += 1
    return float(f"{middle:.{digits}g}")


def _sheet(facts: Facts, answers: bool) -> str:
    """One lesson's page."""
    rows = "\n".join(_question(number, asked, answers) for number, asked in enumerate(facts.asked, start=1))
    about = "Measured, in the executed lesson." if answers else "Hands up, before the cell that answers. Date, class:"
    kind = ' class="answers"' if answers else ""
    return f"<section{kind}>\n<h1>{facts.number} {_text(facts.title)}</h1>\n<p>{about}</p>\n{rows}\n</section>"


def _question(number: int, asked: Asked, answers: bool) -> str:
    heading = f"<h2>{number}. {_text(asked.question)} (section {asked.section})</h2>"
    choices = "".join(f"<th>{choice}</th>" for choice in ranges(asked))
    cells = "".join(_answer(asked, column) if answers else "<td></td>" for column in range(3))
    return f"{heading}\n<table>\n<tr>{choices}</tr>\n<tr>{cells}</tr>\n</table>"


def _answer(asked: Asked, column: int) -> str:
    """What it means that a guess lies in this range."""
    inside = sorted([(asked.value, ""), *asked.wrong])[column]
    if inside == (asked.value, ""):
        return f'<td class="right">right: {asked.measured}</td>'
    return f"<td>near {inside[0]:,.10g}: {_text(inside[1])}</td>"


def _text(words: str) -> str:
    return html.escape(words, quote=False)
