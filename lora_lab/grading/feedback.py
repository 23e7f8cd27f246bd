"""One student's page: what is right, what is not, and why; nothing that was expected, and no script."""

from collections.abc import Sequence
from html import escape
from itertools import groupby

from lora_lab.grading.marks import NOT_GRADED, NOTHING, Mark, number, total

_WORDS = {
    "right": "right",
    "wrong": "not right yet",
    "not yet": "not done yet",
    "missing": "not in your file",
    "failed": "your code stopped",
    "refused": "could not be read",
    NOT_GRADED: "not graded: ask your instructor",
    NOTHING: NOTHING,
}
_HEADINGS = "".join(f'<th scope="col">{name}</th>' for name in ("task", "points", "result", "why"))
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem; border-bottom: 1px solid #ccc; }
td.why { white-space: pre-wrap; overflow-wrap: anywhere; }
td.points { white-space: nowrap; }
.right { color: #005a8c; } .other { color: #a33c00; }
caption { text-align: left; padding: .4rem 0; color: #444; overflow-wrap: anywhere; }
@media (max-width: 36rem) {
  thead { display: none; }
  tr { display: grid; grid-template-columns: 1fr auto auto; border-bottom: 1px solid #ccc; }
  th, td { border: 0; }
  td.why { grid-column: 1 / -1; padding-top: 0; }
}
"""


def page(student: str, rows: Sequence[Mark]) -> str:
    """The page, complete in itself.

    Args:
        student: the name on it.
        rows: their marks, exercise by exercise.
    """
    points, of = total(rows)
    parts = [_section(exercise, list(own)) for exercise, own in groupby(rows, key=lambda row: row.exercise)]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Feedback for {escape(student)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Feedback for <bdi>{escape(student)}</bdi></h1>
<p>{escape(number(points))} of {escape(number(of))} points.</p>
{"".join(parts)}</body>
</html>
"""


def _section(exercise: str, rows: Sequence[Mark]) -> str:
    points, of = total(rows)
    file = f"<bdi>{escape(rows[0].file)}</bdi>{', handed in late' if rows[0].late else ''}" if rows[0].file else ""
    lines = "".join(map(_line, rows))
    return f"""<h2>{escape(exercise)}: {escape(number(points))} of {escape(number(of))} points</h2>
<table>
<caption>{file}</caption>
<thead><tr>{_HEADINGS}</tr></thead>
<tbody>
{lines}</tbody>
</table>
"""


def _line(row: Mark) -> str:
    kind = "right" if row.status == "right" else "other"
    score = f", score {number(row.score)}" if row.score is not None else ""
    points = f"{number(row.points) or '–'} of {number(row.of)}"
    return (
        f'<tr><th scope="row">{escape(row.task)}</th><td class="points">{escape(points)}</td>'
        f'<td class="{kind}">{escape(_WORDS.get(row.status, row.status) + score)}</td>'
        f'<td class="why"><bdi>{escape(row.for_student)}</bdi></td></tr>\n'
    )
