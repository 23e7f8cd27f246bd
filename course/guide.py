"""Write the instructor's guide and the poll sheets: `instructor_guide.md`, `polls.html`, `poll_answers.html`.

    python course/guide.py        # writes the three files beside this script, in seconds

The words stand in `masters/guide/` (`teaching/words.py` has their form). Every number in a table of lessons, plans or
waits is read by `teaching/facts.py`: minutes, guesses, turns and hints from the masters, what was measured from the
executed notebooks, seconds and memory of a kernel from the record of `records/classroom.py`. The repository's address
and ref come from `repository.toml`, those of the links in `grading.md` too, which is otherwise a person's.
`tests/course/test_guide.py` compares the files with what this script writes.
"""

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

from teaching import facts, polls, words
from teaching.facts import Facts
from teaching.pace import OPENING
from teaching.pace import clock as _clock
from teaching.words import Ask, Part, Plan, Words

from lora_lab.authoring.pages import repository, write

COURSE = Path(__file__).resolve().parent
GUIDE, GRADING = COURSE / "instructor_guide.md", COURSE / "grading.md"
POLLS, ANSWERS = COURSE / "polls.html", COURSE / "poll_answers.html"

SESSION, CLOSING = 90, 5  # minutes of a session, and of what stands after a lesson's sections
LATE, OVER = 5, 1  # minutes that a section may take more before one jumps; and at a brisk walk, before it is told
PEOPLE = 40
SERVER_GB = 0.15  # a person's Jupyter server without a kernel: 0.09 GB, measured for JupyterLab 4.6.6, and room
HEADROOM = 1.3  # The Littlest JupyterHub advises 20 to 40 % over what was measured

_NAME = re.compile(r"\{\{(\w+)\}\}")


def main() -> int:
    """Write the files: 0 when they are written, each whole; 2 with a sentence when they cannot be."""
    try:
        for path, text in files().items():
            write(path, text)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def files() -> dict[Path, str]:
    """What each of the files holds."""
    every = facts.every()
    sheets = {POLLS: polls.page(every, answers=False), ANSWERS: polls.page(every, answers=True)}
    return {GUIDE: guide(), GRADING: with_ref(GRADING.read_text(encoding="utf-8"))} | sheets


def guide() -> str:
    """The whole of `instructor_guide.md`. Raises ValueError for a name in the template that nothing fills."""

    def fill(match: re.Match[str]) -> str:
        if match[1] not in FILLED:
            raise ValueError(f"guide.md: nothing fills {match[0]}; there are {', '.join(FILLED)}")
        return FILLED[match[1]]()

    return _NAME.sub(fill, words.template())


def with_ref(text: str) -> str:
    """A text whose links into the repository lead to the ref of `repository.toml`."""
    here = repository(COURSE.parent)
    return re.sub(rf"({re.escape(here['address'])}/(?:blob|tree)/)[^/\s)]+", rf"\g<1>{here['ref']}", text)


def overview() -> str:
    """A row for each lesson: its minutes, its stop mark, what remains of a session, and what a kernel takes."""
    rows = []
    for lesson in facts.every():
        stop = words.of(lesson).stop.after
        exercise = sum(minutes for _, minutes in lesson.tasks)
        rows.append([f"[{lesson.number}](#lesson-{lesson.number})", lesson.title,
                     f"{lesson.minutes} ({lesson.brisk:.0f})", f"section {stop}, {_clock(_ends(lesson)[stop - 1])}",
                     f"{max(0, _left(lesson))}", f"{exercise}", f"{lesson.seconds:.0f} s",
                     f"{lesson.peak_bytes / 1e9:.1f} GB"])  # fmt: skip
    headers = ["", "lesson", "minutes (brisk)", "stop mark", f"left of {SESSION}", "exercise, minutes", "computing",
               "kernel"]  # fmt: skip
    return _table(headers, rows)


def lesson_pages() -> str:
    """A page for each lesson."""
    return "\n\n".join(lesson_page(lesson, words.of(lesson)) for lesson in facts.every())


def lesson_page(lesson: Facts, said: Words) -> str:
    """One lesson's page: the clock, what to project and ask, where to stop and jump, what breaks, guesses, homework."""
    asks = [f"**Ask**, in section {ask.section}{_after(ask)}: {ask.question} *Good:* {ask.good} *Half:* {ask.half} "
            f"*Wrong:* {ask.wrong}" for ask in said.ask]  # fmt: skip
    stop, behind = said.stop, said.behind
    late = _clock(_ends(lesson)[behind.at - 1] + LATE)
    between = sum(section.seconds for section in lesson.sections[behind.at - 1 : behind.to - 1])
    heard = ", ".join(f"“{label}” (`{turn}`)" for turn, label in lesson.helps)
    over = [f"section {number} ({section.brisk:.0f} minutes at a brisk walk)"
            for number, section in enumerate(lesson.sections, start=1)
            if section.brisk > section.minutes + OVER]  # fmt: skip
    return "\n\n".join([
        f'<a id="lesson-{lesson.number}"></a>\n### {lesson.number} {lesson.title}',
        f"{lesson.minutes} minutes (brisk: {lesson.brisk:.0f}) · builds on {lesson.builds_on} · {_links(lesson)}",
        clock(lesson) + f"\n\n**Runs over**: {', '.join(over)}." * bool(over),
        f"**On the wall.** {said.wall}",
        *asks,
        f"**Stop mark**, {_clock(_ends(lesson)[stop.after - 1])}, after section {stop.after}: {stop.learned}",
        f"**If you are behind**: section {behind.at} not done at {late}? Jump to section {behind.to} (what lies "
        f"between computes for {math.ceil(between)} s). {behind.words}",
        f"**What breaks.** {said.breaks}" + f" The hints answer: {heard}." * bool(heard),
        guesses(lesson),
        f"**Homework.** {said.homework} The exercise: {_tasks(lesson.tasks)}.",
    ])  # fmt: skip


def clock(lesson: Facts) -> str:
    """The ninety minutes of one lesson."""
    ends = _ends(lesson)
    rows = [["0:00", f"{OPENING}", "Everybody opens it, runs the set-up cell; you read the first screen aloud", ""]]
    for section, end in zip(lesson.sections, ends, strict=True):
        hands = [_hands("guess", section.guesses), _hands("type", section.turns)]
        rows.append(
            [_clock(end - section.minutes), f"{section.minutes}", section.title, "; ".join(filter(None, hands))]
        )
    rows.append([_clock(ends[-1]), f"{CLOSING}", "The three questions, aloud", ""])
    if fitting := _fitting(lesson):
        minutes = sum(minutes for _, minutes in fitting)
        rows.append([_clock(ends[-1] + CLOSING), f"{minutes}", f"Exercise: {_tasks(fitting)}", ""])
    return _table(["from", "minutes", "what", "hands"], rows)


def guesses(lesson: Facts) -> str:
    """The lesson's guesses: what was measured, and what a typical wrong guess reveals."""
    rows = []
    for asked in lesson.asked:
        revealed = "<br>".join(f"**{value:,.10g}**: {said}" for value, said in asked.wrong)
        rows.append([f"{asked.section}", asked.question, f"**{asked.measured}**", revealed])
    return _table(["section", "guess", "measured", "a typical wrong guess, and what it reveals"], rows)


def plans() -> str:
    """Every plan as a table with its clock."""
    return "\n\n".join(f"### {plan.title}\n\n{plan.words}\n\n{_plan(plan)}" for plan in words.plans(facts.every()))


def kernels() -> str:
    """How long all people wait on one server when they press one cell at once: of 00, 03, and the slowest lesson."""
    slowest = max(facts.every(), key=lambda lesson: lesson.longest_cell)
    shown = {lesson.number: lesson for lesson in (_lesson("00"), _lesson("03"), slowest)}.values()
    rows = [
        [f"{cores}", *(f"{PEOPLE * lesson.longest_cell / cores:.0f} s" for lesson in shown)] for cores in (8, 16, 32)
    ]
    of = [f"{lesson.number}, its longest cell" + ", the longest of all" * (lesson == slowest) for lesson in shown]
    return _table(["cores", *of], rows)


def _plan(plan: Plan) -> str:
    begins = _minutes(plan.begins) if plan.begins else 0
    now, rows = begins, []
    for part in plan.part:
        minutes, what, late = _part(part, now)
        rows.append([_clock(now), f"{minutes}", what, late])
        now += minutes
    together = f"Together {now - begins} minutes; it ends at {_clock(now)}."
    return _table(["from", "minutes", "what", "if you are behind"], rows) + f"\n\n{together}"


def _part(part: Part, begins: int = 0) -> tuple[int, str, str]:
    """A part's minutes, what happens in it, and what to do if it is late, on the plan's clock.

    A lesson's last section is followed by the three questions.
    """
    if not part.lesson:
        return part.minutes, part.what, ""
    lesson = _lesson(part.lesson)
    first, last = part.sections or [1, len(lesson.sections)]
    ends = last == len(lesson.sections)
    which = "" if not part.sections else f", section {first}" if first == last else f", sections {first} to {last}"
    what = f"[{part.lesson}](#lesson-{part.lesson}) *{lesson.title.partition(':')[0]}*{which}"
    what += f" · {part.what}" * bool(part.what) + " · its three questions" * ends
    jump = words.of(lesson).behind
    at, do = jump.at, f"Jump to {jump.to}" if first <= jump.at and jump.to <= last else ""
    if part.late:
        at, do = part.late, part.behind
    due = begins + sum(section.minutes for section in lesson.sections[first - 1 : at]) + LATE
    minutes = sum(section.minutes for section in lesson.sections[first - 1 : last]) + CLOSING * ends
    return minutes, what, f"section {at} not done at {_clock(due)}? {do}" if do else ""


def _after(ask: Ask) -> str:
    return f", once the guess `{ask.after}` is in" if ask.after else ""


def _hands(what: str, names: tuple[str, ...]) -> str:
    return f"{what} {', '.join(f'`{name}`' for name in names)}" if names else ""


def _lesson(number: str) -> Facts:
    return next(lesson for lesson in facts.every() if lesson.number == number)


def _ends(lesson: Facts) -> list[int]:
    """The minute of a session at which each section ends."""
    ends, now = [], OPENING
    for section in lesson.sections:
        now += section.minutes
        ends.append(now)
    return ends


def _left(lesson: Facts) -> int:
    """Minutes that a session of ninety leaves for the exercise."""
    return SESSION - OPENING - lesson.minutes - CLOSING


def _fitting(lesson: Facts) -> tuple[tuple[str, int], ...]:
    """The exercise's first tasks, as many as fit into what is left."""
    left, fitting = _left(lesson), []
    for title, minutes in lesson.tasks:
        left -= minutes
        if left < 0:
            break
        fitting.append((title, minutes))
    return tuple(fitting)


def _tasks(tasks: tuple[tuple[str, int], ...]) -> str:
    together = sum(minutes for _, minutes in tasks)
    each = ", ".join(f"*{title}* ({minutes})" for title, minutes in tasks)
    return each + f", {together} minutes together" * (len(tasks) > 1)


def _links(lesson: Facts) -> str:
    places = {"workbook": f"workbook/{lesson.name}.ipynb", "exercise": f"../exercises/{lesson.name}.ipynb"}
    return ", ".join(f"[{name}]({place})" for name, place in places.items())


def _minutes(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return 60 * int(hours) + int(minutes)


def _table(headers: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(line)} |" for line in [headers, *rows]]
    return "\n".join([lines[0], "|---" * len(headers) + "|", *lines[1:]])


def _largest() -> Facts:
    return max(facts.every(), key=lambda lesson: lesson.peak_bytes)


def _each_gb() -> float:
    """GB to reserve for a person on a server: one kernel, the Jupyter server, and room."""
    return (_largest().peak_bytes / 1e9 + SERVER_GB) * HEADROOM


def _limit_gb() -> int:
    """GB at which a person is stopped: two kernels, for who forgot to shut one down, and room."""
    return math.ceil((2 * _largest().peak_bytes / 1e9 + SERVER_GB) * HEADROOM)


FILLED: dict[str, Callable[[], str]] = {
    "address": lambda: repository(COURSE.parent)["address"],
    "ref": lambda: repository(COURSE.parent)["ref"],
    "overview": overview,
    "lessons": lesson_pages,
    "plans": plans,
    "kernels": kernels,
    "session": lambda: f"{SESSION}",
    "opening": lambda: f"{OPENING}",
    "closing": lambda: f"{CLOSING}",
    "people": lambda: f"{PEOPLE}",
    "count": lambda: f"{len(facts.every())}",
    "hours": lambda: f"{sum(lesson.minutes for lesson in facts.every()) / 60:.0f}",
    "guesses": lambda: f"{sum(len(lesson.asked) for lesson in facts.every())}",
    "least_peak": lambda: f"{min(lesson.peak_bytes for lesson in facts.every()) / 1e9:.1f}",
    "largest_peak": lambda: f"{_largest().peak_bytes / 1e9:.1f}",
    "real_peak": lambda: f"{facts.real_peak() / 1e9:.1f}",
    "largest_lesson": lambda: _largest().number,
    "least_seconds": lambda: f"{min(lesson.seconds for lesson in facts.every()):.0f}",
    "most_seconds": lambda: f"{max(lesson.seconds for lesson in facts.every()):.0f}",
    "machine_gb": lambda: f"{4 * math.ceil(_limit_gb() / 4)}",
    "each_gb": lambda: f"{_each_gb():.1f}",
    "limit_gb": lambda: f"{_limit_gb()}",
    "server_gb": lambda: f"{math.ceil(PEOPLE * _each_gb() / 16) * 16}",
}


if __name__ == "__main__":
    sys.exit(main())
