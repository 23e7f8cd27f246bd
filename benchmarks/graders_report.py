"""`results/graders.json` as Markdown: what three graders made of the same ten submissions. `report.py` writes it into
README.md."""

from typing import Any

from gpu_report import table

Row = dict[str, Any]


def markdown(record: Row) -> str:
    """What stands in `README.md` under "Graders"; empty where it has not been run."""
    if not record:
        return ""
    graders = record["graders"]
    return "\n\n".join([_marks(graders), _costs(graders), _conditions(graders)]) + "\n"


def _marks(graders: list[Row]) -> str:
    """One line for each submission, and how many forgeries gained."""
    head = ["submission", "right of 4", *(_name(grader) for grader in graders)]
    lines = []
    for number, one in enumerate(graders[0]["submissions"]):
        what = f"**{one['student']}**: {one['does']}"
        lines.append([what, str(one["deserves"]), *(_mark(grader["submissions"][number]) for grader in graders)])
    gained = [sum(_gains(row) for row in grader["submissions"] if row["forged"]) for grader in graders]
    forged = sum(row["forged"] for row in graders[0]["submissions"])
    lines.append(["forgeries that gained marks", "", *(f"{count} of {forged}" for count in gained)])
    lines.append(["read by students, and not theirs", "", *(_read(grader) for grader in graders)])
    return table(head, lines)


def _costs(graders: list[Row]) -> str:
    head = ["", *(_name(grader) for grader in graders)]
    return table(head, [
        ["CPU seconds a submission, nine as a class", *(f"{grader['cpu']:.1f}" for grader in graders)],
        ["wall seconds a submission, nine as a class", *(f"{grader['wall']:.1f}" for grader in graders)],
        ["CPU seconds of one alone", *(f"{grader['alone']['right']['cpu']:.1f}" for grader in graders)],
        ["the endless loop", *(_endless(grader["alone"]["endless"], grader["limit"]) for grader in graders)],
    ])  # fmt: skip


def _conditions(graders: list[Row]) -> str:
    lines = []
    for grader in graders:
        pages = ", ".join(f"[{number}]({page})" for number, page in enumerate(grader["pages"], 1))
        lines.append(
            f"- {_name(grader)}: `{grader['command']}`; {grader['conditions']}{f' ({pages})' if pages else ''}"
        )
    return "\n".join(lines)


def _name(grader: Row) -> str:
    return f"{grader['name']} {grader['version']}".strip()


def _gains(row: Row) -> bool:
    return row["mark"] is not None and row["mark"] > row["deserves"]


def _mark(row: Row) -> str:
    if row["mark"] is None:
        return "none"
    said = f"{row['mark']:g}"
    return f"**{said}**" if row["mark"] != row["deserves"] else said


def _read(grader: Row) -> str:
    what = dict.fromkeys(each for row in grader["submissions"] for each in row["read"])
    return ", ".join(what) or "nothing"


def _endless(ran: Row, limit: float) -> str:
    if not ran["ended"]:
        return f"hangs (stopped after {limit:.0f} s)"
    return f"ended after {ran['wall']:.0f} s"
