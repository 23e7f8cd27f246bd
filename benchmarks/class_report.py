"""`results/grading.json` and `results/checks.json` as Markdown: a class graded, and how fast checks answer. `report.py`
writes it into README.md."""

import statistics
from typing import Any

from gpu_report import table

Row = dict[str, Any]


def markdown(graded: Row, checked: Row) -> str:
    """What stands in `README.md` under "A class"; empty where nothing has been run."""
    return "\n\n".join(part for part in (_class(graded), _checks(checked)) if part)


def _class(found: Row) -> str:
    if not found:
        return ""
    killed, marks, aim = found["killed"], found["marks_as_made"], found["aim"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in found["kinds"].items())
    return table(["", "measured", "aim"], [
        ["submissions", f"{found['submissions']} ({kinds})", ""],
        ["submissions an hour", f"{found['per_hour']:,}", f"{aim['per_hour']:,}"],
        ["CPU seconds of one, median", f"{found['cpu_median']:.2f}", f"{aim['cpu']:g}"],
        ["memory of all processes", f"{found['memory_mb']:,} MB", ""],
        ["files listed", f"{found['files_listed']} of {found['submissions']}", "all"],
        ["marks that are not those it was made with", f"{marks['wrong']} of {marks['compared']}", "0"],
        ["killed with", f"{killed['kept']} graded", ""],
        ["points that differ after it was started again", str(killed["points_that_differ"]), "0"],
        ["rows whose words differ, of attacks that race", str(killed["rows_that_differ"]), ""],
    ])  # fmt: skip


def _checks(found: Row) -> str:
    if not found:
        return ""
    plain = [row["median_seconds"] for row in found["rows"] if not row["puzzle"]]
    puzzles = ", ".join(f"{row['median_seconds']:.2f} s ({row['task']})" for row in found["rows"] if row["puzzle"])
    within = sum(seconds < 0.2 for seconds in plain)
    half = f"{1000 * statistics.median(plain):.0f} ms"
    return (
        f"Of the exercises' {len(plain)} tasks half answer within {half}, and {within} within 0.2 s, on one thread "
        f"(`bench_checks.py`). The puzzles take {puzzles}."
    )
